"""Rollup rows of any number -> dense blocks of bounded size, for training: some nodes over some time.

All GPUs of a node are in one block, since they are measured against each other; each block has its own look-back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.minute_features import Day
from pipeline.signals import (
    LOOK_BACK_HOURS,
    LOOK_BACK_MINUTES,
    Floats,
    Ints,
    codes,
    measured,
    minute_numbers,
)
from pipeline.windows import added

_CELLS: Final = 1_000_000
"""GPU-minutes of one block: 200 MB over all signals, and each array is small enough to be worked on quickly."""
_MINUTES_AT_ONCE: Final = 1440
_BEFORE: Final = LOOK_BACK_MINUTES - 1


@dataclass(frozen=True, slots=True)
class Rows:
    """Rollup rows as numbers, sorted by minute. `at` is where each one stood in the frame."""

    at: Ints
    minute: Ints
    gpu: Ints
    node: Ints
    signals: dict[str, Floats]

    def between(self, first: int, end: int) -> Rows:
        """The rows with first <= minute < end, as views."""
        lo, hi = (int(i) for i in np.searchsorted(self.minute, [first, end]))
        signals = {name: values[lo:hi] for name, values in self.signals.items()}
        return Rows(self.at[lo:hi], self.minute[lo:hi], self.gpu[lo:hi], self.node[lo:hi], signals)


class TrainingBlock:
    """A pipeline.minute_features.Block: `rows` over the minutes first .. first + k - 1, `gpus` of them."""

    def __init__(self, rows: Rows, gpus: int, first: int, k: int) -> None:
        self._gpus, self._first, self._k = gpus, first, k
        self._past = rows.between(_hour(first) * 60 - (LOOK_BACK_HOURS - 1) * 60, first + k)
        seen = self._past.between(first - _BEFORE, first + k)
        self._place = (seen.minute - (first - _BEFORE), seen.gpu)
        self._seen = seen
        self._dense: dict[str, Floats] = {}
        self.rows = seen.between(first, first + k)
        """The rows that the block answers for."""
        self.node: Ints = np.full((k, gpus), -1)
        self.node[self.place] = self.rows.node

    @property
    def place(self) -> tuple[Ints, Ints]:
        """Where each of `rows` stands in a [k, g] array."""
        return self.rows.minute - self._first, self.rows.gpu

    def of(self, signal: str, minutes: int = 1) -> Floats:
        return self._all_minutes(signal)[LOOK_BACK_MINUTES - minutes :]

    def _all_minutes(self, signal: str) -> Floats:
        if signal not in self._dense:
            dense = np.full((_BEFORE + self._k, self._gpus), np.nan)
            dense[self._place] = self._seen.signals[signal]
            self._dense[signal] = dense
        return self._dense[signal]

    def day(self, signal: str) -> Day:
        minutes = np.arange(self._first, self._first + self._k)
        hour_of = minutes // 60 - _hour(self._first)
        hours = self._hours(signal, LOOK_BACK_HOURS - 1 + int(hour_of[-1]))
        return Day(hours, hour_of, self._running(signal)[_BEFORE:])

    def _hours(self, signal: str, count: int) -> Floats:
        """Sums of the `count` clock hours from 23 before the block's first one; NaN where nothing is known."""
        oldest = _hour(self._first) - (LOOK_BACK_HOURS - 1)
        past, shape = self._past.between(oldest * 60, (oldest + count) * 60), (count, self._gpus)
        values = past.signals[signal]
        known = ~np.isnan(values)
        cell = ((past.minute // 60 - oldest) * self._gpus + past.gpu)[known]
        total = np.bincount(cell, weights=values[known], minlength=count * self._gpus)
        some = np.bincount(cell, minlength=count * self._gpus) > 0
        return np.where(some, total, np.nan).reshape(shape)

    def _running(self, signal: str) -> Floats:
        """At each minute the sum of its clock hour so far. The look-back holds the first hour's beginning."""
        out = self._all_minutes(signal).copy()
        for i in range(1, len(out)):
            if (self._first - _BEFORE + i) % 60:
                out[i] = added(out[i - 1], out[i])
        return out


def _hour(minute: int) -> int:
    return minute // 60


def blocks(rollups: pl.DataFrame, since: int) -> Iterator[TrainingBlock]:
    """Blocks that together answer for every row of `rollups` from minute number `since` on, each row once.

    `rollups` has KEYS and INPUTS columns and each GPU's minute once, in any order.
    """
    if rollups.is_empty():
        return
    gpu, node = codes(rollups["gpu_uuid"]), codes(rollups["node"])
    minute = minute_numbers(rollups)
    span = min(_MINUTES_AT_ONCE, int(minute.max()) + 1 - max(since, int(minute.min())))
    group_of = _groups(gpu, node, max(1, _CELLS // (span + _BEFORE)))
    group = group_of[node]
    order = np.lexsort((minute, group))
    ends = np.cumsum(np.bincount(group))
    for lo, hi in zip(np.r_[0, ends[:-1]], ends, strict=True):
        at = order[lo:hi]
        members, local = np.unique(gpu[at], return_inverse=True)
        rows = Rows(at, minute[at], local, node[at], measured(rollups[at]))
        yield from _over_time(rows, len(members), since)


def _over_time(rows: Rows, gpus: int, since: int) -> Iterator[TrainingBlock]:
    longest = min(_MINUTES_AT_ONCE, max(60, _CELLS // gpus - _BEFORE))
    todo = rows.minute[rows.minute >= since]
    while len(todo):  # from a minute that has rows: an outage of a year makes no empty blocks
        first = int(todo[0])
        k = min(longest, int(todo[-1]) + 1 - first)
        yield TrainingBlock(rows, gpus, first, k)
        todo = todo[np.searchsorted(todo, first + k) :]


def _groups(gpu: Ints, node: Ints, size: int) -> Ints:
    """Node -> group, each of about `size` GPUs. Nodes that one card was on one after the other stay together."""
    nodes = int(node.max()) + 1
    pairs = np.unique(gpu * nodes + node)
    card, place = pairs // nodes, pairs % nodes
    leader = _leaders(card, place, nodes)
    home = leader[place]
    weight = np.bincount(home, minlength=nodes)
    filled = np.cumsum(weight) - weight
    group: Ints = (filled // size)[leader]
    _, dense = np.unique(group, return_inverse=True)
    return np.asarray(dense, dtype=np.int64)


def _leaders(card: Ints, place: Ints, nodes: int) -> Ints:
    """Node -> the lowest node that it is connected with by cards that moved. `card` is sorted."""
    leader: Ints = np.arange(nodes)
    moved: NDArray[np.bool_] = card[1:] == card[:-1]
    links = np.stack([place[:-1][moved], place[1:][moved]])
    while links.size:
        before = leader.copy()
        lowest = np.minimum(leader[links[0]], leader[links[1]])
        np.minimum.at(leader, links[0], lowest)
        np.minimum.at(leader, links[1], lowest)
        leader = leader[leader]
        if (leader == before).all():
            break
    return leader
