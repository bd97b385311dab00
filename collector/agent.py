"""The agent's loop: NVML ticks and kernel lines in, spooled records out.

Three threads: the tick loop, the kernel log reader and (with a broker) the shipper. None waits for another.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque

import msgspec

from collector import kmsg, xid
from collector.batch import Row, encode
from collector.clock import Clock
from collector.config import CollectorConfig
from collector.fold import Folder
from collector.nvml import Identity
from collector.records import READINGS, TOPIC_EVENTS, TOPIC_TELEMETRY, Event, EventKind, EventSource
from collector.spool import Spool
from collector.watchdog import GpuRow, Happening, NvmlUnavailableError, Watchdog

log = logging.getLogger(__name__)

_KMSG_POLL_S = 0.05
_NVML_GRACE_S = 0.2
"""An Xid from NVML waits this long for its kernel line, which also knows the process (real seconds)."""
_NVML_RETRY_S = 10.0
_KNOW_GPUS_S = 5.0
_EVENTS_IN_MEMORY = 10_000
_NO_READINGS = (None,) * len(READINGS)


class Agent:
    """Samples this node into `spool` until stopped."""

    def __init__(self, config: CollectorConfig, spool: Spool, clock: Clock) -> None:
        self._config = config
        self._spool = spool
        self._clock = clock
        self._folder = Folder(config.fold_s)
        self._lock = threading.Lock()
        self._rows: list[Row] = []
        self._unsaved: deque[Event] = deque(maxlen=_EVENTS_IN_MEMORY)
        self._held: deque[tuple[float, Event]] = deque()
        self._known = threading.Event()
        self._reader: threading.Thread | None = None
        self._watchdog = Watchdog(
            library=config.nvml_library,
            deadline_s=config.deadline_s,
            retry_s=config.hang_retry_s,
            retry_max_s=config.hang_retry_max_s,
            now_s=clock.time_s,
            notify=self._on_happening,
            on_xid=self._on_nvml_xid,
        )
        self.samples = 0
        self.lost_flushes = 0
        """Telemetry records that the disk would not take."""

    def run(self, stop: threading.Event) -> None:
        """Tick every `interval_s` and flush every `flush_s` until `stop` is set."""
        self.start(stop)
        config, clock = self._config, self._clock
        next_tick = clock.time_s()
        next_flush = next_tick + config.flush_s
        try:
            while not stop.is_set():
                self._tick_or_wait(stop)
                if clock.time_s() >= next_flush:
                    self.flush()
                    next_flush += config.flush_s * max(1, 1 + (clock.time_s() - next_flush) // config.flush_s)
                now = clock.time_s()
                # Ticks stay on their grid; those that were missed are missed, and the gap column says so.
                next_tick += config.interval_s * max(1, 1 + (now - next_tick) // config.interval_s)
                clock.sleep(next_tick - now)
        finally:
            self.close()

    def start(self, stop: threading.Event) -> None:
        """Begin to follow the kernel log, until `stop`."""
        self._reader = threading.Thread(target=self._follow_kmsg, args=(stop,), name="kmsg", daemon=True)
        self._reader.start()

    def close(self) -> None:
        """Save what is in memory and end the NVML process. `stop` must be set if the agent was started."""
        if self._reader is not None:
            self._reader.join(timeout=2.0)
        self.flush()
        self._watchdog.close()

    def _tick_or_wait(self, stop: threading.Event) -> None:
        try:
            self.tick()
        except NvmlUnavailableError as e:
            self._known.set()
            log.warning("no NVML: %s; trying again in %.0f s (kernel log still followed)", e, _NVML_RETRY_S)
            stop.wait(_NVML_RETRY_S)

    def tick(self) -> list[Row]:
        """Poll every GPU once; its rows (also kept for the next flush). Raises NvmlUnavailableError."""
        time_s = self._clock.time_s()
        rows = [self._row(time_s, r) for r in self._watchdog.tick()]
        self._known.set()
        self._rows += rows
        self.samples += len(rows)
        return rows

    def _row(self, time_s: float, gpu: GpuRow) -> Row:
        who = gpu.identity
        return (
            round(time_s * 1e6), self._config.node, who.uuid, who.index, who.pci_bdf, self._config.synthetic,
            gpu.state, gpu.nvml_return, gpu.latency_us, gpu.gap_s,
            *(_NO_READINGS if gpu.values is None else gpu.values),
        )  # fmt: skip

    def flush(self) -> None:
        """Put the rows since the last flush into the spool as one record, and events the disk refused."""
        while self._unsaved and self._save(self._unsaved[0]):
            self._unsaved.popleft()
        rows, self._rows = self._rows, []
        if not rows:
            return
        try:
            self._spool.append(TOPIC_TELEMETRY, self._config.node, encode(rows))
        except sqlite3.Error as e:
            self.lost_flushes += 1
            log.error("spool refuses telemetry (%d lost so far): %s", self.lost_flushes, e)

    def _follow_kmsg(self, stop: threading.Event) -> None:
        # Old lines name PCI addresses: know the GPUs first, but never wait long for a hung driver.
        self._known.wait(_KNOW_GPUS_S)
        source = self._open_kmsg()
        while not stop.is_set():
            if source is None:
                stop.wait(_KMSG_POLL_S)
            else:
                for line in source.poll(_KMSG_POLL_S):
                    self._on_kernel_line(line)
            self._release_held()
        if source is not None:
            source.close()

    def _open_kmsg(self) -> kmsg.KernelLog | None:
        path = self._config.kmsg
        if not path:
            return None
        same_boot = self._spool.fact("kmsg_boot_id") == kmsg.boot_id()
        after = int(self._spool.fact("kmsg_sequence") or -1) if same_boot and path == "/dev/kmsg" else -1
        try:
            return kmsg.KernelLog(
                path, accept_userspace=self._config.kmsg_accept_userspace, after_sequence=after
            )
        except OSError as e:
            log.warning("kernel log %s: %s; Xids will come from NVML alone", path, e.strerror)
            return None

    def _on_kernel_line(self, line: kmsg.KernelLine) -> None:
        found = xid.decode(line.text)
        if found is not None and not found.detail:
            gpu = self._gpu_at(found.pci_bdf)
            self._emit(
                Event(
                    fingerprint="", kind=_kind(found.kind), source="kmsg", node=self._config.node,
                    time=self._clock.time_s() if line.time_s is None else line.time_s,
                    gpu_uuid=gpu.uuid if gpu else None, gpu_index=gpu.index if gpu else None,
                    pci_bdf=found.pci_bdf, code=found.code, pid=found.pid, process=found.process,
                    text=found.text, root_code=found.root_code, recovery_action=found.recovery_action,
                    synthetic=self._config.synthetic,
                )
            )  # fmt: skip
        if line.sequence is not None and line.time_s is not None and found is not None:
            self._spool.set_fact("kmsg_boot_id", kmsg.boot_id())
            self._spool.set_fact("kmsg_sequence", line.sequence)

    def _gpu_at(self, pci_bdf: str | None) -> Identity | None:
        return next((g for g in self._watchdog.identities() if g.pci_bdf == pci_bdf), None)

    def _on_nvml_xid(self, gpu: Identity | None, code: int) -> None:
        event = self._event("xid", "nvml", gpu, f"Xid {code} by NVML event", code)
        self._held.append((time.monotonic() + _NVML_GRACE_S, event))

    def _release_held(self) -> None:
        while self._held and self._held[0][0] <= time.monotonic():
            self._emit(self._held.popleft()[1])

    def _on_happening(self, happening: Happening, gpu: Identity | None, text: str) -> None:
        self._emit(self._event(happening, "agent", gpu, text, None))

    def _event(
        self, kind: EventKind, source: EventSource, gpu: Identity | None, text: str, code: int | None
    ) -> Event:
        return Event(
            fingerprint="", time=self._clock.time_s(), node=self._config.node, kind=kind, source=source,
            gpu_uuid=gpu.uuid if gpu else None, gpu_index=gpu.index if gpu else None,
            pci_bdf=gpu.pci_bdf if gpu else None, code=code, text=text, synthetic=self._config.synthetic,
        )  # fmt: skip

    def _emit(self, event: Event) -> None:
        with self._lock:
            told = self._folder.offer(event)
            if told is not None and not self._save(told):
                self._unsaved.append(told)

    def _save(self, event: Event) -> bool:
        try:
            self._spool.append(TOPIC_EVENTS, event.node, msgspec.json.encode(event))
        except sqlite3.Error as e:
            log.error("spool refuses an event, kept in memory: %s", e)
            return False
        return True


def _kind(decoded: str) -> EventKind:
    return "sxid" if decoded == "sxid" else "gpu_lost" if decoded == "gpu_lost" else "xid"
