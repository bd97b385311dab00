"""The one door to the lake: Delta tables, appended once, read as snapshots.

An append carries application transactions (a name and a growing version, e.g. a partition and its last
offset) in the same atomic commit. Read back by `version`, they tell a restarted writer what is there
already. Every table is partitioned by the UTC `date`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from collector.errors import ForeshockError
from pipeline.lake_files import Made, add, newest_rows, root, write_files
from pipeline.lake_format import created_with, writer
from pipeline.tables import TABLES, TIME_COLUMN

_ATTEMPTS: Final = 20
_PAUSE_S: Final = 0.05
"""A commit that met another one is tried again after up to this long, growing with each try."""


class LakeUnavailableError(ForeshockError):
    """The lake does not take rows now: a full disk, a store that is away, too many writers. It may later."""


class TakenOverError(ForeshockError):
    """Another writer brought in rows that this one had yet to write."""


class Lake:
    """The tables under `path`. Readers and writers in other processes may work on them at the same time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(
        self,
        table: str,
        rows: pl.DataFrame,
        *,
        transactions: Mapping[str, int] | None = None,
        after: Mapping[str, int] | None = None,
    ) -> None:
        """Add `rows` in one atomic commit that also records `transactions`. No rows, no commit.

        With `after` only where the transactions stand there now: whoever finds others was overtaken.

        Columns are brought into the table's schema: missing ones are null, unknown ones are refused. A commit that
        meets another one is tried again. Raises TakenOverError where another writer moved a transaction, and
        LakeUnavailableError where the table stays contested or cannot be written: nothing of `rows` is in the lake
        then, and the same append may be tried again.
        """
        if rows.is_empty():
            return
        marks = dict(transactions or {})
        dated = _dated(table, rows)
        made: list[Made] = []
        for attempt in range(_ATTEMPTS):
            found = self.open(table)
            before = versions(found, marks)
            if after is not None and _is_there(table, marks, after, before):
                return
            try:
                if found is not None and _writes_itself(table, found, dated):
                    made = made or write_files(root(found), dated, time_column(table))
                    add(found, made, marks)
                else:
                    self._commit(table, dated, marks)
            except CommitFailedError:
                # a file rewritten, a column added, the table made: by another, just now
                if _is_there(table, marks, before, versions(self.open(table), marks)):
                    return  # our file belongs to nobody then: upkeep sweeps it
                time.sleep(random.uniform(0, _PAUSE_S) * (attempt + 1))
            except (OSError, DeltaError, pl.exceptions.PolarsError) as e:
                raise LakeUnavailableError(
                    f"lake table {table}: cannot be written: {str(e).splitlines()[0]}",
                    hint=f"is there room, and may we write in {self._location(table)}?",
                ) from e
            else:
                return
        raise LakeUnavailableError(
            f"lake table {table}: {_ATTEMPTS} commits in a row met another writer's",
            hint="fewer, larger flushes (ingest.flush_s), or fewer workers",
        )

    def _commit(self, table: str, dated: pl.DataFrame, marks: Mapping[str, int]) -> None:
        """The library's own way: it makes the table, and merges new columns into its schema."""
        target = self._location(table)
        target.mkdir(parents=True, exist_ok=True)
        write_deltalake(
            target,
            dated,
            mode="append",
            schema_mode="merge",  # a newer version's new columns; older rows have null there
            partition_by=["date"],
            configuration=created_with(time_column(table)),
            writer_properties=writer(dated.columns),
            commit_properties=CommitProperties(app_transactions=[Transaction(*m) for m in marks.items()]),
        )

    def version(self, table: str, transaction: str) -> int:
        """The last version committed under the name `transaction`, or -1."""
        return versions(self.open(table), [transaction])[transaction]

    def files(self, table: str) -> list[str]:
        """Absolute paths of the files of the present snapshot; empty when the table does not exist yet."""
        found = self.open(table)
        return found.file_uris() if found else []

    def read(
        self, table: str, *, since: datetime | None = None, columns: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """Rows of the present snapshot with time >= `since`, in the table's schema (without `date`)."""
        return self.scan(table, since=since, columns=columns).collect()

    def scan(
        self, table: str, *, since: datetime | None = None, columns: Sequence[str] | None = None
    ) -> pl.LazyFrame:
        """The same, not read yet: what is asked of it decides what is read. It stays with the snapshot of now."""
        schema = _schema(table)
        wanted = list(columns or schema)
        found = self.open(table)
        if found is None:
            return pl.LazyFrame(schema={c: schema[c] for c in wanted})
        scan = _with_new_columns(pl.scan_delta(found), schema)
        if since is not None:
            scan = scan.filter(pl.col("date") >= since.date(), pl.col(time_column(table)) >= since)
        return scan.select(wanted)

    def reach(self, table: str, rows: int) -> datetime | None:
        """The time from which on the table has about `rows` rows; None where it has no more than that."""
        found = self.open(table)
        return newest_rows(found, time_column(table), rows) if found else None

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


def versions(found: DeltaTable | None, marks: Iterable[str]) -> dict[str, int]:
    """The last version committed under each name, or -1."""
    versions = {name: found.transaction_version(name) if found else None for name in marks}
    return {name: -1 if v is None else int(v) for name, v in versions.items()}


def _is_there(
    table: str, marks: Mapping[str, int], before: Mapping[str, int], now: Mapping[str, int]
) -> bool:
    """Whether another writer brought in the same rows since `before`. Raises where it brought in others."""
    if now == before:
        return False
    if now == marks:
        return True
    moved = sorted(name for name in marks if now[name] != before[name])
    raise TakenOverError(
        f"lake table {table}: another writer took over {', '.join(moved)}",
        hint="this worker lost its partitions; start it again and it takes up where the lake ends",
    )


def _writes_itself(table: str, found: DeltaTable, dated: pl.DataFrame) -> bool:
    """Whether the table as it is takes these columns, flat ones only: then Polars writes the file, twice as fast."""
    nested = any(kind.is_nested() for kind in _schema(table).values())
    return not nested and set(dated.columns) <= {f.name for f in found.schema().fields}


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


def time_column(table: str) -> str:
    """The column whose UTC day is the partition."""
    return TIME_COLUMN.get(table, "time")


def _schema(table: str) -> pl.Schema:
    try:
        return TABLES[table]
    except KeyError:
        raise ForeshockError(f"lake: no table {table!r}", hint=f"tables: {', '.join(TABLES)}") from None
