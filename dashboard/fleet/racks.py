"""Which nodes stand together: by the rack that their names give, else so many in the order of their names. Pure."""

from __future__ import annotations

from typing import Final

import polars as pl

_NAMED: Final = r"^(.*\d)[^0-9]+\d+[^0-9]*$"
"""rack7-node12 is in rack7; node0012 tells of no rack."""
MOST_NODES: Final = 128
"""A "rack" of more is none: gpu-h100-node7 is not in the rack gpu-h100."""


def with_racks(fleet: pl.DataFrame, nodes_per_block: int) -> pl.DataFrame:
    """`fleet` (with `node`) and its column `rack`: a name that holds as long as no node is added or goes.

    Where the names give no racks it is the first node's name of each `nodes_per_block` nodes.
    """
    nodes = fleet.select(pl.col("node").unique().sort())
    named = nodes.with_columns(rack=pl.col("node").str.extract(_NAMED))
    sizes = named["rack"].value_counts()["count"]
    if not named["rack"].null_count() and sizes.len() > 1 and sizes.max() <= MOST_NODES and sizes.mean() > 1:  # type: ignore[operator]
        found = named
    else:
        block = pl.int_range(pl.len()) // nodes_per_block
        found = nodes.with_columns(rack=pl.col("node").first().over(block))
    return fleet.join(found, on="node", how="left", nulls_equal=True, maintain_order="left")
