from __future__ import annotations

import json

import polars as pl
import pytest

from collector.errors import ForeshockError
from models.operating_point import Costs, by_budget, by_cost

CURVE = pl.DataFrame({
    "threshold": [0.1, 0.3, 0.5, 0.7, 0.9],
    "precision": [0.1, 0.5, 0.9, 1.0, None],
    "recall": [0.9, 0.8, 0.6, 0.6, 0.0],
    "alarms_per_day_per_10k": [27.0, 4.8, 2.0, 1.8, 0.0],
    "false_per_day_per_10k": [24.3, 2.4, 0.2, 0.0, 0.0],
    "faults_per_day_per_10k": [3.0] * 5,
})  # fmt: skip


def test_a_budget_buys_the_most_recall_it_can() -> None:
    assert by_budget(CURVE, 5.0).threshold == 0.3
    assert by_budget(CURVE, 25.0, of="false").threshold == 0.1


def test_among_equals_the_highest_threshold_is_chosen() -> None:
    point = by_budget(CURVE, 2.0)
    assert point.threshold == 0.7
    assert point.row["precision"] == 1.0


def test_the_choice_says_why_and_goes_into_a_card() -> None:
    point = by_budget(CURVE, 0.5, of="false")
    assert point.why == (
        "most recall (0.600) with at most 0.5 false alarms a day per 10,000 GPUs (measured 0), precision 1.000"
    )
    assert json.loads(json.dumps(point.as_dict()))["row"]["alarms_per_day_per_10k"] == 1.8


def test_a_budget_that_only_silence_keeps_to_is_met_by_silence_and_says_so() -> None:
    point = by_budget(CURVE, 0.1)
    assert (point.threshold, point.row["recall"]) == (0.9, 0.0)
    assert "recall (0.000)" in point.why
    assert "precision not defined" in point.why


def test_a_budget_that_nothing_keeps_to_is_refused_with_what_to_do() -> None:
    with pytest.raises(ForeshockError, match="no threshold") as caught:
        by_budget(CURVE[:2], 1.0)
    assert caught.value.hint


def cost(threshold: float, costs: Costs) -> float:
    row = CURVE.row(by_predicate=pl.col("threshold") == threshold, named=True)
    caught = 3.0 * row["recall"]
    return float(
        row["false_per_day_per_10k"] * costs.false_drain
        + (3.0 - caught) * costs.missed_fault
        - caught * costs.saved_per_caught
    )


@pytest.mark.parametrize(
    ("costs", "threshold"),
    [(Costs(1.0, 100.0, 0.0), 0.1), (Costs(10.0, 100.0, 0.0), 0.3), (Costs(100.0, 50.0, 50.0), 0.7)],
)
def test_the_dearer_a_false_drain_the_higher_the_threshold(costs: Costs, threshold: float) -> None:
    point = by_cost(CURVE, costs)
    assert point.threshold == threshold
    assert point.row["cost_gpu_h_per_day_per_10k"] == pytest.approx(cost(threshold, costs))
    assert cost(threshold, costs) <= min(cost(t, costs) for t in CURVE["threshold"])


def test_where_no_alarm_pays_none_is_chosen() -> None:
    with pytest.raises(ForeshockError, match="no threshold of the curve pays"):
        by_cost(CURVE[:2], Costs(1000.0, 1.0, 1.0))
    with pytest.raises(ForeshockError):
        by_cost(CURVE, Costs(1.0, 0.0, 0.0))


def test_a_cost_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        Costs(-1.0, 0.0, 0.0)
