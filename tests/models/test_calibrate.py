from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from models.calibrate import RELIABILITY, Calibrator, fit_calibrator, reliability


def drawn(slope: float, offset: float, seed: int = 0, size: int = 100_000):
    rng = np.random.default_rng(seed)
    raw = rng.normal(0, 2, size)
    return raw, rng.random(size) < expit(slope * raw + offset)


def test_the_probability_is_found_again_that_the_labels_were_drawn_with():
    raw, label = drawn(0.5, -4)
    found = fit_calibrator(raw, label, np.ones(len(raw)))
    at = np.linspace(-4, 4, 9)
    assert found.probability(at) == pytest.approx(expit(0.5 * at - 4), rel=0.2)


def test_the_mean_probability_is_the_weighted_base_rate():
    raw, label = drawn(1, -3)
    weight = np.where(label, 1.0, 5000.0)
    found = fit_calibrator(raw, label, weight)
    base_rate = weight @ label / weight.sum()
    assert base_rate < 3e-5
    assert np.average(found.probability(raw), weights=weight) == pytest.approx(base_rate, rel=1e-3)


def test_a_row_that_stands_for_ten_is_ten_rows():
    raw, label = drawn(1, -3, size=5000)
    ten = fit_calibrator(np.repeat(raw, 10), np.repeat(label, 10), np.ones(50_000))
    one = fit_calibrator(raw, label, np.full(5000, 10.0))
    assert (one.low, one.high, one.offset) == pytest.approx((ten.low, ten.high, ten.offset), rel=1e-6)


def test_scores_that_say_the_opposite_still_rise():
    raw, label = drawn(-1, -3)
    found = fit_calibrator(raw, label, np.ones(len(raw)))
    assert found.low > 0
    assert found.high > 0


@settings(deadline=None)
@given(
    st.floats(0.05, 5),
    st.floats(0.05, 5),
    st.floats(-12, 5),
    st.lists(st.floats(-25, 25), min_size=2, max_size=9),
)
def test_it_is_strictly_monotone_and_never_certain(low, high, offset, scores):
    calibrator = Calibrator(low, high, offset)
    ascending = np.unique(np.round(scores, 3))
    assert (np.diff(calibrator.logit(ascending)) > 0).all()
    p = calibrator.probability(ascending)
    assert ((p > 0) & (p <= 1)).all()
    assert expit(calibrator.logit(ascending)) == pytest.approx(p)


def test_the_reliability_table_shows_what_is_untrue():
    label = np.arange(10_000) % 100 == 0
    true = reliability(np.full(10_000, 0.01), label, np.ones(10_000))
    assert true.schema == RELIABILITY
    assert true.row(0, named=True) == {
        "low": 0.01, "high": 0.03, "predicted": pytest.approx(0.01), "observed": pytest.approx(0.01),
        "weight": 10_000, "positives": 100,
    }  # fmt: skip
    weighted = reliability(np.full(10_000, 0.5), label, np.where(label, 1.0, 10.0))
    assert weighted["observed"].to_list() == [pytest.approx(100 / 99_100)]


def test_every_probability_has_its_place_in_the_table():
    p = np.array([0.0, 1e-9, 1e-6, 0.35, 0.999, 1.0])
    table = reliability(p, np.zeros(6, bool), np.ones(6))
    assert table["weight"].sum() == 6
    assert ((table["low"] <= table["predicted"]) & (table["predicted"] <= table["high"])).all()
