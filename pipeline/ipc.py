"""Arrow IPC streams at the level of their messages: many small streams of one schema read as one.

A stream is a schema message, record batch messages and an end marker (Arrow columnar format, "IPC streaming
format"). Only whole, well-ended streams are taken apart here; anything else is for the caller to look at alone.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

import polars as pl
import pyarrow as pa

_CONTINUATION: Final = 0xFFFFFFFF
_PREFIX: Final = struct.Struct("<Ii")
_END: Final = _PREFIX.pack(_CONTINUATION, 0)
_ALIGNMENT: Final = 8


class Parts(NamedTuple):
    """The schema message, and everything up to the end marker."""

    schema: bytes
    batches: memoryview


class Joined(NamedTuple):
    """Rows of several streams, one after the other, and how many each has."""

    rows: pl.DataFrame
    lengths: list[int]


def split(stream: bytes) -> Parts | None:
    """Take a stream apart; None when it does not look whole."""
    if len(stream) < 2 * _PREFIX.size or not stream.endswith(_END) or len(stream) % _ALIGNMENT:
        return None
    marker, size = _PREFIX.unpack_from(stream)
    at = _PREFIX.size + size
    if marker != _CONTINUATION or size <= 0 or at + _PREFIX.size >= len(stream):
        return None
    return Parts(stream[:at], memoryview(stream)[at : -len(_END)])


def read(schema: bytes, batches: Sequence[memoryview]) -> Joined | None:
    """Read the batches of streams that share `schema`; None when they are not one batch each, or are damaged."""
    try:
        table = pa.ipc.open_stream(pa.py_buffer(b"".join((schema, *batches, _END)))).read_all()
        lengths = [len(chunk) for chunk in table.column(0).chunks]
        if len(lengths) != len(batches) or 0 in lengths:
            return None
        table.validate()
        rows = pl.from_arrow(table.combine_chunks())
    except (pa.ArrowException, ValueError, OSError, pl.exceptions.PolarsError):
        return None
    assert isinstance(rows, pl.DataFrame)
    return Joined(rows, lengths)
