"""Measured effective training time: the fleet's number, the loss by cause of each job, and what the words mean."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl
import streamlit as st

from dashboard import queries
from dashboard.colours import Theme
from dashboard.effective.charts import losses
from dashboard.origin import synthetic_badge
from pipeline.effective_time import DEFINITION, Measured, measure
from pipeline.lake import Lake

WINDOWS: Final = {"24 h": 1, "7 days": 7, "30 days": 30, "all": 0}
KEY: Final = "since"
SHOWN: Final = 12
"""Bars of the picture: the jobs with the most GPU-hours. The table has all."""


def draw(lake: str, theme: Theme) -> None:
    """Raises ForeshockError where the lake has no job in that time."""
    window = _window()
    found = _measured(lake, _since(lake, WINDOWS[window]))
    _head(found)
    st.vega_lite_chart(losses(found, SHOWN, theme), width="stretch")
    _table(found)
    with st.expander("What counts as what"):
        st.text(DEFINITION)


def _window() -> str:
    """In the URL, so that a pasted link shows the same."""
    asked = st.query_params.get(KEY, "7 days")
    chosen = st.segmented_control(
        "Time", list(WINDOWS), default=asked if asked in WINDOWS else "7 days", key="effective-window",
        required=True,
    )  # fmt: skip
    st.query_params[KEY] = chosen
    return str(chosen)


def _since(lake: str, days: int) -> datetime | None:
    if days == 0:
        return None
    newest = queries.ask(lake, "SELECT date_trunc('minute', max(minute)) AS at FROM rollups")["at"][0]
    return None if newest is None else newest - timedelta(days=days)


@st.cache_data(ttl=300, show_spinner="Counting the minutes of every job")
def _measured(lake: str, since: datetime | None) -> Measured:
    return measure(Lake(Path(lake)), since)


def _head(found: Measured) -> None:
    if found.synthetic:
        synthetic_badge()
    fleet = found.fleet.row(0, named=True)
    shown = {
        "ETTR, all jobs by GPU-hours": _known(fleet),
        "by Baige's definition": (_percent(fleet["ettr_baige"]), None),
        "interruptions": (f"{fleet['interruptions']:,}", f"{fleet['alarmed']:,} with an alarm before"),
        "mean time between them": (_hours(fleet["mtbf_s"]), _range_h(fleet)),
        "mean time to repair": ("-" if fleet["mttr_s"] is None else f"{fleet['mttr_s'] / 60:.1f} min", None),
    }
    with st.container(horizontal=True):
        for label, (value, more) in shown.items():
            st.metric(label, value, more, delta_color="off", delta_arrow="off", border=True, height="stretch")
    st.caption(
        f"{found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC, {found.jobs.height:,} job(s). Other sites "
        "divide by other things: never compare without the definition below."
    )


def _table(found: Measured) -> None:
    share = st.column_config.NumberColumn(format="%.2f")
    st.dataframe(
        found.jobs.select(
            "job", pl.col("gpus").alias("GPUs"), (pl.col("span_s") / 3600).round(1).alias("hours"),
            (100 * pl.col("ettr")).alias("ETTR %"),
            (100 * pl.col("ettr_baige")).alias("by Baige %"), "interruptions",
            pl.col("alarmed").alias("alarm before"), (pl.col("mtbf_s") / 3600).round(1).alias("MTBF h"),
            (pl.col("mttr_s") / 60).round(1).alias("MTTR min"), "checkpoints",
            pl.col("alarms_right").alias("alarms right"), pl.col("alarms_wrong").alias("alarms wrong"),
        ),
        hide_index=True, column_config={"ETTR %": share, "by Baige %": share},
        alt="Every job of this time with its effective time",
    )  # fmt: skip


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


def _known(fleet: dict[str, float | None]) -> tuple[str, str | None]:
    """The number, and how far what nobody saw could lift it; no number where that is most of the time."""
    low, high = fleet["ettr"], fleet["ettr_high"]
    if low is None or high is None or high - low < 5e-5:
        return _percent(low), None
    told = f"up to {100 * high:.2f} %: some time was not seen"
    return ("not known", "most of the time was not seen") if high - low > 0.5 else (_percent(low), told)


def _hours(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds / 3600:.1f} h"


def _range_h(fleet: dict[str, float | None]) -> str | None:
    low, high = fleet["mtbf_low_s"], fleet["mtbf_high_s"]
    return None if low is None or high is None else f"95 %: {low / 3600:.1f} to {high / 3600:.1f} h"
