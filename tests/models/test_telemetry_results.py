"""Planted risks (synthetic): what a perfect, a blind and a perverse scorer are told about themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import metrics, telemetry_results
from models.telemetry_baselines import Column
from models.telemetry_results import Figures, curve, figures, first_faults, thresholds, verdict
from models.telemetry_results import Test as Planted
from models.telemetry_scores import COUNT, LONGEST_S, OURS, SERVED_S, Seen
from pipeline.labels import FAULTS, label

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
DAYS, NODES = 8, 20
UNTIL = BEGIN + timedelta(days=DAYS)
GPUS = [(f"GPU-{i}", f"n{i}") for i in range(NODES)]


class Oracle:
    """The plant is in the column `truth`, over which the model has a sign."""

    def __init__(self, sign: float = 1.0) -> None:
        self.sign = sign

    def probability(self, matrix: pl.DataFrame, _horizon_s: int) -> Any:
        return (1 + self.sign * matrix["truth"].to_numpy()) / 2


@pytest.fixture(scope="module", autouse=True)
def fewer_draws() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(metrics, "SAMPLES", 100)
        yield


def fault(gpu: int, hours: float, *, repeat: bool = False) -> dict[str, Any]:
    time = BEGIN + timedelta(hours=hours)
    return {"time": time, "node": f"n{gpu}", "gpu_uuid": f"GPU-{gpu}", "pci_bdf": None, "class": "memory", "code": 48,
            "repeat": repeat, "last_time": time}  # fmt: skip


def made(told: list[dict[str, Any]], *, alarm_risk: float | None = 0.9) -> Planted:
    """A row each ten minutes of every GPU; `truth` is 1 within the served horizon before a fault. Alarms: 2 h before
    each, and a false one on every third node."""
    minutes = [BEGIN + timedelta(minutes=10 * i) for i in range(DAYS * 144)]
    rows = pl.DataFrame({"gpu_uuid": [g for g, _ in GPUS], "node": [n for _, n in GPUS]}).join(
        pl.DataFrame({"minute": minutes}), how="cross"
    )
    rows = rows.with_columns(pci_bdf=pl.lit(None, pl.String()), weight=pl.lit(1.0), **{COUNT: pl.lit(10.0)})
    faults = pl.DataFrame(told, schema=FAULTS).sort("time")
    soon = label(rows, faults, horizon_s=SERVED_S, until=UNTIL).fill_null(value=False).cast(pl.Float64)
    noise = pl.Series("noise", np.random.default_rng(3).random(rows.height))
    sample = rows.with_columns(soon.alias("truth"), noise, (1 - noise).alias("other_noise"))
    right = faults.select(
        "gpu_uuid", "node", pl.col("time") - timedelta(hours=2), risk=pl.lit(alarm_risk or 0.0)
    )
    wrong = pl.DataFrame({"gpu_uuid": [g for g, _ in GPUS[::3]], "node": [n for _, n in GPUS[::3]]}).select(
        "gpu_uuid", "node", time=pl.lit(BEGIN + timedelta(minutes=30)).cast(FAULTS["time"]),
        risk=pl.int_range(pl.len()) / 10,
    )  # fmt: skip
    risky = pl.concat([right, wrong]).with_columns(weight=pl.lit(1.0))
    exposure = pl.DataFrame({"node": [n for _, n in GPUS]}).with_columns(
        weight=pl.lit(1.0), gpu_days=pl.lit(float(DAYS)), node_days=pl.lit(float(DAYS))
    )
    seen = Seen(
        {OURS: risky, "noise": wrong.with_columns(weight=pl.lit(1.0)), "none": risky.clear()},
        sample, exposure.sort("node"),
    )  # fmt: skip
    about = {"head": "imminence", "target": "any GPU fault", "cut": 5, "test": "planted"}
    return Planted(seen, faults, faults, pl.DataFrame(), UNTIL, about)


@pytest.fixture(scope="module")
def planted() -> Planted:
    return made([fault(i, 30 + 12 * i) for i in range(10)])


def found(planted: Planted, sign: float = 1.0) -> dict[tuple[str, int], Figures]:
    model: Any = Oracle(sign)
    return figures(planted, model, {"noise": Column("noise"), "none": Column("other_noise")})


@given(st.lists(st.floats(0, 1), max_size=500))
def test_thresholds_are_the_scorers_own_and_fall(risk: list[float]):
    told = thresholds(pl.Series(risk, dtype=pl.Float64))
    assert set(told) <= set(risk)
    assert all(a > b for a, b in pairwise(told))
    assert len(told) <= telemetry_results._THRESHOLDS
    if risk:
        assert told[0] == max(risk)
        assert told[-1] == min(risk)


def test_the_curve_rises_in_threshold_and_falls_in_alarms_and_recall(planted: Planted):
    told = curve(planted, OURS)
    assert told.height == 8
    assert told["threshold"].is_sorted()
    assert told["alarms_per_day_per_10k"].is_sorted(descending=True)
    assert told["recall"].is_sorted(descending=True)
    assert told["recall"][-1] == 1.0
    assert told["precision"][-1] == 1.0


def test_a_scorer_that_is_never_over_its_floor_has_no_curve_and_no_recall(planted: Planted):
    told = curve(planted, "none")
    assert told.is_empty()
    assert told.columns == curve(planted, OURS).columns
    row = found(planted)["none", SERVED_S].row
    assert row["recall_at_budget"] == {"0.1": 0.0, "0.5": 0.0, "1.0": 0.0}
    assert row["precision_at_budget"] == {"0.1": None, "0.5": None, "1.0": None}


def test_recall_at_a_budget_is_that_of_the_most_alarms_within_it(
    planted: Planted, monkeypatch: pytest.MonkeyPatch
):
    """160 GPU-days: one alarm is 62.5 a day per 10,000 GPUs."""
    monkeypatch.setattr(telemetry_results, "BUDGETS", (60.0, 630.0, 1100.0))
    row = found(planted)[OURS, SERVED_S].row
    assert row["recall_at_budget"] == {"60.0": 0.0, "630.0": 1.0, "1100.0": 1.0}
    assert row["precision_at_budget"]["630.0"] == 1.0
    within = curve(planted, OURS).filter(pl.col("alarms_per_day_per_10k") <= 630)
    assert within["alarms"].max() == 10


def test_every_row_has_the_keys_that_were_asked_for_even_where_nobody_can_be_judged(planted: Planted):
    nobody = replace(
        planted, until=BEGIN + timedelta(hours=1), faults=planted.faults.clear(), known=planted.known.clear()
    )
    for of in (planted, nobody):
        for row in (f.row for f in found(of).values()):
            assert {"head", "target", "horizon_days", "cut", "model", "roc_auc", "pr_auc", "base_rate",
                    "recall_at_budget", "top1_capture", "top5_capture", "n_faults", "ci95"} <= row.keys()  # fmt: skip
    row = found(nobody)[OURS, SERVED_S].row
    assert row["roc_auc"] is None
    assert row["top5_capture"] is None
    assert row["ci95"]["top5_capture"] == [None, None]
    assert row["n_faults"] == 0


def test_the_truth_is_ranked_perfectly_and_noise_is_chance(planted: Planted):
    told = found(planted)
    assert told[OURS, SERVED_S].row["roc_auc"] == 1.0
    assert told[OURS, SERVED_S].row["pr_auc"] == 1.0
    noise = told["noise", LONGEST_S].row
    assert abs(noise["roc_auc"] - 0.5) < 0.1
    assert noise["pr_auc"] == pytest.approx(noise["base_rate"], rel=0.3)
    assert abs(told["noise", SERVED_S].row["roc_auc"] - 0.5) < 0.1


@pytest.mark.parametrize(("sign", "word"), [(1.0, "better"), (0.0, "equal"), (-1.0, "worse")])
def test_the_verdict_is_of_the_best_baseline_on_this_test(planted: Planted, sign: float, word: str):
    told = verdict(found(planted, sign), SERVED_S)
    assert told["roc_auc"]["verdict"] == word
    assert told["horizon_days"] == SERVED_S / 86_400
    rivals = {n: f.row["pr_auc"] for (n, h), f in found(planted, sign).items() if h == SERVED_S and n != OURS}
    assert told["best_baseline"] == max(rivals, key=lambda n: rivals[n])
    low, high = told["roc_auc"]["ci95"]
    assert low <= told["roc_auc"]["difference"] <= high


def test_a_scorer_is_equal_to_itself(planted: Planted):
    ours = found(planted)[OURS, SERVED_S]
    told = verdict({(OURS, SERVED_S): ours, ("twin", SERVED_S): ours}, SERVED_S)
    for name in ("pr_auc", "roc_auc", "recall_at_budget_0.5", "recall_at_budget_1"):
        assert told[name]["verdict"] == "equal"
        assert told[name]["difference"] == 0


def test_first_faults_and_repeats_are_ranked_apart():
    """The planted risk knows first faults only: on those it is perfect, on repeats it is chance."""
    told = [fault(i, 40 + 10 * i) for i in range(6)] + [fault(i, 110 + 10 * i, repeat=True) for i in range(6)]
    both = made(told)
    first = label(both.seen.sample, both.known.filter(~pl.col("repeat")), horizon_s=SERVED_S, until=UNTIL)
    sample = both.seen.sample.with_columns(truth=first.fill_null(value=False).cast(pl.Float64))
    both = replace(both, seen=replace(both.seen, sample=sample))
    model: Any = Oracle()
    ranked = {repeat: first_faults(both, model, repeat=repeat) for repeat in (False, True)}
    assert ranked[False]["roc_auc"] == 1.0
    assert ranked[True]["roc_auc"] == pytest.approx(0.5)
    assert [ranked[r]["n_faults"] for r in (False, True)] == [6, 6]
    assert ranked[False]["base_rate"] == pytest.approx(ranked[True]["base_rate"], rel=0.05)


def test_what_nobody_can_judge_is_no_positive_of_the_repeats():
    """A repeat 80 minutes after the first: the rows before the first are before a first, and of the six between that
    are within an hour of the repeat, four are blind."""
    near = made([fault(i, 60) for i in range(6)] + [fault(i, 60 + 4 / 3, repeat=True) for i in range(6)])
    model: Any = Oracle()
    repeat = first_faults(near, model, repeat=True)
    first = first_faults(near, model, repeat=False)
    positives = {k: r["base_rate"] for k, r in (("repeat", repeat), ("first", first))}
    assert 0 < positives["repeat"] < positives["first"] / 2


def test_a_gpu_whose_history_ended_is_not_judged_after_it(planted: Planted):
    gone = pl.DataFrame({"gpu_uuid": ["GPU-15"], "last": [BEGIN + timedelta(days=4)]})
    whole, ended = planted.label(SERVED_S), replace(planted, last_seen=gone).label(SERVED_S)
    mine = planted.seen.sample["gpu_uuid"] == "GPU-15"
    assert ended.filter(~mine).equals(whole.filter(~mine))
    unknown = planted.seen.sample.filter(mine, ended.is_null() & whole.is_not_null())["minute"]
    ended_at = BEGIN + timedelta(days=4)
    assert unknown.min() == ended_at - timedelta(seconds=SERVED_S), "its horizon goes past the end"
    assert unknown.max() == ended_at, "what comes later is another history"


def test_intervals_come_from_draws_of_nodes_the_first_as_measured(planted: Planted):
    of = found(planted)["noise", SERVED_S]
    assert of.drawn["roc_auc"].shape == (metrics.SAMPLES + 1,)
    assert of.drawn["roc_auc"][0] == of.row["roc_auc"]
    low, high = of.row["ci95"]["roc_auc"]
    assert low < of.row["roc_auc"] < high
