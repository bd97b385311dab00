"""Arrow IPC streams at the level of their messages: many small streams of one schema read as one.

A stream is a schema message, record batch messages and an end marker (Arrow columnar format, "IPC streaming
format"). Only whole, well-ended streams are taken apart here; anything else is for the caller to look at alone.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

_CONTINUATION: Final = 0xFFFFFFFF
_PREFIX: Final = struct.Struct("<Ii")
_END: Final = _PREFIX.pack(_CONTINUATION, 0)
_ALIGNMENT: Final = 8
Bytes = NDArray[np.uint8]


class Parts(NamedTuple):
    """The schema message, the first batch's metadata, and everything behind each up to the end marker."""

    schema: bytes
    layout: bytes
    batches: memoryview
    body: memoryview


class Joined(NamedTuple):
    """Rows of several streams, one after the other, and how many each has. Columns without a value may be left out."""

    rows: pl.DataFrame
    lengths: list[int]


def split(stream: bytes) -> Parts | None:
    """Take a stream apart; None when it does not look whole."""
    if len(stream) < 3 * _PREFIX.size or not stream.endswith(_END) or len(stream) % _ALIGNMENT:
        return None
    end = len(stream) - _PREFIX.size
    batches_at = _message_end(stream, 0)
    body_at = _message_end(stream, batches_at)
    if not 0 < batches_at < body_at < end:
        return None
    view = memoryview(stream)
    return Parts(stream[:batches_at], stream[batches_at:body_at], view[batches_at:end], view[body_at:end])


def _message_end(stream: bytes, at: int) -> int:
    """Where the metadata of the message at `at` ends, or 0."""
    if not 0 <= at <= len(stream) - _PREFIX.size:
        return 0
    marker, size = _PREFIX.unpack_from(stream, at)
    return at + _PREFIX.size + size if marker == _CONTINUATION and size > 0 else 0


def read(schema: bytes, batches: Sequence[memoryview]) -> Joined | None:
    """Read the batches of streams that share `schema`; None when they are not one batch each, or are damaged."""
    try:
        table = pa.ipc.open_stream(pa.py_buffer(b"".join((schema, *batches, _END)))).read_all()
        lengths = [len(chunk) for chunk in table.column(0).chunks]
        if len(lengths) != len(batches) or 0 in lengths:
            return None
        table.validate(full=True)
        rows = pl.from_arrow(table.combine_chunks())
    except (pa.ArrowException, ValueError, OSError, pl.exceptions.PolarsError):
        return None
    assert isinstance(rows, pl.DataFrame)
    return Joined(rows, lengths)


def read_alike(schema: bytes, layout: bytes, bodies: Sequence[memoryview]) -> Joined | None:
    """Read batches that share `schema` and `layout`; None when they are not one batch each, or are damaged.

    Equal metadata means that every buffer lies at the same place of every body. So the bodies are one matrix, a
    row per stream, and a column of telemetry is a band of it: each value is copied once and nothing else is done.
    """
    size = len(bodies[0])
    if any(len(body) != size for body in bodies):
        return None
    try:
        template = pa.py_buffer(b"".join((schema, layout, bodies[0], _END)))
        first = _only_batch(template)
        matrix = _matrix(bodies, size)
        origin = template.address + len(schema) + len(layout)
        columns = {
            name: _column(matrix, column, origin)
            for name, column in zip(first.schema.names, first.columns, strict=True)
            if column.null_count < len(column)
        }
        rows = pl.from_arrow(pa.table(columns))
    except (pa.ArrowException, ValueError, OSError, pl.exceptions.PolarsError):
        return None
    assert isinstance(rows, pl.DataFrame)
    return Joined(rows, [first.num_rows] * len(bodies))


class _Scratch(threading.local):
    """Memory that every matrix of a thread is made in: to touch new pages costs seven times the copy itself."""

    bytes: Bytes = np.empty(0, np.uint8)


_scratch = _Scratch()


def _matrix(bodies: Sequence[memoryview], size: int) -> Bytes:
    """[streams, bytes], valid until the next one."""
    need = len(bodies) * size
    if len(_scratch.bytes) < need:
        _scratch.bytes = np.empty(need, np.uint8)
    joined = _scratch.bytes[:need]
    np.concatenate([np.frombuffer(body, np.uint8) for body in bodies], out=joined)
    return joined.reshape(len(bodies), size)


def _only_batch(stream: pa.Buffer) -> pa.RecordBatch:
    """Raises ValueError where there is not exactly one, or where it has no rows."""
    reader = pa.ipc.open_stream(stream)
    batch = reader.read_next_batch()
    batch.validate(full=True)
    try:
        reader.read_next_batch()
    except StopIteration:
        if batch.num_rows:
            return batch
    raise ValueError("not one batch")


def _column(matrix: Bytes, column: pa.Array, origin: int) -> pa.Array:
    """The column of all streams. Raises ValueError for a layout that only `read` understands."""
    rows, kind = len(column), column.type
    validity, *data = (_band(matrix, b, origin) for b in column.buffers())
    known = _bits(validity, rows) if validity.size else None
    if pa.types.is_boolean(kind):
        buffers = [_bits(data[0], rows)]
    elif pa.types.is_string(kind):
        buffers = _texts(data[0][:, : (rows + 1) * 4].view(np.int32), data[1])
    elif pa.types.is_primitive(kind):
        buffers = [_contiguous(data[0][:, : rows * kind.bit_width // 8])]
    else:
        raise ValueError(f"no band for {kind}")
    return pa.Array.from_buffers(kind, len(matrix) * rows, [known, *buffers])


def _band(matrix: Bytes, buffer: pa.Buffer | None, origin: int) -> Bytes:
    if buffer is None or buffer.size == 0:
        return matrix[:, :0]
    at = buffer.address - origin
    if not 0 <= at <= at + buffer.size <= matrix.shape[1]:
        raise ValueError("a buffer outside of its message: compressed?")
    return matrix[:, at : at + buffer.size]


def _contiguous(band: Bytes) -> pa.Buffer:
    return pa.py_buffer(band.copy())


def _bits(band: Bytes, rows: int) -> pa.Buffer:
    """Bitmaps of `rows` bits each, put behind one another."""
    if rows % 8 == 0:
        return _contiguous(band[:, : rows // 8])
    bits = np.unpackbits(band, axis=1, count=rows, bitorder="little")
    return pa.py_buffer(np.packbits(bits, bitorder="little"))


def _texts(offsets: NDArray[np.int32], band: Bytes) -> list[pa.Buffer]:
    """Texts put behind one another. Raises ValueError for anything but well-ordered ASCII that fills its band."""
    used = offsets[:, -1]
    length = int(used[0])
    if (offsets[:, 0] != 0).any() or (used != length).any() or length > band.shape[1]:
        raise ValueError("texts of different lengths")
    texts = band[:, :length].copy()
    if (np.diff(offsets, axis=1) < 0).any() or (texts >= 0x80).any():
        raise ValueError("texts that need a closer look")
    if texts.size > np.iinfo(np.int32).max:
        raise ValueError("too much text for 32-bit offsets")
    begin = np.arange(len(offsets), dtype=np.int32)[:, None] * length
    moved = np.append((offsets[:, :-1] + begin).ravel(), np.int32(texts.size))
    return [pa.py_buffer(moved.astype(np.int32, copy=False)), pa.py_buffer(texts)]
