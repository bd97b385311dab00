"""How fast kafka-python alone fetches a topic: the records come out decompressed, and nothing is done with them."""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import time
import uuid
from itertools import pairwise
from typing import Any, Final

from collector import broker
from collector.config import KafkaConfig
from collector.records import TOPIC_TELEMETRY

_START_S: Final = 60.0


def fetch(config: KafkaConfig, processes: int, seconds: float, samples_per_record: int) -> float:
    """Samples a second that `processes` consumers of one new group fetch together, for `seconds` or the whole topic.

    The span is from the moment when the last of them has its first record to the moment when the first one ends:
    all of them are at work in it.
    """
    context = multiprocessing.get_context("spawn")
    group, answers, ready = f"fetch-{uuid.uuid4().hex}", context.Queue(), context.Array("b", processes)
    members = [
        context.Process(
            target=_fetch,
            args=(config, group, seconds),
            kwargs={"me": i, "ready": ready, "answers": answers},
        )
        for i in range(processes)
    ]
    for member in members:
        member.start()
    try:
        found = _answers(members, answers, _START_S + seconds + 60)
    finally:
        for member in members:
            member.join(timeout=10)
            member.kill()
    begin = max(marks[0][0] for marks in found)
    end = max(begin + 1e-9, min(marks[-1][0] for marks in found))
    records = sum(_at(marks, end) - _at(marks, begin) for marks in found)
    return float(records * samples_per_record / (end - begin))


def _answers(members: list[Any], answers: Any, timeout_s: float) -> list[list[tuple[float, int]]]:
    found: list[list[tuple[float, int]]] = []
    deadline = time.monotonic() + timeout_s
    while len(found) < len(members):
        with contextlib.suppress(queue.Empty):
            found.append(answers.get(timeout=0.5))
        if time.monotonic() > deadline or any(m.exitcode for m in members):
            raise RuntimeError("a consumer of the benchmark did not finish; its message is above")
    if not all(found):
        raise RuntimeError("a consumer of the benchmark was given nothing to fetch")
    return found


def _at(marks: list[tuple[float, int]], moment: float) -> float:
    """Records fetched by `moment`, on the line between the two marks around it."""
    for (t0, n0), (t1, n1) in pairwise(marks):
        if t0 <= moment <= t1:
            return n0 + (n1 - n0) * (moment - t0) / max(t1 - t0, 1e-9)
    return marks[0][1] if moment < marks[0][0] else marks[-1][1]


def _fetch(config: KafkaConfig, group: str, seconds: float, *, me: int, ready: Any, answers: Any) -> None:
    consumer = broker.consumer(config, group, [config.topic_prefix + TOPIC_TELEMETRY])
    deadline = time.monotonic() + _START_S
    while not all(ready) and time.monotonic() < deadline:
        consumer.poll(timeout_ms=50)  # a member that does not poll keeps the others from joining
        ready[me] = bool(consumer.assignment())
    # Whoever joined first has had every partition for a moment: all begin anew.
    consumer.seek_to_beginning()
    marks: list[tuple[float, int]] = []
    records = 0
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        polled = consumer.poll(timeout_ms=500)
        if polled:
            if not marks:
                end = time.monotonic() + seconds
            records += sum(len(batch) for batch in polled.values())
            marks.append((time.monotonic(), records))
        elif marks:
            break
    consumer.close()
    answers.put(marks)
