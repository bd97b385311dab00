"""Reads the Titan GPU life record: when each K20X sat where, and its DBE and off-the-bus (OTB) events."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

from collector.errors import ForeshockError
from models.history import Trace

FILE: Final = "gc_full.csv"
KINDS: Final = ("dbe", "otb")
BURST_DAYS: Final = 1.0  # a dying card repeats its DBE every 48 s; that is one fault

_PLACE: Final = r"^c(\d+)-(\d+)c(\d+)s(\d+)n(\d+)$"
_PLACES: Final = ("column", "row", "cage", "slot", "node")


def read(folder: Path) -> Trace:
    """The record in `folder`. Days since the first insert; the last removals are the machine's end.

    Source: OLCF; cite Ostrouchov et al., SC20. A row with an insert time is a life, and its `event` happened
    at its end; a row without one is an event within a life, at the time in its `remove` column.
    """
    path = folder / FILE
    try:
        table = pl.read_csv(path, infer_schema_length=0)
        stamped = table.with_columns(pl.col("insert", "remove").str.to_datetime("%Y-%m-%d %H:%M:%S"))
        day0 = stamped["insert"].drop_nulls().sort()[0]
        days = stamped.with_columns((pl.col("insert", "remove") - day0).dt.total_seconds() / 86400)
        lives, faults = _lives(days), _faults(days)
    except (OSError, IndexError, pl.exceptions.PolarsError) as e:
        hint = "--data names the folder that holds gc_full.csv (docs/data.md says where it can be had)"
        raise ForeshockError(f"{path}: not the Titan GPU life record ({e!r})", hint=hint) from e
    units = sorted(set(lives["unit"]))
    end_day = float(lives["end_day"].to_numpy().max())
    return Trace("titan", faults, lives, units, end_day, 1, KINDS, KINDS)


def _lives(days: pl.DataFrame) -> pl.DataFrame:
    # A serial number carries its week of production: 032, week, year, running number.
    made = (pl.col("SN").str.slice(5, 2) + pl.col("SN").str.slice(3, 2)).cast(pl.Float64)
    place = [pl.col("location").str.extract(_PLACE, i + 1).cast(pl.Float64).alias(p)
             for i, p in enumerate(_PLACES)]  # fmt: skip
    return days.filter(pl.col("insert").is_not_null()).select(
        pl.col("SN").alias("unit"), pl.col("insert").alias("begin_day"), pl.col("remove").alias("end_day"),
        pl.col("location").alias("place"), made.alias("batch"), *place,
    )  # fmt: skip


def _faults(days: pl.DataFrame) -> pl.DataFrame:
    """An event counts where the same card had none of its kind in the day before: looks back only."""
    events = days.filter(pl.col("event").is_not_null()).select(
        pl.col("SN").alias("unit"), pl.col("remove").alias("begin_day"), pl.col("remove").alias("end_day"),
        pl.col("event").str.to_lowercase().alias("kind"), pl.col("location").alias("place"),
    )  # fmt: skip
    since = pl.col("begin_day").diff().over("unit", "kind")
    return events.sort("begin_day", "unit", "kind").filter(since.is_null() | (since > BURST_DAYS))
