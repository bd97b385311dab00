"""Reads `foreshock.toml` into the settings. Unknown keys are refused with the nearest known name."""

from __future__ import annotations

import dataclasses
import difflib
import os
import tomllib
import typing
from pathlib import Path
from typing import Any, TypeVar

from collector.config import Config
from collector.errors import ConfigError

T = TypeVar("T")

SEARCH = (
    Path("foreshock.toml"),
    Path.home() / ".config/foreshock/foreshock.toml",
    Path("/etc/foreshock/foreshock.toml"),
)


def load(path: str | None = None) -> Config:
    """Read `path`, else $FORESHOCK_CONFIG, else the first of SEARCH that exists, else defaults.

    Raises ConfigError with the key, the rule and the nearest known name.
    """
    named = path or os.environ.get("FORESHOCK_CONFIG")
    found = Path(named) if named else next((p for p in SEARCH if p.is_file()), None)
    if found is None:
        return Config()
    try:
        text = found.read_text()
    except OSError as e:
        raise ConfigError(
            f"{found}: {e.strerror}", hint="give --config FILE, or leave it out for the defaults"
        ) from e
    return parse(text, str(found))


def parse(text: str, path: str = "") -> Config:
    """TOML text -> Config. Pure, so that tests and the demo can use it without a file."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"{path or 'config'}: not TOML: {e}", hint="see the example in README.md") from e
    stages = {f.name: f for f in dataclasses.fields(Config) if f.name != "path"}
    for name in tables:
        if name not in stages:
            raise ConfigError(
                f"[{name}]: no such table{_nearest(name, list(stages))}", hint=f"tables: {', '.join(stages)}"
            )
    hints = typing.get_type_hints(Config)
    made = {name: _table(hints[name], name, tables[name]) for name in tables}
    return Config(**made, path=path)


def _table(cls: type[T], name: str, values: object) -> T:
    if not isinstance(values, dict):
        raise ConfigError(
            f"{name}: must be a table, got {values!r}", hint=f"write [{name}] on a line of its own"
        )
    known = typing.get_type_hints(cls)
    for key in values:
        if key not in known:
            raise ConfigError(
                f"{name}.{key}: no such key{_nearest(key, list(known))}", hint=f"keys: {', '.join(known)}"
            )
    return cls(**{k: _value(f"{name}.{k}", known[k], v) for k, v in values.items()})


def _value(key: str, kind: Any, value: object) -> object:
    if typing.get_origin(kind) is tuple:
        if isinstance(value, list) and all(isinstance(v, str) for v in value):
            return tuple(value)
    elif kind is Path and isinstance(value, str):
        return Path(value)
    elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if value < 0:
            raise ConfigError(
                f"{key}: must be >= 0 (got {value})", hint="durations and sizes are never negative"
            )
        return float(value)
    elif isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    wanted = {tuple: "list of strings", Path: "path", float: "number"}.get(
        typing.get_origin(kind) or kind, getattr(kind, "__name__", str(kind))
    )
    raise ConfigError(
        f"{key}: must be a {wanted} (got {value!r})", hint="see the comments in collector/config.py"
    )


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
