"""`foreshock sql`: one query in, a table for people or JSON and CSV for programs out."""

from __future__ import annotations

import csv
import json
import sys
from datetime import datetime
from typing import Final, Literal, TextIO

import msgspec
import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from collector.config import Config
from pipeline.sql import Desk, connect

Format = Literal["table", "json", "csv"]

ROWS: Final[dict[Format, int]] = {"table": 1_000, "json": 1_000_000, "csv": 1_000_000}
"""Rows printed before the output is cut, and says so."""

_WIDEST_CELL: Final = 60
_LONGEST_CELL: Final = 200
"""Characters; what a table cuts is whole in JSON, in CSV and in the one-column-a-line form."""


def run(
    query: str, config: Config, out: TextIO, *, fmt: Format = "table", row_limit: int | None = None
) -> int:
    """Answer `query` (`-` reads it from standard input, empty lists the views) on `out`; 0 when answered.

    Raises ForeshockError for what may not be asked, fails or takes too long.
    """
    from pipeline.lake import Lake

    text = sys.stdin.read() if query == "-" else query
    with connect(Lake(config.lake.path).files, config.lake.path) as desk:
        rows = desk.query(text, row_limit=_limit(fmt, row_limit) + 1) if text.strip() else _views(desk)
    kept = rows.head(_limit(fmt, row_limit))
    {"table": _print_table, "json": _print_json, "csv": _print_csv}[fmt](kept, out)
    if kept.height < rows.height:
        # beside the rows, never among them: a program reads those
        note = out if fmt == "table" else sys.stderr
        print(f"cut after {kept.height} rows: aggregate, or ask with LIMIT and OFFSET", file=note)
    return 0


def _limit(fmt: Format, row_limit: int | None) -> int:
    return ROWS[fmt] if row_limit is None else row_limit


def _views(desk: Desk) -> pl.DataFrame:
    return pl.DataFrame(
        [{"ask": view.name, "for": view.comment} for view in desk.views()],
        schema={"ask": pl.String, "for": pl.String},
    )


def _print_json(rows: pl.DataFrame, out: TextIO) -> None:
    """One JSON array, one row a line, so that both `jq` and `grep` can read it."""
    lines = (msgspec.json.encode(row).decode() for row in rows.iter_rows(named=True))
    out.write("[" + ",".join("\n" + line for line in lines) + ("\n" if rows.height else "") + "]\n")


def _print_csv(rows: pl.DataFrame, out: TextIO) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(rows.columns)
    for row in rows.iter_rows():
        writer.writerow([_plain(value) for value in row])


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | dict | bytes):
        return msgspec.json.encode(value).decode()
    return value


def _print_table(rows: pl.DataFrame, out: TextIO) -> None:
    console = Console(file=out, highlight=False, width=None if out.isatty() else 10_000)
    cells = [[_cell(value) for value in row] for row in rows.iter_rows()]
    widths = [
        max([len(name), *(min(len(row[i]), _WIDEST_CELL) for row in cells)])
        for i, name in enumerate(rows.columns)
    ]
    if sum(widths) + 3 * len(widths) > console.width and rows.height:
        _print_records(rows, cells, console)
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for name, kind in rows.schema.items():
        table.add_column(Text(name), justify="right" if kind.is_numeric() else "left", overflow="fold")
    for row in cells:
        table.add_row(
            *(Text(cell if len(cell) <= _LONGEST_CELL else cell[:_LONGEST_CELL] + "…") for cell in row)
        )
    console.print(table)


def _print_records(rows: pl.DataFrame, cells: list[list[str]], console: Console) -> None:
    """Wider than the screen: one column a line, one block a row."""
    name_width = max(len(name) for name in rows.columns)
    for number, row in enumerate(cells, start=1):
        console.rule(f"row {number}", align="left", style="dim")
        for name, cell in zip(rows.columns, row, strict=True):
            console.print(Text(f"{name:<{name_width}}  {cell}"), soft_wrap=True)


def _cell(value: object) -> str:
    match value:
        case None:
            return "NULL"
        case float():
            return f"{value:.6g}"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}" + (f".{value.microsecond:06d}" if value.microsecond else "")
        case list() | dict():
            return json.dumps(value, default=str, ensure_ascii=False)
        case _:
            return str(value)
