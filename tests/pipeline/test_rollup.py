from __future__ import annotations

import itertools

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.records import FIELDS
from pipeline.rollup import CARRY, carry_of, rollup
from pipeline.tables import DELTAS, ROLLUPS
from tests.pipeline.samples import START, frame, sample

NOTHING = pl.DataFrame(schema=CARRY)


def test_a_minute_is_one_row_with_its_statistics():
    rows = frame([sample(i, power_w=100.0 + i, temperature_c=50, gap_s=1.0 + i) for i in range(60)])
    (row,) = rollup(rows, NOTHING).to_dicts()
    assert (row["minute"], row["samples"], row["good_samples"]) == (START, 60, 60)
    assert (row["power_w_mean"], row["power_w_min"], row["power_w_max"]) == (129.5, 100.0, 159.0)
    assert row["power_w_std"] == pytest.approx(17.318, abs=1e-3)
    assert row["gap_max_s"] == 60.0
    assert row["sm_clock_mhz_mean"] is None, "what was never read is unknown, not 0"


@pytest.mark.parametrize("counter", DELTAS)
def test_a_counter_that_falls_started_again_from_zero(counter: str):
    values = [100, 103, 103, 5, 7]
    rows = frame([sample(i) | {counter: v} for i, v in enumerate(values)])
    (row,) = rollup(rows, NOTHING).to_dicts()
    assert row[f"{counter}_delta"] == 3 + 0 + 5 + 2
    assert row[f"{counter}_last"] == 7


def test_no_increment_is_lost_between_two_minutes():
    first = rollup(frame([sample(30, pcie_replay=10), sample(59, pcie_replay=12)]), NOTHING)
    second = rollup(frame([sample(61, pcie_replay=15)]), carry_of(first))
    assert first["pcie_replay_delta"].to_list() == [2.0]
    assert second["pcie_replay_delta"].to_list() == [3.0]


def test_the_delta_of_one_lone_sample_is_unknown_and_zero_stays_zero():
    (lone,) = rollup(frame([sample(0, pcie_replay=10)]), NOTHING).to_dicts()
    assert lone["pcie_replay_delta"] is None
    (still,) = rollup(frame([sample(0, pcie_replay=0), sample(1, pcie_replay=0)]), NOTHING).to_dicts()
    assert still["pcie_replay_delta"] == 0.0


def test_a_minute_in_which_a_counter_was_never_read_has_no_delta_and_the_next_one_has_it_all():
    first = rollup(frame([sample(0, pcie_replay=10)]), NOTHING)
    silent = rollup(frame([sample(60), sample(61)]), carry_of(first))
    last = rollup(frame([sample(120, pcie_replay=14)]), carry_of(pl.concat([first, silent])))
    assert silent["pcie_replay_delta"].to_list() == [None]
    assert last["pcie_replay_delta"].to_list() == [4.0]


def test_the_counters_of_one_gpu_never_reach_into_the_next():
    carry = carry_of(rollup(frame([sample(0, gpu=1, pcie_replay=5)]), NOTHING))
    rows = [sample(60 + i, gpu=gpu, pcie_replay=100 * gpu + 10 + i) for gpu in range(3) for i in (0, 1)]
    deltas = rollup(frame(rows), carry).sort("gpu_index")["pcie_replay_delta"].to_list()
    assert deltas == [1.0, 106.0, 1.0]


def test_a_lost_gpu_is_counted_not_hidden():
    rows = frame(
        [
            sample(0),
            sample(1, gpu_state="lost", nvml_return=15),
            sample(2, gpu_state="hung", nvml_return=None),
        ]
    )
    (row,) = rollup(rows, NOTHING).to_dicts()
    assert (row["samples"], row["good_samples"], row["gpu_state"], row["nvml_errors"]) == (3, 1, "hung", 1)


def test_the_columns_are_the_tables():
    out = rollup(frame([sample(0)]), NOTHING)
    assert out.schema == ROLLUPS
    assert rollup(frame([]), NOTHING).schema == ROLLUPS
    kept = [f"{f.name}_{s}" for f in FIELDS for s in f.rollup]
    assert set(kept) <= set(out.columns)
    assert len(out.columns) == 12 + len(kept)


def test_every_statistic_of_every_column_is_right_and_null_where_nothing_was_read():
    spread = {"mean", "min", "max", "std"}
    of_role = {"gauge": spread, "plane": spread, "counter": {"delta", "last"}, "state": {"last"}}
    names = [f.name for f in FIELDS if f.rollup]
    (row,) = rollup(frame([sample(i) | dict.fromkeys(names, 3 + 2 * i) for i in (0, 1)]), NOTHING).to_dicts()
    (empty,) = rollup(frame([sample(0) | dict.fromkeys(names)]), NOTHING).to_dicts()
    right = {"mean": 4, "min": 3, "max": 5, "std": 1, "delta": 2, "last": 5}
    for field in FIELDS:
        assert set(field.rollup) <= of_role.get(field.role, set()), field.name
        for statistic in field.rollup:
            assert row[f"{field.name}_{statistic}"] == right[statistic], (field.name, statistic)
            assert empty[f"{field.name}_{statistic}"] is None, (field.name, statistic)


_VALUES = st.lists(st.none() | st.integers(0, 1000), min_size=1, max_size=150)


@settings(max_examples=60, deadline=None)
@given(_VALUES, st.randoms(use_true_random=False))
def test_however_the_minutes_are_cut_repeated_or_shuffled_the_deltas_sum_to_the_increments(values, random):
    samples = [sample(i, ecc_sbe_volatile=v) for i, v in enumerate(values)]
    carry, deltas = NOTHING, []
    for minute in range(len(values) // 60 + 1):
        mine = samples[minute * 60 : minute * 60 + 60]
        if mine:
            messy = mine + random.sample(mine, len(mine) // 2)
            random.shuffle(messy)
            out = rollup(frame(messy), carry)
            carry = pl.concat([carry, carry_of(out)]).group_by("gpu_uuid").agg(pl.all().drop_nulls().last())
            deltas += out["ecc_sbe_volatile_delta"].drop_nulls().to_list()
            assert out["ecc_sbe_volatile_delta"].drop_nulls().ge(0).all()
    known = [v for v in values if v is not None]
    steps = [b - a if b >= a else b for a, b in itertools.pairwise(known)]
    assert sum(deltas) == sum(steps)
