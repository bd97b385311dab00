"""The proneness head: which units are weak over days to weeks. Candidates compete on the past alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from models import metrics
from models.baselines import Fit, Score, boosted, every_column, logistic, matrix
from models.calibrate import fit_calibrator
from models.history import HALF_LIVES_DAYS, Floats, Rows, thinned

OTHER_WEIGHT: Final = 0.1  # a fault of another class says a tenth of what a target fault says
FOLDS: Final = (0.4, 0.6, 0.8, 1.0)  # of the training days: each share trains, what follows it judges
ENOUGH_FOR_TREES: Final = 200  # failing units in training; below it trees learn the accidents


def self_exciting(half_lives_days: Sequence[int], other_weight: float = OTHER_WEIGHT) -> Fit:
    """A Hawkes rate per unit whose kernel is fixed: base * (mu + gain * decayed faults), by Poisson likelihood.

    Only mu and gain are learnt, both above zero: a hundred faults determine two numbers, not twenty. Several
    half-lives are averaged (a heavy-tailed kernel). mu is what a unit without any fault keeps: the shrinkage.
    """

    def excitement(rows: Rows) -> Floats:
        target = matrix(rows, [f"target_decayed_{h}d" for h in half_lives_days]).mean(axis=1)
        other = matrix(rows, [f"other_decayed_{h}d" for h in half_lives_days]).mean(axis=1)
        total: Floats = target + other_weight * other
        return total

    def fit(train: Rows) -> Score:
        x, y = excitement(train), train.label.astype(np.float64)
        base = max(float(y.mean()), 1e-6)

        def loss(theta: Floats) -> tuple[float, Floats]:
            rate = base * (theta[0] + theta[1] * x)
            pull = base * (1 - y / rate)
            return float((rate - y * np.log(rate)).sum()), np.array([pull.sum(), (pull * x).sum()])

        bounds = [(0.05, None), (0.05, None)]
        mu, gain = minimize(loss, [0.5, 0.5], jac=True, bounds=bounds, method="L-BFGS-B").x
        return lambda rows: base * (mu + gain * excitement(rows))

    return fit


def averaged(*members: Fit) -> Fit:
    """Mean log-odds of the members, as a probability. Not ranks: those of the rows of a call look at later days."""

    def fit(train: Rows) -> Score:
        scorers = [member(train) for member in members]
        return lambda rows: expit(np.mean([_log_odds(s(rows)) for s in scorers], axis=0))

    return fit


_RIDGE: Final = logistic(every_column, c=0.0003)
CANDIDATES: Final[dict[str, Fit]] = {
    "self-exciting rate, 30 d": self_exciting((30,)),
    "self-exciting rate, 90 d": self_exciting((90,)),
    "self-exciting rate, 7 to 365 d": self_exciting(HALF_LIVES_DAYS),
    "ridge logistic": _RIDGE,
    "rate + logistic": averaged(self_exciting(HALF_LIVES_DAYS), _RIDGE),
}
# The plain logistic of the baselines may compete too where data are plenty.
TREES: Final[dict[str, Fit]] = {
    "logistic": logistic(every_column, c=1.0),
    "trees": boosted(every_column),
    "rate + trees": averaged(self_exciting(HALF_LIVES_DAYS), boosted(every_column)),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """The winning candidate and every candidate's mean AP over base rate in the folds."""

    name: str
    validated: dict[str, float]


def candidates(train: Rows) -> dict[str, Fit]:
    """Who may compete: trees only where there are faults enough to learn from."""
    failing = len(np.unique(train.unit[train.label]))
    return CANDIDATES | TREES if failing >= ENOUGH_FOR_TREES else CANDIDATES


def choose(train: Rows, horizon_days: float) -> Choice:
    """Nested validation: rolling folds inside the training rows, with the same embargo. Sees no test day."""
    tried = candidates(train)
    lifts: dict[str, list[float]] = {name: [] for name in tried}
    for past, judge in _folds(train, horizon_days):
        for name, fit in tried.items():
            lifts[name].append(metrics.pr_auc(fit(past)(judge), judge.label) / judge.label.mean())
    validated = {name: float(np.mean(lift)) if lift else 0.0 for name, lift in lifts.items()}
    return Choice(max(validated, key=lambda name: validated[name]), validated)


def calibrated(train: Rows, horizon_days: float) -> tuple[Choice, Callable[[Rows], Floats]]:
    """The winning candidate, and what it says as a probability of a label, in 0..1.

    Learnt from `thinned(train)`, as it is evaluated; calibrated on the rolling folds, each scored by what was learnt
    before it, where the misses that were kept stand for all. Raises ValueError where no fold has both labels.
    """
    learnt = thinned(train)
    choice = choose(learnt, horizon_days)
    fit = candidates(learnt)[choice.name]
    stands_for = (~train.label).sum() / (~learnt.label).sum()
    judged = [(_log_odds(fit(past)(judge)), judge.label) for past, judge in _folds(learnt, horizon_days)]
    if not judged:
        raise ValueError(
            "the training days are too few to calibrate on: no fold has faults before it and in it"
        )
    raw, label = (np.concatenate(part) for part in zip(*judged, strict=True))
    calibrator = fit_calibrator(raw, label, np.where(label, 1.0, stands_for))
    score = fit(learnt)
    return choice, lambda rows: calibrator.probability(_log_odds(score(rows)))


def _folds(train: Rows, horizon_days: float) -> Iterator[tuple[Rows, Rows]]:
    """(past, judge) inside the training days, an embargo between; those where either has no label are left out."""
    for low, high in pairwise(np.quantile(np.unique(train.day), FOLDS)):
        past = train.take(train.day + 2 * horizon_days <= low)
        judge = train.take((train.day >= low) & (train.day < high))
        if past.label.any() and judge.label.any():
            yield past, judge


def _log_odds(probability: Floats) -> Floats:
    odds: Floats = logit(np.clip(probability, 1e-9, 1 - 1e-6))
    return odds
