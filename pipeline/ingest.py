"""The worker: poll -> rollup -> features -> score -> lake -> commit. Once, whatever is killed in between.

Order of writes in one flush: telemetry, events, rollups, risks, predictions, then the stream's offsets.
What a restart may find half done is told by the lake itself: transactions (telemetry, events), the newest
minute of each node (rollups, predictions). Risks may travel twice; the watcher keeps one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from collector.clock import Clock, to_datetime
from collector.config import IngestConfig
from collector.errors import ForeshockError
from collector.records import TOPIC_EVENTS, TOPIC_INVENTORY, TOPIC_TELEMETRY
from pipeline import decode, recovery
from pipeline.accumulate import MinuteAccumulator
from pipeline.dead_letters import DeadLetters
from pipeline.fence import Fence
from pipeline.lake import Lake, LakeUnavailableError, TakenOverError
from pipeline.look_back import CATCH_UP, look_back
from pipeline.minutes import Minutes
from pipeline.predict import Predictor
from pipeline.scoring import Scorer
from pipeline.stream import Pausing, Position, Rebalancing, Record, Stream
from pipeline.tables import EVENTS, INVENTORY, TELEMETRY

log = logging.getLogger(__name__)

TOPICS = (TOPIC_TELEMETRY, TOPIC_EVENTS, TOPIC_INVENTORY)
_APPENDED: Final = {"telemetry": TELEMETRY, "events": EVENTS, "inventory": INVENTORY}
"""Tables that are the stream itself, each record once."""
_ROWS_AT_ONCE: Final = 200_000
"""Rows that wait for the lake at most: with 150 columns they are a quarter of a gigabyte."""
_HOLD_S: Final = 1.0
_LONGEST_HOLD_S: Final = 30.0
"""A lake that refused is tried again after these (real) seconds, doubled each time."""


class Worker:
    """One member of the ingest group: owns its partitions, shares nothing."""

    def __init__(
        self, stream: Stream, lake: Lake, scorer: Scorer, config: IngestConfig, clock: Clock
    ) -> None:
        self._stream = stream
        self._lake = lake
        self._scorer = scorer
        self._config = config
        self._clock = clock
        self._flushed_at_s = time.monotonic()
        self._held_s = 0.0
        self._letters = DeadLetters(stream, clock, config.dead_letters_per_minute)
        self.samples = 0
        self.late = 0
        """Samples of minutes that were closed already: not in any rollup, but in `telemetry`."""
        self._recover()
        if isinstance(stream, Rebalancing):
            stream.on_rebalance(self._give_up, self._recover)

    @property
    def dead_letters(self) -> int:
        """Records that could not be read."""
        return self._letters.total

    def _give_up(self) -> None:
        """Our partitions go to others: what we hold must be in the lake before they begin."""
        try:
            self._letters.flush()
            self._flush()
        except ForeshockError as e:
            # Taken over already, or the lake is away: offsets stay where they were, and the next one begins there.
            log.warning("left to the worker that takes over: %s", e)

    def _recover(self) -> None:
        """Take up where the lake ends. What was in memory comes again: the stream goes back to its commits."""
        self._fence = Fence(self._lake)
        self._written: dict[str, dict[str, int]] = {t: {} for t in _APPENDED}
        self._new: dict[str, list[pl.DataFrame]] = {t: [] for t in _APPENDED}
        self._offsets: dict[str, dict[str, int]] = {t: {} for t in _APPENDED}
        self._rolled: dict[str, int] = {}
        self._minutes_done: list[pl.DataFrame] = []
        self._partitions: set[str] = set()
        self._heard_s: dict[Position, float] = {}
        self._reading_s, self._polled_s = 0.0, time.monotonic()
        self._moved = False
        since = to_datetime(self._clock.time_s()) - CATCH_UP
        self._minutes = Minutes(self._config.lateness_s, recovery.newest_minutes(self._lake, since))
        self._sent = {table: recovery.sent(self._lake, table, since) for table in _APPENDED}
        self._open = MinuteAccumulator(recovery.last_counters(self._lake, since))
        self._predictor = Predictor(
            self._stream, self._lake, self._scorer, self._config, store=self._store_predictions,
            **look_back(self._lake, since)._asdict(),
        )  # fmt: skip
        self._predictor.catch_up(since)

    def _store_predictions(self, rows: pl.DataFrame) -> None:
        self._fence.append_derived("predictions", rows, self._partitions)

    def run(self, stop: threading.Event) -> None:
        """Until `stop`. A record that cannot be read is dead-lettered; the stream goes on."""
        try:
            while not stop.is_set():
                try:
                    self.step(timeout_s=0.2)
                except TakenOverError as e:
                    if not isinstance(self._stream, Rebalancing):
                        raise
                    log.warning("taken over while we were away: %s", e)
                    self._stream.rewind()
                    self._recover()
            self._letters.flush()
            self._flush()
        finally:
            self._stream.close()

    def step(self, timeout_s: float) -> int:
        """Take what the stream has within `timeout_s`; write when it is time, or when there is much.

        While the lake takes nothing the stream is held back: this worker keeps its partitions, and no memory fills.
        Raises TakenOverError where another worker has our partitions.
        """
        records = self._stream.poll(timeout_s)
        if records:
            self._heard(records)
            self._take([r for r in records if r.topic == TOPIC_TELEMETRY])
            self._take_events([r for r in records if r.topic == TOPIC_EVENTS])
            self._take_inventory([r for r in records if r.topic == TOPIC_INVENTORY])
        self._moved = self._moved or bool(records)
        self._letters.tell()
        waited_s = time.monotonic() - self._flushed_at_s
        full = sum(frame.height for frame in self._new["telemetry"]) >= _ROWS_AT_ONCE and not self._held_s
        if full or waited_s >= max(self._config.flush_s, self._held_s):
            self._flush_or_hold()
        return len(records)

    def _idle(self) -> list[Position]:
        """Partitions that had nothing for as long as a sample may be late, while others had."""
        since_s = self._reading_s - self._config.lateness_s
        return [position for position, heard_s in self._heard_s.items() if heard_s < since_s]

    def _heard(self, records: Sequence[Record]) -> None:
        """The clock of `_idle`: it hardly moves while nothing comes, as when the broker is away."""
        now_s = time.monotonic()
        self._reading_s += min(now_s - self._polled_s, self._config.lateness_s / 2)
        self._polled_s = now_s
        self._heard_s |= dict.fromkeys({(r.topic, r.partition) for r in records}, self._reading_s)

    def _flush_or_hold(self) -> None:
        try:
            # Nodes pass their minutes at all times; to look at each by itself would be a commit per poll.
            if self._minutes.close(self._idle()):
                self._minutes_done.append(self._open.take(self._minutes.closed))
            if self._moved or self._minutes_done:
                self._flush()
        except LakeUnavailableError as e:
            self._held_s = min(max(2 * self._held_s, _HOLD_S), _LONGEST_HOLD_S)
            self._flushed_at_s = time.monotonic()
            if isinstance(self._stream, Pausing):
                self._stream.pause()
            log.error("held back, next try in %.0f s: %s (%s)", self._held_s, e, e.hint)
            return
        if self._held_s and isinstance(self._stream, Pausing):
            self._stream.resume()
            log.warning("the lake takes rows again")
        self._held_s = 0.0

    def _take(self, records: Sequence[Record]) -> None:
        rows, rejected = decode.telemetry(records)
        self._reject(rejected)
        if rows.is_empty():
            return
        record = rows[decode.RECORD].to_numpy()
        time_us = rows["time"].dt.epoch("us").to_numpy()
        begin = np.flatnonzero(np.append(True, record[1:] != record[:-1]))
        newest_s = np.maximum.reduceat(time_us, begin) / 1e6
        closed = np.full(len(records), -1)
        nodes = rows["node"].gather(begin)
        for index, node, newest in zip(record[begin], nodes, newest_s, strict=True):
            r = records[index]
            self._minutes.saw((r.topic, r.partition), r.offset, node, float(newest))
            closed[index] = self._minutes.closed.get(node, -1)
        self._predictor.met(set(nodes))
        # Rows of minutes that are closed were rolled up before a restart, or came late.
        late = time_us // 60_000_000 <= closed[record]
        fresh = np.array([self._is_new("telemetry", r) for r in records])[record]
        # A replay from the stream comes in order; what the agent sent again does not, and is not rolled up twice.
        first_time = np.array([_first_time(self._rolled, r) for r in records])[record]
        self.samples += rows.height
        self.late += int((late & fresh).sum())
        self._put_aside("telemetry", rows, fresh)
        self._open.add(_where(rows, ~late & first_time))

    def _take_events(self, records: Sequence[Record]) -> None:
        rows, rejected = decode.events(records)
        self._reject(rejected)
        self._predictor.learn_events(self._keep("events", rows, records))

    def _take_inventory(self, records: Sequence[Record]) -> None:
        rows, rejected = decode.inventory(records)
        self._reject(rejected)
        self._keep("inventory", rows, records)

    def _keep(self, table: str, rows: pl.DataFrame, records: Sequence[Record]) -> pl.DataFrame:
        fresh = np.array([self._is_new(table, r) for r in records], bool)[rows[decode.RECORD].to_numpy()]
        for r in records:
            self._minutes.passed((r.topic, r.partition), r.offset)
        return self._put_aside(table, rows, fresh)

    def _put_aside(self, table: str, rows: pl.DataFrame, fresh: NDArray[np.bool_]) -> pl.DataFrame:
        """For the lake: what it does not have, neither by offset nor by the agent's own number."""
        new = _where(rows, fresh).drop(decode.RECORD)
        if not new.is_empty():
            self._new[table].append(new)
        return new

    def _is_new(self, table: str, r: Record) -> bool:
        partition = f"{r.topic}:{r.partition}"
        written = self._written[table]
        if partition not in written:
            written[partition] = self._fence.version(table, partition)
            self._partitions.add(partition)
        if r.offset <= written[partition]:
            return False
        written[partition] = self._offsets[table][partition] = r.offset
        return _first_time(self._sent[table], r)

    def _reject(self, rejected: Sequence[decode.Rejected]) -> None:
        for record, reason in rejected:
            self._letters.reject(record, reason)
            self._minutes.passed((record.topic, record.partition), record.offset)

    def _flush(self) -> None:
        """Everything put aside reaches the lake; then the stream may forget it.

        What is in is put aside no longer: where the lake refuses the next one, it can be tried again from there.
        """
        for table, schema in _APPENDED.items():
            rows = pl.concat([pl.DataFrame(schema=schema), *self._new[table]])
            self._fence.append(table, rows, self._offsets[table])
            self._new[table], self._offsets[table] = [], {}
        if self._minutes_done:
            rolled = pl.concat(self._minutes_done)
            self._fence.append_derived("rollups", rolled, self._partitions)
            self._minutes_done = []
            self._predictor.minute_done(rolled)
        self._predictor.tell()
        self._stream.flush()
        self._stream.commit(self._minutes.committable())
        self._moved = False
        self._flushed_at_s = time.monotonic()


def _first_time(newest: dict[str, int], r: Record) -> bool:
    """False for a record that its agent sent again, by its own number; where it has none, only the offset tells."""
    if r.seq >= 0 and r.seq <= newest.get(r.stream, -1):
        return False
    if r.seq >= 0:
        newest[r.stream] = r.seq
    return True


def _where(rows: pl.DataFrame, chosen: NDArray[np.bool_]) -> pl.DataFrame:
    """Nearly always that is all of them, and 150 columns need no copy."""
    return rows if chosen.all() else rows.filter(chosen)
