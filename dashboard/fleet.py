"""The fleet page: what is about to fail, is it true, what was done; and one GPU's life below."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import polars as pl
import streamlit as st

from collector.clock import to_datetime
from collector.config import Config
from dashboard import gpu, notices, queries
from dashboard.cells import lay_out
from dashboard.charts import Theme, heat_map

LATE_S: Final = 30.0
STALE_S: Final = 120.0
"""Telemetry older than this (against the clock) is late, then stale. Agents ship every few seconds."""

RISKIEST: Final = 8


def page(config: Config) -> None:
    """Draw the page, and draw it again every two seconds."""
    st.fragment(_live, run_every=2.0)(config)


def _live(config: Config) -> None:
    with notices.instead_of_tracebacks():
        lake = str(config.lake.path)
        fleet = queries.fleet(lake)
        if fleet.is_empty():
            notices.empty_lake(config)
            return
        _header(config, queries.newest(lake).row(0, named=True), fleet)
        left, right = st.columns(2, gap="medium")
        with left:
            _map(config, fleet)
        with right, notices.instead_of_tracebacks():
            _incidents(lake)
            _riskiest(fleet)
        gpu.section(config, fleet, theme())


def freshness(newest: datetime, now: datetime, speed: float) -> tuple[str, str]:
    """(a word: live, late, stale or demo; a sentence). On a scaled clock only the lake's own time means anything."""
    if speed != 1.0:
        return "demo", f"demo clock, {speed:g} times faster than real time; lake time {newest:%H:%M:%S} UTC"
    age_s = (now - newest).total_seconds()
    word = "stale" if age_s > STALE_S else "late" if age_s > LATE_S else "live"
    return word, f"newest telemetry {newest:%Y-%m-%d %H:%M:%S} UTC, {spoken(age_s)} ago"


def spoken(seconds: float) -> str:
    """A duration as people say it: 4 s, 12 min, 3.5 h, 2.1 days."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def _header(config: Config, newest: Mapping[str, Any], fleet: pl.DataFrame) -> None:
    at = newest["telemetry"] or newest["predictions"]
    word, sentence = freshness(at, to_datetime(config.make_clock().time_s()), config.clock.speed)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title("Fleet", width="content", anchor=False)
        if fleet["synthetic"].fill_null(False).any():
            st.badge(
                "synthetic data", color="violet", icon=":material/science:", help="simulated, not measured"
            )
        _badge(word)
        st.caption(sentence, width="content")
    if word == "stale":
        st.warning(
            "What you see is old. Look at the agents and at `foreshock ingest`: `foreshock doctor` tells."
        )
    _counts(config, fleet)


def _badge(word: str) -> None:
    if word == "live":
        st.badge("live", color="green", icon=":material/sensors:")
    elif word == "demo":
        st.badge("demo clock", color="blue", icon=":material/fast_forward:")
    else:
        st.badge(word, color="orange" if word == "late" else "red", icon=":material/schedule:")


def _counts(config: Config, fleet: pl.DataFrame) -> None:
    states = dict(fleet["state"].value_counts().iter_rows())
    risk = fleet["risk"]
    shown = {
        "GPUs": fleet.height,
        "ok": states.pop("ok", 0),
        "not ok": sum(states.values()),
        f"risk at {config.watch.alarm_level:g} or more": (risk >= config.watch.alarm_level).sum(),
        f"risk at {config.ingest.watch_level:g} or more": (risk >= config.ingest.watch_level).sum(),
        "never scored": risk.null_count(),
    }
    which = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    with st.container(horizontal=True):
        for label, count in shown.items():
            named = (which or None) if label == "not ok" else None
            st.metric(
                label,
                f"{count:,}",
                named,
                delta_color="off",
                delta_arrow="off",
                border=True,
                height="stretch",
            )


def _map(config: Config, fleet: pl.DataFrame) -> None:
    st.subheader("Risk", anchor=False)
    cells = lay_out(fleet)
    chart = heat_map(cells, (config.ingest.watch_level, config.watch.alarm_level), theme())
    st.altair_chart(
        chart,
        key="fleet-map",
        on_select=_picked,
        selection_mode="pick",
        alt=f"Heat map of {fleet.height} GPUs coloured by risk; the riskiest are chosen by name below",
    )
    one = {
        "gpu": "GPU",
        "node": "node: its highest risk",
        "block": f"{cells.nodes_per_cell} nodes: their highest risk",
    }
    st.caption(f"One cell, one {one[cells.level]}. Click a cell to see the GPU below.")
    st.caption("× lost or missing · ‖ hung · ! error · ? silent or unread · grey: never scored")


def _picked() -> None:
    """A click on a cell chooses the GPU below."""
    found = st.session_state["fleet-map"].get("selection", {}).get("pick", [])
    if found and found[0].get("gpu_uuid"):
        st.session_state[gpu.KEY] = found[0]["gpu_uuid"]


def _incidents(lake: str) -> None:
    st.subheader("Incidents", anchor=False)
    rows = queries.incidents(lake)
    if rows.is_empty():
        st.caption("None so far. A risk at the alarm level or a terminal Xid opens one.")
        return
    stands = pl.concat_str("severity", "state", separator=", ", ignore_nulls=True).alias("stands")
    st.dataframe(
        rows.select("time", stands, _where(), "summary", pl.col("done").fill_null("nothing yet")),
        hide_index=True,
        height=min(420, 38 + 35 * rows.height),
        column_config={
            "time": st.column_config.DatetimeColumn(
                "UTC", format="MM-DD HH:mm:ss", timezone="UTC", width=115
            ),
            "stands": st.column_config.TextColumn("state", width=105),
            "done": st.column_config.TextColumn("what was done"),
        },
        alt="Newest incidents, open ones first",
    )


def _riskiest(fleet: pl.DataFrame) -> None:
    rows = fleet.filter(pl.col("risk").is_not_null()).sort("risk", descending=True).head(RISKIEST)
    if rows.is_empty():
        return
    st.subheader("Riskiest GPUs", anchor=False)
    bar = st.column_config.ProgressColumn(format="%.2f", min_value=0.0, max_value=1.0, color="orange")
    st.dataframe(
        rows.select(_where(), "risk", "state", pl.col("why").fill_null("nothing unusual")),
        hide_index=True,
        height=38 + 35 * rows.height,
        column_config={"risk": bar},
        alt="The GPUs with the highest risk, and the first reason for each",
    )


def _where() -> pl.Expr:
    index = pl.when(pl.col("gpu_index").is_not_null()).then(pl.format("GPU {}", "gpu_index"))
    return pl.concat_str("node", index, separator=" ", ignore_nulls=True).alias("where")


def theme() -> Theme:
    """What the browser shows now. Unknown before its first answer; light then, Streamlit's own default."""
    return "dark" if st.context.theme.type == "dark" else "light"
