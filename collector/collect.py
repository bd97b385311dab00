"""`foreshock collect`: the agent as a service, for one tick, or on the terminal."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import msgspec

from collector import broker, health_check, metrics
from collector.agent import Agent
from collector.batch import Row
from collector.clock import to_datetime
from collector.config import Config
from collector.errors import ForeshockError
from collector.notify import Notifier
from collector.records import COLUMNS, TOPIC_EVENTS
from collector.shipper import Shipper
from collector.spool import Spool
from collector.watchdog import NvmlUnavailableError

log = logging.getLogger(__name__)

_RESERVE_BYTES = 8 * 2**20
"""Disk held back for events. An event is about half a kilobyte."""


def to_spool(config: Config, stop: threading.Event) -> int:
    """Run the agent until `stop`; with a broker configured, ship as well."""
    spool = Spool(config.spool.path, config.spool.max_mib, reserve_bytes=_RESERVE_BYTES)
    agent = Agent(config.collector, spool, config.make_clock(), _journal(config.spool.path), Notifier())
    shipper = None
    if config.kafka.bootstrap_servers:
        shipper = Shipper(spool, lambda: broker.producer(config.kafka), config.kafka.topic_prefix)
        shipper.start()
    if config.collector.listen:
        metrics.serve(config.collector.listen, lambda: agent.status(shipper.state() if shipper else None))
    asked = health_check.serve(config.collector, lambda: agent.status().gpu_problems())
    log.info("agent of %s started, pid %d", config.collector.node, os.getpid())
    try:
        agent.run(stop)
    finally:
        asked.close()
    if shipper is not None:
        shipper.finish(timeout_s=5.0)
    spool.close()
    return 0


def _journal(spool: Path) -> Path:
    return spool.with_suffix(".journal")


def once(config: Config, *, to_stdout: bool, out: TextIO) -> int:
    """One tick. Raises ForeshockError when there is no NVML."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "spool.db" if to_stdout else config.spool.path
        spool = Spool(path, config.spool.max_mib)
        agent = Agent(config.collector, spool, config.make_clock(), _journal(path))
        try:
            rows = agent.tick()
        except NvmlUnavailableError as e:
            raise ForeshockError(f"NVML: {e}", hint="foreshock doctor") from e
        finally:
            agent.close()
            spool.close()
    if to_stdout:
        _print_rows(rows, out)
    return 0


def stream_to_stdout(config: Config, out: TextIO, stop: threading.Event) -> int:
    """The agent with the terminal as its sink, until `stop`."""
    clock = config.make_clock()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "spool.db"
        spool = Spool(path, config.spool.max_mib)
        agent = Agent(config.collector, spool, clock, _journal(path))
        after = 0
        agent.start(stop)
        try:
            while not stop.is_set():
                try:
                    _print_rows(agent.tick(), out)
                except NvmlUnavailableError as e:
                    raise ForeshockError(f"NVML: {e}", hint="foreshock doctor") from e
                for record in spool.read([TOPIC_EVENTS], after, 1000):
                    after = record.seq
                    out.write(record.value.decode() + "\n")
                out.flush()
                clock.sleep(config.collector.interval_s)
        finally:
            agent.close()
            spool.close()
    return 0


def _print_rows(rows: Sequence[Row], out: TextIO) -> None:
    for row in rows:
        named = dict(zip(COLUMNS, row, strict=True))
        named["time"] = to_datetime(int(str(named["time"])) / 1e6).isoformat()
        out.write(msgspec.json.encode(named).decode() + "\n")
