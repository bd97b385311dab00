"""On a small simulated fleet (synthetic) with planted scorers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from collector.errors import ForeshockError
from models import drift
from models.cards import Card, OperatingPoint
from models.replay import RISK, replay
from models.watch_model import watch
from pipeline.features import FEATURE_SET, NAMES
from pipeline.labels import DEFINITION
from pipeline.lake import Lake
from tests.models.shadow_lake import END, FAULTS, SINCE, Planted, faults_of, fleet_lake


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory):
    return fleet_lake(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def knows(lake):
    return Planted("knows", faults_of(lake))


@pytest.fixture(scope="module")
def card(lake, knows):
    """Promises what `knows` keeps; its reference is a fifth of the minutes of the same days."""
    sample = replay(lake, (knows,), (0.85,), SINCE, END, sample_rows=30_000, seed=4).sample
    return made(drift.reference(sample.drop(RISK), risk=sample[RISK]))


def made(reference: dict[str, Any], **point: float) -> Card:
    promised = {"threshold": 0.85, "precision": 0.95, "recall": 0.9, "alarms_per_day_per_10k": 7000.0} | point
    return Card(
        head="imminence", created=SINCE, feature_set=FEATURE_SET, feature_names=NAMES, label=DEFINITION.as_dict(),
        label_digest=DEFINITION.digest, horizon_s=86_400, point=OperatingPoint(chosen_by="hand", **promised),
        data_from=SINCE, data_until=SINCE, n_faults=60, n_rows=1000, dataset="planted", synthetic=True, metrics={},
        reference=reference, model_id="knows",
    )  # fmt: skip


def of(rows: list[dict[str, Any]], name: str, key: str = "feature") -> dict[str, Any]:
    return next(row for row in rows if row[key] == name)


def test_what_is_as_it_was_is_stable_and_keeps_its_promise(lake, knows, card):
    told = watch(lake, knows, card, SINCE, END)
    assert told["verdict"] == "stable", told
    assert {row["verdict"] for row in told["drift"]} == {"stable"}
    assert {row["feature"] for row in told["drift"]} == {*NAMES, "risk"}
    assert {row["verdict"] for row in told["decay"]} == {"holds"}
    assert of(told["decay"], "precision", "measure")["measured"] == 1.0
    assert (told["n_faults"], told["synthetic"]) == (FAULTS, True)


def test_a_shifted_input_has_drifted_and_the_others_have_not(lake, knows, card, tmp_path):
    """Every other GPU of a node runs 8 C warmer than its neighbours."""
    warmer = Lake(tmp_path)
    rows = lake.read("rollups")
    warmer.append(
        "rollups", rows.with_columns(pl.col("temperature_c_mean") + 8.0 * (pl.col("gpu_index") % 2))
    )
    warmer.append("events", lake.read("events"))
    told = watch(warmer, knows, card, SINCE, END)
    assert told["verdict"] == "drifted"
    assert told["drift"][0]["feature"] == "temperature_peer_delta_c"
    assert told["drift"][0]["psi"] > drift.DRIFTED
    assert {row["verdict"] for row in told["drift"][1:]} == {"stable"}


def test_alarms_that_are_no_longer_right_have_decayed(lake, card):
    told = watch(lake, Planted("guesses"), made(card.reference, threshold=0.7), SINCE, END)
    assert told["verdict"] == "decayed"
    precision = of(told["decay"], "precision", "measure")
    assert precision["verdict"] == "decayed"
    assert precision["high"] < 0.95
    assert of(told["decay"], "alarms_per_day_per_10k", "measure")["verdict"] == "decayed"


def test_a_stretch_with_hardly_a_judged_alarm_cannot_be_told(lake, knows, card):
    told = watch(lake, knows, card, END - timedelta(hours=25), END)
    assert of(told["decay"], "precision", "measure")["n"] < 10
    assert of(told["decay"], "precision", "measure")["verdict"] == "too few faults to tell"
    assert told["verdict"] in ("too few faults", "look", "drifted"), (
        "inputs of a day differ from those of two"
    )
    assert not {"decayed"} & {row["verdict"] for row in told["decay"]}


def test_what_cannot_be_watched_is_refused_with_the_way_on(lake, knows, card):
    with pytest.raises(ForeshockError, match="no alarm of the last 1 day"):
        watch(lake, knows, card, END - timedelta(days=1), END)
    with pytest.raises(ForeshockError, match="no reference"):
        watch(lake, knows, made({}), SINCE, END)
