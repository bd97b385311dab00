"""What changes a signal of one slot: steps and ramps of counters, passing episodes of gauges. Evaluated at any time.

A counter is the sum of its effects so far; a driver reload is a negative step, so nothing has to be played from
the start. Times are seconds since the fleet's start.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pipeline.fleet_noise import Bools, Floats, Ints


class Signal(IntEnum):
    """Counters first, then gauges (see `COUNTERS`)."""

    SBE_VOLATILE = 0
    SBE_AGGREGATE = 1
    DBE_VOLATILE = 2
    DBE_AGGREGATE = 3
    REMAP_CORRECTABLE = 4
    REMAP_UNCORRECTABLE = 5
    PCIE_REPLAY = 6
    NVLINK_FLIT = 7
    NVLINK_DATA = 8
    NVLINK_REPLAY = 9
    NVLINK_RECOVERY = 10
    SRAM_VOLATILE = 11
    SRAM_AGGREGATE = 12
    THERMAL_US = 13
    TEMPERATURE_C = 14
    LATENCY_FACTOR = 15
    UNREAD = 16
    LOST = 17
    HUNG = 18
    NODE_GAP = 19
    WIDTH_DROP = 20
    REMAP_PENDING = 21
    GAP_S = 22


COUNTERS: Final = tuple(s for s in Signal if s <= Signal.THERMAL_US)
LIFETIME: Final = (
    Signal.SBE_AGGREGATE, Signal.DBE_AGGREGATE, Signal.REMAP_CORRECTABLE, Signal.REMAP_UNCORRECTABLE,
    Signal.SRAM_AGGREGATE,
)  # fmt: skip
"""Counters of the card: a driver reload leaves them, a swap does not."""
_TWINS: Final = {
    Signal.SBE_VOLATILE: Signal.SBE_AGGREGATE,
    Signal.DBE_VOLATILE: Signal.DBE_AGGREGATE,
    Signal.SRAM_VOLATILE: Signal.SRAM_AGGREGATE,
}


class Effect(NamedTuple):
    """Parallel arrays. A counter rises by `amount` from `begin` to `end`, as ((t-begin)/(end-begin))**power."""

    slot: Ints
    begin: Floats
    end: Floats
    amount: Floats
    power: Floats


def effect(
    slot: ArrayLike, begin: ArrayLike, end: ArrayLike, amount: ArrayLike, power: float = 1.0
) -> Effect:
    """Arrays of one length; scalars are repeated."""
    given = (np.asarray(x, dtype=np.float64) for x in (slot, begin, end, amount, power))
    slots, begins, ends, amounts, powers = (np.atleast_1d(x) for x in np.broadcast_arrays(*given))
    return Effect(slots.astype(np.int64), begins, ends, amounts, powers)


def _risen(e: Effect, at: Floats) -> Floats:
    """What counter effects have added by `at` (aligned with e, or with one axis more): whole errors only."""
    width = np.maximum(e.end - e.begin, 1e-9)
    begin, power, amount = e.begin, e.power, e.amount
    if at.ndim == 2:
        begin, width, power, amount = (x[:, None] for x in (begin, width, power, amount))
    share = np.clip((at - begin) / width, 0.0, 1.0) ** power
    share = np.where(at >= begin, share, 0.0)
    return np.trunc(amount * share)


def _level(e: Effect, at: Floats) -> Floats:
    """What each episode adds to its gauge at its row of `at`."""
    share = (at - e.begin[:, None]) / np.maximum(e.end - e.begin, 1e-9)[:, None]
    inside = (share >= 0) & (share < 1)
    out: Floats = e.amount[:, None] * np.clip(share, 0, 1) ** e.power[:, None] * inside
    return out


def _pairs(slots: Ints, wanted: Ints) -> tuple[Ints, Ints]:
    """All (i, j) with wanted[i] == slots[j]."""
    by_slot = np.argsort(slots, kind="stable")
    low, high = (np.searchsorted(slots[by_slot], wanted, side) for side in ("left", "right"))
    owner = np.repeat(np.arange(wanted.size), high - low)
    within = np.arange(owner.size) - np.repeat(np.cumsum(high - low) - (high - low), high - low)
    return owner, by_slot[low[owner] + within]


def _picked(e: Effect, which: Bools | Ints) -> Effect:
    return Effect(e.slot[which], e.begin[which], e.end[which], e.amount[which], e.power[which])


class Effects:
    """All effects of a fleet by signal. Add, then `seal` with the resets, then ask."""

    def __init__(self, gpus: int) -> None:
        self.slots = gpus
        self._parts: dict[Signal, list[Effect]] = {s: [] for s in Signal}
        self._all: dict[Signal, Effect] = {}
        self._base: dict[Signal, tuple[float, Floats]] = {}
        self._near: dict[Signal, tuple[float, float, Effect]] = {}

    def add(self, signal: Signal, added: Effect) -> None:
        self._parts[signal].append(added)
        if (twin := _TWINS.get(signal)) is not None:
            self._parts[twin].append(added)

    def seal(self, reset_slot: Ints, reset_s: Floats, swapped: Bools) -> None:
        """Counters restart at each reset; those of the card only where it was `swapped`."""
        for signal, parts in self._parts.items():
            e = _joined(parts)
            if signal in COUNTERS:
                which = swapped if signal in LIFETIME else np.ones(reset_slot.size, dtype=bool)
                e = _joined([e, _restarts(e, reset_slot[which], reset_s[which])])
            self._all[signal] = e
        self._parts.clear()

    def of_slots(self, slots: Ints) -> Effects:
        """The same of these slots (sorted) alone, numbered by their place in `slots`."""
        out = Effects(slots.size)
        out._parts.clear()
        for signal, e in self._all.items():
            place = np.minimum(np.searchsorted(slots, e.slot), slots.size - 1)
            mine = np.flatnonzero(slots[place] == e.slot)
            out._all[signal] = _picked(e, mine)._replace(slot=place[mine])
        return out

    def touched(self, signal: Signal, begin_s: float, end_s: float) -> Effect:
        """The effects of `signal` under way in [begin_s, end_s)."""
        return self._during(signal, begin_s, end_s)

    def gauge_at(self, signal: Signal, slot: Ints, times_s: Floats) -> Floats:
        """The same as `gauge`, for row i of `times_s` in `slot[i]`."""
        out = np.zeros(times_s.shape)
        if not slot.size:
            return out
        e = self._during(signal, float(times_s.min()), float(times_s.max()) + 1e-6)
        owner, which = _pairs(e.slot, slot)
        np.add.at(out, owner, _level(_picked(e, which), times_s[owner]))
        return out

    def counter(self, signal: Signal, first: int, last: int, times_s: Floats) -> Floats:
        """Value of slots [first, last) at sorted `times_s`: shape (slots, times)."""
        begin_s = float(times_s[0])
        out = np.repeat(self._before(signal, begin_s)[first:last, None], times_s.size, axis=1)
        active = self._touching(signal, first, last, begin_s, float(times_s[-1]) + 1e-6)
        _play(out, active._replace(slot=active.slot - first), times_s)
        return out

    def moving(self, signal: Signal, times_s: Floats) -> tuple[Floats, Ints, Floats]:
        """A counter of all slots where few move: its value before, the slots that move, and their (slots, times)."""
        before = self._before(signal, float(times_s[0]))
        active = self._during(signal, float(times_s[0]), float(times_s[-1]) + 1e-6)
        slots, place = np.unique(active.slot, return_inverse=True)
        out = np.repeat(before[slots, None], times_s.size, axis=1)
        _play(out, active._replace(slot=place), times_s)
        return before, slots, out

    def gauge(self, signal: Signal, first: int, last: int, times_s: Floats) -> Floats:
        """Sum of the episodes under way: shape (slots, times). A power of 0 holds the full amount."""
        out = np.zeros((last - first, times_s.size))
        e = self._touching(signal, first, last, float(times_s[0]), float(times_s[-1]) + 1e-6)
        value = _level(e, np.broadcast_to(times_s, (e.slot.size, times_s.size)))
        np.add.at(out, e.slot - first, value)
        return out

    def _touching(self, signal: Signal, first: int, last: int, begin_s: float, end_s: float) -> Effect:
        e = self._during(signal, begin_s, end_s)
        return e if not e.slot.size else _picked(e, (e.slot >= first) & (e.slot < last))

    def _during(self, signal: Signal, begin_s: float, end_s: float) -> Effect:
        """Effects of any slot in [begin_s, end_s). The last answer is kept: a fleet is asked in parts."""
        known = self._near.get(signal)
        if known is not None and known[:2] == (begin_s, end_s):
            return known[2]
        e = self._all[signal]
        upto = int(np.searchsorted(e.begin, end_s, side="left"))
        near = _picked(e, np.flatnonzero(np.maximum(e.end[:upto], e.begin[:upto]) >= begin_s))
        self._near[signal] = (begin_s, end_s, near)
        return near

    def _before(self, signal: Signal, at_s: float) -> Floats:
        """Sum of what had ended before `at_s`, of every slot."""
        if (known := self._base.get(signal)) is not None and known[0] == at_s:
            return known[1]
        e = self._all[signal]
        over = np.maximum(e.end, e.begin) < at_s
        total = np.bincount(e.slot[over], np.trunc(e.amount[over]), minlength=self.slots).astype(np.float64)
        self._base[signal] = (at_s, total)
        return total


def _play(out: Floats, active: Effect, times_s: Floats) -> None:
    """Add what `active` adds to the rows `active.slot` of a counter at `times_s`."""
    steps = active.end <= active.begin
    if steps.any():
        rises = np.zeros_like(out)
        column = np.searchsorted(times_s, active.begin[steps], side="left")
        np.add.at(rises, (active.slot[steps], column), np.trunc(active.amount[steps]))
        out += np.cumsum(rises, axis=1)
    ramps = _picked(active, ~steps)
    np.add.at(out, ramps.slot, _risen(ramps, np.broadcast_to(times_s, (ramps.slot.size, times_s.size))))


def add_silence(effects: Effects, signal: Signal, slot: Ints, begin: Floats, end: Floats) -> None:
    """No answer in [begin, end): `signal` says how, and gap_s grows until the first answer after it."""
    effects.add(signal, effect(slot, begin, end, 1, 0))
    effects.add(Signal.GAP_S, effect(slot, begin, end + 1, end + 1 - begin))


def _joined(parts: Iterable[Effect]) -> Effect:
    parts = [p for p in parts if p.slot.size]
    if not parts:
        empty = np.empty(0)
        return Effect(np.empty(0, np.int64), empty, empty, empty, empty)
    together = Effect(*(np.concatenate(x) for x in zip(*parts, strict=True)))
    return _picked(together, np.argsort(together.begin, kind="stable"))


def _restarts(e: Effect, slot: Ints, at_s: Floats) -> Effect:
    """Negative steps that bring the counter to 0 at each (slot, at_s)."""
    order = np.lexsort((at_s, slot))
    slot, at_s = slot[order], at_s[order]
    owner, which = _pairs(e.slot, slot)
    pairs = _picked(e, which)
    reached = np.bincount(owner, _risen(pairs, at_s[owner]), minlength=slot.size)
    again = np.concatenate([[False], slot[1:] == slot[:-1]]) if slot.size else np.empty(0, bool)
    fall = reached - np.where(again, np.roll(reached, 1), 0.0)
    kept = fall > 0
    return effect(slot[kept], at_s[kept], at_s[kept], -fall[kept])
