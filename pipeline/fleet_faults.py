"""When which slot fails, what follows, and when it is repaired. Clusters of faults, not a plain Poisson process."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.random import Generator

from pipeline.fleet_noise import Bools, Floats, Ints
from pipeline.fleet_params import CLASSES, FleetParams

DAY_S: Final = 86_400.0
_BURN_IN_DAYS: Final = 180
"""The history before the fleet's start, so that it begins with its share of repeat offenders."""
_LEAST_GAP_S: Final = 6 * 3600.0
_LEAST_LEAD_S: Final = 300.0
_LEAD_SIGMA: Final = 0.8
_RESET_S: Final = (900.0, 2400.0)
_SWAP_MEDIAN_S: Final = 2.2 * 3600
"""Delta's projections use 2.2 h to repair a node."""


class Faults(NamedTuple):
    """Parallel arrays, sorted by time. `lead_s` is 0 without a precursor; `repaired_s` is on a minute."""

    slot: Ints
    at_s: Floats
    kind: Ints
    lead_s: Floats
    repaired_s: Floats
    swapped: Bools
    repeat: Bools
    """It follows an earlier fault of its chain in this slot, possibly from before the fleet's start."""


def draw(gpus: int, susceptible: Ints, params: FleetParams, rng: Generator) -> Faults:
    """All faults of the fleet. `susceptible` are the slots whose first cards are weak."""
    drawn = [_of_class(i, gpus, susceptible, params, rng) for i in range(len(CLASSES))]
    slot, at_s, kind, last, repeat = (np.concatenate(x) for x in zip(*drawn, strict=True))
    order = np.lexsort((kind, at_s))
    slot, at_s, kind, last, repeat = (x[order] for x in (slot, at_s, kind, last, repeat))
    swapped = last & (rng.random(slot.size) < params.swap_share)
    down_s = np.where(
        swapped,
        _SWAP_MEDIAN_S * np.exp(0.7 * rng.standard_normal(slot.size)),
        rng.uniform(*_RESET_S, slot.size),
    )
    repaired_s = np.ceil((at_s + np.clip(down_s, 900, _LEAST_GAP_S)) / 60) * 60
    lead_s = _leads(kind, params, rng)
    kept = at_s >= 0
    return Faults(
        slot[kept], at_s[kept], kind[kept], lead_s[kept], repaired_s[kept], swapped[kept], repeat[kept]
    )


def _of_class(
    index: int, gpus: int, susceptible: Ints, params: FleetParams, rng: Generator
) -> tuple[Ints, Floats, Ints, Bools, Bools]:
    """Slots, times, class, whether its chain ends there and whether it began earlier: each goes on with p `follow`."""
    fault = CLASSES[index]
    first_per_day = gpus * fault.rate_per_gpu_day() * params.fault_rate_factor * (1 - fault.follow)
    count = rng.poisson(first_per_day * (params.days + _BURN_IN_DAYS))
    at_s = rng.uniform(-_BURN_IN_DAYS * DAY_S, params.days * DAY_S, count)
    slot = rng.integers(0, gpus, count)
    weak = rng.random(count) < params.susceptible_first_share
    if susceptible.size:
        slot = np.where(weak, susceptible[rng.integers(0, susceptible.size, count)], slot)
    slots, times, lasts, repeats = [], [], [], []
    while at_s.size:
        goes_on = rng.random(at_s.size) < fault.follow
        slots.append(slot)
        times.append(at_s)
        lasts.append(~goes_on)
        repeats.append(np.full(at_s.size, len(times) > 1))
        following_s = at_s + _gaps(at_s.size, params, rng)
        goes_on &= following_s < params.days * DAY_S
        slot, at_s = slot[goes_on], following_s[goes_on]
    if not slots:
        return np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64), np.empty(0, bool), np.empty(0, bool)
    slot = np.concatenate(slots)
    return (
        slot,
        np.floor(np.concatenate(times)),
        np.full(slot.size, index),
        np.concatenate(lasts),
        np.concatenate(repeats),
    )


def _gaps(count: int, params: FleetParams, rng: Generator) -> Floats:
    """Log-normal; those shorter than a repair are spread from there to the median, which stays what it is.

    Cut off at the repair's length they would all be there, and a model would learn that edge instead of faults.
    """
    gap_s = params.gap_median_s * np.exp(params.gap_sigma * rng.standard_normal(count))
    least_s = _LEAST_GAP_S + 60
    spread_s = least_s * (params.gap_median_s / least_s) ** rng.random(count)
    return np.where(gap_s < least_s, spread_s, gap_s)


def _leads(kind: Ints, params: FleetParams, rng: Generator) -> Floats:
    phi = np.array([params.phi(c) for c in CLASSES])[kind]
    median_s = np.array([c.lead_median_s for c in CLASSES])[kind]
    lead_s = np.maximum(median_s * np.exp(_LEAD_SIGMA * rng.standard_normal(kind.size)), _LEAST_LEAD_S)
    return np.where(rng.random(kind.size) < phi, np.floor(lead_s), 0.0)


def ends_job(kind: int) -> bool:
    """A synchronous job ends with every fault but silent corruption."""
    return bool(CLASSES[kind].codes)
