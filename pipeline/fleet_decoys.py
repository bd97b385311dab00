"""What looks like a fault coming and is none. Nothing here makes a fault; rates are `Decoys`."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.random import Generator

from pipeline.fleet_effects import Effects, Signal, add_silence, effect
from pipeline.fleet_noise import Floats, Ints
from pipeline.fleet_params import FleetParams
from pipeline.fleet_precursors import Happening

_DAY_S: Final = 86_400.0
_APPLICATION_CODES: Final = (13, 31, 43, 45)
_APPLICATION_WEIGHTS: Final = (0.1, 0.6, 0.2, 0.1)


def add_decoys(
    effects: Effects, gpus: int, susceptible: Ints, params: FleetParams, rng: Generator
) -> list[Happening]:
    """Put all decoys into `effects` and return their events, not sorted."""
    _background(effects, gpus, susceptible, params, rng)
    _storms(effects, gpus, params, rng)
    _waves(effects, gpus, params, rng)
    _node_gaps(effects, gpus, params, rng)
    return _remap_growth(effects, gpus, params, rng) + _application_bursts(gpus, params, rng)


def driver_updates(gpus: int, params: FleetParams, rng: Generator) -> tuple[Ints, Floats]:
    """(slot, time) of every driver reload: a rolling update takes a day, a node's GPUs go together."""
    nodes = gpus // params.gpus_per_node
    slots, times = [], []
    for day in np.arange(
        params.decoys.driver_update_every_days, params.days, params.decoys.driver_update_every_days
    ):
        at_s = np.floor((day + rng.random(nodes)) * 1440) * 60
        slots.append(np.arange(gpus))
        times.append(np.repeat(at_s, params.gpus_per_node))
    if not slots:
        return np.empty(0, np.int64), np.empty(0)
    slot, at = np.concatenate(slots), np.concatenate(times)
    return slot, at


def add_update_shift(effects: Effects, slot: Ints, at_s: Floats, rng: Generator) -> None:
    """After an update the driver reports corrected errors that it kept to itself before, for a day [J]."""
    chosen = rng.random(slot.size) < 0.05
    rise = np.ceil(5 * np.exp(rng.standard_normal(chosen.sum())))
    effects.add(Signal.SBE_VOLATILE, effect(slot[chosen], at_s[chosen], at_s[chosen] + _DAY_S, rise))


def _places(rate: float, units: int, params: FleetParams, rng: Generator) -> tuple[Ints, Floats]:
    """Units and whole seconds of a Poisson process of `rate` per unit and day."""
    count = rng.poisson(rate * units * params.days * params.decoy_rate_factor)
    return rng.integers(0, units, count), np.floor(rng.uniform(0, params.days * _DAY_S, count))


def _background(effects: Effects, gpus: int, susceptible: Ints, params: FleetParams, rng: Generator) -> None:
    slot, at_s = _places(params.decoys.background_sbe, gpus, params, rng)
    effects.add(Signal.SBE_VOLATILE, effect(slot, at_s, at_s, 1))
    if susceptible.size:
        # weak cards correct more; weak as a sign, since most of them never fail
        which, at_s = _places(5 * params.decoys.background_sbe, susceptible.size, params, rng)
        effects.add(Signal.SBE_VOLATILE, effect(susceptible[which], at_s, at_s, 1))
    for signal in (Signal.NVLINK_FLIT, Signal.PCIE_REPLAY):
        slot, at_s = _places(params.decoys.background_link_error, gpus, params, rng)
        effects.add(signal, effect(slot, at_s, at_s, rng.geometric(0.5, slot.size)))


def _storms(effects: Effects, gpus: int, params: FleetParams, rng: Generator) -> None:
    slot, at_s = _places(params.decoys.ce_storm, gpus, params, rng)
    size = np.ceil(400 * np.exp(rng.standard_normal(slot.size)))
    effects.add(Signal.SBE_VOLATILE, effect(slot, at_s, at_s + rng.uniform(600, 14_400, slot.size), size))


def _waves(effects: Effects, gpus: int, params: FleetParams, rng: Generator) -> None:
    """A rack's inlet warms for an hour or so: all its GPUs alike, so that no peer stands out."""
    per_rack = params.gpus_per_node * params.nodes_per_rack
    racks = -(-gpus // per_rack)
    rack, at_s = _places(params.decoys.thermal_wave_per_rack_day, racks, params, rng)
    rise_c, width_s = rng.uniform(4, 12, rack.size), rng.uniform(1800, 7200, rack.size)
    slot = (rack[:, None] * per_rack + np.arange(per_rack)).ravel()
    begin, rise, width = (np.repeat(x, per_rack) for x in (at_s, rise_c, width_s))
    kept = slot < gpus
    slot, begin, rise, width = slot[kept], begin[kept], rise[kept], width[kept]
    effects.add(Signal.TEMPERATURE_C, effect(slot, begin, begin + width / 2, rise))
    effects.add(Signal.TEMPERATURE_C, effect(slot, begin + width / 2, begin + width, rise, 0))
    effects.add(Signal.TEMPERATURE_C, effect(slot, begin + width / 2, begin + width, -rise))


def _node_gaps(effects: Effects, gpus: int, params: FleetParams, rng: Generator) -> None:
    """A node's agent was away: no rows of any of its GPUs."""
    per_node = params.gpus_per_node
    node, at_s = _places(params.decoys.node_gap_per_node_day, gpus // per_node, params, rng)
    width_s = np.floor(10 * np.exp(rng.standard_normal(node.size))) + 2
    slot = (node[:, None] * per_node + np.arange(per_node)).ravel()
    begin, width = np.repeat(at_s, per_node), np.repeat(width_s, per_node)
    add_silence(effects, Signal.NODE_GAP, slot, begin, begin + width)


def _remap_growth(effects: Effects, gpus: int, params: FleetParams, rng: Generator) -> list[Happening]:
    out: list[Happening] = []
    slot, at_s = _places(params.decoys.remap_growth, gpus, params, rng)
    for s, t in zip(slot, at_s, strict=True):
        rows = np.floor(t + np.cumsum(rng.exponential(3 * 3600, rng.integers(1, 12))))
        rows = rows[rows < params.days * _DAY_S]
        effects.add(Signal.REMAP_CORRECTABLE, effect(np.full(rows.size, s), rows, rows, 1))
        out += [Happening(float(r), int(s), 63) for r in rows]
    return out


def _application_bursts(gpus: int, params: FleetParams, rng: Generator) -> list[Happening]:
    """A program's own crash: the same code on some GPUs of one node, folded to one event each."""
    per_node = params.gpus_per_node
    # a burst meets (1 + per_node) / 2 GPUs on average: the rate is per GPU-day
    rate = params.decoys.application_burst * per_node / ((1 + per_node) / 2)
    node, at_s = _places(rate, gpus // per_node, params, rng)
    out: list[Happening] = []
    for n, t in zip(node, at_s, strict=True):
        code = int(rng.choice(_APPLICATION_CODES, p=_APPLICATION_WEIGHTS))
        hit = rng.permutation(per_node)[: rng.integers(1, per_node + 1)]
        count = int(rng.geometric(0.2))
        out += [Happening(float(t), int(n * per_node + g), code, count, float(t) + count - 1) for g in hit]
    return out
