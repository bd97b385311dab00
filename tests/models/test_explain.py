from __future__ import annotations

import itertools
import math

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from models.explain import LEAST_SHARE, MOST_REASONS, Explainer, Healthy, healthy, reason_column, reasons
from pipeline.features import NAMES
from pipeline.tables import REASON

COLUMNS = 5


@pytest.fixture(scope="module")
def fitted():
    """Interactions, unknown values, and a split on being unknown."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (4000, COLUMNS))
    x[rng.random(x.shape) < 0.2] = np.nan
    known = np.nan_to_num(x)
    score = known[:, 0] + known[:, 1] * known[:, 2] + 2 * np.isnan(x[:, 3])
    y = score + rng.normal(0, 1, 4000) > 1
    return HistGradientBoostingClassifier(max_iter=20, max_leaf_nodes=8, random_state=0).fit(x, y), x


def test_contributions_sum_to_the_difference_of_the_scores(fitted):
    model, x = fitted
    for reference in (x[5], np.zeros(COLUMNS), np.full(COLUMNS, np.nan)):
        found = Explainer(model, reference).contributions(x[:700])
        difference = model.decision_function(x[:700]) - model.decision_function(reference[None])
        assert found.sum(axis=1) == pytest.approx(difference)
        assert np.abs(difference).max() > 1


def test_they_are_the_shapley_values_of_the_definition(fitted):
    """Every feature put in after every set of others, the sets as Shapley weighs them."""
    model, x = fitted
    reference = np.zeros(COLUMNS)
    for row in x[:5]:
        wanted = np.zeros(COLUMNS)
        for f in range(COLUMNS):
            others = [o for o in range(COLUMNS) if o != f]
            for size in range(COLUMNS):
                for chosen in itertools.combinations(others, size):
                    without = reference.copy()
                    without[list(chosen)] = row[list(chosen)]
                    with_it = without.copy()
                    with_it[f] = row[f]
                    gain = np.diff(model.decision_function(np.stack([without, with_it])))[0]
                    weight = math.factorial(size) * math.factorial(COLUMNS - size - 1)
                    wanted[f] += gain * weight / math.factorial(COLUMNS)
        assert Explainer(model, reference).contributions(row[None])[0] == pytest.approx(wanted)


def test_what_is_as_in_the_reference_carries_nothing(fitted):
    model, x = fitted
    row = x[7].copy()
    row[1] = row[4] = 0
    found = Explainer(model, np.zeros(COLUMNS)).contributions(row[None])[0]
    assert found[[1, 4]].tolist() == [0, 0]
    assert Explainer(model, x[7]).contributions(x[7:8]).tolist() == [[0.0] * COLUMNS]
    assert Explainer(model, x[7]).contributions(x[:0]).shape == (0, COLUMNS)


def all_healthy() -> Healthy:
    return Healthy(np.zeros(len(NAMES)), np.zeros(len(NAMES)), np.full(len(NAMES), 3.0))


def told(**parts: tuple[float, float]) -> list[dict[str, object]]:
    """Reasons of one row of which feature=(value, contribution)."""
    values, contributions = np.zeros(len(NAMES)), np.zeros(len(NAMES))
    for name, (value, contribution) in parts.items():
        values[NAMES.index(name)], contributions[NAMES.index(name)] = value, contribution
    return reasons(values[None], contributions[None], all_healthy())[0]


def test_reasons_are_signed_strongest_first_and_say_what_is_wrong():
    first, second = told(nvlink_crc_3m=(900.0, 3.0), hours_since_fault=(500.0, -1.0))
    assert first == {
        "feature": "nvlink_crc_3m", "value": 900.0, "healthy": "0 to 3 errors", "share": 0.75,
        "text": "NVLink CRC errors are ramping",
    }  # fmt: skip
    assert second["share"] == -0.25
    assert second["text"] == "lowers the risk: the time since its last fault"


def test_a_text_claims_no_more_than_the_value_shows():
    assert told(nvlink_crc_3m=(1.0, 3.0))[0]["text"] == "nvlink_crc_3m is not at its usual value"
    unknown = told(gap_excess_10m=(math.nan, 3.0))[0]
    assert (unknown["value"], unknown["text"]) == (None, "gap_excess_10m is not known")


def test_few_reasons_and_none_where_nothing_carried_the_risk():
    many = told(**{name: (1.0, 1.0 + i) for i, name in enumerate(NAMES[:9])})
    assert len(many) == MOST_REASONS
    assert many[0]["feature"] == NAMES[8]
    assert len(told(gpu_down=(1.0, 1.0), ecc_sbe_60m=(1.0, LEAST_SHARE / 2))) == 1
    assert told() == []


def test_every_feature_has_words():
    for name in NAMES:
        for value in (0.0, 1e9):
            assert told(**{name: (value, 1.0)})[0]["text"]


def test_the_healthy_range_is_weighted_and_unknown_where_unknown_is_usual():
    x = np.full((100, len(NAMES)), np.nan)
    x[:, 0] = np.arange(100)
    x[:10, 1] = 7
    found = healthy(x, np.ones(100))
    assert (found.low[0], found.median[0], found.high[0]) == (0, 49, 98)
    assert (found.low[1], found.high[1]) == (7, 7)
    assert math.isnan(found.median[1])
    assert found.text(1) == "7 errors"
    assert found.text(2) == "no value"
    heavy = healthy(x, np.where(np.arange(100) == 90, 1e6, 1.0))
    assert (heavy.low[0], heavy.median[0], heavy.high[0]) == (90, 90, 90)


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0, 1_234_567, "0 to 1,230,000 errors"),
        (-1.256, 0.00123, "-1.26 to 0.00123 errors"),
        (0, 0, "0 errors"),
    ],
)
def test_numbers_are_short_and_have_no_exponent(low, high, text):
    ones = np.ones(len(NAMES))
    assert Healthy(low * ones, ones, high * ones).text(0) == text


def test_the_column_has_reasons_where_they_were_asked_for():
    column = reason_column(np.array([2, 0]), [told(gpu_down=(1.0, 1.0)), []], 3)
    assert column.dtype == pl.List(REASON)
    assert column.list.len().to_list() == [0, 0, 1]
    assert reason_column(np.empty(0, np.int64), [], 0).len() == 0
