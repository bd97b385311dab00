"""Painted time and outages -> one row per job, and the fleet's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from pipeline.job_losses import EFFECTIVE
from pipeline.job_outages import INTERRUPTIONS
from pipeline.job_spans import MINUTE

_US: Final = 1e6
_COUNTS: Final = (
    "interruptions", "faults", "alarmed", "hits", "hits_alarmed", "alarms_right", "alarms_wrong", "moves",
    "checkpoints",
)  # fmt: skip


def of_jobs(
    spans: pl.DataFrame,
    painted: pl.DataFrame,
    *,
    outages: pl.DataFrame,
    hits: pl.DataFrame,
    alarms: pl.DataFrame,
    checkpoints: pl.DataFrame,
    causes: Sequence[str],
) -> pl.DataFrame:
    """`effective_time.Measured.jobs`: those with the most GPU-hours first."""
    seconds = [
        (pl.col("us").filter(pl.col("cause") == c).sum() / _US).alias(f"{c}_s")
        for c in (*_all(causes), "paused")
    ]
    times = painted.group_by("job").agg(seconds)
    told = (times, _recovered(outages), _hit(spans, hits), _alarmed(alarms), _saved(spans, checkpoints))
    rows = spans.rename({"first": "since", "end": "until"})
    for more in told:
        rows = rows.join(more, on="job", how="left")
    rows = rows.with_columns(
        pl.col(_COUNTS).fill_null(0),
        pl.col("invalid_s", "repaired_s", "write_s").fill_null(0.0),
        pl.col("repairs").fill_null(0),
        pl.sum_horizontal(f"{c}_s" for c in _all(causes)).alias("span_s"),
    )
    rows = rows.with_columns((pl.col("span_s") * pl.col("gpus") / 3600).alias("gpu_hours"))
    return _rated(rows).sort("gpu_hours", "job", descending=[True, False])


def of_fleet(jobs: pl.DataFrame, *, causes: Sequence[str]) -> pl.DataFrame:
    """`effective_time.Measured.fleet`: seconds are of a job that is the mean of all, each by its GPU-hours."""
    weight = pl.col("gpus")
    span_s = pl.col("span_s").sum()
    # seconds of the fleet's jobs, shared out as GPU-hours are
    share = span_s / (pl.col("span_s") * weight).sum()
    times = [*(f"{c}_s" for c in _all(causes)), "paused_s", "invalid_s", "write_s"]
    out = jobs.select(
        pl.lit(None, pl.String()).alias("job"),
        pl.col("since").min(),
        pl.col("until").max(),
        weight.sum().alias("gpus"),
        pl.col("synthetic").any(),
        *(((pl.col(c) * weight).sum() * share).alias(c) for c in times),
        pl.col("repaired_s", "repairs", *_COUNTS).sum(),
        span_s.alias("span_s"),
        pl.col("gpu_hours").sum(),
    )
    return _rated(out).select(jobs.columns)


def _all(causes: Sequence[str]) -> tuple[str, ...]:
    return (EFFECTIVE, *causes)


def _rated(rows: pl.DataFrame) -> pl.DataFrame:
    """Shares, and means between interruptions with their 95 % range: those are taken as a Poisson process."""
    from scipy.special import gammaincinv

    span, count = pl.col("span_s"), pl.col("interruptions")
    n = rows["interruptions"].cast(pl.Float64()).to_numpy()
    most = pl.Series("most", gammaincinv(n + 1, 0.975))
    least = pl.Series("least", gammaincinv(n.clip(min=1), 0.025))
    some = pl.when(span > 0)
    return rows.with_columns(
        some.then(pl.col("effective_s") / span).alias("ettr"),
        some.then((pl.col("effective_s") + pl.col("unknown_s")) / span).alias("ettr_high"),
        some.then((1 - (pl.col("invalid_s") + pl.col("write_s")) / span).clip(0, 1)).alias("ettr_baige"),
        pl.when(count > 0).then(span / count).alias("mtbf_s"),
        (span / most).alias("mtbf_low_s"),
        pl.when(count > 0).then(span / least).alias("mtbf_high_s"),
        pl.when(pl.col("repairs") > 0).then(pl.col("repaired_s") / pl.col("repairs")).alias("mttr_s"),
    )


def _recovered(outages: pl.DataFrame) -> pl.DataFrame:
    kind = pl.col("kind")
    stopped, fault = kind.is_in(INTERRUPTIONS), kind == "fault"
    again = _seconds(pl.coalesce("works", "end") - pl.col("interrupted")).clip(lower_bound=0)
    repaired = _seconds(pl.col("works") - pl.col("interrupted"))
    redone = _seconds(pl.col("interrupted") - pl.col("kept")).clip(lower_bound=0)
    return outages.group_by("job").agg(
        interruptions=stopped.sum().cast(pl.Int64),
        faults=fault.sum().cast(pl.Int64),
        alarmed=(fault & pl.col("alarmed").fill_null(value=False)).sum().cast(pl.Int64),
        moves=(kind == "move").sum().cast(pl.Int64),
        invalid_s=(again + redone).filter(fault).sum(),
        repaired_s=repaired.filter(stopped).sum(),
        repairs=(stopped & pl.col("works").is_not_null()).sum().cast(pl.Int64),
    )


def _hit(spans: pl.DataFrame, hits: pl.DataFrame) -> pl.DataFrame:
    """Faults on its GPUs while it held them: what fails after it left is another's."""
    within = hits.join(spans.select("job", "end"), on="job").filter(pl.col("time") <= pl.col("end") + MINUTE)
    return within.group_by("job").agg(
        hits=pl.len().cast(pl.Int64), hits_alarmed=pl.col("alarmed").sum().cast(pl.Int64)
    )


def _alarmed(alarms: pl.DataFrame) -> pl.DataFrame:
    """An incident is one alarm, whatever it asked for. What was not delivered (a dry run) cost nothing."""
    sent = alarms.drop_nulls(["job", "delivered"])
    of = sent.group_by("job", "incident_id").agg(pl.col("verdict").drop_nulls().max())
    return of.group_by("job").agg(
        alarms_right=(pl.col("verdict") == "true").sum().cast(pl.Int64),
        alarms_wrong=(pl.col("verdict") == "false").sum().cast(pl.Int64),
    )


def _saved(spans: pl.DataFrame, checkpoints: pl.DataFrame) -> pl.DataFrame:
    """Saves within each job's span, and the time they took."""
    durable = checkpoints.drop_nulls("finished").join(spans.select("job", "first", "end"), on="job")
    begin, end = pl.max_horizontal("started", "first"), pl.min_horizontal("finished", "end")
    return (
        durable.filter(begin < end)
        .group_by("job")
        .agg(checkpoints=pl.len().cast(pl.Int64), write_s=_seconds(end - begin).sum())
    )


def _seconds(duration: pl.Expr) -> pl.Expr:
    return duration.dt.total_microseconds() / _US
