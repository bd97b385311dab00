"""A simulated fleet: the records its agents would have sent, at up to 100,000 GPUs. Synthetic, and every row says so.

It lies here and not in collector/, because it needs numpy, and what a GPU node installs has to stay light.
Everything is a function of (seed, slot, time): asked in other chunks or again, the answers are the same. The faults,
leads and decoys are drawn from pipeline/fleet_params.py; they are assumptions with sources, not measurements, and a
model that does well here has learnt this simulator.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import numpy as np
import polars as pl

from collector.errors import ForeshockError
from collector.records import Event, Inventory
from pipeline import fleet_events, fleet_notable, fleet_wire
from pipeline.fleet_minutes import rollups
from pipeline.fleet_noise import Ints
from pipeline.fleet_params import FleetParams
from pipeline.fleet_samples import Part, samples
from pipeline.fleet_span import Span, slots
from pipeline.fleet_world import build
from pipeline.tables import ROLLUPS

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_ROWS_AT_ONCE: Final = 100_000
"""Rows of one computation: small enough for the cache, large enough for numpy."""
_MANY_COLUMNS: Final = 50
"""Of a row with fewer, more fit in the same memory."""


class Fleet:
    """`gpus` cards in nodes of eight. Raises ForeshockError where the values make no fleet.

    `start` is a whole minute, UTC. The history is `params.days` long; another length is another fleet.
    """

    def __init__(
        self, gpus: int, seed: int = 0, start: datetime = START, params: FleetParams | None = None
    ) -> None:
        self._world = build(gpus, seed, start, params or FleetParams())
        self.gpus, self.seed, self.start, self.params = gpus, seed, self._world.start, self._world.params
        self.nodes = tuple(self._world.cards.nodes)
        self.stream = f"simulated-{seed}"

    @property
    def truth(self) -> pl.DataFrame:
        """Every fault: fleet_events.TRUTH. Not for a model's eyes."""
        return fleet_events.truth(self._world)

    def notable(self) -> pl.DataFrame:
        """When and on which nodes more happens than to healthy GPUs: fleet_notable. For drawing samples."""
        return fleet_notable.notable(self._world)

    def samples(self, t0: datetime, seconds: int, *, flush_s: int = 10) -> Iterator[pl.DataFrame]:
        """Telemetry at 1 Hz in [t0, t0 + seconds): frames of whole nodes, sorted by node, time and GPU.

        A frame holds some nodes over at most `flush_s` seconds within one minute; the columns are TELEMETRY
        without stream and seq.
        """
        begin_s = round(self._world.seconds(t0))
        self._world.seconds(t0 + timedelta(seconds=seconds))
        nodes = max(1, _ROWS_AT_ONCE // (flush_s * self.params.gpus_per_node))
        load, loaded_s = None, -1
        for first_s, last_s in _windows(begin_s, begin_s + seconds, flush_s):
            minute_s = first_s // 60 * 60
            if load is None or loaded_s != minute_s:
                load, loaded_s = self._world.jobs.load(np.array([float(minute_s)])), minute_s
            ticks = np.arange(first_s - minute_s, last_s - minute_s)
            for node in range(0, len(self.nodes), nodes):
                upto = min(node + nodes, len(self.nodes))
                yield samples(Part(self._world, load, float(minute_s), ticks, (node, upto)))

    def ipc_batches(self, t0: datetime, seconds: int, *, flush_s: int = 10) -> Iterator[tuple[str, bytes]]:
        """What each node's agent would put on Kafka per flush: (node, value of one telemetry record)."""
        for frame in self.samples(t0, seconds, flush_s=flush_s):
            yield from fleet_wire.records(frame)

    def rollups(self, t0: datetime, minutes: int) -> pl.DataFrame:
        """Rows of ROLLUPS for `minutes` whole minutes from `t0`, without making the samples."""
        return pl.concat([pl.DataFrame(schema=ROLLUPS), *self.rollup_parts(t0, minutes)])

    def rollup_parts(
        self,
        t0: datetime,
        minutes: int,
        *,
        nodes: Sequence[int] | None = None,
        columns: Collection[str] | None = None,
    ) -> Iterator[pl.DataFrame]:
        """The same in parts in the order of time, for months of it: about 100,000 rows each, few columns 300,000.

        `nodes` (indices into `self.nodes`) and `columns` choose: the same rows and values, in ROLLUPS' order, at a
        cost in proportion. Raises ForeshockError for nodes, columns or times that the fleet does not have.
        """
        wanted = frozenset(ROLLUPS if columns is None else columns)
        if unknown := sorted(wanted - ROLLUPS.keys()):
            raise ForeshockError(
                f"rollups have no column {unknown[0]}", hint="ROLLUPS in pipeline/tables.py has their names"
            )
        chosen = None if nodes is None else self._indices(nodes)
        if chosen is not None and not chosen.size:
            return
        of = slots(self._world, chosen)
        begin_s = self._world.seconds(t0) // 60 * 60
        end_s = begin_s + 60 * minutes
        self._world.seconds(self.start + timedelta(seconds=end_s))
        cuts = [*self._world.cards.cuts(begin_s, end_s, of.slot), end_s]
        rows, most = (_ROWS_AT_ONCE, 240) if len(wanted) > _MANY_COLUMNS else (3 * _ROWS_AT_ONCE, 1440)
        step_s = 60.0 * max(1, min(rows // of.slot.size, most))
        while begin_s < end_s:
            upto_s = min(begin_s + step_s, next(c for c in cuts if c > begin_s))
            yield rollups(Span(of, np.arange(begin_s, upto_s, 60.0), wanted))
            begin_s = upto_s

    def _indices(self, nodes: Sequence[int]) -> Ints:
        found: Ints = np.unique(np.asarray(nodes, dtype=np.int64))
        if found.size and not 0 <= found[0] <= found[-1] < len(self.nodes):
            raise ForeshockError(
                f"node {found[0] if found[0] < 0 else found[-1]} is not in a simulated fleet of {len(self.nodes)}",
                hint=f"give indices from 0 to {len(self.nodes) - 1}",
            )
        return found

    def events(self, t0: datetime, seconds: int) -> pl.DataFrame:
        """Rows of EVENTS in [t0, t0 + seconds)."""
        return fleet_events.event_rows(self.event_records(t0, seconds), self.stream)

    def event_records(self, t0: datetime, seconds: int) -> Iterator[Event]:
        """The same as the agent's structs."""
        begin_s = self._world.seconds(t0)
        return fleet_events.event_structs(self._world, begin_s, begin_s + seconds)

    def event_json(self, t0: datetime, seconds: int) -> Iterator[tuple[str, bytes]]:
        """What the agents would put on Kafka: (node, value of one event record)."""
        return ((e.node, msgspec.json.encode(e)) for e in self.event_records(t0, seconds))

    def inventory(self) -> Iterator[Inventory]:
        """Every card at the start, and each card that came later, in the order of time."""
        return fleet_events.inventory(self._world)


def _windows(begin_s: int, end_s: int, flush_s: int) -> Iterator[tuple[int, int]]:
    """Flushes of `flush_s` from `begin_s` on, cut where a minute ends."""
    at_s = begin_s
    while at_s < end_s:
        upto_s = min(at_s + flush_s, end_s, (at_s // 60 + 1) * 60)
        yield at_s, upto_s
        at_s = upto_s
