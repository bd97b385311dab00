"""The one door to NVML: one GPU's identity and one GPU's reading, through pynvml.

A reading the GPU does not offer is None. Any other failure is None too and leaves its return code behind.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pynvml as nv

from collector.errors import ForeshockError
from collector.records import READINGS

LOST = int(nv.NVML_ERROR_GPU_IS_LOST)
XID_EVENT = int(nv.nvmlEventTypeXidCriticalError)

_ABSENT = frozenset({
    nv.NVML_ERROR_NOT_SUPPORTED, nv.NVML_ERROR_FUNCTION_NOT_FOUND, nv.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
    nv.NVML_ERROR_DEPRECATED, nv.NVML_ERROR_NO_DATA, nv.NVML_ERROR_NO_PERMISSION,
})  # fmt: skip
"""Codes that mean "this GPU, driver or user has no such reading": null, and not a fault."""

_FIELDS: dict[str, tuple[int, float]] = {
    "energy_j": (83, 1e-3),
    "memory_temperature_c": (82, 1),
    "power_violation_us": (74, 1e-3),
    "thermal_violation_us": (75, 1e-3),
    "ecc_sbe_volatile": (3, 1),
    "ecc_dbe_volatile": (4, 1),
    "ecc_sbe_aggregate": (5, 1),
    "ecc_dbe_aggregate": (6, 1),
    "remapped_rows_correctable": (142, 1),
    "remapped_rows_uncorrectable": (143, 1),
    "remap_pending": (144, 1),
    "remap_failure": (145, 1),
    "pcie_replay": (94, 1),
    "nvlink_crc_flit_errors": (38, 1),
    "nvlink_crc_data_errors": (45, 1),
    "nvlink_replay_errors": (52, 1),
    "nvlink_recovery_errors": (59, 1),
    "recovery_action": (230, 1),
}
"""NVML_FI_DEV_* id and the factor to our unit. All are read by one nvmlDeviceGetFieldValues call."""

_FIELD_IDS = [field_id for field_id, _ in _FIELDS.values()]
_UNION_MEMBER = {
    nv.NVML_VALUE_TYPE_DOUBLE: "dVal",
    nv.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
    nv.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
    nv.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
    nv.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
    nv.NVML_VALUE_TYPE_SIGNED_INT: "siVal",
    nv.NVML_VALUE_TYPE_UNSIGNED_SHORT: "usVal",
}
_FLOATS = frozenset({"energy_j"})
_MIB = 2**20


def _temperature(h: Any) -> dict[str, object]:
    try:
        value = nv.nvmlDeviceGetTemperatureV(h, nv.NVML_TEMPERATURE_GPU)
    except nv.NVMLError as e:
        if e.value not in _ABSENT:
            raise
        value = nv.nvmlDeviceGetTemperature(h, nv.NVML_TEMPERATURE_GPU)  # drivers before R575
    return {"temperature_c": int(value)}


def _utilization(h: Any) -> dict[str, object]:
    rates = nv.nvmlDeviceGetUtilizationRates(h)
    return {"sm_util_pct": int(rates.gpu), "mem_util_pct": int(rates.memory)}


def _memory(h: Any) -> dict[str, object]:
    try:
        info = nv.nvmlDeviceGetMemoryInfo(h, version=nv.nvmlMemory_v2)
    except nv.NVMLError as e:
        if e.value not in _ABSENT:
            raise
        info = nv.nvmlDeviceGetMemoryInfo(h)
    return {"memory_used_mib": info.used / _MIB, "memory_total_mib": info.total / _MIB}


_CALLS: tuple[Callable[[Any], dict[str, object]], ...] = (
    _utilization,
    _temperature,
    _memory,
    lambda h: {"power_w": nv.nvmlDeviceGetPowerUsage(h) / 1e3},
    lambda h: {"power_limit_w": nv.nvmlDeviceGetEnforcedPowerLimit(h) / 1e3},
    lambda h: {"sm_clock_mhz": int(nv.nvmlDeviceGetClockInfo(h, nv.NVML_CLOCK_SM))},
    lambda h: {"mem_clock_mhz": int(nv.nvmlDeviceGetClockInfo(h, nv.NVML_CLOCK_MEM))},
    lambda h: {"clock_event_reasons": int(nv.nvmlDeviceGetCurrentClocksEventReasons(h))},
    lambda h: {"pcie_generation": int(nv.nvmlDeviceGetCurrPcieLinkGeneration(h))},
    lambda h: {"pcie_width": int(nv.nvmlDeviceGetCurrPcieLinkWidth(h))},
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a GPU is. `uuid` is the identity; index and PCI address are where it sits now."""

    index: int
    uuid: str
    pci_bdf: str
    name: str | None
    serial: str | None


@dataclass(slots=True)
class Reading:
    """One GPU's values in the order of `records.READINGS`, and the first return code that was a failure."""

    values: list[object]
    nvml_return: int = 0


def open_library(path: str = "") -> None:
    """Load libnvidia-ml.so.1 (from `path`, else the system's) and initialise NVML.

    Raises ForeshockError with the mend when there is no driver.
    """
    try:
        if path:
            # pynvml asks the loader by SONAME: a library that is loaded already is the one it gets.
            ctypes.CDLL(path)
        nv.nvmlInit()
    except (OSError, nv.NVMLError) as e:
        raise ForeshockError(
            f"NVML: {e}", hint="install the NVIDIA driver, or set collector.nvml_library"
        ) from e


def close_library() -> None:
    nv.nvmlShutdown()


def device_count() -> int:
    """How many GPUs the driver sees. Raises pynvml.NVMLError."""
    return int(nv.nvmlDeviceGetCount())


def driver_version() -> str:
    return str(nv.nvmlSystemGetDriverVersion())


def handle(index: int) -> Any:
    """The driver's handle for `index`. Raises pynvml.NVMLError (GPU_IS_LOST for a dead one)."""
    return nv.nvmlDeviceGetHandleByIndex(index)


def identify(h: Any, index: int) -> Identity:
    """Read who the GPU behind handle `h` is. Raises pynvml.NVMLError."""
    pci = nv.nvmlDeviceGetPciInfo_v3(h)
    return Identity(
        index=index,
        uuid=str(nv.nvmlDeviceGetUUID(h)),
        pci_bdf=f"{pci.domain:04x}:{pci.bus:02x}:{pci.device:02x}",
        name=_optional(nv.nvmlDeviceGetName, h),
        serial=_optional(nv.nvmlDeviceGetSerial, h),
    )


def _optional(call: Callable[[Any], object], h: Any) -> str | None:
    try:
        return str(call(h))
    except nv.NVMLError:
        return None


def read(h: Any) -> Reading:
    """Everything the GPU behind `h` says now. Never raises for the GPU: a failure is null and a code."""
    seen: dict[str, object] = {}
    first_failure = 0
    for call in (_field_values, *_CALLS):
        try:
            seen.update(call(h))
        except nv.NVMLError as e:
            if e.value == LOST:
                return Reading([None] * len(READINGS), LOST)
            if e.value not in _ABSENT:
                first_failure = first_failure or int(e.value)
    failed = seen.pop("nvml_return", 0)
    assert isinstance(failed, int)
    return Reading([seen.get(name) for name in READINGS], first_failure or failed)


def _field_values(h: Any) -> dict[str, object]:
    out: dict[str, object] = {}
    answers = nv.nvmlDeviceGetFieldValues(h, _FIELD_IDS)
    for (name, (_, factor)), answer in zip(_FIELDS.items(), answers, strict=True):
        if answer.nvmlReturn == nv.NVML_SUCCESS:
            value = getattr(answer.value, _UNION_MEMBER[answer.valueType]) * factor
            out[name] = value if name in _FLOATS else int(value)
        elif answer.nvmlReturn == LOST:
            raise nv.NVMLError(LOST)
        elif answer.nvmlReturn not in _ABSENT:
            out.setdefault("nvml_return", int(answer.nvmlReturn))
    return out
