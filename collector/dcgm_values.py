"""DCGM's number -> our number, or null and the reason. Null is not zero, and a blank is not a reading.

DCGM marks a missing reading by a number near the top of its type (dcgm_structs.h), which the exporter prints
or rounds; besides, corrupt samples are seen in the field (dcgm-exporter issue 312, DCGM issue 199).
"""

from __future__ import annotations

import math
from typing import Final

from collector.records import FIELDS

_BLANKS: Final = ("blank", "not_found", "not_supported", "not_permitted")
_INT64_BLANK: Final = 0x7FFFFFFFFFFFFFF0
_INT32_BLANK: Final = 0x7FFFFFF0
_FP64_BLANK: Final = 2**47
_INT64_TOP: Final = 2**63 - 2048
"""A float this large is an int64 blank that was rounded: floats are 1024 apart below 2^63."""
_CORRUPT: Final = frozenset({0xFFFFFFFF, 0xFF000000})
"""All ones in 32 bits, and a byte that slipped: seen as GPU_UTIL and GPU_TEMP on A100 and H100."""
_EXACT: Final = 2**53

_LIMITS: Final[dict[str, tuple[float, float]]] = {
    "sm_util_pct": (0, 100),
    "mem_util_pct": (0, 100),
    "power_w": (0, 3000),
    "power_limit_w": (1, 3000),
    "energy_j": (0, 1e12),
    "temperature_c": (1, 130),
    "memory_temperature_c": (1, 130),
    "sm_clock_mhz": (0, 10_000),
    "mem_clock_mhz": (0, 20_000),
    "memory_used_mib": (0, 2**22),
    "memory_total_mib": (1, 2**22),
    "remap_pending": (0, 1),
    "remap_failure": (0, 1),
    "temperature_margin_c": (-100, 150),
    "power_instant_w": (0, 3000),
    "video_clock_mhz": (0, 10_000),
    "memory_free_mib": (0, 2**22),
    "memory_reserved_mib": (0, 2**22),
    "bar1_used_mib": (0, 2**22),
    "fabric_health_summary": (0, 255),
    "pcie_generation": (1, 10),
    "pcie_width": (1, 32),
    "recovery_action": (0, 255),
}
"""What the hardware can be. Wide on purpose: only the impossible is refused."""

_BY_UNIT: Final[dict[str, tuple[float, float]]] = {
    "%": (0, 100), "ratio": (0, 1), "0/1": (0, 1), "MiB/s": (0, 2**22),
}  # fmt: skip
_TYPES: Final = {f.name: f.type for f in FIELDS}
_UNITS: Final = {f.name: f.unit for f in FIELDS}
_NO_SENSOR: Final = frozenset({"temperature_c", "memory_temperature_c"})
"""Exporters print 0 degrees where there is no sensor (T4, L4 and vGPU memory temperature)."""


def refusal(raw: float) -> str | None:
    """Why DCGM's number is no reading at all, or None. Looks at the number alone, before any unit."""
    if isinstance(raw, float) and not math.isfinite(raw):
        return "nan" if math.isnan(raw) else "infinite"
    for first in (_INT64_BLANK, _INT32_BLANK, _FP64_BLANK):
        if raw in range(first, first + 4) and (isinstance(raw, int) or raw < _INT64_TOP):
            return _BLANKS[int(raw) - first]
    if raw >= _INT64_TOP:
        return "blank" if raw <= 2**63 else "corrupt"
    if raw in _CORRUPT:
        return "corrupt"
    return None


def reading(column: str, raw: float, factor: float) -> tuple[int | float | None, str | None]:
    """DCGM's `raw` times `factor` as `column` holds it, or None and the reason: one of the two is None."""
    why = refusal(raw)
    if why is not None:
        return None, why
    value = float(raw) * factor
    low, high = _LIMITS.get(column) or _BY_UNIT.get(_UNITS[column], (0, _EXACT))
    if value < 0 <= low:
        return None, "negative"
    if value == 0 and column in _NO_SENSOR:
        return None, "no_sensor"
    if high < value <= high * 1.01:
        value = high  # the mean of a ratio's samples, rounded
    if not low <= value <= high:
        return None, "out_of_range"
    return (round(value) if _TYPES[column] == "int64" else value), None
