"""One GPU's life: its readings, events and actions on one time axis, and why its risk is what it is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl
import streamlit as st

from collector.config import Config
from dashboard import queries
from dashboard.charts import READINGS, Theme, life, mark_colour
from dashboard.notices import instead_of_tracebacks

KEY: Final = "gpu"
"""Session key and URL parameter of the chosen GPU: `?gpu=<uuid>`."""

WINDOWS: Final = {"15 min": 900, "1 h": 3_600, "6 h": 21_600, "24 h": 86_400}
POINTS: Final = 600
OFFERED: Final = 200
"""GPUs in the select box, riskiest first. Any other is reached by its UUID or from the map."""


def section(config: Config, fleet: pl.DataFrame, theme: Theme) -> None:
    """The lower half of the fleet page. The choice lives in the URL, so that a link can be pasted in chat."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = _choose(fleet)
        window = st.segmented_control("Time", list(WINDOWS), default="1 h", key="window", required=True)
    st.query_params[KEY] = chosen
    found = fleet.filter(pl.col("gpu_uuid") == chosen)
    if found.is_empty():
        st.info(f"No GPU `{chosen}` in the newest day of the lake. Choose another above.")
        return
    slot = found.row(0, named=True)
    end = max(at for at in (slot["time"], slot["risk_time"]) if at is not None)
    with instead_of_tracebacks():
        _facts(slot)
        _life(str(config.lake.path), chosen, (end - timedelta(seconds=WINDOWS[window]), end), theme)


def _choose(fleet: pl.DataFrame) -> str:
    ranked = fleet.sort("risk", descending=True, nulls_last=True)
    labels = {row["gpu_uuid"]: _label(row) for row in ranked.iter_rows(named=True)}
    options = ranked["gpu_uuid"].head(OFFERED).to_list()
    wanted = resolve(labels, st.session_state.get(KEY) or st.query_params.get(KEY) or options[0])
    if wanted not in options:
        options.append(wanted)
    st.session_state[KEY] = wanted
    chosen = st.selectbox(
        "GPU, riskiest first (or type a node, an index, a UUID)",
        options,
        format_func=lambda uuid: labels.get(uuid, uuid),
        key=KEY,
        accept_new_options=True,
    )
    return str(chosen)


def resolve(labels: Mapping[str, str], text: str) -> str:
    """The UUID that `text` means: a UUID, or what stands in a label (the riskiest such GPU); else itself."""
    if text in labels:
        return text
    asked = " ".join(text.lower().split())
    whole = (uuid for uuid, label in labels.items() if f"{asked} " in f"{label.lower()} ")
    part = (uuid for uuid, label in labels.items() if asked in label.lower())
    return next(whole, None) or next(part, text)


def _label(row: dict[str, Any]) -> str:
    risk = "not scored" if row["risk"] is None else f"risk {row['risk']:.2f}"
    index = "?" if row["gpu_index"] is None else row["gpu_index"]
    return f"{row['node']} GPU {index} · {risk} · {row['state']} · {row['gpu_uuid']}"


def _facts(slot: dict[str, Any]) -> None:
    risk = "not scored" if slot["risk"] is None else f"{slot['risk']:.2f}"
    temperature = "no temperature" if slot["temperature_c"] is None else f"{slot['temperature_c']} °C"
    power = "no power reading" if slot["power_w"] is None else f"{slot['power_w']:.0f} W"
    st.markdown(
        f"**{slot['node']} GPU {slot['gpu_index']}** · state **{slot['state']}** · risk **{risk}** · "
        f"{temperature} · {power} · `{slot['gpu_uuid']}`"
    )


def _life(lake: str, gpu: str, span: tuple[datetime, datetime], theme: Theme) -> None:
    since, end = span
    bucket_s = max(1, round((end - since).total_seconds() / POINTS))
    readings = queries.telemetry_of(lake, gpu, since, bucket_s)
    risks = queries.risks_of(lake, gpu, since)
    marks = queries.marks_of(lake, gpu, since)
    known = [at for at in (*readings["time"].head(1), *risks["time"].head(1)) if at is not None]
    span = (min(known, default=since), end)  # a lake younger than the window fills the whole width
    left, right = st.columns([3, 1], gap="medium")
    with left:
        for reading in READINGS:
            rows = risks if reading.column == "risk" else readings
            last = reading is READINGS[-1]
            st.altair_chart(life(reading, rows, marks, span, theme, last=last), key=f"life-{reading.column}")
        _legend(theme, span)
    with right:
        _reasons(risks)
        _happened(marks)


def _legend(theme: Theme, span: tuple[datetime, datetime]) -> None:
    kinds = {"fault": "✚ fault", "event": "● other event", "action": "▼ action"}
    keys = " &nbsp; ".join(
        f'<span style="color:{mark_colour(kind, theme)}">{text}</span>' for kind, text in kinds.items()
    )
    st.caption(f"{keys} &nbsp; {span[0]:%Y-%m-%d %H:%M} to {span[1]:%H:%M} UTC", unsafe_allow_html=True)


def _reasons(risks: pl.DataFrame) -> None:
    st.markdown("**Why this risk**")
    if risks.is_empty():
        st.caption("Not scored in this time.")
        return
    last = risks.row(-1, named=True)
    for reason in last["reasons"] or []:
        value = "no value" if reason["value"] is None else f"{reason['value']:g}"
        text = reason["text"] or reason["feature"]
        st.markdown(f"{text}: **{value}** (healthy {reason['healthy']}), {reason['share']:+.2f}")
    if not last["reasons"]:
        st.caption("Nothing unusual.")
    st.caption(
        f"Model {last['model_id']}: a fault within {last['horizon_s'] / 60:.0f} min, as of {last['time']:%H:%M} UTC"
    )


def _happened(marks: pl.DataFrame) -> None:
    st.markdown("**What happened**")
    if marks.is_empty():
        st.caption("No events and no actions in this time.")
        return
    st.dataframe(
        marks.sort("time", descending=True).select("time", "what", "detail"),
        hide_index=True,
        height=min(300, 38 + 35 * marks.height),
        column_config={
            "time": st.column_config.DatetimeColumn("UTC", format="HH:mm:ss", timezone="UTC", width="small")
        },
        alt="Events and actions of this GPU, newest first",
    )
