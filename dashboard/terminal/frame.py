"""One frame of `foreshock top`, drawn with rich: header, riskiest GPUs, open incidents, one character per node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import polars as pl
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from dashboard.terminal.rows import MARKS, Look, counts, nodes, riskiest

_STYLES: Final = {
    "calm": "dim", "unscored": "dim", "watch": "yellow", "silent": "cyan", "alarm": "bold red", "error": "bold yellow",
    "hung": "bold magenta", "lost": "bold white on red",
}  # fmt: skip
_WORDS: Final = {
    "calm": "calm", "watch": "half the alarm level", "alarm": "at the alarm level", "lost": "lost or missing",
    "hung": "hung", "error": "error", "silent": "silent or unread", "unscored": "never scored",
}  # fmt: skip
_FRESH: Final = {"live": "green", "demo": "blue", "late": "yellow", "stale": "bold red"}
_NUMBERS: Final = frozenset({"risk", "alarm", "temp", "power"})
_SENTENCES: Final = frozenset({"why", "what", "what was done"})
_LEAST: Final = 14
_GPUS: Final = 8
_INCIDENTS: Final = 6
_NAME: Final = 14
_GRID_ROWS: Final = 24
_BAR: Final = 10


def frame(look: Look, console: Console, height: int | None = None) -> RenderableType:
    """What is shown on `console`, at most about `height` lines (None: as long as it must be)."""
    if look.fleet.is_empty():
        return Group(_header(look), Text("No GPU here: no telemetry yet, or no node of that name."),
                     Text("Try: foreshock doctor, or watch it all on simulated GPUs: foreshock demo"))  # fmt: skip
    short = height is not None and height < 32
    gpus, incidents = (4, 2) if short else (_GPUS, _INCIDENTS)
    parts = [
        _header(look),
        Text(),
        _riskiest(look, console, gpus),
        Text(),
        _incidents(look, console, incidents),
        Text(),
    ]
    used = 12 + gpus + min(incidents, look.incidents.height)
    rows = _GRID_ROWS if height is None else max(2, height - used)
    return Group(*parts, *_grid(nodes(look.fleet), console.width, rows))


def _header(look: Look) -> Text:
    fleet = look.fleet
    head = Text.assemble(
        ("Foreshock", "bold"), f"  {fleet.height:,} GPUs on {fleet['node'].n_unique():,} nodes  "
    )
    if fleet["synthetic"].any():
        head.append("SYNTHETIC DATA", style="magenta")
    head.append(f"\n{look.word.upper()}", style=_FRESH[look.word]).append(f"  {look.sentence}\n")
    for state, count in counts(fleet).items():
        head.append(f"{count:,} {state}  ", style="" if state == "ok" else "bold")
    alarms = int((fleet["risk"] >= fleet["alarm_level"]).sum())
    head.append(f"{alarms:,} at the alarm level", style="bold red" if alarms else "")
    if look.lag_s is not None:
        head.append(f"  risks {look.lag_s:.0f} s behind")
    return head


def _riskiest(look: Look, console: Console, most: int) -> RenderableType:
    rows = riskiest(look.fleet, most)
    if not rows:
        return Text("No GPU has a risk yet: does `foreshock ingest` run?")
    table = _table("Riskiest", "GPU", "risk", "alarm", "", "state", "temp", "power", "why")
    for row in rows:
        _add(
            table, _where(row), f"{row['risk']:.2f}", f"{row['alarm_level']:.2g}", _bar(row, console),
            Text(row["state"], style=_STYLES[row["standing"]]), _with_unit(row["temperature_c"], "C"),
            _with_unit(row["power_w"], "W"), row["why"] or "nothing unusual",
        )  # fmt: skip
    return _whole(table, console.width)


def _table(title: str, *columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), title=title, title_justify="left",
                  title_style="bold", header_style="dim")  # fmt: skip
    for name in columns:
        table.add_column(
            name, no_wrap=True, overflow="ellipsis", justify="right" if name in _NUMBERS else "left"
        )
    return table


def _whole(table: Table, width: int) -> Table:
    """On a narrow screen, sentences are cut, all alike, and facts are not."""
    sentences = [column for column in table.columns if column.header in _SENTENCES]
    room = width - len(table.columns)
    for column in table.columns:
        if column.header not in _SENTENCES:
            column.min_width = max(cell_len(str(cell)) for cell in (column.header, *column.cells))
            room -= column.min_width
    for column in sentences:
        column.max_width = max(_LEAST, room // len(sentences))
    return table


def _add(table: Table, *cells: str | Text) -> None:
    """Names and kernel lines are other people's text: no markup and no control characters of theirs are obeyed."""
    table.add_row(*(cell if isinstance(cell, Text) else Text(plain(cell)) for cell in cells))


def plain(text: str) -> str:
    """`text` on one line, with what cannot be printed as `?`."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def _bar(row: Mapping[str, Any], console: Console) -> Text:
    """The risk as a bar, with the alarm level as a tick on it."""
    full, tick = ("█", "│") if console.encoding.startswith("utf") else ("=", "|")
    length = round(min(1.0, max(0.0, row["risk"])) * _BAR)
    at = min(_BAR - 1, round(row["alarm_level"] * _BAR))
    cells = [full if n < length else " " for n in range(_BAR)]
    if at >= length:
        cells[at] = tick
    return Text("".join(cells), style=_STYLES["alarm" if row["risk"] >= row["alarm_level"] else "calm"])


def _incidents(look: Look, console: Console, most: int) -> RenderableType:
    if look.incidents.is_empty():
        return Text("No incident is open.")
    table = _table(
        f"Open incidents: {look.incidents.height}", "since", "GPU", "state", "what", "what was done"
    )
    for row in look.incidents.head(most).iter_rows(named=True):
        stands = ", ".join(word for word in (row["severity"], row["state"]) if word)
        _add(
            table, f"{row['opened']:%m-%d %H:%M}" if row["opened"] else "?", _where(row), stands,
            row["summary"] or "", row["done"] or "nothing yet",
        )  # fmt: skip
    return _whole(table, console.width)


def _where(row: Mapping[str, Any]) -> str:
    return str(row["node"]) if row["gpu_index"] is None else f"{row['node']} {row['gpu_index']}"


def _with_unit(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.0f} {unit}"


def _grid(found: pl.DataFrame, width: int, rows: int) -> list[Text]:
    """One character per node; where there are too many, one per so many nodes, and the worst of them."""
    across = max(8, min(100, (width - _NAME - 1) // 10 * 10))
    per_mark = max(1, -(-found.height // (across * rows)))
    names, standings = found["node"].to_list(), found["standing"].to_list()
    order = list(MARKS)
    marks = [
        max(standings[start : start + per_mark], key=order.index)
        for start in range(0, found.height, per_mark)
    ]
    title = "Nodes, one mark each" if per_mark == 1 else f"Nodes, one mark for {per_mark} (the worst of them)"
    lines = [Text(title, style="bold")]
    for start in range(0, len(marks), across):
        line = Text(f"{_cut(names[start * per_mark]):<{_NAME}} ", style="dim", no_wrap=True)
        for standing in marks[start : start + across]:
            line.append(MARKS[standing], style=_STYLES[standing])
        lines.append(line)
    return [*lines, _legend(set(standings), width)]


def _cut(name: str) -> str:
    """Names of one site differ at their end."""
    return plain(name if len(name) <= _NAME else "~" + name[1 - _NAME :])


def _legend(seen: set[str], width: int) -> Text:
    """What the marks that are seen mean, broken between them only."""
    told = [f"{MARKS[standing]} {word}" for standing, word in _WORDS.items() if standing in seen]
    lines = [""]
    for item in told:
        if len(lines[-1]) + len(item) + 3 > width:
            lines.append("")
        lines[-1] += item + "   "
    return Text("\n".join(line.rstrip() for line in lines), style="dim")
