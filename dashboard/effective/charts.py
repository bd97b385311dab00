"""Stacked bars of the time that was lost, by cause. Plain Vega-Lite; Okabe and Ito's colours."""

from __future__ import annotations

from typing import Any, Final

import polars as pl

from dashboard.colours import Theme
from pipeline.effective_time import CAUSES, Measured

_COLOURS: Final = {
    "checkpoint": "#56B4E9", "lost_work": "#D55E00", "detection": "#E69F00", "scheduling": "#0072B2",
    "restart": "#009E73", "alarms_false": "#CC79A7", "alarms_true": "#F0E442", "idle": "#999999", "unknown": "#DDDDDD",
}  # fmt: skip
_OF_ARMS: Final = {
    "checkpoint": "#56B4E9", "alarm checkpoint": "#F0E442", "lost work": "#D55E00", "recovery": "#009E73",
    "planned move": "#0072B2", "no node": "#999999",
}  # fmt: skip
_FLEET: Final = "all jobs"


def losses(found: Measured, jobs: int, theme: Theme) -> dict[str, Any]:
    """A bar for the fleet and for each of the `jobs` largest; lengths are shares of the span in %."""
    rows = pl.concat([found.fleet, found.jobs.head(jobs)]).with_columns(pl.col("job").fill_null(_FLEET))
    lost = [c for c in CAUSES if rows[f"{c}_s"].sum() > 0]
    long = rows.unpivot(
        [f"{c}_s" for c in lost], index=["job", "span_s"], variable_name="cause", value_name="lost_s"
    )
    values = long.select(
        "job", pl.col("cause").str.strip_suffix("_s").str.replace_all("_", " "),
        (100 * pl.col("lost_s") / pl.col("span_s")).round(4).alias("share"),
    )  # fmt: skip
    names = [c.replace("_", " ") for c in lost]
    return _bars(
        values.to_dicts(),
        rows["job"].to_list(),
        {n: _COLOURS[c] for n, c in zip(names, lost, strict=True)},
        theme,
    )


def arms(without: dict[str, float], with_: dict[str, float], theme: Theme) -> dict[str, Any]:
    """Two bars: what is lost without Foreshock and with it, simulated; shares of the time by cause."""
    bars = {"without": without, "with": with_}
    values = [
        {"job": arm, "cause": cause, "share": round(100 * share, 4)}
        for arm, lost in bars.items() for cause, share in lost.items() if share > 0
    ]  # fmt: skip
    return _bars(values, list(bars), _OF_ARMS, theme)


def _bars(
    values: list[dict[str, Any]], order: list[str], colours: dict[str, str], theme: Theme
) -> dict[str, Any]:
    seen = [c for c in colours if any(v["cause"] == c for v in values)]
    return {
        "data": {"values": values},
        "mark": {"type": "bar", "stroke": "#0e1117" if theme == "dark" else "#ffffff", "strokeWidth": 0.5},
        "height": {"step": 26},
        "encoding": {
            "y": {"field": "job", "type": "nominal", "sort": order, "title": None},
            "x": {"field": "share", "type": "quantitative", "title": "share of the time that was lost (%)"},
            "color": {
                "field": "cause", "type": "nominal", "title": "cause",
                "scale": {"domain": seen, "range": [colours[c] for c in seen]}, "sort": seen,
                "legend": {"orient": "top", "title": None},  # beside two bars there is room for three causes
            },
            "order": {"field": "cause", "type": "nominal", "sort": seen},
            "tooltip": [
                {"field": "job"}, {"field": "cause"}, {"field": "share", "title": "% of the time", "format": ".3f"},
            ],
        },
    }  # fmt: skip
