"""Small lakes of one job, made by hand minute by minute. Synthetic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.lake import Lake
from pipeline.tables import ACTIONS, EVENTS, PREDICTIONS, ROLLUPS
from tests.pipeline.samples import START

UTIL = {"w": 95.0, "l": 0.5, "d": None, "i": 0.0}
"""One letter a minute: works, low, dark (utilisation unknown), i: idle and not ours, x: no row at all."""


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def minutes(story: str, job: str = "7", gpus: Iterable[int] = range(4)) -> pl.DataFrame:
    """Rollups of a story: one letter of UTIL a minute, all GPUs alike."""
    rows = [
        {
            "minute": at(m), "node": "n1", "gpu_uuid": f"GPU-{g}", "gpu_index": g, "pci_bdf": f"0000:{g:02x}:00",
            "synthetic": True, "job": None if letter == "i" else job, "sm_util_pct_mean": UTIL[letter],
        }
        for m, letter in enumerate(story) if letter != "x" for g in gpus
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=ROLLUPS)


def fault(minute: float, gpu: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "time": at(minute), "fingerprint": f"f{minute}-{gpu}", "node": "n1", "kind": "xid", "code": 79, "source": "sim",
        "gpu_uuid": f"GPU-{gpu}", "gpu_index": gpu, "pci_bdf": f"0000:{gpu:02x}:00", "text": "", "count": 1, "seq": 1,
        "synthetic": True,
    } | more  # fmt: skip


def save(minute: float, seconds: float | None, job: str = "7") -> dict[str, Any]:
    """A checkpoint begun at `minute`; `seconds` None: its end was never told."""
    ended = at(minute) + timedelta(seconds=seconds or 0.0)
    how = "begun" if seconds is None else f"seconds={seconds:.3f}"
    return {
        "time": ended, "fingerprint": f"c{minute}", "node": "n1", "kind": "checkpoint", "source": "agent", "job": job,
        "text": f"checkpoint step=1 {how}", "count": 1 if seconds is None else 2, "seq": 1, "synthetic": True,
    }  # fmt: skip


def action(
    minute: float, name: str, gpu: int = 0, *states: str, incident: str = "inc-1"
) -> list[dict[str, Any]]:
    return [
        {
            "time": at(minute) + timedelta(seconds=i), "action_id": f"{incident}.{name}", "incident_id": incident,
            "action": name, "intent": name, "state": state, "node": "n1", "gpu_uuid": f"GPU-{gpu}", "synthetic": True,
        }
        for i, state in enumerate(states or ("decided", "delivered", "acknowledged"))
    ]  # fmt: skip


def lake(
    path: Path,
    *rollups: pl.DataFrame,
    events: Iterable[Mapping[str, Any]] = (),
    actions: Iterable[Mapping[str, Any]] = (),
    horizon_s: int | None = None,
) -> Lake:
    made = Lake(path)
    made.append("rollups", pl.concat(rollups))
    made.append("events", pl.DataFrame([dict(e) for e in events], schema=EVENTS, infer_schema_length=None))
    made.append("actions", pl.DataFrame([dict(a) for a in actions], schema=ACTIONS, infer_schema_length=None))
    if horizon_s is not None:
        rows = [
            {"time": at(g), "minute": at(g), "node": "n1", "gpu_uuid": f"GPU-{g}", "horizon_s": horizon_s}
            for g in range(4)
        ]
        made.append("predictions", pl.DataFrame(rows, schema=PREDICTIONS))
    return made
