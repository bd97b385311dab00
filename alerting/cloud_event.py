"""The body of a webhook and of `foreshock.alerts`: CloudEvents 1.0, JSON, structured mode.

Specification: cloudevents.io, "CloudEvents - Version 1.0.2" and its JSON event format.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from alerting.action import Action, ActionName, Intent
from alerting.incident import IncidentRow
from collector.clock import to_datetime
from collector.errors import InvalidRecordError
from collector.records import Reason

CONTENT_TYPE: Final = "application/cloudevents+json"
ACTION_TYPE: Final = "org.foreshock.action.v1"
INCIDENT_TYPE: Final = "org.foreshock.incident.v1"
SOURCE: Final = "/foreshock/watch"


class ActionData(msgspec.Struct, frozen=True, kw_only=True):
    """The `data` of an action. A reader must bear keys it does not know."""

    incident: str
    action: ActionName
    intent: Intent
    node: str
    gpu_uuid: str | None = None
    gpu_index: int | None = None
    pci_bdf: str | None = None
    risk: float | None = None
    reasons: tuple[Reason, ...] = ()
    summary: str = ""
    detail: str = ""
    synthetic: bool = False
    dry_run: bool = False


class _Envelope(msgspec.Struct, frozen=True, kw_only=True):
    specversion: str
    type: str
    id: str
    source: str
    time: datetime
    subject: str | None = None
    datacontenttype: str = "application/json"
    data: msgspec.Raw


def encode_action(action: Action) -> bytes:
    """One action as a CloudEvent; its id is the action_id, so a receiver can tell a repeat."""
    data = ActionData(
        incident=action.incident_id, action=action.action, intent=action.intent, node=action.node,
        gpu_uuid=action.gpu_uuid, gpu_index=action.gpu_index, pci_bdf=action.pci_bdf, risk=action.risk,
        reasons=action.reasons, summary=action.summary, detail=action.detail, synthetic=action.synthetic,
        dry_run=action.dry_run,
    )  # fmt: skip
    subject = action.gpu_uuid or action.node
    return _encode(ACTION_TYPE, action.action_id, subject, to_datetime(action.time), data)


def encode_change(row: IncidentRow) -> bytes:
    """One change of an incident as a CloudEvent, for `foreshock.alerts`."""
    name = f"{row.incident_id}.{row.change}@{row.time.timestamp():.6f}"
    return _encode(INCIDENT_TYPE, name, row.gpu_uuid or row.node, row.time, row)


def decode_action(body: bytes) -> Action:
    """The other way. Raises InvalidRecordError for anything that is not an action of this version."""
    try:
        event = msgspec.json.decode(body, type=_Envelope)
        if event.specversion != "1.0" or event.type != ACTION_TYPE:
            raise InvalidRecordError(f"specversion {event.specversion!r}, type {event.type!r}: not an action")
        data = msgspec.json.decode(event.data, type=ActionData)
        return _decoded(event, data)
    except msgspec.DecodeError as e:
        raise InvalidRecordError(f"not an action: {e}") from e


def _encode(kind: str, name: str, subject: str, time: datetime, data: ActionData | IncidentRow) -> bytes:
    return msgspec.json.encode(
        _Envelope(
            specversion="1.0", type=kind, id=name, source=SOURCE, time=time, subject=subject,
            data=msgspec.Raw(msgspec.json.encode(data)),
        )
    )  # fmt: skip


def _decoded(event: _Envelope, data: ActionData) -> Action:
    return Action(
        action_id=event.id, incident_id=data.incident, action=data.action, intent=data.intent,
        time=event.time.timestamp(), node=data.node, gpu_uuid=data.gpu_uuid, gpu_index=data.gpu_index,
        pci_bdf=data.pci_bdf, risk=data.risk, reasons=data.reasons, summary=data.summary, detail=data.detail,
        synthetic=data.synthetic, dry_run=data.dry_run,
    )  # fmt: skip
