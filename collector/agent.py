"""The agent's loop: ticks in, spooled records out. Samples of an open batch survive kill -9 in the journal."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from collector import journal
from collector.batch import Row, encode
from collector.checkpoints import CheckpointWatch
from collector.clock import Clock
from collector.config import CollectorConfig
from collector.events import EventDesk
from collector.identity import Facts, Identity
from collector.journal import Journal
from collector.notify import Notifier
from collector.records import TOPIC_INVENTORY, TOPIC_TELEMETRY, Inventory
from collector.source import DcgmSource, NvmlSource, Source
from collector.spool import Spool
from collector.status import Shipping, Status
from collector.watchdog import NvmlUnavailableError

log = logging.getLogger(__name__)

_NVML_RETRY_S: Final = 10.0
_ROWS_IN_MEMORY: Final = 4_000
"""What waits for a full disk; beyond it the oldest samples are dropped and counted."""
_REFUSED: Final = "refused_rows"
_GPUS: Final = "gpus"


class Agent:
    """Samples this node into `spool` until stopped. Its journal lies beside the spool."""

    def __init__(
        self,
        config: CollectorConfig,
        spool: Spool,
        clock: Clock,
        journal_path: Path,
        notifier: Notifier | None = None,
    ) -> None:
        self._config = config
        self._spool = spool
        self._clock = clock
        self._notifier = notifier or Notifier("")
        self._journal = Journal(journal_path, int(spool.fact(journal.FACT) or 0))
        self._rows: list[Row] = self._journal.recover()
        self._nvml_error: str | None = None
        self._states: Counter[str] = Counter()
        self._looped_at_s = time.monotonic()
        self._done = (0, 0)
        """Ticks and samples, as one value: another thread reads them together."""
        self._tick_s = 0.0
        self._refused = 0
        self._events = EventDesk(config, spool, clock, self._identities, self._job)
        self._source: Source = (
            DcgmSource(config, clock, self._events)
            if config.dcgm_url
            else NvmlSource(config, clock, self._events, self._met, _remembered(spool))
        )
        self._checkpoints = (
            CheckpointWatch(config, clock, self._events.offer) if config.checkpoint_dir else None
        )

    def _job(self, gpu_uuid: str | None) -> str | None:
        return self._source.job(gpu_uuid)

    def _identities(self) -> Iterable[Identity]:
        return self._source.identities()

    def _met(self, gpu: Identity, facts: Facts) -> None:
        """A GPU was met, or something about it changed: tell who it is, once."""
        config = self._config
        place = {
            "time": self._clock.time_s(), "node": config.node, "gpu_uuid": gpu.uuid, "gpu_index": gpu.index,
            "pci_bdf": gpu.pci_bdf, "synthetic": config.synthetic,
        }  # fmt: skip
        known = msgspec.convert(facts | place, Inventory)
        try:
            self._spool.set_fact(_GPUS, msgspec.json.encode(list(self._identities())).decode())
            self._spool.append(TOPIC_INVENTORY, config.node, msgspec.json.encode(known))
        except sqlite3.Error as e:
            log.warning("spool refuses the inventory of GPU %d: %s", gpu.index, e)

    def run(self, stop: threading.Event) -> None:
        """Tick every `interval_s` and flush every `flush_s` until `stop` is set."""
        config, clock = self._config, self._clock
        self.flush()  # what a killed agent left behind
        self.start(stop)
        next_tick = clock.time_s()
        next_flush = next_tick + config.flush_s
        try:
            while not stop.is_set():
                self._tick_or_wait(stop)
                if clock.time_s() >= next_flush:
                    self.flush()
                    next_flush = _next(next_flush, config.flush_s, clock.time_s())
                # Ticks stay on their grid; those that were missed are missed, and the gap column says so.
                next_tick = _next(next_tick, config.interval_s, clock.time_s())
                clock.sleep(next_tick - clock.time_s())
        finally:
            self.close()

    def start(self, stop: threading.Event) -> None:
        """Begin to follow the kernel log and the jobs' checkpoints, until `stop`."""
        self._events.start(stop)
        self._source.start(stop)
        if self._checkpoints is not None:
            self._checkpoints.start(stop)

    def close(self) -> None:
        """Save what is in memory and end the NVML process. `stop` must be set if the agent was started."""
        self._notifier.stopping()
        self._events.close()
        self.flush()
        self._source.close()
        self._journal.close()

    def _tick_or_wait(self, stop: threading.Event) -> None:
        try:
            self.tick()
        except NvmlUnavailableError as e:
            self._nvml_error = str(e)
            self._events.gpus_known.set()
            log.warning("no NVML: %s; trying again in %.0f s (kernel log still followed)", e, _NVML_RETRY_S)
            self._came_round()
            stop.wait(_NVML_RETRY_S)

    def _came_round(self) -> None:
        self._looped_at_s = time.monotonic()
        if not self._done[0]:
            self._notifier.ready(self.status().line())
        self._notifier.alive(self.status().line())

    def tick(self) -> list[Row]:
        """Poll every GPU once; its rows (also kept for the next flush). Raises NvmlUnavailableError."""
        began_s = time.monotonic()
        rows, self._states = self._source.poll()
        self._keep(rows)
        self._nvml_error = None
        self._events.gpus_known.set()
        self._tick_s = time.monotonic() - began_s
        self._came_round()
        ticks, samples = self._done
        self._done = (ticks + 1, samples + len(rows))
        return rows

    def _keep(self, rows: list[Row]) -> None:
        self._rows += rows
        try:
            self._journal.append(rows)
        except OSError as e:
            log.warning("journal: %s; the open batch is only in memory", e.strerror)

    def flush(self) -> None:
        """Put the rows since the last flush into the spool as one record, and events the disk refused."""
        self._events.save_again()
        rows = self._rows
        if not rows:
            return
        facts = {journal.FACT: self._journal.batch}
        try:
            self._spool.append(TOPIC_TELEMETRY, self._config.node, encode(rows), rows=len(rows), facts=facts)
            if self._refused:
                self._spool.add_to_fact(_REFUSED, self._refused)
                self._refused = 0
        except sqlite3.Error as e:
            log.error("spool refuses %d samples, kept in memory: %s", len(rows), e)
            excess = max(0, len(rows) - _ROWS_IN_MEMORY)
            self._refused += excess
            del rows[:excess]
            return
        self._rows = []
        self._journal.spooled()

    def status(self, shipping: Shipping | None = None) -> Status:
        """What the agent knows of itself now."""
        events, (ticks, samples) = self._events, self._done
        checkpoints = {} if self._checkpoints is None else self._checkpoints.counts()
        return Status(
            node=self._config.node, interval_s=self._config.interval_s,
            loop_age_s=time.monotonic() - self._looped_at_s, ticks=ticks, tick_s=self._tick_s,
            samples=samples, nvml_error=self._nvml_error, source={**self._source.counts(), **checkpoints},
            gpus=dict(self._states), events=dict(events.told), folded=events.folded,
            refused_lines=events.refused_lines, lost_lines=events.lost_lines, orphans=events.orphans,
            kernel_log_failures=events.source_failures, spool=self._spool.state(),
            refused_rows=int(self._spool.fact(_REFUSED) or 0) + self._refused, shipping=shipping,
        )  # fmt: skip


def _remembered(spool: Spool) -> list[Identity]:
    """The GPUs of this node as they were before a restart of the agent."""
    try:
        return msgspec.json.decode(str(spool.fact(_GPUS) or "[]"), type=list[Identity])
    except msgspec.DecodeError:
        return []  # written by another version: they will say again who they are


def _next(planned_s: float, every_s: float, now_s: float) -> float:
    """The first time on the grid of `planned_s` that lies after it and after now."""
    return planned_s + every_s * max(1.0, 1 + (now_s - planned_s) // every_s)
