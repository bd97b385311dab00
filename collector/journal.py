"""The rows of the batch that is not in the spool yet, in a file: kill -9 of the agent loses no sample.

The file lives in the page cache until the batch is spooled, so a tick costs one small write and no fsync; a
power cut may lose the open batch (at most `flush_s` of samples), a killed process loses nothing. Each batch
has a number, and the spool remembers the last one in the same transaction as its record: a batch is never
stored twice.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import msgspec

from collector.batch import Row
from collector.records import COLUMNS

FACT = "journal_batch"
"""Name of the spool's fact: number of the last batch that is in the spool."""

_HEADER = struct.Struct("<4sIQ")
_FRAME = struct.Struct("<I")
_MAGIC = b"FSJ1"
_decoder = msgspec.msgpack.Decoder(list[tuple[object, ...]])
_encoder = msgspec.msgpack.Encoder()


class Journal:
    """Append the rows of each tick to `path`; `recover` gives what a killed agent left behind."""

    def __init__(self, path: Path, last_spooled: int) -> None:
        self._path = path
        self._last = last_spooled
        self._left, whole_bytes = self._read()
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.truncate(whole_bytes)
        self._file.seek(whole_bytes)
        if not self._left:
            self._begin()

    @property
    def batch(self) -> int:
        """Number of the open batch: what the spool is to remember with it."""
        return self._last + 1

    def recover(self) -> list[Row]:
        """Rows of a batch that was never spooled. Spool them, then call `spooled`."""
        return self._left

    def append(self, rows: Sequence[Row]) -> None:
        """One tick. Raises OSError when the disk is full; the rows are then only in memory."""
        body = _encoder.encode(rows)
        self._file.write(_FRAME.pack(len(body)) + body)
        self._file.flush()

    def spooled(self) -> None:
        """The open batch is in the spool: begin the next."""
        self._last += 1
        self._left = []
        self._begin()

    def _begin(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._file.write(_HEADER.pack(_MAGIC, len(COLUMNS), self.batch))
        self._file.flush()

    def _read(self) -> tuple[list[Row], int]:
        """Rows that were left, and how many bytes of the file hold whole ones."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return [], 0
        if len(data) < _HEADER.size:
            return [], 0
        magic, width, batch = _HEADER.unpack_from(data)
        # Of another version's columns nothing can be made; a number already spooled was left by a crash after it.
        if magic != _MAGIC or width != len(COLUMNS) or batch <= self._last:
            return [], 0
        self._last = batch - 1
        return _rows(data, _HEADER.size)

    def close(self) -> None:
        self._file.close()


def _rows(data: bytes, at: int) -> tuple[list[Row], int]:
    """Whole frames from `at` on, and where they end; a torn one at the end was a tick that never finished."""
    rows: list[Row] = []
    while at + _FRAME.size <= len(data):
        (size,) = _FRAME.unpack_from(data, at)
        body = data[at + _FRAME.size : at + _FRAME.size + size]
        if len(body) < size:
            break
        try:
            rows += _decoder.decode(body)
        except msgspec.DecodeError:
            break
        at += _FRAME.size + size
    return rows, at
