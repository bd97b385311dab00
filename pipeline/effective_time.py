"""The measured effective training time: of each job and of the fleet, with what was lost split by cause.

What is measured, and what is assumed, is `DEFINITION`; it is printed under every number. From rollups, events and
actions alone; nothing is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import polars as pl

from collector.errors import ForeshockError
from pipeline import job_happenings
from pipeline.effective_time_sums import of_fleet, of_jobs
from pipeline.job_happenings import SAVE_WITHIN
from pipeline.job_losses import EFFECTIVE, INTERVALS, paint
from pipeline.job_outages import INTERRUPTIONS, outages
from pipeline.job_spans import BUSY_PCT, MINUTE, timeline
from pipeline.lake import Lake

CAUSES: Final = (
    "checkpoint", "lost_work", "detection", "scheduling", "restart", "alarms_false", "alarms_true", "idle", "unknown",
)  # fmt: skip
"""All that a span is beside effective time."""
PAUSED: Final = "paused"
_ORDER: Final = (
    PAUSED, "alarms_true", "alarms_false", "checkpoint", "unknown", "scheduling", "detection", "restart", "idle",
    "lost_work",
)  # fmt: skip
"""Where two lie over one moment, the first counts: a moment is counted once."""
IDLE_MINUTES: Final = 5

DEFINITION: Final = f"""\
Effective training time (ETTR) of a job = time in which it worked and whose work was not lost later / its span. The
span is wall-clock time from the minute in which it is first seen holding GPUs to the last one (or until now). Queue
time before the first start, planned stops (it saved, and left within 2 minutes) and planned maintenance are not
counted. The grain is a minute. Slow steps and stalls at full utilisation count as work. Lost, each moment once:
  checkpoint    from begin to end as the trainer told it; assumed: training waits while it saves
  lost work     from the end of the last durable checkpoint (or else from the (re)start) to the interruption
  detection     from the fault's first event (or else from the end of work) until the job had lost its GPUs
  scheduling    from then until it held GPUs again
  restart       from holding GPUs until it worked (most GPUs at {BUSY_PCT:g} % SM utilisation for 2 minutes, or a
                checkpoint begun); the first start too
  alarms false  saves and moves that we asked for, where no fault followed within the horizon (or not yet)
  alarms true   the same, where one did
  idle          it held its GPUs and most stood below {BUSY_PCT:g} % for {IDLE_MINUTES} minutes, for no known reason
  unknown       most of its GPUs were silent: not guessed. ETTR has it as lost, the end of its range as work
ETTR by Baige's definition = 1 - (faults x mean recovery + time spent writing checkpoints) / span, where recovery is
perception + scheduling + init + recompute. Moves, stops without a known fault, idle and unknown time are no loss
there: compare neither of the two with the other, nor with any number whose definition is not beside it."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What `measure` found in [since, until), UTC. Times in seconds, shares from 0 to 1, null where not known.

    jobs: one row per job: job, since, until, gpus (median held), span_s, effective_s, one column "CAUSE_s" of each of
    CAUSES (they add up to span_s), paused_s (beside the span), gpu_hours (of the span), ettr, ettr_high (unknown as
    work), ettr_baige, interruptions, faults (that interrupted), alarmed (of those: with an alarm before), hits
    (faults on its GPUs while it held them), hits_alarmed, alarms_right, alarms_wrong, moves, checkpoints, mtbf_s,
    mtbf_low_s, mtbf_high_s (95 %, Poisson), mttr_s, synthetic.
    fleet: the same in one row (job null): shares weighted by GPU-hours, times in seconds of jobs, counts summed.
    losses: job (null: fleet), cause (effective among them), seconds, gpu_hours, share (of the span, in GPU-hours).
    outages: pipeline.job_outages.outages.
    """

    since: datetime
    until: datetime
    jobs: pl.DataFrame
    fleet: pl.DataFrame
    losses: pl.DataFrame
    outages: pl.DataFrame
    synthetic: bool


class _Logs(NamedTuple):
    checkpoints: pl.DataFrame
    hits: pl.DataFrame
    alarms: pl.DataFrame


def measure(
    lake: Lake, since: datetime | None = None, until: datetime | None = None, *, job: str | None = None
) -> Measured:
    """Measure every job (or `job`) over whole minutes in [since, until); None is all that the lake has.

    Raises ForeshockError where the lake has no rollups, or no job in that time.
    """
    first, newest = _reach(lake)
    since = first if since is None else max(since, first)
    until = newest if until is None else min(until, newest)
    rows = timeline(lake, since, until, job)
    if rows.is_empty():
        raise _no_job(lake, job)
    logs = _logs(lake, since, until, job)
    moves = logs.alarms.filter(pl.col("action") == "drain_now").drop_nulls(["delivered", "job"])
    found = outages(rows, logs.hits, logs.checkpoints, moves, newest=until)
    spans = rows.group_by("job", maintain_order=True).agg(
        first=pl.col("minute").min(),
        end=pl.col("minute").max() + MINUTE,
        gpus=pl.col("gpus").filter(pl.col("state").is_in(["working", "low", "dark"])).median(),
        synthetic=pl.col("synthetic").any(),
    )
    saves = _saves(logs.checkpoints, logs.alarms)
    painted = paint(spans, pl.concat([saves, *_minutes(rows, found), *_stretches(found)]), _ORDER)
    jobs = of_jobs(spans, painted, outages=found, **logs._asdict(), causes=CAUSES)
    fleet = of_fleet(jobs, causes=CAUSES)
    synthetic = bool(jobs["synthetic"].any())
    return Measured(since, until, jobs, fleet, _losses(pl.concat([fleet, jobs])), found, synthetic)


def _reach(lake: Lake) -> tuple[datetime, datetime]:
    ends = lake.scan("rollups", columns=("minute",)).select(
        first=pl.col("minute").min(), last=pl.col("minute").max()
    )
    first, last = ends.collect(engine="streaming").row(0)
    if first is None:
        raise ForeshockError(
            f"the lake {lake.path} has no rollups: nothing is known of any job",
            hint="foreshock ingest fills it; or is lake.path the right one?",
        )
    return first, last + MINUTE


def _no_job(lake: Lake, job: str | None) -> ForeshockError:
    names = (
        lake.scan("rollups", columns=("job",)).select(pl.col("job").drop_nulls().unique()).collect()["job"]
    )
    if names.is_empty():
        return ForeshockError(
            f"the lake {lake.path} names no job: its rollups do not say who held the GPUs",
            hint="the agent learns it from Slurm, Kubernetes or collector.job_mapping_dir (docs/agent.md)",
        )
    of = "" if job is None else f" {job}"
    return ForeshockError(
        f"no job{of} held a GPU in that time",
        hint=f"the lake knows {', '.join(names.sort().head(5))}; widen --since",
    )


def _logs(lake: Lake, since: datetime, until: datetime, job: str | None) -> _Logs:
    before = since - job_happenings.LOOK_BACK
    events = lake.read("events", since=before).filter(pl.col("time") < until)
    faults = job_happenings.faults(events, until)
    alarms = job_happenings.alarms(lake, faults, since, until)
    hits = job_happenings.hits(lake, faults.filter(pl.col("time") >= since), alarms)
    mine = pl.lit(value=True) if job is None else pl.col("job") == job
    saves = job_happenings.checkpoints(events)
    return _Logs(saves.filter(mine), hits.filter(mine), alarms.filter(mine))


def _saves(checkpoints: pl.DataFrame, alarms: pl.DataFrame) -> pl.DataFrame:
    """INTERVALS of durable checkpoints: ours where an alarm asked for them."""
    asked = alarms.filter(pl.col("action") != "drain").drop_nulls(["delivered", "job"]).sort("time")
    durable = checkpoints.drop_nulls("finished").sort("started").with_row_index("_row")
    ours = asked.join_asof(
        durable.select("_row", "job", "started"), left_on="time", right_on="started", by="job",
        strategy="forward", tolerance=SAVE_WITHIN, coalesce=False, check_sortedness=False,
    ).drop_nulls("_row")  # fmt: skip
    true = ours.group_by("_row").agg(true=(pl.col("verdict") == "true").fill_null(value=False).any())
    cause = pl.when("true").then(pl.lit("alarms_true")).when(~pl.col("true")).then(pl.lit("alarms_false"))
    return durable.join(true, on="_row", how="left").select(
        "job", pl.col("started").alias("begin"), pl.col("finished").alias("end"),
        cause.otherwise(pl.lit("checkpoint")).alias("cause"),
    )  # fmt: skip


def _minutes(timeline: pl.DataFrame, found: pl.DataFrame) -> list[pl.DataFrame]:
    """INTERVALS of minutes without work, by what was seen in them."""
    down = timeline.filter(pl.col("state") != "working").sort("minute")
    of = found.filter(~pl.col("closing")).sort("begin").select("job", "kind", "begin", "end", "works", "low")
    inside = down.join_asof(
        of, left_on="minute", right_on="begin", by="job", coalesce=False, check_sortedness=False
    ).filter(pl.col("minute") < pl.col("end"))
    state, kind = pl.col("state"), pl.col("kind")
    cause = (
        pl.when(state == "unseen")
        .then(pl.lit("unknown"))
        .when(state == "dark", kind != "pause")
        .then(pl.lit("unknown"))
        .when(state == "released", kind == "planned")
        .then(pl.lit(PAUSED))
        .when(state == "released")
        .then(pl.lit("scheduling"))
        .when(state == "low", kind == "pause", pl.col("low") >= IDLE_MINUTES)
        .then(pl.lit("idle"))
    )
    until = pl.col("minute") + MINUTE
    clipped = pl.when(state.is_in(["low", "dark"])).then(pl.min_horizontal(until, "works")).otherwise(until)
    rows = inside.select("job", pl.col("minute").alias("begin"), clipped.alias("end"), cause.alias("cause"))
    return [rows.drop_nulls("cause").select(INTERVALS)]


def _stretches(found: pl.DataFrame) -> list[pl.DataFrame]:
    """INTERVALS of outages. Minutes of them that say more have their own causes, which come first in _ORDER."""
    kind, again = pl.col("kind"), pl.coalesce("works", "end")
    stopped = pl.when(kind == "start").then("begin").otherwise("stopped")
    came_true = (pl.col("verdict") == "true").fill_null(value=False)
    move = pl.when(came_true).then(pl.lit("alarms_true")).otherwise(pl.lit("alarms_false"))
    interrupted = kind.is_in(INTERRUPTIONS)
    parts = (
        (interrupted | (kind == "planned"), pl.col("kept"), pl.col("interrupted"), pl.lit("lost_work")),
        (interrupted, pl.col("interrupted"), pl.col("stopped"), pl.lit("detection")),
        (interrupted | kind.is_in(["planned", "start"]), stopped, again, pl.lit("restart")),
        (kind == "move", pl.col("kept"), again, move),
    )
    return [
        found.filter(which).select("job", begin.alias("begin"), end.alias("end"), cause.alias("cause"))
        for which, begin, end, cause in parts
    ]


def _losses(rows: pl.DataFrame) -> pl.DataFrame:
    """One row per job and cause of rows of `Measured.jobs`."""
    names = (EFFECTIVE, *CAUSES)
    long = rows.select("job", "gpu_hours", "span_s", *(pl.col(f"{c}_s").alias(c) for c in names)).unpivot(
        names, index=["job", "gpu_hours", "span_s"], variable_name="cause", value_name="seconds"
    )
    share = pl.col("seconds") / pl.col("span_s")
    return long.select(
        "job", "cause", "seconds", (share * pl.col("gpu_hours")).alias("gpu_hours"), share.alias("share")
    )
