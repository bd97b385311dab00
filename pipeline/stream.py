"""The stream as ingest and watch see it: records in, positions committed, records published.

Two transports with one behaviour: a Kafka consumer group, and the agent's spool where there is no broker.
Delivery is at least once; a consumer makes it once by what it has already written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


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
