"""Rows of the lake for a page: what cannot be read becomes a sentence, also where the library panics."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import polars as pl

from collector.errors import ForeshockError
from pipeline.lake import Lake, time_column


def collected(rows: pl.LazyFrame, engine: Literal["auto", "streaming"] = "auto") -> pl.DataFrame:
    """Raises ForeshockError where the lake's files are not what its log says; Polars panics at a cut-off one."""
    try:
        return rows.collect(engine=engine)
    except (pl.exceptions.PanicException, pl.exceptions.PolarsError, OSError) as e:
        told = str(e).strip().splitlines() or [type(e).__name__]
        raise ForeshockError(
            f"the lake's files cannot be read: {told[0]}", hint="run `foreshock doctor`"
        ) from e


def newest_time(door: Lake, table: str) -> datetime | None:
    """From what the files say of themselves; by reading the column where they do not."""
    found, column = door.open(table), time_column(table)
    if found is None:
        return None
    told = pl.DataFrame(found.get_add_actions(flatten=True))
    known = f"max.{column}"
    if known in told.columns and told[known].null_count() == 0:
        bound: Any = told[known].max()
    else:
        bound = collected(door.scan(table, columns=[column]).max()).item()
    return bound if isinstance(bound, datetime) else None
