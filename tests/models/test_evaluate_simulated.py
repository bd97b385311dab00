"""A tiny simulated fleet, end to end (synthetic): the report is whole, and nothing judged was learnt from."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl
import pytest

from collector.errors import ForeshockError
from models import evaluate_simulated
from models.evaluate import finite
from models.evaluate_simulated import sentence
from models.learning import EMBARGO, check_no_leak
from models.progress import Progress
from models.simulated_protocol import known_faults, other_seeds, see, sides, times
from models.telemetry_baselines import BASELINES, SLOW
from models.telemetry_scores import OURS, SERVED_S
from tests.models.tiny_fleet import SETTING, evaluated, lowered_limits

TESTS = ["unseen time", "unseen GPUs", "unseen fleet"]
HORIZONS_DAYS = (600 / 86_400, 3600 / 86_400, 1.0)


@pytest.fixture(scope="module")
def report():
    return evaluated()[0]


def test_there_is_a_row_per_test_horizon_and_model_with_every_key_that_was_asked_for(report):
    rows = report["results"]
    expected = {(t, h, m) for t in TESTS for h in HORIZONS_DAYS for m in (OURS, *BASELINES)}
    assert {(r["test"], r["horizon_days"], r["model"]) for r in rows} == expected
    assert len(rows) == len(expected)
    asked = {"head", "target", "horizon_days", "cut", "model", "roc_auc", "pr_auc", "base_rate",
             "recall_at_budget", "top5_capture", "n_faults", "ci95"}  # fmt: skip
    for row in rows:
        assert asked <= row.keys()
        assert {"roc_auc", "pr_auc", "base_rate", "top5_capture"} <= row["ci95"].keys()
        assert row["head"] == "imminence"
        assert row["baseline"] == (row["model"] != OURS)


def test_alarms_are_judged_at_the_served_horizon_by_all_but_the_slow(report):
    for row in report["results"]:
        judged = row["horizon_days"] == SERVED_S / 86_400 and row["model"] not in SLOW
        assert (row["recall_at_budget"] is not None) == judged
        if judged:
            assert (
                row["recall_at_budget"].keys()
                == row["ci95"]["recall_at_budget"].keys()
                == {"0.1", "0.5", "1.0"}
            )
            recalls = list(row["recall_at_budget"].values())
            assert recalls == sorted(recalls), "more alarms catch no fewer faults"


def test_figures_lie_in_their_intervals_and_are_shares(report):
    measured = 0
    for row in report["results"]:
        for name in ("roc_auc", "pr_auc", "base_rate"):
            low, high = row["ci95"][name]
            if row[name] is not None and low is not None:
                assert 0 <= low <= high <= 1
                assert 0 <= row[name] <= 1
                measured += 1
    assert measured > 100


def test_the_report_is_json_without_nan_and_says_synthetic(report):
    again = json.loads(json.dumps(finite(report), allow_nan=False))
    assert again["synthetic"] is True
    assert again["dataset"] == "simulated"
    assert again["setting"]["fault_rate_factor"] == 100.0
    assert [t["test"] for t in again["tests"]] == TESTS
    assert len(again["label_digest"]) == 16


def test_faults_dealt_to_other_gpus_are_chance(report):
    [control] = report["permuted_label_control"]
    assert control["test"] == "unseen GPUs"
    assert abs(control["roc_auc_mean"] - 0.5) < 0.2


def test_every_part_of_time_is_an_embargo_from_the_one_before():
    parts = times(SETTING.fleet())
    assert parts.train[1] + EMBARGO == parts.choose[0]
    assert parts.choose[1] + EMBARGO == parts.test[0]
    assert parts.test[0] < parts.test[1]


def test_learnt_rows_lie_before_the_cut_on_nodes_that_are_not_held_out():
    _, learnt, _, _ = evaluated()
    fleet = SETTING.fleet()
    assert learnt.matrix.filter(pl.col("minute") >= times(fleet).train[1]).is_empty()
    hidden = {fleet.nodes[i] for i in sides(fleet, SETTING.seed)[1]}
    assert hidden
    assert not hidden & set(learnt.matrix["node"])
    others = {n for n in learnt.matrix["node"].unique() if n.startswith("fleet ")}
    assert {n.split()[1] for n in others} == {str(s) for s in other_seeds(SETTING)}


def test_what_was_learnt_from_cannot_be_judged():
    _, learnt, _, _ = evaluated()
    fleet = SETTING.fleet()
    last = learnt.matrix["minute"].max()
    assert isinstance(last, datetime)
    early = (last + EMBARGO - timedelta(hours=3), last + EMBARGO)
    nodes = sides(fleet, SETTING.seed)[0][:1]
    with pytest.raises(ForeshockError, match="embargo"):
        see(SETTING, fleet, learnt, known_faults(fleet), window=early, among=nodes)
    late = times(fleet).test[0], times(fleet).test[0] + timedelta(hours=2)
    seen = see(SETTING, fleet, learnt, known_faults(fleet), window=late, among=nodes)
    shared = {fleet.nodes[i] for i in nodes} & set(learnt.matrix["node"])
    assert shared
    assert not seen.sample.is_empty()
    with pytest.raises(ForeshockError, match="also learnt from"):
        check_no_leak(learnt, seen, unseen_gpus=True)


def test_faults_know_whether_they_had_a_precursor():
    faults = known_faults(SETTING.fleet())
    assert faults["has_precursor"].null_count() == 0
    assert 0 < faults["has_precursor"].sum() < faults.height
    none = known_faults(type(SETTING)(gpus=64, days=30, precursors="zero", fault_rate_factor=100.0).fleet())
    assert none.height > 10
    assert not none["has_precursor"].any()


def test_a_test_is_told_in_a_sentence_whatever_could_not_be_measured(report):
    told = report["tests"][0]
    unknown = dict.fromkeys(told["at_operating_point"]) | {"faults": 0.0}
    assert "false alarms a day per 10,000 GPUs, median lead" in sentence(told)
    text = sentence({"at_operating_point": unknown})
    assert text == (
        "precision -, recall - of all faults and - of those with a precursor, - false alarms a day per 10,000 GPUs, "
        "median lead -, 0 faults"
    )


def test_the_operating_point_is_on_the_curve_of_other_days():
    report, _, point, frames = evaluated()
    assert report["operating_point"]["threshold"] == point.threshold
    for name in TESTS:
        curve = frames[f"{name}/curve/{OURS}"]
        assert curve["threshold"].is_sorted()
        assert curve["recall"].drop_nulls().is_sorted(descending=True)
        assert isinstance(frames[f"{name}/judged"], pl.DataFrame)


def test_the_sweep_learns_anew_and_tries_all_the_time_that_follows():
    with lowered_limits():
        swept = evaluate_simulated._swept(SETTING, 64, "zero", 0.5, Progress(io.StringIO()))
    fleet = replace(SETTING, seed=SETTING.seed + 2, precursors="zero").fleet()
    since, until = times(fleet).later
    unseen = [fleet.nodes[i] for i in sides(fleet, SETTING.seed + 2)[1]]
    coming = known_faults(fleet).filter(
        pl.col("time").is_between(since, until, closed="left"), pl.col("node").is_in(unseen)
    )
    assert since == times(fleet).train[1] + EMBARGO
    assert until == fleet.start + timedelta(days=SETTING.days - 2)
    assert 0 < swept["at_operating_point"]["faults"] <= coming.height
    assert (swept["precursors"], swept["share"]) == ("zero", 0.0)
    assert swept["gpu_days"] == pytest.approx(len(unseen) * 8 * (until - since) / timedelta(days=1))
