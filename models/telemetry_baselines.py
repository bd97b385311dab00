"""What the imminence head must beat: one-line rules, what public tools do, and standard learners.

Each learns from the training rows and gives a score per row of any feature matrix; higher is riskier, and only the
order matters. What has no column here is left out and said so: a feature matrix knows neither age nor batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import numpy as np
import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from collector.xid_diff import OUT_OF_SERVICE, opinions
from models.rules import RuleScorer
from pipeline.features import NAMES
from pipeline.signals import Floats

Score = Callable[[pl.DataFrame, pl.DataFrame], Floats]
"""(feature matrix, all events of its fleet) -> one score per row."""
Fit = Callable[[pl.DataFrame, Floats, Floats], Score]
"""(feature matrix, label 0 or 1, weight) of the training rows -> the scorer."""

HISTORY: Final = (
    "fault_events_24h", "fault_events_7d", "fault_events_90d", "hours_since_fault", "precursor_events_24h",
    "application_events_24h", "node_fault_events_24h", "slot_fault_events_90d",
)  # fmt: skip
_REMAP: Final = ("remap_pending", "remap_failure")
_ROWS: Final = 500_000
"""A forest and a straight line learn nothing more from more rows."""


@dataclass(frozen=True, slots=True)
class Column:
    """Rank by one feature."""

    name: str

    def __call__(self, matrix: pl.DataFrame, _events: pl.DataFrame) -> Floats:
        return _values(matrix, [self.name])[:, 0]


@dataclass(frozen=True, slots=True)
class PriorRules:
    """Our own rules from the literature, which serve until there is a model."""

    scorer: RuleScorer = field(default_factory=RuleScorer)

    def __call__(self, matrix: pl.DataFrame, _events: pl.DataFrame) -> Floats:
        risk: Floats = self.scorer.score(matrix)["risk"].to_numpy()
        return risk


@dataclass(frozen=True, slots=True)
class ToolRules:
    """What a public tool does: an Xid of the last 24 h that it answers by taking the node out, or a remap that waits.

    The later the Xid, the higher the score. Most of these codes are the fault itself: such a rule foretells the next
    fault of a GPU that has just failed, not the first.
    """

    codes: tuple[int, ...]

    def __call__(self, matrix: pl.DataFrame, events: pl.DataFrame) -> Floats:
        acted = events.filter(pl.col("kind") == "xid", pl.col("code").is_in(self.codes))
        last = acted.select("gpu_uuid", "time", seen="time").drop_nulls().sort("time")
        rows = matrix.select("gpu_uuid", time=pl.col("minute") + timedelta(minutes=1)).with_row_index()
        joined = rows.sort("time").join_asof(
            last, on="time", by="gpu_uuid", tolerance="24h", allow_exact_matches=False, check_sortedness=False
        )
        hours = (pl.col("time") - pl.col("seen")).dt.total_seconds() / 3600
        recent = joined.select("index", score=1 / (1 + hours)).sort("index")["score"].fill_null(0.0)
        waits: Floats = (np.nan_to_num(_values(matrix, _REMAP)) > 0).sum(axis=1)
        return recent.to_numpy() + waits


@dataclass(frozen=True, slots=True)
class Learnt:
    """A scikit-learn model on some features; `squeezed` are their signed logarithms, with 0 for unknown."""

    model: Any
    names: tuple[str, ...] = NAMES
    squeezed: bool = True

    def __call__(self, matrix: pl.DataFrame, _events: pl.DataFrame) -> Floats:
        x = _values(matrix, self.names)
        x = _squeezed(x) if self.squeezed else x
        if hasattr(self.model, "predict_proba"):
            return np.asarray(self.model.predict_proba(x)[:, 1])
        return -np.asarray(self.model.score_samples(x))


def column(name: str) -> Fit:
    """Learns nothing."""
    return lambda _matrix, _label, _weight: Column(name)


def prior_rules(_matrix: pl.DataFrame, _label: Floats, _weight: Floats) -> Score:
    return PriorRules()


def tool_rules(tool: str) -> Fit:
    """The tool's own codes (collector/xid_matrix.csv). Learns nothing."""
    codes = tuple(o.code for o in opinions() if o.tools.get(tool) in OUT_OF_SERVICE)
    return lambda _matrix, _label, _weight: ToolRules(codes)


def logistic(matrix: pl.DataFrame, label: Floats, weight: Floats) -> Score:
    """L2-regularised logistic regression on every feature."""
    at = _some(label)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=300))
    x = _squeezed(_values(matrix[at], NAMES))
    model.fit(x, label[at], logisticregression__sample_weight=_scaled(weight[at], at, label))
    return Learnt(model)


def history_only(matrix: pl.DataFrame, label: Floats, weight: Floats) -> Score:
    """Small trees that see the events and no telemetry."""
    model = HistGradientBoostingClassifier(
        learning_rate=0.1,
        max_iter=60,
        max_leaf_nodes=8,
        min_samples_leaf=200,
        early_stopping=False,
        random_state=5,
    )
    x = _values(matrix, HISTORY)
    x[:, np.isnan(x).all(axis=0)] = 0  # scikit-learn finds no bins for what nobody ever knew
    return Learnt(model.fit(x, label, weight), HISTORY, squeezed=False)


def isolation_forest(matrix: pl.DataFrame, label: Floats, _weight: Floats) -> Score:
    """How unusual a row is, without labels."""
    at = np.random.default_rng(5).permutation(len(label))[: _ROWS // 10]
    return Learnt(IsolationForest(n_estimators=50, random_state=5).fit(_squeezed(_values(matrix[at], NAMES))))


BASELINES: Final[dict[str, Fit]] = {
    "faults in the last 90 days": column("fault_events_90d"),
    "Xid history only": history_only,
    "gpud's rules": tool_rules("gpud"),
    "NVSentinel's rules": tool_rules("NVSentinel"),
    "prior rules": prior_rules,
    "logistic regression": logistic,
    "isolation forest": isolation_forest,
}
SLOW: Final = ("isolation forest",)
"""Scored on the sample of rows that rankings are judged on, not on every minute: it has no alarms."""


def _some(label: Floats) -> Any:
    """Every row before a fault and some of the others, when there are too many."""
    others = np.flatnonzero(label == 0)
    drawn = np.random.default_rng(5).permutation(others)[:_ROWS]
    return np.sort(np.concatenate([np.flatnonzero(label > 0), drawn]))


def _scaled(weight: Floats, at: Any, label: Floats) -> Floats:
    """The weights of the rows that were drawn, so that they stand for those that were not."""
    share = min(1.0, _ROWS / max(1, int((label == 0).sum())))
    scaled: Floats = np.where(label[at] > 0, weight, weight / share)
    return scaled


def _values(matrix: pl.DataFrame, names: Sequence[str]) -> Floats:
    return matrix.select(names).to_numpy(writable=True).astype(np.float64, copy=False)


def _squeezed(values: Floats) -> Floats:
    x = np.nan_to_num(values)
    squeezed: Floats = np.sign(x) * np.log1p(np.abs(x))
    return squeezed
