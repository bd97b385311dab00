"""What a test's child process works with: pynvml on the driver double, and one reader per reading.

Import it only in a process of its own: it loads the library that $NVML_DOUBLE_LIBRARY names for good.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ctypes.CDLL(os.environ["NVML_DOUBLE_LIBRARY"])  # before pynvml asks for libnvidia-ml.so.1 by name

import pynvml as nv  # noqa: E402

from demo.nvml_double.values import default_gpu, node_values, write_values  # noqa: E402

__all__ = [
    "EVENTS",
    "READERS",
    "VALUES",
    "code_of",
    "default_gpu",
    "node_values",
    "nv",
    "seconds",
    "write",
    "write_values",
]

VALUES = Path(os.environ["FORESHOCK_NVML_DOUBLE"])
EVENTS = Path(os.environ["FORESHOCK_NVML_DOUBLE_EVENTS"])


def write(changes: dict[str, object] | None = None, gpus: int = 8) -> None:
    """Healthy GPUs, but for `changes`, such as {"gpu3.lost": 1}."""
    healthy = node_values({gpu: default_gpu(gpu) for gpu in range(gpus)})
    write_values(VALUES, healthy | (changes or {}))


def code_of(call: Callable[..., object], *args: object) -> int:
    """The NVML return code of a call; 0 is success."""
    try:
        call(*args)
    except nv.NVMLError as e:
        return int(e.value)
    return 0


def seconds(call: Callable[[], object]) -> float:
    started_s = time.monotonic()
    call()
    return time.monotonic() - started_s


def _field(number: int) -> Callable[[Any], int]:
    def read(handle: Any) -> int:
        value = nv.nvmlDeviceGetFieldValues(handle, [number])[0]
        if value.nvmlReturn != nv.NVML_SUCCESS:
            raise nv.NVMLError(value.nvmlReturn)
        wide = value.valueType == nv.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG
        return int(value.value.ullVal if wide else value.value.uiVal)

    return read


def _memory(handle: Any) -> Any:
    return nv.nvmlDeviceGetMemoryInfo(handle, version=nv.nvmlMemory_v2)


READERS: dict[str, tuple[Callable[[Any], int], int]] = {
    "sm_util_pct": (lambda h: nv.nvmlDeviceGetUtilizationRates(h).gpu, 1),
    "mem_util_pct": (lambda h: nv.nvmlDeviceGetUtilizationRates(h).memory, 1),
    "power_w": (nv.nvmlDeviceGetPowerUsage, 1000),
    "power_limit_w": (nv.nvmlDeviceGetEnforcedPowerLimit, 1000),
    "energy_j": (_field(83), 1000),
    "temperature_c": (lambda h: nv.nvmlDeviceGetTemperatureV(h, nv.NVML_TEMPERATURE_GPU), 1),
    "memory_temperature_c": (_field(82), 1),
    "sm_clock_mhz": (lambda h: nv.nvmlDeviceGetClockInfo(h, nv.NVML_CLOCK_SM), 1),
    "mem_clock_mhz": (lambda h: nv.nvmlDeviceGetClockInfo(h, nv.NVML_CLOCK_MEM), 1),
    "clock_event_reasons": (nv.nvmlDeviceGetCurrentClocksEventReasons, 1),
    "memory_used_mib": (lambda h: _memory(h).used, 2**20),
    "memory_total_mib": (lambda h: _memory(h).total, 2**20),
    "power_violation_us": (_field(74), 1000),
    "thermal_violation_us": (_field(75), 1000),
    "ecc_sbe_volatile": (_field(3), 1),
    "ecc_dbe_volatile": (_field(4), 1),
    "ecc_sbe_aggregate": (_field(5), 1),
    "ecc_dbe_aggregate": (_field(6), 1),
    "remapped_rows_correctable": (_field(142), 1),
    "remapped_rows_uncorrectable": (_field(143), 1),
    "remap_pending": (_field(144), 1),
    "remap_failure": (_field(145), 1),
    "pcie_replay": (_field(94), 1),
    "pcie_generation": (nv.nvmlDeviceGetCurrPcieLinkGeneration, 1),
    "pcie_width": (nv.nvmlDeviceGetCurrPcieLinkWidth, 1),
    "nvlink_crc_flit_errors": (_field(38), 1),
    "nvlink_crc_data_errors": (_field(45), 1),
    "nvlink_replay_errors": (_field(52), 1),
    "nvlink_recovery_errors": (_field(59), 1),
    "recovery_action": (_field(230), 1),
}
"""Reading name -> (its NVML call, the factor from our unit to NVML's)."""
