"""The features of rollups, on dense minutes: the one code that training and live scoring run.

A `Block` hides where the minutes lie, in a training chunk or in the rings of a live worker. What a feature is
called, in which unit and why it is there is said by FEATURES in pipeline/features.py.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

import numpy as np

from pipeline.signals import LOOK_BACK_HOURS, Floats, Ints
from pipeline.windows import (
    added,
    divided,
    known_max,
    known_mean,
    known_min,
    known_sum,
    over_peers,
    own_baseline,
)

_NOW_MINUTES: Final = 3
"""What is measured against the hour before is not in its own baseline."""
_QUICK_US: Final = 1000.0
"""Added to every latency: a ratio of two quick answers says nothing."""


class Day(NamedTuple):
    """Sums per clock hour. `hours` [23 + h, g] are the complete ones, `hour_of` [k] is each minute's own hour as an
    index into the last h of the windows over them, `running` [k, g] is the hour that a minute lies in, up to it.
    """

    hours: Floats
    hour_of: Ints
    running: Floats


class Block(Protocol):
    """The last k minutes of g GPUs with what lies before them."""

    @property
    def node(self) -> Ints:
        """[k, g]: the node that the GPU was on, as a number; -1 where that minute has no row."""

    def of(self, signal: str, minutes: int = 1) -> Floats:
        """[minutes - 1 + k, g]: windows of `minutes` rows end at the block's k minutes."""

    def day(self, signal: str) -> Day: ...


def minute_features(block: Block) -> dict[str, Floats]:
    """Feature -> [k, g] for the block's minutes; NaN where unknown, anything where there is no row."""
    return {
        "nvlink_crc_3m": known_sum(block.of("crc", 3), 3),
        "nvlink_crc_10m": known_sum(block.of("crc", 10), 10),
        "nvlink_crc_minutes_10m": _minutes_with(block, "crc", 10),
        "nvlink_replay_10m": known_sum(block.of("replay", 10), 10),
        "nvlink_replay_24h": _day_sum(block, "replay"),
        "pcie_replay_10m": known_sum(block.of("pcie_replay", 10), 10),
        "pcie_replay_minutes_10m": _minutes_with(block, "pcie_replay", 10),
        "pcie_width_drop": known_max(block.of("pcie_width", 60), 60) - block.of("pcie_width"),
        "ecc_sbe_60m": known_sum(block.of("sbe", 60), 60),
        "ecc_sbe_24h": _day_sum(block, "sbe"),
        "sram_correctable_60m": known_sum(block.of("sram", 60), 60),
        "ecc_dbe_60m": known_sum(block.of("dbe", 60), 60),
        "remapped_uncorrectable_60m": known_sum(block.of("remapped_uncorrectable", 60), 60),
        "remapped_rows_24h": _day_sum(block, "remapped"),
        "remapped_rows": block.of("remapped_rows"),
        "remap_pending": block.of("remap_pending"),
        "remap_failure": block.of("remap_failure"),
        "recovery_action": block.of("recovery_action"),
        "thermal_violation_10m": known_sum(block.of("thermal_us", 10), 10),
        "thermal_violation_24h": _day_sum(block, "thermal_us"),
        "temperature_peer_delta_c": _temperature_over_peers(block),
        "temperature_own_delta_c": _temperature_over_itself(block),
        "power_swing_15m": _power_swing(block, 15),
        "gap_excess_10m": _gap_over_peers(block, 10),
        "bad_sample_share_10m": _bad_share(block, 10),
        "nvml_errors_10m": known_sum(block.of("nvml_errors", 10), 10),
        "nvml_latency_ratio": _latency_ratio(block, 60),
        "gpu_down": block.of("down"),
    }


def _minutes_with(block: Block, signal: str, minutes: int) -> Floats:
    """A link that fails repeats minute after minute; a healthy one has a burst now and then."""
    values = block.of(signal, minutes)
    return known_sum(np.where(np.isnan(values), np.nan, values > 0), minutes)


def _day_sum(block: Block, signal: str) -> Floats:
    hours, hour_of, running = block.day(signal)
    return added(known_sum(hours, LOOK_BACK_HOURS - 1)[hour_of], running)


def _temperature_over_peers(block: Block) -> Floats:
    now = block.of("temperature_c")
    median, _ = over_peers(now, block.node)
    return now - median


def _temperature_over_itself(block: Block) -> Floats:
    values, load = block.of("temperature_c", 60), block.of("power_w", 60)
    baseline = own_baseline(values, load, window=60, recent=_NOW_MINUTES, share=0.1)
    return block.of("temperature_c") - baseline


def _power_swing(block: Block, minutes: int) -> Floats:
    power_w = block.of("power_w", minutes)
    return known_max(power_w, minutes) - known_min(power_w, minutes)


def _gap_over_peers(block: Block, minutes: int) -> Floats:
    """A lone GPU has no peers to be measured against: its own gap."""
    gap_s = known_max(block.of("gap_s", minutes), minutes)
    median, peers = over_peers(gap_s, block.node)
    return np.where(peers > 1, gap_s - median, gap_s)


def _bad_share(block: Block, minutes: int) -> Floats:
    good, samples = (known_sum(block.of(s, minutes), minutes) for s in ("good_samples", "samples"))
    return 1 - divided(good, samples)


def _latency_ratio(block: Block, minutes: int) -> Floats:
    """A few hundred microseconds more are a busy host, and so is what slows the whole node."""
    now = known_mean(block.of("latency_us", _NOW_MINUTES) + _QUICK_US, _NOW_MINUTES)
    before = block.of("latency_us", minutes)[:-_NOW_MINUTES] + _QUICK_US
    ratio = divided(now, known_mean(before, minutes - _NOW_MINUTES))
    median, peers = over_peers(ratio, block.node)
    return np.where(peers > 1, divided(ratio, median), ratio)
