"""Matrices of a simulated fleet, by whole nodes: the features of production, of the nodes that somebody chose.

Synthetic, all of it. Who is to be chosen, and for how many others each row stands, says models/simulated_sample.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta
from functools import lru_cache, partial
from multiprocessing import get_context
from typing import Final, NamedTuple, TypeVar

import polars as pl

from models.progress import Tick
from pipeline import labels
from pipeline.event_history import EVENT_LOOK_BACK_DAYS
from pipeline.features import features
from pipeline.fleet import Fleet
from pipeline.fleet_params import FleetParams
from pipeline.signals import LOOK_BACK_HOURS, LOOK_BACK_MINUTES
from pipeline.training_set import COLUMNS, WEIGHT, Keep, carried, weighted

J = TypeVar("J")
T = TypeVar("T")
Frames = Iterator[pl.DataFrame]

_MINUTE: Final = timedelta(minutes=1)
_LEAST_MINUTES: Final = 60
_HELD: Final = LOOK_BACK_MINUTES + LOOK_BACK_HOURS
"""Rows of each GPU that are held beside those asked for."""
_NODES_AT_ONCE: Final = 32


def known_faults(fleet: Fleet) -> pl.DataFrame:
    """Every fault in the fleet's history that its events tell of: labels.FAULTS. Silent corruption is none."""
    return labels.faults(fleet.events(fleet.start, fleet.params.days * 86_400))


def feature_frames(
    fleet: Fleet,
    nodes: Sequence[int],
    since: datetime,
    until: datetime,
    *,
    rows_at_once: int = 500_000,
    events: pl.DataFrame | None = None,
) -> Frames:
    """The matrix of all GPUs of `nodes` (indices) for the minutes in [since, until), in parts by time.

    It is what `pipeline.features.features` makes of the whole fleet's rollups and events: the day before `since`,
    where the fleet has one, and 90 days of events are looked back at. About `rows_at_once` rollups are held,
    and four times their memory at the peak: 1 GB for half a million.
    `events` spares making the fleet's events again: all of them up to `until` (later ones do no harm).
    Raises ForeshockError for nodes or times that the fleet does not have.
    """
    if not nodes:
        return
    told = _events(fleet, nodes, since, until, events)
    past = _rollups(fleet, nodes, max(since - timedelta(hours=LOOK_BACK_HOURS), fleet.start), since)
    gpus = len(set(nodes)) * fleet.params.gpus_per_node
    step = max(_LEAST_MINUTES, rows_at_once // gpus - _HELD) * _MINUTE
    begin = since
    while begin < until:
        end = min(begin + step, until)
        rows = pl.concat([carried(past.lazy(), begin).collect(), _rollups(fleet, nodes, begin, end)])
        yield features(rows, told, since=begin)
        past = carried(rows.lazy(), end).collect()
        begin = end


def training_frames(
    fleet: Fleet,
    stretches: pl.DataFrame,
    *,
    keep: Keep,
    sample_share: float,
    seed: int = 0,
    rows_at_once: int = 500_000,
) -> Frames:
    """Matrices with `weight` of the rows in `stretches` (simulated_sample.STRETCHES), a day or less of them each.

    Rows that `keep` keeps (e.g. `fails_soon`) are all there, with their stretch's weight. Of the others a share of
    `sample_share` is drawn as pipeline/training_set.py does it, the weight of each divided by that share.
    """
    if stretches.is_empty():
        return
    events = fleet.events(fleet.start, _seconds(stretches["end"].max(), fleet.start))
    for day in stretches.partition_by("day", maintain_order=True):
        nodes = day["node"].unique().sort().to_list()
        since, until = day["begin"].min(), day["end"].max()
        assert isinstance(since, datetime)
        assert isinstance(until, datetime)
        for matrix in feature_frames(fleet, nodes, since, until, rows_at_once=rows_at_once, events=events):
            drawn = weighted(_inside(matrix, day), keep, sample_share, seed)
            if not drawn.is_empty():
                yield drawn.with_columns(pl.col(WEIGHT) * pl.col("_stands_for")).drop("_stands_for")


def fails_soon(faults: pl.DataFrame, until: datetime, *, horizon_s: int = 86_400) -> Keep:
    """Keeps the rows whose label at `horizon_s` is true."""
    return lambda rows: labels.label(rows, faults, horizon_s=horizon_s, until=until)


def mapped(
    work: Callable[[Frames], T],
    fleet: Fleet,
    nodes: Sequence[int],
    since: datetime,
    until: datetime,
    *,
    processes: int = 2,
    rows_at_once: int = 500_000,
    tick: Tick | None = None,
) -> list[T]:
    """`work` on the feature frames of 32 nodes at a time, in the order of `nodes`, by processes of their own.

    `work` and what it returns are pickled. Each process makes the fleet again: seconds, and 0.3 GB for 16,384 GPUs
    and 180 days.
    """
    made = (fleet.gpus, fleet.seed, fleet.start, fleet.params)
    task = partial(_of_nodes, work, _Asked(made, since, until, rows_at_once))
    groups = [list(nodes[i : i + _NODES_AT_ONCE]) for i in range(0, len(nodes), _NODES_AT_ONCE)]
    return in_processes(task, groups, processes, tick)


def in_processes(
    work: Callable[[J], T], jobs: Sequence[J], processes: int, tick: Tick | None = None
) -> list[T]:
    """`work` on each of `jobs`, in their order; what goes in and out is pickled where there are several processes.

    `tick` hears how many are done.
    """
    if processes == 1:
        return _counted(map(work, jobs), len(jobs), tick)
    # Polars has threads, which a fork would leave behind locked
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return _counted(pool.map(work, jobs), len(jobs), tick)


def _counted(results: Iterator[T], of: int, tick: Tick | None) -> list[T]:
    out: list[T] = []
    for result in results:
        out.append(result)
        if tick is not None:
            tick(len(out), of)
    return out


_Made = tuple[int, int, datetime, FleetParams]


class _Asked(NamedTuple):
    made: _Made
    since: datetime
    until: datetime
    rows_at_once: int


def _of_nodes(work: Callable[[Frames], T], asked: _Asked, nodes: list[int]) -> T:
    fleet, events = _again(asked.made)
    frames = feature_frames(
        fleet, nodes, asked.since, asked.until, rows_at_once=asked.rows_at_once, events=events
    )
    return work(frames)


@lru_cache(maxsize=1)
def _again(made: _Made) -> tuple[Fleet, pl.DataFrame]:
    fleet = Fleet(*made)
    return fleet, fleet.events(fleet.start, fleet.params.days * 86_400)


def _rollups(fleet: Fleet, nodes: Sequence[int], begin: datetime, end: datetime) -> pl.DataFrame:
    minutes = (end - begin) // _MINUTE
    parts = fleet.rollup_parts(begin, minutes, nodes=nodes, columns=COLUMNS)
    empty = next(fleet.rollup_parts(fleet.start, 1, nodes=nodes[:1], columns=COLUMNS)).clear()
    return pl.concat([empty, *parts]).select(COLUMNS)


def _events(
    fleet: Fleet, nodes: Sequence[int], since: datetime, until: datetime, events: pl.DataFrame | None
) -> pl.DataFrame:
    told = fleet.events(fleet.start, _seconds(until, fleet.start)) if events is None else events
    mine = pl.col("node").is_in([fleet.nodes[i] for i in set(nodes)])
    return told.filter(
        mine, pl.col("time") >= since - timedelta(days=EVENT_LOOK_BACK_DAYS + 1), pl.col("time") < until
    )


def _seconds(until: object, start: datetime) -> int:
    assert isinstance(until, datetime)
    return round((until - start).total_seconds())


def _inside(matrix: pl.DataFrame, stretches: pl.DataFrame) -> pl.DataFrame:
    """The rows that lie in one of `stretches`, with that one's weight as `_stands_for`."""
    asked = matrix.select("node", "minute").with_row_index("_row")
    known = stretches.select(
        pl.col("name").alias("node"), "begin", "end", pl.col(WEIGHT).alias("_stands_for")
    )
    both = asked.join(known, on="node").filter(pl.col("minute").is_between("begin", "end", closed="left"))
    both = both.sort("_row")
    return matrix[both["_row"]].with_columns(both["_stands_for"])
