"""Spool -> Kafka, at least once. The agent never waits for the broker: this thread does.

A record leaves the spool only when the broker has acknowledged it. After a crash some are sent again;
their `stream` and `seq` headers tell the reader.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from collector.errors import ForeshockError
from collector.records import (
    HEADER_SCHEMA,
    HEADER_SEQ,
    HEADER_STREAM,
    SCHEMA_VERSION,
    TOPIC_EVENTS,
    TOPIC_INVENTORY,
    TOPIC_TELEMETRY,
)
from collector.spool import Spool, SpoolRecord
from collector.status import Shipping

log = logging.getLogger(__name__)

GROUP = "shipper"
TOPICS = (TOPIC_EVENTS, TOPIC_INVENTORY, TOPIC_TELEMETRY)
_BATCH = 256
_IDLE_S = 0.05
_BACKOFF_S = (0.2, 15.0)
_FLUSH_TIMEOUT_S = 30.0


class Shipper:
    """Ships `spool` with a producer made by `connect` (kafka-python's interface)."""

    def __init__(self, spool: Spool, connect: Callable[[], Any], topic_prefix: str = "") -> None:
        self._prefix = topic_prefix
        self._spool = spool
        self._connect = connect
        self._producer: Any = None
        self._failures = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.shipped = 0
        self.failed = 0
        """Tries that ended without an acknowledgement, ever."""
        self.last_error: str | None = None

    def start(self) -> None:
        """Run in a thread of its own until `finish`."""
        self._thread = threading.Thread(target=self.run, args=(self._stop,), name="shipper", daemon=True)
        self._thread.start()

    def finish(self, timeout_s: float) -> None:
        """Ship what is there while the broker answers, for so long at most. The rest stays in the spool."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def state(self) -> Shipping:
        """How it goes."""
        oldest_s = self._spool.oldest_s(TOPICS)
        lag_s = 0.0 if oldest_s is None else max(0.0, time.time() - oldest_s)
        return Shipping(self.shipped, self.failed, self.last_error, lag_s)

    def run(self, stop: threading.Event) -> None:
        """Until `stop`: ship, back off with jitter when the broker is away, try again for ever."""
        self._spool.subscribe(GROUP, TOPICS)
        while not stop.is_set():
            try:
                sent = self._ship_all()
            except Exception as e:  # noqa: BLE001 - kafka-python raises many kinds; each means: later
                self._fail(e)
                stop.wait(self._pause_s())
            else:
                self._failures = 0
                if not sent:
                    stop.wait(_IDLE_S)
        self._ship_the_last()
        self._close()

    def _ship_all(self) -> int:
        # Events first: they are small, and the fast lane waits for them.
        return sum(self.ship(topic) for topic in TOPICS)

    def _ship_the_last(self) -> None:
        """What was flushed while we stopped, unless the broker is away: then it waits for the next start."""
        try:
            while not self._failures and self._ship_all():
                pass
        except Exception as e:  # noqa: BLE001 - as above
            self._fail(e)

    def ship(self, topic: str) -> int:
        """Send the next batch of `topic` and wait until it is acknowledged; how many were sent."""
        after = self._spool.position(GROUP, topic) - 1
        records = self._spool.read([topic], after, _BATCH)
        if not records:
            return 0
        if self._producer is None:
            self._producer = self._connect()
        self._send(records)
        self._spool.commit(GROUP, topic, records[-1].seq + 1)
        self.shipped += len(records)
        return len(records)

    def _send(self, records: Sequence[SpoolRecord]) -> None:
        futures = [
            self._producer.send(
                self._prefix + r.topic,
                key=r.key.encode(),
                value=r.value,
                headers=[
                    (HEADER_SCHEMA, str(SCHEMA_VERSION).encode()),
                    (HEADER_STREAM, self._spool.stream.encode()),
                    (HEADER_SEQ, str(r.seq).encode()),
                ],
            )
            for r in records
        ]
        self._producer.flush(timeout=_FLUSH_TIMEOUT_S)
        for future in futures:
            future.get(timeout=_FLUSH_TIMEOUT_S)

    def _fail(self, error: Exception) -> None:
        self._failures += 1
        self.failed += 1
        self.last_error = f"{type(error).__name__}: {error}"
        if self._failures in (1, 10) or self._failures % 100 == 0:
            hint = getattr(error, "hint", "") if isinstance(error, ForeshockError) else ""
            log.warning("broker away (try %d): %s %s", self._failures, self.last_error, hint)
        self._close()

    def _pause_s(self) -> float:
        low, high = _BACKOFF_S
        return float(min(high, low * 2.0 ** min(self._failures, 10)) * random.uniform(0.5, 1.0))

    def _close(self) -> None:
        if self._producer is not None:
            producer, self._producer = self._producer, None
            try:
                producer.close(timeout=1)
            except Exception:
                log.debug("closing the producer failed", exc_info=True)
