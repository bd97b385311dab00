from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.records import TOPIC_DEAD_LETTERS, TOPIC_EVENTS, TOPIC_TELEMETRY
from pipeline.dead_letters import INTERVAL_S, VALUE_BYTES, DeadLetters, Letter, Summary, reason_class
from pipeline.stream import Position, Record


class HandClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def time_s(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class Published:
    """A stream that keeps what is published."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str, bytes]] = []

    def poll(self, timeout_s: float) -> Sequence[Record]:
        return []

    def commit(self, next_offsets: Mapping[Position, int]) -> None: ...

    def publish(self, topic: str, key: str, value: bytes) -> None:
        self.all.append((topic, key, value))

    def flush(self) -> None: ...
    def close(self) -> None: ...

    def read(self) -> list[Letter | Summary]:
        assert {topic for topic, _, _ in self.all} <= {TOPIC_DEAD_LETTERS}
        return [msgspec.json.decode(value, type=Letter | Summary) for _, _, value in self.all]

    def letters(self) -> list[Letter]:
        return [found for found in self.read() if isinstance(found, Letter)]

    def summaries(self) -> list[Summary]:
        return [found for found in self.read() if isinstance(found, Summary)]


def record(
    offset: int, partition: int = 0, value: bytes = b"\xff\x00", topic: str = TOPIC_TELEMETRY
) -> Record:
    return Record(topic, partition, offset, "n1", value)


def test_a_letter_tells_where_the_record_is_and_why():
    stream = Published()
    DeadLetters(stream, HandClock()).reject(record(7, 3), "not an event: nonsense")
    assert stream.read() == [Letter(TOPIC_TELEMETRY, 3, 7, "n1", "not an event: nonsense", b"\xff\x00", 2)]
    assert stream.all[0][1] == "n1"


def test_a_long_value_is_cut_and_its_length_told():
    stream = Published()
    DeadLetters(stream, HandClock()).reject(record(1, value=b"x" * (VALUE_BYTES + 1)), "too long")
    [letter] = stream.letters()
    assert (letter.value, letter.value_bytes) == (b"x" * VALUE_BYTES, VALUE_BYTES + 1)


def test_over_the_limit_is_counted_and_told_once_the_minute_is_over():
    stream, clock = Published(), HandClock()
    letters = DeadLetters(stream, clock, per_minute=2)
    for offset in range(10):
        letters.reject(record(offset, offset % 2), f"not an event: {offset}")
    letters.tell()
    assert [found.offset for found in stream.letters()] == [0, 1]
    assert stream.summaries() == []
    clock.sleep(INTERVAL_S)
    letters.tell()
    [summary] = stream.summaries()
    [left_out] = summary.left_out
    assert (left_out.topic, left_out.reason_class, left_out.count) == (TOPIC_TELEMETRY, "not an event", 8)
    assert {(p.partition, p.first, p.last) for p in left_out.places} == {(0, 2, 8), (1, 3, 9)}
    assert summary.until - summary.since == INTERVAL_S
    letters.reject(record(10), "not an event: 10")
    assert len(stream.letters()) == 3, "a new minute, new letters"
    clock.sleep(INTERVAL_S)
    letters.tell()
    assert len(stream.summaries()) == 1, "nothing left out, nothing to tell"


def test_the_end_of_a_worker_tells_what_it_left_out_and_frees_no_letters():
    stream = Published()
    letters = DeadLetters(stream, HandClock(), per_minute=0)
    letters.reject(record(1), "a")
    letters.flush()
    letters.flush()
    letters.reject(record(2), "a")
    assert stream.letters() == []
    assert [s.left_out[0].count for s in stream.summaries()] == [1]


def test_a_clock_that_is_set_back_does_not_silence_the_letters():
    stream, clock = Published(), HandClock()
    letters = DeadLetters(stream, clock, per_minute=1)
    letters.reject(record(1), "a")
    letters.reject(record(2), "a")
    clock.now_s -= 3600
    letters.reject(record(3), "a")
    assert [found.offset for found in stream.letters()] == [1, 3]
    assert stream.summaries()[0].left_out[0].count == 1


def test_a_flood_is_one_log_line_for_each_reason_and_minute(caplog: pytest.LogCaptureFixture):
    clock = HandClock()
    letters = DeadLetters(Published(), clock, per_minute=1)
    with caplog.at_level(logging.WARNING):
        for offset in range(500):
            letters.reject(record(offset), f"{'cut' if offset % 2 else 'torn'}: {offset}")
        assert len(caplog.records) == 2
        clock.sleep(INTERVAL_S)
        letters.tell()
    assert [r.getMessage() for r in caplog.records[2:]] == [
        f"dead letters of {TOPIC_TELEMETRY}: 250, of them 249 only counted: torn",
        f"dead letters of {TOPIC_TELEMETRY}: 250, of them 250 only counted: cut",
    ]


def test_reasons_without_end_do_not_make_a_summary_without_end():
    stream, clock = Published(), HandClock()
    letters = DeadLetters(stream, clock, per_minute=0)
    for offset in range(10_000):
        letters.reject(record(offset), f"reason {offset}")
    letters.flush()
    [summary] = stream.summaries()
    assert sum(group.count for group in summary.left_out) == 10_000
    assert len(stream.all[0][2]) < 20_000
    assert summary.left_out[-1].reason_class == "other"


def test_a_reason_class_leaves_the_particulars_out():
    assert reason_class("not an event: byte 7 of ...") == "not an event"
    assert len(reason_class("x" * 10_000)) <= 80


REJECTED = st.tuples(
    st.sampled_from([TOPIC_TELEMETRY, TOPIC_EVENTS]),
    st.integers(0, 3),
    st.integers(0, 10**12),
    st.text(max_size=8),
    st.binary(max_size=8),
    st.floats(0, 40),
)


@given(st.lists(REJECTED, max_size=60), st.integers(0, 5))
def test_every_rejected_record_is_a_letter_or_counted_once(
    rejected: list[tuple[str, int, int, str, bytes, float]], per_minute: int
):
    stream, clock = Published(), HandClock()
    letters = DeadLetters(stream, clock, per_minute)
    for topic, partition, offset, reason, value, pause_s in rejected:
        letters.reject(record(offset, partition, value, topic), reason)
        clock.sleep(pause_s)
    letters.flush()
    counted = [group for summary in stream.summaries() for group in summary.left_out]
    assert len(stream.letters()) + sum(group.count for group in counted) == len(rejected) == letters.total
    assert sum(group.count for group in counted) == letters.left_out
    minutes = (clock.now_s - 1_000_000) // INTERVAL_S + 1
    assert len(stream.letters()) <= per_minute * minutes
    where = {(t, p, o) for t, p, o, *_ in rejected}
    for group in counted:
        for place in group.places:
            assert {(group.topic, place.partition, o) for o in (place.first, place.last)} <= where
            assert place.first <= place.last
