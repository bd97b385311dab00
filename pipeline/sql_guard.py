"""What an analyst's statement may contain, decided on DuckDB's own syntax tree. Pure: no database here.

The connection itself is locked (no files outside the lake, no settings, nothing to install); this is the door
in front of that lock. It lists what is allowed, so what DuckDB adds tomorrow is refused until somebody looks.

The paths of the lake's own files are no secret to whoever may read their rows (duckdb_views() shows them); settings,
environment, logs and other files are.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import Any, Final

from collector.errors import ForeshockError

HINT: Final = "write one SELECT over the views; `foreshock sql` without a query lists them"

_NODES: Final = frozenset(
    {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE", "STATEMENT_NODE"}
)
"""Query nodes that only read. INSERT, UPDATE, DELETE and MERGE may stand inside WITH, and are not here."""

_TABLE_FUNCTIONS: Final = frozenset({
    "range", "generate_series", "unnest", "repeat", "repeat_row", "summary", "json_each", "json_tree",
    "histogram", "histogram_values", "duckdb_columns", "duckdb_functions", "duckdb_keywords", "duckdb_tables",
    "duckdb_types", "duckdb_views", "pragma_show", "pragma_table_info", "pragma_version", "pg_timezone_names",
})  # fmt: skip
"""None of these opens a file, runs a string as SQL or changes anything."""

_SCALARS_REFUSED: Final = frozenset({
    "nextval", "setval", "setseed", "sleep_ms", "pg_sleep", "write_log", "getenv", "getvariable", "current_setting",
    "json_execute_serialized_sql",
})  # fmt: skip

_SYSTEM_VIEWS: Final = frozenset({
    "duckdb_columns", "duckdb_tables", "duckdb_types", "duckdb_views", "pg_tables", "pg_views", "sqlite_master",
})  # fmt: skip
"""DuckDB's own views that may be named. The others run table functions that are not allowed by their own name."""

_SYSTEM_NAME: Final = re.compile(r"(duckdb|pg|sqlite|pragma)_", re.IGNORECASE)
_SYSTEM_SCHEMA: Final = re.compile(r"information_schema|pg_catalog", re.IGNORECASE)
_SHOWN: Final = frozenset({'"tables"', '"schemas"', '"databases"', "__show_tables_expanded"})
_LONGEST: Final = 100_000
"""Characters of a statement. Longer ones are made by programs, and cost the parser memory that nothing limits."""

_LOOKS_LIKE_A_FILE: Final = re.compile(r"[/\\.*?:\[\]~]")
_EXPLAIN: Final = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/)*EXPLAIN\b(\s+ANALYZE\b)?", re.IGNORECASE | re.DOTALL
)


def split_explain(text: str) -> tuple[str, str]:
    """`EXPLAIN [ANALYZE] SELECT ...` -> (prefix, the rest); ("", text) where it is no EXPLAIN.

    The caller checks the rest and runs prefix + rest, so what runs is what was checked.
    """
    found = _EXPLAIN.match(text)
    if found is None:
        return "", text
    return ("EXPLAIN ANALYZE " if found[1] else "EXPLAIN "), text[found.end() :]


def check_text(text: str) -> None:
    """Refuse what is not even text that DuckDB can read. Raises ForeshockError."""
    if len(text) > _LONGEST:
        raise ForeshockError(f"the statement is longer than {_LONGEST:,} characters", hint=HINT)
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise ForeshockError("the statement has characters that are no text", hint=HINT)


def check_tree(tree: object, views: Container[str]) -> None:
    """Refuse a syntax tree (json_serialize_sql) that writes, opens files or runs hidden SQL.

    `views` are the names that a qualified name may end in (`main.events`).
    Raises ForeshockError, naming what was refused.
    """
    for node in _objects(tree):
        kind = node.get("type")
        if not isinstance(kind, str):
            continue
        if kind.endswith("_NODE") and kind not in _NODES:
            raise ForeshockError(f"only reading is allowed here, not {_verb(kind)}", hint=HINT)
        if kind == "TABLE_FUNCTION":
            _check_table_function(node)
        elif kind == "BASE_TABLE":
            _check_table(node, views)
        elif kind == "SHOW_REF":
            _check_shown(node)
        elif "function_name" in node:
            _check_scalar(node)


def _objects(tree: object) -> Iterator[dict[str, Any]]:
    """Every JSON object in the tree. A stack, not recursion: a statement may nest deeper than Python does."""
    stack = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield item
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _verb(node_type: str) -> str:
    return node_type.removesuffix("_NODE").removesuffix("_QUERY").replace("_", " ")


def _check_table_function(node: dict[str, Any]) -> None:
    function = node.get("function")
    name = str(function.get("function_name", "?")).lower() if isinstance(function, dict) else "?"
    if name not in _TABLE_FUNCTIONS:
        raise ForeshockError(f"the table function {name}() is not allowed here", hint=HINT)


def _check_table(node: dict[str, Any], views: Container[str]) -> None:
    """DuckDB opens `"/a/b".csv` as the file /a/b.csv, so that each part of a name counts."""
    catalog, schema, name = (str(node.get(f"{part}_name") or "") for part in ("catalog", "schema", "table"))
    _check_name(name)
    if _SYSTEM_NAME.match(name):
        if name.lower() not in _SYSTEM_VIEWS:
            raise ForeshockError(f"the system table {name} is not allowed here", hint=HINT)
    elif (catalog or schema) and not _SYSTEM_SCHEMA.fullmatch(schema) and name not in views:
        whole = ".".join(part for part in (catalog, schema, name) if part)
        raise ForeshockError(f"there is no table or view '{whole}' here", hint=HINT)


def _check_shown(node: dict[str, Any]) -> None:
    name = str(node.get("table_name") or "")
    if node.get("show_type") == "SHOW_SPECIAL" and name not in _SHOWN:
        shown = name.strip('"').upper()
        raise ForeshockError(f"SHOW {shown} is not allowed here", hint=HINT)
    if node.get("show_type") != "SHOW_SPECIAL":
        _check_name(name)


def _check_name(name: str) -> None:
    if _LOOKS_LIKE_A_FILE.search(name):
        raise ForeshockError(f"'{name}' reads like a file, and files are not opened here", hint=HINT)


def _check_scalar(node: dict[str, Any]) -> None:
    name = str(node.get("function_name", "")).lower()
    if name in _SCALARS_REFUSED or name.startswith("read_"):
        raise ForeshockError(f"the function {name}() is not allowed here", hint=HINT)
