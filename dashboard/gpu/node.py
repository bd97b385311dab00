"""A whole node: its GPUs side by side, each reading with one line per GPU."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import polars as pl
import streamlit as st

from collector.config import Config
from dashboard import lateness, operating_point, queries
from dashboard.colours import Theme
from dashboard.gpu import node_queries
from dashboard.gpu.choice import Window
from dashboard.gpu.life_chart import View
from dashboard.gpu.node_chart import lines
from dashboard.gpu.readings import READINGS
from dashboard.origin import synthetic_badge

_SHOWN: Final = 30
"""GPUs that can have a line; a node has 4 to 16."""


def page(config: Config, fleet: pl.DataFrame, node: str, window: Window, theme: Theme) -> None:
    """The table of its GPUs, each a link to its own page, and their readings over time."""
    lake = str(config.lake.path)
    rows = fleet.filter(pl.col("node") == node).sort("gpu_index", nulls_last=True)
    told = queries.newest(lake).row(0, named=True)
    with st.container(horizontal=True, vertical_alignment="center"):
        if rows["synthetic"].fill_null(False).any():
            synthetic_badge()
        lateness.told(config, told)
    lateness.warned(config, told)
    if rows.is_empty():
        st.info(f"No GPU of a node `{node}` in the newest day of the lake. The fleet page lists the nodes.")
        return
    _table(operating_point.with_levels(config, rows))
    newest: datetime | None = told["telemetry"]
    if newest is None:
        st.info("Scored, but nothing was measured: the lake has no telemetry.")
        return
    span = (newest - timedelta(seconds=window.seconds), newest)
    uuids = rows["gpu_uuid"].head(_SHOWN).to_list()
    life = node_queries.node_life(lake, uuids, span, window.bucket_s, window.source)
    if life.is_empty():
        st.info("Nothing was measured in this time. Choose a longer one.")
        return
    there = [r for r in READINGS if life[r.key].null_count() < life.height]
    moved = [r for r in there if r.take != "count" or bool((life[r.key] > 0).any())]
    st.vega_lite_chart(
        spec=lines(moved, life, View((max(span[0], life["time"][0]), newest), theme)), key="node-life",
        width="stretch",
        alt=f"{node}: {', '.join(r.title for r in moved)} over time, a line for each GPU",
    )  # fmt: skip
    quiet = [r.title for r in there if r not in moved]
    if quiet:
        st.caption(f"0 throughout on all of them: {', '.join(quiet)}.")


def _table(rows: pl.DataFrame) -> None:
    levels = sorted(rows["alarm_level"].unique())
    named = " or ".join(f"{level:.2g}" for level in levels)
    bar = st.column_config.ProgressColumn(
        f"risk (alarm at {named})", format="%.2f", min_value=0.0, max_value=1.0, color="orange"
    )
    st.dataframe(
        rows.select(
            pl.format("gpu?gpu={}", "gpu_uuid").alias("GPU"), "gpu_index", "state", "risk", "temperature_c", "power_w",
            pl.col("why").fill_null("nothing unusual"),
        ),
        hide_index=True,
        height=38 + 35 * min(rows.height, 16),
        column_config={
            "GPU": st.column_config.LinkColumn("GPU", display_text=r"gpu\?gpu=(.*)"),
            "gpu_index": st.column_config.NumberColumn("index", width=60),
            "risk": bar,
            "temperature_c": st.column_config.NumberColumn("°C", width=60),
            "power_w": st.column_config.NumberColumn("W", format="%.0f", width=70),
            "why": st.column_config.TextColumn("first reason"),
        },
        alt="The GPUs of this node; each UUID leads to its page",
    )  # fmt: skip
