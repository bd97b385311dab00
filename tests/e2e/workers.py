"""Workers of one consumer group as processes of their own.

Nothing is shared between two workers but the broker and the lake. They are forked from a process that has imported
everything and started nothing (no thread pool of Polars, no client of Kafka), so that fifty lives cost fifty forks.
"""

from __future__ import annotations

import faulthandler
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from ctypes import c_int64
from multiprocessing.context import ForkServerProcess
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest

from collector import broker
from collector.config import IngestConfig, KafkaConfig
from models.rules import RuleScorer
from pipeline.ingest import TOPICS, Worker
from pipeline.lake import Lake
from pipeline.stream import KafkaStream, Position, Record
from tests.pipeline.samples import START_S

CONFIG = IngestConfig(flush_s=0.4)
POLLED, UNCOMMITTED, APPENDING, APPENDS = range(4)
"""What a worker tells of its life, in memory that outlives it: records polled, polled since its last commit, whether
it is writing to the lake at this moment, and how often it has."""

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["__main__", __name__])


class AnHourLater:
    """The samples are an hour old, whenever the test runs."""

    def time_s(self) -> float:
        return START_S + 3600

    def sleep(self, seconds: float) -> None:
        raise AssertionError("a worker does not wait for the clock")


class WatchedStream(KafkaStream):
    """The production stream; it tells what the worker has polled and not committed."""

    def __init__(self, config: KafkaConfig, told: Any) -> None:
        self._told = told
        super().__init__(config, config.ingest_group, TOPICS)

    def poll(self, timeout_s: float) -> Sequence[Record]:
        records = super().poll(timeout_s)
        self._told[POLLED] += len(records)
        self._told[UNCOMMITTED] += len(records)
        return records

    def commit(self, next_offsets: Mapping[Position, int]) -> None:
        super().commit(next_offsets)
        self._told[UNCOMMITTED] = 0


class WatchedLake(Lake):
    """The production lake; it tells when it is being written."""

    told: Any

    def append(self, table: str, rows: pl.DataFrame, **more: Any) -> None:
        self.told[APPENDING] = 1
        super().append(table, rows, **more)
        self.told[APPENDING] = 0
        self.told[APPENDS] += 1


def work(config: KafkaConfig, ingest: IngestConfig, lake_path: Path, log: Path, told: Any) -> None:
    """The life of one worker: as `foreshock ingest`, until SIGTERM."""
    with log.open("ab") as f:
        os.dup2(f.fileno(), 1)
        os.dup2(f.fileno(), 2)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(process)d %(name)s %(message)s")
    faulthandler.register(signal.SIGUSR1)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    lake = WatchedLake(lake_path)
    lake.told = told
    Worker(WatchedStream(config, told), lake, RuleScorer(), ingest, AnHourLater()).run(stop)


class Group:
    """Starts, kills and ends the workers of one group on one lake."""

    def __init__(self, directory: Path, config: KafkaConfig, ingest: IngestConfig = CONFIG) -> None:
        self.lake = directory / "lake"
        self._directory = directory
        self._config = config
        self._ingest = ingest
        self.made: list[str] = []
        self.alive: list[str] = []
        self._processes: dict[str, ForkServerProcess] = {}
        self.told: dict[str, Any] = {}
        # a group that joins before its topics exist rebalances when they come
        broker.ensure_topics(config, [config.topic_prefix + t for t in TOPICS])

    def start(self, count: int = 1) -> list[str]:
        names = [f"w{len(self.made) + n}" for n in range(count)]
        self.made += names
        for name in names:
            told = self.told[name] = RawArray(c_int64, 4)
            process = _CONTEXT.Process(
                target=work,
                args=(self._config, self._ingest, self.lake, self._directory / f"{name}.log", told),
            )
            process.start()
            self._processes[name] = process
            self.alive.append(name)
        return names

    def kill_9(self, name: str) -> None:
        self.alive.remove(name)
        self._processes[name].kill()
        self._processes[name].join(20)

    def signal(self, name: str, number: signal.Signals) -> None:
        pid = self._processes[name].pid
        assert pid is not None
        os.kill(pid, number)

    def stop(self, names: Sequence[str]) -> None:
        """SIGTERM: they give up what they hold and leave. Fails when one does not, or ended before on its own."""
        for name in names:
            self.alive.remove(name)
            self._processes[name].terminate()
        for name in names:
            self._processes[name].join(30)
            if (code := self._processes[name].exitcode) != 0:
                pytest.fail(f"{name} ended with {code}\n{self.tails()}")

    def polled(self, name: str) -> int:
        return int(self.told[name][POLLED])

    def everyone_polled(self, names: Sequence[str]) -> bool:
        return all(self.polled(name) for name in names)

    def wait(self, what: str, condition: Callable[[], Any], timeout_s: float) -> None:
        """Until `condition`; fails in time with the end of every worker's log, or at once where one died by itself."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            dead = [name for name in self.alive if not self._processes[name].is_alive()]
            if dead or time.monotonic() > deadline:
                told = {name: list(self.told[name]) for name in self.alive}
                pytest.fail(f"{what}: {dead} died, or not in {timeout_s:g} s; told {told}\n{self.tails()}")
            time.sleep(0.01)

    def tails(self) -> str:
        """The end of the logs, with where each worker is at this moment."""
        for name in self.alive:
            if self._processes[name].is_alive():
                self.signal(name, signal.SIGUSR1)
        time.sleep(0.3)
        logs = sorted(self._directory.glob("w*.log"), key=lambda p: p.stat().st_mtime)[-6:]
        return "\n".join(f"--- {log.stem}\n{log.read_text(errors='replace')[-2500:]}" for log in logs)

    def close(self) -> None:
        for process in self._processes.values():
            if process.is_alive():
                process.kill()
            process.join(20)
            process.close()
