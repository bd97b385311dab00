"""Rollups -> what each job was doing in each minute: it worked, held its GPUs idle, had lost them, or was not seen.

A minute is the grain: whatever is told from here is right to a minute. Several jobs on one GPU ("a,b" in `rollups.job`)
are a job of that name.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from pipeline.lake import Lake

BUSY_PCT: Final = 20.0
"""SM utilisation from which on a GPU works: in our recordings one that loads has < 1, one that trains 85 and more."""
TOGETHER: Final = timedelta(minutes=10)
"""A job has lost its GPUs where fewer than half of the most that it held so long before name it."""
MINUTE: Final = timedelta(minutes=1)

TIMELINE: Final = ("job", "minute", "state", "gpus", "synthetic")
"""`state`: working, low (held, most GPUs below BUSY_PCT), dark (held, utilisation not known), released, unseen."""


def timeline(lake: Lake, since: datetime, until: datetime, job: str | None = None) -> pl.DataFrame:
    """TIMELINE of each job (or of one): every minute from the first to the last in which it held GPUs, in order.

    Only whole minutes in [since, until). Columns of few types are scanned once; what is held is jobs x minutes.
    """
    held = _held(lake, since, until, job)
    ends = held.group_by("job").agg(first=pl.col("minute").min(), last=pl.col("minute").max())
    every = ends.select("job", pl.datetime_ranges("first", "last", "1m").alias("minute")).explode("minute")
    rows = every.join(held, on=["job", "minute"], how="left").sort("job", "minute")
    gpus = pl.col("gpus").fill_null(0)
    most = gpus.rolling_max(TOGETHER // MINUTE, min_samples=1).over("job")
    rows = rows.with_columns(gpus, ((gpus == 0) | (gpus * 2 < most)).alias("absent"))
    full = pl.when(~pl.col("absent")).then("minute").forward_fill().over("job").alias("full")
    seen = _seen(lake, rows.with_columns(full).filter("absent"))
    return rows.join(seen, on=["job", "minute"], how="left").with_columns(_state()).select(TIMELINE)


def _held(lake: Lake, since: datetime, until: datetime, job: str | None) -> pl.DataFrame:
    """job, minute, gpus, known (those whose utilisation is known), busy."""
    scan = lake.scan("rollups", since=since, columns=("minute", "job", "sm_util_pct_mean", "synthetic"))
    mine = pl.col("job").is_not_null() if job is None else pl.col("job") == job
    util = pl.col("sm_util_pct_mean")
    return (
        scan.filter(mine, pl.col("minute") <= until - MINUTE)
        .group_by("job", "minute")
        .agg(
            gpus=pl.len().cast(pl.Int64),
            known=util.count().cast(pl.Int64),
            busy=(util >= BUSY_PCT).sum().cast(pl.Int64),
            synthetic=pl.col("synthetic").any(),
        )
        .collect(engine="streaming")
    )


def _state() -> pl.Expr:
    gpus, known = pl.col("gpus"), pl.col("known")
    # those of its last GPUs that we heard of; where most of them were silent nothing is known
    gone = pl.col("absent") & (pl.col("mine").fill_null(0) * 2 < pl.col("seen").fill_null(0))
    silent = pl.col("absent") & (pl.col("seen").fill_null(0) * 2 < pl.col("members").fill_null(1))
    return (
        pl.when(silent & (gone | (gpus == 0)))
        .then(pl.lit("unseen"))
        .when(gone | (gpus == 0))
        .then(pl.lit("released"))
        .when(known * 2 <= gpus)
        .then(pl.lit("dark"))
        .when(pl.col("busy") * 2 > known)
        .then(pl.lit("working"))
        .otherwise(pl.lit("low"))
        .alias("state")
    )


def _seen(lake: Lake, absent: pl.DataFrame) -> pl.DataFrame:
    """Per job and absent minute: `members`, the GPUs it held last; of them `seen`, and of those still `mine`."""
    empty = pl.DataFrame(
        schema={
            "job": pl.String(), "minute": absent.schema["minute"], "members": pl.Int64(), "seen": pl.Int64(),
            "mine": pl.Int64(),
        }
    )  # fmt: skip
    if absent.is_empty():
        return empty
    runs = absent.group_by("job", "full").agg(begin=pl.col("minute").min(), end=pl.col("minute").max())
    members = _members(lake, runs)
    size = members.group_by("job", "full").agg(members=pl.len().cast(pl.Int64))
    days = runs.with_columns(
        pl.date_ranges(pl.col("begin").dt.date(), pl.col("end").dt.date()).alias("day")
    ).explode("day")
    asked = members.join(days, on=["job", "full"]).lazy()
    scan = lake.scan("rollups", since=_least(runs, "begin"), columns=("gpu_uuid", "minute", "job"))
    heard = (
        scan.filter(pl.col("minute") <= _most(runs, "end"))
        .select("gpu_uuid", "minute", pl.col("job").alias("holder"), pl.col("minute").dt.date().alias("day"))
        .join(asked, on=["gpu_uuid", "day"])
        .filter(pl.col("minute") >= pl.col("begin"), pl.col("minute") <= pl.col("end"))
        .group_by("job", "full", "minute")
        .agg(
            seen=pl.len().cast(pl.Int64),
            mine=(pl.col("holder") == pl.col("job")).fill_null(value=False).sum().cast(pl.Int64),
        )
        .collect(engine="streaming")
    )
    counted = absent.select("job", "full", "minute").join(size, on=["job", "full"], how="left")
    return counted.join(heard, on=["job", "full", "minute"], how="left").select(empty.columns)


def _members(lake: Lake, runs: pl.DataFrame) -> pl.DataFrame:
    """The GPUs of each job in the last full minute before each run of absent ones: job, full, gpu_uuid."""
    scan = lake.scan("rollups", since=_least(runs, "full"), columns=("job", "minute", "gpu_uuid"))
    wanted = runs.select("job", pl.col("full").alias("minute")).lazy()
    rows = scan.filter(pl.col("minute").is_in(runs["full"].unique().implode())).join(
        wanted, on=["job", "minute"], how="semi"
    )
    return rows.select("job", pl.col("minute").alias("full"), "gpu_uuid").collect(engine="streaming")


def _least(of: pl.DataFrame, column: str) -> datetime:
    found = of[column].min()
    assert isinstance(found, datetime)
    return found


def _most(of: pl.DataFrame, column: str) -> datetime:
    found = of[column].max()
    assert isinstance(found, datetime)
    return found
