"""`foreshock ettr`: a table for people with the definition under it, JSON for programs, stacked bars as PNG."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

import msgspec
import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from collector.errors import ForeshockError
from pipeline.effective_time import CAUSES, DEFINITION, Measured, measure
from pipeline.lake import Lake

SHOWN: Final = 20
"""Jobs of the table: those with the most GPU-hours. --json has all."""
_COUNTED: Final = ("job", "interrupted", "by faults", "of those alarmed", "MTBF h (95 %)", "MTTR min", "saves", "moves",
                   "alarms right", "wrong")  # fmt: skip


def run(args: argparse.Namespace, lake: Path, out: TextIO) -> int:
    """Print what was measured in `lake`; 0. Raises ForeshockError where there is no job, or no place for the plot."""
    if args.plot and Path(args.plot).suffix != ".png":
        raise ForeshockError(f"--plot {args.plot}: no kind of picture we make", hint="FILE.png")
    found = measure(Lake(lake), args.since, args.until, job=args.job)
    if args.plot:
        from pipeline.effective_time_plot import losses_by_job

        try:
            losses_by_job(found, Path(args.plot))
        except OSError as e:
            raise ForeshockError(
                f"--plot {args.plot}: {e.strerror}", hint="name a file in a folder that is there"
            ) from e
    if args.json:
        out.write(msgspec.json.format(msgspec.json.encode(_as_json(found)), indent=2).decode() + "\n")
    else:
        _print(found, out)
    return 0


def _as_json(found: Measured) -> dict[str, Any]:
    return {
        "since": found.since, "until": found.until, "synthetic": found.synthetic, "definition": DEFINITION,
        "fleet": found.fleet.drop("job").to_dicts()[0], "jobs": found.jobs.to_dicts(),
        "interruptions": found.outages.filter(pl.col("kind").is_in(["fault", "unexplained", "move"]))
        .select("job", "kind", "kept", "interrupted", "stopped", "held_again", "works", "fault", "class", "code",
                "gpu_uuid", "alarmed").to_dicts(),
    }  # fmt: skip


def _print(found: Measured, out: TextIO) -> None:
    console = Console(file=out, highlight=False, width=None if out.isatty() else 200)
    if found.synthetic:
        console.print(Text("SYNTHETIC DATA: no number here is of a real GPU", style="bold"))
    console.print(
        f"Effective training time, {found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC\n"
    )
    shown = found.jobs.head(SHOWN).to_dicts()
    rows = [*shown, found.fleet.to_dicts()[0]]
    lost = [c for c in CAUSES if found.jobs[f"{c}_s"].sum() > 0]
    head = ("job", "GPUs", "hours", "ETTR %", "by Baige %", *(c.replace("_", " ") for c in lost))
    _table(console, head, [_time_cells(row, lost) for row in rows])
    if found.jobs.height > SHOWN:
        console.print(f"and {found.jobs.height - SHOWN} smaller jobs: --job NAME, or --json")
    console.print("causes in % of the span; the fleet's by GPU-hours\n")
    _table(console, _COUNTED, [_count_cells(row) for row in rows])
    console.print()
    for note in _notes(found):
        console.print(Text(note))
    console.print(Text(DEFINITION), soft_wrap=True)


def _table(console: Console, head: Sequence[str], rows: list[list[str]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in head:
        table.add_column(Text(name), justify="left" if name == "job" else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def _time_cells(row: dict[str, Any], lost: Sequence[str]) -> list[str]:
    ettr = _percent(row["ettr"])
    if row["unknown_s"] > 0:
        ettr += f" to {_percent(row['ettr_high'])}"
    shares = [_percent(row[f"{c}_s"] / row["span_s"]) if row["span_s"] > 0 else "-" for c in lost]
    hours = f"{row['span_s'] / 3600:.1f}"
    return [_name(row), f"{row['gpus']:.0f}", hours, ettr, _percent(row["ettr_baige"]), *shares]


def _count_cells(row: dict[str, Any]) -> list[str]:
    if row["mtbf_s"] is None:
        mtbf = f"> {row['mtbf_low_s'] / 3600:.1f}"
    else:
        mtbf = (
            f"{row['mtbf_s'] / 3600:.1f} ({row['mtbf_low_s'] / 3600:.1f} to {row['mtbf_high_s'] / 3600:.1f})"
        )
    mttr = "-" if row["mttr_s"] is None else f"{row['mttr_s'] / 60:.1f}"
    counts = [str(row[c]) for c in ("checkpoints", "moves", "alarms_right", "alarms_wrong")]
    return [_name(row), *(str(row[c]) for c in ("interruptions", "faults", "alarmed")), mtbf, mttr, *counts]


def _notes(found: Measured) -> list[str]:
    """What a reader must know before the number is repeated."""
    mute = found.jobs.filter(pl.col("interruptions") > 0, pl.col("checkpoints") == 0)
    unseen = float(found.fleet["unknown_s"][0] / found.fleet["span_s"][0])
    notes: list[tuple[bool, Callable[[], str]]] = [
        (mute.height > 0, lambda: f"{mute.height} interrupted jobs told of no checkpoint: all their work since the "
         "(re)start counts as lost (docs/checkpoint.md: how a trainer tells)."),
        (unseen > 0, lambda: f"{unseen:.1%} of the span was not observed."),
        (int(found.fleet["repairs"][0]) < int(found.fleet["interruptions"][0]), lambda: "A job that did not come back "
         "under its name ends where it stopped: what its successor waited is not in its span, nor in the MTTR."),
    ]  # fmt: skip
    return [note() for holds, note in notes if holds]


def _name(row: dict[str, Any]) -> str:
    return "FLEET" if row["job"] is None else str(row["job"])


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}"
