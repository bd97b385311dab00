"""Overlapping reasons why a job did not work -> time by reason that adds up to its span, to the microsecond."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

INTERVALS: Final = ("job", "begin", "end", "cause")
EFFECTIVE: Final = "effective"


def paint(spans: pl.DataFrame, intervals: pl.DataFrame, order: Sequence[str]) -> pl.DataFrame:
    """Of each moment of a span the first cause in `order` that has an interval over it; `effective` where none has.

    `spans`: job (unique), first, end. `intervals`: INTERVALS, overlapping or outside; a cause that is
    not in `order` does not count. -> job, cause, us (microseconds, Int64; only > 0).
    """
    whole = pl.col("end") - pl.col("first")
    jobs = spans.select(
        "job", pl.col("first", "end").dt.epoch("us"), whole.dt.total_microseconds().alias("us")
    )
    jobs = jobs.with_columns((pl.col("us").cum_sum() - pl.col("us")).alias("at"))
    # the spans are laid end to end, so that one sweep does all jobs
    laid = (
        intervals.join(jobs.select("job", "first", pl.col("end").alias("last"), "at"), on="job")
        .with_columns(
            (pl.col(side).dt.epoch("us").clip("first", "last") - pl.col("first") + pl.col("at")).alias(side)
            for side in ("begin", "end")
        )
        .filter(pl.col("begin") < pl.col("end"))
    )
    edges = np.unique(
        np.concatenate([laid["begin"].to_numpy(), laid["end"].to_numpy(), jobs["at"].to_numpy(), [jobs["us"].sum()]])
    ).astype(np.int64)  # fmt: skip
    cause = np.full(edges.size - 1, len(order))
    for number, name in enumerate(order):
        cause[_covered(edges, laid.filter(pl.col("cause") == name)) & (cause == len(order))] = number
    starts = jobs["at"].to_numpy()
    owner = np.searchsorted(starts, edges[:-1], side="right") - 1
    names = pl.Series("cause", [*order, EFFECTIVE])
    pieces = pl.DataFrame(
        {"job": jobs["job"].gather(owner), "cause": names.gather(cause), "us": np.diff(edges)}
    )
    return pieces.group_by("job", "cause").agg(pl.col("us").sum()).filter(pl.col("us") > 0)


def _covered(edges: NDArray[np.int64], of: pl.DataFrame) -> NDArray[np.bool_]:
    """Which pieces between two edges some interval lies over."""
    change = np.zeros(edges.size, dtype=np.int64)
    np.add.at(change, np.searchsorted(edges, of["begin"].to_numpy()), 1)
    np.add.at(change, np.searchsorted(edges, of["end"].to_numpy()), -1)
    covered: NDArray[np.bool_] = np.cumsum(change)[:-1] > 0
    return covered
