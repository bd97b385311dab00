"""The embedded stream, where there is no broker: the agent's spool, read by another process on the same machine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from collector.spool import Spool
from pipeline.stream import Position, Record

_SPOOL_POLL_S: Final = 0.02
_SPOOL_BATCH: Final = 500


class SpoolStream:
    """The embedded stream: the agent's spool, read by another process on the same machine. One partition."""

    def __init__(self, spool: Spool, group: str, topics: Sequence[str]) -> None:
        self._spool = spool
        self._group = group
        self._topics = list(topics)
        spool.subscribe(group, topics)
        self._after = {t: spool.position(group, t) - 1 for t in topics}
        self._paused = False

    def poll(self, timeout_s: float) -> Sequence[Record]:
        deadline = time.monotonic() + timeout_s
        while True:
            records = [] if self._paused else [r for t in self._topics for r in self._read(t)]
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

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False

    def close(self) -> None:
        self._spool.close()
