"""The rows that a head of the imminence model learns from: chosen, weighed, dealt out to folds by node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from models.calibrate import Bools
from models.explain import Healthy, healthy
from pipeline.features import NAMES
from pipeline.signals import Floats, Ints
from pipeline.training_set import WEIGHT, uniform

FALLING: Final = frozenset({"hours_since_fault"})
"""Features whose risk only falls; of most others (errors, gaps, heat, lanes, past faults) more is never better."""
EXPLAINING: Final = frozenset({"fault_events_24h"})
"""Free in both directions: a fault today explains the errors and remapped rows that its windows still hold. Held to
'more is worse', trees cannot tell them from the same signs before a fault, and both get the risk between."""
COMMON: Final = frozenset({"power_swing_15m", "hours_since_fault", "application_events_24h"})
"""Features that are never what makes a row unusual: they are of the job, or any healthy GPU has them."""
FOLDS: Final = 2

_ROWS_AT_MOST: Final = 400_000
_NEGATIVES_AT_MOST: Final = 1_200_000
_LEAST_SHARE: Final = 0.01
_EPISODE_GAP_MINUTES: Final = 180
_HEALTHY_ROWS: Final = 300_000


@dataclass(frozen=True, slots=True)
class Rows:
    """`x` [n, len(NAMES)], the others [n]. `node` and `episode` are numbers; `episode` is 0 where `label` is False.

    `unusual`: some error, gap or heat is above what 99 % of the healthy rows have.
    """

    x: Floats
    label: Bools
    weight: Floats
    node: Ints
    episode: Ints
    unusual: Bools

    def take(self, which: Bools) -> Rows:
        return Rows(
            self.x[which],
            self.label[which],
            self.weight[which],
            self.node[which],
            self.episode[which],
            self.unusual[which],
        )


def values(matrix: pl.DataFrame, names: tuple[str, ...] = NAMES) -> Floats:
    """[rows, features]; NaN where unknown."""
    return matrix.select(names).to_numpy().astype(np.float64, copy=False)


def usual(matrix: pl.DataFrame, label: pl.Series, seed: int) -> Healthy:
    """Of the rows that are labelled False, or 300,000 of them."""
    quiet = np.flatnonzero((~label).fill_null(value=False).to_numpy())
    if quiet.size > _HEALTHY_ROWS:
        quiet = np.random.default_rng(seed).choice(quiet, _HEALTHY_ROWS, replace=False)
    chosen = matrix[quiet]
    return healthy(values(chosen), _weights(chosen).to_numpy())


def chosen_rows(matrix: pl.DataFrame, label: pl.Series, usual: Healthy, seed: int) -> Rows:
    """The rows that have a label. Above 400,000, those without anything unusual are thinned and weigh more.

    Above 1.2 million negatives the unusual ones are thinned too.
    """
    told = label.is_not_null()
    weight, too_many = _weights(matrix), int(told.sum()) - _ROWS_AT_MOST
    if too_many > 0:
        ordinary = told & ~label.fill_null(value=False) & ~_unusual(matrix, usual)
        share = max(1 - too_many / max(int(ordinary.sum()), 1), _LEAST_SHARE)
        told &= ~ordinary | pl.Series(uniform(matrix["gpu_uuid"], matrix["minute"], seed) < share)
        weight = pl.select(pl.when(ordinary).then(weight / share).otherwise(weight)).to_series()
        told, weight = _thinned(matrix, told, label, weight, seed)
    return _rows(matrix.filter(told), label.filter(told), weight.filter(told), usual)


def _thinned(
    matrix: pl.DataFrame, told: pl.Series, label: pl.Series, weight: pl.Series, seed: int
) -> tuple[pl.Series, pl.Series]:
    """At most 1.2 million negatives, whatever they show: a large lake has more unusual minutes than trees can use."""
    negative = told & ~label.fill_null(value=False)
    share = _NEGATIVES_AT_MOST / max(int(negative.sum()), 1)
    if share >= 1.0:
        return told, weight
    drawn = pl.Series(uniform(matrix["gpu_uuid"], matrix["minute"], seed + 1) < share)
    heavier = pl.select(pl.when(negative).then(weight / share).otherwise(weight)).to_series()
    return told & (~negative | drawn), heavier


def _weights(matrix: pl.DataFrame) -> pl.Series:
    if WEIGHT in matrix.columns:
        return matrix[WEIGHT].cast(pl.Float64)
    return pl.repeat(1.0, matrix.height, dtype=pl.Float64, eager=True)


def _unusual(matrix: pl.DataFrame, usual: Healthy) -> pl.Series:
    """More errors of any kind than 99 % of healthy rows have."""
    over = [
        (pl.col(name) > high).fill_null(value=False)
        for name, high in zip(NAMES, usual.high, strict=True)
        if name not in COMMON
    ]
    return matrix.select(pl.any_horizontal(over)).to_series()


def _rows(chosen: pl.DataFrame, label: pl.Series, weight: pl.Series, usual: Healthy) -> Rows:
    node = chosen["node"].rank("dense").to_numpy().astype(np.int64)
    episode = _episodes(chosen, label)
    unusual = _unusual(chosen, usual).to_numpy()
    return Rows(values(chosen), label.to_numpy().astype(np.bool_), weight.to_numpy(), node, episode, unusual)


def _episodes(chosen: pl.DataFrame, label: pl.Series) -> Ints:
    """1, 2, ... for the runs of positive minutes of one GPU, 0 elsewhere."""
    positive = chosen.select("gpu_uuid", "minute").with_row_index("_row").filter(label)
    ordered = positive.sort("gpu_uuid", "minute")
    pause = pl.col("minute").diff() > pl.duration(minutes=_EPISODE_GAP_MINUTES)
    another = pl.col("gpu_uuid") != pl.col("gpu_uuid").shift(1)
    begins = (another | pause).fill_null(value=True)
    episode = np.zeros(chosen.height, np.int64)
    episode[ordered["_row"].to_numpy()] = ordered.select(begins.cum_sum()).to_series().to_numpy()
    return episode


def folds(rows: Rows, seed: int) -> Ints:
    """A fold per row: whole nodes; those with faults are dealt out apart, so that each fold has some."""
    place = np.empty(int(rows.node.max()) + 1, np.int64)
    failing = np.unique(rows.node[rows.label])
    others = np.setdiff1d(rows.node, failing)
    rng = np.random.default_rng(seed)
    for nodes in (failing, others):
        place[rng.permutation(nodes)] = np.arange(nodes.size) % FOLDS
    out: Ints = place[rows.node]
    return out


_GRID: Final = 120


def on_grid(x: Floats) -> Floats:
    """`x` with each feature's values moved to the nearest of at most 240, where there are more than 250.

    scikit-learn bins by weighted quantiles, which gives one bin to all errors that healthy GPUs never have; values that
    are so few get a bin each. Between two of them its threshold is the midpoint, so a row falls on the same side before
    and after: the trees are used on values as they are. A column that is never known becomes 0.
    """
    out = x.copy()
    for j in range(x.shape[1]):
        known = np.isfinite(x[:, j])
        if not known.any():
            out[:, j] = 0.0
        elif len(distinct := np.unique(x[known, j])) > 250:
            steps = np.linspace(0, 1, _GRID)
            ends = [np.quantile(of, steps, method="nearest") for of in (x[known, j], distinct)]
            grid = np.unique(ends)
            out[known, j] = grid[np.searchsorted((grid[1:] + grid[:-1]) / 2, x[known, j])]
    return out
