"""Raw scores -> probabilities: weighted beta calibration on the logit, and a table that shows how true they are.

Beta calibration (Kull, Silva Filho and Flach, AISTATS 2017) has a slope for low scores and one for high scores. It is
smooth and strictly rising, where isotonic regression makes ties and zeros out of a handful of faults.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize
from scipy.special import expit, log_expit

from pipeline.signals import Floats

Bools = NDArray[np.bool_]

RELIABILITY: Final = pl.Schema({
    "low": pl.Float64(), "high": pl.Float64(), "predicted": pl.Float64(), "observed": pl.Float64(),
    "weight": pl.Float64(), "positives": pl.Int64(),
})  # fmt: skip
"""Rows whose probability is in [low, high): mean predicted and observed, weighted; `positives` is a plain count."""

_LEAST_SLOPE: Final = 0.05
_MOST_SLOPE: Final = 5.0
_PULL: Final = 0.01
"""Ridge on both slopes towards 1 (trust the scores), beside a loss of about 10 per positive."""
_GRID: Final = 1000.0
"""Scores are gathered to 1/1000 of a logit: millions of rows, thousands of terms."""
_FURTHEST: Final = 60.0
_EDGES: Final = np.array([0.0, *(10.0 ** np.arange(-6, -1)), 0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0])


@dataclass(frozen=True, slots=True)
class Calibrator:
    """logit p = low * log q - high * log(1 - q) + offset, where logit q is the raw score."""

    low: float
    high: float
    offset: float

    def logit(self, raw: Floats) -> Floats:
        """Calibrated log-odds of raw log-odds, strictly rising."""
        out: Floats = self.low * log_expit(raw) - self.high * log_expit(-raw) + self.offset
        return out

    def probability(self, raw: Floats) -> Floats:
        """Of raw log-odds, in 0..1."""
        out: Floats = expit(self.logit(raw))
        return out


def fit_calibrator(raw: Floats, label: Bools, weight: Floats) -> Calibrator:
    """Weighted maximum likelihood on rows that the scores were not learnt from.

    The mean probability is then the weighted base rate. `raw` are log-odds on any base rate; both labels occur.
    """
    score, place = np.unique(np.round(np.clip(raw, -_FURTHEST, _FURTHEST) * _GRID), return_inverse=True)
    positive = np.bincount(place, weights=weight * label, minlength=score.size)
    # relative to the positives: else one fault in a million rows is below every tolerance of the optimiser
    scale = positive.sum()
    positive, every = positive / scale, np.bincount(place, weights=weight, minlength=score.size) / scale
    low_part, high_part = log_expit(score / _GRID), -log_expit(-score / _GRID)

    def loss(theta: Floats) -> tuple[float, Floats]:
        logit = theta[0] * low_part + theta[1] * high_part + theta[2]
        residual = every * expit(logit) - positive
        value = -positive @ log_expit(logit) - (every - positive) @ log_expit(-logit)
        pull = theta[:2] - 1
        slope = np.array([residual @ low_part, residual @ high_part]) + _PULL * pull
        return float(value + 0.5 * _PULL * pull @ pull), np.array([*slope, residual.sum()])

    start = np.array([1.0, 1.0, _offset(low_part + high_part, every)])
    bounds = [(_LEAST_SLOPE, _MOST_SLOPE)] * 2 + [(None, None)]
    low, high, _ = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x
    return Calibrator(float(low), float(high), _offset(low * low_part + high * high_part, every))


def _offset(logit: Floats, every: Floats) -> float:
    """Makes the mean probability the base rate; the weights are so scaled that the positives are 1."""
    furthest = 2 * _FURTHEST * _MOST_SLOPE
    return float(brentq(lambda c: every @ expit(logit + c) - 1, -furthest, furthest))


def reliability(probability: Floats, label: Bools, weight: Floats) -> pl.DataFrame:
    """RELIABILITY: one row per range of probabilities that has rows."""
    found = []
    place = np.clip(np.searchsorted(_EDGES, probability, "right") - 1, 0, len(_EDGES) - 2)
    for at in np.unique(place):
        inside = place == at
        total = weight[inside].sum()
        predicted, observed = (
            float(v[inside] @ weight[inside] / total) for v in (probability, label.astype(np.float64))
        )
        row = (_EDGES[at], _EDGES[at + 1], predicted, observed, float(total), int(label[inside].sum()))
        found.append(row)
    return pl.DataFrame(found, schema=RELIABILITY, orient="row")
