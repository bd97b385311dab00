"""One suite for both transports: the embedded stream and a real Apache Kafka broker."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from collector.config import Config, KafkaConfig, SpoolConfig
from collector.errors import ForeshockError
from collector.records import TOPIC_EVENTS, TOPIC_RISKS
from pipeline.spool_stream import SpoolStream
from pipeline.stream import KafkaStream, Pausing, Rebalancing, Record, Stream, open_stream
from tests.double import eventually
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


def test_a_paused_stream_gives_nothing_and_goes_on_where_it_was(opener: Open):
    stream = opener("g", [TOPIC_EVENTS])
    assert isinstance(stream, Pausing)
    publish(stream, b"1")
    take(stream, 1)
    stream.pause()
    publish(stream, b"2", b"3")
    for _ in range(3):
        assert list(stream.poll(0.3)) == []
    stream.resume()
    assert [r.value for r in take(stream, 2)] == [b"2", b"3"]


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


def kafka_config(servers: str, partitions: int = 4) -> Config:
    prefix = f"t{uuid.uuid4().hex[:8]}."
    return Config(kafka=KafkaConfig(bootstrap_servers=servers, topic_prefix=prefix, partitions=partitions))


class Member:
    """One consumer of the group in a thread: it commits what it is told to when it must give up."""

    def __init__(self, config: Config) -> None:
        self.stream = KafkaStream(config.kafka, "g", [TOPIC_EVENTS])
        assert isinstance(self.stream, Rebalancing)
        self.stream.on_rebalance(self._revoked, self._assigned)
        self.lives: list[list[Record]] = []
        """What was polled, from one deal of the partitions to the next."""
        self.paused = False
        self.commit_first: dict[int, int] = {}
        """partition -> the offset that is still needed, committed when partitions are taken away."""
        self.errors: list[BaseException] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _revoked(self) -> None:
        self.stream.commit({(TOPIC_EVENTS, p): o for p, o in self.commit_first.items()})

    def _assigned(self) -> None:
        if self.paused:
            self.stream.pause()
        self.lives.append([])

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                polled = self.stream.poll(0.1)
                if polled:
                    self.lives[-1] += polled
        except ForeshockError as e:
            self.errors.append(e)
        finally:
            self.stream.close()

    def polled(self) -> list[tuple[int, int]]:
        return [(r.partition, r.offset) for r in self.lives[-1]] if self.lives else []

    def end(self) -> None:
        self._ended.set()
        self._thread.join(timeout=20)
        assert not self.errors


@pytest.fixture
def members(kafka_servers: str) -> Iterator[Callable[[Config], Member]]:
    made: list[Member] = []

    def make(config: Config) -> Member:
        made.append(Member(config))
        return made[-1]

    yield make
    for member in made:
        member.end()


def fill(config: Config, count: int) -> None:
    stream = KafkaStream(config.kafka, "filler", [TOPIC_EVENTS])
    for n in range(count):
        stream.publish(TOPIC_EVENTS, f"n{n}", b"%d" % n)
    stream.flush()
    stream.close()


@pytest.mark.kafka
def test_after_a_rebalance_every_member_goes_on_at_the_commits(
    kafka_servers: str, members: Callable[[Config], Member]
):
    """Also in the partitions that it keeps: what it had in memory since the commit it has given up."""
    config = kafka_config(kafka_servers)
    fill(config, 60)
    first = members(config)
    eventually(lambda: len(first.polled()) == 60, 30)
    first.commit_first = {p: 2 for p, _ in first.polled()}
    second = members(config)
    expected = {(p, o) for p, o in first.polled() if o >= 2}
    eventually(lambda: len(first.lives) >= 2 and {*first.polled(), *second.polled()} == expected, 30)
    assert len(first.polled()) + len(second.polled()) == len(expected), "each record to one of them"
    assert {p for p, _ in first.polled()}.isdisjoint(p for p, _ in second.polled())


@pytest.mark.kafka
def test_a_partition_that_was_never_committed_comes_from_its_beginning(
    kafka_servers: str, members: Callable[[Config], Member]
):
    config = kafka_config(kafka_servers)
    fill(config, 60)
    first = members(config)
    eventually(lambda: len(first.polled()) == 60, 30)
    everything = set(first.polled())
    second = members(config)
    eventually(lambda: len(first.lives) >= 2 and {*first.polled(), *second.polled()} == everything, 30)


@pytest.mark.kafka
def test_a_paused_member_stays_in_its_group_and_takes_nothing_from_new_partitions(
    kafka_servers: str, members: Callable[[Config], Member]
):
    config = kafka_config(kafka_servers)
    first, second = members(config), members(config)
    eventually(lambda: first.lives and second.lives, 30)
    first.paused = True
    first.stream.pause()
    second.end()
    deals = len(first.lives)
    fill(config, 40)
    began = time.monotonic()
    # longer than the session (10 s): who did not send heartbeats would be out, and dealt in again
    eventually(lambda: time.monotonic() - began > 12, 20)
    assert first.polled() == []
    assert len(first.lives) <= deals + 1
    first.paused = False
    first.stream.resume()
    eventually(lambda: len(set(first.polled())) == 40, 30)


@pytest.mark.kafka
def test_one_poll_is_bounded_in_bytes(kafka_servers: str):
    config = kafka_config(kafka_servers)
    stream = KafkaStream(config.kafka, "g", [TOPIC_EVENTS])
    for n in range(200):
        stream.publish(TOPIC_EVENTS, f"n{n}", bytes(900_000))
    stream.flush()
    sizes: list[int] = []

    def all_here() -> bool:
        polled = stream.poll(0.2)
        sizes.append(sum(len(r.value) for r in polled))
        return sum(sizes) >= 200 * 900_000

    eventually(all_here, 60)
    assert max(sizes) < (64 << 20) + 64 * 900_000
    stream.close()


@pytest.mark.kafka
def test_a_commit_that_comes_too_late_is_left_out(kafka_servers: str, caplog: pytest.LogCaptureFixture):
    config = kafka_config(kafka_servers)
    fill(config, 4)
    stream = KafkaStream(config.kafka, "g", [TOPIC_EVENTS])
    taken = take(stream, 4)
    stream._consumer._coordinator.maybe_leave_group()  # as the broker's session timeout would do
    stream.commit({(TOPIC_EVENTS, r.partition): r.offset + 1 for r in taken})
    assert "not committed" in caplog.text
    stream.close()
