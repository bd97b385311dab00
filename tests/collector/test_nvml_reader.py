"""The reader over the driver double, in this process, through pynvml's library and NVIDIA's own field numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pynvml as nv
import pytest

from collector import nvml
from collector.nvml_gpm import METRICS
from collector.nvml_reader import SLOW_PERIODS_S, Reader, Reading, calls_per_gpu
from collector.records import FIELDS, READINGS
from tests.double import Node

GPM = frozenset(METRICS)
BER = frozenset({"nvlink5_effective_ber", "nvlink5_symbol_ber"})
SLOW = tuple(f.name for f in FIELDS if f.every_s > 1)
CODES = sorted(
    {getattr(nv, name) for name in dir(nv) if name.startswith("NVML_ERROR_")} - {nv.NVML_ERROR_UNINITIALIZED}
)


class Bench:
    """One GPU, its reader, and a clock that only the test moves."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.now_s = 100.0
        self.reader = Reader(nvml.handle(0), lambda: self.now_s)

    def read(self, after_s: float = 1.0) -> Reading:
        self.now_s += after_s
        return self.reader.read()

    def fresh(self) -> Reading:
        """A reading in which everything was due (and GPM has its two samples)."""
        self.read()
        return self.read(max(SLOW_PERIODS_S) + 1)


@pytest.fixture
def bench(node: Node) -> Iterator[Bench]:
    nvml.open_library(node.library)
    made = Bench(node)
    yield made
    made.reader.close()
    nvml.close_library()


def value(reading: Reading, name: str) -> object:
    return reading.values[READINGS.index(name)]


def real(name: str) -> float:
    return 3e-9 if name in BER else 17 if name == "nvlinks_active" else 37


@pytest.mark.parametrize("name", READINGS)
def test_a_value_zero_and_null_are_three_things(name: str, bench: Bench):
    for given in (real(name), 0):
        bench.node.set(0, **{name: given})
        reading = bench.fresh()
        assert value(reading, name) is not None
        assert value(reading, name) == pytest.approx(given, rel=1e-9)
        assert reading.nvml_return == 0
    bench.node.set(0, **{name: None})
    reading = bench.fresh()
    assert value(reading, name) is None
    assert reading.nvml_return == 0, "not offered is not a fault"


@pytest.mark.parametrize("name", READINGS)
def test_a_reading_that_fails_is_null_and_leaves_its_code(name: str, bench: Bench):
    bench.node.set(0, **{name: "!999"})
    reading = bench.fresh()
    assert value(reading, name) is None
    assert reading.nvml_return == (0 if name in GPM else 999)
    unharmed = [n for n, v in zip(READINGS, reading.values, strict=True) if v is not None]
    assert len(unharmed) >= len(READINGS) - 12, "only the readings of the same call go with it"


@pytest.mark.parametrize("code", CODES)
def test_every_code_of_every_reading_is_null_never_a_value_never_an_exception(code: int, bench: Bench):
    bench.node.set(0, **dict.fromkeys(READINGS, f"!{code}"))
    reading = bench.fresh()
    assert set(reading.values) == {None}
    assert reading.nvml_return == (0 if code in nvml.ABSENT else code)


def test_an_argument_the_driver_does_not_know_is_a_field_it_does_not_have(bench: Bench):
    fields = [f.name for f in FIELDS if f.field_ids]
    bench.node.set(0, **dict.fromkeys(fields, f"!{nv.NVML_ERROR_INVALID_ARGUMENT}"))
    reading = bench.fresh()
    assert {value(reading, name) for name in fields} == {None}
    assert reading.nvml_return == 0


@pytest.mark.parametrize("name", SLOW)
def test_a_slow_reading_carries_its_value_until_it_is_due_and_not_a_second_longer(name: str, bench: Bench):
    every_s = next(f.every_s for f in FIELDS if f.name == name)
    before = real(name)
    bench.node.set(0, **{name: before})
    bench.read()
    bench.node.set(0, **{name: 0})
    seen = [value(bench.read(), name) for _ in range(int(every_s))]
    fresh_from = seen.index(0)
    assert fresh_from == every_s - 1, "as of at most every_s ago"
    assert seen[:fresh_from] == pytest.approx([before] * fresh_from)
    assert fresh_from > 0


@pytest.mark.parametrize("name", ["sram_threshold_exceeded", "pcie_fatal_errors", "nvlinks_active"])
def test_a_slow_reading_that_fails_when_due_is_null_and_never_stale(name: str, bench: Bench):
    bench.node.set(0, **{name: 1})
    assert value(bench.read(), name) == 1
    bench.node.set(0, **{name: "!999"})
    failed = bench.read(61)
    assert (value(failed, name), failed.nvml_return) == (None, 999)
    later = bench.read()
    assert (value(later, name), later.nvml_return) == (None, 0), "the code belongs to the tick that asked"


def test_a_short_period_is_read_in_every_tick_however_fast_the_ticks_come(bench: Bench):
    bench.read()
    bench.node.set(0, pcie_replay=5, temperature_c=71)
    reading = bench.read(0.01)
    assert (value(reading, "pcie_replay"), value(reading, "temperature_c")) == (5, 71)


def test_a_lost_gpu_is_null_throughout_and_read_in_full_when_it_is_back(bench: Bench):
    bench.fresh()
    bench.node.set(0, lost=1)
    reading = bench.read()
    assert set(reading.values) == {None}
    assert reading.nvml_return == nvml.LOST
    bench.node.set(0, lost=0, bar1_used_mib=9.0)
    assert value(bench.read(), "bar1_used_mib") == 9.0


@pytest.mark.parametrize("name", ["ecc_dbe_volatile", "temperature_c", "bar1_used_mib", "nvlinks_active"])
def test_one_reading_that_says_the_gpu_is_lost_makes_it_lost(name: str, bench: Bench):
    bench.node.set(0, **{name: f"!{nvml.LOST}"})
    reading = bench.read()
    assert reading.nvml_return == nvml.LOST
    assert set(reading.values) == {None}


def test_a_reloaded_driver_knows_the_handle_no_more_and_its_counters_start_again(bench: Bench):
    bench.node.set(0, ecc_sbe_volatile=40)
    assert value(bench.read(), "ecc_sbe_volatile") == 40
    bench.node.extra = {"generation": 2}
    bench.node.set(0, ecc_sbe_volatile=0)
    reading = bench.read()
    assert reading.nvml_return == nvml.UNINITIALIZED
    assert set(reading.values) == {None}
    nvml.open_library()
    again = Reader(nvml.handle(0), lambda: bench.now_s).read()
    assert (value(again, "ecc_sbe_volatile"), again.nvml_return) == (0, 0)


def test_with_mig_on_what_nvml_forbids_is_null_and_the_rest_is_there(bench: Bench):
    bench.node.set(0, mig_mode=1)
    reading = bench.fresh()
    forbidden = {
        "sm_util_pct", "mem_util_pct", "encoder_util_pct", "decoder_util_pct", "jpg_util_pct", "ofa_util_pct",
    } | GPM  # fmt: skip
    assert {n for n, v in zip(READINGS, reading.values, strict=True) if v is None} == forbidden
    assert reading.nvml_return == 0


def test_a_gpu_without_gpm_has_null_profiling_and_no_fault(node: Node):
    node.set(0, gpm=0)
    nvml.open_library(node.library)
    try:
        bench = Bench(node)
        assert {value(bench.fresh(), name) for name in GPM} == {None}
    finally:
        nvml.close_library()


def test_profiling_needs_two_samples_a_tenth_of_a_second_apart(bench: Bench):
    bench.node.set(0, tensor_active_pct=55)
    assert value(bench.read(), "tensor_active_pct") is None
    assert value(bench.read(0.05), "tensor_active_pct") is None
    assert value(bench.read(0.06), "tensor_active_pct") == 55
    bench.node.set(0, tensor_active_pct=60)
    assert value(bench.read(0.05), "tensor_active_pct") == 55
    assert value(bench.read(1.0), "tensor_active_pct") == 60


def test_a_profiling_metric_that_is_no_number_is_null(bench: Bench):
    bench.node.set(0, dram_active_pct="nan", sm_active_pct=12.5)
    reading = bench.fresh()
    assert value(reading, "dram_active_pct") is None
    assert value(reading, "sm_active_pct") == 12.5


def test_all_ones_is_how_nvml_says_nothing(bench: Bench):
    bench.node.set(
        0,
        ecc_sbe_volatile=2**64 - 1,
        clock_event_reasons=2**63,
        sm_clock_mhz=2**32 - 1,
        pcie_replay=2**32 - 1,
    )
    reading = bench.fresh()
    names = ("ecc_sbe_volatile", "clock_event_reasons", "sm_clock_mhz", "pcie_replay")
    assert [value(reading, n) for n in names] == [None] * 4
    assert all(not isinstance(v, int) or abs(v) < 2**63 for v in reading.values), "fits an Arrow int64"


def test_a_margin_below_zero_is_a_temperature_too_high(bench: Bench):
    bench.node.set(0, temperature_margin_c=-3)
    assert value(bench.fresh(), "temperature_margin_c") == -3


@pytest.mark.parametrize("ratio", [0, 1e-15, 3e-9, 15e-12])
def test_a_bit_error_rate_is_unpacked(ratio: float, bench: Bench):
    bench.node.set(0, nvlink5_symbol_ber=ratio)
    read = value(bench.fresh(), "nvlink5_symbol_ber")
    assert isinstance(read, float)
    assert math.isclose(read, ratio, rel_tol=1e-9)


def test_links_asleep_are_well_and_links_closed_to_traffic_are_not(bench: Bench):
    bench.node.set(0, nvlinks_active=7)  # the double lets half of these sleep, and closes half of the others
    assert value(bench.fresh(), "nvlinks_active") == 7


def test_a_gpu_without_nvlink_has_no_links_rather_than_none_active(node: Node):
    node.set(0, nvlink_count=None)
    nvml.open_library(node.library)
    try:
        reading = Bench(node).fresh()
        assert (value(reading, "nvlinks_active"), reading.nvml_return) == (None, 0)
    finally:
        nvml.close_library()


def test_an_older_driver_is_asked_in_its_own_words(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    from collector import nvml_calls

    newer = {
        "nvmlDeviceGetTemperatureV", "nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetCurrentClocksEventReasons",
    }  # fmt: skip
    known = nvml.function
    missing = int(nv.NVML_ERROR_FUNCTION_NOT_FOUND)
    monkeypatch.setattr(nvml, "function", lambda name: (lambda *_: missing) if name in newer else known(name))
    values: list[object] = [None] * len(READINGS)
    bench.node.set(
        0, temperature_c=44, memory_used_mib=10.0, clock_event_reasons=4, **{"memory_total_mib": 20.0}
    )
    for call in nvml_calls.make():
        assert call.read(nvml.handle(0), values) == 0
    reading = Reading(values, 0, 0)
    names = ("temperature_c", "memory_used_mib", "clock_event_reasons", "memory_reserved_mib")
    assert [value(reading, n) for n in names] == [44, 10.0, 4, None]


def test_lost_is_nvidias_code():
    assert nvml.LOST == nv.NVML_ERROR_GPU_IS_LOST


def test_an_entry_point_that_is_not_there_is_not_found(bench: Bench):
    del bench
    assert nvml.function("nvmlDeviceGetNoSuchThing")(None) == nv.NVML_ERROR_FUNCTION_NOT_FOUND


def test_latency_is_the_time_inside_the_driver_for_the_readings_of_every_tick(bench: Bench):
    calls = calls_per_gpu()
    bench.fresh()
    bench.node.set(0, latency_us=2000)
    ordinary, slow = bench.read(), bench.read(61)
    at_least_us = 2000 * (calls[1.0] + 1)  # and GPM's sample
    for reading in (ordinary, slow):
        assert at_least_us <= reading.latency_us < at_least_us + 2000 * calls[10], reading.latency_us


def test_a_tick_costs_few_driver_calls():
    assert calls_per_gpu()[1.0] <= 10
    assert calls_per_gpu()[10] <= 12
    assert calls_per_gpu()[60] <= 8
