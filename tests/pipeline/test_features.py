from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pipeline.features import FEATURE_SET, FEATURES, KEYS, LOOK_BACK_MINUTES, NAMES, features
from pipeline.rollup import CARRY, rollup
from pipeline.tables import EVENTS
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


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 100), st.integers(5, 80), st.frozensets(st.integers(0, 89), max_size=10))
def test_the_future_changes_nothing_that_was_known(seed: int, now: int, missing: frozenset[int]):
    everything = rollups(90, seed=seed, missing=missing)
    known = events(event(60 * 3, 79), event(60 * now + 10, 48), event(60 * (now + 4), 79, 1))
    cut = START + timedelta(minutes=now)
    whole = features(everything, known).filter(pl.col("minute") <= cut)
    past_only = features(
        everything.filter(pl.col("minute") <= cut), known.filter(pl.col("time") < cut + timedelta(minutes=1))
    )
    assert_frame_equal(whole, past_only, check_row_order=False)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 100), st.integers(61, 89), st.frozensets(st.integers(0, 89), max_size=20))
def test_live_features_on_a_bounded_look_back_equal_training_features(seed, now, missing):
    everything = rollups(90, gpus=3, seed=seed, missing=missing)
    known = events(event(60 * 3, 79), event(60 * 50, 31, 1), event(60 * 60, 63, 2))
    when = START + timedelta(minutes=now)
    training = features(everything, known).filter(pl.col("minute") == when)
    recent = everything.filter(
        pl.col("minute") > when - timedelta(minutes=LOOK_BACK_MINUTES), pl.col("minute") <= when
    )
    live = features(recent, known, since=when)
    assert_frame_equal(live, training, check_row_order=False, check_exact=True)


def test_the_matrix_has_the_keys_and_one_float_per_feature():
    matrix = features(rollups(1), NO_EVENTS)
    assert matrix.columns == [*KEYS, *NAMES]
    assert all(matrix.schema[n] == pl.Float64 for n in NAMES)
    assert features(rollups(1).clear(), NO_EVENTS).columns == matrix.columns


def test_every_feature_says_its_unit_source_and_why():
    assert len(set(NAMES)) == len(NAMES)
    assert all(f.unit and f.source and f.why for f in FEATURES)
    assert len(FEATURE_SET) == 16


@pytest.mark.parametrize("seconds", [0, 59])
def test_a_sample_belongs_to_the_minute_it_began_in(seconds: int):
    out = rollup(frame([sample(seconds)]), pl.DataFrame(schema=CARRY))
    assert out["minute"][0].timestamp() == START_S
