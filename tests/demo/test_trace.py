"""Recorded and simulated traces: mapping to records.py, blanks, and the loop."""

from __future__ import annotations

import itertools
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.errors import ForeshockError
from collector.records import READINGS
from demo.simulated_trace import COLUMNS, write_simulated_trace
from demo.trace import NAMES, Trace, load_trace

RECORDED = Path(__file__).resolve().parents[3] / "shared/data/h100_workload_telemetry"
HEADER = ",".join(COLUMNS)


def row(time_s: float, gpu: int, power_w: object = 70.5, temp_c: object = 30, energy_mj: object = 0) -> str:
    return f"{time_s:.3f},init,{gpu},H100,{power_w},{temp_c},3,81559,0,0,0,0,0,0,0,0,0,0,1,{energy_mj}"


def number(value: object) -> float:
    assert isinstance(value, int | float)
    return value


def trace_file(tmp_path: Path, *rows: str, header: str = HEADER) -> Path:
    file = tmp_path / "trace.csv"
    file.write_text("\n".join((header, *rows, "")))
    return file


def test_columns_become_the_names_and_units_of_the_records(tmp_path):
    line = "1000.0,steady,0,H100,650.5,61,70000,81559,99,48,0.9,0.7,0.5,0.7,1,1,1,1,4,1500"
    assert load_trace(trace_file(tmp_path, line)).at(0.0) == {
        0: {
            "power_w": 650.5,
            "temperature_c": 61,
            "memory_used_mib": 70000.0,
            "memory_total_mib": 81559.0,
            "sm_util_pct": 99,
            "mem_util_pct": 48,
            "clock_event_reasons": 4,
            "energy_j": 1.5,
            "name": "H100",
        }
    }
    assert set(NAMES.values()) - set(READINGS) == {"name"}


@pytest.mark.parametrize("blank", ["", "N/A", "[N/A]", "nan", "inf"])
def test_a_blank_cell_is_null_and_a_zero_is_zero(tmp_path, blank):
    file = trace_file(
        tmp_path,
        row(0.0, 0, power_w=blank, temp_c=blank, energy_mj=blank),
        row(0.0, 1, power_w=0, temp_c=0, energy_mj=0),
    )
    values = load_trace(file).at(0.0)
    assert [values[0][name] for name in ("power_w", "temperature_c", "energy_j")] == [None, None, None]
    assert [values[1][name] for name in ("power_w", "temperature_c", "energy_j")] == [0, 0, 0]


def test_a_sample_holds_until_the_next_one_of_the_same_gpu(tmp_path):
    file = trace_file(
        tmp_path, row(10.0, 0, 1), row(10.0, 1, 5), row(10.5, 0, 2), row(11.0, 0, 3), row(11.0, 1, 6)
    )
    trace = load_trace(file)
    assert [trace.at(t)[0]["power_w"] for t in (0.0, 0.49, 0.5, 0.99, 1.0, 1.4)] == [1, 1, 2, 2, 3, 3]
    assert [trace.at(t)[1]["power_w"] for t in (0.0, 0.99, 1.0)] == [5, 5, 6]


def test_a_gpu_that_was_recorded_late_starts_with_its_first_sample(tmp_path):
    trace = load_trace(trace_file(tmp_path, row(0.0, 0), row(1.0, 0), row(1.0, 1, 99)))
    assert trace.at(0.0)[1]["power_w"] == 99


def test_it_starts_again_after_its_end_and_energy_goes_on(tmp_path):
    file = trace_file(tmp_path, *(row(t, 0, power_w=t, energy_mj=1e6 + 1000 * t) for t in range(10)))
    trace = load_trace(file)
    assert trace.duration_s == 10.0
    assert [trace.at(t)[0]["power_w"] for t in (9.0, 10.0, 19.9, 20.0)] == [9, 0, 9, 0]
    assert [trace.at(t)[0]["energy_j"] for t in (0, 9, 10, 19, 20)] == [1000, 1009, 1009, 1018, 1018]


def test_rows_in_any_order_are_sorted_by_time(tmp_path):
    trace = load_trace(trace_file(tmp_path, row(2.0, 0, 3), row(0.0, 0, 1), row(1.0, 0, 2)))
    assert [trace.at(t)[0]["power_w"] for t in (0, 1, 2)] == [1, 2, 3]


def test_a_time_before_the_start_is_the_start(tmp_path):
    assert load_trace(trace_file(tmp_path, row(0.0, 0, 7), row(1.0, 0, 8))).at(-5.0)[0]["power_w"] == 7


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no column timestamp"),
        ("gpu,power\n0,1\n", "no column timestamp"),
        (HEADER.replace("power_w", "watts") + "\n", "no column power_w"),
        (HEADER + "\n", "no samples"),
        (f"{HEADER}\n{row(0.0, 0, power_w='hot')}\n", "not a trace"),
        (f"{HEADER}\n{row(0.0, 0).replace(',init,0,', ',init,,')}\n", "without timestamp or gpu"),
    ],
)
def test_a_file_that_is_no_trace_is_an_error_that_says_why(tmp_path, content, said):
    file = tmp_path / "trace.csv"
    file.write_text(content)
    with pytest.raises(ForeshockError, match=said) as caught:
        load_trace(file)
    assert "timestamp" in caught.value.hint


def test_binary_and_absent_files_are_errors_with_a_hint(tmp_path):
    binary = tmp_path / "trace.parquet"
    binary.write_bytes(b"PAR1\xff\xfe\x00" * 10)
    for file in (binary, tmp_path / "absent.csv", tmp_path):
        with pytest.raises(ForeshockError) as caught:
            load_trace(file)
        assert caught.value.hint


@pytest.fixture(scope="session")
def simulated(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("simulated") / "trace.csv"
    write_simulated_trace(file, seed=1, duration_s=300)
    return Path(file)


@pytest.fixture(scope="session")
def simulated_trace(simulated) -> Trace:
    return load_trace(simulated)


@given(elapsed_s=st.floats(0, 3000), later_s=st.floats(0, 3000))
def test_energy_never_falls_across_loops(simulated_trace, elapsed_s, later_s):
    trace = simulated_trace
    before, after = trace.at(elapsed_s), trace.at(elapsed_s + later_s)
    for gpu in trace.gpus:
        assert number(after[gpu]["energy_j"]) >= number(before[gpu]["energy_j"])


def test_the_simulated_trace_is_the_same_for_the_same_seed(tmp_path):
    one, two, other = (tmp_path / name for name in ("1.csv", "2.csv", "3.csv"))
    write_simulated_trace(one, seed=7, duration_s=60)
    write_simulated_trace(two, seed=7, duration_s=60)
    write_simulated_trace(other, seed=8, duration_s=60)
    assert one.read_bytes() == two.read_bytes() != other.read_bytes()


def test_the_simulated_trace_says_that_it_is_synthetic(simulated):
    phases = pl.read_csv(simulated)["phase"].unique().to_list()
    assert phases
    assert all(phase.startswith("synthetic-") for phase in phases)


def test_the_simulated_job_looks_like_a_synchronous_training_job(simulated):
    frame = pl.read_csv(simulated)
    assert tuple(frame.columns) == COLUMNS
    steady = frame.filter(pl.col("phase") == "synthetic-steady")
    power_w = sorted(steady["power_w"].to_list())
    assert 600 < power_w[len(power_w) // 2] < 700
    assert power_w[len(power_w) // 20] < 450  # all-reduce dips
    assert max(frame.filter(pl.col("phase") == "synthetic-checkpoint")["power_w"].to_list()) < 200
    assert frame["temp_c"].is_between(25, 80).all()
    spread_w = steady.group_by("timestamp").agg(pl.col("power_w").max() - pl.col("power_w").min())
    assert max(spread_w["power_w"].to_list()) < 100  # all GPUs together, while the job swings by 200 W


def test_simulated_temperature_follows_power_with_a_lag(simulated):
    temps = pl.read_csv(simulated).filter(pl.col("gpu") == 3).sort("timestamp")["temp_c"].to_list()
    assert max(temps) > temps[0] + 25
    assert max(abs(b - a) for a, b in itertools.pairwise(temps)) <= 2


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded H100 traces are not on this machine")
def test_every_recorded_trace_loads_and_replays():
    files = sorted(RECORDED.glob("*.csv"))
    assert files
    for file in files:
        trace = load_trace(file)
        assert trace.gpus == tuple(range(8)), file.name
        assert 300 < trace.duration_s < 400, file.name
        previous = dict.fromkeys(trace.gpus, 0.0)
        for tick in range(0, int(2.5 * trace.duration_s), 5):
            values = trace.at(float(tick))
            for gpu in trace.gpus:
                assert 50 < number(values[gpu]["power_w"]) < 800, (file.name, tick)
                energy_j = number(values[gpu]["energy_j"])
                assert energy_j >= previous[gpu], (file.name, tick)
                previous[gpu] = energy_j
