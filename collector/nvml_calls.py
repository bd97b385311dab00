"""The readings that have an NVML call of their own. Arguments are made once and used again for every GPU."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import byref, c_uint, c_ulonglong
from typing import Any, Final

import pynvml as nv

from collector import nvml
from collector.nvml_fields import Values
from collector.records import FIELDS, READINGS

_MIB: Final = 2**20
_EVERY_S: Final = {f.name: f.every_s for f in FIELDS}
_MORE_THAN_FITS: Final = int(nv.NVML_ERROR_INSUFFICIENT_SIZE)

_Driver = Callable[[Any], int]
"""Asks about a handle: the return code. What it found lies in the arguments it was made with."""


class Call:
    """One driver call and the readings it gives. `older` is what drivers had before it."""

    def __init__(
        self,
        ask: _Driver,
        readings: tuple[str, ...],
        take: Callable[[], tuple[object, ...]],
        older: Call | None = None,
    ) -> None:
        self._ask = ask
        self._take = take
        self._at = tuple(READINGS.index(name) for name in readings)
        self._older = older
        (self.every_s,) = {_EVERY_S[name] for name in readings}

    def read(self, h: Any, values: Values) -> int:
        """Write the readings, or None; the return code if it is a failure."""
        code = self._ask(h)
        if code == 0:
            for at, value in zip(self._at, self._take(), strict=True):
                values[at] = value
            return 0
        if self._older is not None and code in nvml.ABSENT:
            return self._older.read(h, values)
        for at in self._at:
            values[at] = None
        return 0 if code in nvml.ABSENT else int(code)


def _asking(name: str, *arguments: Any) -> _Driver:
    function = nvml.function(name)
    return lambda h: function(h, *arguments)


def _uint(name: str, reading: str, *before: Any, factor: float | None = None) -> Call:
    """A call with one unsigned int as its last argument."""
    out = c_uint()

    def take() -> tuple[object]:
        value = nvml.known(out.value)
        return (value if factor is None or value is None else value * factor,)

    return Call(_asking(name, *before, byref(out)), (reading,), take)


def make() -> tuple[Call, ...]:
    """All calls, those of every tick first."""
    calls = (
        _utilization(), _temperature(), _memory(), _clock_event_reasons(),
        _uint("nvmlDeviceGetPowerUsage", "power_w", factor=1e-3),
        _uint("nvmlDeviceGetClockInfo", "sm_clock_mhz", nv.NVML_CLOCK_SM),
        _uint("nvmlDeviceGetClockInfo", "mem_clock_mhz", nv.NVML_CLOCK_MEM),
        _uint("nvmlDeviceGetCurrPcieLinkGeneration", "pcie_generation"),
        _uint("nvmlDeviceGetCurrPcieLinkWidth", "pcie_width"),
        _uint("nvmlDeviceGetEnforcedPowerLimit", "power_limit_w", factor=1e-3),
        _uint("nvmlDeviceGetClockInfo", "graphics_clock_mhz", nv.NVML_CLOCK_GRAPHICS),
        _uint("nvmlDeviceGetClockInfo", "video_clock_mhz", nv.NVML_CLOCK_VIDEO),
        _margin(), _processes(), _fabric(),
        _engine("nvmlDeviceGetEncoderUtilization", "encoder_util_pct"),
        _engine("nvmlDeviceGetDecoderUtilization", "decoder_util_pct"),
        _engine("nvmlDeviceGetJpgUtilization", "jpg_util_pct"),
        _engine("nvmlDeviceGetOfaUtilization", "ofa_util_pct"),
        _bar1(), _sram(), _sram_unique(), _row_histogram(), _repair(),
        # pynvml's struct for this one has a version that NVIDIA's header does not
        _uint("nvmlDeviceGetUnrepairableMemoryFlag_v1", "memory_unrepairable"),
    )  # fmt: skip
    return tuple(sorted(calls, key=lambda c: c.every_s))


def _utilization() -> Call:
    out = nv.c_nvmlUtilization_t()
    ask = _asking("nvmlDeviceGetUtilizationRates", byref(out))
    return Call(ask, ("sm_util_pct", "mem_util_pct"), lambda: (nvml.known(out.gpu), nvml.known(out.memory)))


def _temperature() -> Call:
    out = nv.c_nvmlTemperature_v1_t(version=nv.nvmlTemperature_v1, sensorType=nv.NVML_TEMPERATURE_GPU)
    older = _uint("nvmlDeviceGetTemperature", "temperature_c", nv.NVML_TEMPERATURE_GPU)  # before R575
    ask = _asking("nvmlDeviceGetTemperatureV", byref(out))
    return Call(ask, ("temperature_c",), lambda: (out.temperature,), older)


def _memory() -> Call:
    names = ("memory_used_mib", "memory_total_mib", "memory_free_mib", "memory_reserved_mib")
    old, out = nv.c_nvmlMemory_t(), nv.c_nvmlMemory_v2_t(version=nv.nvmlMemory_v2)
    older = Call(
        _asking("nvmlDeviceGetMemoryInfo", byref(old)), names,
        lambda: (old.used / _MIB, old.total / _MIB, old.free / _MIB, None),
    )  # fmt: skip
    return Call(
        _asking("nvmlDeviceGetMemoryInfo_v2", byref(out)), names,
        lambda: (out.used / _MIB, out.total / _MIB, out.free / _MIB, out.reserved / _MIB), older,
    )  # fmt: skip


def _clock_event_reasons() -> Call:
    def named(name: str, older: Call | None = None) -> Call:
        out = c_ulonglong()
        ask = _asking(name, byref(out))
        return Call(ask, ("clock_event_reasons",), lambda: (nvml.known(out.value),), older)

    return named("nvmlDeviceGetCurrentClocksEventReasons", named("nvmlDeviceGetCurrentClocksThrottleReasons"))


def _margin() -> Call:
    out = nv.c_nvmlMarginTemperature_v1_t(version=nv.nvmlMarginTemperature_v1)
    ask = _asking("nvmlDeviceGetMarginTemperature", byref(out))
    return Call(ask, ("temperature_margin_c",), lambda: (out.marginTemperature,))


def _engine(name: str, reading: str) -> Call:
    share, period_us = c_uint(), c_uint()
    return Call(_asking(name, byref(share), byref(period_us)), (reading,), lambda: (nvml.known(share.value),))


def _processes() -> Call:
    """With no room for the list the call still says how long it would be."""
    function, count = nvml.function("nvmlDeviceGetComputeRunningProcesses_v3"), c_uint()

    def ask(h: Any) -> int:
        count.value = 0
        code = function(h, byref(count), None)
        return 0 if code == _MORE_THAN_FITS and count.value > 0 else code

    return Call(ask, ("compute_processes",), lambda: (count.value,))


def _fabric() -> Call:
    names = ("fabric_state", "fabric_status", "fabric_health_mask", "fabric_health_summary")
    old, out = nv.c_nvmlGpuFabricInfo_v2_t(), nv.c_nvmlGpuFabricInfo_v3_t()
    call = "nvmlDeviceGetGpuFabricInfoV"
    older = Call(
        _asking(call, byref(old)), names, lambda: (old.state, old.status, old.healthMask, None)
    )  # before R575
    return Call(
        _asking(call, byref(out)), names,
        lambda: (out.state, out.status, out.healthMask, out.healthSummary), older,
    )  # fmt: skip


def _bar1() -> Call:
    out = nv.c_nvmlBAR1Memory_t()
    return Call(
        _asking("nvmlDeviceGetBAR1MemoryInfo", byref(out)), ("bar1_used_mib",), lambda: (out.bar1Used / _MIB,)
    )


_SRAM: Final = {
    "sram_correctable_volatile": "volatileCor", "sram_parity_volatile": "volatileUncParity",
    "sram_secded_volatile": "volatileUncSecDed", "sram_correctable_aggregate": "aggregateCor",
    "sram_parity_aggregate": "aggregateUncParity", "sram_secded_aggregate": "aggregateUncSecDed",
    "sram_l2_aggregate": "aggregateUncBucketL2", "sram_sm_aggregate": "aggregateUncBucketSm",
    "sram_pcie_aggregate": "aggregateUncBucketPcie", "sram_mcu_aggregate": "aggregateUncBucketMcu",
    "sram_other_aggregate": "aggregateUncBucketOther", "sram_threshold_exceeded": "bThresholdExceeded",
}  # fmt: skip


def _sram() -> Call:
    out = nv.c_nvmlEccSramErrorStatus_v1_t()

    def take() -> tuple[object, ...]:
        return tuple(nvml.known(getattr(out, member)) for member in _SRAM.values())

    return Call(_asking("nvmlDeviceGetSramEccErrorStatus", byref(out)), tuple(_SRAM), take)


def _sram_unique() -> Call:
    """With no room for the addresses the call still says how many there are."""
    function = nvml.function("nvmlDeviceGetSramUniqueUncorrectedEccErrorCounts")
    out = nv.c_nvmlEccSramUniqueUncorrectedErrorCounts_v1_t()

    def ask(h: Any) -> int:
        out.entryCount = 0
        code = function(h, byref(out))
        return 0 if code == _MORE_THAN_FITS and out.entryCount > 0 else code

    return Call(ask, ("sram_unique_uncorrected",), lambda: (out.entryCount,))


def _row_histogram() -> Call:
    out = nv.c_nvmlRowRemapperHistogramValues()
    members = ("max", "high", "partial", "low", "none")

    def take() -> tuple[object, ...]:
        return tuple(nvml.known(getattr(out, member)) for member in members)

    names = tuple(f"remap_banks_{m}" for m in members)
    return Call(_asking("nvmlDeviceGetRowRemapperHistogram", byref(out)), names, take)


def _repair() -> Call:
    out = nv.c_nvmlRepairStatus_t()
    ask = _asking("nvmlDeviceGetRepairStatus", byref(out))
    names = ("channel_repair_pending", "tpc_repair_pending")
    return Call(ask, names, lambda: (out.bChannelRepairPending, out.bTpcRepairPending))
