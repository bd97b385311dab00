"""NVML behind a deadline: a call that hangs costs one GPU its sample, never the agent its loop.

Each tick asks the child process for every GPU in turn. When one does not answer in time the child is killed
and started again, that GPU is set aside with a growing pause, and the rest of the tick goes on. Hang, loss
and absence are rows and events: for off-the-bus faults they are the only early signs known (GWDG 2026).
"""

from __future__ import annotations

import logging
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal

from collector.frames import FrameReader, FrameWriter
from collector.nvml import LOST, Identity
from collector.records import GpuState

log = logging.getLogger(__name__)

_START_TIMEOUT_S = 20.0
"""nvmlInit may take seconds while the driver wakes GPUs without persistence mode."""

Happening = Literal["nvml_hang", "nvml_recovered", "gpu_lost", "gpu_missing"]


@dataclass(frozen=True, slots=True)
class GpuRow:
    """What one tick says about one GPU. `values` are in the order of `records.READINGS`, or None."""

    identity: Identity
    state: GpuState
    nvml_return: int | None
    latency_us: int | None
    gap_s: float | None
    values: list[object] | None


@dataclass(slots=True)
class _Gpu:
    """The agent's memory of one index. A lost GPU keeps being reported: it is never dropped from here."""

    identity: Identity
    last_good_s: float | None = None
    state: GpuState = "unread"
    hung_since_s: float | None = None
    retry_at_s: float = 0.0
    pause_s: float = 0.0


class NvmlUnavailableError(Exception):
    """The child could not open NVML; the text says why."""


class Watchdog:
    """Polls all GPUs of this node. `notify(happening, identity, text)` is called when a state changes.

    `now_s` is the agent's clock (its seconds are what gaps are measured in); deadlines are real seconds.
    """

    def __init__(
        self,
        *,
        library: str,
        deadline_s: float,
        retry_s: float,
        retry_max_s: float,
        now_s: Callable[[], float],
        notify: Callable[[Happening, Identity | None, str], None],
        on_xid: Callable[[Identity | None, int], None],
    ) -> None:
        self._library = library
        self._deadline_s = deadline_s
        self._retry_s = retry_s
        self._retry_max_s = retry_max_s
        self._now_s = now_s
        self._notify = notify
        self._on_xid = on_xid
        self._gpus: dict[int, _Gpu] = {}
        self._suspects: dict[int, _Gpu] = {}
        self._child: _Process | None = None
        self._count = 0
        self.driver_version: str | None = None
        self.restarts = 0
        """How often the NVML child was started again."""

    def tick(self) -> list[GpuRow]:
        """One row for every GPU ever seen on this node. Raises NvmlUnavailableError when there is no NVML."""
        now_s = self._now_s()
        rows: dict[int, GpuRow] = {}
        pending = self._order(now_s)
        while pending:
            child = self._ensure_child()
            pending = self._ask(child, pending, rows, now_s)
        for index, gpu in self._gpus.items():
            if index not in rows:
                rows[index] = self._absent(gpu, now_s)
        return [rows[i] for i in sorted(rows)]

    def _order(self, now_s: float) -> list[int]:
        """Healthy GPUs first; a suspect whose pause is over comes last, so that it can hurt nobody."""
        self._ensure_child()
        indices = range(max(self._count, 1 + max(self._gpus, default=-1)))
        due = [i for i in indices if self._is_hung(i) and now_s >= self._memory(i).retry_at_s]
        return [i for i in indices if not self._is_hung(i)] + due

    def _is_hung(self, index: int) -> bool:
        gpu = self._gpus.get(index) or self._suspects.get(index)
        return gpu is not None and gpu.hung_since_s is not None

    def _memory(self, index: int) -> _Gpu:
        if index in self._gpus:
            return self._gpus[index]
        unknown = Identity(index, "", "", None, None)
        return self._suspects.setdefault(index, _Gpu(unknown))

    def _ask(self, child: _Process, order: list[int], rows: dict[int, GpuRow], now_s: float) -> list[int]:
        """Send one request; the indices still to be asked (after a hang, by a new child)."""
        child.send(order)
        remaining = list(order)
        while True:
            message = child.receive(self._deadline_s)
            if message is None:
                self._stop_child()
                self._blame(remaining[0] if remaining else None, now_s, died=child.died())
                return remaining[1:]
            kind = message["kind"]
            if kind == "identity":
                self._learn(message)
            elif kind == "row":
                index = int(message["index"])
                remaining.remove(index)
                self._accept(index, message, rows, now_s)
            elif kind == "done":
                self._recount(message["count"])
                return []

    def _accept(self, index: int, message: dict[str, Any], rows: dict[int, GpuRow], now_s: float) -> None:
        gpu = self._gpus.get(index)
        if gpu is None:
            return  # it never told us who it is: nothing to report it as
        code, values = int(message["code"]), message["values"]
        state: GpuState = (
            "lost" if code == LOST else "missing" if values is None else "error" if code else "ok"
        )
        gap_s = None if gpu.last_good_s is None else now_s - gpu.last_good_s
        if gpu.hung_since_s is not None:
            text = f"NVML answers again for GPU {index} after {now_s - gpu.hung_since_s:.0f} s"
            gpu.hung_since_s, gpu.pause_s = None, 0.0
            self._notify("nvml_recovered", gpu.identity, text)
        if state == "ok":
            gpu.last_good_s = now_s
        self._changed(gpu, state, code)
        rows[index] = GpuRow(gpu.identity, state, code, int(message["latency_us"]), gap_s, values)

    def _changed(self, gpu: _Gpu, state: GpuState, code: int) -> None:
        if state == gpu.state:
            return
        gpu.state = state
        where = f"GPU {gpu.identity.index} ({gpu.identity.pci_bdf})"
        if state == "lost":
            self._notify("gpu_lost", gpu.identity, f"NVML says {where} is lost (NVML_ERROR_GPU_IS_LOST)")
        elif state == "missing":
            self._notify("gpu_missing", gpu.identity, f"{where} is gone from NVML (return code {code})")

    def _absent(self, gpu: _Gpu, now_s: float) -> GpuRow:
        state: GpuState = "hung" if gpu.hung_since_s is not None else "unread"
        gap_s = None if gpu.last_good_s is None else now_s - gpu.last_good_s
        return GpuRow(gpu.identity, state, None, None, gap_s, None)

    def _blame(self, index: int | None, now_s: float, *, died: bool) -> None:
        if index is None:
            return
        known = index in self._gpus
        gpu = self._memory(index)
        first = gpu.hung_since_s is None
        if first:
            gpu.hung_since_s = now_s
        gpu.pause_s = min(self._retry_max_s, gpu.pause_s * 2 or self._retry_s)
        gpu.retry_at_s = now_s + gpu.pause_s
        gpu.state = "hung"
        what = "the NVML process died" if died else f"NVML did not answer within {self._deadline_s:g} s"
        log.warning("%s on GPU %d; set aside for %.0f s", what, index, gpu.pause_s)
        if first:
            identity = gpu.identity if known else None
            self._notify("nvml_hang", identity, f"{what} for GPU {index}; the other GPUs go on")

    def _learn(self, message: dict[str, Any]) -> None:
        identity = Identity(**{f.name: message[f.name] for f in fields(Identity)})
        index = identity.index
        if index in self._suspects:
            # It hung before it could say who it is: now it has a name, and keeps its pause.
            self._gpus[index] = self._suspects.pop(index)
        elif index not in self._gpus or self._gpus[index].identity.uuid != identity.uuid:
            self._gpus[index] = _Gpu(identity)  # a swapped card starts a new history
        self._gpus[index].identity = identity

    def _recount(self, count: int | None) -> None:
        if count is None:
            self._stop_child()  # NVML lost its footing (driver reload): the next tick starts afresh
        elif count != self._count:
            log.warning("the driver now sees %d GPUs (was %d)", count, self._count)
            self._stop_child()

    def _ensure_child(self) -> _Process:
        if self._child is None:
            child = _Process(self._library, self._xid)
            hello = child.receive(_START_TIMEOUT_S)
            if hello is None or hello["kind"] != "hello":
                child.kill()
                reason = str(hello["text"]) if hello else "NVML did not start in time"
                raise NvmlUnavailableError(reason)
            self._count = int(hello["count"])
            self.driver_version = str(hello["driver"])
            self._child = child
        return self._child

    def _xid(self, message: dict[str, Any]) -> None:
        gpu = self._gpus.get(message["index"]) if message["index"] is not None else None
        self._on_xid(gpu.identity if gpu else None, int(message["code"]))

    def _stop_child(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None
            self.restarts += 1

    def identities(self) -> list[Identity]:
        """Every GPU seen so far."""
        return [gpu.identity for gpu in self._gpus.values()]

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


class _Process:
    """One NVML child and the thread that reads it."""

    def __init__(self, library: str, on_xid: Callable[[dict[str, Any]], None]) -> None:
        command = [sys.executable, "-I", "-m", "collector.nvml_child", *([library] if library else [])]
        self._popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._writer = FrameWriter(self._popen.stdin)
        self._reader = FrameReader(self._popen.stdout)
        self._inbox: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._on_xid = on_xid
        self._ended = False
        self._thread = threading.Thread(target=self._pump, name="nvml-reader", daemon=True)
        self._thread.start()

    def _pump(self) -> None:
        while (message := self._reader.read()) is not None:
            if message["kind"] == "xid":
                self._on_xid(message)
            else:
                self._inbox.put(message)
        self._inbox.put(None)

    def send(self, order: list[int]) -> None:
        try:
            self._writer.write({"order": order})
        except OSError:
            self._ended = True  # it died between two ticks; receive() will say so

    def receive(self, timeout_s: float) -> dict[str, Any] | None:
        """The next frame, or None after `timeout_s` or when the process has ended."""
        try:
            message = self._inbox.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if message is None:
            self._ended = True
        return message

    def died(self) -> bool:
        return self._ended

    def kill(self) -> None:
        self._popen.kill()
        try:
            self._popen.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            # Stuck in the kernel (state D). It dies when the driver lets go; waiting would stall the agent.
            log.warning("NVML process %d does not die: the driver holds it", self._popen.pid)
            return
        self._thread.join(timeout=1.0)
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    log.debug("closing a pipe of the NVML process failed", exc_info=True)
