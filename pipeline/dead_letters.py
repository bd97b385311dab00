"""Records that will never be readable, kept for a person to look at; a flood of them is counted, not copied.

Each is published to `foreshock.dead-letters` with its reason, up to a limit a minute. What is over the limit is counted
by topic and reason class, and one summary a minute tells how many were left out and where. Nothing here stops the
stream. A worker that is killed may publish a letter again: (topic, partition, offset) names the record.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Final

import msgspec

from collector.clock import Clock
from collector.records import TOPIC_DEAD_LETTERS
from pipeline.stream import Record, Stream

log = logging.getLogger(__name__)

INTERVAL_S: Final = 60.0
VALUE_BYTES: Final = 64 * 1024
"""Of a value travel so many bytes at most: a record may be as large as the broker allows, and a letter is larger."""
_TEXT: Final = 500
_CLASS: Final = 80
_CLASSES: Final = 50
"""Reason classes kept apart in one interval. A reason may quote the record, so that their number has no end."""
_OTHER: Final = "other"


class Letter(msgspec.Struct, frozen=True, tag="letter"):
    """One unreadable record. `value` (base64 in JSON) is its beginning; `value_bytes` how long it was."""

    topic: str
    partition: int
    offset: int
    key: str
    reason: str
    value: bytes
    value_bytes: int


class Place(msgspec.Struct, tag=False):
    """The first and last offset of a partition that were left out."""

    partition: int
    first: int
    last: int


class LeftOut(msgspec.Struct, frozen=True, tag=False):
    """How many records of one topic were left out for one class of reasons, and where they are."""

    topic: str
    reason_class: str
    count: int
    places: tuple[Place, ...]


class Summary(msgspec.Struct, frozen=True, tag="summary"):
    """What was over the limit from `since` to `until` (Unix seconds). The records are still on their topic."""

    since: float
    until: float
    left_out: tuple[LeftOut, ...]


@dataclass(slots=True)
class _Tally:
    """Of one topic and reason class in this interval."""

    seen: int = 0
    left_out: int = 0
    places: dict[int, Place] = field(default_factory=dict)

    def leave_out(self, partition: int, offset: int) -> None:
        self.left_out += 1
        place = self.places.setdefault(partition, Place(partition, offset, offset))
        place.first, place.last = min(place.first, offset), max(place.last, offset)


class DeadLetters:
    """Of one worker. Call `reject` for each unreadable record, `tell` between polls, `flush` before an end."""

    def __init__(self, stream: Stream, clock: Clock, per_minute: int = 1000) -> None:
        self._stream = stream
        self._clock = clock
        self._per_minute = per_minute
        self._tallies: dict[tuple[str, str], _Tally] = {}
        self._began_s = clock.time_s()
        self._published = 0
        self.total = 0
        self.left_out = 0

    def reject(self, record: Record, reason: str) -> None:
        """Publish `record` as a letter, or count it where this minute's letters are used up."""
        self.tell()
        self.total += 1
        tally = self._tally(record.topic, reason_class(reason))
        if not tally.seen:
            log.warning(
                "dead letter %s:%d@%d: %s", record.topic, record.partition, record.offset, reason[:_TEXT]
            )
        tally.seen += 1
        if self._published < self._per_minute:
            self._published += 1
            self._stream.publish(
                TOPIC_DEAD_LETTERS, record.key[:_TEXT], msgspec.json.encode(_letter(record, reason))
            )
        else:
            self.left_out += 1
            tally.leave_out(record.partition, record.offset)

    def tell(self) -> None:
        """When the interval is over: publish and log what was left out, and begin the next one."""
        now_s = self._clock.time_s()
        if not self._began_s <= now_s < self._began_s + INTERVAL_S:  # over, or the clock was set back
            self._end(now_s)

    def flush(self) -> None:
        """The interval ends here: the worker stops, or its partitions go. The limit stays where it was."""
        self._summarise(self._clock.time_s())

    def _end(self, now_s: float) -> None:
        self._summarise(now_s)
        self._began_s, self._published = now_s, 0

    def _summarise(self, now_s: float) -> None:
        tallies, self._tallies = self._tallies, {}
        left_out = [
            LeftOut(topic, reason, t.left_out, tuple(t.places.values()))
            for (topic, reason), t in tallies.items()
            if t.left_out
        ]
        for (topic, reason), t in tallies.items():
            if t.seen > 1:
                counts = (t.seen, t.left_out, reason)
                log.warning("dead letters of %s: %d, of them %d only counted: %s", topic, *counts)
        if left_out:
            summary = Summary(min(self._began_s, now_s), now_s, tuple(left_out))
            self._stream.publish(TOPIC_DEAD_LETTERS, left_out[0].topic, msgspec.json.encode(summary))

    def _tally(self, topic: str, reason: str) -> _Tally:
        key = (topic, reason)
        if key not in self._tallies and len(self._tallies) >= _CLASSES:
            key = (topic, _OTHER)
        return self._tallies.setdefault(key, _Tally())


def reason_class(reason: str) -> str:
    """A reason without its particulars, which follow a colon."""
    return reason.partition(":")[0][:_CLASS]


def _letter(r: Record, reason: str) -> Letter:
    value = r.value[:VALUE_BYTES]
    return Letter(r.topic, r.partition, r.offset, r.key[:_TEXT], reason[:_TEXT], value, len(r.value))
