"""Reductions of one telemetry column over a batch, merged into one slot per GPU. NaN is "not known".

`Grid` lays a batch out as a table: a column per GPU, its rows downward in time order. Reductions then run down
the rows for all GPUs at once, which is what a processor does best.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_WASTE: Final = 4
"""A grid may be this many times larger than its batch; then it is cut where the shorter columns end."""


class Grid:
    """Where the rows of each GPU lie. `rows` are row numbers of a batch, `slots` their GPUs. Not empty."""

    def __init__(self, slots: Ints, starts: Ints, lengths: Ints, rows: Ints) -> None:
        self.slots = slots
        self.lengths = lengths
        depth = int(lengths.max())
        places = np.arange(depth)[:, None]
        self.real: Bools = places < lengths
        self.even = bool(self.real.all())
        self._rows: Ints = rows[np.minimum(starts + places, starts + lengths - 1)]
        self.ends: Ints = self._rows[-1]
        """The last row of each GPU."""

    @staticmethod
    def of(slots: Ints, rows: Ints) -> Iterator[Grid]:
        """The grids of a batch: one, or several in time order where some GPUs have many more rows than others."""
        order = np.argsort(slots, kind="stable")
        arranged = slots[order]
        new = np.append(True, arranged[1:] != arranged[:-1])
        starts = np.flatnonzero(new)
        lengths = np.diff(np.append(starts, len(arranged)))
        yield from _cut(arranged[starts], starts, lengths, rows[order])

    def take(self, values: Floats) -> Floats:
        """[rows, GPUs] of a column; what is beyond a GPU's own rows is not known."""
        taken = values[self._rows]
        if not self.even:
            taken[~self.real] = np.nan
        return taken

    def total(self, values: Bools) -> Ints:
        """How many are true, per GPU."""
        found: Ints = (values[self._rows] & self.real).sum(axis=0)
        return found


def _cut(slots: Ints, starts: Ints, lengths: Ints, rows: Ints) -> Iterator[Grid]:
    depth = int(lengths.max())
    if depth * len(slots) <= _WASTE * int(lengths.sum()):
        yield Grid(slots, starts, lengths, rows)
        return
    at = depth // _WASTE
    yield from _cut(slots, starts, np.minimum(lengths, at), rows)
    longer = lengths > at
    yield from _cut(slots[longer], starts[longer] + at, lengths[longer] - at, rows)


class Spread:
    """Those of mean, min, max and std that are `kept`. Sums are of the distance to the first value: no cancellation."""

    def __init__(self, size: int, kept: Collection[str]) -> None:
        self._kept = kept
        self._empty: dict[str, float] = {}
        if "mean" in kept or "std" in kept:
            self._empty |= {"reference": np.nan, "count": 0.0, "sum": 0.0}
        if "std" in kept:
            self._empty["squares"] = 0.0
        self._empty |= {name: np.nan for name in ("min", "max") if name in kept}
        self._of: dict[str, Floats] = {name: np.full(size, v) for name, v in self._empty.items()}

    def add(self, grid: Grid, values: Floats, *, whole: bool) -> None:
        """`values` [rows, GPUs]; `whole` when none of them is NaN."""
        mine = grid.slots
        if "reference" in self._of:
            self._sum_up(grid, values, whole=whole)
        # Without NaN the plain reductions give the same and are several times as fast.
        if "min" in self._of:
            lowest = (np.minimum if whole else np.fmin).reduce(values, axis=0)
            self._of["min"][mine] = np.fmin(self._of["min"][mine], lowest)
        if "max" in self._of:
            highest = (np.maximum if whole else np.fmax).reduce(values, axis=0)
            self._of["max"][mine] = np.fmax(self._of["max"][mine], highest)

    def _sum_up(self, grid: Grid, values: Floats, *, whole: bool) -> None:
        mine, reference = grid.slots, self._of["reference"]
        before = reference[mine]
        reference[mine] = np.where(np.isnan(before), values[0] if whole else _first(values), before)
        distance = values - reference[mine]
        if whole:
            self._of["count"][mine] += grid.lengths
        else:
            known = ~np.isnan(values)
            self._of["count"][mine] += known.sum(axis=0)
            distance[~known] = 0.0
        self._of["sum"][mine] += distance.sum(axis=0)
        if "squares" in self._of:
            distance *= distance
            self._of["squares"][mine] += distance.sum(axis=0)

    def take(self, slots: Ints) -> dict[str, Floats]:
        """The statistics of `slots`, which are empty afterwards."""
        had = {name: array[slots] for name, array in self._of.items()}
        for name, array in self._of.items():
            array[slots] = self._empty[name]
        found: dict[str, Floats] = {name: had[name] for name in ("min", "max") if name in had}
        if "reference" in had:
            count = np.where(had["count"] > 0, had["count"], np.nan)
            distance = had["sum"] / count
            # A mean lies between the extremes; the last bit of a division may not.
            mean = np.fmax(had["reference"] + distance, found.get("min", -np.inf))
            found["mean"] = np.where(np.isnan(distance), np.nan, np.fmin(mean, found.get("max", np.inf)))
            if "squares" in had:
                found["std"] = np.sqrt(np.maximum(had["squares"] / count - distance * distance, 0.0))
        return {name: found[name] for name in self._kept}

    def grow(self, more: int) -> None:
        self._of = {n: np.concatenate([a, np.full(more, self._empty[n])]) for n, a in self._of.items()}


class Counter:
    """The sum of increments. A counter that fell started again from zero. `previous` outlives the minute."""

    def __init__(self, size: int) -> None:
        self.previous: Floats = np.full(size, np.nan)
        self._risen: Floats = np.full(size, np.nan)

    def add(self, grid: Grid, values: Floats, *, whole: bool) -> None:
        """`values` [rows, GPUs]; `whole` when none of them is NaN."""
        mine = grid.slots
        before = self.previous[mine]
        if not whole:
            values = _forward_filled(values, before)
        earlier = np.concatenate([before[None], values[:-1]])
        step = values - earlier
        if (step < 0).any():
            step = np.where(values < earlier, values, step)
        counted = ~np.isnan(step) & grid.real
        risen = np.where(counted, step, 0.0).sum(axis=0)
        old = self._risen[mine]
        self._risen[mine] = np.where(counted.any(axis=0), np.where(np.isnan(old), 0.0, old) + risen, old)
        self.previous[mine] = values[-1]

    def take(self, slots: Ints) -> Floats:
        """Increments of `slots`, which count from nothing afterwards."""
        risen = self._risen[slots]
        self._risen[slots] = np.nan
        return risen

    def grow(self, more: int) -> None:
        self.previous = np.concatenate([self.previous, np.full(more, np.nan)])
        self._risen = np.concatenate([self._risen, np.full(more, np.nan)])


class Last:
    """The last value that was known within the minute."""

    def __init__(self, size: int) -> None:
        self._value: Floats = np.full(size, np.nan)

    def add(self, slots: Ints, values: Floats) -> None:
        """One value per slot, NaN where there is none that is newer."""
        self._value[slots] = np.where(np.isnan(values), self._value[slots], values)

    def take(self, slots: Ints) -> Floats:
        """Last values of `slots`, which know nothing afterwards."""
        value = self._value[slots]
        self._value[slots] = np.nan
        return value

    def grow(self, more: int) -> None:
        self._value = np.concatenate([self._value, np.full(more, np.nan)])


def last_known(values: Floats) -> Floats:
    """[rows, GPUs] -> per GPU its last known value, or NaN."""
    return _first(values[::-1])


def _first(values: Floats) -> Floats:
    """Per GPU the first known value, or NaN."""
    first: Floats = values[0].copy()
    for row in values[1:]:
        missing = np.isnan(first)
        if not missing.any():
            break
        first[missing] = row[missing]
    return first


def _forward_filled(values: Floats, before: Floats) -> Floats:
    """Each row's last known value; above the first known one that of the slot."""
    filled = values.copy()
    for i, row in enumerate(filled):
        np.copyto(row, before if i == 0 else filled[i - 1], where=np.isnan(row))
    return filled
