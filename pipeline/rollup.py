"""Samples -> one row per GPU per minute: the whole-frame form of `pipeline.accumulate`.

Counters become deltas that survive a driver reload (a counter that fell started again from zero). A delta
reaches back to the last value of the minute before, given as `carry`, so that no increment is lost between
two minutes. Null stays null: a mean of nothing and a delta of one lone sample are unknown, not 0.
"""

from __future__ import annotations

import polars as pl

from pipeline.accumulate import MinuteAccumulator
from pipeline.tables import DELTAS, ROLLUPS

CARRY = pl.Schema({"gpu_uuid": pl.String()} | {c: pl.Float64() for c in DELTAS})
"""The last known counters of each GPU."""

_FOR_EVER = 2**62


def rollup(samples: pl.DataFrame, carry: pl.DataFrame) -> pl.DataFrame:
    """`samples` (telemetry columns, any order, repeats allowed) -> rows of ROLLUPS, sorted by GPU and minute."""
    if samples.is_empty():
        return pl.DataFrame(schema=ROLLUPS)
    once = samples.unique(subset=["gpu_uuid", "time"], keep="first").sort("gpu_uuid", "time")
    # To the accumulator every minute of a GPU is a GPU of its own: then all of them are reduced at once.
    timed = once.with_columns(_minute=pl.col("time").dt.truncate("1m"))
    before = _known_before(timed, carry).select(_minute_key(), *DELTAS)
    accumulator = MinuteAccumulator(before)
    accumulator.add(timed.with_columns(_minute_key()))
    out = accumulator.take(dict.fromkeys(samples["node"].unique(), _FOR_EVER))
    return out.with_columns(pl.col("gpu_uuid").str.head(-_KEY_LENGTH)).sort("gpu_uuid", "minute")


_KEY_LENGTH = 16
"""Characters that `_minute_key` puts behind the UUID."""


def _minute_key() -> pl.Expr:
    minute = pl.col("_minute").dt.epoch("s").cast(pl.String).str.zfill(_KEY_LENGTH)
    return (pl.col("gpu_uuid") + minute).alias("gpu_uuid")


def _known_before(timed: pl.DataFrame, carry: pl.DataFrame) -> pl.DataFrame:
    """Per GPU and minute: the counters as they were last known before it."""
    ends = timed.group_by("gpu_uuid", "_minute", maintain_order=True).agg(
        pl.col(c).drop_nulls().last().cast(pl.Float64) for c in DELTAS
    )
    start = ends.select("gpu_uuid").unique().join(carry, on="gpu_uuid", how="left")
    both = pl.concat([start, ends], how="diagonal_relaxed").sort("gpu_uuid", "_minute", nulls_last=False)
    known = both.with_columns(pl.col(DELTAS).forward_fill().over("gpu_uuid"))
    return known.with_columns(pl.col(DELTAS).shift(1).over("gpu_uuid")).filter(
        pl.col("_minute").is_not_null()
    )


def carry_of(rollups: pl.DataFrame) -> pl.DataFrame:
    """The last known counters of each GPU in `rollups`: what the next minute's deltas start from."""
    return (
        rollups.sort("minute")
        .group_by("gpu_uuid")
        .agg(pl.col(f"{c}_last").drop_nulls().last().alias(c) for c in DELTAS)
        .select(pl.col(name).cast(kind) for name, kind in CARRY.items())
    )
