"""What the outbox holds, and its form there: messages on their way to a sink, log rows on their way to the lake."""

from __future__ import annotations

import msgspec

from alerting.action import Action, ActionRow
from alerting.incident import IncidentRow

Row = IncidentRow | ActionRow
Message = Action | IncidentRow
"""What goes to a sink: an action to a webhook, a change of an incident to people."""


def change_id(row: IncidentRow) -> str:
    """The name of one change of an incident, the same as its CloudEvent's."""
    return f"{row.incident_id}.{row.change}@{row.time.timestamp():.6f}"


def columns(
    sink: str, message: Message, state: str, now_s: float, deliver_for_s: float
) -> tuple[object, ...]:
    """The columns of `messages` from sink to deadline_s, in the order of the table."""
    is_action = isinstance(message, Action)
    name = message.action_id if isinstance(message, Action) else change_id(message)
    return (
        sink, name, message.incident_id, "action" if is_action else "change", msgspec.json.encode(message),
        is_urgent(message), state, now_s, now_s + deliver_for_s,
    )  # fmt: skip


def is_urgent(message: Message) -> bool:
    """It waits for nothing before it: the fault has happened."""
    return isinstance(message, Action) and message.action == "drain_now"


def journal_columns(row: Row) -> tuple[str, bytes]:
    """The lake's table and the row."""
    return ("incidents" if isinstance(row, IncidentRow) else "actions"), msgspec.json.encode(row)


def decode(kind: object, body: object) -> Message:
    """A message from its `kind` and `body`."""
    assert isinstance(body, bytes)
    if kind == "action":
        return msgspec.json.decode(body, type=Action)
    return msgspec.json.decode(body, type=IncidentRow)


def decode_row(table: str, blob: object) -> Row:
    """A log row of the lake's `table`."""
    assert isinstance(blob, bytes)
    if table == "incidents":
        return msgspec.json.decode(blob, type=IncidentRow)
    return msgspec.json.decode(blob, type=ActionRow)
