"""What is kept of all the minutes: those over the floor, and a sample that stands for the rest (synthetic rows)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from models.simulated import feature_frames, known_faults
from models.telemetry_baselines import SLOW, Column
from models.telemetry_scores import COUNT, LONGEST_S, OURS, SERVED_S, Scoring, Seen, floors, scores, together
from pipeline.features import NAMES
from pipeline.fleet import START, Fleet
from pipeline.fleet_params import FleetParams
from pipeline.labels import label

SINCE, UNTIL = START + timedelta(hours=30), START + timedelta(hours=78)
SHARE, FLOOR = 0.1, 0.5


class Planted:
    """A model whose risk is the fraction of the temperature above its neighbours' mean: known, and on every row."""

    def probability(self, matrix: pl.DataFrame, _horizon_s: int) -> Any:
        return np.nan_to_num(matrix["temperature_peer_delta_c"].to_numpy()) % 1.0


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return Fleet(32, seed=5, params=FleetParams(days=5, fault_rate_factor=300, precursors="high"))


@pytest.fixture(scope="module")
def rows(fleet: Fleet) -> pl.DataFrame:
    return pl.concat(feature_frames(fleet, range(4), SINCE, UNTIL)).sort("gpu_uuid", "minute")


@pytest.fixture(scope="module")
def work(fleet: Fleet) -> Scoring:
    nodes = pl.DataFrame({"name": fleet.nodes, "weight": [1.0, 1.0, 8.0, 8.0]})
    model: Any = Planted()
    baselines = {"faults": Column("fault_events_90d"), SLOW[0]: Column("remapped_rows")}
    events = fleet.events(START, 5 * 86_400)
    return Scoring(
        model, baselines, {OURS: FLOOR, "faults": 0.0}, known_faults(fleet), events, nodes, UNTIL, SHARE
    )


@pytest.fixture(scope="module")
def seen(fleet: Fleet, work: Scoring) -> Seen:
    """The rows come in several frames, cut by time."""
    return work(feature_frames(fleet, range(4), SINCE, UNTIL, rows_at_once=60_000))


def test_exactly_the_rows_over_the_floor_are_kept_with_their_decision_time_and_weight(seen: Seen, rows, work):
    for name, score in scores(work.model, work.baselines, SERVED_S, leave_out=SLOW).items():
        expected = rows.with_columns(
            pl.Series("risk", score(rows, work.events)),
            (pl.col("minute") + timedelta(minutes=1)).alias("time"),
        ).filter(pl.col("risk") > work.floors[name])
        kept = seen.risky[name].sort("gpu_uuid", "time")
        assert 0 < kept.height < rows.height
        assert kept.select("gpu_uuid", "node", "time", "risk").equals(
            expected.select("gpu_uuid", "node", "time", "risk")
        )
        weight = dict(work.nodes.iter_rows())
        assert [weight[n] for n in kept["node"]] == kept["weight"].to_list()


def test_a_slow_scorer_has_no_alarms(seen: Seen):
    assert set(seen.risky) == {OURS, "faults"}


def test_exposure_adds_up_to_the_days_that_were_watched(seen: Seen, rows: pl.DataFrame):
    assert seen.exposure["gpu_days"].sum() == pytest.approx(rows.height / 1440)
    per_node = rows.select("node", "minute").unique()
    assert seen.exposure["node_days"].sum() == pytest.approx(per_node.height / 1440)
    assert seen.exposure["weight"].to_list() == [1.0, 1.0, 8.0, 8.0]
    assert seen.exposure["node"].is_sorted()


def test_the_counts_of_the_sample_expect_every_minute_of_each_node(seen: Seen, rows: pl.DataFrame):
    there = dict(rows.group_by("node").len().iter_rows())
    stands = seen.sample.group_by("node").agg(pl.col(COUNT).sum(), pl.len())
    assert 0 < seen.sample.height < rows.height / 2
    for node, count, _ in stands.iter_rows():
        spread = np.sqrt(there[node] * SHARE * (1 - SHARE)) / SHARE
        assert abs(count - there[node]) < 4 * spread
    weighted = (seen.sample["weight"] * seen.sample[COUNT]).sum()
    assert weighted == pytest.approx(
        (seen.exposure["weight"] * seen.exposure["gpu_days"]).sum() * 1440, rel=0.03
    )


def test_every_minute_before_a_fault_is_in_the_sample_and_stands_for_itself(seen: Seen, rows, work):
    before = label(rows, work.faults, horizon_s=LONGEST_S, until=UNTIL).fill_null(value=False)
    mine = rows.filter(before).select("gpu_uuid", "minute")
    assert mine.height > 1000
    alone = seen.sample.filter(pl.col(COUNT) == 1.0).select("gpu_uuid", "minute")
    assert alone.sort("gpu_uuid", "minute").equals(mine)
    assert set(NAMES) <= set(seen.sample.columns)


def test_a_floor_is_the_score_that_one_minute_in_500_is_over(work: Scoring, rows: pl.DataFrame):
    weighted = rows.with_columns(pl.lit(1.0).alias("weight"))
    found = floors(work.model, work.baselines, weighted, work.events)
    over = (work.model.probability(rows, SERVED_S) > found[OURS]).mean()
    assert 0.0015 < over <= 0.002
    heavy = weighted.with_columns(
        pl.when(pl.Series(work.model.probability(rows, SERVED_S)) > found[OURS])
        .then(100.0)
        .otherwise(1.0)
        .alias("weight")
    )
    assert floors(work.model, work.baselines, heavy, work.events)[OURS] > found[OURS]
    assert SLOW[0] not in found


def test_parts_of_different_nodes_are_put_together(fleet: Fleet, work: Scoring, seen: Seen):
    halves = [work(feature_frames(fleet, nodes, SINCE, UNTIL)) for nodes in ([0, 1], [2, 3])]
    whole = together(halves)
    key = ["gpu_uuid", "time"]
    assert whole.risky[OURS].sort(key).equals(seen.risky[OURS].sort(key))
    assert whole.exposure.sort("node").equals(seen.exposure)
    assert whole.sample.height == seen.sample.height
