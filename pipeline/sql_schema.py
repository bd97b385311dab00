"""One lake table as one DuckDB view: its SQL, from the table's columns and the snapshot's files. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import polars as pl
from polars.datatypes import DataTypeClass

_SQL: Final[dict[Any, str]] = {
    pl.Datetime: "TIMESTAMPTZ", pl.String: "VARCHAR", pl.Int64: "BIGINT", pl.Float64: "DOUBLE",
    pl.Float32: "FLOAT", pl.Boolean: "BOOLEAN", pl.Date: "DATE",
}  # fmt: skip


def view_sql(table: str, schema: pl.Schema, paths: Sequence[str]) -> str:
    """`CREATE VIEW` over the snapshot's files, or over nothing where there are none yet.

    An empty half with every column comes first: it gives each column its place and type, also where the table
    is not there yet or an older file lacks a column.
    """
    columns = ", ".join(f'NULL::{sql_type(kind)} AS "{name}"' for name, kind in schema.items())
    body = f"SELECT {columns}, NULL::DATE AS date WHERE false"
    if paths:
        listed = ", ".join(quoted(path) for path in paths)
        body = (
            f"SELECT * FROM ({body}) UNION ALL BY NAME SELECT * FROM read_parquet([{listed}], "  # noqa: S608
            "hive_partitioning = true, hive_types = {'date': DATE}, union_by_name = true)"
        )
    return f'CREATE VIEW "{table}" AS {body}'


def comment_sql(table: str) -> str:
    text = f"the lake's own table; DESCRIBE {table} lists its columns"
    return f'COMMENT ON VIEW "{table}" IS {quoted(text)}'


def sql_type(kind: pl.DataType | DataTypeClass) -> str:
    """The DuckDB type of a lake column. KeyError for a type that no table of ours has."""
    if isinstance(kind, pl.List):
        return sql_type(kind.inner) + "[]"
    if isinstance(kind, pl.Struct):
        members = ", ".join(f'"{field.name}" {sql_type(field.dtype)}' for field in kind.fields)
        return f"STRUCT({members})"
    return _SQL[kind.base_type()]


def quoted(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"
