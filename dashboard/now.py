"""The fleet as it stands, read straight from the lake's newest files. No SQL: a desk would cost more than the rows.

`lake` is the lake's folder. Answers are kept for a second or two, so that many open browsers cost as much as one.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl
import streamlit as st

from dashboard import unheard
from dashboard.rows import collected, newest_time
from pipeline.lake import Lake
from pipeline.tables import TABLES

SILENT_S: Final = 60
"""A GPU whose last row is this much older than the lake's newest is silent, whatever that row said."""
_SCORED: Final = timedelta(minutes=2)
"""Workers score every minute. Older risks are of GPUs that are looked for more rarely (dashboard/unheard.py)."""
_WHERE: Final = ("node", "gpu_index", "gpu_uuid", "synthetic")
_STANDS: Final = ("open", "failed", "recovered", "lapsed", "replaced")
"""As in pipeline/views.sql: of rows of one moment the later state counts."""
_READINGS: Final = ("gpu_state", "temperature_c", "power_w", "gap_s")


@st.cache_data(ttl=2, show_spinner=False)
def newest(lake: str) -> pl.DataFrame:
    """One row: the newest time of each kind of row; null where there is none."""
    door = Lake(Path(lake))
    times = {table: newest_time(door, table) for table in ("telemetry", "predictions", "events")}
    return pl.DataFrame(
        {name: [time] for name, time in times.items()}, schema=dict.fromkeys(times, pl.Datetime("us", "UTC"))
    )


@st.cache_data(ttl=2, show_spinner=False)
def fleet(lake: str) -> pl.DataFrame:
    """One row per GPU: where it is, its state, last readings and risk. Null risk: never scored.

    node, gpu_index, gpu_uuid, state, time, temperature_c, power_w, gap_s, risk, risk_time, model_id,
    why (its first reason), synthetic;
    Sorted by node, index and UUID.
    """
    door = Lake(Path(lake))
    told = newest(lake).row(0, named=True)
    heard = _heard(door, told["telemetry"])
    risks = _risks(door, told["predictions"])
    rest = unheard.of(lake, door)
    gone = rest.heard.join(heard, on="gpu_uuid", how="anti")
    late = rest.risks.join(risks, on="gpu_uuid", how="anti").with_columns(why=pl.lit(None, pl.String))
    slots = pl.concat([heard, gone.select(heard.columns)])
    scored = pl.concat([risks, late.select(risks.columns)])
    return _joined(slots, scored, told["telemetry"])


@st.cache_data(ttl=2, show_spinner=False)
def incidents(lake: str, limit: int = 50) -> pl.DataFrame:
    """The newest incidents, open ones first, with what was done about each.

    incident_id, time, opened, state, is_open, severity, node, gpu_index, gpu_uuid, summary, done.
    """
    door = Lake(Path(lake))
    columns = ["incident_id", "time", "opened", "state", "severity", *_WHERE, "summary"]
    rank = pl.col("state").replace_strict({s: i for i, s in enumerate(_STANDS)}, default=0)
    rows = (
        collected(door.scan("incidents", columns=columns))
        .with_columns(is_open=pl.col("state").is_in(["open", "failed"]))
        .sort("time", rank)
        .unique("incident_id", keep="last")
        .sort("is_open", "time", "incident_id", descending=True)
        .head(limit)
    )
    steps = (
        collected(door.scan("actions", columns=["incident_id", "action_id", "action", "state", "time"]))
        .filter(pl.col("incident_id").is_in(rows["incident_id"].implode()))
        .sort("time")
        .unique(["incident_id", "action_id"], keep="last", maintain_order=True)
        .group_by("incident_id", maintain_order=True)
        .agg(pl.format("{} {}", "action", "state").str.join(", ").alias("done"))
    )
    return rows.join(steps, on="incident_id", how="left", maintain_order="left")


def _heard(door: Lake, newest_at: datetime | None) -> pl.DataFrame:
    """The last row of each GPU that was heard before it counts as silent."""
    columns = ["time", *_WHERE, *_READINGS]
    if newest_at is None:
        return pl.DataFrame(schema={c: TABLES["telemetry"][c] for c in columns})
    rows = collected(door.scan("telemetry", since=newest_at - timedelta(seconds=SILENT_S), columns=columns))
    return rows.sort("time").unique("gpu_uuid", keep="last")


def _risks(door: Lake, newest_at: datetime | None) -> pl.DataFrame:
    """The last risk of each GPU, and the first reason for it as `why`."""
    columns = ["time", *_WHERE, "risk", "model_id", "reasons"]
    rows = pl.LazyFrame(schema={c: TABLES["predictions"][c] for c in columns})
    if newest_at is not None:
        rows = door.scan("predictions", since=newest_at - _SCORED, columns=columns)
    why = pl.col("reasons").list.first().struct.field("text").alias("why")
    return collected(rows.select(*columns[:-1], why)).sort("time").unique("gpu_uuid", keep="last")


def _joined(slots: pl.DataFrame, scored: pl.DataFrame, newest_at: datetime | None) -> pl.DataFrame:
    both = slots.join(scored.rename({"time": "risk_time"}), on="gpu_uuid", how="full", coalesce=True)
    heard = pl.col("time")
    silent = heard.is_null() | (
        heard < pl.lit(newest_at, pl.Datetime("us", "UTC")) - timedelta(seconds=SILENT_S)
    )
    return both.select(
        *(pl.coalesce(name, f"{name}_right") for name in ("node", "gpu_index")),
        "gpu_uuid",
        pl.when(silent).then(pl.lit("silent")).otherwise(pl.col("gpu_state").fill_null("unread")).alias("state"),
        "time", *_READINGS[1:], pl.col("risk").fill_nan(None), "risk_time", "model_id", "why",
        pl.coalesce("synthetic", "synthetic_right"),
    ).sort("node", "gpu_index", "gpu_uuid")  # fmt: skip
