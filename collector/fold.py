"""One fault, one event: what two sources tell, and what a storm repeats, is told once and then updated.

Pure: the clock comes in. Bounded: one small entry per (GPU, code), the least recently heard is forgotten.
An update carries the fingerprint of its event; its `count` and `last_time` grow. A consumer keeps the newest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from collector.fold_merge import Variant, merged, variant
from collector.records import Event
from collector.xid import GONE

UPDATE_S: Final = 60.0
"""A storm tells its count at most this often."""
QUIET_S: Final = 60.0
"""The same code on the same GPU after this long is a new event."""

_SETTLE_S: Final = 0.5
"""What follows an SXid line (Severity, Data) comes within milliseconds: wait this long, then tell it once."""
_ROOT_S: Final = 3600.0
_PLACES: Final = 1024
_PER_BASE: Final = 8
_TEXT_CAP: Final = 1024
_FOLDED_KINDS: Final = ("xid", "sxid", "gpu_lost")

_Base = tuple[str, str | None, str, int | None]
"""Node, place (PCI address, else UUID), kind, code."""


def fingerprint(event: Event) -> str:
    """Identity of an event: node, GPU, kind, code, text and the microsecond it was first seen."""
    return _digest(event.node, event.pci_bdf, event.kind, event.code, event.text, round(event.time * 1e6))


def line_fingerprint(node: str, boot_id: str, sequence: int) -> str:
    """Identity of the event of one kernel record: a replay after a crash gives the same one again."""
    return _digest(node, boot_id, sequence)


def _digest(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()


@dataclass(slots=True, eq=False)
class _Told:
    """An event that was told and may go on."""

    event: Event
    base: _Base
    variant: Variant
    last_time: float
    told_at: float
    seen_at: float
    counts: dict[str, int] = field(default_factory=dict)
    """How often each source told it. Two sources tell of the same faults, so the larger one counts."""
    told_count: int = 0
    richer: bool = False

    @property
    def count(self) -> int:
        return max(self.counts.values())


class Fold:
    """What to tell of the events that are offered. `now_s` is one clock for both methods, in seconds.

    An event comes back at once when it is new. An echo of it (another source within `fold_s`) and a repeat
    (within `quiet_s` of the last) come back as updates: at once when they know more, else at most every
    `update_s`. An event whose fingerprint is set keeps it.
    """

    def __init__(self, fold_s: float, *, quiet_s: float = QUIET_S, update_s: float = UPDATE_S) -> None:
        self._fold_s = fold_s
        self._quiet_s = max(quiet_s, fold_s)
        self._update_s = update_s
        self._told: dict[_Base, list[_Told]] = {}
        self._unsaid: dict[_Told, None] = {}
        self.folded = 0
        """How many events were an echo or a repeat of one that was told."""
        self.orphans = 0
        """Continuation lines without the SXid line before them: overwritten, or told before a restart."""

    @property
    def settled(self) -> bool:
        """Everything that was offered has been told."""
        return not self._unsaid

    def offer(self, event: Event, now_s: float, *, detail: bool = False) -> list[Event]:
        """The events to tell now. `detail`: a continuation of the SXid line before, not an event of its own."""
        if detail:
            self._continue(event, now_s)
            return []
        if event.kind not in _FOLDED_KINDS:
            return [_named(event)]
        event = self._rooted(event)
        known = self._find(event)
        return self._open(event, now_s) if known is None else self._join(known, event, now_s)

    def tick(self, now_s: float) -> list[Event]:
        """The updates that are due. Call it some times a second: it costs nothing while there is no storm."""
        due = [told for told in self._unsaid if self._is_due(told, now_s)]
        return [self._tell(told, now_s) for told in due]

    def close(self, now_s: float) -> list[Event]:
        """Every update that was not told yet: the agent stops."""
        return [self._tell(told, now_s) for told in list(self._unsaid)]

    def _is_due(self, told: _Told, now_s: float) -> bool:
        if told.richer and now_s - told.seen_at >= _SETTLE_S:
            return True
        return now_s - told.told_at >= self._update_s or now_s - told.seen_at >= self._quiet_s

    def _open(self, event: Event, now_s: float) -> list[Event]:
        told = _Told(
            _named(event),
            _base(event),
            variant(event),
            event.time,
            now_s,
            now_s,
            {event.source: event.count},
        )
        forgotten = self._register(told)
        return [
            *(self._tell(old, now_s) for old in forgotten if old in self._unsaid),
            self._tell(told, now_s),
        ]

    def _register(self, told: _Told) -> list[_Told]:
        """Remember `told`; what had to be forgotten for it. By age, since a replay brings old events late."""
        others = sorted(self._told.pop(told.base, []), key=lambda other: other.last_time)
        gone, kept = others[: 1 - _PER_BASE], others[1 - _PER_BASE :]
        self._told[told.base] = [*kept, told]
        if len(self._told) > _PLACES:
            gone += self._told.pop(next(iter(self._told)))
        return gone

    def _find(self, event: Event) -> _Told | None:
        """The event that this one repeats or echoes, the one that says the same before one that says less."""
        says = variant(event)
        same = [t for b in self._bases(event) for t in self._told.get(b, ()) if self._is_same(t, event, says)]
        return max(same, key=lambda told: (told.variant == says, told.last_time), default=None)

    def _bases(self, event: Event) -> Iterator[_Base]:
        node, place, kind, code = base = _base(event)
        yield base
        if kind == "gpu_lost":
            yield node, place, "xid", GONE
        elif (kind, code) == ("xid", GONE):
            yield node, place, "gpu_lost", None
        if place is not None:
            yield node, None, kind, code
        else:  # NVML could not say which GPU it was
            yield from (
                b for b in self._told if (b[0], b[2], b[3]) == (node, kind, code) and b[1] is not None
            )

    def _is_same(self, told: _Told, event: Event, says: Variant) -> bool:
        heard_before = event.source in told.counts
        reach_s = self._quiet_s if heard_before else self._fold_s
        if not told.event.time - self._fold_s <= event.time <= told.last_time + reach_s:
            return False
        if _base(event)[1] != told.base[1] and event.source == told.event.source:
            return False
        return says in (told.variant, None) or (told.variant is None and not heard_before)

    def _join(self, told: _Told, event: Event, now_s: float) -> list[Event]:
        self.folded += 1
        if event.kind == told.event.kind:
            told.counts[event.source] = told.counts.get(event.source, 0) + event.count
        elif told.event.kind == "gpu_lost":  # it is an Xid 79 from here on, and counted as one
            told.counts = {event.source: event.count}
        told.last_time = max(told.last_time, event.time)
        told.seen_at = now_s
        both = merged(told.event, event)
        if both != told.event:
            self._learn(told, both)
            return [self._tell(told, now_s)]
        self._told[told.base] = self._told.pop(told.base)
        if told.count > told.told_count:
            self._unsaid[told] = None
            if now_s - told.told_at >= self._update_s:
                return [self._tell(told, now_s)]
        return []

    def _learn(self, told: _Told, event: Event) -> None:
        """More is known of an event: it may now stand at another place or code."""
        rest = [other for other in self._told.pop(told.base) if other is not told]
        if rest:
            self._told[told.base] = rest
        told.event, told.base, told.variant = event, _base(event), variant(event) or told.variant
        self._register(told)

    def _tell(self, told: _Told, now_s: float) -> Event:
        self._unsaid.pop(told, None)
        told.told_count, told.told_at, told.richer = told.count, now_s, False
        last_time = told.last_time if told.count > 1 else None
        return msgspec.structs.replace(told.event, count=told.count, last_time=last_time)

    def _continue(self, event: Event, now_s: float) -> None:
        there = self._told.get(_base(event))
        told = max(there, key=lambda t: t.seen_at) if there else None
        if told is None or not 0 <= event.time - told.last_time <= self._fold_s:
            self.orphans += 1
        elif told.count == 1 and len(told.event.text) + len(event.text) < _TEXT_CAP:
            told.event = msgspec.structs.replace(told.event, text=f"{told.event.text}; {event.text}")
            told.richer, told.seen_at = True, now_s
            self._unsaid[told] = None

    def _rooted(self, event: Event) -> Event:
        if event.root_code is None:
            return event
        node, place, _, _ = _base(event)
        there = self._told.get((node, place, "xid", event.root_code), ())
        near = [told for told in there if abs(event.time - told.last_time) <= _ROOT_S]
        if not near:
            return event
        root = max(near, key=lambda told: told.last_time).event.fingerprint
        return msgspec.structs.replace(event, root_fingerprint=root)


def _named(event: Event) -> Event:
    return event if event.fingerprint else msgspec.structs.replace(event, fingerprint=fingerprint(event))


def _base(event: Event) -> _Base:
    return event.node, event.pci_bdf if event.pci_bdf is not None else event.gpu_uuid, event.kind, event.code
