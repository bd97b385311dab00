"""Baselines on planted rows: they learn what was planted, order rows, and never look at a later event."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models.rules import RuleScorer
from models.telemetry_baselines import BASELINES, HISTORY, SLOW, Column, ToolRules, tool_rules
from pipeline.features import NAMES
from pipeline.tables import EVENTS

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
NO_EVENTS = pl.DataFrame(schema=EVENTS)
N = 3000


def matrix(seed: int = 0, n: int = N, **columns: object) -> pl.DataFrame:
    """Rows of drawn features, unless `columns` names them."""
    rng = np.random.default_rng(seed)
    drawn = {name: rng.poisson(0.3, n).astype(float) for name in NAMES}
    keys = {
        "gpu_uuid": [f"GPU-{i % 50}" for i in range(n)], "node": [f"n{i % 10}" for i in range(n)],
        "minute": [NOON + timedelta(minutes=i // 50) for i in range(n)],
    }  # fmt: skip
    return pl.DataFrame(keys | drawn | columns)


def xids(*told: tuple[str, float, int]) -> pl.DataFrame:
    """(GPU, minutes after noon, code)."""
    rows = [
        {"gpu_uuid": g, "time": NOON + timedelta(minutes=m), "kind": "xid", "code": c} for g, m, c in told
    ]
    return pl.concat(
        [NO_EVENTS, pl.DataFrame(rows, schema_overrides={"time": EVENTS["time"]})], how="diagonal_relaxed"
    )


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine take minutes."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def training() -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
    rows = matrix()
    sick = (rows["fault_events_90d"] + rows["fault_events_24h"]).to_numpy()
    label = (np.random.default_rng(1).random(N) < np.clip(sick / 4, 0, 0.9)).astype(float)
    return rows, label, np.ones(N)


@pytest.mark.parametrize("name", list(BASELINES))
def test_every_baseline_scores_each_row_with_a_finite_number(name, training):
    score = BASELINES[name](*training)
    for rows in (matrix(3), matrix(3)[:0]):
        if rows.is_empty() and name in {"Xid history only", "logistic regression", "isolation forest"}:
            continue  # scikit-learn refuses no rows; frames of no minutes are never scored
        risk = score(rows, NO_EVENTS)
        assert risk.shape == (rows.height,)
        assert np.isfinite(risk).all()
    assert set(SLOW) <= set(BASELINES)


@pytest.mark.parametrize("name", ["faults in the last 90 days", "Xid history only", "logistic regression"])
def test_what_can_learn_of_past_faults_orders_rows_by_them(name, training):
    score = BASELINES[name](*training)
    healthy = matrix(4, n=200)
    sick = healthy.with_columns(pl.lit(5.0).alias("fault_events_90d"), pl.lit(5.0).alias("fault_events_24h"))
    assert (score(sick, NO_EVENTS) > score(healthy, NO_EVENTS)).mean() > 0.85


def test_history_only_sees_no_telemetry(training):
    score = BASELINES["Xid history only"](*training)
    rows = matrix(5, n=300)
    others = rows.with_columns(pl.lit(9e9).alias(n) for n in NAMES if n not in HISTORY)
    assert (score(rows, NO_EVENTS) == score(others, NO_EVENTS)).all()


def test_a_history_that_is_never_known_is_learnt_without(training):
    rows, label, weight = training
    unknown = rows.with_columns(pl.lit(None, pl.Float64()).alias("hours_since_fault"))
    score = BASELINES["Xid history only"](unknown, label, weight)
    assert np.isfinite(score(unknown, NO_EVENTS)).all()


def test_an_odd_row_is_stranger_than_an_ordinary_one(training):
    score = BASELINES["isolation forest"](*training)
    odd = matrix(6, n=100).with_columns(pl.lit(1e7).alias(n) for n in NAMES)
    assert score(odd, NO_EVENTS).min() > np.median(score(matrix(6, n=100), NO_EVENTS))


def test_weights_stand_for_rows(training):
    rows, label, _ = training
    often = BASELINES["logistic regression"](rows, label, np.where(label > 0, 50.0, 1.0))
    seldom = BASELINES["logistic regression"](rows, label, np.ones(N))
    assert (often(rows, NO_EVENTS) > seldom(rows, NO_EVENTS)).mean() > 0.95


def test_prior_rules_are_what_serves_before_there_is_a_model(training):
    rows = matrix(7, n=50)
    assert (
        BASELINES["prior rules"](*training)(rows, NO_EVENTS) == RuleScorer().score(rows)["risk"].to_numpy()
    ).all()


def test_a_column_is_its_own_score():
    rows = matrix(8, n=20)
    assert (Column("remapped_rows")(rows, NO_EVENTS) == rows["remapped_rows"].to_numpy()).all()


def quiet(minutes: list[int], gpu: str = "GPU-a") -> pl.DataFrame:
    n = len(minutes)
    zero = dict.fromkeys(NAMES, [0.0] * n)
    return pl.DataFrame(
        {"gpu_uuid": [gpu] * n, "node": ["n1"] * n, "minute": [NOON + timedelta(minutes=m) for m in minutes]}
        | zero
    )


def test_a_tools_rule_speaks_for_a_day_after_an_xid_and_never_before():
    rule = ToolRules((79,))
    rows = quiet([8, 9, 10, 60, 9 + 24 * 60, 11 + 24 * 60])
    score = rule(rows, xids(("GPU-a", 10, 79)))
    assert (score > 0).tolist() == [False, False, True, True, True, False]
    assert score[2] > score[3] > score[4]


def test_a_tools_rule_hears_its_own_codes_on_its_own_gpu_and_a_remap_that_waits():
    rule = ToolRules((79,))
    rows = quiet([30])
    assert rule(rows, xids(("GPU-a", 10, 31))) == [0.0]
    assert rule(rows, xids(("GPU-b", 10, 79))) == [0.0]
    assert rule(rows, NO_EVENTS) == [0.0]
    assert rule(rows.with_columns(remap_pending=pl.lit(1.0)), NO_EVENTS) == [1.0]
    assert rule(rows.with_columns(remap_pending=pl.lit(None, pl.Float64())), NO_EVENTS) == [0.0]


def test_rows_keep_their_order():
    rows = quiet([60, 11, 30])
    score = ToolRules((79,))(rows, xids(("GPU-a", 10, 79)))
    assert score.argsort().tolist() == [0, 2, 1]


def test_both_tools_take_nodes_out_for_some_code():
    for tool in ("gpud", "NVSentinel"):
        rule = tool_rules(tool)(quiet([0]), np.zeros(1), np.ones(1))
        assert isinstance(rule, ToolRules)
        assert len(rule.codes) > 3
        assert 79 in rule.codes
