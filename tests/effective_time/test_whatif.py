"""`foreshock whatif`: what it answers."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import foreshock
from alerting.waste import product_ettr
from effective_time import arguments, caps, closed
from effective_time.compare import Case, compare
from effective_time.rates import PRESETS
from effective_time.stack import STACKS
from effective_time.whatif import advise

LLAMA3 = PRESETS["llama3"]
ISSUE = (
    "whatif --gpus 16384 --rates llama3 --checkpoint-s 5 --recovery-s 600 --proactive-checkpoint-s 10 --swap-s 120 "
    "--recall 0.25 --precision 0.85 --json"
)


def case(**given: Any) -> Case:
    plain = Case(gpus=16_384, rates=LLAMA3, stack=STACKS[1], days=10.0, precision=0.85)
    return replace(plain, **given)


def test_the_command_of_the_issue_gives_the_literatures_numbers(capsys: pytest.CaptureFixture[str]):
    assert foreshock.main(ISSUE.split()) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ettr_without"] == pytest.approx(0.9204, abs=0.0001)
    assert told["ettr_with"] == pytest.approx(0.9331, abs=0.0001)
    assert told["mtbf_s"] == pytest.approx(11_135, abs=1)
    assert told["interval_s"] == pytest.approx((2 * 11_135 * 5 / 0.75) ** 0.5, rel=0.001)
    assert told["interval_without_s"] == pytest.approx((2 * 11_135 * 5) ** 0.5, rel=0.001)
    assert told["budget_s"]["0.995"] == pytest.approx(55.7, abs=0.05)
    for arm, form in (("ettr_without", 0.9204), ("ettr_with", 0.9331)):
        seen = told["simulation"][arm]
        assert seen["low"] - 0.002 < form < seen["high"] + 0.002
    assert all(x["origin"] == "given" for name, x in told["inputs"].items() if name != "lead_s")


def test_without_options_it_answers_for_a_middling_stack_and_says_what_it_assumed(ask):
    told = ask()
    assert told["gpus"] == 16_384
    assert told["inputs"]["recovery_s"] == {
        "value": 600.0,
        "origin": "assumed: asynchronous saves, warm spares",
    }
    assert told["inputs"]["recall"]["origin"] == "assumed"


def test_every_second_of_both_arms_is_work_or_a_cause(ask):
    s = ask("--gpus", "4096")["simulation"]
    for arm in ("without", "with"):
        assert s[f"ettr_{arm}"]["mean"] + sum(s[f"lost_share_{arm}"].values()) == pytest.approx(1.0)


def test_a_job_that_is_never_interrupted_has_no_mtbf(ask):
    s = ask("--gpus", "8", "--days", "1")["simulation"]
    assert s["mtbf_s"] == {"mean": None, "low": None, "high": None}
    assert s["ettr_without"]["mean"] > 0.99


def test_a_model_brings_its_measured_curve_and_says_that_it_is_synthetic(ask, tell):
    told = ask("--model")
    predictor = told["predictor"]
    assert predictor["synthetic"] is True
    assert predictor["model_id"].startswith("imminence-")
    assert "SYNTHETIC" in told["inputs"]["recall"]["origin"]
    best = max(predictor["curve"], key=lambda p: p["ettr"])
    assert predictor["threshold"] == best["threshold"]
    assert told["ettr_with"] == pytest.approx(best["ettr"])
    assert told["ettr_with"] > told["ettr_without"]
    assert predictor["recall"] == pytest.approx(predictor["recall_of_gpu_faults"] * LLAMA3.gpu_share)
    assert "(SYNTHETIC, no evidence about real GPUs)" in tell("--model")


def test_precision_of_a_model_follows_from_how_often_faults_come(ask):
    often, seldom = (ask("--model", "--rates", r)["predictor"]["curve"] for r in ("llama3", "rsc2"))
    assert [p["false_per_day"] for p in often] == [p["false_per_day"] for p in seldom]
    assert all(
        a["precision"] > b["precision"] for a, b in zip(often, seldom, strict=True) if b["precision"] < 1
    )


def test_the_alarm_threshold_is_where_a_move_begins_to_pay_or_the_models_best(ask):
    told = ask("--gpus", "1024")
    assert told["alarm_threshold"] == told["precision_breaks_even_at"] < 1
    assert ask("--gpus", "1024", "--swap-s", "100000")["alarm_threshold"] is None
    assert ask("--gpus", "1024", "--no-migrate")["alarm_threshold"] is None
    told = ask("--gpus", "1024", "--model")
    assert told["alarm_threshold"] == told["predictor"]["threshold"] is not None


def test_runs_are_shorter_for_a_huge_job_unless_days_are_given():
    parser = argparse.ArgumentParser()
    arguments.add_whatif(parser)
    told = [arguments.days(parser.parse_args(["--gpus", g])) for g in ("50000", "100000")]
    assert told == [90.0, 30.0]
    assert arguments.days(parser.parse_args(["--gpus", "100000", "--days", "200"])) == 200.0


def test_far_from_first_order_the_closed_form_is_not_to_be_believed(tell):
    for gpus, far in (("100000", True), ("16384", False)):
        assert ("points off here: go by the simulation" in tell("--gpus", gpus, "--days", "3")) is far


def test_the_caps_are_those_of_the_configuration(config: Path, ask, tell):
    assert "caps as shipped (drained_nodes 16" in tell("--recall", "0.5")
    with config.open("a") as file:
        file.write("[watch]\ndrained_nodes = 28\n")
    told = ask("--recall", "0.5")
    assert told["caps"]["configured"] == {"drained_nodes": 28, "predicted_drains": 4}
    assert told["caps"]["shipped"] == {"drained_nodes": 16, "predicted_drains": 4}
    assert "caps of your [watch] (drained_nodes 28" in tell("--recall", "0.5")


def test_alarms_that_do_not_pay_change_nothing():
    wrong = case(gpus=2_048, recall=0.4, precision=0.05)
    found = advise(wrong, range(1))
    assert found.ettr_with == found.ettr_without
    assert found.best_interval_s == found.best_interval_without_s
    assert found.breaks_even_at == pytest.approx(130 / (943.8 / 2 + 600), rel=1e-3)
    assert "drain_now" not in found.simulated.asked_on_risk


def test_without_leave_to_move_a_long_lead_saves_no_work():
    long, short = (case(recall=0.4, migrate=False, lead_s=s) for s in (1800.0, 60.0))
    assert closed.with_(long) == closed.without(long)
    assert closed.without(short) < closed.with_(short) < closed.with_(replace(short, migrate=True))


def test_saves_without_moves_are_simulated_as_the_closed_form_says():
    saving = case(recall=0.9, migrate=False, lead_s=20.0, days=40.0)
    found = compare(saving, range(5))
    gain = closed.with_(saving) - closed.without(saving)
    assert found.gain.low - 0.002 < gain < found.gain.high + 0.002
    assert found.gain.low > 0
    assert "drain_now" not in found.asked_on_risk


def test_faster_recovery_matches_the_predictor_exactly():
    found = advise(case(recall=0.4), range(1))
    match = found.recovery_to_match_s
    assert match is not None
    assert match < 600
    faster = replace(found.case.run, recovery_s=match)
    assert product_ettr(faster) == pytest.approx(found.ettr_with, abs=1e-9)


def test_the_caps_that_it_recommends_hold_nothing_back_and_those_shipped_do():
    free = case(recall=0.9, days=40.0)
    need = caps.needed(free)
    mine = compare(replace(free, caps=(need.drained_nodes, need.predicted_drains)), range(2))
    none, shipped = compare(free, range(2)), advise(free, range(2))
    assert need.drained_nodes > 16
    assert mine.asked_on_risk["drain_now"] > 0.99 * none.asked_on_risk["drain_now"]
    assert shipped.drains_held_back is not None
    assert 0.01 < shipped.drains_held_back < 0.5


def test_most_is_the_quantile_of_a_poisson_number():
    from scipy.stats import poisson

    for mean in (0.01, 1.0, 14.0, 300.0):
        assert caps.most(mean) == poisson.ppf(0.999, mean)


def test_each_seed_of_each_run_ticks_once():
    ticks: list[None] = []
    advise(case(gpus=1024, recall=0.2), range(3), lambda: ticks.append(None))
    assert len(ticks) == 6
