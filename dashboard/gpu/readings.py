# ruff: noqa: PLR0917 - constructors that make short rows
"""Which readings make up a GPU's life, and where the lake keeps each: as measured, and by the minute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Take = Literal["mean", "max", "count"]
"""Of a stretch of time: its mean, its worst, or what a counter gained a minute."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One panel. `raw` and `minute` are SQL over a row of `telemetry` and of `rollups`.

    `least` is the least range of the y axis. `apart` is how far outside its peers' range a GPU has to be to differ
    from them: our judgement, in the reading's own unit.
    """

    key: str
    title: str
    unit: str
    take: Take
    raw: str
    minute: str
    least: tuple[float, float]
    apart: float


def _gauge(
    key: str, title: str, unit: str, least: tuple[float, float], apart: float, column: str = ""
) -> Reading:
    return Reading(key, title, unit, "mean", column or key, f"{column or key}_mean", least, apart)


def _worst(key: str, title: str, unit: str, raw: str, minute: str, apart: float) -> Reading:
    return Reading(key, title, unit, "max", raw, minute, (0, 1), apart)


def _counter(key: str, title: str, *columns: str) -> Reading:
    raw, minute = (f"list_sum([{', '.join(c + end for c in columns)}])" for end in ("", "_delta"))
    return Reading(key, title, "a minute", "count", raw, minute, (0, 1), 1)


READINGS: Final = (
    _gauge("temperature_c", "Temperature", "°C", (30, 90), 8),
    _gauge("memory_temperature_c", "Memory temperature", "°C", (30, 95), 8),
    _gauge("power_w", "Power", "W", (0, 100), 100),
    _gauge("sm_clock_mhz", "SM clock", "MHz", (200, 1_000), 200),
    _gauge("sm_util_pct", "SM utilisation", "%", (0, 100), 25),
    _counter("nvlink_crc", "NVLink CRC errors", "nvlink_crc_flit_errors", "nvlink_crc_data_errors"),
    _counter("nvlink5_errors", "NVLink 5 effective errors", "nvlink5_effective_errors"),
    _counter("pcie_replay", "PCIe replays", "pcie_replay"),
    _counter("ecc_corrected", "ECC errors, corrected", "ecc_sbe_volatile"),
    _counter("ecc_uncorrected", "ECC errors, uncorrected", "ecc_dbe_volatile"),
    _worst("gap_s", "Longest gap between answers", "s", "gap_s", "gap_max_s", 10),
    _worst("nvml_latency_ms", "NVML latency, worst", "ms", "nvml_latency_us / 1e3", "nvml_latency_us_max / 1e3", 100),
)  # fmt: skip
"""In the order of the page. A GPU has those that its driver answers."""
