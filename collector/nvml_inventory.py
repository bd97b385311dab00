"""What rarely changes about a GPU: the facts of `records.Inventory`, less time and place."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Final

import pynvml as nv

from collector import identity
from collector.nvml import FATAL

Facts = identity.Facts

_MIB: Final = 2**20
_TLIMITS: Final = {
    "tlimit_shutdown_c": nv.NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT,
    "tlimit_slowdown_c": nv.NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT,
    "tlimit_memory_max_c": nv.NVML_FI_DEV_TEMPERATURE_MEM_MAX_TLIMIT,
    "tlimit_gpu_max_c": nv.NVML_FI_DEV_TEMPERATURE_GPU_MAX_TLIMIT,
}
_THRESHOLDS: Final = {
    "temperature_shutdown_c": nv.NVML_TEMPERATURE_THRESHOLD_SHUTDOWN,
    "temperature_slowdown_c": nv.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN,
    "temperature_memory_max_c": nv.NVML_TEMPERATURE_THRESHOLD_MEM_MAX,
    "temperature_gpu_max_c": nv.NVML_TEMPERATURE_THRESHOLD_GPU_MAX,
}
_ARCHITECTURES: Final = {
    getattr(nv, f"NVML_DEVICE_ARCH_{name.upper()}"): name
    for name in (
        "Kepler", "Maxwell", "Pascal", "Volta", "Turing", "Ampere", "Ada", "Hopper", "Blackwell", "Rubin",
    )
    if hasattr(nv, f"NVML_DEVICE_ARCH_{name.upper()}")
}  # fmt: skip


def read(h: Any) -> Facts:
    """The facts about the GPU behind `h`. Raises pynvml.NVMLError only where the GPU or the driver is gone."""
    facts: Facts = {}
    for ask in _QUESTIONS:
        try:
            facts |= ask(h)
        except nv.NVMLError as e:
            if e.value in FATAL:
                raise
        except UnicodeDecodeError:
            continue  # an InfoROM with damaged text: that fact is unknown
    return facts


def _one(name: str, call: Callable[..., Any], *arguments: Any, factor: float | None = None) -> _Question:
    def ask(h: Any) -> Facts:
        value = call(h, *arguments)
        if isinstance(value, bytes):
            value = value.decode()
        return {name: value if factor is None else value * factor}

    return ask


def _two(now: str, pending: str, call: Callable[[Any], Any]) -> _Question:
    def ask(h: Any) -> Facts:
        current, later = call(h)
        return {now: current, pending: later}

    return ask


def _system(h: Any) -> Facts:
    del h
    version = nv.nvmlSystemGetCudaDriverVersion()
    return {"cuda_version": f"{version // 1000}.{version % 1000 // 10}"}


def _architecture(h: Any) -> Facts:
    number = nv.nvmlDeviceGetArchitecture(h)
    return {"architecture": _ARCHITECTURES.get(number, f"unknown ({number})")}


def _power_limits(h: Any) -> Facts:
    low_mw, high_mw = nv.nvmlDeviceGetPowerManagementLimitConstraints(h)
    return {"power_limit_min_w": low_mw / 1e3, "power_limit_max_w": high_mw / 1e3}


def _tlimits(h: Any) -> Facts:
    answers = nv.nvmlDeviceGetFieldValues(h, list(_TLIMITS.values()))
    return {
        name: answer.value.siVal if answer.nvmlReturn == nv.NVML_SUCCESS else None
        for name, answer in zip(_TLIMITS, answers, strict=True)
    }


def _nvlink_count(h: Any) -> Facts:
    answer = nv.nvmlDeviceGetFieldValues(h, [nv.NVML_FI_DEV_NVLINK_LINK_COUNT])[0]
    return {"nvlink_count": answer.value.uiVal if answer.nvmlReturn == nv.NVML_SUCCESS else None}


def _gsp_mode(h: Any) -> Facts:
    # Fresh arguments: pynvml's defaults are shared between calls.
    enabled, default = ctypes.c_uint(), ctypes.c_uint()
    nv.nvmlDeviceGetGspFirmwareMode(h, ctypes.byref(enabled), ctypes.byref(default))
    return {"gsp_firmware_mode": enabled.value}


def _fabric(h: Any) -> Facts:
    info = nv.c_nvmlGpuFabricInfo_v2_t()
    nv.nvmlDeviceGetGpuFabricInfoV(h, ctypes.byref(info))
    if info.state != nv.NVML_GPU_FABRIC_STATE_COMPLETED:
        return {}
    return {"fabric_cluster_uuid": _hex_uuid(bytes(info.clusterUuid)), "fabric_clique_id": info.cliqueId}


def _hex_uuid(raw: bytes) -> str:
    h = raw.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def _platform(h: Any) -> Facts:
    info = nv.c_nvmlPlatformInfo_v2_t()
    nv.nvmlDeviceGetPlatformInfo(h, ctypes.byref(info))
    # The raw bytes: pynvml takes each of these numbers for a character of UTF-8.
    raw, kind = bytes(memoryview(info)), nv.c_nvmlPlatformInfo_v2_t
    start = kind.chassisSerialNumber.offset
    serial = raw[start : start + kind.chassisSerialNumber.size].split(b"\0")[0]
    return {
        "chassis_serial": serial.decode("ascii", "replace") or None,
        "slot_number": raw[kind.slotNumber.offset],
        "tray_index": raw[kind.trayIndex.offset],
        "host_id": raw[kind.hostId.offset],
        "module_id": raw[kind.moduleId.offset],
    }


_Question = Callable[[Any], Facts]

_QUESTIONS: Final[tuple[_Question, ...]] = (
    _one("serial", nv.nvmlDeviceGetSerial),
    _one("name", nv.nvmlDeviceGetName),
    _one("minor", nv.nvmlDeviceGetMinorNumber),
    _one("board_part_number", nv.nvmlDeviceGetBoardPartNumber),
    _one("vbios_version", nv.nvmlDeviceGetVbiosVersion),
    _one("inforom_image_version", nv.nvmlDeviceGetInforomImageVersion),
    _one("inforom_oem_version", nv.nvmlDeviceGetInforomVersion, nv.NVML_INFOROM_OEM),
    _one("inforom_ecc_version", nv.nvmlDeviceGetInforomVersion, nv.NVML_INFOROM_ECC),
    _one("inforom_power_version", nv.nvmlDeviceGetInforomVersion, nv.NVML_INFOROM_POWER),
    lambda _: {"driver_version": nv.nvmlSystemGetDriverVersion()},
    lambda _: {"nvml_version": nv.nvmlSystemGetNVMLVersion()},
    _system,
    _architecture,
    _two("ecc_mode", "ecc_mode_pending", nv.nvmlDeviceGetEccMode),
    _two("mig_mode", "mig_mode_pending", nv.nvmlDeviceGetMigMode),
    _one("persistence_mode", nv.nvmlDeviceGetPersistenceMode),
    _gsp_mode,
    _one("gsp_firmware_version", nv.nvmlDeviceGetGspFirmwareVersion),
    _one("pcie_generation_max", nv.nvmlDeviceGetMaxPcieLinkGeneration),
    _one("pcie_width_max", nv.nvmlDeviceGetMaxPcieLinkWidth),
    _nvlink_count,
    lambda h: {"memory_total_mib": nv.nvmlDeviceGetMemoryInfo(h).total / _MIB},
    _one("power_limit_default_w", nv.nvmlDeviceGetPowerManagementDefaultLimit, factor=1e-3),
    _power_limits,
    *(_one(name, nv.nvmlDeviceGetTemperatureThreshold, which) for name, which in _THRESHOLDS.items()),
    _tlimits,
    _fabric,
    _platform,
    _one("module_id", nv.nvmlDeviceGetModuleId, ctypes.c_uint()),
)
"""In order: a later answer replaces an earlier one of the same name."""
