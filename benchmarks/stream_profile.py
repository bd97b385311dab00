"""Where one worker's time goes, without a broker: the production Worker over prepared records, its parts timed."""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.load import Load
from benchmarks.stream_fill import GPUS_PER_NODE, Fleet
from collector.clock import SystemClock
from collector.config import IngestConfig
from collector.records import FIELDS, TOPIC_TELEMETRY
from models.rules import RuleScorer
from pipeline.ingest import Worker
from pipeline.lake import Lake
from pipeline.stream import Position, Record

_POLL: Final = 500
_PARTITIONS: Final = 2
_STAGES: Final = {
    "decode": (("pipeline.decode", "telemetry"),),
    "rollup": (("pipeline.accumulate:MinuteAccumulator", "add"), ("pipeline.accumulate:MinuteAccumulator", "take")),
    "lake": (("pipeline.lake:Lake", "append"),),
    "predict": (("pipeline.predict:Predictor", "minute_done"),),
}  # fmt: skip
"""Who does a stage's work. Predictions are appended to the lake within predict, and count there."""


class Prepared:
    """A stream of polls that are there already."""

    def __init__(self, polls: Sequence[Sequence[Record]]) -> None:
        self._polls = list(reversed(polls))

    def poll(self, timeout_s: float) -> Sequence[Record]:
        return self._polls.pop() if self._polls else []

    def commit(self, next_offsets: Mapping[Position, int]) -> None: ...

    def publish(self, topic: str, key: str, value: bytes) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class Stopwatch:
    """Wall seconds by stage. A stage that runs within another counts for the outer one only."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(_STAGES, 0.0)
        self._within: str | None = None

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self._within is not None:
                return function(*args, **kwargs)
            self._within, began = stage, time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[stage] += time.perf_counter() - began
                self._within = None

        return call


def profile(gpus: int, flush_s: int, samples: float) -> dict[str, Any]:
    """Microseconds of wall time a sample, by stage; `cpu` is the process with all its threads.

    At most 2 million samples, since the records wait in memory (2 kB a sample).
    """
    fleet = Fleet(gpus, flush_s)
    polls = _prepared(fleet, min(samples, 2e6))
    taken = sum(len(p) for p in polls) * fleet.samples_per_record
    watch = Stopwatch()
    absent = _instrument(watch)
    with tempfile.TemporaryDirectory() as scratch:
        worker = Worker(Prepared(polls), Lake(Path(scratch)), RuleScorer(), IngestConfig(), SystemClock())
        began, cpu = time.perf_counter(), time.process_time()
        while worker.step(timeout_s=0.0):
            pass
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
    parts = {s: None if s in absent else round(t / taken * 1e6, 2) for s, t in watch.seconds.items()}
    other = took - sum(watch.seconds.values())
    cost = {**parts, "other": round(other / taken * 1e6, 2), "all": round(took / taken * 1e6, 2),
            "cpu": round(cpu / taken * 1e6, 2)}  # fmt: skip
    return {
        "samples_per_s": round(taken / took), "ratio_to_fetch": None, "ratio_to_quix": None, "rss_mib": None,
        "us_per_sample": cost, "gpus": gpus, "flush_s": flush_s, "samples": taken, "columns": len(FIELDS),
        "samples_taken": worker.samples,
    }  # fmt: skip


def _prepared(fleet: Fleet, samples: float) -> list[list[Record]]:
    load = Load(GPUS_PER_NODE, fleet.flush_s)
    flushes = fleet.flushes(samples)
    begin_us = int((time.time() - 3600 - flushes * fleet.flush_s) // 60 * 60) * 1_000_000
    records: list[list[Record]] = [[] for _ in range(_PARTITIONS)]
    wanted = max(1, int(samples // fleet.samples_per_record))
    for i in range(wanted):
        flush, node = divmod(i, fleet.nodes)
        mine = records[node % _PARTITIONS]
        value = bytes(load.value(node, flush, begin_us))
        key = load.key(node).decode()
        mine.append(Record(TOPIC_TELEMETRY, node % _PARTITIONS, len(mine), key, value, f"s{node}", flush + 1))
    return [
        batch
        for at in range(0, len(records[0]), _POLL)
        for batch in (part[at : at + _POLL] for part in records)
        if batch
    ]


def _instrument(watch: Stopwatch) -> set[str]:
    """Put the stopwatch around each stage's functions; the stages of which one is not there any more."""
    absent = set()
    for stage, functions in _STAGES.items():
        for owner_name, name in functions:
            module, _, of_class = owner_name.partition(":")
            owner: Any = importlib.import_module(module)
            owner = getattr(owner, of_class, None) if of_class else owner
            function = getattr(owner, name, None)
            if function is None:
                absent.add(stage)
            else:
                setattr(owner, name, watch.timed(stage, function))
    return absent
