"""Wires the two alerting services to the stream, the lake and a scheduler: what `watch` and `bridge` run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final

import msgspec
import polars as pl

from alerting import bridge as receiver
from alerting import watch as watcher
from alerting.action import Action, Adapter, Outcome, outcome_row
from alerting.command import CommandAdapter
from alerting.kubernetes import KubernetesAdapter
from alerting.outbox import Outbox
from alerting.rules import Rules
from alerting.settings import rules_of
from alerting.slurm import SlurmAdapter
from collector.checkpoints import KIND, checkpoint_of
from collector.clock import to_datetime
from collector.config import BridgeConfig, Config
from collector.notify import Notifier
from collector.records import Event
from pipeline.lake import Lake
from pipeline.stream import open_stream
from pipeline.tables import TABLES

log = logging.getLogger(__name__)

ADAPTERS: Final[dict[str, Callable[[BridgeConfig], Adapter]]] = {
    "slurm": SlurmAdapter,
    "kubernetes": KubernetesAdapter,
    "command": CommandAdapter,
}


def watch(config: Config, stop: threading.Event) -> None:
    """Risks and events to incidents and webhooks, until `stop`. Raises ConfigError for an unusable receiver."""
    lake = Lake(config.lake.path)
    stream = open_stream(config, config.kafka.watch_group, watcher.TOPICS)
    outbox = Outbox(config.watch.outbox)
    try:
        watcher.run(
            stream,
            lambda table, rows: _append(lake, table, rows),
            outbox,
            config.watch,
            config.make_clock(),
            stop,
            incidents=lake.read("incidents").iter_rows(named=True),
            inventory=lake.read("inventory").iter_rows(named=True),
            rules=_rules(config, lake),
        )
    finally:
        stream.close()
        outbox.close()


def _rules(config: Config, lake: Lake) -> Rules:
    """With what jobs told of their checkpoints in the last two days."""
    rules = rules_of(config.watch, config.models.registry)
    since = to_datetime(config.make_clock().time_s()) - timedelta(days=2)
    told = lake.scan("events", since=since).filter(pl.col("kind") == KIND).sort("time").collect()
    jobs = rules.jobs
    for row in told.iter_rows(named=True):
        saved = checkpoint_of(
            msgspec.convert({**row, "time": row["time"].timestamp(), "last_time": None}, Event)
        )
        jobs = jobs if saved is None else jobs.seen(saved)
    return replace(rules, jobs=jobs)


def bridge(config: Config, adapter: str, stop: threading.Event) -> None:
    """Webhooks to `adapter` (a key of ADAPTERS), until `stop`; what came of each is a row of `actions`."""
    lake, clock = Lake(config.lake.path), config.make_clock()

    def told(action: Action, outcome: Outcome) -> None:
        _append(lake, "actions", [msgspec.structs.asdict(outcome_row(action, outcome, clock.time_s()))])

    def ready(host: str, port: int) -> None:
        mode = "dry run" if config.bridge.dry_run else "armed"
        log.info("bridge to %s (%s) listens on %s:%d", adapter, mode, host, port)
        Notifier().ready(f"{adapter}, {mode}")

    receiver.serve(config.bridge, ADAPTERS[adapter](config.bridge), stop, ready=ready, told=told)


def _append(lake: Lake, table: str, rows: list[dict[str, object]]) -> None:
    lake.append(table, pl.DataFrame(rows, schema=TABLES[table], orient="row"))
