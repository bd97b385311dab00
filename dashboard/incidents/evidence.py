"""What an incident remembers, as its rows in the lake tell it: the JSON of the column `evidence`. Pure.

The watcher writes it (all of an incident's memory, times in Unix seconds). Here every part may be missing: a row of an
older or newer watcher shows what it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from collector.records import Reason


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """An event that joined the incident."""

    time: float
    kind: str
    code: int | None = None
    text: str = ""

    @property
    def name(self) -> str:
        """`Xid 79`, or the kind where it has no code."""
        kind = words(self.kind)
        return kind if self.code is None else f"{kind.capitalize()} {self.code}"

    @property
    def told(self) -> str:
        return f"{self.name}: {self.text}".removesuffix(": ")


class Entry(NamedTuple):
    """One line of the story. `what` is the change of the incident, or `seen` for an event."""

    time: datetime
    what: str
    told: str


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One row's evidence. `risk` is the newest, `peak_risk` the highest, and `reasons` are those of the highest."""

    risk: float | None = None
    peak_risk: float | None = None
    horizon_s: int | None = None
    model_id: str = ""
    reasons: tuple[Reason, ...] = ()
    sightings: tuple[Sighting, ...] = ()
    count: int | None = None
    asked: tuple[str, ...] = ()
    held: dict[str, str] = {}
    job: str | None = None
    acknowledged_by: str | None = None
    silenced_until_s: float | None = None
    notes: tuple[str, ...] = ()
    closed_s: float | None = None


def decode(evidence: str | None) -> Evidence | None:
    """None where it is not what a watcher writes: the row is then shown without its evidence."""
    try:
        return msgspec.json.decode(evidence or "", type=Evidence)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def is_recorded(evidence: str | None) -> bool:
    """Whether there is anything to decode."""
    return (evidence or "").strip() not in {"", "[]", "{}", "null"}


def headline(summary: str | None) -> str:
    """The first line of a summary; that it is synthetic is said by a badge."""
    return (summary or "").partition("\n")[0].removeprefix("SYNTHETIC: ").strip()


def timeline(log: Sequence[Mapping[str, Any]]) -> list[Entry]:
    """What happened, oldest first: each change with what it tells, and each event at the time it was seen.

    `log`: rows of the lake's `incidents`, oldest first. One whose evidence tells nothing tells its summary, code and
    risk.
    """
    entries: list[Entry] = []
    before = Evidence()
    for row in log:
        change, now = str(row["change"]), decode(row["evidence"])
        seen = [] if now is None else [s for s in now.sightings if s not in before.sightings]
        entries += [Entry(datetime.fromtimestamp(s.time, UTC), "seen", s.told) for s in seen]
        told = "" if now is None else "; ".join(_news(change, now, before))
        if not told and not seen:
            told = "; ".join(_own(row))
        if told or not (seen and change == "joined"):
            entries.append(Entry(row["time"], change, told))
        before = now or before
    return sorted(entries, key=lambda entry: entry.time)


def _news(change: str, now: Evidence, before: Evidence) -> list[str]:
    """What one row tells that the row before it did not, beside the events it saw."""
    told = [_risk(now)] if change == "opened" and now.peak_risk is not None else []
    told += [f"asks for {words(name)}" for name in now.asked if name not in before.asked]
    told += [
        f"holds back {words(name)}: {why}" for name, why in now.held.items() if before.held.get(name) != why
    ]
    return told + [note for note in now.notes if note not in before.notes]


def _own(row: Mapping[str, Any]) -> list[str]:
    """What a row tells beside its evidence, each once."""
    first, code, risk = headline(row.get("summary")), row.get("code"), row.get("risk")
    told = [first] if first else []
    if code is not None and f"{code}" not in first:
        told.append(f"Xid {code}")
    if risk is not None and f"{risk:.2f}" not in first:
        told.append(f"risk {risk:.2f}")
    return told


def words(name: str) -> str:
    """A name of the contract as people write it: `drain_now` is drain now."""
    return name.replace("_", " ")


def _risk(now: Evidence) -> str:
    newest = now.peak_risk if now.risk is None else now.risk
    within = "" if now.horizon_s is None else f" of a fault within {now.horizon_s / 60:.0f} min"
    return f"risk {newest:.2f}{within}"
