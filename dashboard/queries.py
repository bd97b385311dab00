"""How the pages ask the lake: SQL over its present snapshot. Nothing here writes or scores. `lake` is its folder."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import streamlit as st

from dashboard import now
from pipeline.lake import Lake
from pipeline.sql import Desk, Limits, connect
from pipeline.tables import TABLES

SILENT_S = now.SILENT_S
fleet = now.fleet
newest = now.newest

Snapshot = tuple[tuple[str, tuple[str, ...]], ...]


@st.cache_data(ttl=1, show_spinner=False)
def _snapshot(lake: str) -> Snapshot:
    door = Lake(Path(lake))
    return tuple((table, tuple(door.files(table))) for table in TABLES)


@st.cache_resource(max_entries=2, show_spinner=False)
def _desk(lake: str, snapshot: Snapshot) -> Desk:
    """One desk per state of the lake: opening it reads every file's footer, so only do that when they change."""
    files = {table: list(paths) for table, paths in snapshot}
    return connect(files.__getitem__, Path(lake), Limits(time_s=10))


def ask(lake: str, text: str, **params: object) -> pl.DataFrame:
    """Rows of one statement; $name takes its value from `params`. Raises ForeshockError."""
    return _desk(lake, _snapshot(lake)).query(text, params or None)
