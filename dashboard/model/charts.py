"""The pictures of the model page: the operating curve, calibration, classes, and what happens on the lake.

Series differ in dash and shape too, so that no picture hangs on colour alone. The colours are Okabe and Ito's.
"""

from __future__ import annotations

from typing import Final

import altair as alt
import polars as pl

from dashboard.colours import Theme
from dashboard.model.files import Point

_PAIR: Final[dict[Theme, list[str]]] = {"light": ["#0072b2", "#d55e00"], "dark": ["#56b4e9", "#e69f00"]}
_SERIES: Final[dict[Theme, list[str]]] = {
    "light": ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#555555"],
    "dark": ["#56b4e9", "#e69f00", "#2ec49a", "#f0a6cf", "#f0e442", "#bbbbbb"],
}
_GREY: Final[dict[Theme, str]] = {"light": "#6b7280", "dark": "#a3a9b3"}
_FIGURES: Final = ["recall", "precision"]
_RATE: Final = "alarms per day and 10,000 GPUs"
_SHARE: Final = alt.Scale(domain=[0, 1])


def operating_curve(curve: tuple[Point, ...], point: Point, theme: Theme) -> alt.LayerChart | alt.FacetChart:
    """Recall and precision over the alarms they cost, and where the model stands; no points without alarms."""
    rows = pl.DataFrame(
        [
            {
                "rate": p.alarms_per_day_per_10k,
                "figure": name,
                "value": getattr(p, name),
                "threshold": p.threshold,
            }
            for p in curve
            for name in _FIGURES
            if p.alarms_per_day_per_10k and getattr(p, name) is not None
        ],
        schema={"rate": pl.Float64, "figure": pl.String, "value": pl.Float64, "threshold": pl.Float64},
    )
    lines = (
        alt.Chart(rows)
        .mark_line(point=alt.OverlayMarkDef(size=45), strokeWidth=1.8)
        .encode(
            x=alt.X("rate:Q", scale=alt.Scale(type="log"), title=_RATE, axis=alt.Axis(format="~g", tickCount=6)),
            y=alt.Y("value:Q", scale=_SHARE, title="share"),
            color=alt.Color("figure:N", scale=alt.Scale(domain=_FIGURES, range=_PAIR[theme]), legend=_legend()),
            strokeDash=alt.StrokeDash("figure:N", scale=alt.Scale(domain=_FIGURES, range=[[1, 0], [6, 3]])),
            shape=alt.Shape("figure:N", scale=alt.Scale(domain=_FIGURES, range=["circle", "square"])),
            order="rate:Q",
            tooltip=[
                alt.Tooltip("figure:N"), alt.Tooltip("value:Q", format=".3f"),
                alt.Tooltip("rate:Q", title=_RATE, format=".3g"), alt.Tooltip("threshold:Q", format=".3g"),
            ],
        )
    )  # fmt: skip
    return alt.layer(lines, *_stands(point, theme)).properties(height=300)


def precision_over_recall(
    curve: tuple[Point, ...], point: Point, theme: Theme
) -> alt.LayerChart | alt.FacetChart:
    """The same thresholds as a precision-recall curve, and the one at which the model stands."""
    rows = _points(curve)
    encoding = {
        "x": alt.X("recall:Q", scale=_SHARE, title="recall"),
        "y": alt.Y("precision:Q", scale=_SHARE, title="precision"),
        "tooltip": [alt.Tooltip(f"{name}:Q", format=".3g") for name in ("recall", "precision", "threshold")],
    }
    line = (
        alt.Chart(rows)
        .mark_line(color=_PAIR[theme][0], strokeWidth=1.8)
        .encode(order="threshold:Q", **encoding)
    )
    dots = (
        alt.Chart(rows).mark_point(color=_PAIR[theme][0], filled=True, size=45, opacity=1).encode(**encoding)
    )
    stands = alt.Chart(_points((point,)))
    here = stands.mark_point(color=_PAIR[theme][1], shape="diamond", filled=True, size=160, opacity=1)
    name = stands.mark_text(color=_GREY[theme], align="left", dx=10, text="operating point")
    return alt.layer(line, dots, here.encode(**encoding), name.encode(**encoding)).properties(height=300)


def _points(curve: tuple[Point, ...]) -> pl.DataFrame:
    """recall, precision, threshold of the points that have both."""
    names = ("recall", "precision", "threshold")
    rows = [
        {name: getattr(p, name) for name in names}
        for p in curve
        if p.recall is not None and p.precision is not None
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.Float64))


def _stands(point: Point, theme: Theme) -> list[alt.Chart]:
    if not point.alarms_per_day_per_10k:
        return []
    here = alt.Chart(pl.DataFrame({"rate": [point.alarms_per_day_per_10k], "text": ["operating point"]}))
    return [
        here.mark_rule(color=_GREY[theme], strokeDash=[2, 2], size=2).encode(x="rate:Q"),
        here.mark_text(color=_GREY[theme], align="left", dx=5, dy=8).encode(
            x="rate:Q", y=alt.value(0), text="text:N"
        ),
    ]


def calibration(rows: pl.DataFrame, theme: Theme) -> alt.LayerChart | alt.FacetChart:
    """What came true over what was said: columns mean_risk and rate. A log axis has no place for a rate of 0."""
    seen = rows.filter(pl.col("rate") > 0, pl.col("mean_risk") > 0)
    both = [*seen["rate"], *seen["mean_risk"]]
    ends = [min(both, default=1e-4) / 2, min(1.0, max(both, default=1.0) * 2)]
    scale = alt.Scale(type="log", domain=ends, clamp=True)
    ideal = (
        alt.Chart(pl.DataFrame({"mean_risk": ends, "rate": ends}))
        .mark_line(color=_GREY[theme], strokeDash=[4, 4])
        .encode(
            x=alt.X("mean_risk:Q", scale=scale, title="risk that was said", axis=_powers()),
            y=alt.Y("rate:Q", scale=scale, title="share that failed", axis=_powers()),
        )
    )
    bins = (
        alt.Chart(seen)
        .mark_point(filled=True, size=80, color=_PAIR[theme][0], opacity=1)
        .encode(
            x="mean_risk:Q",
            y="rate:Q",
            tooltip=[
                alt.Tooltip("mean_risk:Q", title="risk that was said", format=".3g"),
                alt.Tooltip("rate:Q", title="share that failed", format=".3g"),
                alt.Tooltip("rows:Q", title="minutes looked at", format=","),
            ],
        )
    )
    return alt.layer(ideal, bins).properties(height=280)


def recall_of(rows: pl.DataFrame, theme: Theme) -> alt.LayerChart | alt.FacetChart:
    """Recall per part with its interval: columns part, recall, low, high, n."""
    base = alt.Chart(rows).encode(
        y=alt.Y("part:N", title=None, sort=None, axis=alt.Axis(labelLimit=160)),
        tooltip=[
            alt.Tooltip("part:N"), alt.Tooltip("n:Q", title="faults"), alt.Tooltip("recall:Q", format=".3f"),
            alt.Tooltip("low:Q", format=".3f"), alt.Tooltip("high:Q", format=".3f"),
        ],
    )  # fmt: skip
    bounds = base.mark_rule(color=_GREY[theme], size=2).encode(x=alt.X("low:Q", scale=_SHARE), x2="high:Q")
    points = base.mark_point(filled=True, size=90, color=_PAIR[theme][0], opacity=1).encode(
        x=alt.X("recall:Q", scale=_SHARE, title="recall, with its 95 % interval")
    )
    return alt.layer(bounds, points).properties(height=alt.Step(28))


def scored_by(rows: pl.DataFrame, theme: Theme) -> alt.Chart:
    """Predictions per hour and model: columns bucket, model_id, predictions, gpus, highest."""
    chart: alt.Chart = (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            x=alt.X("yearmonthdatehours(bucket):T", scale=alt.Scale(type="utc"), title="UTC"),
            y=alt.Y("predictions:Q", title="predictions per hour", axis=alt.Axis(format="~s")),
            color=alt.Color("model_id:N", scale=alt.Scale(range=_SERIES[theme]), legend=_legend()),
            tooltip=[
                alt.Tooltip("bucket:T", title="UTC", format="%Y-%m-%d %H:%M"), alt.Tooltip("model_id:N", title="model"),
                alt.Tooltip("predictions:Q", format=","), alt.Tooltip("gpus:Q", title="GPUs", format=","),
                alt.Tooltip("highest:Q", title="highest risk", format=".3f"),
            ],
        )
        .properties(height=200)
    )  # fmt: skip
    return chart


def alarms_per_day(rows: pl.DataFrame, theme: Theme) -> alt.Chart:
    """Alarms by day: columns date, alarms, gpus."""
    chart: alt.Chart = (
        alt.Chart(rows)
        .mark_bar(color=_PAIR[theme][0])
        .encode(
            x=alt.X("utcyearmonthdate(date):O", title="day (UTC)", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            y=alt.Y("alarms:Q", title="alarms", axis=alt.Axis(tickMinStep=1, format="d")),
            tooltip=[
                alt.Tooltip("date:T", format="%Y-%m-%d"), alt.Tooltip("alarms:Q"), alt.Tooltip("gpus:Q", title="GPUs")
            ],
        )
        .properties(height=200)
    )  # fmt: skip
    return chart


def _powers() -> alt.Axis:
    return alt.Axis(format=".0e", tickCount=5)


def _legend() -> alt.Legend:
    return alt.Legend(orient="top", title=None, labelLimit=420)
