"""What a model must beat: one-line rules and standard learners, behind the interface of our own model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import polars as pl
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from models.history import Floats, Rows

Score = Callable[[Rows], Floats]
Fit = Callable[[Rows], Score]  # learns from rows of the past and returns the scorer; higher is riskier

STATIC: Final = ("batch", "column", "row", "cage", "slot", "node", "age_days")


def matrix(rows: Rows, columns: Sequence[str]) -> Floats:
    out: Floats = rows.x.select(columns).to_numpy().astype(np.float64)
    return out


def rule(*columns: str) -> Fit:
    """Rank by the sum of the columns; learns nothing."""
    return lambda _train: lambda rows: matrix(rows, columns).sum(axis=1)


def logistic(columns: Callable[[Sequence[str]], list[str]], c: float = 0.1) -> Fit:
    """L2-regularised logistic regression on log(1 + x), standardised."""
    return _standardised(columns, LogisticRegression(C=c, max_iter=500))


def perceptron(columns: Callable[[Sequence[str]], list[str]]) -> Fit:
    """A small neural network on log(1 + x), standardised."""
    return _standardised(columns, MLPClassifier((16,), alpha=1.0, early_stopping=True, random_state=5))


def _standardised(columns: Callable[[Sequence[str]], list[str]], learner: Any) -> Fit:
    def fit(train: Rows) -> Score:
        chosen = columns(train.x.columns)
        model = make_pipeline(FunctionTransformer(np.log1p), StandardScaler(), clone(learner))
        return _probability(model.fit(matrix(train, chosen), train.label), chosen)

    return fit


def _probability(model: Any, chosen: list[str]) -> Score:
    def score(rows: Rows) -> Floats:
        risk: Floats = model.predict_proba(matrix(rows, chosen))[:, 1]
        return risk

    return score


def boosted(columns: Callable[[Sequence[str]], list[str]]) -> Fit:
    """Small, strongly regularised trees."""

    def fit(train: Rows) -> Score:
        chosen = columns(train.x.columns)
        model = HistGradientBoostingClassifier(
            learning_rate=0.05, max_iter=120, max_leaf_nodes=8, min_samples_leaf=200, l2_regularization=20.0,
            early_stopping=False, random_state=5,
        ).fit(matrix(train, chosen), train.label)  # fmt: skip
        return _probability(model, chosen)

    return fit


def agreement(*members: Fit) -> Fit:
    """A unit's worst place among its day's, over the members: in the top K of all of them, or not above.

    Source: the parallel ensemble of Liu et al., Predicting GPU Failures With High Precision Under Deep Learning
    Workloads, SYSTOR'23 (K is left to the alarm budget here).
    """

    def fit(train: Rows) -> Score:
        scorers = [member(train) for member in members]
        return lambda rows: np.min([_places(score(rows), rows.day) for score in scorers], axis=0)

    return fit


def _places(score: Floats, day: Floats) -> Floats:
    """The share of the day's units that each is at or above: other days are not looked at."""
    of = pl.DataFrame({"day": day, "score": score})
    place: Floats = (
        of.select(pl.col("score").rank().over("day") / pl.len().over("day")).to_series().to_numpy()
    )
    return place


def isolation_forest(train: Rows) -> Score:
    """How unusual a history is, without labels."""
    chosen = history_columns(train.x.columns)
    forest = IsolationForest(n_estimators=50, random_state=5).fit(matrix(train, chosen))
    return lambda rows: -np.asarray(forest.score_samples(matrix(rows, chosen)))


def every_column(columns: Sequence[str]) -> list[str]:
    return list(columns)


def history_columns(columns: Sequence[str]) -> list[str]:
    return [c for c in columns if c not in STATIC]


def static_columns(columns: Sequence[str]) -> list[str]:
    return [c for c in columns if c in STATIC]


def class_columns(kinds: Sequence[str]) -> Callable[[Sequence[str]], list[str]]:
    """Only how much of each class of fault there was: what a table of Xid counts knows."""
    return lambda columns: [c for c in columns if c in {f"class_{k}_90d" for k in kinds}]
