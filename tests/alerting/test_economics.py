import math

import pytest

from alerting.economics import (
    COST_FIELDS,
    JobCosts,
    break_even_checkpoint,
    break_even_drain,
    expected_loss_s,
    gpu_hours,
    provenance,
    young_daly_interval_s,
)

COSTS = JobCosts(interval_s=1800, checkpoint_s=60, recovery_s=1200, move_s=300)


def test_the_interval_is_youngs_and_grows_with_recall():
    assert young_daly_interval_s(60, 11_135) == pytest.approx(math.sqrt(2 * 11_135 * 60))
    assert young_daly_interval_s(60, 11_135, recall=0.75) == pytest.approx(
        2 * young_daly_interval_s(60, 11_135)
    )
    with pytest.raises(ValueError, match="recall"):
        young_daly_interval_s(60, 11_135, recall=1.0)


def test_young_daly_wastes_least():
    def waste(interval_s: float) -> float:
        return 60 / interval_s + interval_s / (2 * 11_135)

    best = young_daly_interval_s(60, 11_135)
    assert waste(best) < min(waste(best * 0.9), waste(best * 1.1))


def test_break_even_is_where_cost_and_saving_meet():
    p = break_even_checkpoint(COSTS)
    assert p * COSTS.interval_s / 2 == pytest.approx(COSTS.checkpoint_s)
    q = break_even_drain(COSTS)
    assert expected_loss_s(q, COSTS) == pytest.approx(COSTS.checkpoint_s + COSTS.move_s)
    assert [p, q] == pytest.approx([60 / 900, 360 / 2100])


def test_a_fresh_checkpoint_leaves_only_the_recovery_to_lose():
    assert expected_loss_s(0.5, COSTS, since_checkpoint_s=0.0) == 600.0


def test_work_that_is_known_takes_the_place_of_half_an_interval():
    assert break_even_checkpoint(COSTS, since_checkpoint_s=600) == pytest.approx(60 / 600)
    assert break_even_drain(COSTS, since_checkpoint_s=600) == pytest.approx(360 / 1800)
    assert break_even_checkpoint(COSTS, since_checkpoint_s=0.0) == math.inf  # nothing to save: never


def test_a_cost_that_nobody_measured_is_assumed():
    assert JobCosts().assumed == COSTS.assumed == COST_FIELDS
    assert JobCosts.measured() == JobCosts()
    zero = JobCosts.measured(move_s=0.0)
    assert zero.move_s == 0.0  # zero is a measurement
    assert zero.assumed == COST_FIELDS - {"move_s"}


def test_provenance_leaves_out_a_kind_that_is_empty():
    assert provenance({"U": ("5 s", True)}) == "measured: U 5 s"
    assert provenance({}) == ""


def test_all_gpus_of_a_job_wait():
    assert gpu_hours(270, 1024) == pytest.approx(76.8)


@pytest.mark.parametrize(
    ("senseless", "says"),
    [
        ({"interval_s": 0.0}, "interval_s must be > 0"),
        ({"checkpoint_s": -1.0}, "checkpoint_s must be >= 0"),
        ({"recovery_s": math.nan}, "recovery_s must be >= 0"),
        ({"move_s": math.inf}, "move_s must be >= 0"),
        ({"assumed": frozenset({"luck"})}, "no cost of a job: luck"),
    ],
)
def test_senseless_costs_are_refused(senseless, says):
    with pytest.raises(ValueError, match=says):
        JobCosts(**senseless)
