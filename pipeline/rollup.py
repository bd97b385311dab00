"""Samples -> one row per GPU per minute. Pure.

Counters become deltas that survive a driver reload (a counter that fell started again from zero). A delta
reaches back to the last value of the minute before, given as `carry`, so that no increment is lost between
two minutes. Null stays null: a mean of nothing and a delta of one lone sample are unknown, not 0.
"""

from __future__ import annotations

import polars as pl

from collector.records import COUNTERS, GAUGES, STATES
from pipeline.tables import ROLLUPS

_MEASURED = (*GAUGES, "nvml_latency_us")
CARRY = pl.Schema({"gpu_uuid": pl.String()} | {c: pl.Float64() for c in COUNTERS})
"""The last known counters of each GPU."""


def rollup(samples: pl.DataFrame, carry: pl.DataFrame) -> pl.DataFrame:
    """`samples` (telemetry columns, any order, repeats allowed) -> rows of ROLLUPS, sorted by GPU and minute."""
    if samples.is_empty():
        return pl.DataFrame(schema=ROLLUPS)
    once = samples.unique(subset=["gpu_uuid", "time"], keep="first").sort("gpu_uuid", "time")
    timed = _with_increments(once, carry).with_columns(pl.col("time").dt.truncate("1m").alias("minute"))
    out = timed.group_by("gpu_uuid", "minute", maintain_order=True).agg(
        pl.col("node").last(),
        pl.col("gpu_index").last(),
        pl.col("pci_bdf").last(),
        pl.col("synthetic").any(),
        pl.len().cast(pl.Int64).alias("samples"),
        (pl.col("gpu_state") == "ok").sum().cast(pl.Int64).alias("good_samples"),
        pl.col("gpu_state").last(),
        (pl.col("nvml_return") != 0).sum().cast(pl.Int64).alias("nvml_errors"),
        pl.col("gap_s").max().alias("gap_max_s"),
        *(e for name in _MEASURED for e in _statistics(name)),
        *(_known_sum(f"_{c}").alias(f"{c}_delta") for c in COUNTERS),
        *(pl.col(c).cast(pl.Float64).drop_nulls().last().alias(f"{c}_last") for c in COUNTERS),
        *(pl.col(s).drop_nulls().last().alias(f"{s}_last") for s in STATES),
    )
    return out.select(pl.col(name).cast(kind) for name, kind in ROLLUPS.items())


def carry_of(rollups: pl.DataFrame) -> pl.DataFrame:
    """The last known counters of each GPU in `rollups`: what the next minute's deltas start from."""
    return (
        rollups.sort("minute")
        .group_by("gpu_uuid")
        .agg(pl.col(f"{c}_last").drop_nulls().last().alias(c) for c in COUNTERS)
        .select(pl.col(name).cast(kind) for name, kind in CARRY.items())
    )


def _with_increments(samples: pl.DataFrame, carry: pl.DataFrame) -> pl.DataFrame:
    before = samples.select("gpu_uuid").unique().join(carry, on="gpu_uuid", how="left")
    counters = samples.select("gpu_uuid", "time", *(pl.col(c).cast(pl.Float64) for c in COUNTERS))
    both = pl.concat([before, counters], how="diagonal_relaxed").sort("gpu_uuid", "time", nulls_last=False)
    known = both.with_columns(pl.col(COUNTERS).forward_fill().over("gpu_uuid"))
    step = known.with_columns(pl.col(COUNTERS).shift(1).over("gpu_uuid").name.prefix("_before_"))
    increments = step.filter(pl.col("time").is_not_null()).select(_increment(c) for c in COUNTERS)
    return pl.concat([samples, increments], how="horizontal")


def _increment(counter: str) -> pl.Expr:
    now, before = pl.col(counter), pl.col(f"_before_{counter}")
    return pl.when(now < before).then(now).otherwise(now - before).alias(f"_{counter}")


def _known_sum(name: str) -> pl.Expr:
    return pl.when(pl.col(name).count() > 0).then(pl.col(name).sum())


def _statistics(name: str) -> tuple[pl.Expr, ...]:
    value = pl.col(name)
    return (
        value.mean().alias(f"{name}_mean"),
        value.min().alias(f"{name}_min"),
        value.max().alias(f"{name}_max"),
        value.std(ddof=0).alias(f"{name}_std"),
    )
