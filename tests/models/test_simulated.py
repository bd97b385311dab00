"""Matrices by nodes are those of the whole fleet, and what is drawn stands for what is not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from collector.errors import ForeshockError
from models.simulated import fails_soon, feature_frames, known_faults, mapped, training_frames
from models.simulated_sample import NODES, STRETCHES, test_nodes, training_stretches
from pipeline.features import KEYS, NAMES, features
from pipeline.fleet import START, Fleet
from pipeline.fleet_params import FleetParams

SINCE, UNTIL = START + timedelta(days=2, minutes=17), START + timedelta(days=4, hours=5)
MINUTES = (UNTIL - SINCE) // timedelta(minutes=1)
CHOSEN = [9, 2, 5]


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    """Twelve nodes over five days, with 60 times the faults of life: synthetic."""
    return Fleet(96, seed=5, params=FleetParams(days=5, fault_rate_factor=60, precursors="high"))


@pytest.fixture(scope="module")
def faults(fleet: Fleet) -> pl.DataFrame:
    return known_faults(fleet)


@pytest.fixture(scope="module")
def whole(fleet: Fleet) -> pl.DataFrame:
    rollups = fleet.rollups(START, (UNTIL - START) // timedelta(minutes=1))
    events = fleet.events(START, 5 * 86_400).filter(pl.col("time") < UNTIL)
    return features(rollups, events, since=SINCE).sort("gpu_uuid", "minute")


def in_order(frames: Iterator[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(frames).sort("gpu_uuid", "minute")


@pytest.mark.parametrize("rows_at_once", [1, 40_000, 10**9])
def test_the_matrix_of_some_nodes_is_that_of_the_whole_fleet(
    fleet: Fleet, whole: pl.DataFrame, rows_at_once: int
):
    found = in_order(feature_frames(fleet, CHOSEN, SINCE, UNTIL, rows_at_once=rows_at_once))
    expected = whole.filter(pl.col("node").is_in([fleet.nodes[i] for i in CHOSEN]))
    assert expected.height > 60_000
    assert_frame_equal(found, expected, check_exact=True)


def test_a_fleets_first_minutes_have_no_day_before(fleet: Fleet):
    end = START + timedelta(minutes=90)
    found = in_order(feature_frames(fleet, [1], START, end))
    alone = features(pl.concat(fleet.rollup_parts(START, 90, nodes=[1])), fleet.events(START, 5400))
    assert_frame_equal(found, alone.sort("gpu_uuid", "minute"), check_exact=True)


def sums(frames: Iterator[pl.DataFrame]) -> tuple[str | None, int, float]:
    rows = pl.concat(frames)
    return str(rows["node"].min()), rows.height, float(rows["power_swing_15m"].sum())


def test_processes_give_what_one_gives(fleet: Fleet):
    end = SINCE + timedelta(hours=2)
    nodes = [*range(12)] * 3
    asked = (sums, fleet, nodes, SINCE, end)
    alone = mapped(*asked, processes=1)
    assert len(alone) == 2
    assert alone[0][1] > 10_000
    assert mapped(*asked, processes=2) == alone


def test_nodes_with_faults_are_all_there_and_the_others_by_lot(fleet: Fleet, faults: pl.DataFrame):
    found = test_nodes(fleet, faults, SINCE, UNTIL, share=0.4)
    inside = pl.col("time").is_between(SINCE, UNTIL + timedelta(days=1), closed="left")
    struck = set(faults.filter(inside)["node"])
    assert found.schema == NODES
    assert 0 < len(struck) < 12
    assert struck == set(found.filter(pl.col("weight") == 1)["name"])
    assert [fleet.nodes[i] for i in found["node"]] == found["name"].to_list()
    assert found.height < 12
    assert found["weight"].sum() == pytest.approx(12)


def test_another_seed_draws_others_and_a_larger_share_draws_more(fleet: Fleet):
    none = known_faults(Fleet(8, params=FleetParams(fault_rate_factor=0)))
    drawn = {
        (seed, share): set(test_nodes(fleet, none, SINCE, UNTIL, share=share, seed=seed)["node"])
        for seed in range(3)
        for share in (0.25, 0.5)
    }
    assert all(drawn[s, 0.25] < drawn[s, 0.5] for s in range(3))
    assert len({frozenset(d) for d in drawn.values()}) > 3


def test_only_nodes_among_those_given_are_drawn(fleet: Fleet, faults: pl.DataFrame):
    found = test_nodes(fleet, faults, SINCE, UNTIL, share=0.5, among=[1, 3, 5])
    assert set(found["node"]) <= {1, 3, 5}
    assert found["weight"].sum() == pytest.approx(3)
    stretches = training_stretches(fleet, faults, SINCE, UNTIL, share=1, among=[1, 3, 5])
    assert set(stretches["node"]) == {1, 3, 5}


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_what_is_no_share_is_an_error(fleet: Fleet, faults: pl.DataFrame, share: float):
    for draw in (test_nodes, training_stretches):
        with pytest.raises(ForeshockError, match="no share"):
            draw(fleet, faults, SINCE, UNTIL, share=share)


def minutes(stretches: pl.DataFrame) -> pl.Series:
    return (stretches["end"] - stretches["begin"]).dt.total_minutes()


@pytest.mark.parametrize("share", [0.2, 1.0])
def test_stretches_of_a_node_never_overlap(fleet: Fleet, faults: pl.DataFrame, share: float):
    found = training_stretches(fleet, faults, SINCE, UNTIL, share=share)
    assert found.schema == STRETCHES
    assert (minutes(found) > 0).all()
    ordered = found.sort("node", "begin")
    before = ordered.with_columns(pl.col("end").shift(1).over("node").alias("last"))
    assert before.filter(pl.col("begin") < pl.col("last")).is_empty()
    assert (found["begin"] >= found["day"]).all()
    assert (found["end"] <= found["day"] + timedelta(days=1)).all()
    if share == 1.0:
        assert minutes(found).sum() == 12 * MINUTES
        assert found["weight"].unique().to_list() == [1.0]


def test_the_last_day_of_every_fault_is_there_once_with_weight_1(fleet: Fleet, faults: pl.DataFrame):
    found = training_stretches(fleet, faults, SINCE, UNTIL, share=0.1)
    near = found.filter(pl.col("weight") == 1)
    expected = set()
    for node, time in faults.select("node", "time").iter_rows():
        end = time.replace(second=0, microsecond=0)
        at = [end - timedelta(minutes=i) for i in range(1, 1441)]
        expected |= {(node, m) for m in at if SINCE <= m < UNTIL}
    assert minutes(near).sum() == len(expected)
    for name, begin, end in near.select("name", "begin", "end").iter_rows():
        assert (name, begin) in expected
        assert (name, end - timedelta(minutes=1)) in expected


def test_everything_taken_is_the_whole_fleet(fleet: Fleet, faults: pl.DataFrame, whole: pl.DataFrame):
    stretches = training_stretches(fleet, faults, SINCE, UNTIL, share=1)
    keep = fails_soon(faults, UNTIL)
    found = in_order(training_frames(fleet, stretches, keep=keep, sample_share=1))
    assert_frame_equal(found.select(*KEYS, *NAMES), whole, check_exact=True)
    assert found["weight"].unique().to_list() == [1.0]


def test_weights_say_how_many_rows_each_stands_for(fleet: Fleet, faults: pl.DataFrame, whole: pl.DataFrame):
    """Over all lots the sums are right: the mean of some is within four standard errors."""
    keep = fails_soon(faults, UNTIL)
    positive = keep(whole).fill_null(value=False).sum()
    rows, watts = [], []
    for seed in range(12):
        stretches = training_stretches(fleet, faults, SINCE, UNTIL, share=0.3, seed=seed)
        found = pl.concat(training_frames(fleet, stretches, keep=keep, sample_share=0.2, seed=seed))
        assert not found.select("gpu_uuid", "minute").is_duplicated().any()
        kept = keep(found).fill_null(value=False)
        assert kept.sum() == positive, "every row before a fault is there"
        assert found.filter(kept)["weight"].unique().to_list() == [1.0]
        rows.append(float(found["weight"].sum()))
        watts.append(float((found["weight"] * found["power_swing_15m"]).sum()))
    for drawn, exact in ((rows, float(whole.height)), (watts, float(whole["power_swing_15m"].sum()))):
        error = np.std(drawn, ddof=1) / len(drawn) ** 0.5
        assert abs(np.mean(drawn) - exact) < 4 * error + 1e-3 * exact
        assert error < 0.1 * exact
