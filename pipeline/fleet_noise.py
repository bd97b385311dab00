"""Noise that is a function of where and when: asked again, in any order or chunk, it is the same."""

from __future__ import annotations

from functools import cache
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Bits = NDArray[np.uint64]

_LANES: Final = 4
_ODD: Final = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


@cache
def _quantiles() -> NDArray[np.float32]:
    """Normal deviate of each 16-bit number."""
    normal = NormalDist()
    return np.array([normal.inv_cdf((i + 0.5) / 65_536) for i in range(65_536)], dtype=np.float32)


def bits(seed: int, where: Ints, when: Ints) -> Bits:
    """64 random bits for every (where, when) of the two broadcast arrays (splitmix64)."""
    x = (
        (where.astype(np.uint64) * _ODD[0])
        + (when.astype(np.uint64) * _ODD[2])
        + np.uint64(seed & (2**63 - 1))
    )
    x ^= x >> np.uint64(30)
    x *= _ODD[1]
    x ^= x >> np.uint64(27)
    x *= _ODD[2]
    x ^= x >> np.uint64(31)
    return x


def normal(random: Bits, lane: int) -> NDArray[np.float32]:
    """Standard normal deviates from one of the four 16-bit lanes."""
    return _quantiles()[(random >> np.uint64(16 * (lane % _LANES))).astype(np.uint16)]
