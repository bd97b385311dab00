"""Why a risk is what it is: a bar for each reason, with its value and healthy range."""

from __future__ import annotations

from typing import Final

import polars as pl

from dashboard.colours import Theme
from dashboard.gpu.life_chart import TEXT, Spec

_RAISES: Final[dict[Theme, list[str]]] = {"light": ["#d55e00", "#0072b2"], "dark": ["#ff7a33", "#56b4e9"]}


def reasons(rows: pl.DataFrame, theme: Theme) -> Spec:
    """A bar for each reason's signed share. `rows`: what, share, told (value and healthy range), feature."""
    shares = rows["share"].to_list()
    scale = {"domain": [min(0.0, *shares), max(0.05, *shares) * 1.02], "nice": False}
    side = {"domain": ["raises", "lowers"], "range": _RAISES[theme]}
    bar = {
        "x": {"field": "share", "type": "quantitative", "scale": scale, "axis": None}, "x2": {"datum": 0},
        "color": {"field": "side", "type": "nominal", "scale": side, "legend": None},
    }  # fmt: skip
    named = pl.when(pl.col("share") >= 0).then(pl.lit("raises")).otherwise(pl.lit("lowers"))
    return {
        "datasets": {"reasons": rows.with_columns(side=named)},
        "height": max(60, 54 * rows.height),
        "encoding": {
            "y": {
                "field": "what",
                "type": "nominal",
                "sort": None,
                "axis": None,
                "scale": {"paddingInner": 0},
            },
            "tooltip": [{"field": name, "type": "nominal"} for name in ("what", "told", "feature")],
        },
        "layer": [
            {
                "data": {"name": "reasons"},
                "mark": {"type": "bar", "size": 8, "yOffset": 16, "opacity": 0.9},
                "encoding": bar,
            },
            _line_of_text("what", -14, 1.0, theme),
            _line_of_text("told", 0, 0.75, theme),
        ],
    }


def _line_of_text(field: str, dy: float, opacity: float, theme: Theme) -> Spec:
    mark = {
        "type": "text", "align": "left", "fontSize": 12, "color": TEXT[theme], "limit": 460, "dy": dy,
        "opacity": opacity,
    }  # fmt: skip
    encoding = {"text": {"field": field, "type": "nominal"}, "x": {"value": 0}}
    return {"data": {"name": "reasons"}, "mark": mark, "encoding": encoding}
