import math

import pytest

from alerting.economics import (
    JobCosts,
    break_even_checkpoint,
    break_even_drain,
    checkpoint_arithmetic,
    drain_arithmetic,
    expected_loss_s,
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


def test_the_sentence_shows_its_numbers_and_its_assumptions():
    text = checkpoint_arithmetic(0.9, COSTS)
    assert "pays: p 0.90 > C_p/(T/2) = 0.067" in text
    assert "save 810 s of the job for 60 s (assumed: T 1800 s" in text
    assert "does not pay" in drain_arithmetic(0.1, COSTS)
