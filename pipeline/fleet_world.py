"""One simulated fleet's whole history in closed form. Made once, then only read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from collector.errors import ForeshockError
from pipeline import fleet_faults
from pipeline.fleet_cards import Cards
from pipeline.fleet_decoys import add_decoys, add_update_shift, driver_updates
from pipeline.fleet_effects import Effects
from pipeline.fleet_faults import DAY_S, Faults
from pipeline.fleet_jobs import Jobs
from pipeline.fleet_noise import Floats, Ints
from pipeline.fleet_params import LLAMA3_GPU_DAYS, FleetParams
from pipeline.fleet_precursors import Happening, add_faults

_KEY_S = 1e10


@dataclass(frozen=True, slots=True)
class World:
    """All that happens to the fleet. Times are seconds since `start`."""

    gpus: int
    seed: int
    start: datetime
    params: FleetParams
    cards: Cards
    jobs: Jobs
    effects: Effects
    faults: Faults
    happenings: tuple[Happening, ...]
    reset_key: Floats
    """slot * 1e10 + time of every restart of volatile counters, sorted."""

    @property
    def start_us(self) -> int:
        return round(self.start.timestamp() * 1e6)

    def seconds(self, when: datetime) -> float:
        """`when` in seconds since the start. Raises ForeshockError outside the fleet's history."""
        at_s = (when - self.start).total_seconds()
        if not 0 <= at_s <= self.params.days * DAY_S:
            raise ForeshockError(
                f"{when:%Y-%m-%d %H:%M} is not in the simulated fleet's {self.params.days} days "
                f"from {self.start:%Y-%m-%d %H:%M} UTC",
                hint="make the fleet with FleetParams(days=...) that covers it",
            )
        return at_s

    def blocks(self, slot: Ints) -> Ints:
        """Block of every slot: the nodes that work on one job."""
        found: Ints = self.jobs.block_of_node[slot // self.params.gpus_per_node]
        return found

    def since_reset(self, name: str, slot: Ints, at_s: Floats) -> Floats:
        """Integral of a job level (fleet_jobs.LEVELS) since the driver of each slot was loaded."""
        row = np.searchsorted(self.reset_key, slot * _KEY_S + at_s, side="right") - 1
        reset_s = (
            np.maximum(self.reset_key[row] - slot * _KEY_S, 0.0)
            if self.reset_key.size
            else np.zeros_like(at_s)
        )
        reset_s = np.where(row >= 0, reset_s, 0.0)
        block = self.blocks(slot)
        return self.jobs.integral(name, block, at_s) - self.jobs.integral(name, block, reset_s)


def build(gpus: int, seed: int, start: datetime, params: FleetParams) -> World:
    """Draw the fleet's history. Raises ForeshockError where the values make no fleet."""
    params.check(gpus)
    if start.tzinfo is None or start.astimezone(UTC).timestamp() % 60:
        raise ForeshockError(
            f"a fleet starts on a whole minute, UTC (got {start})", hint="give an aware datetime"
        )
    susceptible = np.sort(
        np.random.default_rng([seed, 10]).permutation(gpus)[: round(params.susceptible_share * gpus)]
    )
    faults = fleet_faults.draw(gpus, susceptible, params, np.random.default_rng([seed, 11]))
    updates = driver_updates(gpus, params, np.random.default_rng([seed, 12]))
    effects = Effects(gpus)
    happenings = add_faults(effects, faults, np.random.default_rng([seed, 13]))
    happenings += add_decoys(effects, gpus, susceptible, params, np.random.default_rng([seed, 14]))
    add_update_shift(effects, *updates, np.random.default_rng([seed, 15]))
    reset_slot = np.concatenate([faults.slot, updates[0]])
    reset_s = np.concatenate([faults.repaired_s, updates[1]])
    swapped = np.concatenate([faults.swapped, np.zeros(updates[0].size, dtype=bool)])
    effects.seal(reset_slot, reset_s, swapped)
    order = np.argsort(faults.repaired_s[faults.swapped], kind="stable")
    swaps = faults.slot[faults.swapped][order], faults.repaired_s[faults.swapped][order]
    cards = Cards(gpus, params.gpus_per_node, *swaps, seed)
    jobs = Jobs(gpus // params.gpus_per_node, _kills(gpus, faults, params, seed), params.days * DAY_S, seed)
    happenings.sort(key=lambda h: (h.at_s, h.slot, h.code))
    inside = tuple(h for h in happenings if h.at_s >= 0)
    key = np.sort(reset_slot * _KEY_S + reset_s)
    return World(gpus, seed, start.astimezone(UTC), params, cards, jobs, effects, faults, inside, key)


def _kills(gpus: int, faults: Faults, params: FleetParams, seed: int) -> dict[int, list[float]]:
    """Node -> when its job is ended: by faults of its GPUs (but silent corruption), and by what no GPU caused."""
    rng = np.random.default_rng([seed, 16])
    count = rng.poisson(params.other_interruptions / LLAMA3_GPU_DAYS * gpus * params.days)
    other_s = np.floor(rng.uniform(0, params.days * DAY_S, count))
    out: dict[int, list[float]] = {}
    for slot, at_s in zip(rng.integers(0, gpus, count), other_s, strict=True):
        out.setdefault(int(slot) // params.gpus_per_node, []).append(float(at_s))
    for slot, at_s, kind in zip(faults.slot, faults.at_s, faults.kind, strict=True):
        if fleet_faults.ends_job(int(kind)):
            out.setdefault(int(slot) // params.gpus_per_node, []).append(float(at_s))
    return out
