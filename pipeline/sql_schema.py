"""One lake table as one DuckDB view: its SQL, from the table's columns and the snapshot's files. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl
from polars.datatypes import DataTypeClass

_SQL: Final[dict[Any, str]] = {
    pl.Datetime: "TIMESTAMP WITH TIME ZONE", pl.String: "VARCHAR", pl.Int64: "BIGINT", pl.Float64: "DOUBLE",
    pl.Float32: "FLOAT", pl.Boolean: "BOOLEAN", pl.Date: "DATE",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Alike:
    """Files with the same columns: name -> DuckDB's type."""

    paths: Sequence[str]
    columns: Mapping[str, str]


def read_sql(paths: Sequence[str]) -> str:
    """The FROM clause over files with the same columns, and the day they are of."""
    listed = ", ".join(quoted(path) for path in paths)
    return f"read_parquet([{listed}], hive_partitioning = true, hive_types = {{'date': DATE}})"


def view_sql(table: str, schema: pl.Schema, groups: Sequence[Alike]) -> str:
    """`CREATE VIEW` over the snapshot's files, or over nothing.

    Each column has its place and type also where the table is not there yet or a file lacks it; what only files
    have comes last. Plain projections: DuckDB counts, and finds the newest, by what the files say of themselves,
    and opens none that it does not need. (With `union_by_name` it would open each one for every query.)
    """
    wanted = {name: sql_type(kind) for name, kind in schema.items()} | {"date": "DATE"}
    halves = [f"{_projected(wanted, group.columns)} FROM {read_sql(group.paths)}" for group in groups]
    body = " UNION ALL BY NAME ".join(halves or [f"{_projected(wanted, {})} WHERE false"])
    return f'CREATE VIEW "{table}" AS {body}'


def _projected(wanted: Mapping[str, str], have: Mapping[str, str]) -> str:
    columns = [_column(name, kind, have.get(name)) for name, kind in wanted.items()]
    columns += [_identifier(name) for name in have if name not in wanted]
    return "SELECT " + ", ".join(columns)


def _column(name: str, wanted: str, have: str | None) -> str:
    if have == wanted:
        return _identifier(name)
    value = "NULL" if have is None else _identifier(name)
    return f"CAST({value} AS {wanted}) AS {_identifier(name)}"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


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
