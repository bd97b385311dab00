"""From what was learnt and measured to a model in the registry, with a card that promises no more than was seen."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import polars as pl

from models import cards, drift
from models.imminence import to_state
from models.learning import Learnt
from models.operating_point import OperatingPoint
from models.registry import Registry
from models.serving import HEAD
from models.telemetry_scores import OURS, SERVED_S
from pipeline.features import FEATURE_SET, NAMES
from pipeline.labels import DEFINITION
from pipeline.training_set import WEIGHT

Row = dict[str, Any]


def save(
    registry: Registry,
    learnt: Learnt,
    point: OperatingPoint,
    *,
    dataset: str,
    synthetic: bool,
    results: list[Row],
    at_point: Row,
    curve: pl.DataFrame,
    created: datetime,
    seed: int,
) -> str:
    """The new model's id. `results` and `at_point` are of a test that nothing was learnt or chosen on."""
    served = next(r for r in results if r["model"] == OURS and round(r["horizon_days"] * 86_400) == SERVED_S)
    measured = at_point["at_operating_point"]
    begin, end = learnt.matrix["minute"].min(), learnt.matrix["minute"].max()
    assert isinstance(begin, datetime)
    assert isinstance(end, datetime)
    card = cards.Card(
        head=HEAD, created=created, feature_set=FEATURE_SET, feature_names=NAMES,
        label=DEFINITION.as_dict(), label_digest=DEFINITION.digest, horizon_s=SERVED_S,
        point=cards.OperatingPoint(threshold=point.threshold, chosen_by=point.why, **_promise(measured)),
        data_from=begin, data_until=end + timedelta(minutes=1), n_faults=learnt.faults.height,
        n_rows=learnt.matrix.height, dataset=dataset, synthetic=synthetic,
        metrics={"ap": served["pr_auc"], "roc_auc": served["roc_auc"], "base_rate": served["base_rate"],
                 "n_test_faults": served["n_faults"],
                 **{n: measured[n] for n in ("recall_of_precursor", "false_per_day_per_10k", "median_lead_s")}},
        curve=tuple(cards.CurvePoint(threshold=r["threshold"], **_promise(r)) for r in curve.iter_rows(named=True)),
        reference=_reference(learnt), seed=seed,
    )  # fmt: skip
    return registry.save(to_state(learnt.model), card)


def _promise(row: Row) -> Row:
    return {name: row[name] for name in ("precision", "recall", "alarms_per_day_per_10k")}


def _reference(learnt: Learnt) -> Row:
    """What inputs and risks looked like, for the drift watch: of rows with weights, so of the whole fleet."""
    rows = learnt.matrix[:: max(1, learnt.matrix.height // 500_000)]
    risk = pl.Series(learnt.model.probability(rows, SERVED_S))
    return drift.reference(rows, rows[WEIGHT], risk=risk)
