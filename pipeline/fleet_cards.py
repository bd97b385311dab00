"""Which card sits in which slot, and how nodes, slots and cards differ. A swap puts a new UUID in the slot."""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np

from pipeline.fleet_noise import Floats, Ints

_HOT_SLOTS: Final = np.array([1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0])
"""On recorded HGX H100 boards these slots run about 10 C hotter than the others under full load."""
_C_PER_W: Final = 0.046
_HOT_C_PER_W: Final = 0.012
INLET_C: Final = 27.0
_NODE_SPREAD_C: Final = 2.5
_SLOT_SPREAD_C: Final = 0.7
PROMPT_SHARE: Final = 0.4
"""Share of the rise in temperature that comes at once; the rest follows the heat sink's lag."""


class Cards:
    """Slots, and the cards that were in them. `swap_slot` and `swap_s` sorted by time."""

    def __init__(self, gpus: int, per_node: int, swap_slot: Ints, swap_s: Floats, seed: int) -> None:
        rng = np.random.default_rng([seed, 1])
        cards = gpus + swap_slot.size
        self._gpus, self._swap_slot, self._swap_s = gpus, swap_slot, swap_s
        self._seed = seed
        self._known: tuple[int, Ints] = (0, np.arange(gpus))
        nodes = gpus // per_node
        slot = np.arange(gpus)
        self.inlet_c = (
            INLET_C
            + np.repeat(_NODE_SPREAD_C * rng.standard_normal(nodes), per_node)
            + _SLOT_SPREAD_C * rng.standard_normal(gpus)
        )
        self._slot_c_per_w = _C_PER_W + _HOT_C_PER_W * _HOT_SLOTS[slot % per_node % _HOT_SLOTS.size]
        self.power_factor = 1 + 0.008 * rng.standard_normal(cards)
        self._conduction = 1 + 0.03 * rng.standard_normal(cards)
        self.latency_us = 500 * np.exp(0.1 * rng.standard_normal(cards))
        self.uuids = [_uuid(seed, i) for i in range(cards)]
        self.nodes = [f"sim-{i:06d}" for i in range(nodes)]
        self.bdfs = [f"0000:{0x1B + 0x12 * i:02x}:00" for i in range(per_node)]

    def at(self, when_s: float) -> Ints:
        """Card number of every slot at `when_s`."""
        done = int(np.searchsorted(self._swap_s, when_s, side="right"))
        if self._known[0] != done:
            out = np.arange(self._gpus)
            out[self._swap_slot[:done]] = self._gpus + np.arange(done)
            self._known = done, out
        return self._known[1]

    def of(self, slot: Ints, when_s: Floats) -> Ints:
        """Card number at each (slot, time)."""
        out = slot.copy()
        for number, (swapped, at_s) in enumerate(zip(self._swap_slot, self._swap_s, strict=True)):
            out[(slot == swapped) & (when_s >= at_s)] = self._gpus + number
        return out

    def cuts(self, begin_s: float, end_s: float, slots: Ints) -> list[float]:
        """Times of swaps in `slots` in (begin_s, end_s), where what is computed at once has to end."""
        mine = self._swap_s[np.isin(self._swap_slot, slots)]
        return sorted({float(t) for t in mine if begin_s < t < end_s})

    def c_per_w(self, slot: Ints, card: Ints) -> Floats:
        """Thermal resistance of these cards in these slots."""
        out: Floats = self._slot_c_per_w[slot] * self._conduction[card]
        return out

    def serial(self, card: int) -> str:
        return f"SIM{self._seed:04d}{card:08d}"


def _uuid(seed: int, card: int) -> str:
    h = hashlib.blake2b(f"{seed}/{card}".encode(), digest_size=16).hexdigest()
    return f"GPU-{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
