"""Reading a stream in a test, with a deadline."""

from __future__ import annotations

import uuid

from collector.config import Config, KafkaConfig
from pipeline.stream import Record, Stream, open_stream
from tests.double import eventually


def take(stream: Stream, count: int, timeout_s: float = 120.0) -> list[Record]:
    """At least `count` records; fails when they do not come in time."""
    taken: list[Record] = []

    def enough() -> bool:
        taken.extend(stream.poll(0.2))
        return len(taken) >= count

    eventually(enough, timeout_s)
    return taken


def on_topics(kafka: KafkaConfig, topics: tuple[str, ...], count: int = 1) -> list[Record]:
    """What an outsider, in a group of its own, sees on the broker."""
    stream = open_stream(Config(kafka=kafka), f"look-{uuid.uuid4().hex[:6]}", topics)
    try:
        return take(stream, count)
    finally:
        stream.close()
