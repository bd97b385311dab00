"""What an analyst's statement may contain, decided on DuckDB's own syntax tree. Pure: no database here.

The connection itself is locked (no files outside the lake, no settings, nothing to install); this is the door
in front of that lock. It lists what is allowed, so what DuckDB adds tomorrow is refused until somebody looks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
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
    "nextval", "setval", "setseed", "sleep_ms", "write_log", "getenv", "json_execute_serialized_sql",
})  # fmt: skip

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


def check_tree(tree: object) -> None:
    """Refuse a syntax tree (json_serialize_sql) that writes, opens files or runs hidden SQL.

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
            _check_table(node)
        elif kind == "FUNCTION":
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


def _check_table(node: dict[str, Any]) -> None:
    name = str(node.get("table_name", ""))
    if _LOOKS_LIKE_A_FILE.search(name):
        raise ForeshockError(f"'{name}' reads like a file, and files are not opened here", hint=HINT)


def _check_scalar(node: dict[str, Any]) -> None:
    name = str(node.get("function_name", "")).lower()
    if name in _SCALARS_REFUSED or name.startswith("read_"):
        raise ForeshockError(f"the function {name}() is not allowed here", hint=HINT)
