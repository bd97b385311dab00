"""The fleet page: what is about to fail, is it true, what was done. A click leads to the GPU's own page."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final

import polars as pl
import streamlit as st

from collector.config import Config
from collector.errors import ForeshockError
from dashboard import lateness, notices, now, operating_point
from dashboard.colours import Theme, alarmed
from dashboard.fleet import cell_map, lists
from dashboard.origin import synthetic_badge

_LARGE: Final = 20_000
"""GPUs. A larger fleet is drawn again less often: its rows are more, and its pace is no other."""


def page(config: Config) -> None:
    """Draw the page, and draw it again every few seconds."""
    pace_s = 2.0
    with contextlib.suppress(ForeshockError):  # _live says what is wrong
        if now.fleet(str(config.lake.path)).height > _LARGE:
            pace_s = 5.0
    st.fragment(_live, run_every=pace_s)(config)


def _live(config: Config) -> None:
    with notices.instead_of_tracebacks():
        lake = str(config.lake.path)
        rows = now.fleet(lake)
        if rows.is_empty():
            notices.empty_lake(config)
            return
        fleet = operating_point.with_levels(config, rows)
        _header(config, now.newest(lake).row(0, named=True), fleet)
        left, right = st.columns([5, 3], gap="medium")
        with left, notices.instead_of_tracebacks():
            cell_map.draw(fleet)
        with right, notices.instead_of_tracebacks(), st.container(key="fleet-lists"):
            lists.incidents(lake)
            lists.riskiest(fleet)


def _header(config: Config, newest: Mapping[str, Any], fleet: pl.DataFrame) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title("Fleet", width="content", anchor=False)
        if fleet["synthetic"].fill_null(False).any():
            synthetic_badge()
        lateness.told(config, newest)
    lateness.warned(config, newest)
    _counts(fleet)


def _counts(fleet: pl.DataFrame) -> None:
    states = dict(fleet["state"].value_counts().iter_rows())
    levels = fleet.drop_nulls("risk")["alarm_level"].unique().sort().to_list()
    shown = {
        "GPUs": fleet.height,
        "ok": states.pop("ok", 0),
        "not ok": sum(states.values()),
        "at the alarm level": alarmed(fleet),
        "at half of it or more": alarmed(fleet, 0.5),
        "never scored": fleet["risk"].null_count(),
    }
    which = ", ".join(f"{count:,} {state}" for state, count in sorted(states.items()))
    notes = {"not ok": which, "at the alarm level": "risk " + " or ".join(f"{level:.3g}" for level in levels)}
    with st.container(horizontal=True):
        for label, count in shown.items():
            st.metric(
                label,
                f"{count:,}",
                notes.get(label) or None,
                delta_color="off",
                delta_arrow="off",
                border=True,
                height="stretch",
            )


def theme() -> Theme:
    """What the browser shows now. Unknown before its first answer; light then, Streamlit's own default."""
    return "dark" if st.context.theme.type == "dark" else "light"
