"""The curves of a what-if: waste against interval, what recall is worth, ETTR against size. Plain Vega-Lite.

Series differ in dash too, so that no picture hangs on colour alone. The colours are Okabe and Ito's.
"""

from __future__ import annotations

from typing import Any, Final

from dashboard.colours import Theme

_ARMS: Final[dict[Theme, list[str]]] = {"light": ["#d55e00", "#0072b2"], "dark": ["#e69f00", "#56b4e9"]}
_OF_PRECISION: Final[dict[Theme, list[str]]] = {
    "light": ["#b8860b", "#cc79a7", "#0072b2", "#7f858d"],
    "dark": ["#f0e442", "#f0a6cf", "#56b4e9", "#7f858d"],
}
# The last of a palette is a grey that both themes show: a browser may change its theme and draw nothing anew.
_DASHES: Final = [[2, 2], [6, 2, 2, 2], [6, 3], [1, 0]]
_HEIGHT: Final = 340
_TARGET: Final = 99.5


def waste_by_interval(lines: list[dict[str, Any]], theme: Theme) -> dict[str, Any]:
    """Time lost in % over seconds between checkpoints; each arm's best marked."""
    return _picture(
        lines, _ARMS[theme], x="seconds between checkpoints", y="time lost (%)", log=True, zero=True
    )


def gain_by_recall(lines: list[dict[str, Any]], gpu_share: float, theme: Theme) -> dict[str, Any]:
    """Points of ETTR over recall of all interruptions; the last line is the predictor that was asked for."""
    spec = _picture(lines, _OF_PRECISION[theme], x="recall, of all interruptions", y="gain (points of ETTR)")
    return spec | {
        "layer": [*spec["layer"], _rule("x", gpu_share, f"{gpu_share:.2f}: all that GPUs cause", theme)]
    }


def ettr_by_gpus(
    lines: list[dict[str, Any]], simulated: list[dict[str, Any]], theme: Theme
) -> dict[str, Any]:
    """ETTR in % over the job's GPUs; `simulated` are `name`, `x`, `low`, `mean`, `high` at its own size, in %."""
    spec = _picture(lines, _ARMS[theme], x="GPUs of the job", y="ETTR (%)", log=True)
    names = [line["name"] for line in lines]
    color = _color(names, _ARMS[theme])
    at = {"field": "x", "type": "quantitative"}
    bars = {
        "data": {"values": simulated},
        "mark": {"type": "rule", "strokeWidth": 2},
        "encoding": {
            "x": at, "y": {"field": "low", "type": "quantitative"}, "y2": {"field": "high"}, "color": color,
        },
    }  # fmt: skip
    means = {
        "data": {"values": simulated},
        "mark": {"type": "square", "filled": True, "size": 50, "opacity": 1},
        "encoding": {
            "x": at, "y": {"field": "mean", "type": "quantitative"}, "color": color,
            "tooltip": [
                {"field": "name"}, {"field": "mean", "title": "simulated (%)", "format": ".2f"},
                {"field": "low", "format": ".2f"}, {"field": "high", "format": ".2f"},
            ],
        },
    }  # fmt: skip
    return spec | {"layer": [*spec["layer"], bars, means, _rule("y", _TARGET, f"{_TARGET:g} %", theme)]}


def _picture(
    lines: list[dict[str, Any]], palette: list[str], *, x: str, y: str, log: bool = False, zero: bool = False
) -> dict[str, Any]:
    names = [line["name"] for line in lines if line["x"]]
    points = [
        {"name": line["name"], "x": at, "y": 100 * share}
        for line in lines for at, share in zip(line["x"], line["y"], strict=True)
    ]  # fmt: skip
    marks = [
        {"name": line["name"], "x": line["mark"][0], "y": 100 * line["mark"][1]}
        for line in lines if line["mark"]
    ]  # fmt: skip
    axis: dict[str, Any] = {
        "field": "x",
        "type": "quantitative",
        "title": x,
        "axis": {"format": "~s" if log else "~g"},
    }
    axis |= {"scale": {"type": "log", "nice": False}} if log else {}
    up = {"field": "y", "type": "quantitative", "title": y, "scale": {"zero": zero}}
    dash = {"field": "name", "scale": {"domain": names, "range": _DASHES[-len(names) :]}, "legend": None}
    told = [
        {"field": "name"}, {"field": "x", "title": x, "format": ",.4~g"}, {"field": "y", "title": y, "format": ".2f"},
    ]  # fmt: skip
    color = _color(names, palette)
    return {
        "height": _HEIGHT,
        "layer": [
            {
                "data": {"values": points},
                "mark": {"type": "line", "strokeWidth": 1.8},
                "encoding": {"x": axis, "y": up, "color": color, "strokeDash": dash, "tooltip": told},
            },
            {
                "data": {"values": marks},
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1, "color": palette[0]},
                "encoding": {"x": axis, "y": up, "tooltip": told}
                | ({"color": color} if all(m["name"] in names for m in marks) else {}),
            },
        ],
    }


def _color(names: list[str], palette: list[str]) -> dict[str, Any]:
    return {
        "field": "name", "type": "nominal", "title": None, "legend": {"orient": "bottom", "columns": 2},
        "scale": {"domain": names, "range": palette[: len(names)]}, "sort": names,
    }  # fmt: skip


def _rule(side: str, at: float, text: str, theme: Theme) -> dict[str, Any]:
    grey = "#6b7280" if theme == "light" else "#a3a9b3"
    return {
        "data": {"values": [{"at": at, "text": text}]},
        "mark": {"type": "rule", "strokeDash": [2, 2], "color": grey},
        "encoding": {side: {"field": "at", "type": "quantitative"}, "tooltip": [{"field": "text"}]},
    }
