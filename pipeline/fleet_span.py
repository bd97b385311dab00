"""Some slots over some minutes, and the statistics that columns are made from: each one only where it is called for."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache, cached_property
from typing import Any, Final, NamedTuple

import numpy as np

from pipeline.fleet_effects import Effects, Signal
from pipeline.fleet_jobs import LEVELS
from pipeline.fleet_noise import Bits, Floats, Ints, bits, normal
from pipeline.fleet_world import World
from pipeline.tables import STATISTICS

_SEEN_EXTREME: Final = 1.5
"""What the card's own noise adds where the job's own extremes are already taken."""
Statistic = Callable[[str], Any]
"""Name of a statistic ("mean", "min", "max", "std") -> its values, broadcastable to (slot, minute)."""


class Slots(NamedTuple):
    """Some slots of the fleet: their numbers, their effects, and the blocks (sorted) that their jobs run on."""

    world: World
    slot: Ints
    effects: Effects
    blocks: Ints


def slots(world: World, nodes: Ints | None = None) -> Slots:
    """All slots of these nodes (sorted), or of all."""
    per_node = world.params.gpus_per_node
    if nodes is None:
        return Slots(world, np.arange(world.gpus), world.effects, np.arange(world.jobs.blocks))
    slot = (nodes[:, None] * per_node + np.arange(per_node)).reshape(-1)
    return Slots(world, slot, world.effects.of_slots(slot), np.unique(world.jobs.block_of_node[nodes]))


class Span:
    """Slots over whole minutes that begin at `minutes_s`; no swap within. Arrays are (slot, minute)."""

    def __init__(self, of: Slots, minutes_s: Floats, wanted: Collection[str]) -> None:
        self.world, self.effects, self.minutes_s, self.wanted = of.world, of.effects, minutes_s, wanted
        self.slot = of.slot
        self.card: Ints = of.world.cards.at(float(minutes_s[0]))[of.slot]
        self.block: Ints = np.searchsorted(of.blocks, of.world.blocks(of.slot))
        self.load = of.world.jobs.load(minutes_s, of.blocks)
        self.shape = (of.slot.size, minutes_s.size)

    @cached_property
    def noise(self) -> Bits:
        """The cards' own noise."""
        minute = (self.minutes_s / 60).astype(np.int64)
        return bits(self.world.seed + 1, self.slot[:, None], minute[None, :])

    def of_jobs(self, per_second: Callable[[], Floats]) -> Statistic:
        """Statistics over the seconds of (block, minute, second) values, for every slot."""
        values = cache(per_second)

        @cache
        def statistic(name: str) -> Floats:
            found: Floats = getattr(values(), name)(-1)
            return found[self.block]

        return statistic

    def level(self, name: str) -> Statistic:
        return self.of_jobs(lambda: LEVELS[name][self.load.profile])

    def gauge(self, signal: Signal, at_s: Floats) -> Floats | float:
        """Sum of the episodes at `at_s`; a plain 0 where there is none."""
        if not self.effects.touched(signal, float(at_s[0]), float(at_s[-1]) + 1e-6).slot.size:
            return 0.0
        return self.effects.gauge(signal, 0, self.slot.size, at_s)

    def named(self, name: str, of: Statistic) -> dict[str, Any]:
        """Those of the column's statistics that are wanted."""
        return {f"{name}_{s}": of(s) for s in STATISTICS[name] if f"{name}_{s}" in self.wanted}

    def wants(self, *names: str) -> bool:
        """Whether a wanted column begins with one of `names`."""
        return any(c.startswith(names) for c in self.wanted)


def widened(of_job: Statistic, own_sd: Floats, span: Span, lane: int) -> Statistic:
    """The job's statistics and the card's own noise around them."""

    @cache
    def statistic(name: str) -> Any:
        value = of_job(name)
        if name == "mean":
            return value + own_sd * normal(span.noise, lane) / np.sqrt(60)
        if name == "std":
            return np.hypot(value, own_sd)
        return value + (_SEEN_EXTREME if name == "max" else -_SEEN_EXTREME) * own_sd

    return statistic
