"""What is learnt from, and what may not be: later faults, and rows that are judged."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from collector.errors import ForeshockError
from models.imminence import HORIZONS_S
from models.learning import EMBARGO, foretold, learn_from
from models.simulated import feature_frames, known_faults
from models.telemetry_baselines import BASELINES, SLOW
from models.telemetry_scores import LONGEST_S, OURS, SERVED_S
from pipeline.fleet import START, Fleet
from pipeline.fleet_params import FleetParams
from pipeline.labels import FAULTS, label
from tests.models.tiny_fleet import lowered_limits

CUT = START + timedelta(days=6)


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return Fleet(64, seed=4, params=FleetParams(days=9, fault_rate_factor=250, precursors="high"))


@pytest.fixture(scope="module")
def matrix(fleet: Fleet) -> pl.DataFrame:
    """Every minute within an hour before a fault, and one in 300 of the others."""
    frames = feature_frames(fleet, range(8), START + timedelta(days=1), CUT)
    rows = pl.concat(frames)
    soon = label(rows, known_faults(fleet), horizon_s=3600, until=CUT).fill_null(value=False)
    drawn = pl.Series(np.random.default_rng(1).random(rows.height) < 1 / 300)
    weight = pl.select(pl.when(soon).then(1.0).otherwise(300.0).alias("weight")).to_series()
    return rows.with_columns(weight).filter(soon | drawn)


@pytest.fixture(scope="module")
def learnt(fleet: Fleet, matrix: pl.DataFrame):
    events = fleet.events(START, 6 * 86_400)
    with lowered_limits():
        return learn_from(matrix, known_faults(fleet), events, until=CUT)


def test_faults_after_the_cut_change_nothing(fleet: Fleet, matrix: pl.DataFrame, learnt):
    early = known_faults(fleet).filter(pl.col("time") < CUT)
    assert early.height < known_faults(fleet).height
    assert learnt.faults.equals(early)
    with lowered_limits():
        again = learn_from(matrix, early, fleet.events(START, 6 * 86_400), until=CUT)
    for horizon_s in HORIZONS_S:
        assert (
            again.model.probability(matrix, horizon_s) == learnt.model.probability(matrix, horizon_s)
        ).all()
    assert again.floors == learnt.floors


def test_rows_that_nobody_can_judge_are_left_out(learnt, matrix: pl.DataFrame):
    assert learnt.label.null_count() == 0
    assert learnt.label.len() == learnt.matrix.height < matrix.height
    late = pl.col("minute") >= CUT - timedelta(seconds=SERVED_S)
    known = learnt.matrix.select(late).to_series()
    assert learnt.label.filter(known).all(), (
        f"{known.sum()} rows whose horizon goes past the cut are known by a fault only"
    )
    assert known.sum() < matrix.filter(late).height


def test_there_is_a_head_per_horizon_every_baseline_and_a_floor_for_all_but_the_slow(learnt):
    assert set(learnt.model.heads) == set(HORIZONS_S)
    assert set(learnt.baselines) == set(BASELINES)
    assert set(learnt.floors) == {OURS, *BASELINES} - set(SLOW)


def test_a_swap_ends_what_can_be_learnt_of_a_gpu(fleet: Fleet, matrix: pl.DataFrame, learnt):
    healthy = sorted(set(matrix["gpu_uuid"]) - set(known_faults(fleet)["gpu_uuid"].drop_nulls()))[0]
    mine = pl.col("gpu_uuid") == healthy
    swap = matrix.filter(mine)["minute"].sort()[matrix.filter(mine).height // 2]
    last = pl.DataFrame({"gpu_uuid": [healthy], "last": [swap]})
    with lowered_limits():
        ended = learn_from(
            matrix, known_faults(fleet), fleet.events(START, 6 * 86_400), until=CUT, last_seen=last
        )
    gone = learnt.matrix.filter(mine).join(ended.matrix.filter(mine), on=["gpu_uuid", "minute"], how="anti")
    assert gone.height > 0
    assert gone["minute"].is_between(swap - timedelta(seconds=SERVED_S, minutes=1), swap).all()
    assert ended.matrix.filter(~mine).equals(learnt.matrix.filter(~mine))


def fault(minute: int, gpu: str | None) -> dict[str, object]:
    time = START + timedelta(minutes=minute)
    return {"time": time, "node": "n1", "gpu_uuid": gpu, "last_time": time, "repeat": False}


def test_foretold_counts_faults_and_not_rows():
    minutes = [0, 1, 2, 30, 31, 0]
    gpus = ["a", "a", "a", "a", "a", "b"]
    rows = pl.DataFrame({"gpu_uuid": gpus, "minute": [START + timedelta(minutes=m) for m in minutes]})
    faults = pl.DataFrame(
        [fault(10, "a"), fault(40, "a"), fault(90, "a"), fault(5, "b"), fault(7, None)], schema=FAULTS
    )
    told = pl.Series([True, True, True, True, True, None])
    assert foretold(rows, told, faults) == 2
    assert foretold(rows, pl.Series([True] * 6), faults) == 3
    assert foretold(rows, pl.Series([False] * 6), faults) == 0


def test_too_few_faults_are_refused_with_their_number(fleet: Fleet, matrix: pl.DataFrame):
    few = known_faults(fleet).filter(pl.col("time") > START + timedelta(days=1))[:3]
    with pytest.raises(
        ForeshockError, match=r"\d faults within 600 s are too few to learn from: 50"
    ) as caught:
        learn_from(matrix, few, fleet.events(START, 6 * 86_400), until=CUT)
    assert "rules" in caught.value.hint


def test_the_embargo_is_the_longest_horizon_and_the_longest_window():
    assert timedelta(seconds=LONGEST_S) + timedelta(hours=24) == EMBARGO
