"""Samples -> one row per GPU per minute. Pure.

Counters become deltas that survive a driver reload (a counter that fell started again from zero). A delta
reaches back to the last value of the minute before, given as `carry`, so that no increment is lost between
two minutes. Null stays null: a mean of nothing and a delta of one lone sample are unknown, not 0.
"""

from __future__ import annotations

from typing import cast

import polars as pl

from pipeline.tables import DELTAS, LASTS, ROLLUPS, STATISTICS

CARRY = pl.Schema({"gpu_uuid": pl.String()} | {c: pl.Float64() for c in DELTAS})
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
        pl.col("job").drop_nulls().last(),
        pl.len().cast(pl.Int64).alias("samples"),
        (pl.col("gpu_state") == "ok").sum().cast(pl.Int64).alias("good_samples"),
        pl.col("gpu_state").last(),
        (pl.col("nvml_return") != 0).sum().cast(pl.Int64).alias("nvml_errors"),
        pl.col("gap_s").max().alias("gap_max_s"),
        *(_statistic(name, s) for name, kept in STATISTICS.items() for s in kept),
        *(_known_sum(f"_{c}").alias(f"{c}_delta") for c in DELTAS),
        *(pl.col(f.name).drop_nulls().last().alias(f"{f.name}_last") for f in LASTS),
    )
    return out.select(pl.col(name).cast(kind) for name, kind in ROLLUPS.items())


def carry_of(rollups: pl.DataFrame) -> pl.DataFrame:
    """The last known counters of each GPU in `rollups`: what the next minute's deltas start from."""
    return (
        rollups.sort("minute")
        .group_by("gpu_uuid")
        .agg(pl.col(f"{c}_last").drop_nulls().last().alias(c) for c in DELTAS)
        .select(pl.col(name).cast(kind) for name, kind in CARRY.items())
    )


def _with_increments(samples: pl.DataFrame, carry: pl.DataFrame) -> pl.DataFrame:
    """`samples`, sorted by GPU and time, and one column more per counter: what it rose by since it was last known.

    Each GPU's rows follow its row of `carry`, so that a plain shift over the whole frame reaches into no other GPU:
    with so many counters that is cheaper than a window for each.
    """
    before = samples.select("gpu_uuid").unique().join(carry, on="gpu_uuid", how="left")
    counters = samples.select("gpu_uuid", "time", *(pl.col(c).cast(pl.Float64) for c in DELTAS))
    both = pl.concat([before, counters], how="diagonal_relaxed").sort("gpu_uuid", "time", nulls_last=False)
    increments = both.select("time", *(_increment(c) for c in DELTAS)).filter(pl.col("time").is_not_null())
    return pl.concat([samples, increments.drop("time")], how="horizontal")


def _increment(counter: str) -> pl.Expr:
    """Null where the counter is, and where it was never known before."""
    now, begins = pl.col(counter), pl.col("time").is_null()
    # NaN in a carry row that knows nothing keeps forward_fill from bringing in the GPU above.
    known = pl.when(begins & now.is_null()).then(float("nan")).otherwise(now).forward_fill()
    before = known.shift(1)
    risen = pl.when(now < before).then(now).otherwise(now - before)
    return pl.when(before.is_not_nan()).then(risen).alias(f"_{counter}")


def _known_sum(name: str) -> pl.Expr:
    return pl.when(pl.col(name).count() > 0).then(pl.col(name).sum())


def _statistic(name: str, statistic: str) -> pl.Expr:
    value = pl.col(name)
    computed = value.std(ddof=0) if statistic == "std" else getattr(value, statistic)()
    return cast("pl.Expr", computed).alias(f"{name}_{statistic}")
