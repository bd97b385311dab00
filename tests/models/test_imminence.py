"""On a small simulated fleet (synthetic) with many faults: enough to see that the parts fit, no claim of skill."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
import skops.io
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from collector.errors import ForeshockError
from models import imminence
from models.imminence import (
    ENOUGH_EPISODES,
    REASONED_ROWS,
    ImminenceScorer,
    fit,
    from_state,
    raw,
    to_state,
)
from models.imminence_rows import EXPLAINING, FALLING, FOLDS, Rows, chosen_rows, folds, on_grid, usual, values
from pipeline.features import EMPTY, FEATURE_SET, NAMES, features
from pipeline.fleet import START, Fleet
from pipeline.fleet_params import FleetParams
from pipeline.labels import faults, label
from pipeline.predict import predictions
from pipeline.scoring import Scorer
from pipeline.signals import INPUTS, KEYS
from pipeline.tables import REASON

HORIZONS_S = (600, 3600)
DAYS = 2
SHARE = 0.02


def fleet_rows(seed: int) -> tuple[pl.DataFrame, dict[int, pl.Series]]:
    """A sampled feature matrix and its labels."""
    params = FleetParams(days=DAYS, fault_rate_factor=1000.0, precursors="high")
    fleet = Fleet(96, seed=seed, params=params)
    events = fleet.events(START, DAYS * 86_400)
    rollups = pl.concat(p.select(*KEYS, *INPUTS) for p in fleet.rollup_parts(START, DAYS * 1440))
    matrix = features(rollups, events)
    until = START + timedelta(days=DAYS)
    found = faults(events)
    told = {h: label(matrix, found, horizon_s=h, until=until).alias(str(h)) for h in HORIZONS_S}
    positive = told[3600].fill_null(value=False)
    drawn = pl.Series(np.random.default_rng(seed).random(matrix.height) < SHARE)
    weight = pl.select(pl.when(positive).then(1.0).otherwise(1 / SHARE).alias("weight")).to_series()
    kept = matrix.with_columns(weight, *told.values()).filter(positive | drawn)
    return kept.drop(map(str, HORIZONS_S)), {h: kept[str(h)] for h in HORIZONS_S}


@pytest.fixture(scope="module")
def training():
    return fleet_rows(1)


@pytest.fixture(scope="module")
def unseen():
    return fleet_rows(2)


@pytest.fixture(scope="module", autouse=True)
def fewer_trees():
    """Fewer trees, faster learnt, on one thread: threads that wait for each other on a busy machine take minutes."""
    with pytest.MonkeyPatch.context() as patched, threadpool_limits(1, "openmp"):
        patched.setitem(imminence._TREES, "max_iter", 30)
        patched.setitem(imminence._TREES, "learning_rate", 0.2)
        yield


@pytest.fixture(scope="module")
def model(training, fewer_trees):
    return fit(*training)


@pytest.fixture
def scorer(model):
    return ImminenceScorer(model, "trees-1", 3600)


def test_faults_of_another_fleet_get_a_higher_risk(model, unseen):
    matrix, labels = unseen
    for horizon_s, told in labels.items():
        judged = told.is_not_null().to_numpy()
        risk, weight = model.probability(matrix, horizon_s), matrix["weight"].to_numpy()
        auc = roc_auc_score(told.drop_nulls().to_numpy(), risk[judged], sample_weight=weight[judged])
        assert auc > 0.65


def test_the_mean_probability_is_about_the_base_rate_of_an_unseen_fleet(model, unseen):
    matrix, labels = unseen
    for horizon_s, told in labels.items():
        judged = told.is_not_null().to_numpy()
        weight = matrix["weight"].to_numpy()[judged]
        predicted = np.average(model.probability(matrix, horizon_s)[judged], weights=weight)
        observed = np.average(told.drop_nulls().to_numpy(), weights=weight)
        assert 0.5 < predicted / observed < 2


def test_the_reliability_table_has_every_row_and_the_base_rate(model, training):
    matrix, labels = training
    for horizon_s, head in model.heads.items():
        judged = labels[horizon_s].is_not_null()
        table = head.reliability
        assert table["weight"].sum() == pytest.approx(matrix["weight"].filter(judged).sum())
        for mean in ("predicted", "observed"):
            assert np.average(table[mean], weights=table["weight"]) == pytest.approx(head.base_rate, rel=0.01)


def test_more_errors_never_lower_the_risk(model, unseen):
    x = values(unseen[0].sample(300, seed=0))
    rng = np.random.default_rng(0)
    for head in model.heads.values():
        before = head.calibrator.probability(raw(head, x))
        for feature, name in enumerate(NAMES):
            if name in FALLING | EXPLAINING:
                continue
            worse = x.copy()
            worse[:, feature] += 10 ** rng.uniform(0, 12, len(x))
            assert (head.calibrator.probability(raw(head, worse)) >= before).all(), name


def test_signs_that_a_fault_today_explains_are_told_from_those_before_a_fault():
    x = np.zeros((4, len(NAMES)))  # quiet, quiet, signs before a fault, what is left of such signs after it
    x[2:, NAMES.index("ecc_sbe_24h")] = 100.0
    x[:3, NAMES.index("hours_since_fault")] = np.nan
    x[3, NAMES.index("fault_events_24h")] = 1.0
    x[3, NAMES.index("hours_since_fault")] = 3.0
    of = np.repeat(np.arange(4), 200)
    label = of == 2
    rows = Rows(x[of], label, np.ones(of.size), of, np.where(label, np.arange(of.size) + 1, 0), of > 1)
    risk = imminence._boosted(rows, 0).decision_function(x)
    assert risk[2] > max(risk[[0, 1, 3]]) + 3


def test_the_same_rows_and_seed_give_the_same_model(model, training, unseen):
    matrix, labels = training
    longest_s = max(labels)
    again = fit(matrix, {longest_s: labels[longest_s]})
    assert again.heads.keys() == {longest_s}
    assert (again.probability(unseen[0], longest_s) == model.probability(unseen[0], longest_s)).all()


def test_the_scorer_is_what_ingest_asks_for(scorer, unseen):
    asked: Scorer = scorer
    matrix = unseen[0]
    scored = asked.score(matrix)
    assert scored.schema == pl.Schema({"risk": pl.Float64(), "reasons": pl.List(REASON)})
    assert scored["risk"].is_between(0, 1).all()
    rows = predictions(matrix, asked)
    assert rows.height == matrix.height
    assert rows["feature_set"].unique().to_list() == [FEATURE_SET]
    assert asked.score(EMPTY).height == 0


def test_risky_rows_have_reasons_and_healthy_ones_none(scorer, model, unseen):
    scored = scorer.score(unseen[0])
    told = scored["reasons"].list.len()
    floor = min(20 * model.heads[3600].base_rate, 0.05)
    risky = scored["risk"] >= floor
    assert 0 < told.gt(0).sum() <= REASONED_ROWS
    assert not told.gt(0).filter(~risky).any()
    if risky.sum() <= REASONED_ROWS:
        assert told.gt(0).filter(risky).all()
    top = scored.sort("risk", descending=True).row(0, named=True)["reasons"]
    assert top[0]["share"] > 0
    assert sum(abs(r["share"]) for r in top) <= 1 + 1e-9


def test_a_fleet_that_is_ill_as_a_whole_has_reasons_for_its_riskiest(scorer, unseen):
    matrix = unseen[0]
    worst = matrix[int(scorer.score(matrix)["risk"].arg_max() or 0)]
    many = pl.concat([worst] * (REASONED_ROWS + 50))
    assert scorer.score(many)["reasons"].list.len().gt(0).sum() == REASONED_ROWS


def test_a_model_comes_back_from_its_state_through_skops(model, unseen):
    packed = skops.io.dumps(to_state(model))
    unknown = skops.io.get_untrusted_types(data=packed)
    assert all(name.split(".")[0] == "sklearn" for name in unknown)
    back = from_state(skops.io.loads(packed, trusted=unknown))
    for horizon_s in HORIZONS_S:
        assert (back.probability(unseen[0], horizon_s) == model.probability(unseen[0], horizon_s)).all()
        assert back.heads[horizon_s].reliability.equals(model.heads[horizon_s].reliability)
    told = [ImminenceScorer(m, "m", 3600).score(unseen[0]) for m in (model, back)]
    assert told[0].equals(told[1])


def test_another_feature_set_and_an_unknown_horizon_are_refused(model):
    with pytest.raises(ForeshockError, match="made for the features") as caught:
        ImminenceScorer(replace(model, feature_set="other"), "m", 3600)
    assert "foreshock train" in caught.value.hint
    with pytest.raises(ForeshockError, match="no head for 60 s") as caught:
        ImminenceScorer(model, "m", 60)
    assert "600, 3600" in caught.value.hint


def test_too_few_faults_are_refused(training):
    matrix, labels = training
    few = dict.fromkeys(HORIZONS_S, ENOUGH_EPISODES - 1)
    with pytest.raises(ForeshockError, match=f"{ENOUGH_EPISODES - 1} faults") as caught:
        fit(matrix, labels, episodes=few)
    assert caught.value.hint
    with pytest.raises(ForeshockError, match="0 faults"):
        fit(matrix, {600: pl.repeat(value=False, n=matrix.height, eager=True)})


def test_faults_on_one_node_are_refused(training):
    matrix, labels = training
    node = matrix.filter(labels[600].fill_null(value=False))["node"][0]
    one = pl.select(
        pl.when(matrix["node"] == node).then(labels[600]).otherwise(pl.lit(value=False))
    ).to_series()
    with pytest.raises(ForeshockError, match="on 1 nodes"):
        fit(matrix, {600: one}, episodes={600: 1000})


def test_a_node_is_in_one_fold_and_every_fold_has_faults(training):
    matrix, labels = training
    rows = chosen_rows(matrix, labels[600], usual(matrix, labels[600], 0), 0)
    fold = folds(rows, 0)
    assert all(len(np.unique(fold[rows.node == n])) == 1 for n in np.unique(rows.node))
    assert np.unique(fold[rows.label]).tolist() == list(range(FOLDS))


def test_an_episode_is_a_run_of_one_gpu_and_ends_with_a_pause_of_three_hours(training):
    matrix, labels = training
    rows = chosen_rows(matrix, labels[600], usual(matrix, labels[600], 0), 0)
    assert rows.label.sum() == labels[600].sum()
    assert ((rows.episode > 0) == rows.label).all()
    positive = matrix.filter(labels[600].fill_null(value=False)).with_columns(
        pl.Series("episode", rows.episode[rows.label])
    )
    assert positive.group_by("episode").agg(pl.col("gpu_uuid").n_unique())["gpu_uuid"].max() == 1
    told = positive.sort("gpu_uuid", "minute").select(
        pause=pl.col("minute").diff().over("gpu_uuid"), begins=pl.col("episode").diff().over("gpu_uuid") != 0
    )
    pauses = told.drop_nulls()
    assert (pauses["begins"] == (pauses["pause"] > timedelta(hours=3))).all()
    assert pauses["begins"].any()
    assert pauses.filter(~pl.col("begins"))["pause"].max() > timedelta(minutes=1)


def test_of_each_fault_about_thirty_minutes_are_learnt_from_at_most():
    """40 faults with a day of minutes, 40 with ten minutes, and as many minutes of none."""
    episode = np.repeat(np.arange(1, 81), [1436] * 40 + [10] * 40)
    episode = np.concatenate([episode, np.zeros(1000, np.int64)])
    n = len(episode)
    rows = Rows(np.zeros((n, 1)), episode > 0, np.ones(n), np.zeros(n, np.int64), episode, episode > 0)
    learnt = np.bincount(episode[imminence._at_most(rows, 0)])
    assert learnt[0] == 1000
    assert (learnt[41:] == 10).all()
    limit = imminence._POSITIVES_PER_EPISODE
    assert learnt[1:41].max() <= limit + 5 * limit**0.5
    assert learnt[1:41].mean() == pytest.approx(limit, rel=0.1)


def test_the_grid_keeps_every_row_on_its_side_of_the_trees(model, training):
    matrix, labels = training
    for horizon_s, head in model.heads.items():
        rows = chosen_rows(matrix, labels[horizon_s], model.usual, 0)
        x = rows.take(imminence._at_most(rows, 0)).x
        moved = on_grid(x)
        changed = (moved != x) & ~np.isnan(x)
        assert (changed & (x != 0)).any(axis=0).sum() > 2
        assert (raw(head, x) == raw(head, moved)).all()
        assert max(len(np.unique(column[~np.isnan(column)])) for column in moved.T) <= 250


def test_a_feature_that_is_never_known_is_learnt_without(training, unseen):
    matrix, labels = training
    blind = matrix.with_columns(pl.lit(float("nan")).alias(NAMES[0]))
    learnt = fit(blind, {600: labels[600]})
    risk = learnt.probability(unseen[0], 600)
    assert np.isfinite(risk).all()
    assert len(np.unique(risk)) > 10
    other = unseen[0].with_columns(pl.lit(7.0).alias(NAMES[0]))
    assert (learnt.probability(other, 600) == risk).all()


def test_thinning_keeps_what_matters_and_the_sums(training, monkeypatch):
    matrix, labels = training
    monkeypatch.setattr("models.imminence_rows._ROWS_AT_MOST", 5000)
    quiet = usual(matrix, labels[600], 0)
    whole = matrix.filter(labels[600].is_not_null())
    rows = chosen_rows(matrix, labels[600], quiet, 0)
    assert len(rows.label) < 0.7 * whole.height
    assert rows.label.sum() == labels[600].sum()
    assert rows.weight.sum() == pytest.approx(whole["weight"].sum(), rel=0.05)
    crc = NAMES.index("nvlink_crc_10m")
    assert quiet.high[crc] == 0
    assert (rows.x[:, crc] > 0).sum() == (whole["nvlink_crc_10m"] > 0).sum()


def test_above_a_bound_the_unusual_negatives_are_thinned_too_and_no_positive(training, monkeypatch):
    matrix, labels = training
    monkeypatch.setattr("models.imminence_rows._ROWS_AT_MOST", 100)
    monkeypatch.setattr("models.imminence_rows._NEGATIVES_AT_MOST", 1000)
    rows = chosen_rows(matrix, labels[600], usual(matrix, labels[600], 0), 0)
    whole = matrix.filter(labels[600].is_not_null())
    assert (~rows.label).sum() == pytest.approx(1000, rel=0.15)
    assert rows.label.sum() == labels[600].sum()
    assert rows.weight.sum() == pytest.approx(whole["weight"].sum(), rel=0.2)
