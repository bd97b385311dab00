from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from collector.nvml import LOST
from collector.records import READINGS
from collector.watchdog import GpuRow, NvmlUnavailableError, Watchdog
from tests.double import Node, eventually


class Heard:
    def __init__(self) -> None:
        self.happenings: list[tuple[str, int | None]] = []
        self.xids: list[tuple[int | None, int]] = []


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def watchdog(node: Node, heard: Heard) -> Iterator[Watchdog]:
    dog = Watchdog(
        library=node.library, deadline_s=0.5, retry_s=0.2, retry_max_s=1.0, now_s=time.monotonic,
        notify=lambda what, gpu, _text: heard.happenings.append((what, gpu.index if gpu else None)),
        on_xid=lambda gpu, code: heard.xids.append((gpu.index if gpu else None, code)),
    )  # fmt: skip
    yield dog
    dog.close()


def by_index(rows: list[GpuRow]) -> dict[int, GpuRow]:
    return {r.identity.index: r for r in rows}


def value(row: GpuRow, name: str) -> object:
    assert row.values is not None
    return row.values[READINGS.index(name)]


def test_every_gpu_answers_with_every_reading(watchdog: Watchdog):
    rows = watchdog.tick()
    assert [r.state for r in rows] == ["ok"] * 8
    assert [r.identity.index for r in rows] == list(range(8))
    assert all(None not in (r.values or [None]) for r in rows)
    assert all(r.latency_us is not None and r.latency_us > 0 for r in rows)


def test_an_unsupported_field_is_null_and_the_rest_goes_on(watchdog: Watchdog, node: Node):
    node.set(3, memory_temperature_c=None, power_w=None, ecc_sbe_volatile=0)
    rows = by_index(watchdog.tick())
    assert value(rows[3], "memory_temperature_c") is None
    assert value(rows[3], "power_w") is None
    assert value(rows[3], "ecc_sbe_volatile") == 0
    assert (rows[3].state, rows[3].nvml_return) == ("ok", 0)
    assert [rows[i].state for i in range(8)] == ["ok"] * 8
    assert value(rows[4], "memory_temperature_c") is not None


@pytest.mark.parametrize("reading", READINGS)
def test_zero_is_not_missing_and_missing_is_not_zero(reading: str, watchdog: Watchdog, node: Node):
    node.set(0, **{reading: 0})
    node.set(1, **{reading: None})
    rows = by_index(watchdog.tick())
    assert value(rows[0], reading) == 0
    assert value(rows[0], reading) is not None
    assert value(rows[1], reading) is None


def test_an_error_code_is_kept_and_the_other_readings_too(watchdog: Watchdog, node: Node):
    node.set(2, temperature_c="!999", power_w=300.0)
    row = by_index(watchdog.tick())[2]
    assert (row.state, row.nvml_return) == ("error", 999)
    assert value(row, "temperature_c") is None
    assert value(row, "power_w") == 300.0


def test_a_lost_gpu_stays_reported_as_lost_and_the_other_seven_go_on(
    watchdog: Watchdog, node: Node, heard: Heard
):
    watchdog.tick()
    node.set(5, lost=1)
    for _ in range(3):
        rows = by_index(watchdog.tick())
        assert (rows[5].state, rows[5].nvml_return) == ("lost", LOST)
        assert set(rows[5].values or []) <= {None}
        assert [rows[i].state for i in range(8) if i != 5] == ["ok"] * 7
    assert rows[5].gap_s is not None
    assert rows[5].gap_s > 0
    assert heard.happenings == [("gpu_lost", 5)]


def test_a_hung_gpu_costs_its_own_sample_and_nobody_elses(watchdog: Watchdog, node: Node, heard: Heard):
    watchdog.tick()
    node.set(2, hang=1)
    began = time.monotonic()
    rows = by_index(watchdog.tick())
    assert time.monotonic() - began < 3.0
    assert rows[2].state == "hung"
    assert rows[2].nvml_return is None
    assert [rows[i].state for i in range(8) if i != 2] == ["ok"] * 7
    assert heard.happenings == [("nvml_hang", 2)]


def test_a_hung_gpu_is_asked_again_last_and_its_recovery_is_told(
    watchdog: Watchdog, node: Node, heard: Heard
):
    watchdog.tick()
    node.set(0, hang=1)
    watchdog.tick()
    node.set(0, hang=0)
    eventually(lambda: by_index(watchdog.tick())[0].state == "ok")
    assert heard.happenings == [("nvml_hang", 0), ("nvml_recovered", 0)]
    assert watchdog.restarts == 1


def test_a_hang_at_the_first_tick_is_survived_and_named_later(watchdog: Watchdog, node: Node):
    node.set(7, hang=1)
    rows = watchdog.tick()
    assert [r.identity.index for r in rows] == list(range(7))
    node.set(7, hang=0)
    eventually(lambda: by_index(watchdog.tick()).get(7) is not None)


def test_a_removed_gpu_is_missing_not_forgotten(watchdog: Watchdog, node: Node, heard: Heard):
    watchdog.tick()
    node.set(6, removed=1)
    rows = eventually(lambda: (r := by_index(watchdog.tick()))[6].state in ("missing", "lost") and r)
    assert len(rows) == 8
    assert heard.happenings[0][0] in ("gpu_missing", "gpu_lost")


def test_an_xid_of_the_drivers_event_set_arrives_with_its_gpu(watchdog: Watchdog, node: Node, heard: Heard):
    watchdog.tick()
    node.xid(4, 79)
    assert eventually(lambda: heard.xids) == [(4, 79)]


def test_no_driver_is_an_error_until_there_is_one(watchdog: Watchdog, node: Node):
    node.extra = {"init": "!9"}
    node.write()
    with pytest.raises(NvmlUnavailableError, match="Driver Not Loaded"):
        watchdog.tick()
    node.extra = {}
    node.write()
    assert len(watchdog.tick()) == 8


def test_a_killed_nvml_process_costs_at_most_one_gpu_one_sample(watchdog: Watchdog):
    watchdog.tick()
    children = subprocess.run(
        ["pgrep", "-P", str(os.getpid()), "-f", "collector.nvml_child"],
        capture_output=True,
        text=True,
        check=True,
    )
    os.kill(int(children.stdout.split()[0]), signal.SIGKILL)
    rows = watchdog.tick()
    assert [r.state for r in rows].count("ok") >= 7
    eventually(lambda: all(r.state == "ok" for r in watchdog.tick()))


def test_sixteen_gpus_are_sixteen_rows(node: Node, watchdog: Watchdog):
    from demo.nvml_double.values import default_gpu

    node.values |= {i: default_gpu(i) for i in range(8, 16)}
    node.write()
    rows = watchdog.tick()
    assert len({r.identity.uuid for r in rows}) == 16
