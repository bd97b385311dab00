"""The simulation against the closed forms, and the policy that runs in it against the one that runs."""

import time
from dataclasses import replace

import pytest

import alerting.policy
from alerting.waste import exponential_ettr, product_ettr
from effective_time import policy_in_loop
from effective_time.compare import Case, Spread, compare, share_spread, spread
from effective_time.rates import PRESETS
from effective_time.stack import STACKS, Stack

LLAMA3 = PRESETS["llama3"]
HAND = {(60, 16384): 80.90, (5, 16384): 92.04, (1, 16384): 96.07, (0.5, 16384): 98.00}
"""Effective time in % without a predictor, as the literature's table has it: by C and size."""


@pytest.mark.parametrize("stack", STACKS, ids=lambda s: s.name)
def test_without_a_predictor_it_is_dalys_exponential_form(stack: Stack):
    case = Case(gpus=16_384, rates=LLAMA3, stack=stack)
    found = compare(case, range(8)).without
    exact = exponential_ettr(case.run, case.best_interval_s(foretold=False))
    assert found.low - 0.001 < exact < found.high + 0.001


@pytest.mark.parametrize("stack", STACKS, ids=lambda s: s.name)
def test_with_a_predictor_it_is_the_product_form(stack: Stack):
    case = Case(gpus=16_384, rates=LLAMA3, stack=stack, recall=0.25 / LLAMA3.gpu_share, precision=0.85)
    found, form = compare(case, range(8)).with_, product_ettr(case.run, case.predictor)
    assert abs(found.mean - form) < (0.003 if form > 0.96 else 0.004)


def test_llama_3s_job_stops_every_three_hours():
    found = compare(Case(gpus=16_384, rates=LLAMA3, stack=STACKS[2]), range(8)).mtbf_s
    assert found.low < 3.09 * 3600 < found.high


def test_the_literatures_table_comes_out():
    for stack in STACKS:
        case = Case(gpus=16_384, rates=LLAMA3, stack=stack)
        assert product_ettr(case.run) * 100 == pytest.approx(HAND[stack.checkpoint_s, 16_384], abs=0.01)


def test_the_caps_as_shipped_hold_drains_back_on_a_large_fleet():
    with_caps = Case(
        gpus=16_384, rates=LLAMA3, stack=STACKS[1], recall=0.6, precision=0.85, limits_as_shipped=True
    )
    free = Case(gpus=16_384, rates=LLAMA3, stack=STACKS[1], recall=0.6, precision=0.85)
    assert compare(with_caps, range(2)).avoided_share < 0.97 * compare(free, range(2)).avoided_share


def test_no_other_interval_between_checkpoints_does_as_well_as_young_and_dalys():
    best = Case(gpus=16_384, rates=LLAMA3, stack=STACKS[0], days=30.0)
    best_s = best.best_interval_s(foretold=False)
    at, *others = (
        compare(replace(best, interval_s=best_s * times), range(6)).without.mean
        for times in (1.0, 0.4, 0.6, 1.7, 2.5)
    )
    assert at > max(others)


def test_a_year_of_a_job_on_16384_gpus_takes_seconds_with_the_policy_in_it():
    began = time.monotonic()
    most = Case(gpus=16_384, rates=LLAMA3, stack=STACKS[1], recall=1.0, precision=0.85, days=365.0)
    found = compare(most, [0])
    assert time.monotonic() - began < 60
    assert found.mtbf_s.mean == pytest.approx(3.09 * 3600, rel=0.05)
    assert found.asked_on_risk["drain_now"] > 5


def test_the_interval_of_few_runs_stays_between_nothing_and_all():
    found = share_spread([0.2, 0.9])
    assert (found.low, found.high) == (0.0, 1.0)
    assert found.mean == pytest.approx(0.55)
    assert share_spread([0.5, 0.51]) == spread([0.5, 0.51])


def test_the_policy_in_the_loop_is_the_one_that_runs():
    for name in ("decide", "tick"):
        assert getattr(policy_in_loop, name) is getattr(alerting.policy, name)


def test_a_pair_shares_its_faults_so_the_gain_is_surer_than_either_arm():
    case = Case(gpus=10_000, rates=LLAMA3, stack=STACKS[1], recall=0.4, precision=0.85)
    found = compare(case, range(8))
    assert found.gain.low > 0
    assert found.gain.high - found.gain.low < found.without.high - found.without.low
    for arm, lost in ((found.without, found.lost_without), (found.with_, found.lost_with)):
        assert arm.mean + sum(lost.values()) == pytest.approx(1.0)


def test_a_spread_of_one_value_claims_no_interval():
    assert spread([0.5]) == Spread(0.5, 0.5, 0.5)
