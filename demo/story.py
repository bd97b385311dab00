"""The end of the demo: what happened when, what was saved, and what to try next."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import msgspec
import polars as pl
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from alerting.levels import alarm_level
from collector.clock import hms
from demo.happenings import Chronicle
from demo.training import resume_differs_by

if TYPE_CHECKING:
    from demo.run import Stage

_GPUS = 8
_STEPS_COMPARED = 50
_QUESTION = "SELECT minute, gpu_index, risk FROM predictions WHERE risk > 0.05 ORDER BY minute"


@dataclass(frozen=True, slots=True)
class Story:
    """Times are Unix seconds on the demo's clock; None where it did not happen."""

    saved: bool
    synthetic: bool
    trace: str
    speed: float
    fault_began_s: float
    risk_rose_s: float | None
    alarm_s: float | None
    checkpoint_s: float | None
    checkpoint_step: int | None
    drained_s: float | None
    died_s: float | None
    lead_s: float | None
    """From the checkpoint on disk to the death of the GPU."""
    lost_gpu_minutes_without: float | None
    lost_gpu_minutes_with: float | None
    saved_gpu_minutes: float | None
    incidents: int
    webhooks: int
    resumed_steps: int
    resumed_largest_loss_difference: float | None
    directory: str

    def print(self, out: TextIO, *, as_json: bool) -> None:
        if as_json:
            out.write(json.dumps(asdict(self), indent=2) + "\n")
        else:
            _print(self, out)


def tell(chronicle: Chronicle, stage: Stage, *, recorded: str | None) -> Story:
    """Work the story out of the chronicle, and prove the checkpoint by resuming from it."""
    config = chronicle.config
    risk_rose_s = _first_above(chronicle.risks, config.ingest.watch_level)
    alarm_s = _first_above(chronicle.risks, alarm_level(config))
    saved = chronicle.checkpoint
    died_s = chronicle.xid_79_s
    began_s = msgspec.json.decode((stage.job / "started.json").read_bytes())["time"]
    steps, difference = (0, None)
    if saved is not None:
        steps, difference = resume_differs_by(Path(saved.path), stage.job / "losses.csv", _STEPS_COMPARED)
    without = None if died_s is None else _gpu_minutes(died_s - began_s)
    with_ = None if died_s is None or saved is None else _gpu_minutes(died_s - saved.time)
    lead_s = None if died_s is None or saved is None else died_s - saved.time
    return Story(
        saved=lead_s is not None and lead_s > 0 and difference == 0.0,
        synthetic=True, trace=recorded or "our own simulation", speed=stage.speed,
        fault_began_s=stage.start_unix_s + chronicle.fault.begins_s, risk_rose_s=risk_rose_s, alarm_s=alarm_s,
        checkpoint_s=saved.time if saved else None, checkpoint_step=saved.step if saved else None,
        drained_s=_acknowledged(chronicle, "drain"), died_s=died_s, lead_s=lead_s,
        lost_gpu_minutes_without=without, lost_gpu_minutes_with=with_,
        saved_gpu_minutes=None if without is None or with_ is None else without - with_,
        incidents=_incidents(chronicle), webhooks=chronicle.actions.filter(pl.col("state") == "delivered").height,
        resumed_steps=steps, resumed_largest_loss_difference=difference, directory=str(stage.directory),
    )  # fmt: skip


def _gpu_minutes(seconds: float) -> float:
    return seconds / 60 * _GPUS


def _first_above(risks: pl.DataFrame, level: float) -> float | None:
    above = risks.filter(pl.col("risk") >= level)
    return None if above.is_empty() else float(above["time"][0].timestamp())


def _acknowledged(chronicle: Chronicle, action: str) -> float | None:
    done = chronicle.actions.filter(pl.col("action") == action, pl.col("state") == "acknowledged")
    return None if done.is_empty() else float(done["time"][0].timestamp())


def _incidents(chronicle: Chronicle) -> int:
    return 0 if chronicle.incidents.is_empty() else chronicle.incidents["incident_id"].n_unique()


def _print(story: Story, out: TextIO) -> None:
    console = Console(file=out)
    table = Table.grid(padding=(0, 2))
    for time_s, what in _lines(story):
        table.add_row("" if time_s is None else hms(time_s), what)
    title = "[bold green]The job was saved[/]" if story.saved else "[bold red]The job was not saved[/]"
    console.print(Panel(table, title=title, subtitle="the fault is synthetic, and so is every row it made"))
    console.print("\nThree things to try now:")
    foreshock = _short(Path(sys.executable).parent / "foreshock")
    at = f"{foreshock} --config {_short(Path(story.directory))}/foreshock.toml"
    for command in (
        f'{at} sql "{_QUESTION}"',
        f"{at} dashboard",
        f"{foreshock} xid explain 79",
    ):
        console.print(f"  {command}", highlight=False, soft_wrap=True, markup=False)


def _short(path: Path) -> str:
    """As a person here would type it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _lines(story: Story) -> list[tuple[float | None, str]]:
    lines: list[tuple[float | None, str]] = [(story.fault_began_s, "the synthetic fault begins")]
    optional: list[tuple[float | None, str]] = [
        (story.risk_rose_s, "the risk leaves its floor"),
        (story.alarm_s, "the risk passes the alarm level: one incident, one signed checkpoint request"),
        (story.checkpoint_s, f"the checkpoint is on disk (step {story.checkpoint_step})"),
        (story.drained_s, "the node is marked for draining: no new work lands there"),
        (story.died_s, "Xid 79: the GPU falls off the bus and takes the job with it"),
    ]
    lines += sorted((line for line in optional if line[0] is not None), key=lambda line: line[0] or 0.0)
    if story.saved_gpu_minutes is not None and story.lost_gpu_minutes_without is not None:
        lines.append((None, ""))
        lines.append(
            (
                None,
                f"[bold]{story.saved_gpu_minutes:.0f} GPU-minutes saved[/]: {story.lost_gpu_minutes_with:.0f} lost"
                f" instead of {story.lost_gpu_minutes_without:.0f}, against a job that checkpoints every 30 minutes"
                " and began with the demo",
            )
        )
    if story.incidents == 1:
        lines.append((None, "the application fault on another GPU (Xid 31) raised no alarm"))
    if story.resumed_steps:
        lines.append(
            (
                None,
                f"resumed from the checkpoint: {story.resumed_steps} steps repeat the first run's losses, largest"
                f" difference {story.resumed_largest_loss_difference:g}",
            )
        )
    return lines
