import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.economics import young_daly_interval_s
from alerting.waste import (
    Predictor,
    Run,
    budget_s,
    exponential_ettr,
    false_positive_rate,
    job_mtbf_s,
    product_ettr,
    refined_interval_s,
    refined_waste,
    rsc_ettr,
    rsc_mttf_s,
    trust_after_s,
    trust_all_interval_s,
    trust_all_waste,
    window_interval_s,
    window_time_s,
    window_waste,
    young_daly_waste,
)  # fmt: skip


@pytest.mark.parametrize(("nodes", "hours"), [(2_048, 1.8), (16_384, 0.23), (128, 28.8)])
def test_the_rsc_projection_of_the_time_to_failure(nodes, hours):
    assert rsc_mttf_s(nodes, 6.50 / 1000) / 3600 == pytest.approx(hours, abs=0.05)


def test_the_rsc_estimator_by_hand_and_at_its_best_interval():
    assert rsc_ettr(10_000, 300, 60, 1_000) == pytest.approx((1 - 800 / 10_000) / 1.06)
    best_s = math.sqrt(2 * 60 * 10_000)
    assert rsc_ettr(10_000, 0, 60) == rsc_ettr(10_000, 0, 60, best_s)
    assert rsc_ettr(10_000, 0, 60) > max(
        rsc_ettr(10_000, 0, 60, best_s * 0.8), rsc_ettr(10_000, 0, 60, best_s * 1.25)
    )


RUN = Run(mtbf_s=11_135, checkpoint_s=20, recovery_s=300, downtime_s=60)
WARNS = Predictor(recall=0.4, precision=0.6, proactive_s=40)
RARE, DEAR = Run(mtbf_s=1e6, checkpoint_s=20), Predictor(recall=0.4, precision=0.6, proactive_s=3_000)


def test_young_daly_is_the_first_order_of_the_exact_one():
    run = Run(mtbf_s=1e7, checkpoint_s=20, recovery_s=300, downtime_s=60)
    interval_s = young_daly_interval_s(20, 1e7)
    assert 1 - young_daly_waste(run, interval_s) == pytest.approx(exponential_ettr(run, interval_s), abs=1e-5)


def test_without_an_alarm_every_form_is_youngs():
    none = Predictor(recall=0, precision=1, proactive_s=40)
    plain = young_daly_waste(RUN, 700)
    assert trust_all_waste(RUN, none, 700) == refined_waste(RUN, none, 700) == plain
    assert window_waste(RUN, none, 700, window_s=500) == plain
    assert refined_interval_s(RUN, none) == young_daly_interval_s(20, 11_135)


def test_trust_all_by_hand():
    per_fault_s = 0.6 * 350 + 360 + 0.4 / 0.6 * 40
    assert trust_all_waste(RUN, WARNS, 700) == pytest.approx(20 / 700 + (1 - 20 / 700) * per_fault_s / 11_135)


def test_refined_by_hand_and_never_worse_than_trust_all():
    per_fault_s = 0.6 * 350 + 360 + 0.4 / 0.6 * 40 * (1 - 40 / (2 * 0.6 * 700))
    assert refined_waste(RUN, WARNS, 700) == pytest.approx(20 / 700 + (1 - 20 / 700) * per_fault_s / 11_135)
    assert all(refined_waste(RUN, WARNS, t) <= trust_all_waste(RUN, WARNS, t) for t in range(30, 5_000, 90))
    assert trust_after_s(WARNS) == pytest.approx(40 / 0.6)
    assert refined_waste(RUN, WARNS, 50) == young_daly_waste(RUN, 50)  # no alarm is heeded so soon


def test_windows_by_hand():
    inside_s = 0.4 * 600 + 0.6 * 300
    assert window_time_s(WARNS, window_s=600) == pytest.approx(inside_s)
    assert window_interval_s(WARNS, window_s=600) == pytest.approx(math.sqrt(2 * 40 * inside_s / 0.6))
    base_s = 0.6 * 350 + 360 + 0.4 / 0.6 * 40
    once = window_waste(RUN, WARNS, 700, window_s=600)
    inner = window_waste(RUN, WARNS, 700, window_s=600, inner_s=200)
    share = 1 - 20 / 700
    assert once == pytest.approx(1 - share + share * (base_s + 0.4 * 300) / 11_135)
    inner_s = 0.4 / 0.6 * inside_s * 40 / 200 + 0.4 * 200 / 2
    assert inner == pytest.approx(1 - share + share * (base_s + inner_s) / 11_135)
    assert window_waste(RUN, WARNS, 700, window_s=0) == trust_all_waste(RUN, WARNS, 700)  # exact dates


@pytest.mark.parametrize(
    ("waste", "best_s"),
    [
        (lambda t: trust_all_waste(RUN, WARNS, t), trust_all_interval_s(RUN, WARNS)),
        (lambda t: refined_waste(RARE, DEAR, t), refined_interval_s(RARE, DEAR)),
        (lambda t: window_waste(RUN, WARNS, 700, window_s=600, inner_s=t),
         window_interval_s(WARNS, window_s=600)),
        (lambda t: -product_ettr(RUN, WARNS, t), young_daly_interval_s(20, 11_135, 0.4)),
    ],
)  # fmt: skip
def test_each_best_interval_wastes_least(waste, best_s):
    assert waste(best_s) < min(waste(best_s * 0.9), waste(best_s * 1.1))


def test_the_refined_interval_by_hand():
    assert refined_interval_s(RARE, DEAR) == pytest.approx(math.sqrt((4e7 - 0.4 * 5_000**2) / 0.6))


def test_alarms_that_cost_more_than_an_interval_are_not_heeded():
    dear = Predictor(recall=0.9, precision=0.05, proactive_s=600)
    assert refined_interval_s(RUN, dear) == young_daly_interval_s(20, 11_135)
    with pytest.raises(ValueError, match="no interval helps"):
        trust_all_interval_s(RUN, Predictor(recall=0.9, precision=0.01, proactive_s=600))


@pytest.mark.parametrize(
    "senseless",
    [
        lambda: Run(mtbf_s=0, checkpoint_s=1),
        lambda: Run(mtbf_s=math.nan, checkpoint_s=1),
        lambda: Run(mtbf_s=1, checkpoint_s=-1),
        lambda: Predictor(recall=1.1, precision=0.5),
        lambda: Predictor(recall=0.5, precision=0),
        lambda: job_mtbf_s(0, 1),
        lambda: budget_s(1, 1.5),
        lambda: young_daly_waste(RUN, 10),
        lambda: product_ettr(RUN, WARNS, 0),
        lambda: product_ettr(RUN, Predictor(recall=1, precision=1)),
        lambda: refined_interval_s(RUN, Predictor(recall=1, precision=1)),
        lambda: window_waste(RUN, WARNS, 700, window_s=600, offset_s=601),
        lambda: window_waste(RUN, WARNS, 700, window_s=600, inner_s=0),
        lambda: rsc_ettr(0, 1, 1, 1),
        lambda: false_positive_rate(1, 0.5, 0.5),
    ],
)
def test_senseless_numbers_are_refused(senseless):
    with pytest.raises(ValueError, match=r"must|interval"):
        senseless()


@given(
    st.builds(Run, mtbf_s=st.floats(1, 1e9), checkpoint_s=st.floats(0, 1e6), recovery_s=st.floats(0, 1e6)),
    st.builds(Predictor, recall=st.floats(0, 1), precision=st.floats(0.01, 1), proactive_s=st.floats(0, 1e6)),
    st.floats(0.001, 1e9),
)
def test_a_share_of_time_is_a_share(run, warns, work_s):
    interval_s = run.checkpoint_s + work_s
    shares = [
        exponential_ettr(run, interval_s),
        young_daly_waste(run, interval_s),
        trust_all_waste(run, warns, interval_s),
        refined_waste(run, warns, interval_s),
        window_waste(run, warns, interval_s, window_s=600),
        product_ettr(run, warns, interval_s),
    ]
    assert all(0 <= share <= 1 for share in shares)
