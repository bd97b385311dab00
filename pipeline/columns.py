"""Reductions of one telemetry column over the segments of a batch, merged into one slot per GPU.

`Segments` is a batch sorted by slot: the rows of one GPU stand together, in time order. NaN is "not known".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Number = TypeVar("Number", np.float64, np.int64)


class Segments:
    """Where each GPU's rows lie after a stable sort of `slots`. Not empty."""

    def __init__(self, slots: Ints) -> None:
        self.order: Ints = np.argsort(slots, kind="stable")
        arranged = slots[self.order]
        new = np.empty(len(arranged), bool)
        new[0] = True
        np.not_equal(arranged[1:], arranged[:-1], out=new[1:])
        self.starts: Ints = np.flatnonzero(new)
        self.lengths: Ints = np.diff(np.append(self.starts, len(arranged)))
        self.ends: Ints = self.starts + self.lengths - 1
        self.slots: Ints = arranged[self.starts]
        self._places: Ints = np.arange(len(arranged))

    def total(self, values: Bools) -> Ints:
        """How many are true, per segment."""
        return np.add.reduceat(values.astype(np.int64), self.starts)

    def last_valid(self, valid: Bools) -> tuple[Bools, Ints]:
        """Per segment: whether any row is valid, and the position of the last one that is."""
        place = np.where(valid, self._places, -1)
        last = np.maximum.reduceat(place, self.starts)
        return last >= 0, last

    def spread(self, per_segment: NDArray[Number]) -> NDArray[Number]:
        """One value per segment -> one per row."""
        return np.repeat(per_segment, self.lengths)


class Spread:
    """Mean, min, max and standard deviation. Sums are of the distance to the first value: no cancellation."""

    def __init__(self, size: int) -> None:
        self._reference: Floats = np.full(size, np.nan)
        self._count: Floats = np.zeros(size)
        self._sum: Floats = np.zeros(size)
        self._squares: Floats = np.zeros(size)
        self._min: Floats = np.full(size, np.nan)
        self._max: Floats = np.full(size, np.nan)

    def add(self, segments: Segments, values: Floats) -> None:
        mine, starts = segments.slots, segments.starts
        known = ~np.isnan(values)
        whole = bool(known.all())
        first = values[starts] if whole else _first(segments, values, known)
        self._reference[mine] = np.where(np.isnan(self._reference[mine]), first, self._reference[mine])
        distance = values - segments.spread(self._reference[mine])
        if not whole:
            distance = np.where(known, distance, 0.0)
        self._count[mine] += segments.lengths if whole else segments.total(known)
        self._sum[mine] += np.add.reduceat(distance, starts)
        self._squares[mine] += np.add.reduceat(distance * distance, starts)
        # Without NaN the plain reductions give the same and are several times as fast.
        low, high = (np.minimum, np.maximum) if whole else (np.fmin, np.fmax)
        self._min[mine] = np.fmin(self._min[mine], low.reduceat(values, starts))
        self._max[mine] = np.fmax(self._max[mine], high.reduceat(values, starts))

    def take(self, slots: Ints, kept: Sequence[str]) -> dict[str, Floats]:
        """The statistics `kept` of `slots`, which are empty afterwards."""
        count = np.where(self._count[slots] > 0, self._count[slots], np.nan)
        mean_distance = self._sum[slots] / count
        variance = np.maximum(self._squares[slots] / count - mean_distance * mean_distance, 0.0)
        # A mean lies between the extremes; the last bit of a division may not.
        mean = np.clip(self._reference[slots] + mean_distance, self._min[slots], self._max[slots])
        found = {"mean": mean, "min": self._min[slots], "max": self._max[slots], "std": np.sqrt(variance)}
        for array, empty in (
            (self._reference, np.nan), (self._count, 0.0), (self._sum, 0.0), (self._squares, 0.0),
            (self._min, np.nan), (self._max, np.nan),
        ):  # fmt: skip
            array[slots] = empty
        return {name: found[name] for name in kept}

    def grow(self, more: int) -> None:
        for name in ("_reference", "_min", "_max"):
            setattr(self, name, np.concatenate([getattr(self, name), np.full(more, np.nan)]))
        for name in ("_count", "_sum", "_squares"):
            setattr(self, name, np.concatenate([getattr(self, name), np.zeros(more)]))


class Counter:
    """The sum of increments. A counter that fell started again from zero. `previous` outlives the minute."""

    def __init__(self, size: int) -> None:
        self.previous: Floats = np.full(size, np.nan)
        self._risen: Floats = np.full(size, np.nan)

    def add(self, segments: Segments, values: Floats) -> None:
        mine, starts = segments.slots, segments.starts
        known = ~np.isnan(values)
        filled = values if known.all() else _forward_filled(segments, values, known, self.previous[mine])
        before = np.empty_like(filled)
        before[1:] = filled[:-1]
        before[starts] = self.previous[mine]
        step = np.where(values < before, values, values - before)
        counted = ~np.isnan(step)
        risen = np.add.reduceat(np.where(counted, step, 0.0), starts)
        some = np.logical_or.reduceat(counted, starts)
        old = self._risen[mine]
        self._risen[mine] = np.where(some, np.where(np.isnan(old), 0.0, old) + risen, old)
        self.previous[mine] = filled[segments.ends]

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

    def add(self, segments: Segments, values: Floats) -> None:
        known = ~np.isnan(values)
        if known.all():
            self._value[segments.slots] = values[segments.ends]
            return
        found, where = segments.last_valid(known)
        self._value[segments.slots[found]] = values[where[found]]

    def take(self, slots: Ints) -> Floats:
        """Last values of `slots`, which know nothing afterwards."""
        value = self._value[slots]
        self._value[slots] = np.nan
        return value

    def grow(self, more: int) -> None:
        self._value = np.concatenate([self._value, np.full(more, np.nan)])


def _first(segments: Segments, values: Floats, known: Bools) -> Floats:
    """Per segment the first known value, or NaN."""
    place = np.where(known, np.arange(len(values)), len(values))
    first = np.minimum.reduceat(place, segments.starts)
    return np.where(first < len(values), values[np.minimum(first, len(values) - 1)], np.nan)


def _forward_filled(segments: Segments, values: Floats, known: Bools, before: Floats) -> Floats:
    """Each row's last known value, within its segment; before that the slot's own."""
    place = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    inside = place >= np.repeat(segments.starts, segments.lengths)
    return np.where(inside, values[np.maximum(place, 0)], segments.spread(before))
