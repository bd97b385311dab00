"""One NVML child process and the thread that reads it."""

from __future__ import annotations

import logging
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from collector.frames import FrameReader, FrameWriter

log = logging.getLogger(__name__)


class NvmlProcess:
    """Starts the child. `on_xid` is called with each `xid` frame, on the reading thread."""

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

    def send(self, order: list[int], inventory: list[int]) -> None:
        """Ask for rows, and then for inventories."""
        try:
            self._writer.write({"order": order, "inventory": inventory})
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
