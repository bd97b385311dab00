import json
import math
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.cards import Card, CurvePoint, OperatingPoint
from models.drift import DECAY, DRIFT, DRIFTED, STABLE, Recent, decay, psi, reference


def frame(**columns):
    return pl.DataFrame({name: pl.Series(values, dtype=pl.Float64) for name, values in columns.items()})


def verdicts(found):
    return dict(zip(found["feature"], found["verdict"], strict=True))


def index(found, name="x"):
    return found.filter(pl.col("feature") == name)["psi"][0]


def rare(n, n_events, seed):
    """A feature that is zero but in `n_events` of `n` rows."""
    rng = np.random.default_rng(seed)
    values = np.zeros(n)
    values[rng.choice(n, n_events, replace=False)] = rng.integers(1, 50, n_events)
    return values


def test_another_draw_of_the_same_is_stable_and_a_moved_mean_is_not():
    rng = np.random.default_rng(1)
    then = reference(frame(x=rng.normal(60, 5, 20_000)))
    for moved_by, verdict in ((0, "stable"), (1.7, "look"), (5, "drifted")):
        found = psi(then, frame(x=rng.normal(60 + moved_by, 5, 20_000)))
        assert verdicts(found) == {"x": verdict}
    assert found.schema == DRIFT
    assert DRIFTED < index(found) < 2


def test_the_index_is_the_textbook_one_where_there_are_many_rows():
    """Two halves of equal weight become 80 to 20: (0.8-0.5) ln(0.8/0.5) + (0.2-0.5) ln(0.2/0.5)."""
    then = reference(frame(x=[1.0, 2.0] * 500_000))
    found = psi(then, frame(x=[1.0] * 800_000 + [2.0] * 200_000))
    assert index(found) == pytest.approx(0.3 * math.log(1.6) - 0.3 * math.log(0.4), rel=2e-3)


def test_null_zero_and_value_are_three_things():
    half = [0.0, None, 3.0, 4.0] * 2_500
    then = reference(frame(x=half))
    assert then["features"]["x"]["shares"][:2] == [0.25, 0.25]
    assert verdicts(psi(then, frame(x=half))) == {"x": "stable"}
    blind = psi(then, frame(x=[None, None, 3.0, 4.0] * 2_500))
    assert verdicts(blind) == {"x": "drifted"}
    assert (blind["null_share_then"][0], blind["null_share_now"][0]) == (0.25, 0.5)
    assert verdicts(psi(then, frame(x=[math.nan, 0.0, 3.0, 4.0] * 2_500))) == {"x": "stable"}


def test_a_feature_that_is_nearly_always_zero_has_bins_where_it_is_not():
    then = reference(frame(x=rare(200_000, 600, 0)))
    entry = then["features"]["x"]
    assert len(entry["edges"]) >= 5
    assert min(entry["edges"]) > 0
    assert entry["shares"][1] == pytest.approx(0.997)
    assert verdicts(psi(then, frame(x=rare(200_000, 600, 1)))) == {"x": "stable"}


def test_a_rare_event_that_became_ten_times_as_frequent_is_looked_at():
    """The index hardly moves: 0.01 % of the rows cannot."""
    then = reference(frame(x=rare(200_000, 60, 0)))
    for n_events, verdict in ((60, "stable"), (200, "stable"), (900, "look"), (0, "look")):
        found = psi(then, frame(x=rare(200_000, n_events, 1)))
        assert index(found) < STABLE
        assert verdicts(found) == {"x": verdict}
        assert found["nonzero_share_now"][0] == pytest.approx(n_events / 200_000)


@settings(deadline=None, max_examples=150)
@given(
    n_then=st.sampled_from([50, 1_000, 200_000]),
    n_now=st.integers(1, 3_000),
    odd=st.floats(-1e9, 1e9) | st.none() | st.just(math.inf),
)
def test_one_row_never_makes_the_index_large(n_then, n_now, odd):
    then = reference(frame(x=np.zeros(n_then)))
    assert index(psi(then, frame(x=[0.0] * (n_now - 1) + [odd]))) < STABLE


def test_one_row_among_few_of_a_spread_feature_does_not_make_the_index_large():
    rng = np.random.default_rng(3)
    then = reference(frame(x=rng.normal(size=100_000)))
    assert index(psi(then, frame(x=[1e6]))) < STABLE


def test_few_rows_are_called_few_and_not_drifted():
    rng = np.random.default_rng(2)
    then = reference(frame(x=rng.normal(size=10_000)))
    assert verdicts(psi(then, frame(x=rng.normal(9, 1, 60)))) == {"x": "too few rows"}


def test_weights_stand_for_rows_of_the_fleet():
    """A sample that keeps every row of trouble and one in a hundred others tells of the fleet, not of itself."""
    fleet = np.concatenate([np.full(1_000, 5.0), np.zeros(99_000)])
    sample = np.concatenate([np.full(1_000, 5.0), np.zeros(990)])
    weight = pl.Series(np.concatenate([np.ones(1_000), np.full(990, 100.0)]))
    then = reference(frame(x=sample), weight)
    assert then["features"]["x"]["shares"][1] == pytest.approx(0.99)
    assert then["rows"] < len(sample)
    assert verdicts(psi(then, frame(x=fleet))) == {"x": "stable"}
    assert verdicts(psi(then, frame(x=sample), weight)) == {"x": "stable"}
    assert verdicts(psi(then, frame(x=sample))) == {"x": "drifted"}


@pytest.mark.parametrize("weight", [[1.0, 0.0], [1.0, None], [1.0], [1.0, math.nan], [1.0, -1.0]])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(ValueError, match="weight"):
        reference(frame(x=[1.0, 2.0]), pl.Series(weight, dtype=pl.Float64))
    with pytest.raises(ValueError, match="no rows"):
        reference(frame(x=[]))


def test_keys_and_the_weight_are_no_features_and_the_score_is_one_more_row():
    rng = np.random.default_rng(4)
    matrix = frame(x=rng.normal(size=5_000), weight=np.ones(5_000)).with_columns(node=pl.lit("n1"))
    then = reference(matrix, risk=pl.Series(rng.beta(1, 50, 5_000)))
    found = psi(then, matrix, risk=pl.Series(rng.beta(1, 10, 5_000)))
    assert verdicts(found) == {"risk": "drifted", "x": "stable"}
    assert found["feature"][0] == "risk"  # the worst first
    assert set(psi(then, matrix)["feature"]) == {"x"}


def test_a_column_that_is_gone_is_said_and_has_no_index():
    then = reference(frame(x=[0.0] * 2_000, y=[1.0] * 2_000))
    found = psi(then, frame(x=[0.0] * 2_000))
    assert verdicts(found)["y"] == "missing"
    assert index(found, "y") is None


@given(st.lists(st.none() | st.floats(width=32), min_size=1, max_size=300), st.data())
@settings(deadline=None)
def test_any_column_gives_a_finite_index_and_a_reference_that_is_json(values, data):
    then = reference(frame(x=values))
    assert json.loads(json.dumps(then, allow_nan=False)) == then
    assert sum(then["features"]["x"]["shares"]) == pytest.approx(1)
    now = data.draw(st.lists(st.none() | st.floats(width=32), min_size=1, max_size=300))
    found = index(psi(json.loads(json.dumps(then)), frame(x=now)))
    assert math.isfinite(found)
    assert found > -1e-9
    assert index(psi(then, frame(x=values))) < 1e-2


NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
CARD = Card(
    head="imminence", created=NOON, feature_set="a", feature_names=(), label={}, label_digest="", horizon_s=3600,
    point=OperatingPoint(threshold=0.4, chosen_by="t", precision=0.9, recall=0.8, alarms_per_day_per_10k=1.0),
    data_from=NOON, data_until=NOON, n_faults=100, n_rows=1, dataset="d", synthetic=True, metrics={},
    curve=(CurvePoint(threshold=0.2, precision=0.4, recall=0.95),),
)  # fmt: skip


def decayed(recent, **options):
    found = decay(CARD, recent, **options)
    assert found.schema == DECAY
    return dict(zip(found["measure"], found["verdict"], strict=True))


def test_a_model_that_does_what_it_promised_holds():
    recent = Recent(alarms=100, useful=88, faults=110, caught=88, gpu_days=1_000_000)
    assert set(decayed(recent).values()) == {"holds"}
    first = decay(CARD, recent).row(0, named=True)
    assert (first["promised"], first["measured"], first["n"]) == (0.9, 0.88, 100)
    assert first["low"] == pytest.approx(0.7998, abs=1e-4)  # Clopper-Pearson, tables
    assert first["high"] == pytest.approx(0.9364, abs=1e-4)


def test_a_model_that_does_worse_has_decayed():
    assert decayed(Recent(alarms=300, useful=90, faults=200, caught=90, gpu_days=1_000_000)) == {
        "precision": "decayed", "recall": "decayed", "alarms_per_day_per_10k": "decayed",
    }  # fmt: skip


def test_a_handful_of_faults_tells_nothing():
    tell = "too few faults to tell"
    assert decayed(Recent(alarms=3, useful=2, faults=2, caught=1, gpu_days=30_000)) == {
        "precision": tell, "recall": tell, "alarms_per_day_per_10k": tell,
    }  # fmt: skip
    assert set(decayed(Recent(alarms=0, useful=0, faults=0, caught=0, gpu_days=10)).values()) == {tell}


def test_no_alarm_at_all_over_many_faults_is_a_decay_of_recall():
    found = decayed(Recent(alarms=0, useful=0, faults=20, caught=0, gpu_days=1_000_000))
    assert found["recall"] == "decayed"
    assert found["alarms_per_day_per_10k"] == "holds"


def test_another_threshold_is_held_to_its_own_promise():
    recent = Recent(alarms=100, useful=45, faults=50, caught=47, gpu_days=1_000_000)
    assert decayed(recent)["precision"] == "decayed"
    assert decayed(recent, threshold=0.25) == {
        "precision": "holds", "recall": "holds", "alarms_per_day_per_10k": "not promised",
    }  # fmt: skip


def test_counts_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="cannot be"):
        Recent(alarms=1, useful=2, faults=0, caught=0, gpu_days=1)
    with pytest.raises(ValueError, match="cannot be"):
        Recent(alarms=1, useful=1, faults=0, caught=0, gpu_days=0)
