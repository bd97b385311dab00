"""One GPU's row: what is due is read, what is not carries on, in as few driver calls as there can be.

In an ordinary tick that is one nvmlDeviceGetFieldValues, the calls of every tick, and two for profiling where
the GPU has it. Slower readings are read apart and timed apart, so that `latency_us` is of the same work each time.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from collector import nvml, nvml_calls
from collector.nvml_fields import LINKS, FieldValues, Values, link_count
from collector.nvml_gpm import Profiler
from collector.records import FIELDS, READINGS

TICK_S: Final = 1.0
"""A period this short or shorter means every tick, however fast the ticks come."""
_SLACK_S: Final = 0.5
"""Half a tick early rather than late: a carried value is never older than its `every_s`."""

_VALUES: Final = sorted((f for f in FIELDS if f.field_ids or f.name == LINKS), key=lambda f: f.every_s)
SLOW_PERIODS_S: Final = tuple(sorted({f.every_s for f in FIELDS if f.every_s > TICK_S}))


@dataclass(slots=True)
class Reading:
    """One GPU's values in the order of `records.READINGS`, and the first return code that was a failure."""

    values: Values
    nvml_return: int
    latency_us: int


class Reader:
    """Reads the GPU behind handle `h`; `clock` gives monotonic seconds. NVML must be open."""

    def __init__(self, h: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._h = h
        self._clock = clock
        self._values: Values = [None] * len(READINGS)
        self._tick_values, self._slow_values = _field_values(link_count(h))
        self._tick_calls, self._slow_calls = _calls()
        self._profiler = Profiler(h)
        self._due_s = dict.fromkeys(SLOW_PERIODS_S, float("-inf"))

    def read(self) -> Reading:
        """Everything the GPU says now. Never raises for the GPU: a failure is null and a code.

        A lost GPU, and a driver that was unloaded, make everything null; then all is due again.
        The values are the reader's own list: they are good until the next read.
        """
        before_ns = nvml.inside_ns()
        failure = self._read_tick()
        latency_us = (nvml.inside_ns() - before_ns) // 1000
        if failure not in nvml.FATAL:
            failure = _worse(failure, self._read_slow())
        if failure in nvml.FATAL:
            self._forget()
        return Reading(self._values, failure, latency_us)

    def close(self) -> None:
        self._profiler.close()

    def _read_tick(self) -> int:
        h, values = self._h, self._values
        failure = self._tick_values.read(h, values, TICK_S)
        for call in self._tick_calls:
            if failure in nvml.FATAL:
                return failure
            failure = _worse(failure, call.read(h, values))
        return _worse(failure, self._profiler.read(values, self._clock()))

    def _read_slow(self) -> int:
        now_s = self._clock()
        upto_s = max((p for p, due_s in self._due_s.items() if now_s >= due_s), default=None)
        if upto_s is None:
            return 0
        for period_s in SLOW_PERIODS_S:
            if period_s <= upto_s:
                self._due_s[period_s] = now_s + period_s - _SLACK_S
        failure = self._slow_values.read(self._h, self._values, upto_s)
        for call in self._slow_calls:
            if failure in nvml.FATAL or call.every_s > upto_s:
                break
            failure = _worse(failure, call.read(self._h, self._values))
        return failure

    def _forget(self) -> None:
        self._values[:] = [None] * len(READINGS)
        self._due_s = dict.fromkeys(SLOW_PERIODS_S, float("-inf"))


def _worse(before: int, code: int) -> int:
    return code if code in nvml.FATAL else before or code


@functools.cache
def _field_values(links: int) -> tuple[FieldValues, FieldValues]:
    """Arrays serve every GPU with as many links: they hold nothing between two calls."""
    tick = [f for f in _VALUES if f.every_s <= TICK_S]
    return FieldValues(tick, links), FieldValues([f for f in _VALUES if f.every_s > TICK_S], links)


@functools.cache
def _calls() -> tuple[tuple[nvml_calls.Call, ...], tuple[nvml_calls.Call, ...]]:
    calls = nvml_calls.make()
    return (
        tuple(c for c in calls if c.every_s <= TICK_S),
        tuple(c for c in calls if c.every_s > TICK_S),
    )


def calls_per_gpu() -> dict[float, int]:
    """Driver calls by period in seconds, profiling (two more in every tick on Hopper and newer) apart."""
    tick, slow = _calls()
    periods = {TICK_S: len(tick) + 1}
    for period_s in SLOW_PERIODS_S:
        ids = any(f.every_s == period_s for f in _VALUES)
        periods[period_s] = sum(c.every_s == period_s for c in slow) + ids
    return periods
