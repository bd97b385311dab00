"""The fleet as at most so many cells: each GPU while they fit, else nodes, else racks or blocks of nodes. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import polars as pl

from dashboard.colours import STATES, Colour
from dashboard.fleet.racks import with_racks

Level = Literal["gpu", "node", "block"]

MAX_CELLS: Final = 10_240
"""Of one picture. Ten thousand squares of six pixels are still seen apart; more are not."""
MAX_BLOCKS: Final = 2_000
NODES_TOGETHER: Final = 32
"""Where names give no racks, nodes are drawn in groups of so many."""


@dataclass(frozen=True, slots=True)
class Cells:
    """What is drawn. `frame`, in the order of drawing: group, label, index, band, value, state, gpus, bad.

    At level gpu, `label` is the node and `index` the GPU's (maybe null); otherwise `label` is the node or block.
    `column` is the place of a GPU within its node.
    """

    level: Level
    frame: pl.DataFrame
    gpus: int


def scoped(
    fleet: pl.DataFrame, *, block: str | None = None, node: str | None = None, max_cells: int = MAX_CELLS
) -> pl.DataFrame:
    """`fleet` with `rack`, of the one node or of the block with that name (or with a node of that name) only.

    Empty where there is no such node or block any more.
    """
    nodes = fleet["node"].n_unique()
    if node is not None:
        return with_racks(fleet, nodes_per_block(nodes, max_cells)).filter(pl.col("node") == node)
    racked = with_racks(fleet, nodes_per_block(nodes, max_cells))
    if block is None:
        return racked
    of_node = racked.filter(pl.col("node") == block)["rack"].head(1).to_list()
    return racked.filter(pl.col("rack").is_in([block, *of_node]))


def nodes_per_block(nodes: int, max_cells: int = MAX_CELLS) -> int:
    """Of nameless racks: groups of nodes while each node has a cell, blocks of a few where it has none."""
    return NODES_TOGETHER if nodes <= max_cells else max(8, -(-nodes // MAX_BLOCKS))


def lay_out(fleet: pl.DataFrame, colour: Colour, *, max_cells: int = MAX_CELLS) -> Cells:
    """The finest level that fits. `fleet` as `scoped` gives it, with `alarm_level`; not empty.

    A cell of many GPUs shows the worst band among them, its value, and the worst state: trouble is never averaged away.
    """
    told = fleet.with_columns(band=colour.band(), shown=pl.col(colour.value))
    if fleet.height <= max_cells:
        return Cells("gpu", _per_gpu(told), fleet.height)
    if fleet["node"].n_unique() <= max_cells:
        return Cells("node", _worst_of(told, "node", pl.col("rack")), fleet.height)
    return Cells("block", _worst_of(told, "rack", pl.lit("")), fleet.height)


def _per_gpu(told: pl.DataFrame) -> pl.DataFrame:
    index = pl.col("gpu_index")
    plain = (index.is_unique() & index.is_between(0, 31)).fill_null(False).all().over("node")
    return told.sort("rack", "node", "gpu_index", "gpu_uuid", nulls_last=True).select(
        pl.col("rack").alias("group"), pl.col("node").alias("label"), index.alias("index"),
        # a card that was swapped today shares its slot with the old one: then they stand side by side
        pl.when(plain).then(index).otherwise(pl.int_range(pl.len()).over("node")).cast(pl.Int64).alias("column"),
        "band", pl.col("shown").alias("value"), "state", "gpu_uuid",
        gpus=pl.lit(1), bad=(pl.col("state") != "ok").cast(pl.Int64),
    )  # fmt: skip


def _worst_of(told: pl.DataFrame, by: str, group: pl.Expr) -> pl.DataFrame:
    rank = pl.col("state").replace_strict(
        {state: number for number, state in enumerate(STATES)}, default=2, return_dtype=pl.Int32
    )
    worst = pl.struct("band", "shown").sort_by("band", "shown", descending=True, nulls_last=True).first()
    return (
        told.group_by(by)
        .agg(
            group=group.first(), worst=worst, state=pl.col("state").sort_by(rank, descending=True).first(),
            gpus=pl.len().cast(pl.Int64), bad=(pl.col("state") != "ok").sum().cast(pl.Int64),
        )
        .unnest("worst")
        .sort("group", by, nulls_last=True)
        .select("group", pl.col(by).alias("label"), "band", pl.col("shown").alias("value"), "state", "gpus", "bad")
    )  # fmt: skip
