"""The imminence head: the probability that a GPU fails within 10 min, 1 h and 24 h, from its feature row.

Gradient-boosted trees per horizon that may only learn "more errors are worse", calibrated on nodes that they had not
seen. Trained on a simulated fleet it has learnt that simulator; nothing it says there is evidence about real GPUs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from collector.errors import ForeshockError
from models.calibrate import RELIABILITY, Bools, Calibrator, fit_calibrator, reliability
from models.explain import Explainer, Healthy, reason_column, reasons
from models.imminence_rows import EXPLAINING, FALLING, FOLDS, Rows, chosen_rows, folds, on_grid, usual, values
from pipeline.features import FEATURE_SET, NAMES
from pipeline.signals import Floats

HORIZONS_S: Final = (600, 3600, 86_400)
ENOUGH_EPISODES: Final = 50
"""Fewer faults teach trees their accidents, and leave a recall of 0.9 uncertain by 0.08 and more."""

REASONS_OVER_BASE: Final = 20.0
REASONS_FLOOR: Final = 0.05
"""A risk over the lower of the two has its reasons told: so many base rates, or the watch level of ingest."""
REASONED_ROWS: Final = 1000
"""At most so many rows of a call, the riskiest ones: a fleet that is ill as a whole must not stall its worker."""

_POSITIVE_SHARE: Final = 0.01
"""Of the weight in training. A gradient that has nothing left to gain tells 1 in 2 from 999 in 1,000 no more; at the
true share, 1e-5 and less, the first step overshoots."""
_ORDINARY_SHARE: Final = 0.3
"""Weight of the rows with nothing unusual, positive or not, over that of the others. A weight by features alone leaves
the probability given those features as it is; there is nothing to tell apart among the ordinary ones."""
_POSITIVES_PER_EPISODE: Final = 30
"""Minutes of one fault that are learnt from at most, by lot: so that the least leaf holds several faults, not one."""
_TREES: Final = {
    "learning_rate": 0.06, "max_iter": 250, "max_leaf_nodes": 8, "min_samples_leaf": 60, "l2_regularization": 5.0,
    "early_stopping": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Head:
    """One horizon. `base_rate` is the weighted share of positives, `episodes` the faults it was learnt from.

    `reliability` (models.calibrate.RELIABILITY) is of nodes that the scores were not learnt from, but the same that
    the calibrator's three numbers were fitted to.
    """

    estimator: Any
    calibrator: Calibrator
    base_rate: float
    episodes: int
    reliability: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Model:
    """Heads by horizon in seconds, for the features `names` of the set `feature_set`."""

    feature_set: str
    names: tuple[str, ...]
    heads: Mapping[int, Head]
    usual: Healthy

    def probability(self, matrix: pl.DataFrame, horizon_s: int) -> Floats:
        """Calibrated, one per row. Raises KeyError for a horizon without a head."""
        head = self.heads[horizon_s]
        return head.calibrator.probability(raw(head, values(matrix, self.names)))


def fit(
    matrix: pl.DataFrame,
    labels: Mapping[int, pl.Series],
    *,
    seed: int = 0,
    episodes: Mapping[int, int] | None = None,
) -> Model:
    """Learn a head per horizon (s) of `labels`: Boolean, a value per row of `matrix`, null is left out.

    `matrix` has KEYS and NAMES, and `weight` where it is a sample. `episodes` are the distinct faults behind each
    horizon's positives; without it they are counted as runs of positive minutes of one GPU, too many where a run has
    gaps of three hours. The scores that calibrate come from models of the other nodes; the model that is kept is
    fitted again on all nodes, because half of a few hundred faults is too much to give away. It is a little
    sharper than what was calibrated, so its probabilities err to the cautious side.

    Above 400,000 rows the ordinary ones are thinned, and those that are left weigh the more.
    Raises ForeshockError with fewer than ENOUGH_EPISODES faults, or faults on fewer than FOLDS nodes.
    """
    healthy = usual(matrix, labels[max(labels)], seed)
    heads = {}
    for horizon_s, label in sorted(labels.items()):
        rows = chosen_rows(matrix, label, healthy, seed)
        count = int(rows.episode.max(initial=0)) if episodes is None else episodes[horizon_s]
        _check(rows, horizon_s, count)
        heads[horizon_s] = _fit_head(rows, count, seed)
    return Model(FEATURE_SET, NAMES, heads, healthy)


def raw(head: Head, x: Floats) -> Floats:
    """Log-odds of the trees, on their own base rate."""
    if len(x) == 0:
        return np.empty(0)
    out: Floats = head.estimator.decision_function(x)
    return out


def _check(rows: Rows, horizon_s: int, episodes: int) -> None:
    failing, nodes = len(np.unique(rows.node[rows.label])), len(np.unique(rows.node[~rows.label]))
    if episodes < ENOUGH_EPISODES:
        raise ForeshockError(
            f"{episodes} faults within {horizon_s} s are too few to learn from: {ENOUGH_EPISODES} are needed",
            hint="keep the rules until the lake has more faults, or train on a longer time",
        )
    if failing < FOLDS or nodes < FOLDS:
        raise ForeshockError(
            f"the faults within {horizon_s} s lie on {failing} nodes: {FOLDS} are needed to calibrate on others",
            hint="keep the rules until more nodes have failed",
        )


def _fit_head(rows: Rows, episodes: int, seed: int) -> Head:
    fold = folds(rows, seed)
    unseen = np.empty(len(rows.label))
    for k in range(FOLDS):
        learnt = _boosted(rows.take(fold != k), seed)
        unseen[fold == k] = learnt.decision_function(rows.x[fold == k])
    calibrator = fit_calibrator(unseen, rows.label, rows.weight)
    table = reliability(calibrator.probability(unseen), rows.label, rows.weight)
    base_rate = float(rows.weight @ rows.label / rows.weight.sum())
    return Head(_boosted(rows, seed), calibrator, base_rate, episodes, table)


def _boosted(rows: Rows, seed: int) -> Any:
    """More of anything is never better, but for EXPLAINING, and the time since the last fault: there never worse."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    learnt = rows.take(_at_most(rows, seed))
    weight = learnt.weight.copy()
    ordinary, label = ~learnt.unusual, learnt.label
    if ordinary.any() and learnt.unusual.any():
        weight[ordinary] *= _ORDINARY_SHARE * weight[~ordinary].sum() / weight[ordinary].sum()
    odds = _POSITIVE_SHARE / (1 - _POSITIVE_SHARE)
    weight[label] *= odds * weight[~label].sum() / weight[label].sum()
    rising = [0 if name in EXPLAINING else -1 if name in FALLING else 1 for name in NAMES]
    trees = HistGradientBoostingClassifier(monotonic_cst=rising, random_state=seed, **_TREES)
    return trees.fit(on_grid(learnt.x), label, sample_weight=weight / np.median(weight[label]))


def _at_most(rows: Rows, seed: int) -> Bools:
    """All negatives, and _POSITIVES_PER_EPISODE of each fault's minutes."""
    of_episode = np.bincount(rows.episode)[rows.episode]
    drawn = np.random.default_rng(seed).random(len(rows.label)) < _POSITIVES_PER_EPISODE / of_episode
    return ~rows.label | drawn


class ImminenceScorer:
    """One head of a model behind pipeline.scoring.Scorer. Raises ForeshockError where it does not fit this build."""

    feature_set = FEATURE_SET

    def __init__(self, model: Model, model_id: str, horizon_s: int, threshold: float | None = None) -> None:
        if model.feature_set != FEATURE_SET or model.names != NAMES:
            raise ForeshockError(
                f"model {model_id} was made for the features {model.feature_set}, this build has {FEATURE_SET}",
                hint="foreshock train, or install the version that made the model",
            )
        if horizon_s not in model.heads:
            raise ForeshockError(
                f"model {model_id} has no head for {horizon_s} s",
                hint=f"choose one of {', '.join(map(str, sorted(model.heads)))}",
            )
        self.model_id, self.horizon_s, self.threshold = model_id, horizon_s, threshold
        self._head, self._usual = model.heads[horizon_s], model.usual
        self._explainer = Explainer(self._head.estimator, model.usual.median)
        self._floor = min(REASONS_OVER_BASE * self._head.base_rate, REASONS_FLOOR)

    def score(self, matrix: pl.DataFrame) -> pl.DataFrame:
        """Risk in 0..1 of every row, and the reasons of the risky ones, strongest first."""
        x = values(matrix)
        risk = self._head.calibrator.probability(raw(self._head, x))
        rows = np.flatnonzero(risk >= self._floor)
        rows = rows[np.argsort(-risk[rows], kind="stable")[:REASONED_ROWS]]
        told = reasons(x[rows], self._explainer.contributions(x[rows]), self._usual)
        return pl.DataFrame({"risk": risk, "reasons": reason_column(rows, told, matrix.height)})


def to_state(model: Model) -> dict[str, Any]:
    """Plain dicts of numbers, strings and arrays, and the estimators: no class of ours."""
    healthy = model.usual
    return {
        "feature_set": model.feature_set,
        "names": list(model.names),
        "usual": {"low": healthy.low, "median": healthy.median, "high": healthy.high},
        "heads": {
            str(horizon_s): {
                "estimator": h.estimator,
                "calibrator": [h.calibrator.low, h.calibrator.high, h.calibrator.offset],
                "base_rate": h.base_rate,
                "episodes": h.episodes,
                "reliability": h.reliability.to_dict(as_series=False),
            }
            for horizon_s, h in model.heads.items()
        },
    }


def from_state(state: Mapping[str, Any]) -> Model:
    """The model of `to_state`."""
    heads = {
        int(horizon_s): Head(
            h["estimator"],
            Calibrator(*h["calibrator"]),
            h["base_rate"],
            h["episodes"],
            pl.DataFrame(h["reliability"], schema=RELIABILITY),
        )
        for horizon_s, h in state["heads"].items()
    }
    return Model(state["feature_set"], tuple(state["names"]), heads, Healthy(**state["usual"]))
