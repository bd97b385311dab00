"""What live scoring reads from the lake on start, so that it goes on as if it had never stopped.

For every node, from the minute that was predicted last: an hour of rollups before it, everything after it, and sums
by the clock hour of the day before that. Only the columns that features are made from, and days only as sums.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

import polars as pl

from pipeline.event_history import EVENT_COLUMNS, EVENT_LOOK_BACK_DAYS, needed
from pipeline.lake import Lake
from pipeline.recovery import newest_by_node
from pipeline.signals import DAY_SIGNALS, INPUTS, KEYS, LOOK_BACK_HOURS, LOOK_BACK_MINUTES, expression

CATCH_UP: Final = timedelta(days=2)
"""How far back the lake is asked, on start, what is in it already: longer than any agent's outage. Minutes of a node
that was never predicted are caught up with from there."""
_MINUTES: Final = timedelta(minutes=LOOK_BACK_MINUTES)
_HOURS: Final = timedelta(hours=LOOK_BACK_HOURS + 1)
_TOGETHER: Final = timedelta(hours=3)
"""Nodes within this time of the newest are read at once; those that are further behind, with a scan of their own."""


class LookBack(NamedTuple):
    """Arguments of pipeline.predict.Predictor."""

    rollups: pl.DataFrame
    """KEYS and INPUTS: the wide minutes."""
    hours: pl.DataFrame
    """gpu_uuid, hour and the daily signals: sums of the minutes before `rollups`."""
    events: pl.DataFrame
    """EVENT_COLUMNS, of 90 days."""


def look_back(lake: Lake, since: datetime) -> LookBack:
    """What features need of the lake for every node that `rollups` has from `since` on."""
    starts = _starts(lake, since)
    return LookBack(_minutes(lake, starts), _hours(lake, starts), _events(lake, starts, since))


def last_predictions(lake: Lake, since: datetime, level: float) -> pl.DataFrame:
    """Per node and GPU: the last predicted minute, and the last one whose risk was at least `level` (or null)."""
    scan = lake.scan("predictions", since=since, columns=["node", "gpu_uuid", "minute", "risk"])
    over = pl.col("minute").filter(pl.col("risk") >= level).max().alias("over")
    return scan.group_by("node", "gpu_uuid").agg(pl.col("minute").max(), over).collect(engine="streaming")


def _starts(lake: Lake, since: datetime) -> pl.DataFrame:
    """Per node: `start`, before which its minutes are needed as sums only."""
    newest = newest_by_node(lake, "rollups", since).rename({"minute": "rolled"})
    both = newest.join(newest_by_node(lake, "predictions", since), on="node", how="left")
    predicted = pl.col("minute").fill_null(pl.col("rolled") - CATCH_UP)
    return both.select("node", (pl.min_horizontal(predicted, "rolled") - _MINUTES).alias("start"))


def _minutes(lake: Lake, starts: pl.DataFrame) -> pl.DataFrame:
    columns = [*KEYS, *INPUTS]
    parts = [
        _of_nodes(lake, some, columns, timedelta(0))
        .filter(pl.col("minute") > pl.col("start"))
        .select(columns)
        .sort("minute")
        .collect(engine="streaming")
        for some in reversed(_alike(starts))
    ]
    return pl.concat([lake.scan("rollups", columns=columns).clear().collect(), *parts])


def _hours(lake: Lake, starts: pl.DataFrame) -> pl.DataFrame:
    """Of 24 whole clock hours before `start`; the hour of `start` itself up to it."""
    columns = list(
        dict.fromkeys(("node", "gpu_uuid", "minute", *(c for s in DAY_SIGNALS for c in s.columns)))
    )
    hour = pl.col("minute").dt.truncate("1h").alias("hour")
    parts = [
        _of_nodes(lake, some, columns, _HOURS)
        .filter(
            pl.col("minute") <= pl.col("start"),
            pl.col("minute") >= (pl.col("start") - _HOURS).dt.truncate("1h"),
        )
        .group_by("gpu_uuid", hour)
        .agg(
            pl.when(expression(s).count() > 0).then(expression(s).sum()).cast(pl.Float64).alias(s.name)
            for s in DAY_SIGNALS
        )
        .collect(engine="streaming")
        for some in _alike(starts)
    ]
    schema = {"gpu_uuid": pl.String(), "hour": starts.schema["start"]}
    empty = pl.DataFrame(schema=schema | {s.name: pl.Float64() for s in DAY_SIGNALS})
    # a card that changed its node within an hour has a sum on each
    return pl.concat([empty, *parts]).group_by("gpu_uuid", "hour").agg(
        pl.when(pl.col(s.name).count() > 0).then(pl.col(s.name).sum()) for s in DAY_SIGNALS
    )  # fmt: skip


def _of_nodes(lake: Lake, starts: pl.DataFrame, columns: list[str], before: timedelta) -> pl.LazyFrame:
    """Rollups of these nodes, with each row's `start`."""
    first = starts["start"].min()
    assert isinstance(first, datetime)
    scan = lake.scan("rollups", since=first - before, columns=columns)
    return scan.join(starts.lazy(), on="node")


def _alike(starts: pl.DataFrame) -> list[pl.DataFrame]:
    """The nodes that are about as far, and the stragglers."""
    behind = pl.col("start") < pl.col("start").max() - _TOGETHER
    return [some for some in (starts.filter(~behind), starts.filter(behind)) if not some.is_empty()]


def _events(lake: Lake, starts: pl.DataFrame, since: datetime) -> pl.DataFrame:
    first = starts["start"].min()
    oldest = min(first, since) if isinstance(first, datetime) else since
    scan = lake.scan("events", since=oldest - timedelta(days=EVENT_LOOK_BACK_DAYS), columns=EVENT_COLUMNS)
    return needed(scan.collect(), oldest)
