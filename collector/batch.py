"""Rows of several ticks -> one Arrow IPC stream: the value of one `foreshock.telemetry` record."""

from __future__ import annotations

import io
from collections.abc import Sequence

from arro3.core import Array, DataType, RecordBatch, Schema
from arro3.core import Field as ArrowField
from arro3.io import write_ipc_stream

from collector.records import FIELDS, SCHEMA_VERSION, ArrowType

_TYPES: dict[ArrowType, DataType] = {
    "timestamp": DataType.timestamp("us", tz="UTC"),
    "utf8": DataType.utf8(),
    "int64": DataType.int64(),
    "float32": DataType.float32(),
    "float64": DataType.float64(),
    "bool": DataType.bool(),
}

SCHEMA = Schema(
    [ArrowField(f.name, _TYPES[f.type], nullable=True) for f in FIELDS],
    metadata={"foreshock.schema": str(SCHEMA_VERSION)},
)

Row = tuple[object, ...]
"""Values in the order of `records.FIELDS`; time is Unix microseconds."""


def encode(rows: Sequence[Row]) -> bytes:
    """Rows -> Arrow IPC stream bytes. At least one row.

    Not compressed here: 150 small buffers compressed one by one cost a reader twice the time and take twice
    the room of the same bytes compressed as a whole, which the spool (zstd) and Kafka do.
    """
    columns = zip(*rows, strict=True)
    arrays = [_array(values, f.type) for values, f in zip(columns, FIELDS, strict=True)]
    sink = io.BytesIO()
    write_ipc_stream(RecordBatch.from_arrays(arrays, schema=SCHEMA), sink, compression=None)
    return sink.getvalue()


def _array(values: tuple[object, ...], kind: ArrowType) -> Array:
    if kind == "timestamp":
        return Array(values, type=DataType.int64()).cast(_TYPES[kind])
    return Array(values, type=_TYPES[kind])
