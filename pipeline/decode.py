"""Records -> frames. What cannot be read is said with its reason, and never stops the stream."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import polars as pl

from collector.errors import InvalidRecordError
from collector.records import Event, Inventory
from pipeline.stream import Record
from pipeline.tables import EVENTS, INVENTORY, TELEMETRY, TIME

RECORD = "_record"
"""Column of decoded rows: the index of their record in what was decoded. Not a column of the lake."""

_REQUIRED = ("time", "node", "gpu_uuid")
_event_decoder = msgspec.json.Decoder(Event)
_inventory_decoder = msgspec.json.Decoder(Inventory)


class Rejected(NamedTuple):
    """A record that will never be readable, and why."""

    record: Record
    reason: str


def telemetry(records: Sequence[Record]) -> tuple[pl.DataFrame, list[Rejected]]:
    """Telemetry records -> rows in the lake's schema. Unknown columns of a newer agent are left out."""
    frames: list[pl.DataFrame] = []
    rejected: list[Rejected] = []
    for index, record in enumerate(records):
        try:
            frames.append(_batch(record).with_columns(pl.lit(index, dtype=pl.Int64).alias(RECORD)))
        except InvalidRecordError as e:
            rejected.append(Rejected(record, str(e)))
    return (pl.concat(frames) if frames else _empty(TELEMETRY)), rejected


def _batch(record: Record) -> pl.DataFrame:
    try:
        rows = pl.read_ipc_stream(io.BytesIO(record.value))
        if rows.is_empty():
            # A stream cut after its schema reads as no rows at all: that is a loss, and must not pass for none.
            raise InvalidRecordError("telemetry without rows: cut short?")
        rows = rows.with_columns(stream=pl.lit(record.stream), seq=pl.lit(record.seq, dtype=pl.Int64))
        return rows.select(_column(rows, name, kind) for name, kind in TELEMETRY.items())
    except InvalidRecordError:
        raise
    except (pl.exceptions.PolarsError, OSError, ValueError, pl.exceptions.PanicException) as e:
        raise InvalidRecordError(f"not an Arrow IPC stream of telemetry: {e}") from e


def _column(rows: pl.DataFrame, name: str, kind: pl.DataType) -> pl.Expr:
    if name in rows.columns:
        return pl.col(name).cast(kind)
    if name in _REQUIRED:
        raise InvalidRecordError(f"telemetry without the column {name}")
    return pl.lit(None, dtype=kind).alias(name)


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
