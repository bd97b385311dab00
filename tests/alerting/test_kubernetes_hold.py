"""The annotation's arithmetic as a state machine: whatever the order, nobody else's work is touched."""

from copy import deepcopy

from hypothesis import given
from hypothesis import strategies as st

from alerting.kubernetes_api import Object
from alerting.kubernetes_hold import TAINT_KEY, Holder, give_back_patch, read_hold, take_patch
from tests.alerting.kubernetes_stub import merge

OTHERS = [{"key": "a", "effect": "NoSchedule"}, {"key": TAINT_KEY, "value": "x", "effect": "NoExecute"}]
INCIDENTS = st.sampled_from(["i1", "i2", "i3"])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "give"]), INCIDENTS, st.sampled_from(["predicted", "failed"]), st.booleans()
    ),
    max_size=12,
)


def applied(node, patch):
    return node if patch is None else merge(node, deepcopy(patch), strategic=False)


def ours(node):
    taints = node["spec"].get("taints") or []
    return [t for t in taints if t["key"] == TAINT_KEY and t["effect"] == "NoSchedule"]


@given(STEPS, st.booleans(), st.booleans())
def test_when_all_have_given_back_the_node_is_as_it_was(steps, cordon, was_cordoned):
    node: Object = {"metadata": {"name": "n1"}, "spec": {"taints": OTHERS}}
    if was_cordoned:
        node["spec"]["unschedulable"] = True
    before = deepcopy(node["spec"])
    holding: dict[str, set[str]] = {}
    for step, incident, value, whole_node in steps:
        if step == "take":
            part = Holder(value=value, text="t", node=whole_node)
            node = applied(node, take_patch(node, incident, part, cordon=cordon))
            assert take_patch(node, incident, part, cordon=cordon) is None  # twice is once
            holding.setdefault(incident, set()).add("node" if whole_node else "device")
        else:
            node = applied(node, give_back_patch(node, incident))
            holding.pop(incident, None)
        assert set(read_hold(node).incidents) == set(holding)
        assert bool(ours(node)) == any("node" in parts for parts in holding.values())
        assert [t for t in node["spec"].get("taints") or [] if t not in ours(node)] == OTHERS
    for incident in list(holding):
        node = applied(node, give_back_patch(node, incident))
    assert node["spec"] == before
    assert not node["metadata"].get("annotations")


@given(STEPS)
def test_our_key_in_somebody_elses_hand_is_never_changed(steps):
    theirs = {"key": TAINT_KEY, "value": "by-hand", "effect": "NoSchedule"}
    node: Object = {"metadata": {"name": "n1"}, "spec": {"taints": [theirs]}}
    for step, incident, value, whole_node in steps:
        part = Holder(value=value, text="t", node=whole_node)
        patch = (
            take_patch(node, incident, part, cordon=False)
            if step == "take"
            else give_back_patch(node, incident)
        )
        node = applied(node, patch)
        assert node["spec"]["taints"] == [theirs]
