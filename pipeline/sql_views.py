"""Everything that can be asked, made on one DuckDB connection: the lake's tables, fault_codes, views.sql."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources

import duckdb
import polars as pl

from collector import xid_catalogue
from collector.errors import ForeshockError
from pipeline.sql_schema import Alike, comment_sql, quoted, read_sql, view_sql
from pipeline.tables import TABLES

Files = Callable[[str], list[str]]
"""Table name -> absolute paths of the files of its current snapshot; empty where the table does not exist."""


def create_views(connection: duckdb.DuckDBPyConnection, files: Files) -> None:
    """Make them over the snapshot that `files` lists. Raises ForeshockError where a table cannot be read."""
    # files never change; without it each query would read the foot of every file again
    connection.execute("SET GLOBAL parquet_metadata_cache = true")
    for table, schema in TABLES.items():
        _make_table(connection, table, schema, files(table))
    connection.execute(fault_codes_sql())
    connection.execute(resources.files("pipeline").joinpath("views.sql").read_text())


def fault_codes_sql() -> str:
    """The codes that labels are made of, from the Xid catalogue as this site has it."""
    rows = ", ".join(
        f"({code}, {str(not xid_catalogue.is_fault(code)).lower()})"
        for code in sorted(xid_catalogue.entries())
        if xid_catalogue.is_fault(code, fatal=True)
    )
    body = f"VALUES {rows}" if rows else "SELECT NULL, NULL WHERE false"  # a site may call none a fault
    columns = "SELECT code::BIGINT AS code, only_if_fatal::BOOLEAN AS only_if_fatal"
    comment = "the Xid codes that are a fault of the GPU, its links or its driver; some only where the line says Fatal"
    return (
        f"CREATE VIEW fault_codes AS {columns} FROM ({body}) AS told(code, only_if_fatal); "
        f"COMMENT ON VIEW fault_codes IS {quoted(comment)}"
    )


def first_line(error: Exception) -> str:
    """What DuckDB says, without its suggestions."""
    return str(error).strip().split("\n\n")[0].replace("\n", " ")


def _make_table(
    connection: duckdb.DuckDBPyConnection, table: str, schema: pl.Schema, paths: list[str]
) -> None:
    try:
        connection.execute(view_sql(table, schema, _alike(connection, paths)))
    except duckdb.Error as e:
        raise ForeshockError(
            f"the lake's table '{table}' cannot be read: {first_line(e)}", hint="run `foreshock doctor`"
        ) from e
    connection.execute(comment_sql(table))


def _alike(connection: duckdb.DuckDBPyConnection, paths: list[str]) -> list[Alike]:
    """The files by their columns: mostly one group, and one more for each version that wrote some of them."""
    if not paths:
        return []
    listed = ", ".join(quoted(path) for path in paths)
    groups = connection.execute(
        "SELECT list(file_name) FROM (SELECT file_name, list((name, duckdb_type) ORDER BY name) AS columns "  # noqa: S608
        f"FROM parquet_schema([{listed}]) WHERE coalesce(num_children, 0) = 0 GROUP BY file_name) GROUP BY columns"
    ).fetchall()
    return [Alike(names, _columns(connection, names[0])) for (names,) in groups]


def _columns(connection: duckdb.DuckDBPyConnection, path: str) -> dict[str, str]:
    rows = connection.execute(f"DESCRIBE FROM {read_sql([path])}").fetchall()
    return {name: kind for name, kind, *_ in rows}
