"""The demo's live view: eight GPUs, their risk, the job, and what happened, newest last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from collector.clock import hms
from demo.happenings import Chronicle, Happening

_BAR = 20
_LINES = 14
_STYLES = ("dim", "", "bold")

Show = Callable[[float], None]
"""Called with the elapsed cluster time in seconds."""


@contextmanager
def live(speed: float, chronicle: Chronicle, *, silent: bool, plain: bool, out: TextIO) -> Iterator[Show]:
    """A screen on a terminal, a line per happening elsewhere, nothing when `silent`."""
    console = Console(file=out)
    if silent:
        yield lambda _elapsed_s: None
    elif plain or not console.is_terminal:
        yield _printer(console, speed, chronicle)
    else:
        with Live(console=console, refresh_per_second=4, transient=False) as screen:
            yield lambda elapsed_s: screen.update(_screen(speed, chronicle, elapsed_s))


def _printer(console: Console, speed: float, chronicle: Chronicle) -> Show:
    console.print(f"cluster time runs {speed:g} times faster than the clock; the fault is synthetic")
    printed: set[Happening] = set()

    def show(elapsed_s: float) -> None:
        for happening in chronicle.until(chronicle.start_unix_s + elapsed_s):
            if happening not in printed:
                printed.add(happening)
                console.print(_line(happening), soft_wrap=True)

    return show


def _screen(speed: float, chronicle: Chronicle, elapsed_s: float) -> Group:
    now_s = chronicle.start_unix_s + elapsed_s
    head = Text.assemble(
        ("Foreshock demo  ", "bold"),
        f"{hms(now_s)} UTC on the cluster, minute {elapsed_s / 60:4.1f}  ",
        (f"time x{speed:g}  ", "yellow"),
        ("the fault is SYNTHETIC", "yellow"),
    )
    recent = chronicle.until(now_s)[-_LINES:]
    log = Text("\n").join(_line(h) for h in recent)
    return Group(
        head, _gpus(chronicle), _job(chronicle), Panel(log, title="what happened", height=_LINES + 2)
    )


def _gpus(chronicle: Chronicle) -> Table:
    table = Table(expand=True, box=None, header_style="dim")
    for name in ("GPU", "state", "temp", "power", "SM", "NVLink CRC", "risk within the hour"):
        table.add_column(name, justify="left" if name in ("state", "risk within the hour") else "right")
    for row in chronicle.gpus.iter_rows(named=True):
        lost = row["gpu_state"] != "ok"
        table.add_row(
            str(row["gpu_index"]),
            Text(row["gpu_state"], style="bold red" if lost else "green"),
            _number(row["temperature_c"], "C"),
            _number(row["power_w"], "W"),
            _number(row["sm_util_pct"], "%"),
            _number(row["nvlink_crc_flit_errors"], ""),
            _risk(row["risk"]),
        )
    return table


def _number(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:,.0f} {unit}".strip()


def _risk(risk: float | None) -> Text:
    if risk is None:
        return Text("-", style="dim")
    filled = round(risk * _BAR)
    style = "red" if risk >= 0.5 else "yellow" if risk >= 0.05 else "green"
    return Text.assemble(("#" * filled, style), ("." * (_BAR - filled), "dim"), f" {risk:.2f}")


def _job(chronicle: Chronicle) -> Text:
    if chronicle.job_ended_s is not None:
        return Text("job: dead; its GPU is gone", style="bold red")
    step, loss = chronicle.status.get("step"), chronicle.status.get("loss")
    text = "job: starting" if step is None else f"job: training, step {step}, loss {loss:.4f}"
    saved = chronicle.checkpoint
    return Text(
        text + (f"; last checkpoint at step {saved.step}" if saved else "; no checkpoint yet"), style="cyan"
    )


def _line(h: Happening) -> Text:
    return Text.assemble(
        (hms(h.time_s), "dim"),
        "  ",
        (f"{h.who:8} ", "cyan"),
        (h.text, _STYLES[h.weight]),
        overflow="ellipsis",
        no_wrap=True,
    )
