"""The one door to the lake: Delta tables, appended once, read as snapshots.

An append carries application transactions (a name and a growing version, e.g. a partition and its last
offset) in the same atomic commit. Read back by `version`, they tell a restarted writer what is there
already. Every table is partitioned by the UTC `date`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import polars as pl
from deltalake import (
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    Transaction,
    WriterProperties,
    write_deltalake,
)  # fmt: skip
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from collector.errors import ForeshockError
from pipeline.tables import TABLES, TIME_COLUMN

_ATTEMPTS: Final = 20
_PAUSE_S: Final = 0.05
"""A commit that met another one is tried again after up to this long, growing with each try."""

_STEADY: Final = ColumnProperties(dictionary_enabled=False, encoding="DELTA_BINARY_PACKED")
_STEADY_COLUMNS: Final = ("time", "minute", "seq", "nvlink_tx_kib", "nvlink_rx_kib")
"""Values that are nearly all different and grow evenly: a dictionary of them is waste."""

_CREATED_WITH: Final = {
    "delta.checkpointInterval": "100",
    "delta.logRetentionDuration": "interval 86400 seconds",
    "delta.deletedFileRetentionDuration": "interval 3600 seconds",
}


class Lake:
    """The tables under `path`. Readers and writers in other processes may work on them at the same time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(
        self, table: str, rows: pl.DataFrame, *, transactions: Mapping[str, int] | None = None
    ) -> None:
        """Add `rows` in one atomic commit that also records `transactions`. No rows, no commit.

        Columns are brought into the table's schema: missing ones are null, unknown ones are refused. A commit that
        meets another one is tried again. Raises ForeshockError where another writer took over a transaction, or
        where the table stays contested: nothing of `rows` is in the lake then.
        """
        if rows.is_empty():
            return
        marks = dict(transactions or {})
        dated = _dated(table, rows)
        for attempt in range(_ATTEMPTS):
            before = {name: self.version(table, name) for name in marks}
            try:
                self._commit(table, dated, marks)
            except (
                CommitFailedError
            ):  # a file rewritten, a column added, the table made: by another, just now
                if self._is_there(table, marks, before):
                    return
                time.sleep(random.uniform(0, _PAUSE_S) * (attempt + 1))
            else:
                return
        raise ForeshockError(
            f"lake table {table}: {_ATTEMPTS} commits in a row met another writer's",
            hint="fewer, larger flushes (ingest.flush_s), or fewer workers",
        )

    def _commit(self, table: str, dated: pl.DataFrame, marks: Mapping[str, int]) -> None:
        target = self._location(table)
        target.mkdir(parents=True, exist_ok=True)
        write_deltalake(
            target,
            dated,
            mode="append",
            schema_mode="merge",  # a newer version's new columns; older rows have null there
            partition_by=["date"],
            configuration=_created_with(table),
            writer_properties=_writer(dated.columns),
            commit_properties=CommitProperties(app_transactions=[Transaction(*m) for m in marks.items()]),
        )

    def _is_there(self, table: str, marks: Mapping[str, int], before: Mapping[str, int]) -> bool:
        """After a conflict: whether another writer brought in the same rows. Raises where it brought in others."""
        now = {name: self.version(table, name) for name in marks}
        if now == before:
            return False
        if now == marks:
            return True
        moved = sorted(name for name in marks if now[name] != before[name])
        raise ForeshockError(
            f"lake table {table}: another writer took over {', '.join(moved)}",
            hint="this worker lost its partitions; start it again and it takes up where the lake ends",
        )

    def version(self, table: str, transaction: str) -> int:
        """The last version committed under the name `transaction`, or -1."""
        found = self.open(table)
        version = found.transaction_version(transaction) if found else None
        return -1 if version is None else int(version)

    def files(self, table: str) -> list[str]:
        """Absolute paths of the files of the present snapshot; empty when the table does not exist yet."""
        found = self.open(table)
        return found.file_uris() if found else []

    def read(
        self, table: str, *, since: datetime | None = None, columns: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """Rows of the present snapshot with time >= `since`, in the table's schema (without `date`)."""
        schema = _schema(table)
        wanted = list(columns or schema)
        found = self.open(table)
        if found is None:
            return pl.DataFrame(schema={c: schema[c] for c in wanted})
        scan = _with_new_columns(pl.scan_delta(found), schema)
        if since is not None:
            scan = scan.filter(pl.col("date") >= since.date(), pl.col(time_column(table)) >= since)
        return scan.select(wanted).collect()

    def _location(self, table: str) -> Path:
        _schema(table)
        return (self.path / table).absolute()

    def open(self, table: str) -> DeltaTable | None:
        """The present snapshot; None where the table does not exist yet. For upkeep; others read rows or files."""
        location = self._location(table)
        if not (location / "_delta_log").is_dir():
            return None
        try:
            return DeltaTable(location)
        except TableNotFoundError:
            return None
        except DeltaError as e:
            raise ForeshockError(
                f"lake table {location}: {str(e).splitlines()[0]}",  # the rest is a backtrace of the library
                hint="foreshock doctor; then move the damaged table away: ingest makes a new one",
            ) from e


def _with_new_columns(scan: pl.LazyFrame, schema: pl.Schema) -> pl.LazyFrame:
    """A table written by an older version lacks the newer columns: they are null."""
    have = scan.collect_schema().names()
    return scan.with_columns(
        pl.lit(None, dtype=kind).alias(name) for name, kind in schema.items() if name not in have
    )


def conform(table: str, rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` in the columns, order and types of `table`; missing columns are null.

    Raises ForeshockError naming a column that the table does not have.
    """
    schema = _schema(table)
    unknown = set(rows.columns) - set(schema)
    if unknown:
        raise ForeshockError(
            f"lake table {table}: unknown columns {sorted(unknown)}", hint="add them to pipeline/tables.py"
        )
    return rows.select(
        (pl.col(name) if name in rows.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in schema.items()
    )


def _dated(table: str, rows: pl.DataFrame) -> pl.DataFrame:
    return conform(table, rows).with_columns(pl.col(time_column(table)).dt.date().alias("date"))


def _created_with(table: str) -> dict[str, str | None]:
    # statistics of more columns make each commit larger, and nobody skips files by them
    return {**_CREATED_WITH, "delta.dataSkippingStatsColumns": f"{time_column(table)},gpu_uuid,node"}


def _writer(columns: Sequence[str]) -> WriterProperties:
    steady = {name: _STEADY for name in _STEADY_COLUMNS if name in columns}
    return WriterProperties(compression="ZSTD", compression_level=3, column_properties=steady)


def time_column(table: str) -> str:
    """The column whose UTC day is the partition."""
    return TIME_COLUMN.get(table, "time")


def _schema(table: str) -> pl.Schema:
    try:
        return TABLES[table]
    except KeyError:
        raise ForeshockError(f"lake: no table {table!r}", hint=f"tables: {', '.join(TABLES)}") from None
