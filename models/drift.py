"""Has the world moved since training? Inputs and scores against the card's reference, alarms against its promise.

The population stability index, sum of (now - then) * ln(now / then) over bins: below 0.1 stable, to 0.25 look, above
it drifted (Siddiqi, Credit Risk Scorecards, 2006). Without drift it is about (1/n + 1/m) * chi2(bins - 1) (Yurdakul,
Statistical Properties of Population Stability Index, 2018), which says from how many rows on it can tell anything.
Minutes of one GPU resemble each other: fewer rows are independent than are counted, so look before acting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import binomtest, chi2

from models.cards import Card, promised

Floats = NDArray[np.float64]

STABLE: Final = 0.1
DRIFTED: Final = 0.25
SCORE: Final = "risk"
"""The row of the score in `psi`'s answer."""

_BINS: Final = 10  # of the non-zero part, besides one bin for null and one for zero
_ROWS_PER_BIN: Final = 50  # a rare feature gets fewer bins rather than empty ones
_PSEUDO_ROWS: Final = (
    100  # of the reference, added to what is seen now: one row in a rare bin stays far below STABLE
)
_SMALLEST_SHARE: Final = 1e-6
_RARE_FACTOR: Final = (
    10  # what is zero in 99.99 % of rows hardly moves the index: its frequency is looked at too
)
_RARE_ROWS: Final = 30

DRIFT: Final = pl.Schema({
    "feature": pl.String(), "psi": pl.Float64(), "null_share_then": pl.Float64(), "null_share_now": pl.Float64(),
    "nonzero_share_then": pl.Float64(), "nonzero_share_now": pl.Float64(), "verdict": pl.String(),
})  # fmt: skip
DECAY: Final = pl.Schema({
    "measure": pl.String(), "promised": pl.Float64(), "measured": pl.Float64(), "low": pl.Float64(),
    "high": pl.Float64(), "n": pl.Int64(), "verdict": pl.String(),
})  # fmt: skip


def reference(
    matrix: pl.DataFrame, weight: pl.Series | None = None, *, risk: pl.Series | None = None
) -> dict[str, Any]:
    """What a card keeps of its training inputs: `rows` (effective), `features` and `score`, each with bins.

    Every Float64 column of `matrix` but `weight` counts as a feature. Weights are what a row stands for in the fleet
    (default 1). A column's entry: `edges` (inner edges of the non-zero bins) and `shares` (null, zero, then bins).
    NaN counts as null. Raises ValueError where there are no rows or a weight is not a positive number.
    """
    weights = _weights(matrix.height, weight)
    columns = {c.name: c for c in matrix.select(pl.col(pl.Float64).exclude("weight"))}
    return {
        "rows": float(weights.sum() ** 2 / (weights**2).sum()),  # Kish: what uneven weights are worth
        "features": {name: _entry(column, weights) for name, column in columns.items()},
        "score": None if risk is None else _entry(risk, weights),
    }


def psi(
    reference: dict[str, Any],
    matrix: pl.DataFrame,
    weight: pl.Series | None = None,
    *,
    risk: pl.Series | None = None,
) -> pl.DataFrame:
    """DRIFT rows, the largest index first: each feature of the reference now, and the score where `risk` is given.

    Verdicts: `stable`; `look`, also where a rare value became ten times as frequent or as rare; `drifted`; `too few
    rows` where chance alone could pass 0.1; `missing` where the matrix lacks the column (index null).
    """
    weights = _weights(matrix.height, weight)
    now = {name: matrix[name] for name in reference["features"] if name in matrix.columns}
    entries = dict(reference["features"])
    if risk is not None and reference["score"] is not None:
        entries[SCORE], now[SCORE] = reference["score"], risk
    rows = [_drift(name, entry, reference["rows"], now.get(name), weights) for name, entry in entries.items()]
    return pl.DataFrame(rows, schema=DRIFT, orient="row").sort("psi", descending=True, nulls_last=False)


@dataclass(frozen=True, slots=True)
class Recent:
    """What came of the model's alarms lately, counting only what is decided: horizon over, follow-up whole.

    `useful` of `alarms` were followed by a fault in time; `caught` of `faults` had such an alarm. Raises ValueError
    for counts that cannot be.
    """

    alarms: int
    useful: int
    faults: int
    caught: int
    gpu_days: float

    def __post_init__(self) -> None:
        if not (0 <= self.useful <= self.alarms and 0 <= self.caught <= self.faults and self.gpu_days > 0):
            raise ValueError(f"counts that cannot be: {self}")


def decay(card: Card, recent: Recent, *, threshold: float | None = None) -> pl.DataFrame:
    """DECAY rows for precision, recall and alarms_per_day_per_10k: promise, measurement, its 95 % interval, verdict.

    Exact binomial and Poisson intervals. `decayed`: the whole interval is worse than the promise. `too few faults to
    tell`: even half as good (for alarms: twice as many) would fit too. Else `holds`. `not promised`: the card has no
    figure. The promise counts as exact; one measured on a handful of faults is not, so see `card.n_faults`.
    """
    point = promised(card, threshold)
    return pl.DataFrame(
        [
            _share_row("precision", point.precision, recent.useful, recent.alarms),
            _share_row("recall", point.recall, recent.caught, recent.faults),
            _rate_row(point.alarms_per_day_per_10k, recent),
        ],
        schema=DECAY,
        orient="row",
    )


def _weights(n_rows: int, weight: pl.Series | None) -> Floats:
    weights = np.ones(n_rows) if weight is None else weight.cast(pl.Float64).fill_null(np.nan).to_numpy()
    if not n_rows or len(weights) != n_rows or not (np.isfinite(weights) & (weights > 0)).all():
        raise ValueError("no rows, or a weight that is not a positive number")
    return weights


def _values(column: pl.Series) -> Floats:
    return column.cast(pl.Float64).fill_null(np.nan).to_numpy()


def _entry(column: pl.Series, weights: Floats) -> dict[str, Any]:
    values = _values(column)
    seen = ~np.isnan(values) & (values != 0)
    edges = _quantiles(values[seen], weights[seen])
    return {"edges": edges, "shares": [float(s) for s in _shares(values, weights, edges)]}


def _quantiles(values: Floats, weights: Floats) -> list[float]:
    """Inner edges that part `values` into bins of like weight; fewer where values are few or tied."""
    n_bins = min(_BINS, len(values) // _ROWS_PER_BIN)
    if n_bins < 2:
        return []
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order]) / weights.sum()
    at = np.searchsorted(reached, np.arange(1, n_bins) / n_bins)
    # an infinite edge parts nothing, and JSON has no word for it
    return [float(edge) for edge in np.unique(values[order][at]) if np.isfinite(edge)]


def _shares(values: Floats, weights: Floats, edges: list[float]) -> Floats:
    """Weight in the null bin, the zero bin and between the edges, of all weight."""
    place = 2 + np.searchsorted(np.asarray(edges, np.float64), values, side="left")
    place[values == 0] = 1
    place[np.isnan(values)] = 0
    summed: Floats = np.bincount(place, weights, minlength=len(edges) + 3) / weights.sum()
    return summed


def _drift(
    name: str, entry: dict[str, Any], rows_then: float, column: pl.Series | None, weights: Floats
) -> tuple[object, ...]:
    then = np.asarray(entry["shares"])
    seen_then = float(then[2:].sum())
    if column is None:
        return name, None, float(then[0]), None, seen_then, None, "missing"
    now = _shares(_values(column), weights, entry["edges"])
    rows_now = float(weights.sum() ** 2 / (weights**2).sum())
    index = _index(then, now, rows_then, rows_now)
    chance = (1 / rows_then + 1 / rows_now) * float(chi2.ppf(0.95, len(then) - 1))
    seen_now = float(now[2:].sum())
    if chance >= STABLE:
        verdict = "too few rows"
    elif index > DRIFTED:
        verdict = "drifted"
    elif index >= STABLE or _frequency_changed(seen_then, seen_now, rows_now):
        verdict = "look"
    else:
        verdict = "stable"
    return name, index, float(then[0]), float(now[0]), seen_then, seen_now, verdict


def _index(then: Floats, now: Floats, rows_then: float, rows_now: float) -> float:
    """The index, smoothed so that a bin nobody was in does not make it infinite, nor one row make it large."""
    old = np.maximum(then, max(0.5 / rows_then, _SMALLEST_SHARE))
    old /= old.sum()
    new = (now * rows_now + old * _PSEUDO_ROWS) / (rows_now + _PSEUDO_ROWS)
    return float(((new - old) * np.log(new / old)).sum())


def _frequency_changed(then: float, now: float, rows_now: float) -> bool:
    expected, found = then * rows_now, now * rows_now
    more = found >= _RARE_ROWS and found > _RARE_FACTOR * expected
    return more or (expected >= _RARE_ROWS and expected > _RARE_FACTOR * found)


def _share_row(measure: str, promise: float | None, hits: int, n: int) -> tuple[object, ...]:
    if n == 0:
        verdict = "not promised" if promise is None else "too few faults to tell"
        return measure, promise, None, 0.0, 1.0, 0, verdict
    interval = binomtest(hits, n).proportion_ci(0.95)
    low, high = float(interval.low), float(interval.high)
    if promise is None:
        verdict = "not promised"
    elif high < promise:
        verdict = "decayed"
    else:
        verdict = "too few faults to tell" if low < promise / 2 else "holds"
    return measure, promise, hits / n, low, high, n, verdict


def _rate_row(promise: float | None, recent: Recent) -> tuple[object, ...]:
    """More alarms than promised is the decay; fewer shows in recall."""
    unit, n = recent.gpu_days / 10_000, recent.alarms
    low = float(chi2.ppf(0.025, 2 * n)) / 2 / unit if n else 0.0
    high = float(chi2.ppf(0.975, 2 * n + 2)) / 2 / unit
    if promise is None:
        verdict = "not promised"
    elif low > promise:
        verdict = "decayed"
    else:
        verdict = "too few faults to tell" if high > 2 * promise else "holds"
    return "alarms_per_day_per_10k", promise, n / unit, low, high, n, verdict
