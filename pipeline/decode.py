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
    """Telemetry records -> rows in the lake's schema. Unknown columns of a newer agent are left out.

    Records of one schema (one agent version) are cast together: with 150 columns, casting is the cost.
    """
    groups: dict[tuple[tuple[str, pl.DataType], ...], list[tuple[int, pl.DataFrame]]] = {}
    rejected: list[Rejected] = []
    for index, record in enumerate(records):
        try:
            rows = _read(record)
        except InvalidRecordError as e:
            rejected.append(Rejected(record, str(e)))
        else:
            groups.setdefault(tuple(rows.schema.items()), []).append((index, rows))
    frames: list[pl.DataFrame] = []
    for group in groups.values():
        try:
            frames.append(_conform(group, records))
        except pl.exceptions.PolarsError:
            frames += _one_by_one(group, records, rejected)
    return (pl.concat(frames).sort(RECORD, maintain_order=True) if frames else _empty(TELEMETRY)), rejected


def _one_by_one(
    group: Sequence[tuple[int, pl.DataFrame]], records: Sequence[Record], rejected: list[Rejected]
) -> list[pl.DataFrame]:
    """One record's values cannot be cast: find it, so that it takes no other with it."""
    frames: list[pl.DataFrame] = []
    for index, rows in group:
        try:
            frames.append(_conform([(index, rows)], records))
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
    missing = [name for name in _REQUIRED if name not in rows.columns or rows[name].null_count()]
    if missing:
        raise InvalidRecordError(f"telemetry without {', '.join(missing)}")
    return rows


def _conform(group: Sequence[tuple[int, pl.DataFrame]], records: Sequence[Record]) -> pl.DataFrame:
    """Frames of one schema -> rows of TELEMETRY and RECORD."""
    indices = [index for index, _ in group]
    lengths = [rows.height for _, rows in group]
    origin = pl.DataFrame(
        {
            "stream": [records[i].stream for i in indices],
            "seq": [records[i].seq for i in indices],
            RECORD: indices,
        },
        schema={"stream": pl.String(), "seq": pl.Int64(), RECORD: pl.Int64()},
    )
    spread = origin.select(pl.all().repeat_by(pl.Series(lengths)).explode(empty_as_null=False))
    joined = pl.concat([rows for _, rows in group], rechunk=True)
    have = set(joined.columns)
    return pl.concat([joined.drop("stream", "seq", RECORD, strict=False), spread], how="horizontal").select(
        *(
            pl.col(name).cast(kind)
            if name in have or name in ("stream", "seq")
            else pl.lit(None, dtype=kind).alias(name)
            for name, kind in TELEMETRY.items()
        ),
        RECORD,
    )


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
