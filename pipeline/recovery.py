"""What a worker that takes over asks the lake: how far each node, each counter and each agent had come.

Asked in slices and by column, so that the lake of a large fleet does not have to fit into the worker.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from pipeline.lake import Lake
from pipeline.rollup import CARRY, carry_of
from pipeline.tables import DELTAS

_RECENT: Final = (timedelta(minutes=10), timedelta(hours=1))
"""Nearly every GPU has its last counters within the first; what older slices are asked for are the others."""
_ROWS: Final = 50_000_000
"""Samples that are searched for the agents' own numbers: minutes of a large fleet, days of a small one."""


def newest_minutes(lake: Lake, since: datetime) -> dict[str, int]:
    """Node -> its last minute in `rollups`, since the epoch."""
    newest = newest_by_node(lake, "rollups", since)
    return dict(newest.with_columns(pl.col("minute").dt.epoch("s") // 60).iter_rows())


def newest_by_node(lake: Lake, table: str, since: datetime) -> pl.DataFrame:
    """`node` and its last `minute` in `table`."""
    scan = lake.scan(table, since=since, columns=["node", "minute"])
    return scan.group_by("node").agg(pl.col("minute").max()).collect(engine="streaming")


def last_counters(lake: Lake, since: datetime) -> pl.DataFrame:
    """The counters that the next deltas of each GPU start from: columns of pipeline.rollup.CARRY."""
    known = pl.DataFrame(schema=CARRY)
    newest = lake.scan("rollups", since=since, columns=["minute"]).max().collect().item()
    if newest is None:
        return known
    upper = newest + timedelta(minutes=1)
    for lower in (*(max(newest - span, since) for span in _RECENT), since):
        if lower >= upper:
            continue
        older = _counters(lake, lower, upper, without=known)
        known = pl.concat([known, older])
        upper = lower
    return known


def _counters(lake: Lake, lower: datetime, upper: datetime, *, without: pl.DataFrame) -> pl.DataFrame:
    columns = ["gpu_uuid", "minute", *(f"{c}_last" for c in DELTAS)]
    scan = lake.scan("rollups", since=lower, columns=columns).filter(pl.col("minute") < upper)
    return carry_of(scan.join(without.lazy(), on="gpu_uuid", how="anti").collect(engine="streaming"))


def sent(lake: Lake, table: str, since: datetime) -> dict[str, int]:
    """Stream -> the highest number of its records that `table` holds.

    Where more than 50 M rows are newer than `since`, only the newest of them are asked: an agent that sends a
    record again after a lost acknowledgement does so within seconds.
    """
    since = max(since, lake.reach(table, _ROWS) or since)
    scan = lake.scan(table, since=since, columns=["stream", "seq"])
    return dict(scan.group_by("stream").agg(pl.col("seq").max()).collect(engine="streaming").iter_rows())
