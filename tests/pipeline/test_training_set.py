"""The set does not depend on where the lake was cut, and stands for all of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from collector.errors import ForeshockError
from pipeline.features import KEYS, NAMES, features
from pipeline.fleet import START, Fleet
from pipeline.fleet_params import FleetParams
from pipeline.lake import Lake
from pipeline.training_set import training_set, uniform

GPUS, MINUTES = 16, 30 * 60
SINCE, UNTIL = START + timedelta(hours=25, minutes=17), START + timedelta(minutes=MINUTES)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Thirty hours of a synthetic fleet: some minutes are missing, one outage is longer than an hour."""
    made = Lake(tmp_path_factory.mktemp("lake"))
    fleet = Fleet(GPUS, seed=3, params=FleetParams(days=2))
    rows = fleet.rollups(START, MINUTES).with_columns(
        # what a simulated fleet of this size hardly meets in a day
        ecc_sbe_volatile_delta=(pl.col("minute").dt.minute() * pl.col("gpu_index") % 7).cast(pl.Float64),
        thermal_violation_us_delta=pl.when(pl.col("gpu_index") != 5).then(
            pl.col("minute").dt.hour().cast(pl.Float64) * 1000
        ),
    )
    random = np.random.default_rng(5)
    outage = pl.col("minute").is_between(SINCE + timedelta(hours=1), SINCE + timedelta(hours=2, minutes=30))
    rows = rows.filter(pl.Series(random.random(rows.height) > 0.05), ~outage)
    for part in rows.sort("minute").iter_slices(rows.height // 3 + 1):
        made.append("rollups", part)
    events = fleet.events(START, MINUTES * 60)
    if events.height:
        made.append("events", events)
    return made


def collected(lake: Lake, **asked) -> pl.DataFrame:
    wanted: dict[str, Any] = {"keep": none, "sample_share": 1.0} | asked
    parts = list(training_set(lake, SINCE, UNTIL, **wanted))
    assert len(parts) > 0
    return pl.concat(parts).sort("gpu_uuid", "minute")


def none(rows: pl.DataFrame) -> pl.Series:
    return pl.Series([False]).new_from_index(0, rows.height)


def hot(rows: pl.DataFrame) -> pl.Series:
    return rows["temperature_peer_delta_c"] > 1  # null where it is unknown


@pytest.mark.parametrize("rows_at_once", [1, 1500, 4000, 10**9])
def test_wherever_it_is_cut_the_rows_are_those_of_the_whole_lake(lake: Lake, rows_at_once: int):
    whole = features(lake.read("rollups"), lake.read("events"), since=SINCE).sort("gpu_uuid", "minute")
    found = collected(lake, rows_at_once=rows_at_once)
    assert found.height > 16 * 60
    assert_frame_equal(found.select(*KEYS, *NAMES), whole, check_exact=True)
    assert found["weight"].unique().to_list() == [1.0]


def test_few_rows_at_once_make_many_parts_and_none_is_larger(lake: Lake):
    parts = list(training_set(lake, SINCE, UNTIL, keep=none, sample_share=1.0, rows_at_once=1500))
    assert len(parts) > 3
    assert max(p.height for p in parts) <= 1500
    assert pl.concat(p.select(pl.col("minute").min()) for p in parts)["minute"].is_sorted()


def test_what_is_drawn_depends_on_the_seed_and_not_on_the_cuts(lake: Lake):
    drawn = [
        collected(lake, sample_share=0.2, seed=seed, rows_at_once=n)
        for seed, n in ((1, 1200), (1, 10**9), (2, 1200))
    ]
    assert_frame_equal(drawn[0], drawn[1], check_exact=True)
    common = drawn[0].join(drawn[2], on=["gpu_uuid", "minute"], how="semi").height
    assert common < drawn[0].height / 2


def test_weights_say_how_many_rows_each_stands_for(lake: Lake):
    whole = collected(lake)
    kept = hot(whole).fill_null(value=False)
    found = collected(lake, keep=hot, sample_share=0.1)
    is_hot = hot(found).fill_null(value=False)
    assert 0 < kept.sum() < whole.height / 2
    assert is_hot.sum() == kept.sum(), "every row that matters is there"
    assert found.filter(is_hot)["weight"].unique().to_list() == [1.0]
    assert found.filter(~is_hot)["weight"].unique().to_list() == [10.0]
    others = int((~kept).sum())
    spread = np.sqrt(others * 0.1 * 0.9) * 10
    assert abs(found.filter(~is_hot)["weight"].sum() - others) < 4 * spread


def test_without_a_sample_only_what_is_kept_comes(lake: Lake):
    found = collected(lake, keep=hot, sample_share=0.0)
    assert found["weight"].unique().to_list() == [1.0]
    assert hot(found).all()


def test_the_numbers_drawn_are_even_and_never_change():
    minutes = pl.Series([START + timedelta(minutes=m) for m in range(20_000)])
    drawn = uniform(pl.Series(["GPU-a"]).new_from_index(0, 20_000), minutes, seed=1)
    assert np.histogram(drawn, 10, (0, 1))[0].min() > 1800
    assert abs(np.corrcoef(drawn[1:], drawn[:-1])[0, 1]) < 0.03
    assert drawn[:2].tolist() == [0.7327949439836146, 0.8859933204491417]


def test_no_lake_no_rows_and_no_share_is_an_error(tmp_path: Path):
    assert list(training_set(Lake(tmp_path), SINCE, UNTIL, keep=none, sample_share=1.0)) == []
    with pytest.raises(ForeshockError, match="no share"):
        next(training_set(Lake(tmp_path), SINCE, UNTIL, keep=none, sample_share=2.0))
