"""`foreshock incidents`: what is open now, its story, and a person's word on it."""

from __future__ import annotations

import argparse
import getpass
import time
from datetime import UTC, datetime
from typing import Final, TextIO

import msgspec
import polars as pl
from rich.console import Console
from rich.table import Table

from alerting.instruction import Instruction, Verb
from collector.broker import ensure_topics
from collector.config import Config
from collector.errors import ForeshockError
from collector.records import TOPIC_OPERATOR
from pipeline.lake import Lake
from pipeline.stream import open_stream

_GROUP: Final = "foreshock-operator"
_VERBS: Final[dict[str, Verb]] = {"ack": "acknowledge", "silence": "silence", "note": "note"}
_SHOWN: Final = ("incident_id", "state", "severity", "cause", "node", "gpu_index", "risk", "opened")


def run(args: argparse.Namespace, config: Config, out: TextIO) -> int:
    """Do `args.what`. Raises ForeshockError for an incident that the lake does not know."""
    now = newest(Lake(config.lake.path))
    if args.what == "list":
        _list(
            now if args.all else now.filter(pl.col("state").is_in(("open", "failed"))), out, as_json=args.json
        )
        return 0
    found = _one(now, args.incident)
    if args.what == "show":
        print(found["summary"], file=out)
        return 0
    tell(_instruction(args, str(found["incident_id"])), config)
    print(f"{found['incident_id']}: told the watcher; it is in the incident's story within seconds", file=out)
    return 0


def newest(lake: Lake) -> pl.DataFrame:
    """The last row of every incident, the newest first."""
    rows = lake.read("incidents").sort("time", maintain_order=True)
    return rows.unique("incident_id", keep="last", maintain_order=True).sort("opened", descending=True)


def _one(now: pl.DataFrame, wanted: str | None) -> dict[str, object]:
    """The incident whose name is, or begins or ends with, `wanted`."""
    if wanted is None:
        raise ForeshockError("which incident?", hint="foreshock incidents lists them")
    exact = now.filter(pl.col("incident_id") == wanted)
    name = pl.col("incident_id")
    found = exact if exact.height else now.filter(name.str.starts_with(wanted) | name.str.ends_with(wanted))
    if found.height != 1:
        raise ForeshockError(
            f"{wanted}: {'no such incident' if found.is_empty() else f'{found.height} incidents are called so'}",
            hint="foreshock incidents list --all",
        )
    return found.row(0, named=True)


def _instruction(args: argparse.Namespace, incident_id: str) -> Instruction:
    verb, now_s = _VERBS[args.what], time.time()
    if verb == "note" and not args.text:
        raise ForeshockError("a note without a text", hint="foreshock incidents note ID --text TEXT")
    if verb == "silence" and args.hours <= 0:
        raise ForeshockError(f"a silence of {args.hours:g} hours", hint="give --for HOURS above 0")
    until_s = now_s + args.hours * 3600 if verb == "silence" else None
    text = args.text
    if until_s is not None:
        text = f"until {datetime.fromtimestamp(until_s, UTC):%Y-%m-%d %H:%M} UTC {text}".rstrip()
    return Instruction(
        time=now_s,
        incident_id=incident_id,
        verb=verb,
        by=args.by or getpass.getuser(),
        text=text,
        until_s=until_s,
    )


def tell(told: Instruction, config: Config) -> None:
    """Send it to the watcher. Raises ForeshockError where the stream cannot be written."""
    if config.kafka.bootstrap_servers:
        ensure_topics(config.kafka, [config.kafka.topic_prefix + TOPIC_OPERATOR])
    stream = open_stream(config, _GROUP, ())
    try:
        stream.publish(TOPIC_OPERATOR, told.incident_id, msgspec.json.encode(told))
        stream.flush()
    finally:
        stream.close()


def _list(rows: pl.DataFrame, out: TextIO, *, as_json: bool) -> None:
    if as_json:
        out.write(rows.drop("evidence").write_json() + "\n")
        return
    if rows.is_empty():
        print("No open incidents.", file=out)
        return
    table = Table(*(n.replace("_", " ") for n in _SHOWN), box=None)
    for row in rows.iter_rows(named=True):
        table.add_row(*(_cell(row[n]) for n in _SHOWN))
    Console(file=out, width=None if out.isatty() else 200).print(table)


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
