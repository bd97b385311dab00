"""What happened so far, read from where a user would read it: the lake's tables and the job's own files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from alerting.levels import alarm_level
from collector.clock import to_datetime
from collector.config import Config
from demo.scenario import NvmlEvent, Ramp, Scenario, nvlink_then_off_the_bus
from demo.training import NAME, Acknowledgement
from pipeline.lake import Lake

_PASSING: Final = ("nvml_recovered", "gpu_missing")


@dataclass(frozen=True, slots=True)
class Fault:
    """The synthetic fault, seen from outside: which GPU, when it begins, when the GPU dies (elapsed s)."""

    gpu: int
    begins_s: float
    dies_s: float


def _fault(gpu: int, scenario: Scenario) -> Fault:
    begins_s = min(s.from_s for s in scenario.steps if isinstance(s, Ramp) and s.gpu == gpu)
    dies_s = min(s.at_s for s in scenario.steps if isinstance(s, NvmlEvent) and s.xid == 79)
    return Fault(gpu, begins_s, dies_s)


FAULT: Final = _fault(5, nvlink_then_off_the_bus(5))


@dataclass(frozen=True, slots=True, order=True)
class Happening:
    """One line of the chronicle. `time_s` is Unix time on the demo's clock."""

    time_s: float
    who: str
    text: str
    weight: int = 0
    """0 told in passing, 1 a step of the story, 2 a turning point."""


@dataclass(slots=True)
class Chronicle:
    """Collects happenings; `refresh` reads what is new. Safe to call at any time, also before the lake exists."""

    config: Config
    job: Path
    start_unix_s: float
    fault: Fault
    happenings: list[Happening] = field(default_factory=list)
    gpus: pl.DataFrame = field(default_factory=pl.DataFrame)
    """The newest sample of each GPU, with its risk."""
    risks: pl.DataFrame = field(default_factory=pl.DataFrame)
    """Every prediction for the faulty GPU, by time."""
    incidents: pl.DataFrame = field(default_factory=pl.DataFrame)
    actions: pl.DataFrame = field(default_factory=pl.DataFrame)
    xid_79_s: float | None = None
    """When the agent heard that the GPU is gone."""
    job_ended_s: float | None = None
    checkpoint: Acknowledgement | None = None
    status: dict[str, Any] = field(default_factory=dict)
    _told: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        begins_s = self.start_unix_s + self.fault.begins_s
        text = f"synthetic fault begins on GPU {self.fault.gpu}: NVLink CRC errors"
        self._tell(("fault", ""), Happening(begins_s, "scenario", text, 1))

    def refresh(self) -> None:
        """Read the lake and the job's files again."""
        lake = Lake(self.config.lake.path)
        predictions = lake.read("predictions", columns=["time", "gpu_index", "risk", "reasons"]).sort("time")
        self.risks = predictions.filter(pl.col("gpu_index") == self.fault.gpu)
        self._tell_risks()
        self._tell_events(lake.read("events").sort("time"))
        self.incidents = lake.read("incidents").sort("time")
        self._tell_incidents(self.incidents)
        self.actions = lake.read("actions").sort("time")
        self._tell_actions()
        self._read_job()
        self.gpus = self._newest(lake, predictions)

    def note_death(self, time_s: float) -> None:
        """The job's process was ended because its GPU is gone."""
        self.job_ended_s = time_s
        text = "collective aborts: the training process is gone"
        self._tell(("job", "died"), Happening(time_s, "job", text, 2))

    def until(self, now_s: float) -> list[Happening]:
        """The chronicle up to `now_s`, by time."""
        return sorted(h for h in self.happenings if h.time_s <= now_s)

    def _tell(self, key: tuple[str, str], happening: Happening) -> None:
        """Once per key, however often the tables are read."""
        if key not in self._told:
            self._told.add(key)
            self.happenings.append(happening)

    def _tell_risks(self) -> None:
        for level, weight in ((self.config.ingest.watch_level, 1), (alarm_level(self.config), 2)):
            above = self.risks.filter(pl.col("risk") >= level)
            if not above.is_empty():
                first = above.row(0, named=True)
                top = first["reasons"][0]["text"] if first["reasons"] else ""
                text = f"risk of GPU {self.fault.gpu} is {first['risk']:.2f} (over {level:g}): {top}"
                self._tell(("risk", str(level)), Happening(first["time"].timestamp(), "ingest", text, weight))

    def _tell_events(self, events: pl.DataFrame) -> None:
        for e in events.iter_rows(named=True):  # an event that is told again may know more: its code, for one
            name = f"Xid {e['code']}" if e["code"] is not None else e["kind"]
            if e["code"] == 79 and self.xid_79_s is None:
                self.xid_79_s = e["time"].timestamp()
            weight = 2 if e["code"] == 79 else 0 if e["kind"] in _PASSING else 1
            text = f"{name} on GPU {e['gpu_index']}: {e['text'][:90]}"
            self._tell(
                ("event", f"{e['fingerprint']} {name}"),
                Happening(e["time"].timestamp(), "agent", text, weight),
            )

    def _tell_incidents(self, incidents: pl.DataFrame) -> None:
        for i in incidents.iter_rows(named=True):
            key = f"{i['incident_id']} {i['change']} {i['time']}"
            if i["change"] in ("opened", "failed", "recovered"):
                text = f"incident {i['incident_id']} {i['change']} ({i['severity']}): {i['cause']}"
                self._tell(("incident", key), Happening(i["time"].timestamp(), "watch", text, 2))

    def _tell_actions(self) -> None:
        for a in self.actions.iter_rows(named=True):
            who = "bridge" if a["state"] in ("acknowledged", "failed") else "watch"
            what = {"decided": "webhook signed", "delivered": "webhook delivered"}.get(a["state"], a["state"])
            text = f"{a['action']}: {what}" + (f": {a['detail']}" if who == "bridge" else "")
            weight = 2 if a["state"] == "acknowledged" else 0
            key = f"{a['action_id']} {a['state']}"
            self._tell(("action", key), Happening(a["time"].timestamp(), who, text, weight))

    def _read_job(self) -> None:
        acknowledged = self.job / f"{NAME}.checkpoint.json"
        if acknowledged.exists():
            self.checkpoint = msgspec.json.decode(acknowledged.read_bytes(), type=Acknowledgement)
            c = self.checkpoint
            text = f"checkpoint at step {c.step} on disk in {c.seconds:.2f} s ({c.reason})"
            self._tell(("checkpoint", str(c.step)), Happening(c.time, "job", text, 2))
        status = self.job / "status.json"
        if status.exists():
            self.status = msgspec.json.decode(status.read_bytes())

    def _newest(self, lake: Lake, predictions: pl.DataFrame) -> pl.DataFrame:
        since = to_datetime(self.config.make_clock().time_s() - 90.0)
        columns = [
            "time",
            "gpu_index",
            "gpu_state",
            "temperature_c",
            "power_w",
            "sm_util_pct",
            "nvlink_crc_flit_errors",
        ]
        samples = lake.read("telemetry", since=since, columns=columns).sort("time")
        newest = samples.group_by("gpu_index").agg(pl.all().last())
        risk = predictions.group_by("gpu_index").agg(pl.col("risk").last())
        return newest.join(risk, on="gpu_index", how="left").sort("gpu_index")
