"""Writes a simulated trace in the CSV form of a recorded one. Synthetic: its `phase` column says so.

A synchronous training job on 8 GPUs: all wait for the slowest, so power moves in step, with all-reduce dips
between bursts of compute and a checkpoint every two minutes; each slot heats to its own level with a lag.
The figures (70 W idle, 650 W busy, 30 to 75 C) are of the size that recorded H100 jobs show.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

COLUMNS: Final = (
    "timestamp", "phase", "gpu", "gpu_model", "power_w", "temp_c", "mem_used_mib", "mem_total_mib",
    "gpu_util_pct", "mem_util_pct", "sm_active", "tensor_active", "dram_active", "fp16_active",
    "pcie_tx_bytes_s", "pcie_rx_bytes_s", "nvlink_tx_bytes_s", "nvlink_rx_bytes_s", "throttle_reasons",
    "energy_mj",
)  # fmt: skip

_START_UNIX_S: Final = 1_700_000_000
_PERIOD_S: Final = 0.5
_GPUS: Final = 8
_WARM_UP_S: Final = 30.0
_CHECKPOINT_EVERY_S: Final = 120.0
_CHECKPOINT_S: Final = 8.0
_STEP_S: Final = 7.0
_ALL_REDUCE_S: Final = 1.0
_HEAT_LAG_S: Final = 25.0


class _Load(NamedTuple):
    """What the job asks of every GPU at one moment. `sm`, `tensor` and `dram` are 0..1."""

    phase: str
    power_w: float
    sm: float
    tensor: float
    dram: float
    nvlink_bytes_s: float
    memory_mib: int


_IDLE: Final = _Load("synthetic-warmup", 72, 0.0, 0.0, 0.0, 0, 4)
_LOADING: Final = _Load("synthetic-warmup", 125, 0.05, 0.0, 0.02, 1e8, 31_000)
_COMPUTE: Final = _Load("synthetic-steady", 650, 0.92, 0.75, 0.48, 2e10, 70_400)
_ALL_REDUCE: Final = _Load("synthetic-steady", 430, 0.55, 0.10, 0.30, 2e11, 70_400)
_CHECKPOINT: Final = _Load("synthetic-checkpoint", 150, 0.04, 0.0, 0.05, 0, 70_400)


@dataclass(slots=True)
class _Slot:
    """One GPU's place on the board: rear slots breathe warmer air and run hotter for the same power."""

    inlet_c: float
    c_per_w: float
    temperature_c: float
    energy_mj: float

    def advance(self, power_w: float) -> None:
        target_c = self.inlet_c + self.c_per_w * power_w
        self.temperature_c += (target_c - self.temperature_c) * _PERIOD_S / _HEAT_LAG_S
        self.energy_mj += power_w * _PERIOD_S * 1e3


def write_simulated_trace(path: Path, seed: int = 0, duration_s: float = 600) -> None:
    """Write `duration_s` seconds of the job at 2 Hz. The same seed gives the same bytes."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(_rows(random.Random(seed), duration_s))


def _rows(rng: random.Random, duration_s: float) -> Iterator[tuple[object, ...]]:
    slots = [_slot(index, rng) for index in range(_GPUS)]
    for tick in range(int(duration_s / _PERIOD_S)):
        load = _load_at(tick * _PERIOD_S)
        for index, slot in enumerate(slots):
            yield _row(tick, index, load, slot, rng)


def _slot(index: int, rng: random.Random) -> _Slot:
    inlet_c = 24.0 + 0.5 * (index % 4) + rng.uniform(-0.5, 0.5)
    c_per_w = 0.055 + 0.004 * (index % 4) + rng.uniform(-0.001, 0.001)
    return _Slot(inlet_c, c_per_w, inlet_c + c_per_w * _IDLE.power_w, 2.3e11 + 1e9 * index)


def _load_at(elapsed_s: float) -> _Load:
    if elapsed_s < _WARM_UP_S:
        return _IDLE if elapsed_s < _WARM_UP_S / 3 else _LOADING
    running_s = elapsed_s - _WARM_UP_S
    if running_s >= _CHECKPOINT_EVERY_S and running_s % _CHECKPOINT_EVERY_S < _CHECKPOINT_S:
        return _CHECKPOINT
    return _ALL_REDUCE if running_s % _STEP_S >= _STEP_S - _ALL_REDUCE_S else _COMPUTE


def _row(tick: int, index: int, load: _Load, slot: _Slot, rng: random.Random) -> tuple[object, ...]:
    power_w = max(68.0, load.power_w * rng.gauss(1.0, 0.012))
    slot.advance(power_w)
    wobble = rng.gauss(1.0, 0.01)
    sm, tensor, dram = (min(1.0, x * wobble) for x in (load.sm, load.tensor, load.dram))
    nvlink_bytes_s = int(load.nvlink_bytes_s * wobble)
    return (
        f"{_START_UNIX_S + tick * _PERIOD_S:.3f}", load.phase, index, "NVIDIA H100 80GB HBM3",
        f"{power_w:.1f}", round(slot.temperature_c), load.memory_mib, 81559,
        100 if sm > 0.5 else round(100 * sm), round(100 * dram),
        f"{sm:.6f}", f"{tensor:.6f}", f"{dram:.6f}", f"{tensor:.6f}",
        1_000_000, 900_000, nvlink_bytes_s, nvlink_bytes_s, 0 if sm > 0 else 1, round(slot.energy_mj),
    )  # fmt: skip
