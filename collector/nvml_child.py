"""The process that calls NVML, so that a call which never returns can be killed.

It answers requests on stdin with frames on stdout: `identity` when it meets a GPU, `row` for each GPU in the order
asked, `processes` now and then, `inventory` for each one asked for, `done`;
and `xid` whenever the driver's event set has one.
`python -m collector.nvml_child [LIBRARY]`.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any

import pynvml as nv

from collector import nvml, nvml_inventory
from collector.errors import ForeshockError
from collector.frames import FrameReader, FrameWriter
from collector.identity import Facts
from collector.nvml_reader import Reader

_EVENT_WAIT_MS = 500
_PROCESSES_EVERY_S = 10.0


@dataclass(slots=True)
class _Gpu:
    handle: Any
    reader: Reader
    processes_at_s: float = float("-inf")


class _Child:
    def __init__(self, out: FrameWriter) -> None:
        self._out = out
        self._gpus: dict[int, _Gpu] = {}
        self._index_of: dict[int | None, int] = {}
        self._event_set = _new_event_set()

    def start_events(self) -> None:
        if self._event_set is not None:
            threading.Thread(target=self._events, name="nvml-events", daemon=True).start()

    def tick(self, order: list[int], inventory: list[int]) -> None:
        for index in order:
            self._out.write(self._row(index))
            self._tell_processes(index)
        for index in inventory:
            self._out.write({"kind": "inventory", "index": index, "facts": self._facts(index)})
        self._out.write({"kind": "done", "count": _count()})

    def _row(self, index: int) -> dict[str, object]:
        began = time.perf_counter()
        values: list[Any] | None = None
        try:
            reading = self._gpu(index).reader.read()
        except nv.NVMLError as e:
            code, latency_us = int(e.value), int((time.perf_counter() - began) * 1e6)
        else:
            values, code, latency_us = reading.values, reading.nvml_return, reading.latency_us
        if code == nvml.LOST:
            self._drop(index)  # asked for its handle again: what answers there next may be another card
        return {"kind": "row", "index": index, "values": values, "code": code, "latency_us": latency_us}

    def _tell_processes(self, index: int) -> None:
        gpu = self._gpus.get(index)
        if gpu is not None and time.monotonic() >= gpu.processes_at_s:
            gpu.processes_at_s = time.monotonic() + _PROCESSES_EVERY_S
            self._out.write({"kind": "processes", "index": index, "pids": nvml.compute_processes(gpu.handle)})

    def _facts(self, index: int) -> Facts | None:
        try:
            return nvml_inventory.read(self._gpu(index).handle)
        except nv.NVMLError:
            return None

    def _gpu(self, index: int) -> _Gpu:
        if index not in self._gpus:
            h = nvml.handle(index)
            self._out.write({"kind": "identity", **asdict(nvml.identify(h, index))})
            self._register(index, h)
            self._gpus[index] = _Gpu(h, Reader(h))
        return self._gpus[index]

    def _drop(self, index: int) -> None:
        gone = self._gpus.pop(index, None)
        if gone is not None:
            gone.reader.close()

    def _register(self, index: int, h: Any) -> None:
        """On the asking thread, so that a GPU that hangs here is the one that gets the blame."""
        if self._event_set is None:
            return
        self._index_of[_address(h)] = index
        try:
            nv.nvmlDeviceRegisterEvents(h, nvml.XID_EVENT, self._event_set)
        except nv.NVMLError:
            return  # this GPU has no events: the kernel log still tells

    def _events(self) -> None:
        while True:
            try:
                data = nv.nvmlEventSetWait_v2(self._event_set, _EVENT_WAIT_MS)
            except nv.NVMLError as e:
                if e.value != nv.NVML_ERROR_TIMEOUT:
                    time.sleep(_EVENT_WAIT_MS / 1e3)
                continue
            if data.eventType == nvml.XID_EVENT:
                index = self._index_of.get(_address(data.device))
                self._out.write({"kind": "xid", "index": index, "code": int(data.eventData)})


def _new_event_set() -> Any:
    try:
        return nv.nvmlEventSetCreate()
    except nv.NVMLError:
        return None  # no event support


def _address(h: Any) -> int | None:
    address: int | None = ctypes.cast(h, ctypes.c_void_p).value
    return address


def _count() -> int | None:
    try:
        return nvml.device_count()
    except nv.NVMLError:
        return None


def main() -> int:
    """Serve until stdin closes. Exit code 3 when NVML cannot be opened (the reason is on stderr)."""
    out = FrameWriter(sys.stdout.buffer)
    requests = FrameReader(sys.stdin.buffer)
    try:
        nvml.open_library(sys.argv[1] if len(sys.argv) > 1 else "")
        out.write({"kind": "hello", "count": nvml.device_count(), "driver": nvml.driver_version()})
    except (ForeshockError, nv.NVMLError) as e:
        out.write({"kind": "failed", "text": str(e), "code": int(getattr(e.__cause__ or e, "value", 0) or 0)})
        return 3
    child = _Child(out)
    child.start_events()
    while (request := requests.read()) is not None:
        child.tick(request["order"], request["inventory"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
