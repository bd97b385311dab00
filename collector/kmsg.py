"""Follow the kernel log: /dev/kmsg itself, or a file or FIFO that carries its records.

From /dev/kmsg only facility 0 counts: any user may write the others, and a forged Xid would drain a node.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_RECORD = re.compile(r"(\d+),(\d+),(\d+),[^;]{0,64};(.*)", re.DOTALL)
_READ_BYTES = 8192  # /dev/kmsg returns one record a read, and needs room for the longest
_MAX_LINE_BYTES = 64 * 1024
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class KernelLine:
    """One kernel log line. `time_s` is Unix time where the record carries it, else None (it is new: now)."""

    text: str
    sequence: int | None = None
    time_s: float | None = None


def parse(line: str) -> tuple[int, int, int, str] | None:
    """(priority, sequence, monotonic microseconds, text) of a /dev/kmsg record, or None for a bare line."""
    match = _RECORD.match(line)
    if match is None:
        return None
    priority, sequence, monotonic_us, text = match.groups()
    if max(len(priority), len(sequence), len(monotonic_us)) > 19:
        return None
    return int(priority), int(sequence), int(monotonic_us), text


def boot_id() -> str:
    """Names this boot: sequence numbers start again at the next one."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


class KernelLog:
    """Open `path` and hand out its lines. Raises OSError when it cannot be opened."""

    def __init__(self, path: str, *, accept_userspace: bool = False, after_sequence: int = -1) -> None:
        self._path = path
        self._accept_userspace = accept_userspace
        self._after = after_sequence
        mode = Path(path).stat().st_mode
        self._device = stat.S_ISCHR(mode)
        # A FIFO opened for reading alone reports its end each time a writer leaves.
        flags = os.O_RDWR if stat.S_ISFIFO(mode) else os.O_RDONLY
        self._fd = os.open(path, flags | os.O_NONBLOCK)
        self._regular = stat.S_ISREG(mode)
        self._partial = b""
        self.refused = 0
        """Records of other facilities: written by user space."""
        self.overruns = 0
        """How often the ring buffer overwrote what was not read yet."""

    def poll(self, timeout_s: float) -> Iterator[KernelLine]:
        """Lines that are there within `timeout_s` real seconds; none is handed out twice."""
        self._wait(timeout_s)
        while (chunk := self._read()) is not None:
            for raw in self._split(chunk):
                line = self._accept(raw.decode("utf-8", "replace"))
                if line is not None:
                    yield line

    def _wait(self, timeout_s: float) -> None:
        if not self._regular:
            poller = select.poll()
            poller.register(self._fd, select.POLLIN)
            poller.poll(timeout_s * 1e3)
        elif os.fstat(self._fd).st_size <= os.lseek(self._fd, 0, os.SEEK_CUR):
            time.sleep(timeout_s)
            self._reopen_if_rotated()

    def _reopen_if_rotated(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            ours, theirs = os.fstat(self._fd), Path(self._path).stat()
            if ours.st_size < os.lseek(self._fd, 0, os.SEEK_CUR):
                os.lseek(self._fd, 0, os.SEEK_SET)  # truncated in place
            if (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino):
                os.close(self._fd)
                self._fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)

    def _read(self) -> bytes | None:
        while True:
            try:
                return os.read(self._fd, _READ_BYTES) or None
            except BlockingIOError:
                return None
            except OSError as e:
                if e.errno != errno.EPIPE:
                    raise
                self.overruns += 1

    def _split(self, chunk: bytes) -> list[bytes]:
        if self._device:
            # Continuation lines (" SUBSYSTEM=...") follow the text within the same record.
            return [chunk.split(b"\n", 1)[0]]
        *lines, self._partial = (self._partial + chunk).split(b"\n")
        if len(self._partial) > _MAX_LINE_BYTES:
            self._partial = b""
        return lines

    def _accept(self, line: str) -> KernelLine | None:
        record = parse(line)
        if record is None:
            return KernelLine(line) if line and not self._device else None
        priority, sequence, monotonic_us, text = record
        if priority >> 3 != 0 and not self._accept_userspace:
            self.refused += 1
            return None
        if sequence <= self._after:
            return None
        self._after = sequence
        time_s = time.time() - (time.monotonic() - monotonic_us / 1e6) if self._device else None
        return KernelLine(text, sequence, time_s)

    def close(self) -> None:
        os.close(self._fd)
