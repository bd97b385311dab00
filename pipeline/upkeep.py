"""The lake keeps itself: small files become sorted larger ones, old days go, dead files and old commits too.

Safe beside any number of writers and readers, and beside itself: a round that loses a race leaves the lake as it
was. Readers of a snapshot find its files for `vacuum_after_s` more. Nothing else may rewrite the lake's files
(`DeltaTable.optimize` among them): see `lake_files.REWRITES`.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from collector.clock import Clock, to_datetime
from collector.config import UpkeepConfig
from pipeline.compaction import choose, write
from pipeline.lake import Lake, time_column
from pipeline.lake_files import exchange, list_files, root
from pipeline.tables import TABLES

log = logging.getLogger(__name__)

_CHECKPOINT_EVERY: Final = 10
"""Commits. A writer makes one every hundred (pipeline/lake.py); a quiet table's log is cleaned by these."""
_KEPT_DAYS: Final = {"telemetry": "telemetry_days", "rollups": "rollup_days", "predictions": "rollup_days"}


@contextlib.contextmanager
def _alone(lake: Path) -> Iterator[bool]:
    """Whether nobody else on this machine keeps `lake` at this moment: two rounds at once only waste work."""
    lake.mkdir(parents=True, exist_ok=True)
    with (lake / ".upkeep.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@dataclass
class Report:
    """What one round did. `beaten` counts exchanges that somebody else's came before; they are tried next round."""

    merged: int = 0
    made: int = 0
    expired: int = 0
    deleted: int = 0
    beaten: int = 0
    rows_by_table: dict[str, int] = field(default_factory=dict)
    """Rows that were rewritten."""


class Upkeep:
    """Call `run_due` between two flushes, or `run` in a thread of its own. Not for two threads at once."""

    def __init__(self, lake: Lake, policy: UpkeepConfig) -> None:
        self._lake = lake
        self._policy = policy
        self._last: datetime | None = None
        self._checkpointed: dict[str, int] = {}

    def run_due(self, now: datetime) -> Report | None:
        """One round if `every_s` has passed since the last one. At most one merge per table and round."""
        due = self._last is None or (now - self._last).total_seconds() >= self._policy.every_s
        if not (self._policy.enabled and due):
            return None
        self._last = now
        return self.round(now, merges=1)

    def run(self, stop: threading.Event, clock: Clock) -> None:
        """Rounds until `stop`, each with all the merges that are due. A round that fails is logged and repeated."""
        while not stop.wait(min(self._policy.every_s, 1.0)):
            now = to_datetime(clock.time_s())
            if self._last is not None and (now - self._last).total_seconds() < self._policy.every_s:
                continue
            self._last = now
            try:
                with _alone(self._lake.path) as alone:
                    if alone:
                        self.round(now)
            except Exception:
                log.exception("upkeep of %s failed; the lake is as it was, next try later", self._lake.path)

    def start(self, stop: threading.Event, clock: Clock) -> None:
        """`run` in a thread of its own. Any number of workers may: on one machine one of them has the turn."""
        if self._policy.enabled:
            threading.Thread(target=self.run, args=(stop, clock), name="upkeep", daemon=True).start()

    def round(self, now: datetime, merges: int | None = None) -> Report:
        """Everything that is due, with at most `merges` merges per table.

        Raises ForeshockError where a table cannot be read, OSError where the disk is full.
        """
        report = Report()
        for name in TABLES:
            found = self._lake.open(name)
            if found is None:
                continue
            self._settle(found)
            self._expire(name, now.date(), report)
            self._merge(name, now.date(), merges, report)
            self._sweep(name, report)
        log.info("upkeep: %s", report)
        return report

    def _expire(self, name: str, today: date, report: Report) -> None:
        days = getattr(self._policy, _KEPT_DAYS[name]) if name in _KEPT_DAYS else 0.0
        table = self._lake.open(name)
        if not days or table is None:
            return
        old = [f for f in list_files(table) if f.day < today - timedelta(days=days)]
        if old and exchange(table, old, [], lost=True):
            report.expired += len(old)
        elif old:
            report.beaten += 1

    def _merge(self, name: str, today: date, merges: int | None, report: Report) -> None:
        table = self._lake.open(name)
        groups = choose(list_files(table), self._policy, today)[:merges] if table else []
        for group in groups:
            # each merge against the newest snapshot: the one before it moved the transaction on
            table = self._lake.open(name)
            if table is None or not set(group) <= set(list_files(table)):
                report.beaten += 1
                continue
            made = write(root(table), group, time_column(name), self._policy.memory_mib)
            if made.rows != sum(f.rows for f in group) or not exchange(table, group, [made], lost=False):
                (root(table) / made.path).unlink()
                report.beaten += 1
                continue
            report.merged += len(group)
            report.made += 1
            report.rows_by_table[name] = report.rows_by_table.get(name, 0) + made.rows

    def _sweep(self, name: str, report: Report) -> None:
        """Delete files that no snapshot of the last `vacuum_after_s` had, and commits that a checkpoint holds."""
        table = self._lake.open(name)
        if table is None:
            return
        # full: also what a killed writer left, which no commit names
        if dead := table.vacuum(dry_run=True, enforce_retention_duration=False, full=True):
            table.vacuum(dry_run=False, enforce_retention_duration=False, full=True)  # two commits of its own
            report.deleted += len(dead)
        table.update_incremental()
        if table.version() > self._checkpointed.get(name, 0) + _CHECKPOINT_EVERY:
            table.create_checkpoint()
            table.cleanup_metadata()
            self._checkpointed[name] = table.version()

    def _settle(self, table: DeltaTable) -> None:
        """The table's own properties follow the policy."""
        wanted = {
            "delta.deletedFileRetentionDuration": f"interval {self._policy.vacuum_after_s:.0f} seconds",
            "delta.logRetentionDuration": f"interval {self._policy.log_days * 86_400:.0f} seconds",
        }
        if any(table.metadata().configuration.get(key) != value for key, value in wanted.items()):
            try:
                table.alter.set_table_properties(dict(wanted))
            except CommitFailedError:
                log.info("upkeep: %s changes right now, its properties later", table.table_uri)
