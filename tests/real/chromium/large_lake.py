"""A lake of thousands of simulated GPUs for the browser tests: synthetic, fresh, and one of them is failing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.fleet import START, Fleet
from pipeline.lake import Lake

MINUTES = 6
STEP_S = 30
_SLOT = ("node", "gpu_uuid", "gpu_index", "pci_bdf", "synthetic")
_REASON = {
    "feature": "nvlink_crc_per_min", "value": 212.0, "healthy": "below 5", "share": 0.71,
    "text": "NVLink CRC errors rise",
}  # fmt: skip


def make_large_lake(path: Path, gpus: int = 10_000) -> str:
    """The last minutes of a fleet until now, with its first fault a minute ago; the UUID of the GPU it met."""
    fleet, fault = _until_now(gpus)
    begin = fault["time"].replace(second=0, microsecond=0) - timedelta(minutes=MINUTES - 1)
    lake = Lake(path)
    seconds = int((datetime.now(UTC) - begin).total_seconds())
    steps = [begin + timedelta(seconds=s) for s in range(0, seconds, STEP_S)]
    lake.append("telemetry", pl.concat([rows for at in steps for rows in fleet.samples(at, 1)]))
    rollups = fleet.rollups(begin, MINUTES)
    lake.append("rollups", rollups)
    events = fleet.events(begin, seconds)
    lake.append("events", events)
    lake.append("predictions", _predictions(rollups, fault["gpu_uuid"]))
    slot = {name: fault[name] for name in ("node", "gpu_uuid", "gpu_index", "synthetic")}
    lake.append("incidents", _incident(slot, fault["time"], _code(events, fault["gpu_uuid"])))
    lake.append("actions", _actions(slot, fault["time"]))
    return str(fault["gpu_uuid"])


def _until_now(gpus: int) -> tuple[Fleet, dict[str, Any]]:
    """The fleet, laid on the calendar so that its first fault that the driver sees happened one or two minutes ago."""
    first = _first_fault(Fleet(gpus, seed=1))["time"] - START
    start = datetime.now(UTC) - timedelta(minutes=1) - first
    fleet = Fleet(gpus, seed=1, start=start.replace(second=0, microsecond=0))
    return fleet, _first_fault(fleet)


def _first_fault(fleet: Fleet) -> dict[str, Any]:
    return fleet.truth.filter(pl.col("class") != "sdc").sort("time").row(0, named=True)


def _predictions(rollups: pl.DataFrame, failing: str) -> pl.DataFrame:
    """A low risk for every GPU and minute, and one that climbs."""
    bad = pl.col("gpu_uuid") == failing
    age = (pl.col("minute").max() - pl.col("minute")).dt.total_minutes()
    return rollups.select(
        *_SLOT,
        "minute",
        time=pl.col("minute") + pl.duration(minutes=1),
        risk=pl.when(bad).then(0.95 - 0.15 * age).otherwise((pl.col("gpu_uuid").hash(7) % 40) / 1000),
        horizon_s=pl.lit(3600),
        model_id=pl.lit("rules-1"),
        feature_set=pl.lit("f0"),
        reasons=pl.when(bad).then(pl.lit([_REASON])).otherwise(pl.lit([])),
    )


def _code(events: pl.DataFrame, gpu_uuid: str) -> int:
    """The Xid of the fault."""
    met = events.filter(gpu_uuid=gpu_uuid, kind="xid").sort("time")
    return int(met["code"][0])


def _incident(slot: dict[str, Any], fault: datetime, code: int) -> pl.DataFrame:
    opened = fault - timedelta(minutes=2)
    common = slot | {"incident_id": "inc-1", "cause": "predicted_fault", "opened": opened, "evidence": "[]"}
    return pl.DataFrame([
        common | {"time": opened, "change": "opened", "state": "open", "severity": "warning", "risk": 0.65,
                  "summary": "risk 0.65: NVLink CRC errors rise"},
        common | {"time": fault, "change": "failed", "state": "failed", "severity": "critical", "risk": 0.95,
                  "code": code, "summary": f"Xid {code}"},
    ])  # fmt: skip


def _actions(slot: dict[str, Any], fault: datetime) -> pl.DataFrame:
    common = {name: slot[name] for name in ("node", "gpu_uuid", "synthetic")} | {
        "incident_id": "inc-1", "action_id": "inc-1-checkpoint", "action": "checkpoint", "intent": "checkpoint",
    }  # fmt: skip
    told = [
        ("decided", 0, "p 0.65 > 0.02"),
        ("delivered", 1, ""),
        ("acknowledged", 9, "checkpoint of step 812"),
    ]
    opened = fault - timedelta(minutes=2)
    return pl.DataFrame(
        [common | {"time": opened + timedelta(seconds=s), "state": t, "detail": d} for t, s, d in told]
    )
