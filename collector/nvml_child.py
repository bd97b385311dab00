"""The process that calls NVML, so that a call which never returns can be killed.

It answers requests on stdin with frames on stdout: `identity`, then `row` for each GPU in the order asked,
`done`, and `xid` whenever the driver's event set has one. `python -m collector.nvml_child [LIBRARY]`.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from dataclasses import asdict
from typing import Any

import pynvml as nv

from collector import nvml
from collector.errors import ForeshockError
from collector.frames import FrameReader, FrameWriter

_EVENT_WAIT_MS = 500


class _Child:
    def __init__(self, out: FrameWriter) -> None:
        self._out = out
        self._handles: dict[int, Any] = {}
        self._index_of: dict[int | None, int] = {}
        self._event_set = _new_event_set()

    def start_events(self) -> None:
        if self._event_set is not None:
            threading.Thread(target=self._events, name="nvml-events", daemon=True).start()

    def tick(self, order: list[int]) -> None:
        for index in order:
            self._out.write(self._row(index))
        self._out.write({"kind": "done", "count": _count()})

    def _row(self, index: int) -> dict[str, object]:
        began = time.perf_counter()
        try:
            h = self._handle(index)
        except nv.NVMLError as e:
            self._handles.pop(index, None)
            values, code = None, int(e.value)
        else:
            reading = nvml.read(h)
            values, code = reading.values, reading.nvml_return
        latency_us = int((time.perf_counter() - began) * 1e6)
        return {"kind": "row", "index": index, "values": values, "code": code, "latency_us": latency_us}

    def _handle(self, index: int) -> Any:
        if index not in self._handles:
            h = nvml.handle(index)
            self._out.write({"kind": "identity", **asdict(nvml.identify(h, index))})
            self._register(index, h)
            self._handles[index] = h
        return self._handles[index]

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
        child.tick([int(i) for i in request["order"]])
    return 0


if __name__ == "__main__":
    sys.exit(main())
