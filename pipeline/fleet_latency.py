"""How long the driver takes to answer: the card's own pace, how busy its host is, and moments when the host hesitates.

A busy host delays every GPU of a node alike, and at times one reading alone, by far more than a card's own noise.
Sizes and rates are judged: no trace of NVML call times is public.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from pipeline.fleet_noise import Bits, Floats, Ints, bits, normal

OWN_SD: Final = 0.14
"""Of the logarithm, from second to second."""
_HOST_SD: Final = 0.3
"""Of the logarithm, from hour to hour: all GPUs of a node alike."""
_NODE_SHARE: Final = 0.1
_GPU_SHARE: Final = 0.02
"""Share of minutes in which the host hesitates for one second: for the whole node, or for one GPU's reading."""
_LONGEST: Final = 300.0
"""A hesitation adds 1 to so many times the usual latency, evenly in the logarithm."""
_HOST, _NODE, _GPU = 20, 21, 22


class Hesitation(NamedTuple):
    """`factor` times the usual latency is added in second `second` of the minute; 0 in most minutes."""

    second: Ints
    factor: Floats


def host_factor(seed: int, node: Ints, when_s: Floats) -> Floats:
    """How much slower than usual the node's host is in that hour; the arrays broadcast."""
    out: Floats = np.exp(_HOST_SD * normal(bits(seed + _HOST, node, (when_s // 3600).astype(np.int64)), 0))
    return out


def of_node(seed: int, node: Ints, minute: Ints) -> Hesitation:
    return _hesitation(bits(seed + _NODE, node, minute), _NODE_SHARE)


def of_gpu(seed: int, slot: Ints, minute: Ints) -> Hesitation:
    return _hesitation(bits(seed + _GPU, slot, minute), _GPU_SHARE)


def _hesitation(random: Bits, share: float) -> Hesitation:
    factor = np.zeros(random.shape)
    hit = _lane(random, 0) < share * 65_536
    factor[hit] = _LONGEST ** (_lane(random[hit], 1) / 65_536)
    return Hesitation(_lane(random, 2) % 60, factor)


def _lane(random: Bits, lane: int) -> Ints:
    return ((random >> np.uint64(16 * lane)) & np.uint64(0xFFFF)).astype(np.int64)
