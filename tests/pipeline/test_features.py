from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pipeline import blocks, feature_docs
from pipeline.event_history import needed
from pipeline.features import FEATURE_SET, FEATURES, INPUTS, KEYS, NAMES, features
from pipeline.rollup import CARRY, rollup
from pipeline.signals import LOOK_BACK_HOURS
from pipeline.tables import EVENTS
from tests.pipeline.random_lakes import random_events, random_rollups
from tests.pipeline.samples import START, START_S, event, frame, sample

NO_EVENTS = pl.DataFrame(schema=EVENTS)


def rollups(
    minutes: int, gpus: int = 2, *, seed: int = 0, missing: frozenset[int] = frozenset()
) -> pl.DataFrame:
    rows = [
        sample(
            60 * m + s, gpu, power_w=300.0 + (m * 7 + gpu * 3 + seed) % 50, temperature_c=50 + gpu,
            nvlink_crc_flit_errors=(m * m * gpu + seed), nvlink_crc_data_errors=0, nvlink_replay_errors=m // 9,
            nvlink_recovery_errors=0, pcie_replay=m, pcie_width=16, ecc_sbe_volatile=m * seed % 7,
            remapped_rows_correctable=0, remapped_rows_uncorrectable=m // 20, gap_s=1.0 + (m % 13 == 5) * 20 * gpu,
        )
        for m in range(minutes) if m not in missing for gpu in range(gpus) for s in (0, 30)
    ]  # fmt: skip
    return rollup(frame(rows), pl.DataFrame(schema=CARRY))


def events(*each) -> pl.DataFrame:
    import msgspec

    rows = [msgspec.structs.asdict(e) | {"time": e.time * 1e6, "stream": "s", "seq": 1} for e in each]
    out = pl.DataFrame(rows, schema=dict(EVENTS) | {"time": pl.Float64()}, orient="row")
    return out.with_columns(pl.col("time").cast(pl.Int64).cast(EVENTS["time"]))


def at(matrix: pl.DataFrame, minute: int, gpu: int = 0) -> dict[str, float]:
    when = START + timedelta(minutes=minute)
    (row,) = matrix.filter(pl.col("minute") == when, pl.col("gpu_index") == gpu).to_dicts()
    return row


def test_windows_sum_what_lies_in_them():
    matrix = features(rollups(30), NO_EVENTS)
    row = at(matrix, 20, gpu=1)
    increments = [m * m - (m - 1) ** 2 for m in range(30)]
    assert row["nvlink_crc_10m"] == sum(increments[11:21])
    assert row["nvlink_crc_3m"] == sum(increments[18:21])
    assert row["pcie_replay_10m"] == 10
    assert row["remapped_uncorrectable_60m"] == 1
    assert row["temperature_peer_delta_c"] == 0.5


def test_a_gap_of_the_whole_node_is_not_this_gpus():
    one = features(rollups(10), NO_EVENTS)
    assert at(one, 8, gpu=1)["gap_excess_10m"] == 10.0
    same = rollups(10).with_columns(pl.lit(30.0).alias("gap_max_s"))
    assert at(features(same, NO_EVENTS), 8, gpu=1)["gap_excess_10m"] == 0.0


def test_events_count_from_when_they_are_known_for_one_day():
    known = events(event(60 * 5 + 1, 79, 0), event(60 * 6, 31, 0), event(60 * 6 + 1, 63, 1))
    matrix = features(rollups(12), known)
    assert [at(matrix, m)["fault_events_24h"] for m in (4, 5, 6)] == [0, 1, 1]
    assert [at(matrix, m)["application_events_24h"] for m in (5, 6)] == [0, 1], (
        "an event at a minute's end is not in it"
    )
    assert at(matrix, 6, gpu=1)["precursor_events_24h"] == 1
    assert at(matrix, 6, gpu=1)["fault_events_24h"] == 0
    old = events(event(-24 * 3600 + 30, 79, 0))
    counts = features(rollups(3), old)
    assert [at(counts, m)["fault_events_24h"] for m in (0, 1)] == [0, 0] or at(counts, 0)[
        "fault_events_24h"
    ] == 1


def test_a_repeated_fingerprint_counts_once():
    twice = events(event(10, 79), event(10, 79))
    assert at(features(rollups(2), twice), 0)["fault_events_24h"] == 1


def noon(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(5, 80))
def test_the_future_changes_nothing_that_was_known(seed: int, now: int):
    everything, known = random_rollups(seed, range(90)), random_events(seed, 0, 90)
    past = pl.col("minute") <= noon(now)
    whole = features(everything, known).filter(past)
    past_only = features(everything.filter(past), known.filter(pl.col("time") < noon(now + 1)))
    assert_frame_equal(whole, past_only, check_exact=True)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.integers(1440, 1520))
def test_a_day_and_an_hour_of_look_back_are_enough(seed: int, now: int):
    rollups = random_rollups(seed, [*range(0, 1440, 37), *range(1380, 1530)]).unique(["gpu_uuid", "minute"])
    events = random_events(seed, 0, 1530)
    when = noon(now)
    training = features(rollups, events).filter(pl.col("minute") == when)
    oldest = when - timedelta(hours=LOOK_BACK_HOURS)
    recent = rollups.filter(pl.col("minute") > oldest, pl.col("minute") <= when)
    assert_frame_equal(
        features(recent, needed(events, when), since=when), training, check_row_order=False, check_exact=True
    )


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 100, 2000]))
def test_how_training_cuts_its_rows_changes_nothing(seed: int, cells: int):
    moved = (
        pl.when(pl.col("minute") > noon(150)).then(pl.lit("n1")).otherwise("node")
    )  # one card changes its node
    rollups = random_rollups(seed, [*range(200), *range(1700, 1720)], nodes=3).with_columns(
        pl.when(pl.col("gpu_uuid") == "GPU-0-1").then(moved).otherwise("node").alias("node")
    )
    events = random_events(seed, 0, 1720, nodes=3)
    whole = features(rollups, events)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_CELLS", cells)
        patch.setattr(blocks, "_MINUTES_AT_ONCE", max(60, cells))
        assert_frame_equal(features(rollups, events), whole, check_exact=True)
        shuffled = rollups.sample(fraction=1, shuffle=True, seed=seed)
        assert_frame_equal(features(shuffled, events), whole, check_row_order=False, check_exact=True)


def test_a_day_is_the_running_clock_hour_and_the_23_before_it():
    """START is at noon: at 12:30 of the next day the hour from noon on, and not the one before it, counts."""
    day = random_rollups(0, [0, 59, 60, 1440 + 30], nodes=1, missing=0).with_columns(
        ecc_sbe_volatile_delta=pl.lit(1.0)
    )
    row = features(day, NO_EVENTS).filter(pl.col("minute") == noon(1470))
    assert row["ecc_sbe_24h"].to_list() == [2.0] * 3, "13:00 of yesterday and now, but not 12:00 and 12:59"
    assert row["ecc_sbe_60m"].to_list() == [1.0] * 3


def test_a_gpu_that_warms_at_the_same_power_is_told_from_one_that_works_harder():
    rows = random_rollups(0, range(60), nodes=1, missing=0).with_columns(
        temperature_c_mean=pl.when(pl.col("minute") == noon(59)).then(70.0).otherwise(60.0),
        power_w_mean=pl.when(pl.col("gpu_index") == 1, pl.col("minute") == noon(59))
        .then(600.0)
        .otherwise(400.0),
    )
    last = features(rows, NO_EVENTS).filter(pl.col("minute") == noon(59)).sort("gpu_index")
    assert last["temperature_own_delta_c"].to_list() == [10.0, None, 10.0]


def latency_ratios(slow: pl.Expr) -> list[float | None]:
    """Of GPU 0 of a node, whose driver answers in 9 ms where `slow` says so."""
    rows = random_rollups(0, range(60), nodes=1, missing=0).with_columns(
        nvml_latency_us_mean=pl.when(slow & (pl.col("minute") >= noon(57))).then(9000.0).otherwise(500.0)
    )
    found = features(rows, NO_EVENTS).filter(pl.col("gpu_index") == 0).sort("minute")
    return found["nvml_latency_ratio"].to_list()


def test_latency_is_measured_against_the_hour_before():
    found = latency_ratios(pl.col("gpu_index") == 0)
    assert found[59] == pytest.approx(10_000 / 1500)
    assert found[:3] == [None] * 3, "nothing to measure against yet"


def test_a_busy_host_is_not_a_slow_gpu():
    """The latency of all GPUs of the node rises alike."""
    assert latency_ratios(pl.lit(True))[59] == pytest.approx(1)


def test_the_matrix_has_the_keys_and_one_float_per_feature():
    matrix = features(rollups(1), NO_EVENTS)
    assert matrix.columns == [*KEYS, *NAMES]
    assert all(matrix.schema[n] == pl.Float64 for n in NAMES)
    assert features(rollups(1).clear(), NO_EVENTS).columns == matrix.columns


def test_every_feature_says_its_unit_source_and_why():
    assert len(set(NAMES)) == len(NAMES)
    assert all(f.unit and f.source and f.why and f.literature for f in FEATURES)
    assert len(FEATURE_SET) == 16


def test_only_its_inputs_are_looked_at():
    assert len(INPUTS) <= 26, "a reader of a large lake reads all of them"
    wide = rollups(12)
    narrow = wide.select(*KEYS, *INPUTS)
    assert_frame_equal(features(wide, NO_EVENTS), features(narrow, NO_EVENTS))


def test_the_page_of_features_is_fresh():
    page = Path(__file__).parents[2] / "docs" / "features.md"
    assert page.read_text() == feature_docs.page(), "python -m pipeline.feature_docs > docs/features.md"
    assert all(f"| `{name}` |" in feature_docs.page() for name in NAMES)


@pytest.mark.parametrize("seconds", [0, 59])
def test_a_sample_belongs_to_the_minute_it_began_in(seconds: int):
    out = rollup(frame([sample(seconds)]), pl.DataFrame(schema=CARRY))
    assert out["minute"][0].timestamp() == START_S
