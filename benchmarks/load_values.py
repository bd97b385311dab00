"""Values of a sample as an H100 on an HGX board in a training job gives them: plausible in size and in entropy.

Not a model of a GPU (pipeline/fleet_samples.py is): what matters here is how many bits each column carries, that
a slow column (`every_s` > 1) stands still within a record as an agent carries it, and that healthy cards stay
healthy. Sources of the ranges: NVIDIA's H100 data sheet; the rest is judged.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from collector.records import FIELDS

ROW_TIME_US: Final = 1_111_111_111_000_000
COUNTING: Final[dict[str, float]] = {
    "energy_j": 720.0, "power_violation_us": 400_000.0, "nvlink_tx_kib": 9e7, "nvlink_rx_kib": 9e7,
}  # fmt: skip
"""Counters that always grow, and the most that a second adds."""

Floats = NDArray[np.float64]
_ABSENT: Final = (
    "nvlink5",
    "c2c",
    "retired",
    "sram_unique",
    "bank_remap",
    "memory_unrepairable",
    "channel_",
    "tpc_",
)
"""Columns (by how their names begin) that an H100 has not."""

_LIFETIME: Final = (
    "ecc_sbe_aggregate",
    "ecc_l2_sbe_aggregate",
    "ecc_dram_sbe_aggregate",
    "pcie_correctable_errors",
)
"""Error counters that are seldom zero on a card in its second year."""

_STEADY: Final[dict[str, object]] = {
    "synthetic": True, "gpu_state": "ok", "nvml_return": 0, "fp64_active_pct": 0.0, "memory_total_mib": 81_559.0,
    "memory_reserved_mib": 551.6875, "mem_clock_mhz": 2619, "pcie_generation": 5, "pcie_width": 16,
    "compute_processes": 1, "power_limit_w": 700.0, "video_clock_mhz": 1545, "remap_banks_max": 2560,
    "nvlinks_active": 18, "fabric_state": 3, "fabric_health_summary": 1,
}  # fmt: skip


def steady_values(rng: random.Random, gpu: int) -> dict[str, object]:
    """By column name what stays as it is through one record; columns of `moving_values` are drawn over it."""
    used_mib = rng.randrange(30_000 * 16, 79_000 * 16) / 16
    values: dict[str, object] = {f.name: 0 for f in FIELDS if f.role in {"counter", "state", "gauge"}}
    values |= {f.name: 0.0 for f in FIELDS if f.type in {"float32", "float64"}}
    values |= _STEADY
    values |= {name: (gpu * 7919 + len(name)) % 23 for name in _LIFETIME}
    values |= {
        "gpu_index": gpu, "pci_bdf": f"0000:{0x1b + 17 * gpu:02x}:00.0",
        "memory_used_mib": used_mib, "memory_free_mib": 81_007.3125 - used_mib,
        "temperature_margin_c": rng.randrange(18, 34), "graphics_clock_mhz": 1980 - 15 * rng.randrange(8),
        "bar1_used_mib": float(rng.randrange(2, 40)),
        # The same for every template, since a node's records come from all of them and counters do not fall.
        "energy_j": 2.1e9 + gpu * 1.7e7, "power_violation_us": 10_000_000 * gpu,
        "nvlink_tx_kib": 4_000_000_000_000 + gpu * 1_000_000_000,
        "nvlink_rx_kib": 3_900_000_000_000 + gpu * 999_999_937,
    }  # fmt: skip
    return values | {name: None for name in values if name.startswith(_ABSENT)}


def moving_values(rng: np.random.Generator, rows: int, gpus: int) -> dict[str, NDArray[Any]]:
    """Columns that are new in every sample, `rows` seconds of `gpus` GPUs: arrays (rows, gpus) in the wire's types.

    A card works at its own level for some minutes, then at another: what follows has another node's look.
    """
    minutes = rows // 60 + 1
    load = np.repeat(rng.uniform(0.55, 1.0, (minutes, gpus)), 60, axis=0)[:rows]
    kinds = {f.name: f.type for f in FIELDS}
    drawn = {name: draw(rng, load) for name, draw in _MOVING.items()}
    return {name: v.astype(_NUMPY[kinds[name]]) for name, v in drawn.items()}


_NUMPY: Final = {"int64": np.int64, "float32": np.float32, "float64": np.float64}
_Draw = Callable[[np.random.Generator, Floats], Floats]


def _percent(mean: float, spread: float) -> _Draw:
    """With all the bits of a GPM metric."""
    return lambda rng, load: np.clip(rng.normal(mean * load, spread), 0, 100)


def _whole(low: float, slope: float, spread: float, limit: float) -> _Draw:
    """A reading that NVML gives in whole units."""
    return lambda rng, load: np.clip(rng.normal(low + slope * load, spread), 0, limit).round()


def _watts(spread: float, limit: float) -> _Draw:
    """NVML's milliwatts."""
    return lambda rng, load: np.minimum(limit, rng.normal(690 * load, spread)).round(3)


def _traffic(mean: float) -> _Draw:
    return lambda rng, load: rng.gamma(6, mean / 6, load.shape) * load


_MOVING: Final[dict[str, _Draw]] = {
    "nvml_latency_us": lambda rng, load: (rng.gamma(9, 60, load.shape) + 120).round(),
    "gap_s": lambda rng, load: rng.normal(1, 0.002, load.shape).round(6),
    "sm_util_pct": _whole(0, 100, 6, 100), "mem_util_pct": _whole(0, 45, 8, 100),
    "sm_active_pct": _percent(88, 4), "sm_occupancy_pct": _percent(31, 3), "tensor_active_pct": _percent(47, 6),
    "dram_active_pct": _percent(39, 5), "fp32_active_pct": _percent(6, 1.5), "fp16_active_pct": _percent(2, 0.7),
    "pcie_tx_mibps": _traffic(900), "pcie_rx_mibps": _traffic(1400),
    "nvlink_rx_mibps": _traffic(90_000), "nvlink_tx_mibps": _traffic(90_000),
    "power_w": _watts(28, 705), "power_average_w": _watts(12, 702), "power_instant_w": _watts(45, 760),
    "temperature_c": _whole(38, 24, 1.2, 90), "memory_temperature_c": _whole(46, 30, 1.5, 95),
    "sm_clock_mhz": lambda rng, load: 1980 - 15 * np.minimum(30, rng.exponential(4, load.shape).round()),
    "clock_event_reasons": lambda rng, load: np.where(rng.random(load.shape) < 0.3, 4.0, 0.0),
}  # fmt: skip
"""How each is drawn for cards at `load` (0 to 1)."""
