"""Faults, alarms and the production policy around one job; times in seconds since the start."""

import numpy as np
import pytest

from alerting.rules import Rules
from alerting.settings import rules_of
from alerting.waste import Run
from collector.config import WatchConfig
from effective_time.alarms import FALSE, Alarms, Foreteller, foretell
from effective_time.faults import Faults, draw
from effective_time.simulate import Outcome, Setup, simulate

DAY_S = 86_400.0
SETUP = Setup(
    run=Run(mtbf_s=DAY_S, checkpoint_s=10, recovery_s=600), interval_s=1000, nodes_in_job=2, proactive_s=20,
    move_s=100,
)  # fmt: skip


def world(*faults: tuple[float, int], nodes: int = 3, repair_s: float = 3600) -> Faults:
    at = np.array([t for t, _ in faults], float)
    of = np.array([n for _, n in faults], int)
    return Faults(nodes, DAY_S, at, of, np.full(len(at), repair_s), np.ones(len(at), bool), np.zeros(len(at)))


def alarms(*told: tuple[float, int, int], probability: float = 0.9, lasts_s: float = 3600) -> Alarms:
    time_s, node, fault = (np.array(x) for x in zip(*told, strict=True))
    n = len(told)
    return Alarms(time_s.astype(float), node, fault, np.full(n, lasts_s), np.full(n, probability))


def policy(**more: object) -> Rules:
    costs = {"job_recovery_s": 600.0, "job_move_s": 100.0, "job_interval_s": 1000.0, "job_checkpoint_s": 10.0}
    return rules_of(WatchConfig(**({"dry_run": False, "migrate": True} | costs | more)))  # type: ignore[arg-type]


def test_without_faults_only_checkpoints_cost():
    out = simulate(world(), SETUP)
    assert out.ettr == pytest.approx(0.99, abs=1e-3)


def test_an_unforetold_fault_costs_the_work_and_the_recovery():
    out = simulate(world((5500, 0)), SETUP)
    assert (out.interruptions, out.lost_s["lost work"], out.lost_s["recovery"]) == (1, 500, 600)


def test_a_foretold_fault_strikes_an_empty_node():
    out = simulate(world((5500, 0)), SETUP, alarms((5200, 0, 0)), policy())
    assert (out.interruptions, out.avoided, out.lost_s["lost work"]) == (0, 1, 0)
    assert (out.lost_s["alarm checkpoint"], out.lost_s["planned move"]) == (20, 100)
    assert out.asked == {"checkpoint": 1, "drain_now": 1}


def test_an_alarm_that_comes_too_late_to_save_loses_all_the_same():
    out = simulate(world((5510, 0)), SETUP, alarms((5500, 0, 0)), policy())
    assert out.lost_s["lost work"] == 500
    assert out.lost_s["alarm checkpoint"] == 10


def test_a_false_alarm_costs_a_save_and_a_move_and_its_node_comes_back_by_the_policys_own_release():
    out = simulate(world((50_000, 1)), SETUP, alarms((5500, 0, FALSE)), policy())
    assert (out.lost_s["alarm checkpoint"], out.lost_s["planned move"]) == (20, 100)
    assert out.asked["release"] == 1
    assert out.lost_s["no node"] == 0, "the node that was let go took the place of the one that failed"


def test_without_leave_to_move_the_job_saves_stays_and_pays_the_recovery():
    out = simulate(world((6500, 0)), SETUP, alarms((5500, 0, 0)), policy(migrate=False))
    assert (out.interruptions, out.lost_s["alarm checkpoint"], out.lost_s["recovery"]) == (1, 20, 600)
    assert out.lost_s["lost work"] == pytest.approx(980 % 1000), "since the save, which began a new interval"
    assert out.asked["drain"] == 1


def test_a_job_without_a_spare_waits_until_the_node_is_mended():
    out = simulate(world((5500, 0), nodes=2), SETUP)
    assert out.lost_s["no node"] == 3600


def test_an_alarm_that_would_not_pay_moves_nobody():
    out = simulate(world(), SETUP, alarms((5500, 0, FALSE), probability=0.02), policy(alarm_level=0.01))
    assert "drain_now" not in out.asked
    assert out.lost_s["planned move"] == 0


def test_a_dry_run_changes_nothing():
    quiet = simulate(world((5500, 0)), SETUP)
    out = simulate(world((5500, 0)), SETUP, alarms((5000, 0, 0)), policy(dry_run=True))
    assert out.lost_s == quiet.lost_s


def test_a_cap_on_drains_is_the_policys_own_and_mended_nodes_make_room():
    told = alarms((5000, 0, 0), (20_000, 1, 1))
    out = simulate(world((5500, 0), (20_500, 1), nodes=4), SETUP, told, policy(drained_nodes=1))
    assert out.avoided == 2, "the first card was swapped by then"
    held = simulate(
        world((5500, 0), (6500, 1), nodes=4),
        SETUP,
        alarms((5000, 0, 0), (6000, 1, 1)),
        policy(drained_nodes=1),
    )
    assert (held.avoided, held.interruptions) == (1, 1)


def test_the_time_adds_up_in_both_arms_and_the_same_seed_gives_the_same():
    def once() -> tuple[Outcome, Outcome]:
        faults = draw(nodes=70, faults_per_node_day=0.05, days=60, seed=3)
        told = foretell(faults, Foreteller(recall=0.5, precision=0.5, least_lead_s=20), 3)
        setup = Setup(run=SETUP.run, interval_s=1000, nodes_in_job=64, proactive_s=20, move_s=100)
        return simulate(faults, setup), simulate(
            faults, setup, told, policy(alarm_level=0.4, drained_nodes=50, predicted_drains=50)
        )

    plain, ours = once()
    for out in (plain, ours):
        assert out.work_s + sum(out.lost_s.values()) == pytest.approx(out.span_s)
    assert ours.avoided > 0.3 * ours.faults
    assert (plain, ours) == once()


def test_a_better_predictor_foretells_all_that_a_worse_one_does():
    faults = draw(nodes=100, faults_per_node_day=0.1, days=30, seed=1)
    told = [
        set(foretell(faults, Foreteller(recall=r, precision=0.9), 1).fault.tolist()) - {FALSE}
        for r in (0.2, 0.6)
    ]
    assert told[0] < told[1]


def test_a_predictor_is_as_precise_and_as_often_right_as_it_was_told():
    faults = draw(nodes=1000, faults_per_node_day=0.1, days=90, seed=1, gpu_share=0.6)
    told = foretell(faults, Foreteller(recall=0.4, precision=0.8), 1)
    right = (told.fault != FALSE).sum()
    assert right / faults.of_gpu.sum() == pytest.approx(0.4, abs=0.03)
    assert right / len(told) == pytest.approx(0.8, abs=0.03)
    assert faults.of_gpu.mean() == pytest.approx(0.6, abs=0.03)
    assert bool((np.diff(told.time_s) >= 0).all())
