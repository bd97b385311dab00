"""How old what a page shows is, on the page: the badge and the sentence that every live page has below its title."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import streamlit as st

from collector.clock import to_datetime
from collector.config import Config
from dashboard.freshness import freshness, spoken


def told(config: Config, newest: Mapping[str, Any]) -> None:
    """`newest`: time of the newest telemetry and predictions (dashboard/now.py). Draw in a horizontal container."""
    found = _freshness(config, newest)
    if found is None:
        badge("stale")
        st.caption("no telemetry yet", width="content")
        return
    word, sentence = found
    badge(word)
    # 10:42:07 would be looked up as an emoji's name, and the page waits for a quarter of a megabyte of names
    told = " · ".join(part for part in (sentence, lag(newest)) if part).replace(":", "\\:")
    st.caption(told, width="content")


def warned(config: Config, newest: Mapping[str, Any]) -> None:
    """A warning where everything on the page is old."""
    if (found := _freshness(config, newest)) is not None and found[0] == "stale":
        st.warning(
            "What you see is old. Look at the agents and at `foreshock ingest`: `foreshock doctor` tells."
        )


def _freshness(config: Config, newest: Mapping[str, Any]) -> tuple[str, str] | None:
    """As freshness.freshness; None for a lake that holds neither."""
    at: datetime | None = newest["telemetry"] or newest["predictions"]
    if at is None:
        return None
    return freshness(at, to_datetime(config.make_clock().time_s()), config.clock.speed)


def badge(word: str) -> None:
    """live, late, stale or demo, told by its word, its icon and its colour."""
    if word == "live":
        st.badge("live", color="green", icon=":material/sensors:")
    elif word == "demo":
        st.badge("demo clock", color="blue", icon=":material/fast_forward:")
    else:
        st.badge(word, color="orange" if word == "late" else "red", icon=":material/schedule:")


def lag(newest: Mapping[str, Any]) -> str:
    """How far the risks are behind the telemetry; empty where one of them is not there."""
    telemetry, predictions = newest["telemetry"], newest["predictions"]
    if telemetry is None or predictions is None:
        return "no risk yet" if predictions is None else ""
    behind_s = max(0.0, (telemetry - predictions).total_seconds())
    return f"risks of {predictions:%H:%M} UTC, {spoken(behind_s)} behind the telemetry"
