"""What is known of one GPU now, in one place: who it is, its last reading, its risk and its incident."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from dashboard import queries
from dashboard.gpu import present
from dashboard.gpu.choice import Window

Row = Mapping[str, Any]

SILENT = timedelta(seconds=queries.SILENT_S)
_AFTER = 0.1
"""Share of the window that is shown after the end of what the page is about, so that the end is seen."""


@dataclass(frozen=True, slots=True)
class Facts:
    """`last` is its newest row (empty readings where it is gone); the other rows are None where there is none."""

    gpu: str
    last: Row
    state: str
    newest: datetime
    inventory: Row | None
    prediction: Row | None
    incident: Row | None
    peers: list[str]

    @property
    def where(self) -> str:
        index = self.last["gpu_index"]
        return f"{self.last['node']} GPU {'?' if index is None else index}"


def of(lake: str, gpu: str, fleet: pl.DataFrame, incident_id: str | None) -> Facts | None:
    """None where the lake never heard of it."""
    last = _first(present.last_reading(lake, gpu))
    gone = last is None
    last = last or _first(present.last_heard(lake, gpu))
    if last is None:
        return None
    heard: datetime = last["time"]
    newest = queries.newest(lake).row(0, named=True)["telemetry"] or heard
    silent = gone or heard < newest - SILENT
    node = fleet.filter(pl.col("node") == last["node"])["gpu_uuid"].drop_nulls().to_list()
    return Facts(
        gpu=gpu,
        last=last,
        state="silent" if silent else str(last["gpu_state"]),
        newest=max(newest, heard),
        inventory=_first(present.inventory(lake, gpu)),
        prediction=_first(present.prediction(lake, gpu, max(newest, heard))),
        incident=_first(present.incident(lake, gpu, incident_id)),
        peers=sorted({*node, *present.neighbours(lake, last["node"])}),
    )


def span(facts: Facts, window: Window, *, asked: bool) -> tuple[datetime, datetime]:
    """The stretch of time to show: up to the lake's newest, or around what is over by more than a window.

    `asked`: the URL names the incident.
    """
    length = timedelta(seconds=window.seconds)
    end = _rounded(facts.newest, window)
    heard: datetime = facts.last["time"]
    if asked and facts.incident is not None and facts.incident["time"] < end - length:
        end = facts.incident["time"] + length * 0.3
    elif heard < end - length * (1 - _AFTER):
        end = heard + length * _AFTER
    return end - length, end


def _rounded(end: datetime, window: Window) -> datetime:
    """Up to a whole bucket of the long windows, so that their answers can be kept for everybody."""
    if window.source == "telemetry":
        return end
    past_s = end.timestamp() % window.bucket_s
    return end if past_s == 0 else end + timedelta(seconds=window.bucket_s - past_s)


def _first(rows: pl.DataFrame) -> Row | None:
    return None if rows.is_empty() else rows.row(0, named=True)
