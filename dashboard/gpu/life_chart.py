"""A GPU's life as stacked panels on one time axis, with its peers as a band.

Plain Vega-Lite: thirteen layered panels take Altair twelve seconds to check, and this page draws itself every five.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from dashboard.colours import Theme

Spec = dict[str, Any]

_OWN: Final[dict[Theme, str]] = {"light": "#0072b2", "dark": "#56b4e9"}
_PEERS: Final[dict[Theme, str]] = {"light": "#7a828e", "dark": "#9aa3af"}
TEXT: Final[dict[Theme, str]] = {"light": "#31333f", "dark": "#fafafa"}
_LEVEL: Final[dict[Theme, str]] = {"light": "#d55e00", "dark": "#ff7a33"}
_KINDS: Final = ["fault", "event", "incident", "action"]
_KIND_COLOURS: Final[dict[Theme, list[str]]] = {
    "light": ["#d55e00", "#6b7280", "#a8578a", "#009e73"],
    "dark": ["#ff7a33", "#a3a9b3", "#e39bc4", "#2ec49a"],
}
_SHAPES: Final = ["cross", "circle", "diamond", "triangle-down"]
_HEIGHT: Final = 78
"""Pixels of one panel."""
LABELS_PX: Final = 48
"""Left of the first moment: there the y labels stand, and no line."""
_ABOVE: Final = 0.15
"""Of the range stays free above it: there the topmost label stands, below the title."""
UTC: Final = {"field": "utc", "type": "nominal", "title": "UTC"}
"""The time in a tooltip, as text: a tooltip writes times in the zone of the browser."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One reading over time: its column in the rows (its peers are in `_low`, `_mid`, `_high`), and its title.

    `level` draws a line across, such as the risk from which on an alarm is raised.
    """

    key: str
    title: str
    least: tuple[float, float]
    step: bool = False
    level: float | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What all charts of the page share: the time they show, and for whom they are coloured."""

    span: tuple[datetime, datetime]
    theme: Theme


def life(panels: Sequence[Panel], rows: pl.DataFrame, marks: pl.DataFrame, view: View) -> Spec:
    """`panels` over one another; a pointer on one of them shows its time in all. `marks` come first, by kind."""
    strip = [] if marks.is_empty() else [_strip(marks, view)]
    stacked = [_panel(panel, rows, marks, view, last=panel is panels[-1]) for panel in panels]
    nearest = {
        "type": "point",
        "fields": ["time"],
        "nearest": True,
        "on": "pointerover",
        "clear": "pointerout",
    }
    hover = {"name": "hover", "select": nearest, "views": [_hover_name(panel) for panel in panels]}
    return stack([*strip, *stacked], {"rows": rows, "marks": marks}) | {"params": [hover]}


def stack(charts: Sequence[Spec], data: dict[str, pl.DataFrame]) -> Spec:
    """Charts of one time axis over one another, as wide as the page. `data` by the names that they use."""
    return {
        "vconcat": list(charts),
        "spacing": 6,
        "datasets": {
            name: rows.with_columns(utc=pl.col("time").dt.strftime("%Y-%m-%d %H:%M:%S"))
            for name, rows in data.items()
        },
        "resolve": {"scale": {"x": "independent", "y": "independent", "color": "independent"}},
        "config": {"view": {"strokeOpacity": 0.15}},
        "padding": {"left": 0, "right": 0, "top": 4, "bottom": 24},
    }


def titled(text: str) -> Spec:
    """A panel's title: small, and where the panel begins."""
    return {"text": text, "anchor": "start", "fontSize": 12, "fontWeight": "normal", "offset": 4}


def _hover_name(panel: Panel) -> str:
    return f"hover-{panel.key}"


def _panel(panel: Panel, rows: pl.DataFrame, marks: pl.DataFrame, view: View, *, last: bool) -> Spec:
    colour = _OWN[view.theme]
    curve = "step-after" if panel.step else "linear"
    line = {"type": "line", "color": colour, "strokeWidth": 1.8, "interpolate": curve, "clip": True}
    pointer = {"type": "point", "opacity": 0, "size": 30}
    y = {"y": _quantity(panel.key)}
    pointed = [{"filter": {"param": "hover", "empty": False}}]
    tips = [UTC, _tip(panel.key, panel.title)]
    if f"{panel.key}_low" in rows.columns:
        tips += [_tip(f"{panel.key}_{end}", f"peers, {name}") for end, name in _ENDS.items()]
    layers = [
        *_band(panel, rows, view.theme),
        *_level(panel, view.theme),
        *_rules(marks, view),
        {"mark": line, "encoding": y},
        {"mark": {"type": "rule", "color": TEXT[view.theme], "opacity": 0.5}, "transform": pointed},
        {"mark": {"type": "point", "color": colour, "filled": True, "size": 45, "opacity": 1}, "encoding": y,
         "transform": pointed},
        {"name": _hover_name(panel), "mark": pointer, "encoding": {"tooltip": tips}},
    ]  # fmt: skip
    shown = {
        "x": time_axis(view.span, labels=last),
        "y": {"scale": value_range(rows, panel), "axis": inside()},
    }
    return {
        "data": {"name": "rows"}, "height": _HEIGHT, "title": titled(panel.title), "encoding": shown, "layer": layers,
    }  # fmt: skip


_ENDS: Final = {"low": "10th percentile", "mid": "median", "high": "90th percentile"}


def _quantity(column: str) -> Spec:
    return {"field": column, "type": "quantitative", "title": None}


def _tip(column: str, title: str) -> Spec:
    return {"field": column, "type": "quantitative", "format": ".3~f", "title": title}


def _band(panel: Panel, rows: pl.DataFrame, theme: Theme) -> list[Spec]:
    if f"{panel.key}_low" not in rows.columns:
        return []
    area = {"type": "area", "color": _PEERS[theme], "opacity": 0.28, "clip": True}
    middle = {"type": "line", "color": _PEERS[theme], "strokeWidth": 1, "strokeDash": [3, 2], "clip": True}
    ends = {"y": _quantity(f"{panel.key}_low"), "y2": {"field": f"{panel.key}_high"}}
    return [
        {"mark": area, "encoding": ends},
        {"mark": middle, "encoding": {"y": _quantity(f"{panel.key}_mid")}},
    ]


def _level(panel: Panel, theme: Theme) -> list[Spec]:
    if panel.level is None:
        return []
    mark = {"type": "rule", "color": _LEVEL[theme], "strokeDash": [5, 3], "clip": True}
    y = {"y": _quantity("level"), "x": {"value": LABELS_PX}, "x2": {"value": "width"}}
    return [{"data": {"values": [{"level": panel.level}]}, "mark": mark, "encoding": y}]


def _strip(marks: pl.DataFrame, view: View) -> Spec:
    """What happened, a row for each kind: told by place and shape, not by colour alone."""
    there = [kind for kind in _KINDS if kind in marks["kind"]]
    encoding = {
        "x": time_axis(view.span, labels=False),
        "y": {"field": "kind", "type": "nominal", "title": None, "scale": {"domain": there}, "axis": inside(lift=0)},
        "color": _coloured(view),
        "shape": {"field": "kind", "type": "nominal", "scale": {"domain": _KINDS, "range": _SHAPES}, "legend": None},
        "tooltip": [UTC, {"field": "what", "type": "nominal"}, {"field": "detail", "type": "nominal"}],
    }  # fmt: skip
    return {
        "data": {"name": "marks"}, "height": 17 * len(there), "title": titled("What happened"),
        "mark": {"type": "point", "size": 75, "filled": True, "opacity": 0.9, "clip": True}, "encoding": encoding,
    }  # fmt: skip


def _rules(marks: pl.DataFrame, view: View) -> list[Spec]:
    if marks.is_empty():
        return []
    mark = {"type": "rule", "size": 1, "opacity": 0.55, "clip": True}
    return [{"data": {"name": "marks"}, "mark": mark, "encoding": {"color": _coloured(view)}}]


def _coloured(view: View) -> Spec:
    scale = {"domain": _KINDS, "range": _KIND_COLOURS[view.theme]}
    return {"field": "kind", "type": "nominal", "scale": scale, "legend": None}


def time_axis(span: tuple[datetime, datetime], *, labels: bool) -> Spec:
    """The shared x of every panel, in UTC; only the last panel writes its times."""
    length = span[1] - span[0]
    form = "%H:%M:%S" if length <= timedelta(minutes=20) else "%H:%M"
    if length > timedelta(hours=30):
        form = "%b %d" if length > timedelta(days=3) else "%b %d %H:%M"
    return {
        "field": "time", "type": "temporal", "title": None,
        "scale": {"domain": [at.isoformat() for at in span], "type": "utc", "range": [LABELS_PX, {"expr": "width"}]},
        "axis": {"format": form, "labels": labels, "ticks": labels, "tickCount": 8, "grid": True, "gridOpacity": 0.5},
    }  # fmt: skip


def inside(lift: int = 6) -> Spec:
    """Labels within the plot, left of its lines: every panel is as wide as the page, and times stand in one column."""
    return {
        "labelAlign": "left", "labelPadding": -4, "labelOffset": -lift, "ticks": False, "domain": False,
        "minExtent": 0, "maxExtent": 0, "tickCount": 3, "zindex": 1, "gridOpacity": 0.6,
    }  # fmt: skip


def value_range(rows: pl.DataFrame, panel: Panel) -> Spec:
    """The y scale: at least `panel.least`, and room for what was measured."""
    names = [c for c in (panel.key, f"{panel.key}_low", f"{panel.key}_high") if c in rows.columns]
    known = [v for c in names for v in (rows[c].min(), rows[c].max()) if isinstance(v, int | float)]
    low, high = panel.least
    most = max([high, *known])
    least = min([low, *known])
    return {"domain": [least, most + _ABOVE * (most - least)], "nice": False}
