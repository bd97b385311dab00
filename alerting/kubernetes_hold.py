"""What our incidents hold of a node, and the patch that makes it so. Pure: no call is made here.

The annotation `foreshock.org/hold` is the memory: which incidents hold the node, and whether the taint and the
cordon are ours. What it does not claim is somebody else's and stays, also where it has our key.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from alerting.action import Action, reason_line
from alerting.kubernetes_api import Object
from collector.errors import ForeshockError

TAINT_KEY: Final = "foreshock.org/gpu-fault"
HOLD: Final = "foreshock.org/hold"
_EFFECT: Final = "NoSchedule"
Value = Literal["predicted", "failed"]


class Holder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One incident's part. `text` names its GPU; `node` is whether new work is kept off the whole node."""

    value: Value
    text: str
    node: bool = True
    handed_over: bool = False
    """NVSentinel's MaintenanceRequest was made for it."""


class Hold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All incidents of a node by id. `taint` and `cordon`: it was us who set it."""

    incidents: dict[str, Holder] = {}
    taint: bool = False
    cordon: bool = False

    @property
    def taint_value(self) -> Value | None:
        """The strongest of the incidents that hold the whole node; None when none does."""
        values = {holder.value for holder in self.incidents.values() if holder.node}
        return None if not values else "failed" if "failed" in values else "predicted"

    @property
    def is_handed_over(self) -> bool:
        return any(holder.handed_over for holder in self.incidents.values())


def read_hold(node: Object) -> Hold:
    """What the annotation says. Raises ForeshockError when somebody made it unreadable: then nothing is ours."""
    text = (node["metadata"].get("annotations") or {}).get(HOLD)
    if text is None:
        return Hold()
    try:
        return msgspec.json.decode(text, type=Hold)
    except msgspec.DecodeError as e:
        name = node["metadata"]["name"]
        raise ForeshockError(
            f"node {name}: annotation {HOLD} cannot be read ({e}); nothing was changed",
            hint=f"kubectl annotate node {name} {HOLD}- after lifting the taint {TAINT_KEY} by hand",
        ) from e


def holder(action: Action, *, node: bool, handed_over: bool = False) -> Holder:
    """The part that an action asks for."""
    text = reason_line(action) + (" (synthetic)" if action.synthetic else "")
    value: Value = "failed" if action.action == "drain_now" else "predicted"
    return Holder(value=value, text=text, node=node, handed_over=handed_over)


def with_holder(hold: Hold, incident_id: str, new: Holder) -> Hold:
    """An incident holds what it held and what it asks for now: asking for less later gives nothing back."""
    old = hold.incidents.get(incident_id)
    if old is not None:
        stronger: Value = "failed" if "failed" in (old.value, new.value) else "predicted"
        new = Holder(
            value=stronger,
            text=old.text if old.value == "failed" and new.value == "predicted" else new.text,
            node=old.node or new.node,
            handed_over=old.handed_over or new.handed_over,
        )
    return msgspec.structs.replace(hold, incidents={**hold.incidents, incident_id: new})


def without_holder(hold: Hold, incident_id: str) -> Hold:
    """The others stay."""
    left = {name: value for name, value in hold.incidents.items() if name != incident_id}
    return msgspec.structs.replace(hold, incidents=left)


def take_patch(node: Object, incident_id: str, new: Holder, *, cordon: bool) -> Object | None:
    """A merge patch that adds the incident, our taint and perhaps a cordon; None when all is so already."""
    hold = with_holder(read_hold(node), incident_id, new)
    taints, owns_taint = _taints(node, hold, may_add=True)
    is_cordoned = node["spec"].get("unschedulable") is True
    sets_cordon = cordon and hold.taint_value is not None and not is_cordoned
    owns_cordon = sets_cordon or (hold.cordon and is_cordoned)  # one that was lifted by hand is ours no more
    spec: Object = {"taints": taints} if taints is not None else {}
    if sets_cordon:
        spec["unschedulable"] = True
    return _patch(node, msgspec.structs.replace(hold, taint=owns_taint, cordon=owns_cordon), spec)


def give_back_patch(node: Object, incident_id: str) -> Object | None:
    """A merge patch that takes the incident out and, with the last one, lifts what is ours. It never adds."""
    hold = without_holder(read_hold(node), incident_id)
    taints, owns_taint = _taints(node, hold, may_add=False)
    owns_cordon = hold.cordon and node["spec"].get("unschedulable") is True
    spec: Object = {"taints": taints} if taints is not None else {}
    if owns_cordon and hold.taint_value is None:
        spec["unschedulable"] = None
        owns_cordon = False
    return _patch(node, msgspec.structs.replace(hold, taint=owns_taint, cordon=owns_cordon), spec)


def _taints(node: Object, hold: Hold, *, may_add: bool) -> tuple[list[Object] | None, bool]:
    """The whole list as it should be (None: leave it), and whether the taint in it is ours then."""
    taints: list[Object] = node["spec"].get("taints") or []
    found = next((t for t in taints if t["key"] == TAINT_KEY and t["effect"] == _EFFECT), None)
    value = hold.taint_value
    if found is None:
        if value is None or not may_add:
            return None, False
        return [*taints, {"key": TAINT_KEY, "value": value, "effect": _EFFECT}], True
    if not hold.taint or found.get("value") == value:
        return None, hold.taint
    others = [t for t in taints if t is not found]
    return (others, False) if value is None else ([*others, {**found, "value": value}], True)


def _patch(node: Object, hold: Hold, spec: Object) -> Object | None:
    is_empty = hold == Hold()
    before = (node["metadata"].get("annotations") or {}).get(HOLD)
    text = None if is_empty else msgspec.json.encode(hold, order="sorted").decode()
    patch: Object = {"spec": spec} if spec else {}
    if text != before:
        patch["metadata"] = {"annotations": {HOLD: text}}
    return patch or None
