from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from models import curves, ranking
from models.alarms import Terms, watched
from models.counts import exact_interval
from pipeline.tables import TIME

START = datetime(2030, 1, 1, tzinfo=UTC)
TERMS = Terms(horizon_s=3600, stand_s=600)
RISK = {
    "gpu_uuid": pl.String(),
    "node": pl.String(),
    "time": TIME,
    "risk": pl.Float64(),
    "weight": pl.Float64(),
}
FAULT = {"time": TIME, "node": pl.String(), "gpu_uuid": pl.String(), "class": pl.String(), "repeat": pl.Boolean(),
         "has_precursor": pl.Boolean()}  # fmt: skip


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def risks(*rows: tuple[str, float, float, float]) -> pl.DataFrame:
    """(GPU, minute, risk, weight); the node is named after the GPU."""
    return pl.DataFrame([(g, f"node-{g}", at(m), r, w) for g, m, r, w in rows], schema=RISK, orient="row")


def faulting(*rows: tuple[str, float, str, bool, bool]) -> pl.DataFrame:
    """(GPU, minute, class, repeat, has a precursor)."""
    return pl.DataFrame(
        [(at(m), f"node-{g}", g, c, r, p) for g, m, c, r, p in rows], schema=FAULT, orient="row"
    )


RISKS = risks(("a", 0, 0.9, 1.0), ("b", 0, 0.7, 1.0), ("c", 0, 0.6, 10.0), ("d", 56, 0.9, 1.0))
FAULTS = faulting(
    ("a", 30, "ecc", False, True), ("b", 40, "nvlink", True, True), ("d", 58, "ecc", False, False)
)


def test_the_curve_counts_alarms_with_the_weight_of_their_node() -> None:
    curve = curves.operating_curve(RISKS, FAULTS, 10_000.0, [0.8, 0.5], TERMS)
    assert curve["threshold"].to_list() == [0.5, 0.8]
    low, high = curve.rows(named=True)
    assert (low["alarms"], low["true_alarms"], low["late_alarms"]) == (13.0, 2.0, 1.0)
    assert low["precision"] == pytest.approx(2 / 13)
    assert low["recall"] == pytest.approx(2 / 3)
    assert low["recall_of_precursor"] == 1.0
    assert low["alarms_per_day_per_10k"] == pytest.approx(13)
    assert low["false_per_day_per_10k"] == pytest.approx(11)
    assert low["faults_per_day_per_10k"] == pytest.approx(3)
    assert low["median_lead_s"] == 30 * 60
    assert (high["alarms"], high["precision"], high["recall_of_precursor"]) == (2.0, 0.5, 0.5)


def test_without_an_alarm_precision_is_not_defined_and_the_false_rate_is_zero() -> None:
    row = curves.operating_curve(RISKS, FAULTS, 10.0, [0.99], TERMS).row(0, named=True)
    assert row["precision"] is None
    assert row["median_lead_s"] is None
    assert (row["false_per_day_per_10k"], row["recall"]) == (0.0, 0.0)


def test_the_weight_of_a_fault_counts_in_recall_and_unknown_precursors_stay_unknown() -> None:
    faults = FAULTS.drop("has_precursor").with_columns(weight=pl.Series([4.0, 1.0, 1.0]))
    row = curves.operating_curve(RISKS, faults, 10.0, [0.8], TERMS).row(0, named=True)
    assert row["recall"] == pytest.approx(4 / 6)
    assert row["recall_of_precursor"] is None


def test_alarms_too_near_the_end_are_alarms_but_do_not_make_precision_better() -> None:
    rows = risks(("a", 0, 0.9, 1.0), ("b", 200, 0.9, 1.0))
    row = curves.operating_curve(rows, FAULTS, 10_000.0, [0.5], TERMS, until=at(210)).row(0, named=True)
    assert (row["alarms"], row["judged_alarms"], row["precision"]) == (2.0, 1.0, 1.0)
    one_wrong = pl.concat([rows, risks(("c", 0, 0.9, 1.0))])
    row = curves.operating_curve(one_wrong, FAULTS, 10_000.0, [0.5], TERMS, until=at(210)).row(0, named=True)
    assert (row["precision"], row["false_per_day_per_10k"]) == (0.5, 1.5)
    later = risks(("a", 0, 0.9, 1.0), ("b", 100, 0.9, 1.0))
    assert curves.operating_curve(later, FAULTS, 1.0, [0.5], TERMS, until=at(210))["precision"].item() == 0.5


def exposure(n_sampled: int, days: float = 10.0) -> pl.DataFrame:
    names = [f"node-{i}" for i in range(n_sampled)] + ["node-a", "node-b", "node-d"]
    weight = [10.0] * n_sampled + [1.0] * 3
    table = pl.DataFrame({"node": names, "weight": weight})
    return table.with_columns(gpu_days=pl.lit(8 * days), node_days=pl.lit(days))


def figure(table: pl.DataFrame, name: str) -> dict[str, float]:
    return table.row(by_predicate=pl.col("figure") == name, named=True)


def test_no_false_alarm_where_sampled_bounds_the_rate_by_the_rule_of_three_and_not_by_zero() -> None:
    rows, nodes = RISKS.filter(pl.col("gpu_uuid").is_in(["a", "b"])), exposure(100)
    table = curves.intervals(rows, FAULTS, nodes, [0.5], TERMS)
    false, precision = figure(table, "false_per_day_per_10k"), figure(table, "precision")
    unseen = (
        -np.log(0.025) / (100 * 10.0) * (100 * 10.0 * 10.0)
    )  # per sampled node-day x node-days of all they stand for
    assert (false["value"], false["low"]) == (0.0, 0.0)
    assert false["high"] == pytest.approx(unseen * 10_000 / (100 * 800 + 3 * 80), rel=0.01)
    assert precision["value"] == 1.0
    assert precision["low"] == pytest.approx(2 / (2 + unseen), rel=0.01)


def test_a_false_alarm_where_sampled_gives_an_interval_by_drawing_nodes() -> None:
    rows = risks(*[(str(i), 0, 0.9, 10.0) for i in range(20)], ("a", 0, 0.9, 1.0))
    false = figure(curves.intervals(rows, FAULTS, exposure(100), [0.5], TERMS), "false_per_day_per_10k")
    rate = 200 * 10_000 / (100 * 800 + 240)
    assert false["value"] == pytest.approx(rate)
    spread = np.sqrt(20 * 0.8) / 20 * rate  # binomial: 20 of 100 nodes
    assert false["low"] == pytest.approx(rate - 1.96 * spread, rel=0.25)
    assert false["high"] == pytest.approx(rate + 1.96 * spread, rel=0.15)


def test_a_node_with_many_faults_is_one_witness() -> None:
    many = [(g, m, "ecc", False, True) for g in "ab" for m in range(100, 4000, 200)]
    warned = risks(*[(g, m - 30, 0.9, 1.0) for g, m, *_ in many if g == "a"])
    recall = figure(curves.intervals(warned, faulting(*many), exposure(20), [0.5], TERMS), "recall")
    assert (recall["value"], recall["low"], recall["high"]) == (0.5, 0.0, 1.0)


def test_all_faults_caught_is_not_certainty() -> None:
    warned = RISKS.filter(pl.col("gpu_uuid").is_in(["a", "b"]))
    recall = figure(curves.intervals(warned, FAULTS[:2], exposure(20), [0.5], TERMS), "recall")
    assert (recall["value"], recall["high"]) == (1.0, 1.0)
    assert recall["low"] == pytest.approx(0.025 ** (1 / 2))


def test_a_node_that_was_not_watched_is_refused() -> None:
    with pytest.raises(ValueError, match="node-c"):
        curves.intervals(RISKS, FAULTS, exposure(20), [0.5], TERMS)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"), [(0, 10, 0.0, 0.3085), (10, 10, 0.6915, 1.0), (5, 10, 0.1871, 0.8129)]
)
def test_the_exact_interval_is_the_textbook_one(hits: int, n: int, low: float, high: float) -> None:
    assert exact_interval(hits, n) == pytest.approx((low, high), abs=1e-4)


def test_recall_is_told_per_class_and_for_first_and_repeated_faults() -> None:
    _, told = curves.at_threshold(watched(RISKS, FAULTS, blind_s=3600), FAULTS, 0.5, TERMS)
    of_class = curves.by_class(told)
    assert of_class.select("class", "n", "recall", "recall_of_precursor").rows() == [
        ("ecc", 2, 0.5, 1.0),
        ("nvlink", 1, 1.0, 1.0),
    ]
    assert curves.first_and_repeat(told).select("repeat", "n", "recall").rows() == [
        (False, 2, 0.5),
        (True, 1, 1.0),
    ]
    assert curves.by_class(told.clear()).is_empty()


def test_lead_times_are_weighted_quantiles_of_the_caught() -> None:
    told = pl.DataFrame({"lead_s": [600.0, None, 300.0, 900.0], "weight": [1.0, 9.0, 8.0, 1.0]})
    assert curves.lead_times(told, (0.5, 0.85, 0.95))["lead_s"].to_list() == [300.0, 600.0, 900.0]
    assert curves.lead_times(told[1:2], (0.5,))["lead_s"].to_list() == [None]


SCORED = st.lists(
    st.tuples(st.integers(0, 9), st.booleans(), st.integers(0, 3)), min_size=2, max_size=60
).filter(lambda rows: len({hit for _, hit, _ in rows}) == 2)
NODE_WEIGHT = np.array([1.0, 5.0, 2.0, 1.0])


@given(SCORED)
def test_areas_agree_with_scikit_learn_under_the_weights_of_nodes(rows: list[tuple[int, bool, int]]) -> None:
    risk, label, node = (np.array(column) for column in zip(*rows, strict=True))
    weight = NODE_WEIGHT[node]
    table = pl.DataFrame({"risk": risk / 10, "label": label, "weight": weight, "node": node.astype(str)})
    found = dict(ranking.ranking(table).select("figure", "value").iter_rows())
    assert found["roc_auc"] == pytest.approx(roc_auc_score(label, risk, sample_weight=weight))
    assert found["pr_auc"] == pytest.approx(average_precision_score(label, risk, sample_weight=weight))
    assert found["base_rate"] == pytest.approx(np.average(label, weights=weight))


def many_rows(n: int = 60_000) -> pl.DataFrame:
    rng = np.random.default_rng(2)
    label = rng.random(n) < 0.01
    risk = np.where(label, rng.beta(3, 8, n), rng.beta(1, 40, n))
    return pl.DataFrame(
        {"risk": risk, "label": label, "weight": np.ones(n), "node": (np.arange(n) % 300).astype(str)}
    )


def test_a_score_finer_than_the_levels_loses_nothing_that_matters() -> None:
    rows = many_rows()
    table = ranking.ranking(rows, levels=2000)
    found = dict(table.select("figure", "value").iter_rows())
    assert found["roc_auc"] == pytest.approx(roc_auc_score(rows["label"], rows["risk"]), abs=1e-3)
    assert found["pr_auc"] == pytest.approx(average_precision_score(rows["label"], rows["risk"]), abs=3e-3)
    assert (table["low"] < table["value"]).all()
    assert (table["value"] < table["high"]).all()


def test_rows_without_a_label_are_left_out_and_a_node_has_one_weight() -> None:
    rows = many_rows(2000)
    blank = rows.with_columns(label=pl.lit(None, pl.Boolean()), risk=pl.lit(0.99))
    assert ranking.ranking(pl.concat([rows, blank])).equals(ranking.ranking(rows))
    with pytest.raises(ValueError, match="different weights"):
        ranking.ranking(pl.concat([rows, rows.with_columns(weight=pl.lit(2.0))]))
    assert ranking.ranking(blank)["value"].to_list() == [None, None, None]
    assert ranking.top_capture(blank).is_empty()


def test_the_top_share_is_of_weight_and_a_tie_at_its_edge_counts_in_part() -> None:
    risk = np.arange(100.0)
    rows = pl.DataFrame({"risk": risk, "label": risk >= 98, "weight": 1.0, "node": "n"})
    assert ranking.top_capture(rows, (0.01, 0.02, 1.0))["value"].to_list() == pytest.approx([0.5, 1.0, 1.0])
    tied = rows.with_columns(risk=pl.lit(0.5))
    assert ranking.top_capture(tied, (0.05,))["value"].item() == pytest.approx(0.05)


def test_calibration_compares_what_was_said_with_what_came_by_decades_of_risk() -> None:
    risk = pl.Series([0.0, 0.001, 0.001, 0.5, 0.5])
    label, weight = pl.Series([False, False, None, True, False]), pl.Series([1.0, 99.0, 1.0, 1.0, 3.0])
    table = ranking.calibration(risk, label, weight, bins=6)
    assert table["rows"].to_list() == [1, 1, 2]
    assert table["rate"].to_list() == [0.0, 0.0, 0.25]
    assert table["mean_risk"].to_list() == pytest.approx([0.0, 0.001, 0.5])
    assert ranking.expected_calibration_error(table) == pytest.approx((99 * 0.001 + 4 * 0.25) / 104)
    assert np.isnan(ranking.expected_calibration_error(ranking.calibration(risk[:0], label[:0], weight[:0])))
