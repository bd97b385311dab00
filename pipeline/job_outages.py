"""When and why a job stood still: stretches of minutes without work, and what stopped it.

kind: fault (a fault hit the job before it stopped), unexplained (it lost its GPUs and we know no reason), move (we
asked it to save and leave before a fault), planned (it saved and left), start (its first), pause (it kept its GPUs).
Only the first two are interruptions.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from pipeline.job_spans import MINUTE

FAULT_BEFORE: Final = timedelta(minutes=30)
"""A fault may stop a job so much later: collectives time out after 10 to 30 minutes."""
SAVED_BEFORE: Final = timedelta(minutes=2)
"""Who saved so shortly before it left meant to leave..."""
SELDOM: Final = timedelta(minutes=20)
"""...if it saves this seldom (median): else a crash would often look so."""
INTERRUPTIONS: Final = ("fault", "unexplained")


def outages(
    timeline: pl.DataFrame,
    hits: pl.DataFrame,
    checkpoints: pl.DataFrame,
    moves: pl.DataFrame,
    *,
    newest: datetime,
) -> pl.DataFrame:
    """One row per outage of a job, in the order of job and time. `newest`: the end of what the lake knows.

    job, kind; begin (work ended), stopped (it held its GPUs until then), held_again, works (null: not again, or not
    seen), end; interrupted (begin, or the fault's time, or the end of a save after it), kept (work is safe up to
    here: the end of the last save, or its (re)start); fault, class, code, gpu_uuid, alarmed, verdict (of a move).
    """
    found = _with_last_save(_stretches(timeline, checkpoints, newest), checkpoints)
    found = _with_first_save(_with_moves(_with_fault(found, hits), moves), checkpoints).with_columns(_kind())
    again = pl.when(pl.col("kind") != "pause").then(pl.coalesce("works", "end"))
    since = again.forward_fill().shift(1).over("job").fill_null(pl.col("first"))
    first_sign = pl.min_horizontal("begin", "fault")
    return found.with_columns(pl.max_horizontal(since, "saved").alias("kept")).with_columns(
        # a save that ended after the fault has kept its work
        pl.min_horizontal(pl.max_horizontal(first_sign, "kept"), "stopped").alias("interrupted")
    )


def _stretches(timeline: pl.DataFrame, checkpoints: pl.DataFrame, newest: datetime) -> pl.DataFrame:
    """Minutes without work that follow each other, and an empty one at the end of each job that is over."""
    saves = checkpoints.select(
        "job", pl.col("started").dt.truncate("1m").alias("minute"), saves=True
    ).unique()
    rows = timeline.join(saves, on=["job", "minute"], how="left").sort("job", "minute")
    rows = rows.with_columns(_works().alias("up"))
    ends = rows.group_by("job", maintain_order=True).agg(
        first=pl.col("minute").min(), last=pl.col("minute").max() + MINUTE, up_last=pl.col("up").last()
    )
    state, minute = pl.col("state"), pl.col("minute")
    down = (
        rows.with_columns(pl.col("up").cum_sum().over("job").alias("number"))
        .filter(~pl.col("up"))
        .group_by("job", "number", maintain_order=True)
        .agg(
            begin=minute.min(),
            end=minute.max() + MINUTE,
            lost=minute.filter(state == "released").min(),
            held_again=minute.filter(state == "released").max() + MINUTE,
            low=(state == "low").sum().cast(pl.Int64),
        )
        .drop("number")
    )
    over = ends.filter(pl.col("up_last"), pl.col("last") < newest - 2 * MINUTE)
    closing = over.select("job", begin="last", end="last")
    out = (
        pl.concat([down, closing], how="diagonal")
        .join(ends.drop("up_last"), on="job")
        .sort("job", "begin", "end")
    )
    return out.with_columns(
        pl.when(pl.col("end") < pl.col("last")).then("end").alias("works"),
        pl.coalesce("lost", pl.when(pl.col("end") == pl.col("last")).then("end"), "begin").alias("stopped"),
        (pl.col("begin") == pl.col("end")).alias("closing"),
        # its last minute may look idle: a fault in its first seconds leaves little to average
        ((pl.col("end") == pl.col("last")) & (pl.col("last") < newest - 2 * MINUTE)).alias("over"),
    )


def _works() -> pl.Expr:
    """Working, and not for one minute alone. Where utilisation is not known: as before, or from the first save on."""
    state = pl.when(pl.col("state") != "dark").then("state").when("saves").then(pl.lit("working"))
    known = state.forward_fill().over("job").fill_null("dark")
    up = known == "working"
    near = up.shift(1).over("job").fill_null(value=True) | up.shift(-1).over("job").fill_null(value=True)
    return up & near


def _with_last_save(found: pl.DataFrame, checkpoints: pl.DataFrame) -> pl.DataFrame:
    """`saved`: the end of the last durable checkpoint before it stopped; `rhythm`: the median time between two."""
    durable = checkpoints.drop_nulls("finished").sort("finished")
    rhythm = durable.group_by("job").agg(pl.col("finished").diff().median().alias("rhythm"))
    # the last minute in which it held its GPUs may be told too early by one
    asked = found.with_columns((pl.col("stopped") + MINUTE).alias("_until")).sort("_until")
    near = asked.join_asof(
        durable.select("job", pl.col("finished").alias("saved")), left_on="_until", right_on="saved", by="job",
        strategy="backward", coalesce=False, check_sortedness=False,
    )  # fmt: skip
    return near.drop("_until").join(rhythm, on="job", how="left").sort("job", "begin", "end")


def _with_fault(found: pl.DataFrame, hits: pl.DataFrame) -> pl.DataFrame:
    """The first fault after the last save, else the last one: `fault`, `class`, `code`, `gpu_uuid`, `alarmed`."""
    numbered = found.with_row_index("_row")
    stood = pl.col("lost").is_not_null() | pl.col("over") | (pl.col("low") >= 2)
    started = (pl.col("begin") == pl.col("first")) & pl.col("lost").is_null()
    pairs = numbered.filter(stood, ~started).select("_row", "job", "begin", "end", "lost", "saved")
    pairs = pairs.join(hits.rename({"time": "fault"}), on="job")
    latest = pl.coalesce("lost", "end") + MINUTE
    fits = pairs.filter(pl.col("fault") >= pl.col("begin") - FAULT_BEFORE, pl.col("fault") <= latest)
    lived = (pl.col("fault") <= pl.col("saved")).fill_null(value=False)
    at_us = pl.col("fault").dt.epoch("us")
    best = fits.with_columns(
        lived.alias("_lived"), pl.when(lived).then(-at_us).otherwise(at_us).alias("_first")
    )
    picked = best.sort("_row", "_lived", "_first").unique("_row", keep="first", maintain_order=True)
    # one fault is one interruption: what stops the job again has another reason
    once = picked.unique(["job", "fault"], keep="first", maintain_order=True)
    told = once.select("_row", "fault", "class", "code", "gpu_uuid", "alarmed")
    return numbered.join(told, on="_row", how="left").sort("_row").drop("_row")


def _with_moves(found: pl.DataFrame, moves: pl.DataFrame) -> pl.DataFrame:
    """`asked`: when a move was delivered of which the job left, and its `verdict`."""
    told = moves.select("job", pl.col("delivered").alias("asked"), "verdict").sort("asked")
    near = found.sort("stopped").join_asof(
        told, left_on="stopped", right_on="asked", by="job", strategy="backward", tolerance="30m",
        coalesce=False, check_sortedness=False,
    )  # fmt: skip
    return near.sort("job", "begin", "end")


def _with_first_save(found: pl.DataFrame, checkpoints: pl.DataFrame) -> pl.DataFrame:
    """A job that begins to save works: `works` is that, where it is before utilisation says so."""
    begun = checkpoints.select("job", pl.col("started").alias("_save")).sort("_save")
    held = pl.coalesce("held_again", "stopped").alias("held_again")
    near = found.with_columns(held).sort("held_again").join_asof(
        begun, left_on="held_again", right_on="_save", by="job", strategy="forward", coalesce=False,
        check_sortedness=False,
    )  # fmt: skip
    sooner = (pl.col("_save") < pl.col("end")) & ~pl.col("closing")
    works = pl.when(sooner).then("_save").otherwise("works").alias("works")
    return near.with_columns(works).drop("_save").sort("job", "begin", "end")


def _kind() -> pl.Expr:
    left, fault = pl.col("lost").is_not_null(), pl.col("fault").is_not_null()
    saved = (pl.col("stopped") - pl.col("saved") <= SAVED_BEFORE).fill_null(value=False)
    seldom = (pl.col("rhythm") >= SELDOM).fill_null(value=True)
    first = (pl.col("begin") == pl.col("first")) & ~pl.col("closing")
    kind = (
        pl.when(fault)
        .then(pl.lit("fault"))
        .when(left & pl.col("asked").is_not_null())
        .then(pl.lit("move"))
        .when(left & saved & seldom)
        .then(pl.lit("planned"))
        .when(left)
        .then(pl.lit("unexplained"))
        .when(first)
        .then(pl.lit("start"))
    )
    return kind.otherwise(pl.lit("pause")).alias("kind")
