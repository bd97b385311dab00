"""The readings of a node, stacked, with one line for each of its GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from dashboard.colours import Theme
from dashboard.gpu.life_chart import UTC, Panel, Spec, View, inside, stack, time_axis, titled, value_range
from dashboard.gpu.readings import Reading

# Okabe and Ito, told apart by every kind of colour sight; yellow gives way to a colour that white does not swallow
_LINES: Final[dict[Theme, list[str]]] = {
    "light": ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#b8860b", "#6b7280", "#000000"],
    "dark": ["#56b4e9", "#ff7a33", "#2ec49a", "#e39bc4", "#9ad1f5", "#f0e442", "#a3a9b3", "#ffffff"],
}


def lines(readings: Sequence[Reading], rows: pl.DataFrame, view: View) -> Spec:
    """`rows` as queries_node.node_life gives them. Colours are those of the legend over the first panel."""
    named = rows.with_columns(gpu=pl.format("GPU {}", pl.col("gpu_index").fill_null(-1)))
    names = named.sort("gpu_index")["gpu"].unique(maintain_order=True).to_list()
    panels = [
        _panel(r, named, view, _colour(names, view.theme, first=r is readings[0]), last=r is readings[-1])
        for r in readings
    ]
    return stack(panels, {"rows": named})


def _colour(names: list[str], theme: Theme, *, first: bool) -> Spec:
    colours = [_LINES[theme][n % len(_LINES[theme])] for n in range(len(names))]
    legend = {
        "orient": "top",
        "title": None,
        "symbolType": "stroke",
        "symbolStrokeWidth": 4,
        "symbolOpacity": 1,
    }
    scale = {"domain": names, "range": colours}
    return {"field": "gpu", "type": "nominal", "scale": scale, "legend": legend if first else None}


def _panel(reading: Reading, rows: pl.DataFrame, view: View, colour: Spec, *, last: bool) -> Spec:
    panel = Panel(reading.key, f"{reading.title} ({reading.unit})", reading.least)
    value = {"field": reading.key, "type": "quantitative", "title": panel.title}
    return {
        "data": {"name": "rows"},
        "height": 90,
        "title": titled(panel.title),
        "mark": {"type": "line", "strokeWidth": 1.5, "clip": True, "point": {"size": 14, "opacity": 0.01}},
        "encoding": {
            "x": time_axis(view.span, labels=last),
            "y": {**value, "title": None, "scale": value_range(rows, panel), "axis": inside()},
            "color": colour,
            "tooltip": [
                {"field": "gpu", "type": "nominal", "title": "GPU"},
                UTC,
                {**value, "format": ".3~f"},
                {"field": "gpu_uuid", "type": "nominal", "title": "UUID"},
            ],
        },
    }  # fmt: skip
