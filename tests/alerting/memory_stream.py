"""A Stream in memory, for the watch loop: what is committed is not read again, what is not is."""

import threading
import time
from collections.abc import Mapping, Sequence

import msgspec

from collector.records import TOPIC_EVENTS, TOPIC_RISKS, Event, Risk
from pipeline.stream import Position, Record


class MemoryStream:
    """One partition a topic. `reopen` is what a restart sees."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.committed: dict[Position, int] = {}
        self.published: list[tuple[str, str, bytes]] = []
        self.flushed = 0
        self._read = 0
        self._lock = threading.Lock()

    def put(self, signal: Event | Risk | bytes, topic: str = TOPIC_EVENTS) -> None:
        if isinstance(signal, Risk):
            topic = TOPIC_RISKS
        value = signal if isinstance(signal, bytes) else msgspec.json.encode(signal)
        with self._lock:
            offset = sum(r.topic == topic for r in self.records)
            self.records.append(Record(topic, 0, offset, "n1", value))

    def reopen(self) -> None:
        with self._lock:
            self._read = 0

    def poll(self, timeout_s: float) -> Sequence[Record]:
        end_s = time.monotonic() + timeout_s
        while True:
            with self._lock:
                new = [
                    r
                    for r in self.records[self._read :]
                    if r.offset >= self.committed.get((r.topic, r.partition), 0)
                ]
                self._read = len(self.records)
            if new or time.monotonic() > end_s:
                return new
            time.sleep(0.002)

    def commit(self, next_offsets: Mapping[Position, int]) -> None:
        self.committed.update(next_offsets)

    def publish(self, topic: str, key: str, value: bytes) -> None:
        self.published.append((topic, key, value))

    def flush(self) -> None:
        self.flushed = len(self.published)

    def close(self) -> None:
        pass
