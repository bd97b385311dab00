"""Windows over dense minutes: arrays [minutes, GPUs], NaN where a minute or a value is not known.

Every result is the same to the last bit wherever the array begins, since each one is built from its own window
alone: sums of 2, 4, 8 ... values, put together, and never a difference of running totals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.signals import Floats, Ints

Merge = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]


def known_sum(values: Floats, window: int) -> Floats:
    """Sum of what is known in each `window` rows; NaN where nothing is. [n, g] -> [n - window + 1, g]."""
    known = ~np.isnan(values)
    total = _merged(np.where(known, values, 0.0), window, np.add)
    return np.where(_merged(known, window, np.logical_or), total, np.nan)


def known_mean(values: Floats, window: int) -> Floats:
    """Mean of what is known in each `window` rows; NaN where nothing is."""
    known = ~np.isnan(values)
    total = _merged(np.where(known, values, 0.0), window, np.add)
    count = _merged(known.astype(np.float64), window, np.add)
    return divided(total, count)


def known_max(values: Floats, window: int) -> Floats:
    """The largest known value in each `window` rows; NaN where nothing is known."""
    found: Floats = _merged(values, window, np.fmax)
    return found


def known_min(values: Floats, window: int) -> Floats:
    """The smallest known value in each `window` rows; NaN where nothing is known."""
    found: Floats = _merged(values, window, np.fmin)
    return found


def _merged(values: NDArray[Any], window: int, merge: Merge) -> NDArray[Any]:
    """`merge` over every `window` rows in a row, by doubling: log2(window) passes."""
    rows = len(values) - window + 1
    done: NDArray[Any] | None = None
    level, span, size = values, 1, 0  # level[i] covers rows i .. i + span - 1
    while True:
        if window & span:
            piece = level[size : size + rows]
            done = piece if done is None else merge(done, piece)
            size += span
        if size == window:
            assert done is not None
            return done
        level = merge(level[:-span], level[span:])
        span *= 2


def divided(numerator: Floats, denominator: Floats) -> Floats:
    """Their ratio; NaN where the denominator is 0 or something is unknown."""
    out: Floats = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=out, where=denominator != 0)
    return out


def added(a: Floats, b: Floats) -> Floats:
    """The sum, where what is unknown adds nothing; NaN where both are."""
    return np.where(np.isnan(a), b, np.where(np.isnan(b), a, a + b))


def own_baseline(values: Floats, load: Floats, *, window: int, recent: int, share: float) -> Floats:
    """Mean of a row's earlier values at about the same load, [n, g] -> [n - window + 1, g].

    Earlier is up to `window` - 1 rows before, without the last `recent`; about the same is within `share` of the
    load now. NaN where fewer than `_ENOUGH` such rows are known.
    """
    rows = len(values) - window + 1
    now = load[len(load) - rows :]
    tolerance = share * np.abs(now)
    total, count = np.zeros(now.shape), np.zeros(now.shape)
    for lag in range(recent, window):
        first = len(values) - rows - lag
        then = values[first : first + rows]
        alike = np.abs(load[first : first + rows] - now) <= tolerance
        alike &= ~np.isnan(then)
        np.add(total, then, out=total, where=alike)
        count += alike
    return divided(total, np.where(count >= _ENOUGH, count, 0.0))


_ENOUGH = 5


def over_peers(values: Floats, group: Ints) -> tuple[Floats, Ints]:
    """Per cell: the median of what is known in its group in the same row, and the cells the group has there.

    `group` [n, g] is -1 where there is no cell. A group is small (a node); its members are sorted side by side.
    """
    last = group.max(axis=0, initial=-1)
    if len(group) > 1 and ((group >= 0) & (group != last)).any():  # a card changed its node in between
        each = [over_peers(values[i : i + 1], group[i : i + 1]) for i in range(len(group))]
        return np.concatenate([m for m, _ in each]), np.concatenate([c for _, c in each])
    order = np.argsort(last, kind="stable")
    codes, inverse = np.unique(last[order], return_inverse=True)
    starts = np.searchsorted(inverse, np.arange(len(codes)))
    place = np.empty(len(order), np.int64)
    place[order] = inverse
    seat = np.empty(len(order), np.int64)
    seat[order] = np.arange(len(order)) - starts[inverse]
    shape = (len(values), len(codes), int(seat.max(initial=0)) + 1)
    seated = np.full(shape, np.nan)
    seated[:, place, seat] = np.where(group >= 0, values, np.nan)
    there = np.zeros(shape, bool)
    there[:, place, seat] = group >= 0
    return _median(seated)[:, place], there.sum(axis=2)[:, place]


def _median(values: Floats) -> Floats:
    """Of the known values along the last axis; NaN where there are none."""
    ordered = np.sort(values, axis=2)  # NaN last
    count = (~np.isnan(values)).sum(axis=2, keepdims=True)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis=2)
    high = np.take_along_axis(ordered, np.minimum(count // 2, values.shape[2] - 1), axis=2)
    middle: Floats = (low + high) / 2
    return middle[..., 0]
