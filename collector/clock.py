"""Time as an argument. The demo runs the whole chain on a faster clock and says so."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """`time_s` is Unix time, UTC. `sleep` takes seconds of this clock."""

    def time_s(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own time."""

    def time_s(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))


class ScaledClock:
    """Runs `speed` times faster than the machine, from `origin_unix_s` on. Shared by processes through it."""

    def __init__(self, speed: float, origin_unix_s: float) -> None:
        self._speed = speed
        self._origin_s = origin_unix_s

    def time_s(self) -> float:
        return self._origin_s + (time.time() - self._origin_s) * self._speed

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds / self._speed))


def to_datetime(unix_s: float) -> datetime:
    """Unix seconds -> an aware UTC datetime."""
    return datetime.fromtimestamp(unix_s, tz=UTC)


def hms(unix_s: float) -> str:
    """`HH:MM:SS` in UTC, for logs and stories."""
    return to_datetime(unix_s).strftime("%H:%M:%S")
