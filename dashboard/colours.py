"""What a cell's colour may mean: bands of the risk or of a reading, or the state. Pure.

Palettes: lightness grows evenly with the band, so they hold in grey and for every kind of colour sight; states are of
the Okabe-Ito palette. A state is always told by a mark as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import polars as pl

Theme = Literal["light", "dark"]

STATES: Final = ("ok", "silent", "unread", "error", "hung", "lost", "missing")
"""From calm to worst."""
MARKS: Final = {
    "ok": "",
    "silent": "?",
    "unread": "?",
    "error": "!",
    "hung": "‖",
    "lost": "×",
    "missing": "×",
}

_HEAT: Final[dict[Theme, Sequence[str]]] = {
    "light": ("#d9e0e7", "#fcbf7f", "#f98b52", "#d7301f", "#7f0000"),
    "dark": ("#2b3440", "#6b3a3f", "#b5482f", "#ef8a2c", "#ffe680"),
}
_LOAD: Final[dict[Theme, Sequence[str]]] = {
    "light": ("#dae4ee", "#b5cfe8", "#6baed6", "#2171b5", "#08306b"),
    "dark": ("#232b36", "#234a6d", "#2f76ab", "#5fb0e0", "#d6efff"),
}
_OF_STATE: Final[dict[Theme, Sequence[str]]] = {
    "light": ("#d9e0e7", "#7cc4ee", "#7cc4ee", "#e69f00", "#cc79a7", "#d55e00", "#8a3a00"),
    "dark": ("#2b3440", "#56b4e9", "#56b4e9", "#e69f00", "#cc79a7", "#ff7a33", "#ffb38a"),
}
UNKNOWN: Final[dict[Theme, str]] = {"light": "#a9b1ba", "dark": "#555c66"}


@dataclass(frozen=True, slots=True)
class Colour:
    """`bands` are the words of the legend, calm first. `value` is what a cell's tooltip says, with its `unit`."""

    name: str
    title: str
    value: str
    unit: str
    decimals: int
    bands: Sequence[str]
    palette: dict[Theme, Sequence[str]]
    unknown: str
    steps: Sequence[float] = ()

    def band(self) -> pl.Expr:
        """Number of the band; null where nothing is known."""
        if self.name == "state":
            return pl.col("state").replace_strict(
                {state: number for number, state in enumerate(STATES)}, default=2, return_dtype=pl.Int32
            )
        if self.name == "risk":
            return _of_risk()
        column = pl.col(self.value).cast(pl.Float64).fill_nan(None)
        return pl.sum_horizontal((column >= step).cast(pl.Int32) for step in self.steps).pipe(
            lambda total: pl.when(column.is_not_null()).then(total)
        )


def _of_risk() -> pl.Expr:
    """Bands of the alarm level of the model that spoke: the same risk may be an alarm of one and none of another."""
    risk, level = pl.col("risk").fill_nan(None), pl.col("alarm_level")
    return (
        pl.when(risk.is_null()).then(None)
        .when((risk >= level) & (risk >= (1 + level) / 2)).then(4)
        .when(risk >= level).then(3)
        .when(risk >= level / 2).then(2)
        .when(risk >= level / 10).then(1)
        .otherwise(0)
        .cast(pl.Int32)
    )  # fmt: skip


def _words(steps: Sequence[float], unit: str) -> list[str]:
    between = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(steps)]
    return [f"under {steps[0]:g} {unit}", *between, f"{steps[-1]:g} {unit} or more"]


def _reading(name: str, title: str, column: str, unit: str, steps: Sequence[float]) -> Colour:
    palette = _LOAD if unit == "W" else _HEAT
    decimals = 1 if unit == "s" else 0
    return Colour(name, title, column, unit, decimals, _words(steps, unit), palette, "no reading", steps)


_OF_RISK: Final = (
    "calm",
    "from 1/10 of the alarm level",
    "from half of it",
    "at the alarm level",
    "far above it",
)

COLOURS: Final = {
    c.name: c
    for c in (
        Colour("risk", "Risk", "risk", "", 3, _OF_RISK, _HEAT, "never scored"),
        _reading("temperature", "Temperature", "temperature_c", "°C", (50, 65, 75, 85)),
        _reading("power", "Power", "power_w", "W", (100, 300, 500, 700)),
        _reading("gap", "Gap between answers", "gap_s", "s", (2.5, 5, 15, 60)),
        Colour("state", "State", "state", "", 0, STATES, _OF_STATE, "unread"),
    )
}


def alarmed(fleet: pl.DataFrame, share: float = 1.0) -> int:
    """GPUs whose risk is at `share` of their model's alarm level or more."""
    return int((fleet["risk"] >= fleet["alarm_level"] * share).sum())


def mark(state: str) -> str:
    """One character; a blank for ok."""
    return MARKS.get(state, "?") or " "
