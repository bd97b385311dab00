"""What the policy asks of a scheduler, and what came of it: the records between watch, webhook and bridge."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Protocol

import msgspec

from collector.clock import to_datetime
from collector.records import Reason

ActionName = Literal["checkpoint", "drain", "drain_now", "release"]
Intent = Literal["checkpoint", "no_new_work", "migrate", "resume"]

INTENTS: dict[ActionName, Intent] = {
    "checkpoint": "checkpoint",  # save and go on
    "drain": "no_new_work",  # the running job stays, nothing new starts
    "drain_now": "migrate",  # save, exit, requeue elsewhere
    "release": "resume",  # the cause has cleared: lift what this incident drained, and nothing else
}


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One request. `action_id` is the incident plus the action, so asking twice is asking once.

    `time` is Unix seconds of the watcher's clock; `detail` is the arithmetic or evidence that justified it.
    """

    action_id: str
    incident_id: str
    action: ActionName
    intent: Intent
    time: float
    node: str
    gpu_uuid: str | None
    gpu_index: int | None
    pci_bdf: str | None
    risk: float | None
    reasons: tuple[Reason, ...]
    summary: str
    detail: str
    synthetic: bool
    dry_run: bool


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What an adapter did. `seconds` is real time from the request to its effect; `step` is the job's own."""

    ok: bool
    detail: str
    step: int | None = None
    seconds: float | None = None


class Adapter(Protocol):
    """What a bridge needs from a scheduler. All may block, and all must bear being called twice."""

    def checkpoint(self, action: Action) -> Outcome:
        """Ask the jobs on this GPU to save, and wait (bounded) until they say so."""

    def drain(self, action: Action) -> Outcome:
        """Keep new work off the node; touch only what nobody else owns."""

    def migrate(self, action: Action) -> Outcome:
        """Drain first, then ask the jobs on this GPU to save, exit and start again elsewhere."""

    def release(self, action: Action) -> Outcome:
        """Lift the drain that this action's incident set; anybody else's, and another incident's, stays."""


class ActionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the lake's `actions`. `state`: decided, dry_run, delivered, acknowledged or failed."""

    time: datetime
    action_id: str
    incident_id: str
    action: str
    intent: str
    state: Literal["decided", "dry_run", "delivered", "acknowledged", "failed"]
    node: str
    gpu_uuid: str | None
    detail: str
    synthetic: bool


def decided_row(action: Action) -> ActionRow:
    """The row of a decision: the arithmetic is its detail."""
    return _row(action, "dry_run" if action.dry_run else "decided", action.detail, action.time)


def delivered_row(action: Action, time_s: float) -> ActionRow:
    """The receiver has taken it."""
    return _row(action, "delivered", "accepted by the receiver", time_s)


def dead_row(action: Action, error: str, time_s: float) -> ActionRow:
    """Given up: a dead letter that somebody should look at."""
    return _row(action, "failed", f"not delivered: {error}", time_s)


def outcome_row(action: Action, outcome: Outcome, time_s: float) -> ActionRow:
    """What the bridge did about it."""
    return _row(action, "acknowledged" if outcome.ok else "failed", outcome.detail, time_s)


def reason_line(action: Action) -> str:
    """One line for a scheduler's reason field: printable ASCII without quotes, so that no tool trips."""
    where = "GPU" if action.gpu_index is None else f"GPU {action.gpu_index}"
    risk = "" if action.risk is None else f" risk={action.risk:.2f}"
    line = f"foreshock:{action.incident_id} {where} {action.gpu_uuid or action.pci_bdf or ''}{risk}"
    kept = "".join(c for c in line if c.isascii() and c.isprintable() and c not in "\"'\\")
    return " ".join(kept.split())[:200]


def _row(
    action: Action,
    state: Literal["decided", "dry_run", "delivered", "acknowledged", "failed"],
    detail: str,
    time_s: float,
) -> ActionRow:
    return ActionRow(
        time=to_datetime(time_s), action_id=action.action_id, incident_id=action.incident_id,
        action=action.action, intent=action.intent, state=state, node=action.node, gpu_uuid=action.gpu_uuid,
        detail=detail, synthetic=action.synthetic,
    )  # fmt: skip
