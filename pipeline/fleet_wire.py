"""Frames of samples -> the records that the nodes' agents would put on Kafka: one Arrow IPC stream per node.

Healthy nodes' records have one layout, so one is encoded and the others are its bytes with other values in them;
that is several times faster than an encoder's 150 arrays for each. A node that is not like the rest is encoded.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from arro3.core import ChunkedArray, RecordBatch
from arro3.io import write_ipc_stream
from numpy.typing import NDArray

from collector.batch import SCHEMA
from collector.records import FIELDS, ArrowType
from pipeline.fleet_noise import Ints

_TEXTS: Final = ("node", "gpu_uuid", "job")
"""Text columns that differ from node to node, of one length each; pci_bdf and gpu_state are alike in all."""
_NUMBERS: Final[tuple[ArrowType, ...]] = ("int64", "float32", "float64", "timestamp")
_BUFFERS: Final[dict[ArrowType, int]] = {"utf8": 3}
"""Arrow buffers of a column: validity and values, and offsets between them for text."""


class _Buffer(NamedTuple):
    name: str
    kind: ArrowType
    begin: int
    length: int


def records(frame: pl.DataFrame) -> Iterator[tuple[str, bytes]]:
    """(node, record) of every node in `frame`, whose rows are sorted by node."""
    runs = frame["node"].rle().struct.unnest()
    lengths, nodes = runs["len"].to_numpy(), runs["value"].to_list()
    begins = np.cumsum(lengths) - lengths
    quick = _alike(frame, lengths)
    made: dict[int, bytes] = {}
    for kind in (1, 2):
        members = np.flatnonzero(quick == kind)
        if members.size:
            made |= _filled(frame, members, int(lengths[0]))
    for index, node in enumerate(nodes):
        value = made.get(index)
        yield (
            node,
            value if value is not None else encoded(frame.slice(int(begins[index]), int(lengths[index]))),
        )


def encoded(rows: pl.DataFrame) -> bytes:
    """One record the plain way: columns with the types that the agent's encoder gives them."""
    columns = [
        ChunkedArray.from_arrow(rows[f.name]).cast(SCHEMA.field(f.name).type).combine_chunks() for f in FIELDS
    ]
    sink = io.BytesIO()
    write_ipc_stream(RecordBatch.from_arrays(columns, schema=SCHEMA), sink, compression=None)
    return sink.getvalue()


def _alike(frame: pl.DataFrame, lengths: NDArray[np.uint32]) -> Ints:
    """Of each node: 1 healthy under a job, 2 healthy and idle, 0 anything else."""
    if (lengths != lengths[0]).any():
        return np.zeros(lengths.size, np.int64)
    shape = (lengths.size, int(lengths[0]))
    healthy = (frame["gpu_state"] == "ok").to_numpy().reshape(shape).all(1)
    idle = frame["job"].is_null().to_numpy().reshape(shape)
    return np.where(healthy & ~idle.any(1), 1, np.where(healthy & idle.all(1), 2, 0))


def _filled(frame: pl.DataFrame, members: Ints, rows: int) -> dict[int, bytes]:
    """Node number -> record, of nodes that are alike."""
    template = encoded(frame.slice(int(members[0]) * rows, rows))
    out = np.repeat(np.frombuffer(template, np.uint8)[None, :], members.size, axis=0)
    for buffer in _buffers(template):
        column = frame[buffer.name]
        if column.null_count() == column.len():
            continue
        if buffer.kind in _NUMBERS:
            values = column.to_physical().fill_null(0).to_numpy().reshape(-1, rows)[members]
        elif buffer.name in _TEXTS:
            width = buffer.length // rows
            values = np.array(column.fill_null("").to_list(), dtype=f"S{max(width, 1)}").reshape(-1, rows)[
                members
            ]
        else:
            continue
        raw = np.ascontiguousarray(values).view(np.uint8).reshape(members.size, -1)
        if buffer.length:
            out[:, buffer.begin : buffer.begin + buffer.length] = raw[:, : buffer.length]
    return {int(m): out[i].tobytes() for i, m in enumerate(members)}


def _buffers(record: bytes) -> list[_Buffer]:
    """Where the values of each column lie in the record (Arrow's format: Message.fbs, encapsulated messages)."""
    (schema_size,) = struct.unpack_from("<i", record, 4)
    message = 8 + schema_size + 8
    (size,) = struct.unpack_from("<i", record, message - 4)
    batch = _table(record, _table_at(record, message), 2)
    buffers = _table(record, batch, 2) + 4
    found, index = [], 0
    for field in FIELDS:
        index += _BUFFERS.get(field.type, 2)
        offset, length = struct.unpack_from("<qq", record, buffers + 16 * (index - 1))
        found.append(_Buffer(field.name, field.type, message + size + offset, length))
    return found


def _table_at(record: bytes, at: int) -> int:
    (offset,) = struct.unpack_from("<I", record, at)
    return at + int(offset)


def _table(record: bytes, table: int, field: int) -> int:
    """Position that an offset field of a flatbuffer table points to."""
    (back,) = struct.unpack_from("<i", record, table)
    (within,) = struct.unpack_from("<H", record, table - back + 4 + 2 * field)
    return _table_at(record, table + within)
