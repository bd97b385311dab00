"""A training set from a lake of any size: stretches of time, every row that matters, and a sample of the others.

What features need of the past is carried from stretch to stretch, so that where the cuts are changes nothing. Memory
is that of `rows_at_once` rows and 24 more per GPU (and of all events, which are few), not of the lake.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from collector.errors import ForeshockError
from pipeline.features import features
from pipeline.lake import Lake
from pipeline.signals import DAY_SIGNALS, INPUTS, KEYS, LOOK_BACK_HOURS, LOOK_BACK_MINUTES, Signal, expression

WEIGHT: Final = "weight"
Keep = Callable[[pl.DataFrame], pl.Series]
"""Feature rows -> which of them are kept whatever the sample, e.g. those before a fault. Null is no."""

_MINUTE: Final = timedelta(minutes=1)
_LEAST: Final = 15 * _MINUTE
_LOOK_BACK: Final = LOOK_BACK_MINUTES * _MINUTE
_DAY: Final = timedelta(hours=LOOK_BACK_HOURS)
COLUMNS: Final = (*KEYS, *(c for c in INPUTS if c not in KEYS))
"""Columns of ROLLUPS that a matrix is made from."""


def training_set(
    lake: Lake,
    since: datetime,
    until: datetime,
    *,
    keep: Keep,
    sample_share: float,
    seed: int = 0,
    rows_at_once: int = 2_000_000,
) -> Iterator[pl.DataFrame]:
    """Feature rows of the minutes in [since, until), in parts by time: KEYS, the features and `weight`.

    A row that `keep` keeps has the weight 1. Of the others a share of `sample_share` (0 to 1) is drawn, each with
    the weight 1 / sample_share: sums over weights then expect what sums over the whole lake are. What is drawn
    depends on (seed, gpu_uuid, minute) and on nothing else.

    At most `rows_at_once` rollups are held, the hour before them included; where 75 minutes of the fleet are more,
    those are held. `keep` sees the columns of `features` and must be a function of the row.
    Raises ForeshockError for a share out of range.
    """
    if not 0 <= sample_share <= 1:
        raise ForeshockError(
            f"training set: sample_share {sample_share} is no share", hint="from 0 (none) to 1 (all)"
        )
    events = lake.read("events").filter(pl.col("time") < until)
    past = carried(_scan(lake, since - _DAY, since), since).collect(engine="streaming")
    for begin, end in _stretches(_rows_by_minute(lake, since, until), since, rows_at_once):
        rows = pl.concat([carried(past.lazy(), begin).collect(), _scan(lake, begin, end).collect()])
        chosen = weighted(features(rows, events, since=begin), keep, sample_share, seed)
        past = carried(rows.lazy(), end).collect()
        if not chosen.is_empty():
            yield chosen


def weighted(matrix: pl.DataFrame, keep: Keep, share: float, seed: int) -> pl.DataFrame:
    """The rows of `matrix` that are kept or drawn, with `weight` (see `training_set`)."""
    kept = keep(matrix).fill_null(value=False).rename("kept")
    drawn = pl.Series("drawn", uniform(matrix["gpu_uuid"], matrix["minute"], seed) < share)
    weight = pl.select(pl.when(kept).then(1.0).when(drawn).then(1 / share if share else None)).to_series()
    return matrix.with_columns(weight.alias(WEIGHT)).filter(pl.col(WEIGHT).is_not_null())


def uniform(gpu_uuid: pl.Series, minute: pl.Series, seed: int) -> NDArray[np.float64]:
    """One number in [0, 1) for each GPU and minute: the same on every machine and with every version."""
    names = gpu_uuid.unique()
    codes = [
        int.from_bytes(hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest(), "little")
        for name in names
    ]
    code = gpu_uuid.replace_strict(
        names, pl.Series(codes, dtype=pl.UInt64), return_dtype=pl.UInt64
    ).to_numpy()
    epoch = minute.dt.epoch("s").to_numpy().astype(np.uint64)
    unit: NDArray[np.float64] = (_mixed(code + _mixed(epoch)) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return unit


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finalizer (Steele, Lea and Flood, OOPSLA 2014): each bit of `x` moves every bit of the result."""
    z = x + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _stretches(
    counts: pl.DataFrame, since: datetime, rows_at_once: int
) -> Iterator[tuple[datetime, datetime]]:
    """Begin and end (exclusive) of what fits, the hour before it included. `counts`: minute and rows, in order."""
    minutes = counts["minute"]
    before = np.concatenate([[0], np.cumsum(counts["rows"].to_numpy())])
    first = int(minutes.search_sorted(since))
    while first < len(minutes):
        look_back = int(minutes.search_sorted(minutes[first] - _LOOK_BACK))
        last = int(np.searchsorted(before, before[look_back] + rows_at_once, side="right")) - 1
        # below that nearly all work would be for the hour before
        last = max(last, int(minutes.search_sorted(minutes[first] + _LEAST)))
        yield minutes[first], minutes[last - 1] + _MINUTE
        first = last


def _rows_by_minute(lake: Lake, since: datetime, until: datetime) -> pl.DataFrame:
    minutes = _scan(lake, since - _LOOK_BACK, until).select("minute")
    counted = minutes.group_by("minute").agg(pl.len().alias("rows"))
    return counted.collect(engine="streaming").sort("minute")


def _scan(lake: Lake, since: datetime, until: datetime) -> pl.LazyFrame:
    return lake.scan("rollups", since=since, columns=COLUMNS).filter(pl.col("minute") < until)


def carried(rows: pl.LazyFrame, begin: datetime) -> pl.LazyFrame:
    """What features from `begin` on need of `rows`: the last hour as it is, before that one row per clock hour.

    That row has the sums which the day tier takes, at the hour's first minute, and is known for nothing else. Taken
    again it stays as it is. `rows` has COLUMNS, and so has the answer.
    """
    recent = pl.col("minute") > begin - _LOOK_BACK
    hour = pl.col("minute").dt.truncate("1h")
    summed = [e for s in DAY_SIGNALS for e in _summed(s)]
    names = [k for k in KEYS if k not in ("gpu_uuid", "minute")]
    hours = (
        rows.filter(~recent, hour > begin - _DAY - timedelta(hours=1))
        .group_by("gpu_uuid", hour, maintain_order=False)
        .agg(*(pl.col(n).last() for n in names), *summed)
    )
    return pl.concat([hours, rows.filter(recent)], how="diagonal").select(COLUMNS)


def _summed(signal: Signal) -> list[pl.Expr]:
    """The signal's sum under its first column, unknown where it never was known; nothing in the others."""
    known = expression(signal).count() > 0
    first, *others = signal.columns
    total = pl.when(known).then(expression(signal).sum()).alias(first)
    return [total, *(pl.when(known).then(0.0).alias(c) for c in others)]
