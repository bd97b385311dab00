from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.errors import ForeshockError
from models import nodetrace, titan
from models.history import NEVER_DAYS, Rows, Trace, rows, target_faults, thinned

FAULT = st.tuples(
    st.integers(0, 3),
    st.floats(0, 100),
    st.one_of(st.none(), st.floats(0, 20)),
    st.sampled_from(["gpu", "fan"]),
)
Fault = tuple[int, float, float | None, str]


def trace(faults: list[Fault], n_units: int = 4) -> Trace:
    """`faults`: unit, begin, length (None: still open), kind."""
    names = [f"n{i}" for i in range(n_units)]
    table = pl.DataFrame(
        [(names[u], b, None if n is None else b + n, k, f"c{u}-0c0s0n0") for u, b, n, k in faults],
        schema={"unit": pl.String, "begin_day": pl.Float64, "end_day": pl.Float64, "kind": pl.String,
                "place": pl.String},
        orient="row",
    )  # fmt: skip
    lives = pl.DataFrame({"unit": names}).with_columns(
        begin_day=pl.lit(-1.0), end_day=pl.lit(float("inf")), place=pl.lit("c0-0c0s0n0")
    )
    return Trace("made", table, lives, names, 100.0, 8, ("gpu",), ("gpu", "fan"))


def same(a: Rows, b: Rows) -> bool:
    return a.x.equals(b.x) and np.array_equal(a.unit, b.unit)


@settings(max_examples=60)
@given(st.lists(FAULT, max_size=20), st.floats(1, 99))
def test_no_feature_knows_of_what_happens_at_or_after_the_cut(faults: list[Fault], cut: float) -> None:
    """Delete the future, or make another: no feature and nobody's being in service may change."""
    past: list[Fault] = [
        (u, b, n if n is None or b + n < cut else None, k) for u, b, n, k in faults if b < cut
    ]
    other = [*past, (1, cut, 1.0, "gpu"), (2, cut + 1, None, "fan")]
    now = rows(trace(faults), [cut], 7)
    assert same(now, rows(trace(past), [cut], 7))
    assert same(now, rows(trace(other), [cut], 7))


def test_a_label_that_leaked_into_a_feature_would_be_seen() -> None:
    """The test above can fail: a count that includes the cut's own day differs when the future is deleted."""
    with_future, without = trace([(0, 50.0, 1.0, "gpu")]), trace([])
    leaky = [t.faults.filter(pl.col("begin_day") <= 50.0).height for t in (with_future, without)]
    assert leaky[0] != leaky[1]
    assert rows(with_future, [50.0], 7).x["target_all"][0] == 0
    assert rows(with_future, [50.001 + 1], 7).x["target_all"][0] == 1


def test_the_label_is_a_target_fault_from_the_cut_up_to_the_horizon() -> None:
    t = trace([(0, 10.0, 1.0, "gpu"), (1, 17.0, 1.0, "gpu"), (2, 12.0, 1.0, "fan"), (3, 9.9, 0.05, "gpu")])
    assert rows(t, [10.0], 7).label.tolist() == [True, False, False, False]


def test_counts_decay_and_time_since() -> None:
    x = rows(trace([(0, 40.0, 2.0, "gpu"), (0, 95.0, 1.0, "fan")]), [100.0], 7).x
    first = x.row(0, named=True)
    assert (first["target_30d"], first["target_90d"], first["other_7d"]) == (0, 1, 1)
    assert first["target_decayed_30d"] == pytest.approx(0.25)
    assert first["class_fan_90d"] == pytest.approx(0.5 ** (5 / 90))
    assert (first["days_since_target"], first["days_since_other"]) == (60, 5)
    assert first["repair_mean_days"] == pytest.approx(1.5)
    assert x["days_since_target"][1] == NEVER_DAYS
    assert x["repeat"].to_list() == [1, 0, 0, 0]


def test_a_unit_under_repair_is_not_ranked() -> None:
    assert rows(trace([(0, 10.0, 5.0, "fan")]), [12.0], 7).unit.tolist() == [1, 2, 3]
    assert rows(trace([(0, 10.0, 5.0, "fan")]), [15.5], 7).unit.tolist() == [0, 1, 2, 3]


def test_peers_are_others_in_the_same_cabinet() -> None:
    t = trace([(0, 90.0, 1.0, "gpu")])
    assert rows(t, [100.0], 7).x["cabinet_90d"].to_list() == [0, 1, 1, 1]


def test_thinning_keeps_every_hit() -> None:
    t = trace([(0, 10.0, 1.0, "gpu")])
    every = rows(t, np.arange(1.0, 90.0), 7)
    few = thinned(every, per_hit=2, at_least=0)
    assert few.label.sum() == every.label.sum()
    assert len(few.label) == 3 * every.label.sum()


def test_the_node_trace_reads_as_published(shared_data: Path) -> None:
    t = nodetrace.read(shared_data / "infinitehbd_trace")
    assert len(t.units) == 400
    assert (t.faults["kind"] == "gpu").sum() >= 85
    assert t.faults.filter(pl.col("end_day") < pl.col("begin_day")).is_empty()
    assert len(target_faults(t)[0]) == (t.faults["kind"] == "gpu").sum()


def test_the_titan_record_reads_as_published(shared_data: Path) -> None:
    t = titan.read(shared_data / "titan_gpu_life")
    assert set(t.faults["kind"]) == {"dbe", "otb"}
    assert t.lives.null_count().sum_horizontal()[0] == 0
    assert t.lives["batch"].is_between(1200, 1952).all()


@pytest.mark.parametrize("read", [nodetrace.read, titan.read])
def test_a_folder_without_the_file_says_what_to_do(tmp_path: Path, read: object) -> None:
    assert callable(read)
    with pytest.raises(ForeshockError) as told:
        read(tmp_path)
    assert "docs/data.md" in told.value.hint


def test_a_burst_of_one_card_is_one_fault(tmp_path: Path) -> None:
    lines = ["SN,location,insert,remove,duration,out,event",
             "0323712022158,c1-3c1s0n0,2014-01-21 00:00:00,2016-07-19 20:15:23,1,TRUE,DBE"]  # fmt: skip
    lines += [f"0323712022158,c1-3c1s0n0,,2016-07-19 19:{m:02}:00,,," + "DBE" for m in range(5)]
    (tmp_path / titan.FILE).write_text("\n".join(lines) + "\n")
    assert titan.read(tmp_path).faults.height == 1
