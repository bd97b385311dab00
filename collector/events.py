"""The agent's events: kernel lines and NVML events in, folded, saved before anything else.

The kernel log has a thread of its own here, so that no hang of the driver and no full broker delays an Xid.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from collector import kmsg, xid
from collector.clock import Clock
from collector.config import CollectorConfig
from collector.fold import Fold, line_fingerprint
from collector.identity import Identity
from collector.records import TOPIC_EVENTS, Event, EventKind, EventSource
from collector.spool import Spool

log = logging.getLogger(__name__)

_NVML_GRACE_S: Final = 0.2
"""An Xid from NVML waits this long for its kernel line, which also knows the process (real seconds)."""
_IDLE_S: Final = 1.0
_UNSETTLED_S: Final = 0.1
_OPEN_AGAIN_S: Final = 10.0
_KNOW_GPUS_S: Final = 5.0
_IN_MEMORY: Final = 10_000

Facts = Mapping[str, str | int]


class EventDesk:
    """Turns what is seen into events in `spool`. `identities` gives the GPUs known so far, `job` who holds one."""

    def __init__(
        self,
        config: CollectorConfig,
        spool: Spool,
        clock: Clock,
        identities: Callable[[], Iterable[Identity]],
        job: Callable[[str | None], str | None],
    ) -> None:
        self._config = config
        self._spool = spool
        self._clock = clock
        self._identities = identities
        self._job = job
        self._fold = Fold(config.fold_s)
        self._lock = threading.Lock()
        self._held: deque[tuple[float, Event]] = deque()
        self._unsaved: deque[Event] = deque(maxlen=_IN_MEMORY)
        self._waker = kmsg.Waker()
        self._source: kmsg.KernelLog | None = None
        self._open_again_s = 0.0
        self._read: Facts = {}
        """Where the last line that meant something ended."""
        self._thread: threading.Thread | None = None
        self.source_failures = 0
        """How often the kernel log could not be opened or read."""
        self.gpus_known = threading.Event()
        """Set after the first tick: old lines name PCI addresses, and the GPUs behind them should be known."""
        self._names: dict[str, None] = {}
        self.told: Counter[str] = Counter()
        """Events told, by kind."""

    @property
    def folded(self) -> int:
        """How many events were the echo or the repeat of another."""
        return self._fold.folded

    @property
    def refused_lines(self) -> int:
        return self._source.refused if self._source else 0

    @property
    def lost_lines(self) -> int:
        """Kernel records that were overwritten before they could be read."""
        return self._source.lost if self._source else 0

    @property
    def orphans(self) -> int:
        """Continuation lines whose first line was not seen."""
        return self._fold.orphans

    def start(self, stop: threading.Event) -> None:
        """Follow the kernel log until `stop`."""
        self._thread = threading.Thread(target=self._follow, args=(stop,), name="kmsg", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Tell what is still held back. `stop` must be set if the desk was started."""
        self._waker.wake()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
        self._release(time.monotonic() + _NVML_GRACE_S)
        with self._lock:
            self._tell(self._fold.close(self._clock.time_s()), self._read)
        self.save_again()
        self._waker.close()

    def nvml_xid(self, gpu: Identity | None, code: int) -> None:
        """The driver's event set delivered an Xid."""
        event = self._event("xid", "nvml", gpu, f"Xid {code} by NVML event", code)
        self._held.append((time.monotonic() + _NVML_GRACE_S, event))
        self._waker.wake()

    def happening(self, kind: EventKind, gpu: Identity | None, text: str) -> None:
        """Something the agent noticed itself: a hang, a loss."""
        self.offer(self._event(kind, "agent", gpu, text, None))

    def save_again(self) -> None:
        """Events that a full disk refused: another try."""
        with self._lock:
            while self._unsaved and self._save(self._unsaved[0], {}):
                self._unsaved.popleft()

    def _follow(self, stop: threading.Event) -> None:
        self.gpus_known.wait(_KNOW_GPUS_S)
        while not stop.is_set():
            try:
                self._listen()
            except OSError as e:
                # The device was taken away or the log is not there (yet): it may come back.
                self._lost_source(e)
            self._release(time.monotonic())
            with self._lock:
                # Lines that only made a storm grow are done with once the growth is on disk.
                self._tell(self._fold.tick(self._clock.time_s()), self._read if self._fold.settled else {})
        if self._source is not None:
            self._source.close()

    def _listen(self) -> None:
        if self._source is None and time.monotonic() >= self._open_again_s:
            self._source = self._open()
        if self._source is None:
            self._waker.wait(self._patience_s())
            return
        for line in self._source.poll(self._patience_s()):
            self._kernel_line(line)

    def _lost_source(self, error: OSError) -> None:
        self.source_failures += 1
        if self.source_failures == 1:
            path, reason = self._config.kmsg, error.strerror
            log.warning("kernel log %s: %s; Xids come from NVML alone until it can be read", path, reason)
        self._open_again_s = time.monotonic() + _OPEN_AGAIN_S
        if self._source is not None:
            self._source.close()
            self._source = None

    def _patience_s(self) -> float:
        """How long to wait for the next line: until something held back is due."""
        if self._held:
            return max(0.0, self._held[0][0] - time.monotonic())
        return _IDLE_S if self._fold.settled else _UNSETTLED_S

    def _open(self) -> kmsg.KernelLog | None:
        path = self._config.kmsg
        if not path:
            return None
        return kmsg.KernelLog(
            path,
            accept_userspace=self._config.kmsg_accept_userspace,
            resume=str(self._spool.fact(_position_of(path)) or ""),
            waker=self._waker,
        )

    def _kernel_line(self, line: kmsg.KernelLine) -> None:
        found = xid.decode(line.text)
        if found is None:
            return
        gpu = self._gpu_at(found.pci_bdf)
        # A restart that reads the line again gives it the same name.
        name = line_fingerprint(self._config.node, line.position, 0) if line.time_s is not None else ""
        event = Event(
            fingerprint=name, kind=found.kind, source="kmsg", node=self._config.node,
            time=self._clock.time_s() if line.time_s is None else line.time_s,
            gpu_uuid=gpu.uuid if gpu else None, gpu_index=gpu.index if gpu else None,
            job=self._job(gpu.uuid if gpu else None), pci_bdf=found.pci_bdf, code=found.code,
            pid=found.pid, process=found.process, text=found.text,
            root_code=found.root_code, recovery_action=found.recovery_action,
            synthetic=self._config.synthetic,
        )  # fmt: skip
        # The position goes to disk with the event: a restart neither misses the line nor tells it again.
        self._read = {_position_of(self._config.kmsg): line.position}
        self.offer(event, self._read, detail=found.detail)

    def _gpu_at(self, pci_bdf: str | None) -> Identity | None:
        return next((g for g in self._identities() if g.pci_bdf == pci_bdf), None)

    def _release(self, now_s: float) -> None:
        while self._held and self._held[0][0] <= now_s:
            self.offer(self._held.popleft()[1])

    def _event(
        self, kind: EventKind, source: EventSource, gpu: Identity | None, text: str, code: int | None
    ) -> Event:
        return Event(
            fingerprint="", time=self._clock.time_s(), node=self._config.node, kind=kind, source=source,
            gpu_uuid=gpu.uuid if gpu else None, gpu_index=gpu.index if gpu else None,
            job=self._job(gpu.uuid if gpu else None), pci_bdf=gpu.pci_bdf if gpu else None,
            code=code, text=text, synthetic=self._config.synthetic,
        )  # fmt: skip

    def offer(self, event: Event, facts: Facts | None = None, *, detail: bool = False) -> None:
        """Tell `event`, unless it is the echo of another. `facts` go to the spool with it."""
        with self._lock:
            self._tell(self._fold.offer(event, self._clock.time_s(), detail=detail), facts or {})

    def _tell(self, events: Iterable[Event], facts: Facts) -> None:
        for event in events:
            if event.fingerprint not in self._names:
                self._names[event.fingerprint] = None
                self.told[event.kind] += 1
            if len(self._names) > _IN_MEMORY:
                self._names.pop(next(iter(self._names)))
            if not self._save(event, facts):
                self._unsaved.append(event)

    def _save(self, event: Event, facts: Facts) -> bool:
        try:
            self._spool.append(TOPIC_EVENTS, event.node, msgspec.json.encode(event), facts=facts)
        except sqlite3.Error as e:
            log.error("spool refuses an event, kept in memory: %s", e)
            return False
        return True


def _position_of(path: str) -> str:
    """Name of the spool's fact: how far this kernel log was read."""
    return f"read:{path}"
