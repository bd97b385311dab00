"""A fleet that sends, and what must be in the lake afterwards: each sample, each minute and each prediction once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import polars as pl
from kafka.errors import KafkaError

from collector import broker
from collector.config import KafkaConfig
from collector.records import HEADER_SEQ, HEADER_STREAM, TOPIC_TELEMETRY
from pipeline.lake import Lake
from tests.pipeline.samples import frame, sample, telemetry_record

FLUSH_S: Final = 10
"""One record is so many seconds of one node."""
GPUS: Final = 2
_FLUSHES: Final = 60 // FLUSH_S


class Fleet:
    """Nodes that flush every `pause_s`, node after node, from a thread of its own, up to `minutes` whole minutes.

    After `finish` it ends with the minute that it is in. The last flush is of one minute more, which stays open: it
    tells the workers that the minutes before are over.
    """

    def __init__(self, config: KafkaConfig, nodes: int, minutes: int, pause_s: float) -> None:
        self._config = config
        self._nodes = [f"n{n}" for n in range(nodes)]
        self._pause_s = pause_s
        self._flushes = [list(self._flush(flush)) for flush in range(minutes * _FLUSHES + 1)]
        self._last = minutes * _FLUSHES
        self.flushed = 0
        self.error = ""
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _flush(self, flush: int) -> Iterator[list[dict[str, Any]]]:
        for n, node in enumerate(self._nodes):
            yield [
                sample(s, g, node, pcie_replay=s, power_w=100.0 + 0.25 * ((s * 31 + n * 7 + g) % 2048))
                for s in range(flush * FLUSH_S, (flush + 1) * FLUSH_S)
                for g in range(GPUS)
            ]

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        self._last = min(self._last, -(-self.flushed // _FLUSHES) * _FLUSHES)

    @property
    def done(self) -> bool:
        return self.flushed > self._last

    @property
    def rollups(self) -> int:
        """Rows: each GPU's whole minutes."""
        return len(self._nodes) * GPUS * self._last // _FLUSHES

    def samples(self) -> pl.DataFrame:
        """All that was sent, as the lake will hold it. Ask when it is done."""
        return frame([row for flush in self._flushes[: self.flushed] for rows in flush for row in rows])

    @property
    def sent(self) -> int:
        """Rows."""
        return self.flushed * len(self._nodes) * GPUS * FLUSH_S

    def cancel(self) -> None:
        self._cancelled.set()
        if self._thread.is_alive():
            self._thread.join(60)

    def _run(self) -> None:
        producer = broker.producer(self._config)
        try:
            while not (self.done or self._cancelled.wait(self._pause_s)):
                self._send(producer)
                self.flushed += 1
        except KafkaError as e:
            self.error = repr(e)
        finally:
            producer.close(timeout=5)

    def _send(self, producer: Any) -> None:
        """One flush of every node. Each has a partition of its own while there are enough."""
        topic = self._config.topic_prefix + TOPIC_TELEMETRY
        sent = []
        for n, rows in enumerate(self._flushes[self.flushed]):
            r = telemetry_record(rows, self.flushed, stream=f"s-{self._nodes[n]}")
            headers = [(HEADER_STREAM, r.stream.encode()), (HEADER_SEQ, b"%d" % r.seq)]
            partition = n % self._config.partitions
            sent.append(
                producer.send(topic, key=r.key.encode(), value=r.value, headers=headers, partition=partition)
            )
        for acknowledged in sent:
            acknowledged.get(timeout=90)


def checksum(rows: pl.DataFrame) -> int:
    """The same for the same rows in any order; another one where a value differs."""
    values = rows.select("gpu_uuid", "time", "power_w", "pcie_replay", "gpu_state", "node", "job")
    return sum(values.hash_rows(seed=1).to_list())


def all_written(lake: Path, fleet: Fleet) -> bool:
    """Whether so many rows as were sent are there. More are found by `assert_once`."""
    read = Lake(lake).read
    return (
        read("telemetry", columns=["seq"]).height >= fleet.sent
        and read("predictions", columns=["gpu_uuid"]).height >= fleet.rollups
    )


def assert_once(lake: Path, fleet: Fleet) -> None:
    """Telemetry is what was sent; each GPU's minutes are rolled up once, whole, and predicted once."""
    telemetry = Lake(lake).read("telemetry")
    sent = fleet.samples()
    assert telemetry.height == sent.height, "samples"
    assert checksum(telemetry) == checksum(sent)
    rollups = Lake(lake).read("rollups")
    assert rollups.select("gpu_uuid", "minute").is_unique().all()
    assert rollups.height == fleet.rollups
    wrong = rollups.filter(pl.col("samples") != 60).select("gpu_uuid", "minute", "samples")
    assert wrong.is_empty(), f"minutes that are not whole: {wrong}"
    first = pl.col("minute") == pl.col("minute").min()
    deltas = rollups.select(bad=pl.col("pcie_replay_delta") != pl.when(first).then(59).otherwise(60))
    assert not deltas["bad"].any(), "a counter was not carried on"
    predictions = Lake(lake).read("predictions", columns=["gpu_uuid", "minute"])
    assert predictions.is_unique().all()
    assert predictions.sort(pl.all()).equals(rollups.select("gpu_uuid", "minute").sort(pl.all()))
