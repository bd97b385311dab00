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
from datetime import timedelta
from typing import Final

import msgspec
import polars as pl

from collector.clock import Clock, to_datetime
from collector.config import IngestConfig
from collector.errors import ForeshockError
from collector.records import TOPIC_DEAD_LETTERS, TOPIC_EVENTS, TOPIC_INVENTORY, TOPIC_TELEMETRY
from pipeline import decode
from pipeline.accumulate import MinuteAccumulator
from pipeline.lake import Lake
from pipeline.minutes import Minutes
from pipeline.predict import Predictor
from pipeline.rollup import carry_of
from pipeline.scoring import Scorer
from pipeline.stream import Rebalancing, Record, Stream
from pipeline.tables import EVENTS, INVENTORY, ROLLUPS, TELEMETRY

log = logging.getLogger(__name__)

TOPICS = (TOPIC_TELEMETRY, TOPIC_EVENTS, TOPIC_INVENTORY)
_APPENDED: Final = {"telemetry": TELEMETRY, "events": EVENTS, "inventory": INVENTORY}
"""Tables that are the stream itself, each record once."""
_MINUTE = pl.col("time").dt.epoch("s") // 60
_ROWS_AT_ONCE: Final = 200_000
"""Rows that wait for the lake at most: with 150 columns they are a quarter of a gigabyte."""
_MEMORY = timedelta(days=2)
"""How far back the lake is asked, on start, what was written already. Longer than any agent's outage."""


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
        self.samples = 0
        self.late = 0
        """Samples of minutes that were closed already: not in any rollup, but in `telemetry`."""
        self.dead_letters = 0
        self._recover()
        if isinstance(stream, Rebalancing):
            stream.on_rebalance(self._give_up, self._recover)

    def _give_up(self) -> None:
        """Our partitions go to others: what we hold must be in the lake before they begin."""
        try:
            self._flush(pl.DataFrame(schema=ROLLUPS))
        except ForeshockError as e:
            # We were away for so long that another worker has them already. It has written what we hold.
            log.warning("left to the worker that took over: %s", e)

    def _recover(self) -> None:
        """Take up where the lake ends. What was in memory comes again: the stream goes back to its commits."""
        self._written: dict[str, dict[str, int]] = {t: {} for t in _APPENDED}
        self._new: dict[str, list[pl.DataFrame]] = {t: [] for t in _APPENDED}
        self._offsets: dict[str, dict[str, int]] = {t: {} for t in _APPENDED}
        self._rolled: dict[str, int] = {}
        self._moved = False
        since = to_datetime(self._clock.time_s()) - _MEMORY
        history = self._lake.read("rollups", since=since)
        newest = history.group_by("node").agg(pl.col("minute").max().dt.epoch("s") // 60)
        self._minutes = Minutes(self._config.lateness_s, dict(newest.iter_rows()))
        events = self._lake.read("events", since=since)
        self._predictor = Predictor(
            self._stream, self._lake, self._scorer, self._config, rollups=history, events=events
        )
        self._sent = {
            table: dict(
                self._lake.read(table, since=since, columns=["stream", "seq"])
                .group_by("stream")
                .agg(pl.col("seq").max())
                .iter_rows()
            )
            for table in _APPENDED
        }
        self._open = MinuteAccumulator(carry_of(history))
        self._predictor.catch_up(since)

    def run(self, stop: threading.Event) -> None:
        """Until `stop`. A record that cannot be read is dead-lettered; the stream goes on."""
        try:
            while not stop.is_set():
                self.step(timeout_s=0.2)
            self._flush(pl.DataFrame(schema=ROLLUPS))
        finally:
            self._stream.close()

    def step(self, timeout_s: float) -> int:
        """Take what the stream has within `timeout_s`; write when a minute is complete or it is time."""
        records = self._stream.poll(timeout_s)
        if records:
            self._take([r for r in records if r.topic == TOPIC_TELEMETRY])
            self._take_events([r for r in records if r.topic == TOPIC_EVENTS])
            self._take_inventory([r for r in records if r.topic == TOPIC_INVENTORY])
        closed = self._minutes.close()
        due = time.monotonic() - self._flushed_at_s >= self._config.flush_s
        self._moved = self._moved or bool(records)
        full = sum(frame.height for frame in self._new["telemetry"]) >= _ROWS_AT_ONCE
        if closed or full or (due and self._moved):
            self._flush(self._open.take(self._minutes.closed) if closed else pl.DataFrame(schema=ROLLUPS))
        return len(records)

    def _take(self, records: Sequence[Record]) -> None:
        rows, rejected = decode.telemetry(records)
        self._reject(rejected)
        if rows.is_empty():
            return
        newest = rows.group_by(decode.RECORD, maintain_order=True).agg(
            pl.col("node").first(), pl.col("time").max().dt.epoch("us") / 1e6
        )
        for index, node, newest_s in newest.iter_rows():
            r = records[index]
            self._minutes.saw((r.topic, r.partition), r.offset, node, newest_s)
        fresh = self._keep("telemetry", rows, records)
        self.samples += rows.height
        self.late += fresh.height - self._not_closed(fresh).height
        first_time = [i for i, r in enumerate(records) if self._is_unrolled(r)]
        self._open.add(self._not_closed(_of_records(rows, first_time, records)))

    def _is_unrolled(self, r: Record) -> bool:
        """False for a record that the agent sent again: a replay from the stream comes in order, a re-send does not."""
        if r.seq < 0:
            return True
        again = r.seq <= self._rolled.get(r.stream, -1)
        if not again:
            self._rolled[r.stream] = r.seq
        return not again

    def _take_events(self, records: Sequence[Record]) -> None:
        rows, rejected = decode.events(records)
        self._reject(rejected)
        fresh = self._keep("events", rows, records).drop(decode.RECORD)
        self._predictor.learn_events(fresh)
        self._passed(records)

    def _take_inventory(self, records: Sequence[Record]) -> None:
        rows, rejected = decode.inventory(records)
        self._reject(rejected)
        self._keep("inventory", rows, records)
        self._passed(records)

    def _passed(self, records: Sequence[Record]) -> None:
        for r in records:
            self._minutes.passed((r.topic, r.partition), r.offset)

    def _not_closed(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows of minutes that are still open. The others were rolled up before a restart, or came late."""
        return rows.filter(self._closed_minute() < _MINUTE)

    def _closed_minute(self) -> pl.Expr:
        return pl.col("node").replace_strict(self._minutes.closed, default=-1, return_dtype=pl.Int64)

    def _keep(self, table: str, rows: pl.DataFrame, records: Sequence[Record]) -> pl.DataFrame:
        """Put aside for the lake what it does not have, neither by offset nor by the agent's own number."""
        fresh = [i for i, r in enumerate(records) if self._is_new(table, r)]
        new = _of_records(rows, fresh, records)
        if not new.is_empty():
            self._new[table].append(new.drop(decode.RECORD))
        return new

    def _is_new(self, table: str, r: Record) -> bool:
        partition = f"{r.topic}:{r.partition}"
        written = self._written[table]
        if partition not in written:
            written[partition] = self._lake.version(table, partition)
        if r.offset <= written[partition]:
            return False
        written[partition] = self._offsets[table][partition] = r.offset
        if r.seq < 0:
            return True  # not from our agent: only the offset tells
        sent = self._sent[table]
        again = r.seq <= sent.get(r.stream, -1)
        if not again:
            sent[r.stream] = r.seq
        return not again

    def _reject(self, rejected: Sequence[decode.Rejected]) -> None:
        for record, reason in rejected:
            self.dead_letters += 1
            log.warning("dead letter %s:%d@%d: %s", record.topic, record.partition, record.offset, reason)
            letter = {
                "topic": record.topic, "partition": record.partition, "offset": record.offset,
                "key": record.key, "reason": reason, "value": record.value,
            }  # fmt: skip
            self._stream.publish(TOPIC_DEAD_LETTERS, record.key, msgspec.json.encode(letter))
            self._minutes.passed((record.topic, record.partition), record.offset)

    def _flush(self, rolled: pl.DataFrame) -> None:
        """Everything put aside reaches the lake; then the stream may forget it."""
        for table, schema in _APPENDED.items():
            rows = pl.concat([pl.DataFrame(schema=schema), *self._new[table]])
            self._lake.append(table, rows, transactions=self._offsets[table])
            self._new[table], self._offsets[table] = [], {}
        if not rolled.is_empty():
            self._lake.append("rollups", rolled)
            self._predictor.minute_done(rolled)
        self._stream.flush()
        self._stream.commit(self._minutes.committable())
        self._moved = False
        self._flushed_at_s = time.monotonic()


def _of_records(rows: pl.DataFrame, chosen: Sequence[int], records: Sequence[Record]) -> pl.DataFrame:
    """Rows of the records at `chosen`. Nearly always that is all of them, and 150 columns need no copy."""
    return rows if len(chosen) == len(records) else rows.filter(pl.col(decode.RECORD).is_in(chosen))
