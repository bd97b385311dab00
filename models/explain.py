"""Why a risk is what it is: exact Shapley values of the trees against one healthy GPU, and their words.

With a single reference row the Shapley values of a tree have a closed form per leaf (interventional TreeSHAP,
Lundberg et al., Nature MI 2020): a leaf that is reached with the row's values of the features X and the reference's of
the features R gives each of X + value * (|X|-1)! |R|! / (|X|+|R|)!, and each of R the like with a minus. The values
of a row sum to its raw score less the reference's, exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.rules import RULES
from pipeline.features import FEATURES, NAMES
from pipeline.signals import Floats, Ints
from pipeline.tables import REASON

MOST_REASONS: Final = 5
LEAST_SHARE: Final = 0.03
"""A feature that carried less than this is not told."""
_ROWS_AT_ONCE: Final = 256
_EXACT: Final = 1e-12
_RULES: Final = {r.feature: r for r in RULES}
_WHY: Final = {
    "nvlink_replay_24h": "NVLink replays or recoveries within a day",
    "ecc_sbe_60m": "corrected memory errors within the hour",
    "ecc_sbe_24h": "corrected memory errors within a day",
    "thermal_violation_24h": "throttled by temperature within a day",
    "power_swing_15m": "its power swings",
    "fault_events_90d": "it has failed within 90 days",
    "hours_since_fault": "the time since its last fault",
    "application_events_24h": "Xids that applications cause",
}
"""Where no rule has words for the feature and the table's are a note to the developer."""


@dataclass(frozen=True, slots=True)
class Healthy:
    """What healthy rows look like, one value per feature in the order of NAMES; NaN where null is the usual.

    `low` and `high` are their weighted 1 % and 99 % quantiles, `median` is the reference that reasons compare with.
    """

    low: Floats
    median: Floats
    high: Floats

    def text(self, feature: int) -> str:
        """In words with the unit, e.g. "0 to 3 errors"."""
        low, high = (_number(float(v[feature])) for v in (self.low, self.high))
        unit = FEATURES[feature].unit
        if math.isnan(self.low[feature]):
            return "no value"
        span = low if low == high else f"{low} to {high}"
        return span if unit in ("0/1", "ratio", "code") else f"{span} {unit}"


def healthy(values: Floats, weight: Floats) -> Healthy:
    """Of healthy rows [n, len(NAMES)]; quantiles ignore unknown values, the median counts them."""
    found = np.full((3, values.shape[1]), np.nan)
    for feature, column in enumerate(values.T):
        known = ~np.isnan(column)
        if not known.any():
            continue
        order = np.argsort(column[known], kind="stable")
        ascending, below = column[known][order], np.cumsum(weight[known][order])
        place = np.searchsorted(below, np.array([0.01, 0.5, 0.99]) * below[-1])
        found[:, feature] = ascending[np.minimum(place, ascending.size - 1)]
        if below[-1] < weight.sum() / 2:
            found[1, feature] = np.nan
    return Healthy(*found)


class Explainer:
    """Contributions of features to the raw score (log-odds) of one fitted HistGradientBoostingClassifier.

    Made once per model; `reference` is one row, NaN where unknown.
    """

    def __init__(self, estimator: Any, reference: Floats) -> None:
        # The nodes have no public door; a test holds the sum of these values against decision_function.
        leaves = [leaf for (tree,) in estimator._predictors for leaf in _leaves(tree.nodes)]
        self._value: Floats = np.array([value for value, _ in leaves])
        longest = max((len(path) for _, path in leaves), default=0)
        shape = (len(leaves), longest)
        self._feature: Ints = np.zeros(shape, np.int64)
        self._low, self._high = np.full(shape, -np.inf), np.full(shape, np.inf)
        self._missing = np.ones(shape, np.bool_)
        self._used = np.zeros(shape, np.bool_)
        for leaf, (_, path) in enumerate(leaves):
            for place, (feature, (low, high, missing)) in enumerate(path.items()):
                self._feature[leaf, place], self._used[leaf, place] = feature, True
                self._low[leaf, place], self._high[leaf, place] = low, high
                self._missing[leaf, place] = missing
        self._of_reference = self._passes(reference[None, :])
        self._gain, self._loss = _shapley(longest)
        self._to_feature: Floats = (self._feature.reshape(-1, 1) == np.arange(len(reference))).astype(
            np.float64
        )

    def contributions(self, values: Floats) -> Floats:
        """[n, features] of rows [n, features]: log-odds, signed; a row sums to its raw score less the reference's."""
        parts = [self._batch(values[i : i + _ROWS_AT_ONCE]) for i in range(0, len(values), _ROWS_AT_ONCE)]
        return np.concatenate([np.zeros((0, values.shape[1])), *parts])

    def _batch(self, values: Floats) -> Floats:
        mine, theirs = self._passes(values), self._of_reference
        only_mine, only_theirs = mine & ~theirs, theirs & ~mine
        reached = (mine | theirs).all(axis=2) * self._value
        x, r = only_mine.sum(axis=2), only_theirs.sum(axis=2)
        gain, loss = reached * self._gain[x, r], reached * self._loss[x, r]
        parts = only_mine * gain[:, :, None] - only_theirs * loss[:, :, None]
        out: Floats = parts.reshape(len(values), -1) @ self._to_feature
        return out

    def _passes(self, values: Floats) -> NDArray[np.bool_]:
        """[n, leaves, places]: the value lets the row go this leaf's way. Unused places let everything."""
        value = values[:, self._feature]
        inside = (value > self._low) & (value <= self._high)
        out: NDArray[np.bool_] = np.where(np.isnan(value), self._missing, inside) | ~self._used
        return out


_Path = dict[int, tuple[float, float, bool]]


def _leaves(nodes: Any) -> list[tuple[float, _Path]]:
    """Value of each leaf and, per feature on the way, the interval (low, high] and whether unknown goes there."""
    found: list[tuple[float, _Path]] = []
    todo: list[tuple[int, _Path]] = [(0, {})]
    while todo:
        at, path = todo.pop()
        node = nodes[at]
        if node["is_leaf"]:
            found.append((float(node["value"]), path))
            continue
        feature, threshold = int(node["feature_idx"]), float(node["num_threshold"])
        low, high, missing = path.get(feature, (-math.inf, math.inf, True))
        to_left = bool(node["missing_go_to_left"])
        todo.append((int(node["left"]), path | {feature: (low, min(high, threshold), missing and to_left)}))
        todo.append(
            (int(node["right"]), path | {feature: (max(low, threshold), high, missing and not to_left)})
        )
    return found


def _shapley(most: int) -> tuple[Floats, Floats]:
    """[x, r]: what one of x features gains from a leaf, and what one of r loses."""
    size = most + 1
    gain, loss = np.zeros((size, size)), np.zeros((size, size))
    f = math.factorial
    for x in range(size):
        for r in range(size):
            if x:
                gain[x, r] = f(x - 1) * f(r) / f(x + r)
            if r:
                loss[x, r] = f(x) * f(r - 1) / f(x + r)
    return gain, loss


def reasons(values: Floats, contributions: Floats, usual: Healthy) -> list[list[dict[str, object]]]:
    """REASON dicts per row, the strongest first, at most MOST_REASONS.

    `share` is the contribution over the sum of all absolute ones: above zero it raised the risk. A null value is None.
    """
    total = np.abs(contributions).sum(axis=1, keepdims=True)
    share = np.divide(contributions, total, out=np.zeros_like(contributions), where=total > _EXACT)
    strongest = np.argsort(-np.abs(share), axis=1, kind="stable")[:, :MOST_REASONS]
    return [
        [
            {
                "feature": NAMES[f],
                "value": None if math.isnan(value[f]) else float(value[f]),
                "healthy": usual.text(int(f)),
                "share": float(part[f]),
                "text": _text(int(f), float(value[f]), float(part[f])),
            }
            for f in order
            if abs(part[f]) >= LEAST_SHARE
        ]
        for value, part, order in zip(values, share, strongest, strict=True)
    ]


def reason_column(rows: Ints, found: list[list[dict[str, object]]], height: int) -> pl.Series:
    """List(REASON) of `height` rows: `found` at `rows`, none elsewhere."""
    # gathered, not listed: a hundred thousand empty Python lists take seconds
    place = np.zeros(height, np.int64)
    place[rows] = np.arange(1, len(found) + 1)
    return pl.Series("reasons", [[], *found], dtype=pl.List(REASON)).gather(place)


def _text(feature: int, value: float, share: float) -> str:
    name, rule = NAMES[feature], _RULES.get(NAMES[feature])
    if math.isnan(value):
        words = f"{name} is not known"
    elif rule is None:
        words = _WHY[name] if name in _WHY else FEATURES[feature].why
    elif value >= rule.low[0]:
        words = rule.text
    else:
        words = f"{name} is not at its usual value"
    return words if share > 0 else f"lowers the risk: {words}"


def _number(value: float) -> str:
    """Three significant digits without an exponent."""
    if value == 0 or math.isnan(value):
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{round(value, 2 - math.floor(math.log10(abs(value)))):,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
