"""On a small simulated fleet (synthetic); the scorers are planted: who is better is known beforehand."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from collector.errors import ForeshockError
from models import replay as replay_module
from models.replay import last_days, replay
from models.rules import RuleScorer
from models.shadow import NO_ALARM, TOO_FEW, compare, wins
from tests.models.shadow_lake import BUDGETS, END, FAULTS, SINCE, Planted, faults_of, fleet_lake


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory):
    return fleet_lake(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def better(lake):
    knows, guesses = Planted("knows", faults_of(lake)), Planted("guesses")
    return compare(lake, guesses, knows, SINCE, END, thresholds=(0.79, 0.85), budgets=(0.5, *BUDGETS))


def test_one_that_knows_the_faults_is_better_than_one_that_guesses(better):
    assert better["synthetic"] is True
    assert (better["n_faults"], better["gpu_days"]) == (FAULTS, pytest.approx(72, abs=0.01))
    words = {name: v["verdict"] for name, v in better["verdicts"].items()}
    assert set(words.values()) == {"better", NO_ALARM}
    knows = better["other"]["at_own_threshold"]
    assert knows["precision"]["value"] == 1.0
    assert knows["recall"]["value"] > 0.9
    assert knows["false_per_day_per_10k"]["value"] == 0
    assert better["verdicts"]["false_per_day_per_10k"]["difference"] < 0
    won, why = wins(better)
    assert won
    assert "recall at 8000 alarms a day per 10,000 GPUs: better (+" in why


def test_the_other_way_round_it_is_worse_and_does_not_win(lake):
    knows, guesses = Planted("knows", faults_of(lake)), Planted("guesses")
    told = compare(lake, knows, guesses, SINCE, END, thresholds=(0.85, 0.7), budgets=BUDGETS)
    assert told["verdicts"]["precision"]["verdict"] == "worse"
    assert told["verdicts"]["recall_at_budget_9000"]["verdict"] == "worse"
    low, high = told["verdicts"]["recall_at_budget_9000"]["ci95"]
    assert low <= told["verdicts"]["recall_at_budget_9000"]["difference"] <= high < 0
    assert not wins(told)[0]


def test_a_scorer_against_itself_is_equal_with_no_difference(lake):
    told = compare(lake, RuleScorer(), RuleScorer(), SINCE, END, thresholds=(0.5, 0.5), budgets=BUDGETS)
    assert {v["verdict"] for v in told["verdicts"].values()} == {"equal"}
    assert {(v["difference"], *v["ci95"]) for v in told["verdicts"].values()} == {(0.0, 0.0, 0.0)}
    assert told["one"] == told["other"]
    assert told["one"]["at_own_threshold"]["recall"]["value"] > 0
    assert not wins(told)[0]


def test_more_recall_within_the_budget_is_seen_where_precision_is_the_same(lake):
    faults = faults_of(lake)
    half, most = Planted("half", faults, 0.3), Planted("most", faults, 0.6)
    told = compare(lake, half, most, SINCE, END, thresholds=(0.85, 0.85), budgets=(9000.0,))
    assert told["verdicts"]["precision"]["verdict"] == "equal"
    assert told["verdicts"]["recall"]["verdict"] == "better"
    assert 0.1 < told["verdicts"]["recall"]["difference"] < 0.5


def test_too_few_faults_give_no_verdict_and_the_number(lake):
    """The last six hours."""
    knows, guesses = Planted("knows", faults_of(lake)), Planted("guesses")
    since = END - timedelta(hours=6)
    told = compare(lake, guesses, knows, since, END, thresholds=(0.7, 0.85), budgets=BUDGETS)
    assert 0 < told["n_faults"] < 20
    assert {v["verdict"] for v in told["verdicts"].values()} <= {TOO_FEW, NO_ALARM}
    won, why = wins(told)
    assert not won
    assert f"{told['n_faults']} faults on" in why
    assert "20 faults on 10 nodes are needed" in why


def test_a_budget_below_one_alarm_compares_nothing(better):
    assert better["verdicts"]["recall_at_budget_0.5"]["verdict"] == NO_ALARM
    won, why = wins(better | {"budgets": [0.5]})
    assert not won
    assert "recall at 0.5 alarms a day per 10,000 GPUs: the budget allows no alarm" in why


def test_one_without_an_alarm_has_no_precision_and_does_not_win(lake, better):
    knows, guesses = Planted("knows", faults_of(lake)), Planted("guesses")
    told = compare(lake, guesses, knows, SINCE, END, thresholds=(0.7, 0.99), budgets=BUDGETS)
    assert told["verdicts"]["precision"]["verdict"] == "not defined"
    assert told["verdicts"]["recall_at_budget_8000"] == better["verdicts"]["recall_at_budget_8000"]
    assert not wins(told)[0]


def test_where_the_stretch_is_cut_and_what_is_let_go_changes_no_alarm(lake, monkeypatch):
    guesses = Planted("guesses")
    whole = replay(lake, (guesses,), (0.7,), SINCE, END)
    monkeypatch.setattr(replay_module, "_MOST_HELD", 5_000)
    parts = replay(lake, (guesses,), (0.7,), SINCE, END, rows_at_once=50_000)
    over = [r.risky[0].filter(pl.col("risk") >= 0.7).sort("gpu_uuid", "time") for r in (whole, parts)]
    assert over[0].height > 0
    assert over[0].equals(over[1])
    assert parts.risky[0].height < whole.risky[0].height / 5
    assert parts.exposure["gpu_days"].sum() == pytest.approx(72, abs=0.01)
    assert parts.exposure["node_days"].sum() == pytest.approx(18, abs=0.01)


def test_the_last_days_of_a_lake_and_of_an_empty_one(lake, tmp_path):
    from pipeline.lake import Lake

    assert last_days(lake, 1.5) == (SINCE, END)
    with pytest.raises(ForeshockError, match="no rollups"):
        last_days(Lake(tmp_path), 2)
    with pytest.raises(ForeshockError, match="no rollups from"):
        compare(lake, RuleScorer(), RuleScorer(), END, END + timedelta(days=1), thresholds=(0.5, 0.5))
