"""The values file of the driver double: `key=value` lines, replaced as a whole.

`count`, `driver_version`, `init` and `events` are the node's; `gpuN.<name>` is one reading of GPU N, with the
name and unit of collector/records.py FIELDS, beside uuid, name, serial, pci_bdf, minor, vbios and
pids ("123,456"). Absent or null: NOT_SUPPORTED. `!15`: that reading fails with NVML return code 15.
`lost`, `hang`, `removed` (0/1) and `latency_us` change every call on that GPU. `removed` leaves `count` and
the other indices alone: its index and UUID are NOT_FOUND, and handles taken before are lost.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

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
    flat: dict[str, object] = {"count": max(gpus, default=-1) + 1, "driver_version": driver_version}
    for index, values in gpus.items():
        flat.update({f"gpu{index}.{name}": value for name, value in values.items()})
    return flat


def default_gpu(index: int) -> dict[str, object]:
    """A healthy idle H100, synthetic: every reading the agent takes, and a plainly invented identity."""
    return _identity(index) | {
        "sm_util_pct": 0,
        "mem_util_pct": 0,
        "power_w": 70.0,
        "power_limit_w": 700.0,
        "energy_j": 1.0e6,
        "temperature_c": 30,
        "memory_temperature_c": 36,
        "sm_clock_mhz": 345,
        "mem_clock_mhz": 2619,
        "clock_event_reasons": 1,
        "memory_used_mib": 4.0,
        "memory_total_mib": 81559.0,
        "power_violation_us": 0,
        "thermal_violation_us": 0,
        "ecc_sbe_volatile": 0,
        "ecc_dbe_volatile": 0,
        "ecc_sbe_aggregate": 0,
        "ecc_dbe_aggregate": 0,
        "remapped_rows_correctable": 0,
        "remapped_rows_uncorrectable": 0,
        "remap_pending": 0,
        "remap_failure": 0,
        "pcie_replay": 0,
        "pcie_generation": 5,
        "pcie_width": 16,
        "nvlink_crc_flit_errors": 0,
        "nvlink_crc_data_errors": 0,
        "nvlink_replay_errors": 0,
        "nvlink_recovery_errors": 0,
        "recovery_action": 0,
        "lost": 0,
        "hang": 0,
        "removed": 0,
        "latency_us": 0,
    }


def _identity(index: int) -> dict[str, object]:
    domain, slot = divmod(index, len(_SLOTS))
    return {
        "uuid": f"GPU-00000000-0000-0000-0000-{index:012x}",
        "name": "NVIDIA H100 80GB HBM3",
        "serial": f"000000{index:07d}",
        "pci_bdf": f"{domain:04x}:{_SLOTS[slot]}:00",
        "minor": index,
        "vbios": "96.00.00.00.00",
        "pids": "",
    }
