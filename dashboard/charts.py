"""The pictures: the fleet's heat map, and one GPU's life on one time axis. Rows in, Altair charts out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import altair as alt
import polars as pl

from dashboard.cells import Cells

Theme = Literal["light", "dark"]

# Lightness grows (or falls) evenly with risk, so they hold in grey and for every kind of colour sight.
_RISK_COLOURS: Final[dict[Theme, list[str]]] = {
    "light": ["#e9edf1", "#fdd49e", "#fc8d59", "#d7301f", "#7f0000"],
    "dark": ["#2b3440", "#6b3a3f", "#b5482f", "#ef8a2c", "#ffe680"],
}
_UNKNOWN: Final[dict[Theme, str]] = {"light": "#c3c9d0", "dark": "#555c66"}
_TEXT: Final[dict[Theme, str]] = {"light": "#31333f", "dark": "#fafafa"}
_LINE: Final[dict[Theme, str]] = {"light": "#0072b2", "dark": "#56b4e9"}
_MARK_COLOURS: Final[dict[Theme, list[str]]] = {
    "light": ["#d55e00", "#6b7280", "#009e73"],
    "dark": ["#ff7a33", "#a3a9b3", "#2ec49a"],
}
_MARK_KINDS: Final = ["fault", "event", "action"]
_OTHER: Final[dict[Theme, Theme]] = {"light": "dark", "dark": "light"}
_AROUND_MAP: Final = 120
"""Pixels of legend and axis, which count as part of a chart's height."""
_AXIS_WIDTH: Final = 52
"""Pixels; the same for every chart of a GPU, so that their time axes stand under one another."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One chart of a GPU's life: column, title with unit, and the least range of the y axis."""

    column: str
    title: str
    least: tuple[float, float]


READINGS: Final = (
    Reading("risk", "Risk of a fault", (0, 1)),
    Reading("temperature_c", "Temperature (°C)", (30, 90)),
    Reading("power_w", "Power (W)", (0, 100)),
    Reading("nvlink_crc_per_s", "NVLink CRC errors per second", (0, 1)),
    Reading("gap_s", "Longest gap between answers (s)", (0, 5)),
)


def heat_map(cells: Cells, levels: tuple[float, float], theme: Theme) -> alt.LayerChart | alt.FacetChart:
    """The fleet. The colours turn at `levels`, the watch and the alarm level. A click selects `gpu_uuid`."""
    watch, alarm = levels
    rows = cells.frame["row"].n_unique()
    height = rows * (34 if rows <= 8 else 18) + _AROUND_MAP
    one = cells.level == "gpu"
    base = alt.Chart(cells.frame).encode(
        x=alt.X(
            "column:O",
            scale=alt.Scale(paddingInner=0.1),
            title="GPU" if one else None,
            axis=alt.Axis(labels=one, ticks=False, labelAngle=0, domain=False),
        ),
        y=alt.Y(
            "row:O",
            scale=alt.Scale(paddingInner=0.1),
            title=None,
            axis=alt.Axis(ticks=False, domain=False, labelOverlap=True),
        ),
        tooltip=[
            alt.Tooltip("label:N", title="where"),
            alt.Tooltip("risk:Q", title="risk" if one else "highest risk", format=".3f"),
            alt.Tooltip("state:N", title="state" if one else "worst state"),
            alt.Tooltip("detail:N", title="now"),
            alt.Tooltip("gpu_uuid:N", title="GPU" if one else "riskiest GPU"),
        ],
    )
    steps = [watch, (watch + alarm) / 2, alarm, (1 + alarm) / 2]
    scale = alt.Scale(type="threshold", domain=steps, range=_RISK_COLOURS[theme])
    named = f"risk (watch {watch:g}, alarm {alarm:g})"
    legend = alt.Legend(
        orient="top", format=".2~f", title=named, titleLimit=300, symbolType="square", symbolSize=160
    )
    pick = alt.selection_point(name="pick", fields=["gpu_uuid"], on="click", clear=False)
    squares = (
        base.mark_rect(cornerRadius=2, cursor="pointer")
        .encode(
            color=alt.when("isValid(datum.risk)")
            .then(alt.Color("risk:Q", scale=scale, legend=legend))
            .otherwise(alt.value(_UNKNOWN[theme])),
            opacity=alt.value(1),
        )
        .add_params(pick)
    )
    on_strong = alt.when(alt.datum.risk >= alarm).then(alt.value(_TEXT[_OTHER[theme]]))
    marks = base.mark_text(fontSize=15, fontWeight="bold").encode(
        text="mark:N", color=on_strong.otherwise(alt.value(_TEXT[theme]))
    )
    return alt.layer(squares, marks).properties(height=height)


def life(
    reading: Reading,
    rows: pl.DataFrame,
    marks: pl.DataFrame,
    span: tuple[datetime, datetime],
    theme: Theme,
    *,
    last: bool,
) -> alt.LayerChart | alt.FacetChart:
    """One reading over `span`, with what happened drawn over it. Only the `last` chart writes its times."""
    times = "%H:%M" if span[1] - span[0] > timedelta(minutes=15) else "%H:%M:%S"
    x = alt.X(
        "time:T",
        title=None,
        scale=alt.Scale(domain=[at.isoformat() for at in span], type="utc"),
        axis=alt.Axis(format=times, labels=last, ticks=last, tickCount=8, grid=True),
    )
    y = alt.Y(
        f"{reading.column}:Q",
        title=None,
        scale=alt.Scale(domain=_domain(rows, reading)),
        axis=alt.Axis(minExtent=_AXIS_WIDTH, maxExtent=_AXIS_WIDTH, tickCount=3),
    )
    tooltip = [
        alt.Tooltip("time:T", format="%Y-%m-%d %H:%M:%S", title="UTC"),
        alt.Tooltip(f"{reading.column}:Q", format=".3~f", title=reading.title),
    ]
    title = alt.Title(reading.title, anchor="start", fontSize=12, fontWeight="normal", offset=2)
    shape: Literal["step-after", "linear"] = "step-after" if reading.column == "risk" else "linear"
    line = (
        alt.Chart(rows.select("time", reading.column))
        .mark_line(
            color=_LINE[theme],
            strokeWidth=1.8,
            interpolate=shape,
            point=alt.OverlayMarkDef(size=12, opacity=0.01),
            clip=True,
        )
        .encode(x=x, y=y, tooltip=tooltip)
    )
    return (
        alt.layer(line, *_rules(marks, x, theme))
        .properties(height=130 if last else 108, title=title)
    )  # fmt: skip


def _rules(marks: pl.DataFrame, x: alt.X, theme: Theme) -> list[alt.Chart]:
    if marks.is_empty():
        return []
    base = alt.Chart(marks).encode(
        x=x,
        color=alt.Color(
            "kind:N", scale=alt.Scale(domain=_MARK_KINDS, range=_MARK_COLOURS[theme]), legend=None
        ),
        tooltip=[
            alt.Tooltip("time:T", format="%Y-%m-%d %H:%M:%S", title="UTC"),
            alt.Tooltip("what:N"),
            alt.Tooltip("detail:N"),
        ],
    )
    dash = alt.StrokeDash(
        "kind:N", scale=alt.Scale(domain=_MARK_KINDS, range=[[1, 0], [2, 3], [6, 3]]), legend=None
    )
    shape = alt.Shape(
        "kind:N", scale=alt.Scale(domain=_MARK_KINDS, range=["cross", "circle", "triangle-down"]), legend=None
    )
    # the thin rule is hard to hit with a pointer: the point on top of it carries the tooltip as well
    return [
        base.mark_rule(size=2, clip=True).encode(strokeDash=dash),
        base.mark_point(size=70, filled=True, opacity=1, clip=True).encode(shape=shape, y=alt.value(5)),
    ]


def _domain(rows: pl.DataFrame, reading: Reading) -> list[float]:
    values = rows[reading.column].drop_nulls().drop_nans()
    low, high = reading.least
    least: Any = values.min()
    most: Any = values.max()
    return [low if least is None else min(low, least), high if most is None else max(high, most * 1.05)]


def mark_colour(kind: str, theme: Theme) -> str:
    """For the legend in the page's text."""
    return _MARK_COLOURS[theme][_MARK_KINDS.index(kind)]
