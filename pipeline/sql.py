"""The one door to DuckDB: a locked, read-only desk over one snapshot of the lake.

Each connection makes its views from the snapshot's own file list. A reader therefore never sees half a
commit, never blocks a writer, and needs no shared database file (which one writer would lock for everybody).
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import duckdb
import polars as pl
from polars import selectors

from collector.errors import ForeshockError
from pipeline.sql_guard import HINT, check_text, check_tree, split_explain
from pipeline.sql_schema import quoted
from pipeline.sql_views import Files, create_views, first_line

_READS: Final = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
_AS_TEXT: Final = ("INTERVAL", "UNION", "VARIANT")
"""Column types that Polars cannot hold; they arrive as text."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one desk may use. Nothing is spilled to disk: a query that needs more memory is refused."""

    memory_mib: int = 4096
    threads: int = min(4, os.cpu_count() or 1)
    time_s: float = 30.0


@dataclass(frozen=True, slots=True)
class View:
    """A table or view on the desk and what it is for."""

    name: str
    comment: str


class Desk:
    """Read-only SQL over one snapshot. `query` may be called from several threads at once."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, limits: Limits) -> None:
        self._connection = connection
        self._limits = limits
        self._names = frozenset(
            name
            for (name,) in connection.execute(
                "SELECT view_name FROM duckdb_views() WHERE NOT internal"
            ).fetchall()
        )

    def query(
        self,
        text: str,
        params: Mapping[str, object] | None = None,
        *,
        row_limit: int | None = None,
        time_limit_s: float | None = None,
    ) -> pl.DataFrame:
        """Run one reading statement; at most `row_limit` rows come back. $name takes its value from `params`.

        Raises ForeshockError for anything but one SELECT, WITH, FROM, DESCRIBE, SUMMARIZE, SHOW or EXPLAIN,
        for a statement DuckDB refuses, and when the time (seconds) or the memory runs out.
        """
        limit_s = self._limits.time_s if time_limit_s is None else time_limit_s
        with self._connection.cursor() as cursor, _explained(limit_s), _interrupted_after(cursor, limit_s):
            checked = _checked(cursor, text, self._names)
            # a relation, since it streams without pyarrow; a parameter it does not use would be an error
            found = cursor.query(checked, params=dict(params)) if params else cursor.query(checked)
            if found is None:
                raise ForeshockError("the statement has no result", hint=HINT)
            rows = pl.DataFrame(_Stream(_readable(found, row_limit)))
            return rows.with_columns(selectors.datetime(time_zone="*").dt.convert_time_zone("UTC"))

    def views(self) -> list[View]:
        """What can be asked, in the order in which it was made: the lake's tables, then views.sql."""
        rows = self.query(
            "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal ORDER BY view_oid"
        )
        return [View(name, comment or "") for name, comment in rows.iter_rows()]

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect(files: Files, lake_path: Path, limits: Limits | None = None) -> Desk:
    """Open a desk over the snapshot that `files` lists; files outside `lake_path` cannot be read.

    Raises ForeshockError where a table of the lake cannot be read.
    """
    limits = limits or Limits()
    connection = duckdb.connect(":memory:", config=_settings(limits))
    try:
        create_views(connection, files)
        _lock(connection, lake_path)
    except duckdb.Error as e:
        connection.close()
        raise ForeshockError(
            f"the lake cannot be opened: {first_line(e)}", hint="run `foreshock doctor`"
        ) from e
    except BaseException:
        connection.close()
        raise
    return Desk(connection, limits)


def _settings(limits: Limits) -> dict[str, str | bool | int | float | list[str]]:
    return {
        "memory_limit": f"{limits.memory_mib}MiB",
        "threads": limits.threads,
        "temp_directory": "",
        "python_enable_replacements": False,  # else FROM some_variable reads this process's own objects
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }


def _lock(connection: duckdb.DuckDBPyConnection, lake_path: Path) -> None:
    folders = {str(lake_path.absolute()), str(lake_path.resolve())}
    listed = ", ".join(quoted(folder) for folder in sorted(folders))
    connection.execute(f"SET allowed_directories = [{listed}]")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _checked(cursor: duckdb.DuckDBPyConnection, text: str, views: Container[str]) -> str:
    """The statement to run, once it is known to be one statement that only reads."""
    check_text(text)
    prefix, inner = split_explain(text)
    statements = cursor.extract_statements(inner)
    if len(statements) != 1:
        raise ForeshockError(f"one statement at a time, got {len(statements)}", hint=HINT)
    try:
        kind = statements[0].type
    except ValueError as e:  # a statement that DuckDB knows and its Python door does not
        raise ForeshockError("only reading is allowed here", hint=HINT) from e
    if kind not in _READS or (prefix and kind != duckdb.StatementType.SELECT):
        raise ForeshockError(f"only reading is allowed here, not {kind.name}", hint=HINT)
    check_tree(_tree(cursor, inner), views)
    return prefix + inner


def _tree(cursor: duckdb.DuckDBPyConnection, text: str) -> object:
    rows = cursor.execute("SELECT json_serialize_sql($1::VARCHAR)", [text]).fetchall()
    try:
        tree = json.loads(rows[0][0])
    except RecursionError as e:
        raise ForeshockError("the statement is nested too deeply", hint="split it with WITH") from e
    if tree.get("error"):
        raise ForeshockError(f"only reading is allowed here: {tree.get('error_message', '')}", hint=HINT)
    return tree


class _Stream:
    """Hands a relation to Polars as a plain Arrow stream.

    Given the relation itself, Polars keeps its class alive past the interpreter's end, and DuckDB then
    prints a page of leak warnings.
    """

    def __init__(self, relation: duckdb.DuckDBPyRelation) -> None:
        self._relation = relation

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> Any:
        return self._relation.__arrow_c_stream__(requested_schema)


def _readable(relation: duckdb.DuckDBPyRelation, row_limit: int | None) -> duckdb.DuckDBPyRelation:
    """At most `row_limit` rows, each column under a name of its own and of a type that Polars can hold."""
    rows = relation.limit((1 << 62) if row_limit is None else row_limit)
    named = [
        ('"' + name.replace('"', '""') + '"', str(kind))
        for name, kind in zip(rows.columns, rows.types, strict=True)
    ]
    if not any(word in kind for _, kind in named for word in _AS_TEXT):
        return rows
    return rows.select(
        ", ".join(f"CAST({n} AS VARCHAR) AS {n}" if any(w in k for w in _AS_TEXT) else n for n, k in named)
    )


@contextlib.contextmanager
def _interrupted_after(cursor: duckdb.DuckDBPyConnection, limit_s: float) -> Iterator[None]:
    def interrupt() -> None:
        # the query may end, and its cursor close, just as the time does
        with contextlib.suppress(duckdb.ConnectionException):
            cursor.interrupt()

    timer = threading.Timer(limit_s, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def _explained(limit_s: float) -> Iterator[None]:
    """DuckDB's errors in the user's words. Errors in mid-stream arrive through Polars, with DuckDB's text."""
    try:
        yield
    except (duckdb.Error, pl.exceptions.ComputeError) as e:
        text = first_line(e).removeprefix("got external error: ")
        if text.startswith("INTERRUPT"):
            raise ForeshockError(
                f"the query ran longer than {limit_s:g} s and was stopped",
                hint="narrow it: WHERE date = '...'",
            ) from e
        if text.startswith("Out of Memory"):
            hint = "read fewer days (WHERE date = ...) or aggregate first"
        elif text.startswith("IO Error"):
            hint = "ask again: the lake may have been compacted meanwhile; else run `foreshock doctor`"
        else:
            hint = HINT
        raise ForeshockError(text, hint=hint) from e
