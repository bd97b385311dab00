"""The player as a process and as a loop on a faked clock."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from collector.errors import ForeshockError
from demo.nvml_double.values import default_gpu
from demo.player import Outputs, node_at, play
from demo.scenario import NO_FAULT, nvlink_then_off_the_bus
from demo.simulated_trace import COLUMNS, write_simulated_trace
from demo.trace import load_trace

ROOT = Path(__file__).resolve().parents[2]


class SteppedClock:
    """Sleeping moves it; `late_s` more passes with each sleep, as on a busy machine."""

    def __init__(self, late_s: float = 0.0) -> None:
        self.now_s = 5000.0
        self._late_s = late_s

    def time_s(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds + self._late_s


@pytest.fixture(scope="session")
def trace_csv(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("player") / "trace.csv"
    write_simulated_trace(file, duration_s=120)
    return Path(file)


@pytest.fixture
def out(tmp_path) -> Outputs:
    return Outputs(tmp_path / "values", tmp_path / "events", tmp_path / "kmsg")


def read_values(file: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in file.read_text().splitlines())


def never() -> bool:
    return False


@pytest.mark.parametrize("late_s", [0.0, 3.7])
def test_the_whole_story_is_played_once_even_when_ticks_are_late(trace_csv, out, late_s):
    play(load_trace(trace_csv), nvlink_then_off_the_bus(), out, SteppedClock(late_s), never,
         start_unix_s=5000.0, duration_s=680.0)  # fmt: skip
    assert out.events.read_text().splitlines() == ["2 31", "5 63", "5 79"]
    records = [line.split(";", 1) for line in out.kmsg.read_text().splitlines()]
    assert [head.split(",")[:2] for head, _ in records] == [["3", str(n)] for n in range(1, 7)]
    assert [text.split("): ")[1].split(",")[0] for _, text in records if "Xid (" in text] == [
        "31", "63", "79", "154", "45",
    ]  # fmt: skip
    values = read_values(out.values)
    assert (values["gpu5.lost"], values["gpu4.lost"], values["count"]) == ("1", "0", "8")


def test_a_restarted_player_goes_on_counting_its_kernel_lines(trace_csv, out):
    for _ in range(2):
        play(load_trace(trace_csv), nvlink_then_off_the_bus(), out, SteppedClock(), never,
             start_unix_s=5000.0, duration_s=310.0)  # fmt: skip
    numbers = [int(line.split(",")[1]) for line in out.kmsg.read_text().splitlines()]
    assert numbers == [1, 2]


def test_values_follow_the_trace(trace_csv, out):
    trace = load_trace(trace_csv)
    play(trace, NO_FAULT, out, SteppedClock(), never, start_unix_s=5000.0, duration_s=61.0)
    values = read_values(out.values)
    assert values["gpu3.power_w"] == str(trace.at(60.0)[3]["power_w"])
    assert values["gpu3.uuid"] == default_gpu(3)["uuid"]
    assert out.kmsg.read_text() == out.events.read_text() == ""


def test_what_a_recording_lacks_follows_from_what_it_has(trace_csv):
    trace = load_trace(trace_csv)
    idle, busy = node_at(trace, NO_FAULT, 0.0)[0], node_at(trace, NO_FAULT, 60.0)[0]
    assert (idle["sm_clock_mhz"], busy["sm_clock_mhz"]) == (345, 1980)
    core_c, memory_c = busy["temperature_c"], busy["memory_temperature_c"]
    assert isinstance(core_c, int)
    assert memory_c == core_c + 6


def test_a_trace_without_the_failing_gpu_is_an_error(tmp_path, out):
    file = tmp_path / "one.csv"
    file.write_text(f"{','.join(COLUMNS)}\n0.0,init,0,H100,70,30,3,81559,0,0,0,0,0,0,0,0,0,0,1,5\n")
    with pytest.raises(ForeshockError, match="GPU 2, the trace has only 0"):
        play(load_trace(file), nvlink_then_off_the_bus(), out, SteppedClock(), never, start_unix_s=0.0)


def command(trace: Path, out: Outputs, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "demo.player", "--values", str(out.values), "--events", str(out.events),
        "--kmsg", str(out.kmsg), "--trace", str(trace), *more,
    ]  # fmt: skip


def test_as_a_process_it_runs_on_the_clock_of_the_config(trace_csv, out, tmp_path):
    config = tmp_path / "foreshock.toml"
    config.write_text(f"[clock]\nspeed = 500.0\norigin_unix_s = {time.time()}\n")
    done = subprocess.run(
        command(trace_csv, out, "--config", str(config), "--duration", "700"),
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert out.events.read_text().splitlines() == ["2 31", "5 63", "5 79"]


def test_as_a_process_it_stops_at_sigterm(trace_csv, out):
    player = subprocess.Popen(command(trace_csv, out), cwd=ROOT)
    try:
        deadline_s = time.monotonic() + 20.0
        while not out.values.exists() and time.monotonic() < deadline_s:
            time.sleep(0.02)
        player.send_signal(signal.SIGTERM)
        assert player.wait(5.0) == 0
    finally:
        player.kill()


def test_a_bad_trace_prints_what_to_do(out, tmp_path):
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    done = subprocess.run(
        command(tmp_path / "bad.csv", out), cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "not a trace" in done.stderr
    assert "Try: a trace is CSV" in done.stderr
