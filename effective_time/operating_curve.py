"""A trained model as a predictor: the curve that was measured on its card, carried to the job of a case.

Recall and false alarms per GPU-day are the model's; precision is not: it follows from how often faults come here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from alerting.waste import DAY_S
from collector.errors import ForeshockError
from effective_time import closed
from effective_time.compare import Case
from models.cards import Card

_PER: float = 10_000


@dataclass(frozen=True, slots=True)
class Point:
    """A threshold in this job. `recall` is of faults that GPUs caused; `ettr` by the product form, 0..1."""

    threshold: float
    recall: float
    precision: float
    alarms_per_day: float
    false_per_day: float
    ettr: float


@dataclass(frozen=True, slots=True)
class Chosen:
    """`case` has the predictor of `best`, or none (recall 0) where no threshold pays: `best` is None then."""

    card: Card
    case: Case
    points: Sequence[Point]
    best: Point | None


def chosen(card: Card, case: Case) -> Chosen:
    """The threshold of the card's curve with the highest ETTR. ForeshockError where the card has no curve."""
    led = _led(card, case)
    points = [
        _point(led, p.threshold, p.recall, p.alarms_per_day_per_10k * (1 - p.precision))
        for p in card.curve
        if p.recall is not None and p.precision is not None and p.alarms_per_day_per_10k is not None and p.recall > 0
    ]  # fmt: skip
    if not points:
        raise ForeshockError(
            f"the card of {card.model_id} has no measured operating curve",
            hint="name another model, or give --recall and --precision",
        )
    best = max(points, key=lambda p: p.ettr)
    if best.ettr <= closed.without(led):
        return Chosen(card, replace(led, recall=0.0, precision=1.0), points, None)
    return Chosen(card, at(led, best), points, best)


def at(case: Case, point: Point) -> Case:
    """The case with the predictor of this threshold."""
    return replace(case, recall=point.recall, precision=point.precision)


def shipped(card: Card, case: Case) -> Case:
    """The case with the card's own operating point, at which it serves."""
    p = card.point
    if p.recall is None or p.precision is None or p.alarms_per_day_per_10k is None:
        raise ForeshockError(
            f"the card of {card.model_id} has no measured operating point", hint="--model ID"
        )
    led = _led(card, case)
    return at(led, _point(led, p.threshold, p.recall, p.alarms_per_day_per_10k * (1 - p.precision)))


def _led(card: Card, case: Case) -> Case:
    lead_s = card.metrics.get("median_lead_s")
    return case if lead_s is None else replace(case, lead_s=float(lead_s))


def _point(case: Case, threshold: float, recall: float, false_per_day_per_10k: float) -> Point:
    faults = case.rates.gpu_share * DAY_S / case.run.mtbf_s
    right, wrong = recall * faults, false_per_day_per_10k * case.gpus / _PER
    told = replace(case, recall=recall, precision=right / (right + wrong))
    return Point(threshold, recall, told.precision, right + wrong, wrong, closed.with_(told))
