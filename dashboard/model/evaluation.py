"""What `foreshock evaluate --out` measured, where its evaluation.json lies beside a model's card. Pure but for reading.

A card keeps the promise and the curve only. Intervals, classes, lead times, calibration and the baselines are in
evaluation.json; it belongs to the model whose threshold it names, and any other is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from collector.errors import ForeshockError
from dashboard.model.files import Card

Row = dict[str, Any]


class Test(msgspec.Struct, frozen=True, kw_only=True):
    """One test, of GPUs or days that nothing was learnt from."""

    test: str
    at_operating_point: Row = {}
    intervals: tuple[Row, ...] = ()
    by_class: tuple[Row, ...] = ()
    first_and_repeat: tuple[Row, ...] = ()
    lead_times: tuple[Row, ...] = ()
    calibration: tuple[Row, ...] = ()
    expected_calibration_error: float | None = None

    def interval(self, figure: str) -> tuple[float, float] | None:
        """The 95 % interval of a figure at the operating point."""
        found = next((row for row in self.intervals if row.get("figure") == figure), {})
        low, high = number(found.get("low")), number(found.get("high"))
        return None if low is None or high is None else (low, high)


class _Point(msgspec.Struct, frozen=True):
    threshold: float


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """The whole report. `results` has a row per test, horizon and model, ours among its baselines."""

    synthetic: bool
    operating_point: _Point
    tests: tuple[Test, ...] = ()
    results: tuple[Row, ...] = ()
    verdicts: tuple[Row, ...] = ()


def read(folder: Path, card: Card) -> Evaluation | None:
    """The evaluation in `folder`; None where there is none. Raises ForeshockError for another model's, or no report."""
    path = folder / "evaluation.json"
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Evaluation)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as e:
        raise ForeshockError(
            f"{path} is no evaluation: {e}", hint="foreshock evaluate --save --out DIR"
        ) from e
    same = math.isclose(found.operating_point.threshold, card.point.threshold, rel_tol=1e-9)
    if not same or found.synthetic != card.synthetic:
        raise ForeshockError(
            f"{path} is of another model: its threshold is {found.operating_point.threshold:g}, and the card's "
            f"{card.point.threshold:g}",
            hint="put the evaluation.json there that `foreshock evaluate --save --out DIR` wrote with this model",
        )
    return found


def compared(evaluation: Evaluation, test: str, horizon_s: int) -> list[Row]:
    """Ours and the baselines of one test at one horizon, ours first."""
    rows = [
        row
        for row in evaluation.results
        if row.get("test") == test and round((number(row.get("horizon_days")) or 0.0) * 86_400) == horizon_s
    ]
    return sorted(rows, key=lambda row: bool(row.get("baseline")))


def number(value: object) -> float | None:
    """A finite number, else None."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if fits else None  # type: ignore[arg-type]


def with_interval(row: Mapping[str, Any], figure: str) -> str:
    """`0.071 (0.037 to 0.125)` of a row with `ci95`; `not measured` where it has no such figure."""
    value = number(row.get(figure))
    if value is None:
        return "not measured"
    low, high = ((row.get("ci95") or {}).get(figure) or (None, None))[:2]
    return (
        spoken(value) if low is None or high is None else f"{spoken(value)} ({spoken(low)} to {spoken(high)})"
    )


def spoken(value: float) -> str:
    """Three figures, and no power of ten for what people can read: 0.0123, 1,745."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
