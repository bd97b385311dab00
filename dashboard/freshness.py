"""How old what is shown is, in words. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

LATE_S: Final = 30.0
STALE_S: Final = 120.0
"""Telemetry older than this (against the clock) is late, then stale. Agents ship every few seconds."""


def freshness(newest: datetime, now: datetime, speed: float) -> tuple[str, str]:
    """(a word: live, late, stale or demo; a sentence). On a scaled clock only the lake's own time means anything."""
    if speed != 1.0:
        return "demo", f"{speed:g} times faster than real time; lake time {newest:%H:%M:%S} UTC"
    age_s = (now - newest).total_seconds()
    word = "stale" if age_s > STALE_S else "late" if age_s > LATE_S else "live"
    return word, f"newest telemetry {newest:%Y-%m-%d %H:%M:%S} UTC, {spoken(age_s)} ago"


def spoken(seconds: float) -> str:
    """A duration as people say it: 4 s, 12 min, 3.5 h, 2.1 days."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
