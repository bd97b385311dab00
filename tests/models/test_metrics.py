from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from models import metrics
from models.history import Floats, Rows

SCORED = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=60).filter(
    lambda rows: len({hit for _, hit in rows}) == 2
)


@given(SCORED)
def test_the_areas_agree_with_scikit_learn_ties_included(rows: list[tuple[int, bool]]) -> None:
    score, label = np.array([r[0] for r in rows], np.float64), np.array([r[1] for r in rows])
    assert metrics.roc_auc(score, label) == pytest.approx(roc_auc_score(label, score))
    assert metrics.pr_auc(score, label) == pytest.approx(average_precision_score(label, score))


@given(SCORED, st.integers(0, 1000))
def test_a_resampled_area_is_the_area_of_the_repeated_rows(rows: list[tuple[int, bool]], seed: int) -> None:
    score, label = np.array([r[0] for r in rows], np.float64), np.array([r[1] for r in rows])
    unit = np.arange(len(rows)) % 7
    weights = np.random.default_rng(seed).integers(0, 3, (1, 7)).astype(np.float64)
    times = weights[0, unit].astype(int)
    if not 0 < times[label].sum() < times.sum():
        return
    of = Rows(unit, np.zeros(len(rows)), pl.DataFrame(), label)
    auc, ap = metrics.curves(of, score, weights)
    again_score, again_label = np.repeat(score, times), np.repeat(label, times)
    assert auc[0] == pytest.approx(roc_auc_score(again_label, again_score))
    assert ap[0] == pytest.approx(average_precision_score(again_label, again_score))


def decisions(n_units: int, days: list[float], failing: dict[float, list[int]]) -> Rows:
    unit, day = np.tile(np.arange(n_units), len(days)), np.repeat(days, n_units)
    label = np.array([u in failing.get(d, []) for u, d in zip(unit, day, strict=True)])
    return Rows(unit, day, pl.DataFrame({"nothing": np.zeros(len(unit))}), label)


def test_no_area_is_defined_without_a_fault() -> None:
    rows = decisions(5, [0.0], {})
    assert np.isnan(metrics.curves(rows, np.arange(5.0), np.ones((1, 5)))[0]).all()


def test_a_tie_at_the_edge_of_the_top_share_counts_in_part() -> None:
    rows = decisions(20, [0.0], {0.0: [3]})
    assert metrics.capture(rows, np.zeros(20), 0.05, np.ones((1, 20)))[0] == pytest.approx(0.05)
    assert metrics.capture(rows, -np.arange(20.0), 0.2, np.ones((1, 20)))[0] == 1.0
    assert metrics.capture(rows, np.arange(20.0), 0.2, np.ones((1, 20)))[0] == 0.0


def watch(unit: list[int], day: list[float]) -> metrics.Watch:
    return metrics.Watch(np.array(unit), np.array(day), horizon_days=2.0, gpus_per_unit=1000, n_units=10)


def test_alarms_keep_to_the_budget_and_one_stands_for_the_horizon() -> None:
    """10 units of 1,000 GPUs, 1 alarm a day: unit 9 is the riskiest, but its alarm of day 0 stands on day 1."""
    rows = decisions(10, [0.0, 1.0, 2.0, 3.0], {})
    caught, there, useful, raised = metrics.alarm(
        rows, np.tile(np.arange(10.0), 4), watch([9, 8], [1.5, 0.5]), 1.0
    )
    assert raised == 4.0  # 9, 8, 9, 8
    assert there.sum() == 2
    assert caught[9] == 1.0  # warned on day 0
    assert caught[8] == 0.0  # its alarm came on day 1, too late
    assert useful == 1.0


def test_an_alarm_is_not_raised_before_it_is_saved_up() -> None:
    rows = decisions(10, [0.0, 1.0, 2.0, 3.0], {})
    *_, raised = metrics.alarm(rows, np.tile(np.arange(10.0), 4), watch([9], [3.5]), 0.5)
    assert raised == 2.0


def test_ties_are_drawn_so_that_order_in_the_table_gives_nothing_away() -> None:
    rows = decisions(10, [0.0], {})
    caught, *_ = metrics.alarm(rows, np.zeros(10), watch([0], [0.5]), 1.0)
    assert caught[0] < 0.5


def test_a_fault_of_a_unit_out_of_service_cannot_be_caught_and_is_not_counted() -> None:
    rows = decisions(10, [0.0, 1.0], {}).take(np.arange(20) % 10 != 4)
    assert metrics.n_catchable(rows, watch([4, 5], [0.5, 0.5])) == 1


def noisy(seed: int, strength: float) -> tuple[Rows, Floats]:
    rng = np.random.default_rng(seed)
    rows = decisions(300, [0.0], {0.0: list(range(30))})
    return rows, strength * rows.label + rng.random(300)


@pytest.mark.parametrize(
    ("ours", "theirs", "word"), [(2.0, 0.0, "better"), (0.0, 2.0, "worse"), (1.0, 1.0, "equal")]
)
def test_the_paired_verdict(ours: float, theirs: float, word: str) -> None:
    weights = metrics.resamples(300)
    rows, a = noisy(1, ours)
    _, b = noisy(1 if ours == theirs else 2, theirs)
    assert (
        metrics.verdict(metrics.curves(rows, a, weights)[1], metrics.curves(rows, b, weights)[1])[0] == word
    )


def test_an_interval_over_units_is_wider_than_one_over_rows() -> None:
    """Thirty days of one unit are one witness: resampling rows would make them thirty."""
    rng = np.random.default_rng(3)
    score = rng.random(40)
    days = [float(d) for d in range(30)]
    rows = decisions(40, days, {d: [0, 1, 2] for d in days})
    by_unit = metrics.interval(metrics.curves(rows, np.tile(score, 30), metrics.resamples(40))[0])
    alone = Rows(np.arange(1200), rows.day, rows.x, rows.label)
    by_row = metrics.interval(metrics.curves(alone, np.tile(score, 30), metrics.resamples(1200))[0])
    assert by_unit[1] - by_unit[0] > 2 * (by_row[1] - by_row[0])
