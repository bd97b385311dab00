"""Synthetic telemetry for the lake's benchmark: every column of the contract, at the resolution NVML gives it.

Synchronous training on whole nodes: gauges wander and follow the step, most error counters stand still, a few
tick. Compression lives off such things, so that bytes per sample hold for fleets like this, and say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from collector.records import FIELDS, Field
from pipeline.tables import TELEMETRY

START = datetime(2026, 3, 1, tzinfo=UTC)
GPUS_PER_NODE = 8

_LEVEL = {
    "%": (60, 9, 1), "W": (420, 60, 1e-3), "C": (58, 3, 1), "MHz": (1755, 15, 15), "MiB/s": (9_000, 2_500, 0.01),
    "us": (900, 60, 1), "processes": (1, 0, 1),
}  # fmt: skip
"""Unit -> level, spread and resolution of a gauge."""
_STILL = {"power_limit_w": 700, "mem_clock_mhz": 2619, "video_clock_mhz": 1545, "memory_total_mib": 81_559,
          "gap_s": 1, "memory_used_mib": 71_000, "memory_free_mib": 9_900,
          "memory_reserved_mib": 659, "bar1_used_mib": 2}  # fmt: skip
_RATE = {"energy_j": 420.0, "nvlink_tx_kib": 9e6, "nvlink_rx_kib": 9e6, "power_violation_us": 900.0}
"""Counters that always run, per second. Every other counter rises once in a while, by one."""
_RARE = 2e-6
_STATES = {"pcie_generation": 5, "pcie_width": 16, "nvlinks_active": 18, "clock_event_reasons": 4, "fabric_state": 3,
           "remap_banks_max": 639}  # fmt: skip
_ABSENT = ("nvlink5_", "c2c_", "jpg_", "ofa_", "bank_remap", "tpc_", "channel_")
"""What an H100 does not answer."""


@dataclass
class Fleet:
    """`gpus` GPUs from START on. Deterministic by `seed`; `blocks` goes on where it stopped."""

    gpus: int
    seed: int = 7

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)
        self._total = {f.name: self._random.integers(0, 4, self.gpus) * 1.0 for f in FIELDS}
        index = np.arange(self.gpus)
        node = index // GPUS_PER_NODE
        self._names = pl.DataFrame({
            "node": [f"node{n:05d}" for n in node],
            "gpu_uuid": [f"GPU-{(g * 2654435761) % 2**32:08x}-0000-4000-8000-{g:012x}" for g in index],
            "gpu_index": index % GPUS_PER_NODE,
            "pci_bdf": [f"0000:{0x18 + 8 * (g % GPUS_PER_NODE):02x}:00" for g in index],
            "job": [str(4000 + n // 4) for n in node], "stream": [f"node{n:05d}-spool" for n in node],
        })  # fmt: skip
        self._second = 0

    def blocks(self, seconds: int, seconds_per_block: int) -> Iterator[pl.DataFrame]:
        """`seconds` seconds at 1 Hz, one frame per flush; rows come by time, then GPU, as a stream brings them."""
        while seconds > 0:
            now = min(seconds, seconds_per_block)
            yield self._block(now)
            seconds -= now

    def _block(self, seconds: int) -> pl.DataFrame:
        ticks = np.arange(self._second, self._second + seconds)
        self._second += seconds
        times = np.repeat(ticks * 1_000_000 + int(START.timestamp()) * 1_000_000, self.gpus)
        jitter = np.tile(self._random.integers(0, 30_000, self.gpus // GPUS_PER_NODE + 1), seconds)
        values: dict[str, pl.Series] = {
            "time": pl.Series(times + np.resize(np.repeat(jitter, GPUS_PER_NODE), times.size))
        }
        for field in FIELDS:
            column = self._column(field, ticks)
            if column is not None:
                values[field.name] = pl.Series(column.reshape(-1)).cast(TELEMETRY[field.name])
        names = pl.concat([self._names] * seconds)
        frame = pl.DataFrame(values | {n: names[n] for n in names.columns})
        frame = frame.with_columns(
            pl.col("time").cast(TELEMETRY["time"]), synthetic=True, gpu_state=pl.lit("ok"),
            seq=pl.Series(np.repeat(ticks // 5, self.gpus)),
        )  # fmt: skip
        return frame.select(name for name in TELEMETRY if name in frame.columns)

    def _column(self, field: Field, ticks: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Seconds x GPUs; None where the fleet does not answer or the column is no reading."""
        if field.name.startswith(_ABSENT) or field.role == "identity" or field.name == "gpu_state":
            return None
        shape = (ticks.size, self.gpus)
        if field.name in _STILL or field.role == "state" or field.name == "nvml_return":
            return np.full(shape, float(_STILL.get(field.name, _STATES.get(field.name, 0))))
        fresh = self._counter(field, shape) if field.role == "counter" else self._gauge(field, ticks, shape)
        held = np.maximum((ticks // field.every_s * field.every_s).astype(int) - ticks[0], 0)
        held_rows: NDArray[np.float64] = fresh[held]
        return held_rows

    def _gauge(self, field: Field, ticks: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.float64]:
        level, spread, step = _LEVEL.get(field.unit, (0, 0, 1))
        wave = np.sin(ticks / 3.0)[:, None]
        noise = self._random.normal(0, 0.4, shape).astype(np.float32)
        slow = self._total[field.name] / 2  # every GPU is a little different
        value: NDArray[np.float64] = np.round((level + spread * (wave + noise + slow)) / step) * step
        return value

    def _counter(self, field: Field, shape: tuple[int, int]) -> NDArray[np.float64]:
        rate = _RATE.get(field.name)
        if rate is None:
            rises = (self._random.random(shape, np.float32) < _RARE).astype(float)
        else:
            rises = np.round(
                rate * self._random.uniform(0.8, 1.2, shape), 3 if field.type == "float64" else 0
            )
        counts: NDArray[np.float64] = self._total[field.name] + np.cumsum(rises, axis=0)
        self._total[field.name] = counts[-1]
        return counts
