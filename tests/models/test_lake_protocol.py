"""A site's own lake, here a small simulated fleet's (synthetic): refused where it says too little, else judged."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from collector.errors import ForeshockError
from models import evaluate_lake, lake_protocol
from models.evaluate import finite
from models.imminence import ENOUGH_EPISODES
from models.learning import EMBARGO
from models.progress import Progress
from models.simulated import feature_frames
from models.simulated_protocol import known_faults, times
from models.telemetry_baselines import BASELINES
from models.telemetry_report import card
from models.telemetry_scores import COUNT, LONGEST_S, OURS, Scoring
from pipeline import labels
from pipeline.features import NAMES
from pipeline.fleet import START, Fleet
from pipeline.fleet_params import FleetParams
from pipeline.lake import Lake
from tests.models.tiny_fleet import SETTING, evaluated, lowered_limits

DAYS, EVERY = 30, 10


def fill(lake: Lake, fleet: Fleet, since: datetime, until: datetime, *, every: int = 1, nodes: range) -> None:
    """Each `every`th minute: a lake may have gaps, and fewer rows are sooner judged."""
    minutes = (until - since) // timedelta(minutes=1)
    rows = pl.concat(fleet.rollup_parts(since, minutes, nodes=nodes))
    for part in rows.filter(pl.col("minute").dt.minute() % every == 0).sort("minute").iter_slices(100_000):
        lake.append("rollups", part)
    names = [fleet.nodes[i] for i in nodes]
    events = fleet.events(fleet.start, round((until - fleet.start).total_seconds()))
    lake.append("events", events.filter(pl.col("node").is_in(names)))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    made = Lake(tmp_path_factory.mktemp("lake"))
    fleet = Fleet(32, seed=11, params=FleetParams(days=DAYS, fault_rate_factor=200, precursors="high"))
    fill(made, fleet, START, START + timedelta(days=DAYS), every=EVERY, nodes=range(4))
    return made


@pytest.fixture(scope="module")
def evaluated_lake(lake: Lake):
    said = io.StringIO()
    with lowered_limits() as patched:
        for name, value in (("ENOUGH_EPISODES", 5), ("TRAINING_ROWS", 10_000), ("_SAMPLE_ROWS", 10_000)):
            patched.setattr(lake_protocol, name, value)
        found = evaluate_lake.evaluate(lake, false_per_day=20_000.0, seed=0, progress=Progress(said))
    return said.getvalue().splitlines(), *found


def test_the_report_is_of_later_time_on_the_lakes_own_nodes(evaluated_lake):
    _, report, learnt, point, frames = evaluated_lake
    assert report["dataset"] == "lake"
    assert {(r["test"], r["model"]) for r in report["results"]} == {
        ("unseen time", m) for m in (OURS, *BASELINES)
    }
    assert {r["cut"] for r in report["results"]} == {27}
    assert set(frames) >= {f"unseen time/curve/{OURS}", "unseen time/judged", "unseen time/calibration"}
    assert report["learnt"]["n_faults"] == learnt.faults.height > 10
    assert report["operating_point"]["threshold"] == point.threshold
    json.dumps(finite(report), allow_nan=False)


def test_rows_before_faults_are_all_learnt_from_and_the_others_weigh_what_they_stand_for(
    lake: Lake, evaluated_lake
):
    of, learnt = lake_protocol.reach(lake), evaluated_lake[2]
    soon = labels.label(
        learnt.matrix,
        learnt.faults,
        horizon_s=LONGEST_S,
        until=lake_protocol.cut(of),
        last_seen=of.last_seen,
    ).fill_null(value=False)
    assert learnt.label.sum() > 0
    assert soon.filter(learnt.label).all()
    assert learnt.matrix.filter(soon)["weight"].unique().to_list() == [1.0]
    others = learnt.matrix.filter(~soon)["weight"].unique().to_list()
    assert others == [pytest.approx(of.rows / 10_000)]
    assert learnt.matrix.height < of.rows / 3


def test_what_is_said_on_the_way_begins_with_what_the_lake_has(evaluated_lake):
    said, _, learnt, _, _ = evaluated_lake
    assert said[0].endswith(" faults")
    assert f"from {START:%Y-%m-%d} to " in said[0]
    assert f"{learnt.faults.height} faults before the cut" in said[1]


def test_a_lake_that_a_simulator_filled_is_called_synthetic(evaluated_lake):
    report = evaluated_lake[1]
    assert report["synthetic"] is True
    assert "(synthetic)" in card(report, "foreshock evaluate --dataset lake").splitlines()[0]


def test_reach_is_what_the_lake_has(lake: Lake):
    of = lake_protocol.reach(lake)
    assert (of.since, of.until) == (START, START + timedelta(days=DAYS) - timedelta(minutes=EVERY - 1))
    assert of.rows == lake.read("rollups").height
    assert of.faults["time"].is_between(of.since, of.until).all()
    last = dict(lake.read("rollups").group_by("gpu_uuid").agg(pl.col("minute").max()).iter_rows())
    ended = {g for g, minute in last.items() if minute < of.until - timedelta(hours=1)}
    assert ended, "a card was swapped"
    assert set(of.last_seen["gpu_uuid"]) == ended


def test_learning_choosing_and_testing_lie_an_embargo_apart(lake: Lake):
    of = lake_protocol.reach(lake)
    choose, window = lake_protocol.windows(of)
    assert choose[0] == lake_protocol.cut(of) + EMBARGO
    assert window[0] == choose[1] + EMBARGO
    assert window[1] == of.until
    assert lake_protocol.cut(of) - of.since == timedelta(
        minutes=(of.until - of.since) // timedelta(minutes=1) * 2 // 3
    )


def test_too_few_faults_are_refused_with_their_number(lake: Lake):
    of = lake_protocol.reach(lake)
    enough = 2 * ENOUGH_EPISODES
    some = pl.concat([of.faults] * (enough // of.faults.height + 1))
    lake_protocol.check_enough(replace(of, faults=some[:enough]))
    few = replace(of, faults=some[: enough - 1])
    with pytest.raises(
        ForeshockError, match=f"the lake has {enough - 1} faults from .*fewer than {enough}"
    ) as caught:
        lake_protocol.check_enough(few)
    assert "rules go on serving" in caught.value.hint


def test_a_lake_without_faults_is_refused_before_anything_is_learnt(tmp_path: Path):
    lake, fleet = Lake(tmp_path), Fleet(8, params=FleetParams(fault_rate_factor=0))
    fill(lake, fleet, START, START + timedelta(minutes=30), nodes=range(1))
    with pytest.raises(ForeshockError, match="the lake has 0 faults"):
        evaluate_lake.evaluate(lake, false_per_day=1.0, seed=0, progress=Progress(io.StringIO()))


def test_a_lake_without_rollups_is_refused(tmp_path: Path):
    with pytest.raises(ForeshockError, match="no rollups") as caught:
        evaluate_lake.evaluate(
            Lake(tmp_path / "none"), false_per_day=1.0, seed=0, progress=Progress(io.StringIO())
        )
    assert "foreshock ingest" in caught.value.hint


def test_a_lake_that_is_too_short_is_refused(lake: Lake):
    of = lake_protocol.reach(lake)
    lake_protocol.windows(replace(of, until=of.since + timedelta(days=18, minutes=10)))
    for days in (18, 10, 1):
        with pytest.raises(ForeshockError, match="too short") as caught:
            lake_protocol.windows(replace(of, until=of.since + timedelta(days=days)))
        assert "18 days" in caught.value.hint


def test_a_gap_where_there_should_be_a_test_is_refused(lake: Lake, evaluated_lake):
    of, learnt = lake_protocol.reach(lake), evaluated_lake[2]
    later = (of.until + timedelta(days=1), of.until + timedelta(days=2))
    with pytest.raises(ForeshockError, match="no rollups from"):
        lake_protocol.test(lake, of, learnt, later, {}, seed=0)


def test_the_lake_and_the_simulator_score_the_same_rows_alike(tmp_path: Path):
    """The one reads rollups back from files, the other makes them; the model is that of another fleet's days."""
    lake, fleet, learnt = Lake(tmp_path), SETTING.fleet(), evaluated()[1]
    since = times(fleet).test[0]
    until, nodes = since + timedelta(hours=8), range(3)
    fill(lake, fleet, since - timedelta(hours=24), until, nodes=nodes)
    by_lake = lake_protocol.test(lake, lake_protocol.reach(lake), learnt, (since, until), {}, seed=0).seen
    names = [fleet.nodes[i] for i in nodes]
    events = fleet.events(fleet.start, round((until - fleet.start).total_seconds()))
    work = Scoring(
        learnt.model, learnt.baselines, learnt.floors, known_faults(fleet).filter(pl.col("node").is_in(names)),
        events.filter(pl.col("node").is_in(names)), pl.DataFrame({"name": names, "weight": [1.0] * 3}), until, 1.0,
    )  # fmt: skip
    simulated = work(feature_frames(fleet, nodes, since, until))
    key = ["gpu_uuid", "minute"]
    columns = [*key, *NAMES, COUNT]
    assert by_lake.sample.height > 10_000
    assert by_lake.sample.select(columns).sort(key).equals(simulated.sample.select(columns).sort(key))
    assert by_lake.exposure.equals(simulated.exposure)
    assert sum(rows.height for rows in by_lake.risky.values()) > 0
    for name, rows in simulated.risky.items():
        assert by_lake.risky[name].sort("gpu_uuid", "time").equals(rows.sort("gpu_uuid", "time")), name
