"""Records -> frames. What cannot be read is said with its reason, and never stops the stream."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
import polars as pl

from collector.errors import InvalidRecordError
from collector.records import Event, Inventory
from pipeline import ipc
from pipeline.stream import Record
from pipeline.tables import EVENTS, INVENTORY, TELEMETRY, TIME

RECORD = "_record"
"""Column of decoded rows: the index of their record in what was decoded. Not a column of the lake."""

_REQUIRED = ("time", "node", "gpu_uuid")
_ENOUGH_ALIKE: Final = 4
"""Records of one layout from which on reading them as a matrix is the faster way."""
_event_decoder = msgspec.json.Decoder(Event)
_inventory_decoder = msgspec.json.Decoder(Inventory)


class Rejected(NamedTuple):
    """A record that will never be readable, and why."""

    record: Record
    reason: str


def telemetry(records: Sequence[Record]) -> tuple[pl.DataFrame, list[Rejected]]:
    """Telemetry records -> rows in the lake's schema. Unknown columns of a newer agent are left out.

    Records of one agent version begin with the same bytes, the Arrow schema, and those of nodes of one kind mostly
    go on with the same layout. They are read as one: with 150 columns, each on its own costs many times as much.
    """
    groups: dict[tuple[bytes, bytes], list[tuple[int, ipc.Parts]]] = {}
    frames: list[pl.DataFrame] = []
    rejected: list[Rejected] = []
    for index, record in enumerate(records):
        parts = ipc.split(record.value)
        if parts is None:
            frames += _one_by_one([index], records, rejected)
        else:
            groups.setdefault((parts.schema, parts.layout), []).append((index, parts))
    odd: dict[bytes, list[tuple[int, ipc.Parts]]] = {}
    for (schema, _), group in groups.items():
        joined = _alike(group) if len(group) >= _ENOUGH_ALIKE else None
        if joined is None or not _taken(joined, group, records, frames):
            odd.setdefault(schema, []).extend(group)
    for group in odd.values():
        joined = ipc.read(group[0][1].schema, [parts.batches for _, parts in group])
        if joined is None or not _taken(joined, group, records, frames):
            frames += _one_by_one([index for index, _ in group], records, rejected)
    if not frames:
        return _empty(TELEMETRY), rejected
    return (frames[0] if len(frames) == 1 else pl.concat(frames).sort(RECORD, maintain_order=True)), rejected


def _alike(group: Sequence[tuple[int, ipc.Parts]]) -> ipc.Joined | None:
    first = group[0][1]
    return ipc.read_alike(first.schema, first.layout, [parts.body for _, parts in group])


def _taken(
    joined: ipc.Joined,
    group: Sequence[tuple[int, ipc.Parts]],
    records: Sequence[Record],
    frames: list[pl.DataFrame],
) -> bool:
    """Put the rows with the frames; False where some record of the group has rows that make no sense."""
    try:
        frames.append(_conform(joined.rows, joined.lengths, [index for index, _ in group], records))
    except (InvalidRecordError, pl.exceptions.PolarsError):
        return False
    return True


def _one_by_one(
    indices: Sequence[int], records: Sequence[Record], rejected: list[Rejected]
) -> list[pl.DataFrame]:
    """One of these records is damaged: find it, so that it takes no other with it."""
    frames: list[pl.DataFrame] = []
    for index in indices:
        try:
            rows = _read(records[index])
            frames.append(_conform(rows, [rows.height], [index], records))
        except InvalidRecordError as e:
            rejected.append(Rejected(records[index], str(e)))
        except pl.exceptions.PolarsError as e:
            rejected.append(Rejected(records[index], f"values of another type than the column's: {e}"))
    return frames


def _read(record: Record) -> pl.DataFrame:
    try:
        rows = pl.read_ipc_stream(io.BytesIO(record.value))
    except (pl.exceptions.PolarsError, OSError, ValueError, pl.exceptions.PanicException) as e:
        raise InvalidRecordError(f"not an Arrow IPC stream of telemetry: {e}") from e
    if rows.is_empty():
        # A stream cut after its schema reads as no rows at all: that is a loss, and must not pass for none.
        raise InvalidRecordError("telemetry without rows: cut short?")
    return rows


def _conform(
    rows: pl.DataFrame, lengths: Sequence[int], indices: Sequence[int], records: Sequence[Record]
) -> pl.DataFrame:
    """Rows of one schema -> rows of TELEMETRY and RECORD. `lengths` are the rows of each record.

    Raises InvalidRecordError when a row lacks its identity.
    """
    have = set(rows.columns)
    missing = [name for name in _REQUIRED if name not in have or rows[name].null_count()]
    if missing:
        raise InvalidRecordError(f"telemetry without {', '.join(missing)}")
    which = np.repeat(np.arange(len(indices)), lengths)
    origin = {
        "stream": pl.Series([records[i].stream for i in indices], dtype=pl.String).gather(which),
        "seq": pl.Series([records[i].seq for i in indices], dtype=pl.Int64).gather(which),
        RECORD: pl.Series(indices, dtype=pl.Int64).gather(which),
    }
    return rows.select(
        *(
            pl.lit(origin[name]).alias(name) if name in origin
            else pl.col(name).cast(kind) if name in have
            else pl.lit(None, dtype=kind).alias(name)
            for name, kind in TELEMETRY.items()
        ),
        pl.lit(origin[RECORD]).alias(RECORD),
    )  # fmt: skip


def events(records: Sequence[Record]) -> tuple[pl.DataFrame, list[Rejected]]:
    """Event records -> rows in the lake's schema."""
    return _structs(records, _event_decoder, EVENTS, "an event")


def inventory(records: Sequence[Record]) -> tuple[pl.DataFrame, list[Rejected]]:
    """Inventory records -> rows in the lake's schema."""
    return _structs(records, _inventory_decoder, INVENTORY, "an inventory")


def _structs(
    records: Sequence[Record],
    decoder: msgspec.json.Decoder[Event] | msgspec.json.Decoder[Inventory],
    schema: pl.Schema,
    what: str,
) -> tuple[pl.DataFrame, list[Rejected]]:
    rows: list[dict[str, object]] = []
    rejected: list[Rejected] = []
    for index, record in enumerate(records):
        try:
            found = decoder.decode(record.value)
        except (msgspec.DecodeError, UnicodeDecodeError) as e:
            rejected.append(Rejected(record, f"not {what}: {e}"))
        else:
            rows.append(
                msgspec.structs.asdict(found) | {"stream": record.stream, "seq": record.seq, RECORD: index}
            )
    times = [name for name, kind in schema.items() if kind == TIME]
    columns = dict(schema) | dict.fromkeys(times, pl.Float64()) | {RECORD: pl.Int64()}
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    return frame.with_columns((pl.col(times) * 1e6).round().cast(pl.Int64).cast(TIME)), rejected


def _empty(schema: pl.Schema) -> pl.DataFrame:
    return pl.DataFrame(schema=dict(schema) | {RECORD: pl.Int64()})
