"""What `kubectl describe node` shows of us: a condition (True = bad, as node-problem-detector has it) and an Event.

The condition is made from the annotation alone, so that whoever writes last writes the truth.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from alerting.action import Action
from alerting.kubernetes_api import STRATEGIC, Api, Object, node_path, object_name
from alerting.kubernetes_hold import Hold, read_hold
from collector.errors import ForeshockError

CONDITION: Final = "foreshock.org/GpuFaultPredicted"
_EVENTS: Final = "/api/v1/namespaces/default/events"  # where Events of objects without a namespace live
_REASONS: Final = {
    "checkpoint": "CheckpointRequested", "drain": "GpuFaultPredicted", "drain_now": "GpuFault",
    "release": "GpuFaultCleared",
}  # fmt: skip


def notices(api: Api, action: Action, detail: str) -> list[str]:
    """Condition and Event; what could not be written, in words. Neither is the effect, so neither fails it."""
    problems = []
    for what, write in (("condition", _write_condition), ("event", _write_event)):
        try:
            write(api, action, detail)
        except ForeshockError as e:
            problems.append(f"{what} not written: {e}")
    return problems


def condition(node: Object, now: datetime) -> Object | None:
    """The condition that the annotation asks for; None when it is there already. `now` is UTC."""
    hold = read_hold(node)
    conditions: list[Object] = (node.get("status") or {}).get("conditions") or []
    before = next((c for c in conditions if c["type"] == CONDITION), None)
    status, reason = ("True", "GpuFault") if hold.incidents else ("False", "NoGpuFault")
    if status == "False" and before is None:
        return None
    message = _message(hold)
    if before is not None and (before["status"], before.get("message")) == (status, message):
        return None
    time = f"{now:%Y-%m-%dT%H:%M:%SZ}"
    since = before["lastTransitionTime"] if before is not None and before["status"] == status else time
    return {
        "type": CONDITION, "status": status, "reason": reason, "message": message,
        "lastHeartbeatTime": time, "lastTransitionTime": since,
    }  # fmt: skip


def _message(hold: Hold) -> str:
    texts = [f"{holder.value}: {holder.text}" for _, holder in sorted(hold.incidents.items())]
    return "; ".join(texts)[:1000] or "no GPU fault is predicted"


def _write_condition(api: Api, action: Action, _detail: str) -> None:
    """A strategic-merge patch merges conditions by type: the kubelet's own are not written back."""

    def change(node: Object) -> Object | None:
        ours = condition(node, datetime.now(UTC))
        return None if ours is None else {"status": {"conditions": [ours]}}

    api.edit(node_path(action.node), change, part="/status", kind=STRATEGIC)


def _write_event(api: Api, action: Action, detail: str) -> None:
    """One Event per action; asked twice, the name is taken and that is all."""
    api.create(_EVENTS, event(action, detail, datetime.now(UTC)))


def event(action: Action, detail: str, now: datetime) -> Object:
    """A core/v1 Event about the node. `involvedObject.uid` is its name, as the kubelet's Events have it."""
    time = f"{now:%Y-%m-%dT%H:%M:%SZ}"
    synthetic = " (synthetic)" if action.synthetic else ""
    return {
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": object_name(action.action_id), "namespace": "default"},
        "involvedObject": {"apiVersion": "v1", "kind": "Node", "name": action.node, "uid": action.node},
        "type": "Normal" if action.action == "release" else "Warning", "reason": _REASONS[action.action],
        "message": f"{action.incident_id}{synthetic}: {detail}"[:1000],
        "source": {"component": "foreshock"}, "firstTimestamp": time, "lastTimestamp": time, "count": 1,
    }  # fmt: skip
