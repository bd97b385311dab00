"""What the lake's logs say about jobs: their checkpoints, the faults that hit them, and our alarms about their GPUs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from collector.checkpoints import KIND
from pipeline import labels
from pipeline.lake import Lake
from pipeline.tables import TIME

HELD_BEFORE: Final = timedelta(minutes=10)
"""A fault hits the job that held its GPU so long before, as in the lake's view `job_impact`."""
HORIZON_S: Final = 3600
"""How long an alarm may wait for its fault where no prediction of its GPU says."""
SAVE_WITHIN: Final = timedelta(minutes=10)
"""The first checkpoint that begins so soon after it was asked for is the one that was asked for."""
LOOK_BACK: Final = timedelta(days=1)
"""Before the time that is asked for: an alarm may be older than its fault, an application's Xids repeat in a day."""

CHECKPOINTS: Final = pl.Schema({"job": pl.String(), "started": TIME, "finished": TIME})
"""`finished` is null where the end was not told: not durable."""
HITS: Final = pl.Schema({
    "job": pl.String(), "time": TIME, "gpu_uuid": pl.String(), "class": pl.String(), "code": pl.Int64(),
    "alarmed": pl.Boolean(),
})  # fmt: skip
ALARMS: Final = pl.Schema({
    "job": pl.String(), "incident_id": pl.String(), "action": pl.String(), "time": TIME, "delivered": TIME,
    "verdict": pl.String(),
})  # fmt: skip
"""`time` decided; `delivered` is null where it was not. `verdict`: true (a fault followed within the horizon), false,
or null: the horizon is not over."""


def checkpoints(events: pl.DataFrame) -> pl.DataFrame:
    """CHECKPOINTS of rows of EVENTS: each save as its last telling has it, in the order of time."""
    told = events.filter(pl.col("kind") == KIND, pl.col("job").is_not_null()).sort(
        "count", "seq", nulls_last=False
    )
    words = pl.col("text").str
    # the words of collector.checkpoints.event_of
    took_s = words.extract(r"^checkpoint step=\d{1,19} seconds=(\d{1,5}\.\d{3})(?: bytes=\d{1,19})?$")
    begun = words.contains(r"^checkpoint step=\d{1,19} begun(?: bytes=\d{1,19})?$")
    took = pl.duration(milliseconds=(took_s.cast(pl.Float64) * 1e3).round().cast(pl.Int64))
    return (
        told.unique("fingerprint", keep="last")
        .filter(begun | took_s.is_not_null())
        .select(
            "job",
            pl.when(begun).then("time").otherwise(pl.col("time") - took).alias("started"),
            pl.when(~begun).then("time").alias("finished"),
        )
        .cast(CHECKPOINTS)
        .sort("job", "started")
    )


def faults(events: pl.DataFrame, until: datetime) -> pl.DataFrame:
    """labels.FAULTS before `until`, with `told_job`: the job that one of its events names."""
    found = labels.faults(events).filter(pl.col("time") < until).with_row_index("_row")
    named = events.filter(pl.col("job").is_not_null(), pl.col("kind") != KIND)
    both = found.join(
        named.select("node", pl.col("gpu_uuid").alias("_gpu"), pl.col("time").alias("_at"), "job"), on="node"
    )
    same = (pl.col("_gpu") == pl.col("gpu_uuid")).fill_null(value=False)
    job = both.filter(
        same, pl.col("_at") >= pl.col("time"), pl.col("_at") <= pl.max_horizontal("time", "last_time")
    )
    first = job.sort("_at").group_by("_row").agg(pl.col("job").first().alias("told_job"))
    return found.join(first, on="_row", how="left").drop("_row")


def alarms(lake: Lake, known: pl.DataFrame, since: datetime, until: datetime) -> pl.DataFrame:
    """ALARMS decided in [since - a day, until) with their `gpu_uuid` and `node`. `known`: the lake's faults.

    What we asked for when the fault was there already is a reaction and no alarm. `job` held the GPU then, or is null.
    """
    rows = lake.read("actions", since=since - LOOK_BACK).filter(
        pl.col("action").is_in(["checkpoint", "drain", "drain_now"]), pl.col("time") < until
    )
    sent = pl.col("state").is_in(["delivered", "acknowledged"])
    asked = rows.group_by("action_id", maintain_order=True).agg(
        pl.col("incident_id", "action", "node", "gpu_uuid").first(),
        pl.col("time").min(),
        pl.col("time").filter(sent).min().alias("delivered"),
    )
    blind = timedelta(seconds=labels.DEFINITION.blind_s)
    ended = pl.max_horizontal("fault", "last_time") + blind
    reaction = (pl.col("fault") <= pl.col("time")) & (pl.col("time") <= ended)
    horizon = pl.duration(seconds=pl.col("horizon_s"))
    follows = (pl.col("fault") > pl.col("time")) & (pl.col("fault") <= pl.col("time") + horizon)
    asked = asked.join(_horizons(lake, asked, since - LOOK_BACK), on="gpu_uuid", how="left").with_columns(
        pl.col("horizon_s").fill_null(HORIZON_S)
    )
    met = _same_gpu(asked, known).group_by("action_id").agg(reaction=reaction.any(), true=follows.any())
    judged = asked.join(met, on="action_id", how="left").filter(~pl.col("reaction").fill_null(value=False))
    verdict = (
        pl.when(pl.col("true").fill_null(value=False))
        .then(pl.lit("true"))
        .when(pl.col("time") + horizon <= until)
        .then(pl.lit("false"))
    )
    return with_job(lake, judged.with_columns(verdict.alias("verdict"), pci_bdf=pl.lit(None, pl.String())))


def hits(lake: Lake, known: pl.DataFrame, warned: pl.DataFrame) -> pl.DataFrame:
    """HITS: each fault that hit a job, in the order of time, and whether an alarm (also a dry one) came before it."""
    rows = with_job(
        lake, known.with_columns(pl.format("{} {}", "node", pl.int_range(pl.len())).alias("fault_id"))
    )
    rows = rows.with_columns(pl.coalesce("told_job", "job").alias("job")).filter(pl.col("job").is_not_null())
    before = pl.col("verdict").eq("true").fill_null(value=False) & (pl.col("asked") < pl.col("fault"))
    pairs = _same_gpu(
        warned.select("node", "gpu_uuid", "verdict", pl.col("time").alias("asked"), "horizon_s"),
        rows.select("node", "gpu_uuid", "time", "last_time", "fault_id"),
    )
    soon = pl.col("fault") <= pl.col("asked") + pl.duration(seconds=pl.col("horizon_s"))
    alarmed = pairs.filter(before, soon)["fault_id"].unique()
    return (
        rows.with_columns(pl.col("fault_id").is_in(alarmed.implode()).alias("alarmed"))
        .select(HITS.names())
        .cast(HITS)
        .sort("time")
    )


def with_job(lake: Lake, what: pl.DataFrame) -> pl.DataFrame:
    """`what` (time, node, gpu_uuid, pci_bdf) with `job`: the last that held the GPU in the ten minutes before `time`.

    Without a UUID it is the slot's, without an address the node's.
    """
    asked = what.with_row_index("_row")
    if asked.is_empty():
        return what.with_columns(job=pl.lit(None, pl.String()))
    begin = (pl.col("time") - HELD_BEFORE).dt.truncate("1m")
    # minute by minute, so that of a long lake only those near are looked at
    wanted = asked.select(
        "_row", "node", pl.col("gpu_uuid").alias("_gpu"), pl.col("pci_bdf").alias("_slot"),
        pl.datetime_ranges(begin, "time", "1m").alias("minute"),
    ).explode("minute")  # fmt: skip
    oldest = wanted["minute"].min()
    assert isinstance(oldest, datetime)
    scan = lake.scan("rollups", since=oldest, columns=("node", "gpu_uuid", "pci_bdf", "minute", "job"))
    mine = (pl.col("_gpu") == pl.col("gpu_uuid")).fill_null(
        (pl.col("_slot") == pl.col("pci_bdf")).fill_null(value=True)
    )
    held = (
        scan.filter(pl.col("minute").is_in(wanted["minute"].unique().implode()), pl.col("job").is_not_null())
        .join(wanted.lazy(), on=["node", "minute"])
        .filter(mine)
        .group_by("_row")
        .agg(pl.col("job").sort_by("minute").last())
        .collect(engine="streaming")
    )
    return asked.join(held, on="_row", how="left", maintain_order="left").drop("_row")


def _horizons(lake: Lake, asked: pl.DataFrame, since: datetime) -> pl.DataFrame:
    """gpu_uuid, horizon_s: the longest that the predictions of these GPUs have."""
    scan = lake.scan("predictions", since=since, columns=("gpu_uuid", "horizon_s"))
    mine = asked.select("gpu_uuid").drop_nulls().unique().lazy()
    return (
        scan.join(mine, on="gpu_uuid", how="semi")
        .group_by("gpu_uuid")
        .agg(pl.col("horizon_s").max())
        .collect(engine="streaming")
    )


def _same_gpu(asked: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Rows of `asked` by faults (`fault`, `last_time`) of the same GPU, or of the node where one names none."""
    told = known.rename({"time": "fault", "gpu_uuid": "_gpu"}).select(
        "node", "_gpu", "fault", "last_time", *(c for c in ("fault_id",) if c in known.columns)
    )
    same = (pl.col("_gpu") == pl.col("gpu_uuid")).fill_null(value=True)
    return asked.join(told, on="node").filter(same)
