"""The files of a lake table, and the one way to exchange some of them for others in one commit."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Final

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

_LEVEL: Final = 1
"""Of zstd, for the first writing of rows: upkeep writes them again, sorted."""
REWRITES: Final = "foreshock-upkeep"
"""Every exchange moves this transaction on. delta-rs does not see that two commits remove the same file (1.6.6:
the rows are then there twice), but it refuses two that move one transaction from the same snapshot."""


@dataclass(frozen=True, slots=True)
class LakeFile:
    """One data file of a snapshot. `path` is relative to the table."""

    path: str
    day: date
    bytes: int
    rows: int
    modified_ms: int


@dataclass(frozen=True, slots=True)
class Made:
    """A file that was written beside the table's own and is to become one of them."""

    path: str
    day: date
    rows: int
    least: dict[str, object]
    most: dict[str, object]
    """Bounds of the columns that readers skip files by, as JSON values."""


def list_files(table: DeltaTable) -> list[LakeFile]:
    """The snapshot's files, oldest first."""
    found = pl.DataFrame(table.get_add_actions(flatten=True))
    if found.is_empty():
        return []
    columns = ("path", "partition.date", "size_bytes", "num_records", "modification_time")
    rows = found.select(
        pl.col(c).dt.epoch("ms") if found[c].dtype.is_temporal() and c == "modification_time" else pl.col(c)
        for c in columns
    )
    return sorted((LakeFile(*row) for row in rows.iter_rows()), key=lambda f: (f.modified_ms, f.path))


def newest_rows(table: DeltaTable, time_column: str, rows: int) -> datetime | None:
    """The time that `rows` rows of the snapshot are newer than, to the nearest file; None where it has no more."""
    found = pl.DataFrame(table.get_add_actions(flatten=True))
    bound = f"max.{time_column}"
    if found.is_empty() or bound not in found.columns or found["num_records"].sum() <= rows:
        return None
    newest = found.sort(bound, descending=True).with_columns(pl.col("num_records").cum_sum().alias("_rows"))
    reached: datetime | None = newest.filter(pl.col("_rows") > rows)[bound][0]
    return reached


def exchange(table: DeltaTable, gone: Sequence[LakeFile], made: Sequence[Made], *, lost: bool) -> bool:
    """Replace `gone` by `made` in one commit against the snapshot `table`; `lost` says that rows leave the lake.

    False, and nothing changed, where somebody else exchanged files meanwhile. Appends never stand in the way.
    """
    now_ms = time.time_ns() // 1_000_000  # vacuum compares with the machine's clock, so never a faster one
    removed = [RemoveAction(f.path, lost, now_ms, f.bytes, {"date": f.day.isoformat()}) for f in gone]
    mark = Transaction(REWRITES, (table.transaction_version(REWRITES) or 0) + 1)
    try:
        table.create_write_transaction(
            [*(_added(table, m, now_ms, data_change=lost) for m in made), *removed],
            "append",
            table.schema(),
            ["date"],
            commit_properties=CommitProperties(app_transactions=[mark]),
        )
    except CommitFailedError:
        return False
    return True


def write_files(folder: Path, dated: pl.DataFrame, time_column: str) -> list[Made]:
    """One file per day of `dated` (which has a column `date`). Nobody reads them before they are committed."""
    one_day = dated["date"].min() == dated["date"].max()  # nearly always, and it saves a copy of everything
    days = [dated] if one_day else dated.partition_by("date", maintain_order=True)
    return [_write(folder, rows, time_column) for rows in days]


def _write(folder: Path, rows: pl.DataFrame, time_column: str) -> Made:
    day: date = rows["date"][0]
    path = f"date={day.isoformat()}/part-{uuid.uuid4()}.zstd.parquet"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    rows.drop("date").write_parquet(
        folder / path, compression="zstd", compression_level=_LEVEL, statistics=False
    )
    # Rows of all GPUs at all times of the flush lie in each row group: bounds per file say as much.
    bounds = [n for n in (time_column, "gpu_uuid", "node") if rows[n].null_count() < rows.height]
    least, most = ({n: _json(getattr(rows[n], end)()) for n in bounds} for end in ("min", "max"))
    return Made(path, day, rows.height, least, most)


def _json(bound: object) -> object:
    return bound.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if isinstance(bound, datetime) else bound


def add(table: DeltaTable, made: Sequence[Made], marks: Mapping[str, int]) -> None:
    """Make files part of the table in one commit that also moves the transactions `marks` on.

    Raises CommitFailedError, and nothing changed, where another writer moved one of them meanwhile.
    """
    now_ms = time.time_ns() // 1_000_000
    table.create_write_transaction(
        [_added(table, m, now_ms, data_change=True) for m in made],
        "append",
        table.schema(),
        ["date"],
        commit_properties=CommitProperties(app_transactions=[Transaction(*m) for m in marks.items()]),
    )


def root(table: DeltaTable) -> Path:
    """The folder that the files' paths are relative to."""
    return Path(table.table_uri.removeprefix("file://"))


def _added(table: DeltaTable, made: Made, now_ms: int, *, data_change: bool) -> AddAction:
    size = (root(table) / made.path).stat().st_size
    stats = {"numRecords": made.rows, "minValues": made.least, "maxValues": made.most}
    return AddAction(
        made.path,
        size,
        {"date": made.day.isoformat()},
        now_ms,
        data_change=data_change,
        stats=json.dumps(stats),
    )
