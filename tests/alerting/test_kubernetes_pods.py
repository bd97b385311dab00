"""Telling pods and evicting them, against the stub."""

import msgspec
import pytest

from alerting.kubernetes_pods import CHECKPOINT as ANNOTATION
from tests.alerting.kubernetes_bridge import (
    CHECKPOINT,
    NOW,
    RELEASE,
    adapter_to,
    add_pod,
    annotations,
    of_second,
)
from tests.alerting.kubernetes_stub import cluster


@pytest.fixture
def stub():
    with cluster() as state:
        yield state


def test_all_gpu_pods_are_told_and_the_outcome_says_that_it_is_not_known_which(stub, tmp_path):
    for name in ("a", "b", "c"):
        add_pod(stub, name)
    add_pod(stub, "web", gpus=0)
    add_pod(stub, "elsewhere", node="n2")
    outcome = adapter_to(stub, tmp_path).checkpoint(CHECKPOINT)
    assert outcome.ok
    assert "team/a, team/b, team/c" in outcome.detail
    assert "does not say which pod has which GPU" in outcome.detail
    assert [annotations(stub, n).get(ANNOTATION) for n in ("a", "b", "c", "web", "elsewhere")] == [
        "i1", "i1", "i1", None, None,
    ]  # fmt: skip


def test_a_pod_that_the_action_names_is_told_alone(stub, tmp_path):
    add_pod(stub, "a")
    add_pod(stub, "a-2")
    action = msgspec.structs.replace(CHECKPOINT, summary="GPU 3 of n1 (job team/a) is likely to fail")
    assert "named by the action" in adapter_to(stub, tmp_path).checkpoint(action).detail
    assert (annotations(stub, "a"), annotations(stub, "a-2")) == ({ANNOTATION: "i1"}, {})


def test_a_pod_with_every_gpu_of_the_node_is_known(stub, tmp_path):
    stub.put("nodes", "n1", {"spec": {}, "status": {"capacity": {"nvidia.com/gpu": "8"}}})
    add_pod(stub, "a", gpus=8)
    assert "every GPU of the node" in adapter_to(stub, tmp_path).checkpoint(CHECKPOINT).detail


def test_without_a_gpu_pod_a_checkpoint_is_honestly_nothing(stub, tmp_path):
    outcome = adapter_to(stub, tmp_path).checkpoint(CHECKPOINT)
    assert (outcome.ok, outcome.detail) == (False, "no pod on n1 holds a GPU; advisory only")


def test_pods_that_have_ended_are_left_alone(stub, tmp_path):
    pod = add_pod(stub, "done")
    stub.put("pods", "done", {**pod, "status": {"phase": "Succeeded"}}, "team")
    add_pod(stub, "going", deletionTimestamp="2026-01-01T00:00:00Z")
    assert not adapter_to(stub, tmp_path).checkpoint(CHECKPOINT).ok


def test_two_incidents_share_the_annotation_and_each_takes_back_its_own(stub, tmp_path):
    add_pod(stub, "a", annotations={"theirs": "x"})
    adapter = adapter_to(stub, tmp_path)
    adapter.checkpoint(CHECKPOINT)
    adapter.checkpoint(of_second(CHECKPOINT))
    assert annotations(stub, "a") == {"theirs": "x", ANNOTATION: "i1,i2"}
    adapter.release(RELEASE)
    assert annotations(stub, "a") == {"theirs": "x", ANNOTATION: "i2"}
    adapter.release(of_second(RELEASE))
    assert annotations(stub, "a") == {"theirs": "x"}


def test_a_pod_that_may_not_be_annotated_is_a_problem_that_is_told(stub, tmp_path):
    add_pod(stub, "a")
    stub.denied = {("patch", "pods")}
    outcome = adapter_to(stub, tmp_path).checkpoint(CHECKPOINT)
    assert not outcome.ok
    assert "pod team/a" in outcome.detail
    assert "403" in outcome.detail


def test_by_default_a_migration_taints_and_tells_but_evicts_nobody(stub, tmp_path):
    add_pod(stub, "a")
    outcome = adapter_to(stub, tmp_path).migrate(NOW)
    assert outcome.ok
    assert "eviction is off" in outcome.detail
    assert (stub.taints[0]["value"], annotations(stub, "a"), stub.evictions) == (
        "failed",
        {ANNOTATION: "i1"},
        [],
    )


def test_the_taint_is_there_before_the_first_eviction(stub, tmp_path):
    add_pod(stub, "a")
    adapter = adapter_to(
        stub, tmp_path, kubernetes_evict=True, kubernetes_evict_all=True, kubernetes_evict_grace_s=90.0
    )
    assert adapter.migrate(NOW).ok
    verbs = [f"{call.verb} {call.resource}" for call in stub.calls]
    assert verbs.index("patch nodes") < verbs.index("patch pods") < verbs.index("create pods/eviction")
    (eviction,) = stub.evictions
    assert eviction["deleteOptions"] == {"preconditions": {"uid": "uid-a"}, "gracePeriodSeconds": 90}
    assert eviction["apiVersion"] == "policy/v1"


def test_zero_grace_means_the_pods_own_and_never_sigkill_at_once(stub, tmp_path):
    add_pod(stub, "a")
    adapter_to(stub, tmp_path, kubernetes_evict=True, kubernetes_evict_all=True).migrate(NOW)
    assert "gracePeriodSeconds" not in stub.evictions[0]["deleteOptions"]


def test_when_it_is_not_known_who_holds_the_gpu_nobody_is_evicted(stub, tmp_path):
    add_pod(stub, "a")
    add_pod(stub, "b")
    outcome = adapter_to(stub, tmp_path, kubernetes_evict=True).migrate(NOW)
    assert not outcome.ok
    assert "none evicted" in outcome.detail
    assert stub.evictions == []


def test_a_named_pod_alone_is_evicted(stub, tmp_path):
    add_pod(stub, "a")
    add_pod(stub, "b")
    action = msgspec.structs.replace(NOW, detail="job=uid-b on GPU 3")
    outcome = adapter_to(stub, tmp_path, kubernetes_evict=True).migrate(action)
    assert outcome.ok
    assert outcome.detail.endswith("evicted: team/b")
    assert len(stub.evictions) == 1


def test_a_disruption_budget_is_asked_again_as_long_as_it_says(stub, tmp_path):
    waits: list[float] = []
    add_pod(stub, "a")
    add_pod(stub, "b")
    stub.budget = {"a": 2}
    adapter = adapter_to(stub, tmp_path, waits.append, kubernetes_evict=True, kubernetes_evict_all=True)
    assert adapter.migrate(NOW).ok
    assert waits == [7.0, 7.0]
    assert [e["metadata"]["name"] for e in stub.evictions] == ["b", "a"]


def test_a_disruption_budget_that_never_yields_ends_the_asking_in_time(stub, tmp_path):
    waits: list[float] = []
    add_pod(stub, "a")
    stub.budget = {"a": 10**6}
    adapter = adapter_to(
        stub, tmp_path, waits.append,
        kubernetes_evict=True, kubernetes_evict_all=True, kubernetes_evict_for_s=30.0,
    )  # fmt: skip
    outcome = adapter.migrate(NOW)
    assert not outcome.ok
    assert "disruption budget" in outcome.detail
    assert sum(waits) <= 30
    assert stub.evictions == []
    assert "delete" not in {call.verb for call in stub.calls}


def test_static_and_daemonset_pods_are_not_evicted(stub, tmp_path):
    add_pod(stub, "a", ownerReferences=[{"kind": "DaemonSet"}])
    add_pod(stub, "b", annotations={"kubernetes.io/config.mirror": "x"})
    adapter = adapter_to(stub, tmp_path, kubernetes_evict=True, kubernetes_evict_all=True)
    outcome = adapter.migrate(NOW)
    assert not outcome.ok
    assert stub.evictions == []


def test_asked_twice_the_second_time_evicts_nobody(stub, tmp_path):
    add_pod(stub, "a")
    adapter = adapter_to(stub, tmp_path, kubernetes_evict=True, kubernetes_evict_all=True)
    adapter.migrate(NOW)
    assert adapter.migrate(NOW).ok
    assert len(stub.evictions) == 1


def test_a_right_to_evict_that_is_missing_is_told(stub, tmp_path):
    add_pod(stub, "a")
    stub.denied = {("create", "pods/eviction")}
    outcome = adapter_to(stub, tmp_path, kubernetes_evict=True, kubernetes_evict_all=True).migrate(NOW)
    assert not outcome.ok
    assert "403" in outcome.detail
    assert stub.taints[0]["value"] == "failed"
