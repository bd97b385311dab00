"""The stream as ingest and watch see it: records in, positions committed, records published.

Two transports with one behaviour: a Kafka consumer group, and the agent's spool where there is no broker.
Delivery is at least once; a consumer makes it once by what it has already written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from collector import broker
from collector.config import Config, KafkaConfig
from collector.errors import ForeshockError
from collector.records import HEADER_SEQ, HEADER_STREAM
from collector.spool import Spool


@dataclass(frozen=True, slots=True)
class Record:
    """One record. `offset` grows within (topic, partition); `stream` and `seq` survive a re-send."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes
    stream: str = ""
    seq: int = -1
    headers: Mapping[str, bytes] = field(default_factory=dict)


Position = tuple[str, int]
"""(topic, partition)"""


class Stream(Protocol):
    """What a consumer needs from a transport. `poll` may block up to `timeout_s` real seconds."""

    def poll(self, timeout_s: float) -> Sequence[Record]:
        """The next records, in order within a partition; empty when there are none in time."""

    def commit(self, next_offsets: Mapping[Position, int]) -> None:
        """From here on a restarted consumer of the same group continues."""

    def publish(self, topic: str, key: str, value: bytes) -> None:
        """Send one record; it is durable after `flush`."""

    def flush(self) -> None:
        """Wait until all that was published is acknowledged. Raises when the broker does not."""

    def close(self) -> None: ...


@runtime_checkable
class Rebalancing(Protocol):
    """A stream whose partitions may go to another consumer of the group, and come from one."""

    def on_rebalance(self, revoked: Callable[[], None], assigned: Callable[[], None]) -> None:
        """Within a poll: call `revoked` before partitions go (all go), `assigned` when the new ones are known."""


class KafkaStream:
    """A member of a Kafka consumer group. Positions are the group's; offsets are committed only by `commit`."""

    def __init__(self, config: KafkaConfig, group: str, topics: Sequence[str]) -> None:
        self._config = config
        self._prefix = config.topic_prefix
        self._revoked: Callable[[], None] = _nothing
        self._assigned: Callable[[], None] = _nothing
        self._consumer = broker.consumer(
            config,
            group,
            [self._prefix + t for t in topics],
            revoked=self._on_revoked,
            assigned=self._on_assigned,
        )
        self._producer: Any = None
        self._sent: list[Any] = []

    def on_rebalance(self, revoked: Callable[[], None], assigned: Callable[[], None]) -> None:
        self._revoked, self._assigned = revoked, assigned

    def _on_revoked(self) -> None:
        self._revoked()

    def _on_assigned(self) -> None:
        self._assigned()

    def poll(self, timeout_s: float) -> Sequence[Record]:
        polled = self._consumer.poll(timeout_ms=int(timeout_s * 1e3))
        return [_from_kafka(r, self._prefix) for records in polled.values() for r in records]

    def commit(self, next_offsets: Mapping[Position, int]) -> None:
        from kafka import TopicPartition
        from kafka.structs import OffsetAndMetadata

        if next_offsets:
            self._consumer.commit(
                {
                    TopicPartition(self._prefix + topic, partition): OffsetAndMetadata(offset, "", -1)
                    for (topic, partition), offset in next_offsets.items()
                }
            )

    def publish(self, topic: str, key: str, value: bytes) -> None:
        if self._producer is None:
            self._producer = broker.producer(self._config)
        self._sent.append(self._producer.send(self._prefix + topic, key=key.encode(), value=value))

    def flush(self) -> None:
        sent, self._sent = self._sent, []
        if sent:
            self._producer.flush(timeout=30)
            for future in sent:
                future.get(timeout=30)

    def close(self) -> None:
        # Leaving the group gives everything back too, but by now nothing can be committed any more.
        self._revoked = self._assigned = _nothing
        self._consumer.close()
        if self._producer is not None:
            self._producer.close(timeout=5)


def _nothing() -> None:
    """Nobody asked to be told."""


def _from_kafka(r: Any, prefix: str) -> Record:
    headers = dict(r.headers)
    seq = headers.get(HEADER_SEQ, b"")
    return Record(
        topic=r.topic.removeprefix(prefix),
        partition=r.partition,
        offset=r.offset,
        key=(r.key or b"").decode("utf-8", "replace"),
        value=r.value or b"",
        stream=headers.get(HEADER_STREAM, b"").decode("ascii", "replace"),
        seq=int(seq) if seq.isdigit() else -1,
        headers=headers,
    )


_SPOOL_POLL_S = 0.02
_SPOOL_BATCH = 500


class SpoolStream:
    """The embedded stream: the agent's spool, read by another process on the same machine. One partition."""

    def __init__(self, spool: Spool, group: str, topics: Sequence[str]) -> None:
        self._spool = spool
        self._group = group
        self._topics = list(topics)
        spool.subscribe(group, topics)
        self._after = {t: spool.position(group, t) - 1 for t in topics}

    def poll(self, timeout_s: float) -> Sequence[Record]:
        deadline = time.monotonic() + timeout_s
        while True:
            records = [r for t in self._topics for r in self._read(t)]
            left_s = deadline - time.monotonic()
            if records or left_s <= 0:
                return records
            time.sleep(min(_SPOOL_POLL_S, left_s))

    def _read(self, topic: str) -> list[Record]:
        found = self._spool.read([topic], self._after[topic], _SPOOL_BATCH)
        if found:
            self._after[topic] = found[-1].seq
        return [Record(topic, 0, r.seq, r.key, r.value, self._spool.stream, r.seq) for r in found]

    def commit(self, next_offsets: Mapping[Position, int]) -> None:
        for (topic, _), offset in next_offsets.items():
            self._spool.commit(self._group, topic, offset)

    def publish(self, topic: str, key: str, value: bytes) -> None:
        self._spool.append(topic, key, value)

    def flush(self) -> None:
        """Nothing to wait for: `publish` is durable."""

    def close(self) -> None:
        self._spool.close()


def open_stream(config: Config, group: str, topics: Sequence[str]) -> KafkaStream | SpoolStream:
    """Kafka where `kafka.bootstrap_servers` is set, else the embedded stream of this machine's spool.

    Raises ForeshockError when neither can be opened.
    """
    if config.kafka.bootstrap_servers:
        return KafkaStream(config.kafka, group, topics)
    try:
        return SpoolStream(Spool(config.spool.path, config.spool.max_mib), group, topics)
    except ForeshockError as e:
        raise ForeshockError(
            str(e), hint="set kafka.bootstrap_servers, or spool.path to the agent's spool"
        ) from e
