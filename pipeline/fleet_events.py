"""The fleet's events, inventory and truth: what its agents would have sent, and what predictors are held against."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np
import polars as pl

from collector.records import Event, Inventory
from pipeline.fleet_params import CLASS_NAMES
from pipeline.fleet_precursors import Happening
from pipeline.fleet_world import World
from pipeline.tables import EVENTS, TIME

TRUTH: Final = pl.Schema({
    "time": TIME, "node": pl.String(), "gpu_uuid": pl.String(), "gpu_index": pl.Int64(), "class": pl.String(),
    "has_precursor": pl.Boolean(), "lead_s": pl.Float64(), "first_or_repeat": pl.String(), "repaired": TIME,
    "swapped": pl.Boolean(), "seen_before": pl.Boolean(), "synthetic": pl.Boolean(),
})  # fmt: skip
"""One row per fault. `lead_s` is null without a precursor; a repeat follows a fault of its chain, maybe from
before the fleet's start; `seen_before` says that the same card has an earlier row here."""


def event_structs(world: World, begin_s: float, end_s: float) -> Iterator[Event]:
    """Events in [begin_s, end_s), in the order of their times."""
    chosen = [h for h in world.happenings if begin_s <= h.at_s < end_s]
    if not chosen:
        return
    slot = np.array([h.slot for h in chosen])
    at_s = np.array([h.at_s for h in chosen])
    cards, jobs = world.cards.of(slot, at_s), world.jobs.job_at(world.blocks(slot), at_s - 1)
    for happening, card, job in zip(chosen, cards.tolist(), jobs.tolist(), strict=True):
        yield _event(world, happening, card, world.jobs.job_names[job] if job >= 0 else None)


def _event(world: World, h: Happening, card: int, job: str | None) -> Event:
    node, index = divmod(h.slot, world.params.gpus_per_node)
    start_s = world.start.timestamp()
    name = f"sim-{world.seed}-{h.slot}-{h.code}-{round(h.at_s * 1000)}"
    root = None if h.root is None else f"sim-{world.seed}-{h.slot}-{h.root}-{round(np.floor(h.at_s) * 1000)}"
    return Event(
        fingerprint=name, time=start_s + h.at_s, node=world.cards.nodes[node], kind="xid", source="sim",
        gpu_uuid=world.cards.uuids[card], gpu_index=index, pci_bdf=world.cards.bdfs[index], code=h.code, job=job,
        text=f"simulated Xid {h.code}", root_code=h.root, root_fingerprint=root, count=h.repeats, synthetic=True,
        last_time=None if h.last_s is None else start_s + h.last_s,
    )  # fmt: skip


def event_rows(found: Iterator[Event], stream: str) -> pl.DataFrame:
    """Events as rows of EVENTS."""
    rows = [msgspec.structs.asdict(e) | {"stream": stream, "seq": i} for i, e in enumerate(found)]
    times = ("time", "last_time")
    frame = pl.DataFrame(rows, schema=dict(EVENTS) | dict.fromkeys(times, pl.Float64()), orient="row")
    return frame.with_columns((pl.col(times) * 1e6).round().cast(pl.Int64).cast(TIME))


def inventory(world: World) -> Iterator[Inventory]:
    """Every card at the fleet's start, and each new one when it came."""
    swapped = world.faults.swapped
    slots = np.concatenate([np.arange(world.gpus), world.faults.slot[swapped]])
    times = np.concatenate([np.zeros(world.gpus), world.faults.repaired_s[swapped]])
    order = np.argsort(times, kind="stable")
    for slot, at_s in zip(slots[order].tolist(), times[order].tolist(), strict=True):
        yield _inventory(world, slot, at_s)


def _inventory(world: World, slot: int, at_s: float) -> Inventory:
    node, index = divmod(slot, world.params.gpus_per_node)
    card = int(world.cards.of(np.array([slot]), np.array([at_s]))[0])
    return Inventory(
        time=world.start.timestamp() + at_s, node=world.cards.nodes[node], gpu_uuid=world.cards.uuids[card],
        gpu_index=index, pci_bdf=world.cards.bdfs[index], serial=world.cards.serial(card), minor=index,
        name="NVIDIA H100 80GB HBM3", architecture="hopper", ecc_mode=1, nvlink_count=18, memory_total_mib=81_559.0,
        power_limit_default_w=700.0, pcie_generation_max=5, pcie_width_max=16, synthetic=True,
    )  # fmt: skip


def truth(world: World) -> pl.DataFrame:
    """Every fault of the fleet, in the order of its times: columns of TRUTH."""
    f = world.faults
    card = world.cards.of(f.slot, f.at_s)
    per_node = world.params.gpus_per_node
    rows = pl.DataFrame({
        "time": world.start_us + (f.at_s * 1e6).astype(np.int64),
        "node": [world.cards.nodes[s // per_node] for s in f.slot.tolist()],
        "gpu_uuid": [world.cards.uuids[c] for c in card.tolist()],
        "gpu_index": f.slot % per_node,
        "class": [CLASS_NAMES[k] for k in f.kind.tolist()],
        "has_precursor": f.lead_s > 0,
        "lead_s": f.lead_s,
        "first_or_repeat": ["repeat" if r else "first" for r in f.repeat.tolist()],
        "repaired": world.start_us + (f.repaired_s * 1e6).astype(np.int64),
        "swapped": f.swapped,
        "synthetic": np.full(f.slot.size, True),
    })  # fmt: skip
    rows = rows.with_columns((pl.int_range(pl.len()).over("gpu_uuid") > 0).alias("seen_before"))
    rows = rows.with_columns(pl.when("has_precursor").then("lead_s").alias("lead_s"))
    return rows.select(pl.col(n).cast(k) for n, k in TRUTH.items())
