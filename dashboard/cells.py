"""The fleet as at most so many cells: GPUs while they fit, else nodes, else blocks of nodes. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import polars as pl

Level = Literal["gpu", "node", "block"]

GPU_ROWS: Final = 32
"""Up to so many nodes each GPU has its own cell; more rows than that nobody reads on one screen."""
MAX_CELLS: Final = 2_000

# a mark on the cell, so that a state is told without its colour
_MARKS: Final = {
    "ok": "",
    "lost": "×",
    "missing": "×",
    "hung": "‖",
    "error": "!",
    "unread": "?",
    "silent": "?",
}


@dataclass(frozen=True, slots=True)
class Cells:
    """`frame`: row, column (labels), risk, state, mark, label, detail, gpu_uuid (the worst GPU of the cell)."""

    level: Level
    frame: pl.DataFrame
    nodes_per_cell: int


def lay_out(fleet: pl.DataFrame, *, gpu_rows: int = GPU_ROWS, max_cells: int = MAX_CELLS) -> Cells:
    """The coarsest level that is needed. `fleet` as dashboard.queries.fleet gives it; not empty.

    A cell of many GPUs shows the highest risk among them and the worst state: trouble is never averaged away.
    """
    nodes = fleet["node"].n_unique()
    if nodes <= gpu_rows:
        return Cells("gpu", _per_gpu(fleet), 1)
    per_cell = -(-nodes // max_cells)
    return Cells("node" if per_cell == 1 else "block", _per_block(fleet, per_cell), per_cell)


def _per_gpu(fleet: pl.DataFrame) -> pl.DataFrame:
    return fleet.select(
        pl.col("node").alias("row"),
        pl.col("gpu_index").alias("column"),
        "risk",
        "state",
        _mark(pl.col("state")),
        pl.format("{} GPU {}", "node", pl.col("gpu_index").fill_null(-1)).alias("label"),
        _readings().alias("detail"),
        "gpu_uuid",
    )


def _readings() -> pl.Expr:
    temperature = pl.when(pl.col("temperature_c").is_not_null()).then(pl.format("{} °C", "temperature_c"))
    power = pl.when(pl.col("power_w").is_not_null()).then(
        pl.format("{} W", pl.col("power_w").round(0).cast(pl.Int64))
    )
    return pl.concat_str([temperature, power], separator=", ", ignore_nulls=True)


def _per_block(fleet: pl.DataFrame, nodes_per_cell: int) -> pl.DataFrame:
    names = fleet.select(pl.col("node").unique().sort()).with_row_index("number")
    bad = pl.col("state") != "ok"
    cells = (
        fleet.join(names, on="node", nulls_equal=True)
        .with_columns(cell=pl.col("number") // nodes_per_cell)
        .sort("cell", bad, "risk", descending=[False, True, True], nulls_last=True)
        .group_by("cell", maintain_order=True)
        .agg(
            risk=pl.col("risk").max(),
            state=pl.col("state").first(),
            gpu_uuid=pl.col("gpu_uuid").sort_by("risk", descending=True, nulls_last=True).first(),
            first=pl.col("node").min(),
            last=pl.col("node").max(),
            gpus=pl.len(),
            bad=bad.sum(),
        )
    )
    across = max(1, round((cells.height * 2.2) ** 0.5))
    row = pl.col("cell") // across
    label = (
        pl.when(pl.col("first") == pl.col("last"))
        .then(pl.col("first"))
        .otherwise(pl.format("{} to {}", "first", "last"))
    )
    return cells.select(
        pl.col("first").first().over(row).alias("row"),
        (pl.col("cell") % across).cast(pl.Int64).alias("column"),
        "risk",
        "state",
        _mark(pl.col("state")),
        label.alias("label"),
        pl.format("{} GPUs, {} not ok", "gpus", "bad").alias("detail"),
        "gpu_uuid",
    )  # fmt: skip


def _mark(state: pl.Expr) -> pl.Expr:
    return state.replace_strict(_MARKS, default="?", return_dtype=pl.String).alias("mark")
