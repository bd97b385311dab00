"""The workers of one consumer group at a full topic: how many samples, how fast, with how much CPU and memory."""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import sys
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.stream_processes import cpu_s, memory_mib
from collector.clock import SystemClock
from collector.config import IngestConfig, KafkaConfig
from models.rules import RuleScorer
from pipeline.ingest import TOPICS, Worker
from pipeline.lake import Lake
from pipeline.stream import KafkaStream

_TELL_S: Final = 0.25
_LOOK_S: Final = 1.0
_START_S: Final = 120.0
_END_S: Final = 300.0
_QUIET_S: Final = 3.0
"""More than a flush takes: a topic is empty when nothing was taken for so long."""


class Told(NamedTuple):
    """What a worker says of itself. `samples` counts again what it took again after a rebalance."""

    samples: int
    late: int
    dead_letters: int
    cpu_s: float
    time_s: float
    """Monotonic, which all processes of a machine share."""
    ended: bool = False


class Look(NamedTuple):
    """All workers together at one moment of the run."""

    time_s: float
    samples: int
    memory_mib: float


@dataclass(slots=True)
class Run:
    """What was seen from the first sample to the last flush."""

    first: Look
    looks: list[Look] = field(default_factory=list)
    last: list[Told] = field(default_factory=list)
    seconds: float = 0.0
    worker_cpu_s: float = 0.0
    broker_cpu_s: float | None = None
    ended_cleanly: bool = True


def work(config: KafkaConfig, lake: str, told: Any, ready: Barrier, stop: Any) -> None:
    """One worker: the production class. The last it tells is after its last flush."""
    worker = Worker(
        KafkaStream(config, config.ingest_group, TOPICS),
        Lake(Path(lake)),
        RuleScorer(),
        IngestConfig(),
        SystemClock(),
    )
    # Together: one that has the topic to itself for a while takes what the others must take again.
    ready.wait(timeout=_START_S)
    ended = threading.Event()
    thread = threading.Thread(target=worker.run, args=(ended,))
    thread.start()
    while not stop.wait(_TELL_S) and thread.is_alive():
        told.put(_tell(worker))
    ended.set()
    thread.join()
    told.put(_tell(worker)._replace(ended=True))


def _tell(worker: Worker) -> Told:
    return Told(worker.samples, worker.late, worker.dead_letters, time.process_time(), time.monotonic())


class Crew:
    """The worker processes, and what they told last."""

    def __init__(self, config: KafkaConfig, lake: Path, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._stop, self._ready = context.Event(), context.Barrier(workers)
        self._queues = [context.Queue() for _ in range(workers)]
        self._processes = [
            context.Process(target=work, args=(config, str(lake), q, self._ready, self._stop))
            for q in self._queues
        ]
        self.told = [Told(0, 0, 0, 0.0, 0.0)] * workers
        for process in self._processes:
            process.start()

    def listen(self) -> None:
        for i, q in enumerate(self._queues):
            with contextlib.suppress(queue.Empty):
                while True:
                    self.told[i] = q.get_nowait()

    def look(self) -> Look:
        memory = sum(memory_mib(p.pid) for p in self._processes if p.pid is not None)
        return Look(time.monotonic(), sum(t.samples for t in self.told), memory)

    @property
    def alive(self) -> bool:
        return all(p.is_alive() for p in self._processes)

    def stop(self, timeout_s: float) -> bool:
        """Ask all to flush and end; whether they did."""
        self._stop.set()
        deadline = time.monotonic() + timeout_s
        while (
            not all(t.ended for t in self.told)
            and any(p.is_alive() for p in self._processes)
            and time.monotonic() < deadline
        ):
            self.listen()
            time.sleep(0.05)
        for process in self._processes:
            process.join(timeout=5)
        self.listen()
        return all(t.ended for t in self.told)

    def kill(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()


def run_workers(
    config: KafkaConfig, lake: Path, workers: int, *, seconds: float, samples: int, broker_pid: int | None
) -> Run:
    """Let `workers` at the topic until they have taken `samples`, for `seconds` from the first sample at most."""
    crew = Crew(config, lake, workers)
    try:
        _until_first(crew)
        run, at_first = Run(crew.look()), list(crew.told)
        broker_before = cpu_s(broker_pid) if broker_pid else None
        last_sample_s, stopped_s = _watch(crew, run, seconds, samples), time.monotonic()
        run.ended_cleanly = crew.stop(_END_S)
        if not run.ended_cleanly:
            print("  a worker did not flush and end in time", file=sys.stderr)
        if broker_pid and broker_before is not None:
            run.broker_cpu_s = cpu_s(broker_pid) - broker_before
    finally:
        crew.kill()
    run.last = list(crew.told)
    run.worker_cpu_s = sum(t.cpu_s for t in run.last) - sum(t.cpu_s for t in at_first)
    run.seconds = (last_sample_s - run.first.time_s) + max(0.0, max(t.time_s for t in run.last) - stopped_s)
    return run


def _until_first(crew: Crew) -> None:
    deadline = time.monotonic() + _START_S
    while not any(t.samples for t in crew.told):
        if time.monotonic() > deadline or not crew.alive:
            raise RuntimeError("the workers took no sample; their messages are above")
        time.sleep(0.02)
        crew.listen()


def _watch(crew: Crew, run: Run, seconds: float, samples: int) -> float:
    """Look on until time is over, or all was taken and nothing comes any more. When the last sample came."""
    next_look = last_sample_s = run.first.time_s
    taken = run.first.samples
    while (now := time.monotonic()) - run.first.time_s < seconds and crew.alive:
        crew.listen()
        if now >= next_look:
            next_look += _LOOK_S
            run.looks.append(crew.look())
        if (sum_now := sum(t.samples for t in crew.told)) != taken:
            taken, last_sample_s = sum_now, max(t.time_s for t in crew.told)
        elif taken >= samples and now - last_sample_s > _QUIET_S:
            break
        time.sleep(0.05)
    return last_sample_s
