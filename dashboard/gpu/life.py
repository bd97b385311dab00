"""The GPU's life beside its peers', and the reasons of a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl
import streamlit as st

from dashboard.gpu import life_queries, present
from dashboard.gpu.choice import Window
from dashboard.gpu.facts import Facts
from dashboard.gpu.life_chart import Panel, View, life
from dashboard.gpu.readings import READINGS, Reading
from dashboard.gpu.reasons_chart import reasons
from dashboard.gpu.signs import told

_MINUTE_S: Final = 60
_REST_S: Final = 10
_LATE: Final = timedelta(minutes=10)
"""The worker writes a minute a few minutes after its end. What is later than this is missing, and not late."""
_LONG: Final = 70
"""Characters of a detail that need a second line."""


def draw(lake: str, facts: Facts, view: View, window: Window, level: float) -> None:
    """The stacked panels. A reading without data, or a counter that stayed at 0, has no panel but a word."""
    span = view.span
    rows = _measured(lake, facts, span, window)
    risks = life_queries.risks(lake, facts.gpu, span, window.bucket_s)
    marks = life_queries.marks(lake, facts.gpu, span)
    if rows.is_empty() and risks.is_empty():
        st.info(f"Nothing was measured between {span[0]:%Y-%m-%d %H:%M} and {span[1]:%Y-%m-%d %H:%M} UTC.")
        return
    rows = joined(rows, risks)
    seen = _from_data(rows, marks, span)
    shown, quiet = sort_out(rows)
    panels = [Panel("risk", _risk_title(risks), (0, 1), step=True, level=level)]
    panels += [Panel(r.key, title(r, rows), r.least) for r in shown]
    st.vega_lite_chart(
        spec=life(panels, rows, marks, View(seen, view.theme)),
        key="gpu-life",
        width="stretch",
        alt=f"{facts.where}: {', '.join(r.title for r in shown) or 'risk'} over time, with its peers; "
        f"{marks.height} events, incidents and actions, listed beside",
    )
    _legend(rows, seen, quiet, window)


def _measured(lake: str, facts: Facts, span: tuple[datetime, datetime], window: Window) -> pl.DataFrame:
    """The window; and since a minute is told when it is over, the moments after the last one as they were measured."""
    rows = life_queries.life(
        lake, facts.gpu, facts.peers, span, bucket_s=window.bucket_s, source=window.source
    )
    if window.source == "telemetry" or window.bucket_s > _MINUTE_S or rows.is_empty():
        return rows
    told: datetime = rows["time"][-1] + timedelta(seconds=_MINUTE_S)
    if not told < span[1] <= told + _LATE:
        return rows
    since = life_queries.life(
        lake, facts.gpu, facts.peers, (told, span[1]), bucket_s=_REST_S, source="telemetry"
    )
    return pl.concat([rows, since], how="vertical_relaxed")


def joined(rows: pl.DataFrame, risks: pl.DataFrame) -> pl.DataFrame:
    """`rows` with the risk that was known at each time: one pointer then reads all panels."""
    if rows.is_empty():
        return risks
    return rows.sort("time").join_asof(risks.sort("time"), on="time", strategy="backward")


def sort_out(rows: pl.DataFrame) -> tuple[list[Reading], list[str]]:
    """(readings to show; titles of the counters that stayed at 0, here and at the peers)."""
    shown, quiet = [], []
    for reading in READINGS:
        if reading.key not in rows.columns or rows[reading.key].null_count() == rows.height:
            continue
        still = reading.take == "count" and not _moved(rows, reading.key)
        if still:
            quiet.append(reading.title)
        else:
            shown.append(reading)
    return shown, quiet


def _moved(rows: pl.DataFrame, key: str) -> bool:
    return bool((rows[key] > 0).any() or (rows[f"{key}_high"] > 0).any())


def title(reading: Reading, rows: pl.DataFrame) -> str:
    """The reading, its unit, and how it last stood: so that the panel is read without a pointer."""
    known = rows.drop_nulls(reading.key).tail(1)
    name = f"{reading.title} ({reading.unit})"
    if known.is_empty():
        return name
    low, high = known[f"{reading.key}_low"][0], known[f"{reading.key}_high"][0]
    last = f"{name}: {told(known[reading.key][0], reading)}"
    return last if low is None else f"{last}, peers {told(low, reading)} to {told(high, reading)}"


def _risk_title(risks: pl.DataFrame) -> str:
    known: list[float] = risks["risk"].tail(1).to_list()
    return f"Risk of a fault: {known[0]:.2f}" if known else "Risk of a fault: not scored in this time"


def _from_data(
    rows: pl.DataFrame, marks: pl.DataFrame, span: tuple[datetime, datetime]
) -> tuple[datetime, datetime]:
    """A lake younger than the window fills the whole width."""
    known = [t for frame in (rows, marks) if frame.height for t in (frame["time"].min(),)]
    return min((t for t in known if isinstance(t, datetime)), default=span[0]), span[1]


def _legend(rows: pl.DataFrame, span: tuple[datetime, datetime], quiet: list[str], window: Window) -> None:
    peers = max(rows["peers"].to_list(), default=0) if "peers" in rows.columns else 0
    band = f"grey: {peers} peers (same node, same job), 10th to 90th percentile and median"
    alone = "no peers on its node in this job"
    asked = timedelta(seconds=window.seconds)
    short = " (the lake has nothing before)" if span[1] - span[0] < asked * 0.95 else ""
    dated = f"{span[0]:%Y-%m-%d %H:%M} to {span[1]:%Y-%m-%d %H:%M} UTC{short}, one point for each"
    st.caption(
        f"Blue: this GPU; {band if peers else alone}; dashed orange: the alarm level. {dated} {window.bucket_s} s."
    )
    if quiet:
        st.caption(f"0 throughout, here and at its peers: {', '.join(quiet)}.")


def why(lake: str, facts: Facts, view: View) -> None:
    """The reasons of the newest prediction, of the highest in view, or of the one that opened the incident."""
    st.subheader("Why this risk", anchor=False)
    offered = moments(lake, facts, view.span)
    if not offered:
        st.caption("Never scored. `foreshock ingest` scores each GPU once a minute.")
        return
    at = st.segmented_control(
        "Prediction", list(offered), default=next(iter(offered)), key="gpu-prediction", required=True
    )
    found = present.prediction(lake, facts.gpu, offered.get(str(at), facts.newest))
    if found.is_empty():
        st.caption("Not scored at that time.")
        return
    _reasons(found.row(0, named=True), view)


def moments(lake: str, facts: Facts, span: tuple[datetime, datetime]) -> dict[str, datetime]:
    """The predictions worth a look, by name; none where it was never scored."""
    if facts.prediction is None:
        return {}
    found = {"newest": facts.prediction["time"]}
    risks = life_queries.risks(lake, facts.gpu, span, 60).sort("risk")
    if risks.height:
        found["highest in view"] = risks["time"][-1]
    if facts.incident is not None:
        found["when the incident opened"] = facts.incident["opened"]
    return found


def _reasons(prediction: Mapping[str, Any], view: View) -> None:
    given = prediction["reasons"] or []
    if given:
        rows = reason_rows(given)
        spoken = "; ".join(f"{row['what']}: {row['told']}" for row in rows.iter_rows(named=True))
        st.vega_lite_chart(spec=reasons(rows, view.theme), key="gpu-reasons", alt=f"Reasons: {spoken}")
    else:
        st.caption("Nothing unusual: no feature is outside its healthy range.")
    hours = prediction["horizon_s"] / 60
    st.caption(
        f"Risk {prediction['risk']:.3f} of a fault within {hours:.0f} min, as of "
        f"{prediction['time']:%Y-%m-%d %H:%M} UTC, by {prediction['model_id']}. "
        "A bar is the signed share: to the right it raises the risk."
    )


def reason_rows(given: list[dict[str, Any]]) -> pl.DataFrame:
    """what, share, told, feature; the largest share first."""
    rows = [
        {
            "what": r["text"] or r["feature"],
            "share": float(r["share"]),
            "told": f"{_value(r['value'])} (healthy {r['healthy']}), share {r['share']:+.2f}",
            "feature": r["feature"],
        }
        for r in given
    ]
    return pl.DataFrame(rows).sort(pl.col("share").abs(), descending=True)


def _value(value: float | None) -> str:
    if value is None:
        return "no value"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def happened(lake: str, facts: Facts, span: tuple[datetime, datetime]) -> None:
    """The same marks as the chart's first panel, as a list."""
    marks = life_queries.marks(lake, facts.gpu, span)
    st.subheader("What happened", anchor=False)
    if marks.is_empty():
        st.caption("No events and no actions in this time.")
        return
    long = bool((marks["detail"].str.len_chars() > _LONG).any())
    row_px = 54 if long else 35
    faults = pl.when(pl.col("kind") == "fault").then(pl.format("{}, a fault", "what")).otherwise("what")
    st.dataframe(
        marks.sort("time", descending=True).select("time", faults.alias("what"), "detail"),
        hide_index=True,
        row_height=row_px,
        height=38 + row_px * min(marks.height, 8),
        column_config={
            "time": st.column_config.DatetimeColumn(
                "UTC", format="MM-DD HH:mm:ss", timezone="UTC", width=115
            ),
            "what": st.column_config.TextColumn("what", width=185),
        },
        alt="Events, incidents and actions of this GPU, newest first",
    )
