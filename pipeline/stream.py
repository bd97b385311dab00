"""The stream as ingest and watch see it: records in, positions committed, records published.

Two transports with one behaviour: a Kafka consumer group, and the agent's spool where there is no broker.
Delivery is at least once; a consumer makes it once by what it has already written.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

from collector import broker
from collector.config import Config, KafkaConfig
from collector.errors import ForeshockError
from collector.records import HEADER_SEQ, HEADER_STREAM
from collector.spool import Spool

log = logging.getLogger(__name__)


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
        """Wait until all that was published is acknowledged. Raises ForeshockError when the broker does not."""

    def close(self) -> None: ...


@runtime_checkable
class Rebalancing(Protocol):
    """A stream whose partitions may go to another consumer of the group, and come from one."""

    def on_rebalance(self, revoked: Callable[[], None], assigned: Callable[[], None]) -> None:
        """Within a poll: call `revoked` before partitions go (all go), `assigned` when the new ones are known.

        After `assigned` everything comes from the group's commits on, also in a partition that stayed.
        """

    def rewind(self) -> None:
        """Go back to the group's commits, as after a rebalance: what was polled since is forgotten."""


@runtime_checkable
class Pausing(Protocol):
    """A stream that can be held back without losing its place in the group: the lake is full, say."""

    def pause(self) -> None:
        """From now on `poll` returns nothing, but keeps this consumer's place in its group."""

    def resume(self) -> None:
        """Go on where `pause` left off."""


_POLL_BYTES: Final = 64 * 2**20
_POLL_RECORDS: Final = 64
"""Taken from the client at a time, so that `_POLL_BYTES` is passed by so many records at most."""
_ACKNOWLEDGED_S: Final = 120.0
"""kafka-python's own limit for delivering a record; a broker restarts in less."""


class KafkaStream:
    """A member of a Kafka consumer group. Positions are the group's; offsets are committed only by `commit`."""

    def __init__(self, config: KafkaConfig, group: str, topics: Sequence[str]) -> None:
        self._config = config
        self._prefix = config.topic_prefix
        self._revoked: Callable[[], None] = _nothing
        self._assigned: Callable[[], None] = _nothing
        self._mine: set[Any] = set()
        self._rebalances = 0
        self._paused = False
        self._away = False
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
        self._rebalances += 1
        self._revoked()

    def _on_assigned(self) -> None:
        self._rebalances += 1
        before, self._mine = self._mine, self._consumer.assignment()
        # kafka-python goes on where it was in a partition that stays
        self._to_commits(before & self._mine)
        if self._paused:
            self._consumer.pause(*self._mine)
        self._assigned()

    def rewind(self) -> None:
        with broker.explained(self._config):
            self._to_commits(self._consumer.assignment())

    def _to_commits(self, partitions: Set[Any]) -> None:
        for partition in partitions:
            committed = self._consumer.committed(partition)
            if committed is None:
                self._consumer.seek_to_beginning(partition)
            else:
                self._consumer.seek(partition, committed)

    def poll(self, timeout_s: float) -> Sequence[Record]:
        """Up to 64 MiB of records; none while the broker is away. Raises ForeshockError where it refuses us."""
        from kafka.errors import KafkaConnectionError, RetriableError

        taken: list[Record] = []
        size, wait_ms = 0, int(timeout_s * 1e3)
        with broker.explained(self._config):
            while size < _POLL_BYTES:
                before = self._rebalances
                try:
                    polled = self._consumer.poll(timeout_ms=wait_ms, max_records=_POLL_RECORDS)
                except (KafkaConnectionError, RetriableError) as e:
                    if not self._away:  # an outage is said once, not five times a second
                        log.warning("kafka: %s; we go on when it is back", e)
                    self._away = True
                    time.sleep(timeout_s)
                    break
                if before != self._rebalances:
                    taken, size = [], 0  # another's now, or they come again
                fresh = [_from_kafka(r, self._prefix) for records in polled.values() for r in records]
                if not fresh:
                    break
                if self._away:
                    log.warning("kafka: it is back")
                self._away = False
                taken += fresh
                size += sum(len(r.value) for r in fresh)
                wait_ms = 0
        return taken

    def commit(self, next_offsets: Mapping[Position, int]) -> None:
        """A commit that comes too late, or finds no broker, is left out: what it covers comes again and is known."""
        from kafka import TopicPartition, errors
        from kafka.structs import OffsetAndMetadata

        if not next_offsets:
            return
        offsets = {
            TopicPartition(self._prefix + topic, partition): OffsetAndMetadata(offset, "", -1)
            for (topic, partition), offset in next_offsets.items()
        }
        too_late = (errors.CommitFailedError, errors.RebalanceInProgressError, errors.IllegalGenerationError)
        with broker.explained(self._config):
            try:
                self._consumer.commit(offsets)
            except (*too_late, errors.UnknownMemberIdError, errors.RetriableError) as e:
                log.warning("kafka: offsets not committed: %s", type(e).__name__)

    def publish(self, topic: str, key: str, value: bytes) -> None:
        with broker.explained(self._config):
            if self._producer is None:
                self._producer = broker.producer(self._config)
            self._sent.append(self._producer.send(self._prefix + topic, key=key.encode(), value=value))

    def flush(self) -> None:
        sent, self._sent = self._sent, []
        with broker.explained(self._config):
            if sent:
                self._producer.flush(timeout=_ACKNOWLEDGED_S)
                for future in sent:
                    future.get(timeout=_ACKNOWLEDGED_S)

    def pause(self) -> None:
        self._paused = True
        self._consumer.pause(*self._consumer.assignment())

    def resume(self) -> None:
        self._paused = False
        self._consumer.resume(*self._consumer.paused())

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


def open_stream(config: Config, group: str, topics: Sequence[str]) -> Stream:
    """Kafka where `kafka.bootstrap_servers` is set, else the embedded stream of this machine's spool.

    Raises ForeshockError when neither can be opened.
    """
    from pipeline.spool_stream import SpoolStream  # it is made of what stands above

    if config.kafka.bootstrap_servers:
        return KafkaStream(config.kafka, group, topics)
    try:
        return SpoolStream(Spool(config.spool.path, config.spool.max_mib), group, topics)
    except ForeshockError as e:
        raise ForeshockError(
            str(e), hint="set kafka.bootstrap_servers, or spool.path to the agent's spool"
        ) from e
