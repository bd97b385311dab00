"""Which nodes of a simulated fleet to look at, and when, with known weights: all that is rare, a draw of the rest.

16,384 GPUs over 180 days are 4.2 billion rows, and nearly all of them are of GPUs that nothing happens to. The
estimator is Horvitz and Thompson's (1952): a unit that is drawn with probability p counts 1 / p, so that sums over
weights expect the sums over the whole fleet, whatever a model says of the rows. A unit is a node
(`test_nodes`) or a node on one day (`training_stretches`), never a GPU, since a GPU is measured against the
others of its node. Rows of one unit are alike: make intervals over nodes, not over rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl

from collector.errors import ForeshockError
from pipeline.fleet import Fleet
from pipeline.tables import TIME
from pipeline.training_set import WEIGHT, uniform

NODES: Final = pl.Schema({"node": pl.Int64(), "name": pl.String(), WEIGHT: pl.Float64()})
"""`node` is an index into `Fleet.nodes`."""
STRETCHES: Final = pl.Schema({
    "node": pl.Int64(), "name": pl.String(), "day": TIME, "begin": TIME, "end": TIME, WEIGHT: pl.Float64(),
})  # fmt: skip
"""Minutes [begin, end) of a node, within the 24 hours from `day`. No two of one node overlap."""

_DAY: Final = timedelta(days=1)


def test_nodes(
    fleet: Fleet,
    faults: pl.DataFrame,
    since: datetime,
    until: datetime,
    *,
    share: float,
    notable_share: float | None = None,  # noqa: PT028 - no test
    seed: int = 0,  # noqa: PT028
    among: Sequence[int] | None = None,  # noqa: PT028
) -> pl.DataFrame:
    """NODES to evaluate [since, until) on, out of `among` (indices; all unless given).

    Each node with one of `faults` (node, time) in [since, until + 1 day) has weight 1. Of the n others k = share * n
    (at least one) come by lot, each with weight n / k: the weights add up to the number of nodes. With
    `notable_share` those where something notable happens in that time are drawn apart, with that share. The lot is one
    number per (seed, node name, since), so a larger share has the nodes of the smaller one and more.
    Raises ForeshockError for a share out of range.
    """
    nodes = _named(fleet, among)
    struck = faults.filter(pl.col("time") >= since, pl.col("time") < until + _DAY)["node"].unique()
    fails = pl.col("name").is_in(struck.implode())
    others = nodes.filter(~fails).with_columns(pl.lit(since).cast(TIME).alias("day"))
    whole = nodes.filter(fails).with_columns(pl.lit(1.0).alias(WEIGHT))
    span = others.with_columns(pl.lit(since).cast(TIME).alias("begin"), pl.lit(until).cast(TIME).alias("end"))
    parts = (whole, *_strata(span, fleet, share, notable_share, seed))
    return pl.concat([p.select(NODES.names()).cast(NODES) for p in parts]).sort("node")


test_nodes.__test__ = False  # type: ignore[attr-defined]  # where a test imports it, it is none


def training_stretches(
    fleet: Fleet,
    faults: pl.DataFrame,
    since: datetime,
    until: datetime,
    *,
    share: float,
    notable_share: float | None = None,
    seed: int = 0,
    among: Sequence[int] | None = None,
) -> pl.DataFrame:
    """STRETCHES of [since, until) to train on, out of `among` (indices; all unless given), by day and node.

    The 24 hours before each of `faults` (those after `until` too) are there for the whole node with weight 1, once
    where they overlap. The n cells (node, day) hold all other minutes: k = share * n of them (at least one) come by
    lot with weight n / k, without the minutes before faults that lie in them. With `notable_share` the cells where
    something notable happens are drawn apart, with that share. So each minute of a node is in exactly one stratum, and
    sums over weights expect those over the fleet.
    Raises ForeshockError for a share out of range.
    """
    nodes = _named(fleet, among)
    starts = [since + i * _DAY for i in range(-((since - until) // _DAY))]
    days = pl.DataFrame({"day": starts}, schema={"day": TIME})
    cells = nodes.join(days, how="cross").with_columns(
        pl.col("day").alias("begin"), pl.min_horizontal(pl.col("day") + _DAY, pl.lit(until)).alias("end")
    )
    before = _before_faults(faults)
    others = pl.concat(_strata(cells, fleet, share, notable_share, seed))
    near = _overlaps(cells, before).with_columns(pl.lit(1.0).alias(WEIGHT))
    parts = (near, _rest(others, _overlaps(others, before)))
    return pl.concat([p.select(STRETCHES.names()).cast(STRETCHES) for p in parts]).sort(
        "day", "node", "begin"
    )


def _named(fleet: Fleet, among: Sequence[int] | None) -> pl.DataFrame:
    index = list(range(len(fleet.nodes))) if among is None else sorted(set(among))
    return pl.DataFrame(
        {"node": index, "name": [fleet.nodes[i] for i in index]},
        schema={"node": pl.Int64(), "name": pl.String()},
    )


def _strata(
    units: pl.DataFrame, fleet: Fleet, share: float, notable_share: float | None, seed: int
) -> list[pl.DataFrame]:
    """Draws of `units` (name, day, begin, end): of all alike, or of the notable ones and the others apart."""
    if notable_share is None:
        return [_drawn(units, share, seed)]
    rows = units.with_row_index("_unit")
    met = _overlaps(rows, fleet.notable())["_unit"].unique()
    notable = pl.col("_unit").is_in(met.implode())
    apart = (rows.filter(notable), notable_share), (rows.filter(~notable), share)
    return [_drawn(of.drop("_unit"), part, seed) for of, part in apart]


def _drawn(units: pl.DataFrame, share: float, seed: int) -> pl.DataFrame:
    """That share of `units` (name, day, ...), without replacement, and `weight`."""
    if not 0 < share <= 1:
        raise ForeshockError(f"sample: {share} is no share of nodes", hint="above 0, up to 1 (all)")
    if units.is_empty():
        return units.with_columns(pl.lit(1.0).alias(WEIGHT))
    count = max(1, round(share * units.height))
    first = np.sort(np.argsort(uniform(units["name"], units["day"], seed), kind="stable")[:count])
    return units[first].with_columns(pl.lit(units.height / count).alias(WEIGHT))


def _before_faults(faults: pl.DataFrame) -> pl.DataFrame:
    """name, from, upto: the 24 hours before faults as whole minutes, put together where they meet."""
    rows = faults.select(
        pl.col("node").alias("name"),
        (pl.col("time") - _DAY).dt.truncate("1m").alias("from"),
        pl.col("time").dt.truncate("1m").alias("upto"),
    ).sort("name", "from", "upto")
    apart = pl.col("from") > pl.col("upto").cum_max().shift(1).over("name")
    runs = rows.with_columns(apart.fill_null(value=False).cum_sum().over("name").alias("_run"))
    return runs.group_by("name", "_run").agg(pl.col("from").min(), pl.col("upto").max()).drop("_run")


def _overlaps(cells: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """The parts of `cells` that lie before a fault."""
    both = cells.join(before, on="name").with_columns(
        pl.max_horizontal("begin", "from").alias("begin"), pl.min_horizontal("end", "upto").alias("end")
    )
    return both.filter(pl.col("begin") < pl.col("end")).drop("from", "upto")


def _rest(cells: pl.DataFrame, without: pl.DataFrame) -> pl.DataFrame:
    """The parts of `cells` that none of `without`, which lie in them and apart from each other, covers."""
    key = ["name", "day"]
    gone = without.select(*key, pl.col("begin").alias("_gone"), pl.col("end").alias("_back"))
    ends = gone.group_by(key).agg(pl.col("_gone").sort(), pl.col("_back").sort())
    return (
        cells.join(ends, on=key, how="left")
        .with_columns(
            pl.concat_list(pl.concat_list("begin"), pl.col("_back").fill_null([])).alias("begin"),
            pl.concat_list(pl.col("_gone").fill_null([]), pl.concat_list("end")).alias("end"),
        )
        .explode("begin", "end")
        .filter(pl.col("begin") < pl.col("end"))
    )
