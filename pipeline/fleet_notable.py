"""Where more happens to a GPU's counters than to any healthy one's, fault or no fault: so that a sample can look there.

Storms of corrected errors, rows that are remapped, links that repeat: one GPU-day in a thousand. A draw of all nodes
alike meets a handful of them, and a model that has not seen them takes them for faults. So does the week after a
fault, in which a GPU is suspected for what it has been through.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import numpy as np
import polars as pl

from pipeline.fleet_effects import Signal
from pipeline.fleet_world import World
from pipeline.tables import TIME

_AT_LEAST: Final = {
    Signal.SBE_VOLATILE: 20, Signal.REMAP_CORRECTABLE: 1, Signal.REMAP_UNCORRECTABLE: 1, Signal.DBE_VOLATILE: 1,
    Signal.PCIE_REPLAY: 8, Signal.NVLINK_FLIT: 8, Signal.NVLINK_DATA: 8, Signal.NVLINK_REPLAY: 4,
    Signal.SRAM_VOLATILE: 1, Signal.THERMAL_US: 1, Signal.LATENCY_FACTOR: 1, Signal.UNREAD: 1, Signal.WIDTH_DROP: 1,
}  # fmt: skip
_SHOWS_FOR: Final = timedelta(hours=24)
"""As long as the longest window of counters looks back."""
_SUSPECTED_S: Final = 6 * 86_400.0
"""After a fault, `_SHOWS_FOR` not counted."""


def notable(world: World) -> pl.DataFrame:
    """Columns name (of the node), from, upto: windows hold such an effect, or a fault is less than a week ago.

    Times may overlap.
    """
    parts = []
    end_s = world.params.days * 86_400.0
    for signal, least in _AT_LEAST.items():
        found = world.effects.touched(signal, 0.0, end_s)
        large = found.amount >= least
        parts.append(np.stack([found.slot[large], found.begin[large], found.end[large]]))
    faults = world.faults
    parts.append(np.stack([faults.slot.astype(np.float64), faults.at_s, faults.at_s + _SUSPECTED_S]))
    slot, begin, end = np.concatenate(parts, axis=1)
    names = pl.Series(world.cards.nodes).gather(slot.astype(np.int64) // world.params.gpus_per_node)
    at = [
        (pl.lit(world.start) + pl.duration(seconds=pl.lit(pl.Series(s)))).cast(TIME)
        for s in (begin, np.maximum(begin, end))
    ]
    return pl.DataFrame({"name": names}).with_columns(
        at[0].dt.truncate("1m").alias("from"), (at[1] + _SHOWS_FOR).alias("upto")
    )
