from __future__ import annotations

import threading
import uuid
from pathlib import Path

import pytest

from collector import broker
from collector.config import KafkaConfig
from collector.records import TOPIC_EVENTS, TOPIC_TELEMETRY
from collector.shipper import GROUP, TOPICS, Shipper
from collector.spool import Spool
from tests.double import eventually
from tests.real.kafka.broker import Broker
from tests.streams import on_topics

pytestmark = pytest.mark.kafka


def kafka(servers: str) -> KafkaConfig:
    return KafkaConfig(bootstrap_servers=servers, topic_prefix=f"t{uuid.uuid4().hex[:8]}.")


def test_what_is_acknowledged_leaves_the_spool_with_its_stream_and_number(kafka_servers: str, tmp_path: Path):
    config = kafka(kafka_servers)
    spool = Spool(tmp_path / "s.db", 100)
    spool.subscribe(GROUP, TOPICS)
    numbers = [spool.append(TOPIC_EVENTS, "n1", str(i).encode()) for i in range(300)]
    shipper = Shipper(spool, lambda: broker.producer(config), config.topic_prefix)
    assert shipper.ship(TOPIC_EVENTS) == 256
    assert shipper.ship(TOPIC_EVENTS) == 44
    assert shipper.ship(TOPIC_EVENTS) == 0
    assert spool.state().records == 0
    records = on_topics(config, TOPICS, 300)
    assert [r.seq for r in records] == numbers
    assert {r.stream for r in records} == {spool.stream}


def test_nothing_is_lost_and_nobody_waits_while_the_broker_is_away(tmp_path: Path):
    own = Broker(tmp_path / "kafka")
    config = kafka(own.bootstrap_servers)
    spool = Spool(tmp_path / "s.db", 100)
    shipper = Shipper(spool, lambda: broker.producer(config), config.topic_prefix)
    stop = threading.Event()
    thread = threading.Thread(target=shipper.run, args=(stop,))
    thread.start()
    try:
        for i in range(50):
            spool.append(TOPIC_TELEMETRY, "n1", str(i).encode())
        eventually(lambda: shipper.last_error, 40)
        own.start()
        eventually(lambda: spool.state().records == 0, 40)
        own.stop(kill=True)
        for i in range(50, 100):
            spool.append(TOPIC_EVENTS, "n1", str(i).encode())
        own.start()
        eventually(lambda: spool.state().records == 0, 60)
        values = {int(r.value) for r in on_topics(config, TOPICS, 100)}
    finally:
        stop.set()
        thread.join(timeout=30)
        own.stop(kill=True)
    assert values == set(range(100))
