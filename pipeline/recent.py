"""The last hour and day of every GPU of one worker, in rings: what live features look back on.

Each signal is kept for as many minutes as its longest window, each daily counter by the hour. Every GPU goes at its
own pace: one that comes an hour late is scored with what was known of it and its node an hour ago, as in training.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl

from pipeline.event_history import EventHistory
from pipeline.features import EMPTY, matrix
from pipeline.minute_features import Day, minute_features
from pipeline.signals import (
    DAY_SIGNALS,
    INPUTS,
    KEYS,
    LOOK_BACK_HOURS,
    SIGNALS,
    Floats,
    Ints,
    codes,
    measured,
    minute_numbers,
)
from pipeline.windows import added

FORGET_AFTER_MINUTES: Final = 48 * 60
"""A GPU that is this far behind the newest minute is forgotten; until then it may come back with what it missed."""
_NEVER: Final = -1


class RecentMinutes:
    """Grows with the GPUs that were told of in the last two days, and no further."""

    def __init__(self) -> None:
        self._slot_of: dict[str, int] = {}
        self._uuid: list[str] = []
        self._free: list[int] = []
        self._minute: Ints = np.empty(0, np.int64)
        self._hour: Ints = np.empty(0, np.int64)
        self._minutes = {s.name: np.empty((s.minutes, 0)) for s in SIGNALS}
        self._hours = {s.name: np.empty((LOOK_BACK_HOURS, 0)) for s in DAY_SIGNALS}
        self.newest_minute = _NEVER
        """The newest minute of any GPU, since the Unix epoch."""

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        rings = [*self._minutes.values(), *self._hours.values(), self._minute, self._hour]
        return sum(ring.nbytes for ring in rings)

    @property
    def gpus(self) -> int:
        return len(self._slot_of)

    def push(self, rolled: pl.DataFrame, history: EventHistory) -> pl.DataFrame:
        """Take new rollups; the feature matrix of these rows (`pipeline.features`), in the order of their minutes.

        A node's minutes come in order, and all of a node's GPUs of one minute come together. A row that is not
        newer than what its GPU has already was there before: it is left out.
        """
        parts = [EMPTY]
        for rows, minute, slots in self._taken(rolled):
            node = codes(rows["node"])[None, :]
            found = minute_features(_LiveBlock(self._minutes, self._hours, minute, slots, node))
            parts.append(matrix(rows, {n: v[0] for n, v in found.items()} | history.features(rows)))
        return pl.concat(parts)

    def remember(self, rolled: pl.DataFrame) -> None:
        """Take rollups that are scored already: on start, from the lake."""
        for _ in self._taken(rolled):
            pass

    def remember_hours(self, hours: pl.DataFrame) -> None:
        """Take sums per GPU and clock hour (gpu_uuid, hour, one column per daily signal), before any minute."""
        for (hour,), rows in (
            hours.sort("hour").partition_by("hour", as_dict=True, maintain_order=True).items()
        ):
            slots = self._slots(rows["gpu_uuid"])
            values = {s.name: rows[s.name].fill_null(np.nan).to_numpy() for s in DAY_SIGNALS}
            self._add_hour(slots, int(hour.timestamp()) // 3600, values)

    def _taken(self, rolled: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, int, Ints]]:
        """Minute by minute: the rows that are new, written into the rings."""
        wanted = rolled.select(*KEYS, *INPUTS).unique(
            ["gpu_uuid", "minute"], keep="first", maintain_order=True
        )
        each = wanted.sort("minute", maintain_order=True).partition_by("minute", maintain_order=True)
        for told in each:
            minute = int(minute_numbers(told[:1])[0])
            slots = self._slots(told["gpu_uuid"])
            fresh = self._minute[slots] < minute
            rows = told if fresh.all() else told.filter(fresh)
            slots = slots[fresh]
            if len(slots):
                self._write(rows, minute, slots)
                yield rows, minute, slots

    def _write(self, rows: pl.DataFrame, minute: int, slots: Ints) -> None:
        values = measured(rows)
        _clear_skipped(self._minutes, slots, self._minute[slots], minute)
        for name, ring in self._minutes.items():
            ring[minute % len(ring), slots] = values[name]
        self._minute[slots] = minute
        self._add_hour(slots, minute // 60, values)
        if minute // 60 > self.newest_minute // 60:
            self._forget(minute - FORGET_AFTER_MINUTES)
        self.newest_minute = max(self.newest_minute, minute)

    def _add_hour(self, slots: Ints, hour: int, values: dict[str, Floats]) -> None:
        _clear_skipped(self._hours, slots, self._hour[slots], hour)
        self._hour[slots] = hour
        for name, ring in self._hours.items():
            ring[hour % len(ring), slots] = added(ring[hour % len(ring), slots], values[name])

    def _slots(self, uuids: pl.Series) -> Ints:
        """The slot of each GPU; a new one gets a free slot."""
        names = uuids.to_list()
        slots = np.fromiter((self._slot_of.get(name, -1) for name in names), np.int64, len(names))
        unknown = np.flatnonzero(slots < 0)
        self._make_room(len(unknown))
        for i in unknown:
            slots[i] = self._slot_of[names[i]] = self._free.pop()
            self._uuid[slots[i]] = names[i]
        return slots

    def _make_room(self, wanted: int) -> None:
        more = wanted - len(self._free)
        if more <= 0:
            return
        size = len(self._uuid)
        more = max(more, size // 4)
        self._free[:0] = range(size + more - 1, size - 1, -1)
        self._uuid += [""] * more
        self._minute = np.append(self._minute, np.full(more, _NEVER))
        self._hour = np.append(self._hour, np.full(more, _NEVER))
        for rings in (self._minutes, self._hours):
            for name, ring in rings.items():
                rings[name] = np.concatenate([ring, np.full((len(ring), more), np.nan)], axis=1)

    def _forget(self, before: int) -> None:
        gone = np.flatnonzero((self._minute != _NEVER) & (self._minute < before))
        for slot in gone:
            del self._slot_of[self._uuid[slot]]
            self._free.append(int(slot))
        self._minute[gone] = self._hour[gone] = _NEVER
        for ring in (*self._minutes.values(), *self._hours.values()):
            ring[:, gone] = np.nan


def _clear_skipped(rings: dict[str, Floats], slots: Ints, newest: Ints, now: int) -> None:
    """From what each slot has newest to `now`: the places in its rings hold a time long past, and become unknown."""
    skipped = np.where(newest == _NEVER, 0, now - newest)
    longest = max(len(ring) for ring in rings.values())
    for back in range(min(int(skipped.max(initial=0)), longest)):
        stale = slots[skipped > back]
        for ring in rings.values():
            if back < len(ring):
                ring[(now - back) % len(ring), stale] = np.nan


class _LiveBlock:
    """A pipeline.minute_features.Block of one minute, out of the rings."""

    def __init__(
        self, minutes: dict[str, Floats], hours: dict[str, Floats], minute: int, slots: Ints, node: Ints
    ) -> None:
        self._minutes, self._hours, self._minute, self._slots = minutes, hours, minute, slots
        self.node = node

    def of(self, signal: str, minutes: int = 1) -> Floats:
        return _last(self._minutes[signal], self._minute, minutes, self._slots)

    def day(self, signal: str) -> Day:
        ring, hour = self._hours[signal], self._minute // 60
        before = _last(ring, hour - 1, LOOK_BACK_HOURS - 1, self._slots)
        return Day(before, np.zeros(1, np.int64), _last(ring, hour, 1, self._slots))


def _last(ring: Floats, now: int, count: int, slots: Ints) -> Floats:
    """The `count` rows of a ring that end with `now`, oldest first."""
    out = np.empty((count, len(slots)))
    for i in range(count):
        np.take(ring[(now - count + 1 + i) % len(ring)], slots, out=out[i])
    return out
