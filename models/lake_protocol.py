"""How the imminence head is learnt and tried on a site's own lake: every row before a fault, a sample of the others,
and a test on later time in which every minute of every GPU is scored.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from collector.errors import ForeshockError
from models.imminence import ENOUGH_EPISODES
from models.learning import EMBARGO, Learnt, check_no_leak, learn_from
from models.telemetry_results import Test
from models.telemetry_scores import LONGEST_S, Scoring
from pipeline import labels
from pipeline.lake import Lake
from pipeline.training_set import WEIGHT, Keep, training_set

TRAINING_ROWS: Final = 3_000_000
"""Rows that matter are all learnt from; so many others are enough."""
_SAMPLE_ROWS: Final = 1_000_000
_END: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Reach:
    """What the lake has: [since, until) of its rollups, rows, faults in that time; when each GPU's history ended."""

    since: datetime
    until: datetime
    rows: int
    faults: pl.DataFrame
    events: pl.DataFrame
    last_seen: pl.DataFrame
    synthetic: bool


def reach(lake: Lake) -> Reach:
    """Raises ForeshockError for a lake without rollups."""
    rollups = lake.scan("rollups", columns=("gpu_uuid", "minute", "synthetic"))
    told = rollups.select(
        since=pl.col("minute").min(),
        until=pl.col("minute").max(),
        rows=pl.len(),
        synthetic=pl.col("synthetic").any(),
    ).collect(engine="streaming")
    since, until = told["since"][0], told["until"][0]
    if since is None:
        raise ForeshockError(
            "the lake has no rollups to learn from",
            hint="foreshock ingest fills it; give it weeks, not minutes",
        )
    until += timedelta(minutes=1)
    last = rollups.group_by("gpu_uuid").agg(last=pl.col("minute").max()).collect(engine="streaming")
    events = lake.read("events")
    faults = labels.faults(events).filter(pl.col("time") >= since, pl.col("time") < until)
    ended = last.filter(pl.col("last") < until - _END)
    return Reach(since, until, int(told["rows"][0]), faults, events, ended, bool(told["synthetic"][0]))


def check_enough(of: Reach) -> None:
    """Says how many faults there are, and raises ForeshockError where they are too few to promise anything."""
    count = of.faults.height
    if count < 2 * ENOUGH_EPISODES:
        raise ForeshockError(
            f"the lake has {count} faults from {of.since:%Y-%m-%d} to {of.until:%Y-%m-%d}: nothing that is learnt from "
            f"fewer than {2 * ENOUGH_EPISODES} ({ENOUGH_EPISODES} to learn, the others to test) can be promised",
            hint='the rules go on serving; train again when the lake has more (foreshock sql "SELECT * FROM faults")',
        )


def cut(of: Reach) -> datetime:
    """Two thirds of the time before it."""
    minutes = (of.until - of.since) // timedelta(minutes=1) * 2 // 3
    return of.since + timedelta(minutes=minutes)


def learn(lake: Lake, of: Reach, *, seed: int = 0) -> Learnt:
    """From [since, cut), of every GPU."""
    until = cut(of)
    share = min(1.0, TRAINING_ROWS / max(of.rows, 1))
    frames = training_set(
        lake,
        of.since,
        until,
        keep=_fails_soon(of, until),
        sample_share=share,
        seed=seed,
        rows_at_once=1_000_000,
    )
    events = of.events.filter(pl.col("time") < until)
    return learn_from(
        pl.concat(list(frames)), of.faults, events, until=until, seed=seed, last_seen=of.last_seen
    )


def _fails_soon(of: Reach, until: datetime) -> Keep:
    return lambda rows: labels.label(
        rows, of.faults, horizon_s=LONGEST_S, until=until, last_seen=of.last_seen
    )


def test(
    lake: Lake,
    of: Reach,
    learnt: Learnt,
    window: tuple[datetime, datetime],
    about: dict[str, Any],
    *,
    seed: int,
) -> Test:
    """Every minute of `window`, which begins an embargo after the cut or later."""
    since, until = window
    rollups = lake.scan("rollups", since=since, columns=("node", "minute")).filter(pl.col("minute") < until)
    nodes = rollups.select("node").unique().collect(engine="streaming").sort("node")
    if nodes.is_empty():
        raise ForeshockError(
            f"the lake has no rollups from {since:%Y-%m-%d} to {until:%Y-%m-%d}, which are to be judged",
            hint="train again when the gap is older: two thirds of the lake's time are learnt from",
        )
    known = of.faults.filter(pl.col("time") < until)
    work = Scoring(
        learnt.model, learnt.baselines, learnt.floors, known, of.events.filter(pl.col("time") < until),
        nodes.select(pl.col("node").alias("name"), pl.lit(1.0).alias(WEIGHT)), until,
        min(1.0, _SAMPLE_ROWS / max(of.rows, 1)), seed,
    )  # fmt: skip
    frames = training_set(
        lake,
        since,
        until,
        keep=lambda rows: rows["minute"].is_not_null(),
        sample_share=1.0,
        rows_at_once=1_000_000,
    )
    seen = work(frame.drop(WEIGHT) for frame in frames)
    check_no_leak(learnt, seen, unseen_gpus=False)
    mine = known.filter(pl.col("node").is_in(seen.exposure["node"].implode()))
    events = of.events.filter(pl.col("time") < until)
    return Test(seen, mine.filter(pl.col("time") >= since), mine, events, until, about, of.last_seen)


test.__test__ = False  # type: ignore[attr-defined]  # pytest takes it for a test of whoever imports it


def windows(of: Reach) -> tuple[tuple[datetime, datetime], tuple[datetime, datetime]]:
    """(to choose the threshold, to test): what follows the embargo, halved, with another embargo between."""
    begin = cut(of) + EMBARGO
    middle = begin + timedelta(minutes=(of.until - begin) // timedelta(minutes=2))
    if middle + EMBARGO >= of.until:
        raise ForeshockError(
            f"the lake's time from {of.since:%Y-%m-%d} to {of.until:%Y-%m-%d} is too short to learn, choose and test",
            hint=f"three embargoes of {EMBARGO.days} days must fit into its last third: 18 days at the least",
        )
    return (begin, middle), (middle + EMBARGO, of.until)
