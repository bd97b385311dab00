"""A topic full of a fleet's telemetry, made by several producers as the agent's shipper has them."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Final

from benchmarks.load import Load
from collector import broker
from collector.config import KafkaConfig
from collector.records import HEADER_SEQ, HEADER_STREAM, TOPIC_TELEMETRY

GPUS_PER_NODE: Final = 8
_TIMEOUT_S: Final = 3600.0
_TOLD_EVERY_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """`gpus` GPUs at 1 Hz whose agents flush every `flush_s` seconds."""

    gpus: int
    flush_s: int

    @property
    def nodes(self) -> int:
        return max(1, self.gpus // GPUS_PER_NODE)

    @property
    def samples_per_record(self) -> int:
        return GPUS_PER_NODE * self.flush_s

    @property
    def samples_per_flush(self) -> int:
        return self.nodes * self.samples_per_record

    def flushes(self, samples: float) -> int:
        """How many flushes of the whole fleet make at least `samples`."""
        return max(1, -int(-samples // self.samples_per_flush))


@dataclass(frozen=True, slots=True)
class Filled:
    """What lies on the topic. Bytes are of the values, before the producer's compression."""

    fleet: Fleet
    records: int
    raw_bytes: int
    took_s: float

    @property
    def samples(self) -> int:
        return self.records * self.fleet.samples_per_record


@dataclass(frozen=True, slots=True)
class _Part:
    """What one producer puts there."""

    fleet: Fleet
    flushes: int
    begin_us: int
    nodes: range


def fill(config: KafkaConfig, fleet: Fleet, samples: float, producers: int) -> Filled:
    """Put whole flushes of the fleet on the topic, at least `samples` samples; say on stderr how it goes.

    Producers share the nodes and wait for one another after each flush: a fleet's clocks agree to a second or
    so, and nodes that were minutes apart would be a load that no fleet makes.
    """
    context = multiprocessing.get_context("spawn")
    flushes = fleet.flushes(samples)
    barrier = context.Barrier(producers)
    done, raw = context.Value("q", 0), context.Value("q", 0)
    begin_us = int((time.time() - 3600 - flushes * fleet.flush_s) // 60 * 60) * 1_000_000
    began = time.monotonic()
    parts = [_Part(fleet, flushes, begin_us, range(i, fleet.nodes, producers)) for i in range(producers)]
    processes = [context.Process(target=_produce, args=(config, part, barrier, done, raw)) for part in parts]
    for process in processes:
        process.start()
    try:
        _watch(processes, done, flushes * fleet.nodes, began)
    finally:
        for process in processes:
            process.kill()
            process.join()
    return Filled(fleet, done.value, raw.value, time.monotonic() - began)


def _watch(processes: list[Any], done: Any, records: int, began: float) -> None:
    told = began
    while any(p.is_alive() for p in processes):
        if any(p.exitcode for p in processes):
            raise RuntimeError("a producer of the benchmark failed; its message is above")
        if (now := time.monotonic()) - began > _TIMEOUT_S:
            raise TimeoutError(f"the topic was not full after {_TIMEOUT_S:.0f} s")
        if now - told >= _TOLD_EVERY_S:
            told = now
            print(f"  filling: {done.value:,} of {records:,} records, {now - began:.0f} s", file=sys.stderr)
        processes[0].join(0.2)
    if done.value != records:
        raise RuntimeError(f"{done.value:,} of {records:,} records reached the topic")


def _produce(config: KafkaConfig, part: _Part, barrier: Barrier, done: Any, raw: Any) -> None:
    load = Load(GPUS_PER_NODE, part.fleet.flush_s)
    producer = broker.producer(config)
    topic = config.topic_prefix + TOPIC_TELEMETRY
    for flush in range(part.flushes):
        size, futures = 0, []
        for node in part.nodes:
            value = load.value(node, flush, part.begin_us)
            size += len(value)
            headers = [(HEADER_STREAM, b"s%d" % node), (HEADER_SEQ, b"%d" % (flush + 1))]
            futures.append(producer.send(topic, key=load.key(node), value=value, headers=headers))
        producer.flush(timeout=300)
        if not all(f.succeeded() for f in futures):
            raise RuntimeError("the broker did not take every record")
        barrier.wait(timeout=300)
        with done.get_lock():
            done.value += len(part.nodes)
        with raw.get_lock():
            raw.value += size
    producer.close()


def bytes_on_disk(directory: Path, pattern: str) -> int:
    """A directory's files of that pattern: a broker's log, a lake's table. Files that vanish do not count."""
    return sum(_sizes(directory, pattern))


def _sizes(directory: Path, pattern: str) -> Iterator[int]:
    for path in directory.rglob(pattern):
        try:
            if path.is_file():
                yield path.stat().st_size
        except FileNotFoundError:
            continue
