from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from collector.identity import LOST, Identity
from collector.nvml import UNINITIALIZED
from collector.records import READINGS, Inventory
from collector.watchdog import GpuRow, NvmlUnavailableError, Watchdog
from tests.double import Node, eventually


class Heard:
    def __init__(self) -> None:
        self.happenings: list[tuple[str, int | None]] = []
        self.xids: list[tuple[int | None, int]] = []
        self.texts: list[str] = []
        self.inventories: list[tuple[int, dict[str, Any]]] = []

    def happened(self, what: str, gpu: Identity | None, text: str) -> None:
        self.happenings.append((what, gpu.index if gpu else None))
        self.texts.append(text)


@pytest.fixture
def heard() -> Heard:
    return Heard()


def make(node: Node, heard: Heard, now_s: Callable[[], float] = time.monotonic, **more: Any) -> Watchdog:
    return Watchdog(
        library=node.library, deadline_s=0.5, retry_s=0.2, retry_max_s=1.0, now_s=now_s, notify=heard.happened,
        on_xid=lambda gpu, code: heard.xids.append((gpu.index if gpu else None, code)), **more,
    )  # fmt: skip


@pytest.fixture
def watchdog(node: Node, heard: Heard) -> Iterator[Watchdog]:
    dog = make(node, heard)
    yield dog
    dog.close()


class Clock:
    def __init__(self) -> None:
        self.s = 1000.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stocktaker(node: Node, heard: Heard, clock: Clock) -> Iterator[Watchdog]:
    """A watchdog that also asks for inventories, on a clock that only the test moves."""
    dog = make(
        node, heard, clock, on_inventory=lambda gpu, facts: heard.inventories.append((gpu.index, facts))
    )
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
    # profiling is what happened between two samples: there is none in the first tick
    eventually(lambda: all(None not in (r.values or [None]) for r in watchdog.tick()))
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


@pytest.mark.parametrize("reading", ["ecc_dbe_volatile", "temperature_c", "remap_failure", "bar1_used_mib"])
def test_zero_is_not_missing_and_missing_is_not_zero(reading: str, watchdog: Watchdog, node: Node):
    """Through the child and its pipe; every reading is tried in test_nvml_reader.py."""
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


def test_a_hang_of_thirty_seconds_is_one_event_and_its_end_says_how_long(
    node: Node, heard: Heard, clock: Clock
):
    dog = make(node, heard, clock)
    try:
        dog.tick()
        node.set(3, hang=1)
        for _ in range(4):  # tried again each time its pause is over, and still hung
            rows = by_index(dog.tick())
            assert rows[3].state == "hung"
            assert [rows[i].state for i in range(8) if i != 3] == ["ok"] * 7
            clock.s += 10.0
        assert by_index(dog.tick())[3].gap_s == 40.0
        node.set(3, hang=0)
        clock.s += 10.0
        assert by_index(dog.tick())[3].state == "ok"
    finally:
        dog.close()
    assert heard.happenings == [("nvml_hang", 3), ("nvml_recovered", 3)]
    assert "after 50 s" in heard.texts[-1]


def test_a_driver_reload_is_one_bad_tick_and_then_counters_from_zero(watchdog: Watchdog, node: Node):
    node.set(0, ecc_sbe_volatile=40)
    assert value(by_index(watchdog.tick())[0], "ecc_sbe_volatile") == 40
    node.extra = {"generation": 2}
    node.set(0, ecc_sbe_volatile=1)
    rows = watchdog.tick()
    assert {(r.state, r.nvml_return) for r in rows} == {("error", UNINITIALIZED)}
    rows = watchdog.tick()
    assert [r.state for r in rows] == ["ok"] * 8
    assert value(by_index(rows)[0], "ecc_sbe_volatile") == 1
    assert watchdog.restarts == 1


def test_while_the_driver_is_being_replaced_there_is_no_nvml_and_then_there_is(
    watchdog: Watchdog, node: Node
):
    watchdog.tick()
    node.extra = {"generation": 2, "init": "!18"}
    node.write()
    watchdog.tick()
    with pytest.raises(NvmlUnavailableError):
        watchdog.tick()
    node.extra = {"generation": 2}
    node.write()
    assert [r.state for r in watchdog.tick()] == ["ok"] * 8


def test_a_card_in_the_place_of_another_starts_its_own_history(watchdog: Watchdog, node: Node, heard: Heard):
    before = by_index(watchdog.tick())[4].identity
    node.extra = {"generation": 2}
    node.set(4, uuid="GPU-fresh", serial="42")
    watchdog.tick()
    rows = watchdog.tick()
    assert [r.identity.uuid for r in rows if r.identity.index == 4] == ["GPU-fresh"]
    assert by_index(rows)[4].gap_s is None, "the new card has no history"
    assert before.uuid not in {r.identity.uuid for r in rows}
    assert heard.happenings == []


def test_a_lost_card_that_comes_back_as_another_one_is_noticed_without_a_restart(
    watchdog: Watchdog, node: Node
):
    watchdog.tick()
    node.set(4, lost=1)
    assert by_index(watchdog.tick())[4].state == "lost"
    node.set(4, lost=0, uuid="GPU-fresh")
    rows = watchdog.tick()
    assert by_index(rows)[4].identity.uuid == "GPU-fresh"
    assert watchdog.restarts == 0


def test_indices_that_move_up_do_not_turn_one_missing_gpu_into_another(
    watchdog: Watchdog, node: Node, heard: Heard
):
    """After a reload without GPU 3 the driver counts 7, and each GPU behind it answers one index lower."""
    names = {r.identity.index: r.identity.uuid for r in watchdog.tick()}
    kept = [node.values[i] for i in range(8) if i != 3]
    node.values = dict(enumerate(kept))
    node.extra = {"generation": 2}
    node.write()
    watchdog.tick()
    states = {r.identity.uuid: r.state for r in watchdog.tick()}
    assert states == {uuid: "missing" if index == 3 else "ok" for index, uuid in names.items()}
    states = {r.identity.uuid: r.state for r in watchdog.tick()}
    assert states[names[3]] == "missing", "and it stays so"
    assert heard.happenings == [("gpu_missing", 3)]


def test_an_inventory_comes_once_for_each_gpu_and_fits_the_record(stocktaker: Watchdog, heard: Heard):
    stocktaker.tick()
    stocktaker.tick()
    assert sorted(index for index, _ in heard.inventories) == list(range(8))
    index, facts = heard.inventories[2]
    record = Inventory(time=0.0, node="n1", gpu_uuid="GPU-x", **facts)
    assert (record.minor, record.architecture, record.tlimit_shutdown_c) == (index, "Hopper", -8)
    unsaid = {f for f in record.__struct_fields__ if getattr(record, f) is None}
    assert unsaid == {"gpu_index", "pci_bdf", "inforom_power_version"}


def test_a_changed_fact_is_told_within_five_minutes_and_an_unchanged_one_is_not(
    stocktaker: Watchdog, node: Node, heard: Heard, clock: Clock
):
    stocktaker.tick()
    heard.inventories.clear()
    node.set(5, mig_mode=1, mig_mode_pending=1)
    for _ in range(299):
        clock.s += 1.0
        if clock.s % 60 == 0:
            stocktaker.tick()
    assert heard.inventories == []
    for _ in range(8):  # one GPU in each tick
        clock.s += 1.0
        stocktaker.tick()
    assert [(index, facts["mig_mode"]) for index, facts in heard.inventories] == [(5, 1)]


def test_another_driver_version_is_told_at_once(stocktaker: Watchdog, node: Node, heard: Heard):
    stocktaker.tick()
    heard.inventories.clear()
    node.extra = {"generation": 2, "driver_version": "590.10"}
    node.write()
    stocktaker.tick()
    stocktaker.tick()
    assert {facts["driver_version"] for _, facts in heard.inventories} == {"590.10"}
    assert len(heard.inventories) == 8


def test_a_fact_that_is_not_offered_is_unknown_and_a_lost_gpu_tells_nothing(
    stocktaker: Watchdog, node: Node, heard: Heard
):
    node.set(1, serial=None, persistence_mode="!999", name="!14", chassis_serial=None)
    node.set(2, lost=1)
    stocktaker.tick()
    facts = dict(heard.inventories)
    assert {"serial", "persistence_mode", "chassis_serial"} & set(facts[1]) == set()
    assert (facts[1]["module_id"], facts[1]["ecc_mode"]) == (2, 1)
    assert 2 not in facts
    node.set(2, lost=0)
    stocktaker.tick()
    assert 2 in dict(heard.inventories)


def test_nobody_is_asked_for_an_inventory_that_nobody_wants(watchdog: Watchdog, node: Node):
    watchdog.tick()
    node.set(0, mig_mode=1)
    assert [r.state for r in watchdog.tick()] == ["ok"] * 8
