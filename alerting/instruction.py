"""What a person tells an incident: seen, be quiet, a note. JSON on `foreshock.operator`, key: the incident."""

from __future__ import annotations

from typing import Final, Literal, get_args

import msgspec

from alerting.incident import ChangeName, Incident
from collector.clock import hms

Verb = Literal["acknowledge", "silence", "note"]
VERBS: Final[tuple[Verb, ...]] = get_args(Verb)
CHANGES: Final[dict[Verb, ChangeName]] = {
    "acknowledge": "acknowledged", "silence": "silenced", "note": "noted",
}  # fmt: skip
_NOTES_KEPT: Final = 20
_LONGEST_NOTE: Final = 2000


class Instruction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`time` is Unix seconds; `until_s` ends a silence, during which the incident asks for nothing new."""

    time: float
    incident_id: str
    verb: Verb
    by: str
    text: str = ""
    until_s: float | None = None


def obey(incident: Incident, told: Instruction) -> Incident:
    """The incident after it; the same one where it was told before."""
    line = f"{hms(told.time)} {told.by}: {told.verb}{f' {told.text}' if told.text else ''}"[:_LONGEST_NOTE]
    if line in incident.notes:
        return incident
    told_of = msgspec.structs.replace(incident, notes=(*incident.notes, line)[-_NOTES_KEPT:])
    if told.verb == "acknowledge":
        return msgspec.structs.replace(told_of, acknowledged_by=told.by)
    if told.verb == "silence":
        return msgspec.structs.replace(told_of, silenced_until_s=told.until_s)
    return told_of
