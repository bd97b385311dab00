"""One suite for both transports: the embedded stream and a real Apache Kafka broker."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from collector.config import Config, KafkaConfig, SpoolConfig
from collector.records import TOPIC_EVENTS, TOPIC_RISKS
from pipeline.stream import KafkaStream, SpoolStream, Stream, open_stream
from tests.streams import take

Open = Callable[[str, Sequence[str]], Stream]


@pytest.fixture(params=["spool", pytest.param("kafka", marks=pytest.mark.kafka)])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    config = Config(spool=SpoolConfig(path=tmp_path / "spool.db"))
    if request.param == "kafka":
        servers = request.getfixturevalue("kafka_servers")
        config = Config(
            kafka=KafkaConfig(bootstrap_servers=servers, topic_prefix=f"t{uuid.uuid4().hex[:8]}.")
        )
    opened: list[Stream] = []

    def open_(group: str, topics: Sequence[str]) -> Stream:
        opened.append(open_stream(config, group, topics))
        return opened[-1]

    yield open_
    for stream in opened:
        stream.close()


def publish(stream: Stream, *values: bytes, topic: str = TOPIC_EVENTS) -> None:
    for value in values:
        stream.publish(topic, "n1", value)
    stream.flush()


def test_records_come_in_order_with_their_topic_and_key(opener: Open):
    reader = opener("g", [TOPIC_EVENTS, TOPIC_RISKS])
    publish(reader, b"1", b"2", b"3")
    publish(reader, b"r", topic=TOPIC_RISKS)
    taken = take(reader, 4)
    events = [r for r in taken if r.topic == TOPIC_EVENTS]
    assert [r.value for r in events] == [b"1", b"2", b"3"]
    assert {r.key for r in taken} == {"n1"}
    offsets = [r.offset for r in events]
    assert offsets == sorted(set(offsets))


def test_an_empty_stream_returns_in_time(opener: Open):
    assert list(opener("g", [TOPIC_EVENTS]).poll(0.1)) == []


def test_a_group_goes_on_where_it_committed_and_repeats_what_it_did_not(opener: Open):
    first = opener("g", [TOPIC_EVENTS])
    publish(first, b"1", b"2", b"3")
    taken = take(first, 3)
    first.commit({(taken[0].topic, taken[0].partition): taken[1].offset})
    first.close()
    again = opener("g", [TOPIC_EVENTS])
    assert [r.value for r in take(again, 2)] == [b"2", b"3"]


def test_two_groups_each_see_everything(opener: Open):
    a, b = opener("a", [TOPIC_EVENTS]), opener("b", [TOPIC_EVENTS])
    publish(a, b"1", b"2")
    assert [r.value for r in take(a, 2)] == [r.value for r in take(b, 2)] == [b"1", b"2"]


def test_without_a_broker_the_stream_is_the_spool(tmp_path: Path):
    stream = open_stream(Config(spool=SpoolConfig(path=tmp_path / "s.db")), "g", [TOPIC_EVENTS])
    assert isinstance(stream, SpoolStream)
    stream.close()


@pytest.mark.kafka
def test_a_configured_broker_is_used(kafka_servers: str):
    config = Config(
        kafka=KafkaConfig(bootstrap_servers=kafka_servers, topic_prefix=f"t{uuid.uuid4().hex[:8]}.")
    )
    stream = open_stream(config, "g", [TOPIC_EVENTS])
    assert isinstance(stream, KafkaStream)
    stream.close()
