"""The one door to the lake: Delta tables, appended once, read as snapshots.

An append carries application transactions (a name and a growing version, e.g. a partition and its last
offset) in the same atomic commit. Read back by `version`, they tell a restarted writer what is there
already. Every table is partitioned by the UTC `date`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

from collector.errors import ForeshockError
from pipeline.tables import TABLES, TIME_COLUMN

_WRITER = WriterProperties(compression="ZSTD", compression_level=3)


class Lake:
    """The tables under `path`. Readers and writers in other processes may work on them at the same time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(
        self, table: str, rows: pl.DataFrame, *, transactions: Mapping[str, int] | None = None
    ) -> None:
        """Add `rows` in one atomic commit that also records `transactions`. No rows, no commit.

        Columns are brought into the table's schema: missing ones are null, unknown ones are refused.
        """
        if rows.is_empty():
            return
        marks = [Transaction(name, version) for name, version in (transactions or {}).items()]
        target = self._location(table)
        target.mkdir(parents=True, exist_ok=True)
        write_deltalake(
            target,
            _dated(table, rows),
            mode="append",
            schema_mode="merge",  # a newer version's new columns; older rows have null there
            partition_by=["date"],
            writer_properties=_WRITER,
            commit_properties=CommitProperties(app_transactions=marks),
        )

    def version(self, table: str, transaction: str) -> int:
        """The last version committed under the name `transaction`, or -1."""
        found = self._open(table)
        version = found.transaction_version(transaction) if found else None
        return -1 if version is None else int(version)

    def files(self, table: str) -> list[str]:
        """Absolute paths of the files of the present snapshot; empty when the table does not exist yet."""
        found = self._open(table)
        return found.file_uris() if found else []

    def read(
        self, table: str, *, since: datetime | None = None, columns: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """Rows of the present snapshot with time >= `since`, in the table's schema (without `date`)."""
        schema = _schema(table)
        wanted = list(columns or schema)
        found = self._open(table)
        if found is None:
            return pl.DataFrame(schema={c: schema[c] for c in wanted})
        scan = _with_new_columns(pl.scan_delta(found), schema)
        if since is not None:
            time = _time_column(table)
            scan = scan.filter(pl.col("date") >= since.date(), pl.col(time) >= since)
        return scan.select(wanted).collect()

    def _location(self, table: str) -> Path:
        _schema(table)
        return (self.path / table).absolute()

    def _open(self, table: str) -> DeltaTable | None:
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
    return conform(table, rows).with_columns(pl.col(_time_column(table)).dt.date().alias("date"))


def _time_column(table: str) -> str:
    return TIME_COLUMN.get(table, "time")


def _schema(table: str) -> pl.Schema:
    try:
        return TABLES[table]
    except KeyError:
        raise ForeshockError(f"lake: no table {table!r}", hint=f"tables: {', '.join(TABLES)}") from None
