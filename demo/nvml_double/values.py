"""The values file of the driver double: `key=value` lines, replaced as a whole.

`count`, `driver_version`, `nvml_version`, `cuda_version`, `generation`, `init` and `events` are the node's;
`gpuN.<name>` is one reading of GPU N with the name and unit of collector/fields.py, or one fact with the name of
collector/records.py Inventory, beside uuid, gpm (0/1) and pids ("123,456"). Absent or null: NOT_SUPPORTED. `!15`:
that reading fails with NVML return code 15. `@other`: the same as that reading.
`lost`, `hang`, `removed` (0/1) and `latency_us` change every call on that GPU. `removed` leaves `count` and
the other indices alone: its index and UUID are NOT_FOUND, and handles taken before are lost. `mig_mode` 1 takes
away what NVML does not offer then. Another `generation` is a driver reload: all is UNINITIALIZED until nvmlInit.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from collector.records import READINGS

_SLOTS: Final = ("18", "2a", "3a", "5d", "9a", "ab", "ba", "db")
"""PCI buses of an 8-GPU HGX board."""


def write_values(path: Path, values: Mapping[str, object]) -> None:
    """Replace the values file atomically (no fsync: it lives as long as the demo). None becomes null.

    Raises ValueError for a key or value that would not survive as one `key=value` line.
    """
    lines = [f"{_line(key, value)}\n" for key, value in values.items()]
    fresh = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    fresh.write_text("".join(lines), encoding="utf-8")
    fresh.replace(path)


def _line(key: str, value: object) -> str:
    if value is None:
        text = "null"
    elif isinstance(value, bool):
        text = str(int(value))
    else:
        text = str(value)
    if not key or "=" in key or key.startswith("#") or len(f"{key}{text}x".splitlines()) != 1:
        raise ValueError(f"not one key=value line: {key!r}={text!r}")
    return f"{key}={text}"


def node_values(
    gpus: Mapping[int, Mapping[str, object]], driver_version: str = "580.95.05"
) -> dict[str, object]:
    """Values per GPU index -> the file's flat keys, with `count` up to the highest index."""
    flat: dict[str, object] = {
        "count": max(gpus, default=-1) + 1, "driver_version": driver_version, "nvml_version": "13.580.95.05",
        "cuda_version": 13000,
    }  # fmt: skip
    for index, values in gpus.items():
        flat.update({f"gpu{index}.{name}": value for name, value in values.items()})
    return flat


def default_gpu(index: int) -> dict[str, object]:
    """A healthy idle H100, synthetic, with a plainly invented identity.

    It answers every reading the agent takes, those that only other GPUs have (NVLink 5, C2C) with 0.
    """
    zeros: dict[str, object] = dict.fromkeys(READINGS, 0)
    return zeros | _facts() | _identity(index) | _IDLE


_IDLE: Final[dict[str, object]] = {
    "power_w": 70.0,
    "power_average_w": "@power_w",
    "power_instant_w": "@power_w",
    "power_limit_w": 700.0,
    "energy_j": 1.0e6,
    "temperature_c": 30,
    "memory_temperature_c": 36,
    "temperature_margin_c": 57,
    "sm_clock_mhz": 345,
    "mem_clock_mhz": 2619,
    "graphics_clock_mhz": "@sm_clock_mhz",
    "video_clock_mhz": 765,
    "clock_event_reasons": 1,
    "memory_used_mib": 4.0,
    "memory_total_mib": 81559.0,
    "memory_free_mib": 81076.0,
    "memory_reserved_mib": 479.0,
    "bar1_used_mib": 2.0,
    "remap_banks_max": 2560,
    "pcie_generation": 5,
    "pcie_width": 16,
    "nvlinks_active": 18,
    "fabric_state": 3,
    "fabric_health_summary": 1,
    "lost": 0,
    "hang": 0,
    "removed": 0,
    "latency_us": 0,
    "gpm": 1,
    "pids": "",
}


def _identity(index: int) -> dict[str, object]:
    domain, slot = divmod(index, len(_SLOTS))
    return {
        "uuid": f"GPU-00000000-0000-0000-0000-{index:012x}",
        "serial": f"000000{index:07d}",
        "pci_bdf": f"{domain:04x}:{_SLOTS[slot]}:00",
        "minor": index,
        "slot_number": 1,
        "tray_index": 0,
        "host_id": 1,
        "module_id": index % len(_SLOTS) + 1,
    }


def _facts() -> dict[str, object]:
    return {
        "name": "NVIDIA H100 80GB HBM3",
        "board_part_number": "000-00000-0000-000",
        "vbios_version": "96.00.00.00.00",
        "inforom_image_version": "G520.0200.00.00",
        "inforom_oem_version": "2.1",
        "inforom_ecc_version": "7.16",
        "inforom_power_version": None,
        "architecture": 9,
        "ecc_mode": 1,
        "ecc_mode_pending": 1,
        "mig_mode": 0,
        "mig_mode_pending": 0,
        "persistence_mode": 1,
        "gsp_firmware_mode": 1,
        "gsp_firmware_version": "580.95.05",
        "pcie_generation_max": 5,
        "pcie_width_max": 16,
        "nvlink_count": 18,
        "power_limit_default_w": 700.0,
        "power_limit_min_w": 200.0,
        "power_limit_max_w": 700.0,
        "temperature_shutdown_c": 92,
        "temperature_slowdown_c": 89,
        "temperature_memory_max_c": 95,
        "temperature_gpu_max_c": 87,
        "tlimit_shutdown_c": -8,
        "tlimit_slowdown_c": -2,
        "tlimit_memory_max_c": 0,
        "tlimit_gpu_max_c": 0,
        "fabric_cluster_uuid": "00000000-0000-0000-0000-0000000000c1",
        "fabric_clique_id": 0,
        "chassis_serial": "0000000000000",
    }
