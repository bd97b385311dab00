"""GPUs that fell silent: the last rollup and risk of each GPU within the lake's newest day.

A day of a large fleet is many millions of rows. Such a day is read beside the page, now and then, and the page shows
what is known so far; a small one is read at once.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta
from typing import Final, NamedTuple

import polars as pl
import streamlit as st

from collector.errors import ForeshockError
from dashboard.rows import collected, newest_time
from pipeline.lake import Lake
from pipeline.tables import TABLES

log = logging.getLogger("foreshock.dashboard")

AT_ONCE_ROWS: Final = 500_000
"""Rollups of a day. Reading so many takes a tenth of a second."""
_AGAIN_S: Final = {True: 20.0, False: 60.0}
"""By whether the day is small."""
FIRST_S: Final = 5.0
"""So long the page that asks goes first: on few cores, the look would hold up a first visitor's first page."""
_WHERE: Final = ("node", "gpu_index", "gpu_uuid", "synthetic")


class Unheard(NamedTuple):
    """`heard`: time, place, gpu_state and null readings. `risks`: time, place, risk, model_id."""

    heard: pl.DataFrame
    risks: pl.DataFrame


class _Kept:
    """The last answer for one lake, and the thread that works on the next."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.found: Unheard | None = None
        self.asked_s = -1e9
        self.busy = False


@st.cache_resource(max_entries=4, show_spinner=False)
def _kept(lake: str) -> _Kept:
    return _Kept()


def of(lake: str, door: Lake) -> Unheard:
    """What is known, at most a minute old. Empty while the first look at a large day is still under way."""
    kept = _kept(lake)
    if kept.found is not None and time.monotonic() - kept.asked_s < _AGAIN_S[True]:
        return kept.found
    small = _rows_of_a_day(door) <= AT_ONCE_ROWS
    with kept.lock:
        due = not kept.busy and time.monotonic() - kept.asked_s > _AGAIN_S[small]
        if due:
            kept.busy, kept.asked_s = True, time.monotonic()
    if due and small:
        _look(door, kept)
    elif due:
        threading.Thread(target=_look_beside, args=(door, kept), daemon=True, name="unheard GPUs").start()
    return kept.found or _nothing()


def _look_beside(door: Lake, kept: _Kept) -> None:
    time.sleep(FIRST_S)
    try:
        _look(door, kept)
    except ForeshockError:
        log.exception("silent GPUs cannot be looked for")


def _look(door: Lake, kept: _Kept) -> None:
    try:
        kept.found = Unheard(
            _last(door, "rollups", "minute", "gpu_state"),
            _last(door, "predictions", "time", "risk", "model_id"),
        )
    finally:
        kept.busy = False


def _last(door: Lake, table: str, when: str, *values: str) -> pl.DataFrame:
    newest = newest_time(door, table)
    schema = {c: TABLES[table][c] for c in (when, *_WHERE, *values)}
    rows = pl.LazyFrame(schema=schema)
    if newest is not None:
        rows = door.scan(table, since=newest - timedelta(days=1), columns=list(schema))
    last = rows.group_by("gpu_uuid").agg(pl.struct(pl.exclude("gpu_uuid")).sort_by(when).last().alias("last"))
    found = collected(last.unnest("last"), "streaming").rename({when: "time"})
    return _with_null_readings(found) if table == "rollups" else found


def _with_null_readings(found: pl.DataFrame) -> pl.DataFrame:
    telemetry = TABLES["telemetry"]
    return found.with_columns(
        pl.lit(None, telemetry[name]).alias(name) for name in ("temperature_c", "power_w", "gap_s")
    )


def _rows_of_a_day(door: Lake) -> int:
    found = door.open("rollups")
    if found is None:
        return 0
    told = pl.DataFrame(found.get_add_actions(flatten=True))
    days = told.group_by("partition.date").agg(pl.col("num_records").sum()).sort("partition.date").tail(2)
    return int(days["num_records"].sum())


def _nothing() -> Unheard:
    telemetry, risks = TABLES["telemetry"], TABLES["predictions"]
    heard = ("time", *_WHERE, "gpu_state", "temperature_c", "power_w", "gap_s")
    return Unheard(
        pl.DataFrame(schema={c: telemetry[c] for c in heard}),
        pl.DataFrame(schema={c: risks[c] for c in ("time", *_WHERE, "risk", "model_id")}),
    )
