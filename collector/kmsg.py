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
_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")
_READ_BYTES = 8192  # /dev/kmsg returns one record a read, and needs room for the longest
_MAX_LINE_BYTES = 64 * 1024
_FILE_POLL_S = 0.05
_LOST_HEAD = "NVRM: The NVIDIA GPU "
_LOST_END = "fallen off the bus"
_LOST_TAIL = re.compile(r"NVRM: (?:system has )?fallen off the bus")
_LOST_SPAN = 8
"""The three lines come together; other CPUs may print a few between them."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class KernelLine:
    """One kernel log line. `time_s` is Unix time where the record carries it, else None (it is new: now).

    `position` names the place after this line: `KernelLog(resume=position)` goes on there.
    """

    text: str
    sequence: int | None = None
    time_s: float | None = None
    position: str = ""


class Waker:
    """Ends a wait of `KernelLog.poll` from another thread."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def wake(self) -> None:
        os.eventfd_write(self.fd, 1)

    def wait(self, timeout_s: float) -> None:
        """Until woken, `timeout_s` at most."""
        poller = select.poll()
        poller.register(self.fd, select.POLLIN)
        poller.poll(timeout_s * 1e3)
        self.clear()

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.fd)

    def close(self) -> None:
        os.close(self.fd)


def parse(line: str) -> tuple[int, int, int, str] | None:
    """(priority, sequence, monotonic microseconds, text) of a /dev/kmsg record, or None for a bare line."""
    match = _RECORD.match(line)
    if match is None:
        return None
    priority, sequence, monotonic_us, text = match.groups()
    if max(len(priority), len(sequence), len(monotonic_us)) > 19:
        return None
    return int(priority), int(sequence), int(monotonic_us), text


def _unescaped(text: str) -> str:
    """The kernel writes a byte that is not printable ASCII, and the backslash, as four characters: an x and hex."""
    if "\\x" not in text:
        return text
    raw = _ESCAPE.sub(lambda m: bytes([int(m[1], 16)]), text.encode())
    return raw.decode("utf-8", "replace")


def boot_id() -> str:
    """Names this boot: sequence numbers start again at the next one."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


class Joiner:
    """Puts the driver's three-line message of a lost GPU together: only its first line has the address.

    In /dev/kmsg it is one record; a log daemon may have made three lines of it, with others between them.
    """

    def __init__(self) -> None:
        self._head = ""
        self._lines_left = 0

    def whole(self, line: str) -> str:
        """`line`, or the message that it ends."""
        if _LOST_HEAD in line:
            self._head, self._lines_left = line, 0 if _LOST_END in line else _LOST_SPAN
        elif self._lines_left > 0:
            self._lines_left -= 1
            if _LOST_TAIL.search(line):
                self._lines_left = 0
                return f"{self._head}\n{line}"
        return line


class KernelLog:
    """Open `path` and hand out its lines. Raises OSError when it cannot be opened.

    `resume` is the position of the last line that was dealt with: nothing before it is handed out again, as
    long as this is the same boot (device) or the same file.
    """

    def __init__(
        self, path: str, *, accept_userspace: bool = False, resume: str = "", waker: Waker | None = None
    ) -> None:
        self._path = path
        self._accept_userspace = accept_userspace
        self._waker = waker
        self._after = -1
        self._read_up_to = -1
        self._offset = 0
        mode = Path(path).stat().st_mode
        self._device = stat.S_ISCHR(mode)
        # A FIFO opened for reading alone reports its end each time a writer leaves.
        flags = os.O_RDWR if stat.S_ISFIFO(mode) else os.O_RDONLY
        self._fd = os.open(path, flags | os.O_NONBLOCK)
        self._regular = stat.S_ISREG(mode)
        self._era = self._name_era()
        self._resume(resume)
        self._partial = b""
        self._joiner = Joiner()
        self.refused = 0
        """Records of other facilities: written by user space."""
        self.overruns = 0
        """How often the ring buffer overwrote what was not read yet."""
        self.lost = 0
        """Records that were overwritten before anyone read them, also between two agents."""

    def poll(self, timeout_s: float) -> Iterator[KernelLine]:
        """Lines that are there within `timeout_s` real seconds; none is handed out twice."""
        self._wait(timeout_s)
        while (chunk := self._read()) is not None:
            for raw in self._split(chunk):
                self._offset += len(raw) + 1
                line = self._accept(raw.decode("utf-8", "replace"))
                if line is not None:
                    yield line

    def _name_era(self) -> str:
        """What numbers and offsets count within: a boot, or one file."""
        if self._regular:
            found = os.fstat(self._fd)
            return f"{found.st_dev}.{found.st_ino}"
        return boot_id()

    def _resume(self, position: str) -> None:
        era, _, place = position.partition("@")
        if era != self._era or not place.isdecimal():
            return
        if self._regular:
            self._offset = min(int(place), os.fstat(self._fd).st_size)
            os.lseek(self._fd, self._offset, os.SEEK_SET)
        else:
            self._after = self._read_up_to = int(place)

    def _wait(self, timeout_s: float) -> None:
        poller = select.poll()
        if self._waker is not None:
            poller.register(self._waker.fd, select.POLLIN)
        if not self._regular:
            poller.register(self._fd, select.POLLIN)
        elif os.fstat(self._fd).st_size > os.lseek(self._fd, 0, os.SEEK_CUR):
            return
        else:
            timeout_s = min(timeout_s, _FILE_POLL_S)  # a regular file never wakes a poll
        poller.poll(timeout_s * 1e3)
        if self._waker is not None:
            self._waker.clear()
        if self._regular:
            self._reopen_if_rotated()

    def _reopen_if_rotated(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            ours, theirs = os.fstat(self._fd), Path(self._path).stat()
            if ours.st_size < os.lseek(self._fd, 0, os.SEEK_CUR):
                self._offset, self._partial = os.lseek(self._fd, 0, os.SEEK_SET), b""  # truncated in place
            if (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino):
                os.close(self._fd)
                self._fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
                self._era, self._offset, self._partial = self._name_era(), 0, b""

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
            bare = line and not self._device
            return KernelLine(self._joiner.whole(line), position=self._position(None)) if bare else None
        priority, sequence, monotonic_us, text = record
        if self._device:
            self.lost += max(0, sequence - self._read_up_to - 1) if self._read_up_to >= 0 else 0
            self._read_up_to = max(self._read_up_to, sequence)
        if priority >> 3 != 0 and not self._accept_userspace:
            self.refused += 1
            return None
        if not self._regular and sequence <= self._after:
            return None
        self._after = sequence
        time_s = time.time() - (time.monotonic() - monotonic_us / 1e6) if self._device else None
        return KernelLine(self._joiner.whole(_unescaped(text)), sequence, time_s, self._position(sequence))

    def _position(self, sequence: int | None) -> str:
        place = self._offset if self._regular else self._after if sequence is None else sequence
        return f"{self._era}@{max(0, place)}"

    def close(self) -> None:
        os.close(self._fd)
