"""The files of a lake table, and the one way to exchange some of them for others in one commit."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

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


def exchange(table: DeltaTable, gone: Sequence[LakeFile], made: Sequence[Made], *, lost: bool) -> bool:
    """Replace `gone` by `made` in one commit against the snapshot `table`; `lost` says that rows leave the lake.

    False, and nothing changed, where somebody else exchanged files meanwhile. Appends never stand in the way.
    """
    now_ms = time.time_ns() // 1_000_000  # vacuum compares with the machine's clock, so never a faster one
    removed = [RemoveAction(f.path, lost, now_ms, f.bytes, {"date": f.day.isoformat()}) for f in gone]
    mark = Transaction(REWRITES, (table.transaction_version(REWRITES) or 0) + 1)
    try:
        table.create_write_transaction(
            [*(_added(table, m, now_ms) for m in made), *removed],
            "append",
            table.schema(),
            ["date"],
            commit_properties=CommitProperties(app_transactions=[mark]),
        )
    except CommitFailedError:
        return False
    return True


def root(table: DeltaTable) -> Path:
    """The folder that the files' paths are relative to."""
    return Path(table.table_uri.removeprefix("file://"))


def _added(table: DeltaTable, made: Made, now_ms: int) -> AddAction:
    size = (root(table) / made.path).stat().st_size
    stats = {"numRecords": made.rows, "minValues": made.least, "maxValues": made.most}
    return AddAction(
        made.path, size, {"date": made.day.isoformat()}, now_ms, data_change=False, stats=json.dumps(stats)
    )
