"""A site's own opinion on Xids, in TOML, over the rows of the catalogue.

    [xid.79]
    action = "drain_now"
    why = "our boards come back only after a cold boot"

Keys: meaning, terminal, label, action, why. A code that the catalogue does not hold needs a `meaning`.
`label` is what features and training labels are made of: change it, and the risk model must be trained again.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Final, get_args

import msgspec

from collector.errors import ConfigError
from collector.xid_catalogue import Entry, Label, nearest, shipped
from collector.xid_words import Action, Terminal

_ALLOWED: Final[dict[str, tuple[str, ...]]] = {
    "terminal": get_args(Terminal),
    "label": get_args(Label),
    "action": get_args(Action),
}
_KEYS: Final = ("meaning", "terminal", "label", "action", "why")


def load_overrides(path: str | Path) -> dict[int, Entry]:
    """Whole rows for the codes that `path` names, to be given to `xid_catalogue.use`.

    Raises ConfigError with the key, what is wrong with it and the nearest known word.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "not UTF-8"
        raise ConfigError(
            f"Xid overrides {path}: {reason}", hint="set collector.xid_overrides to a readable TOML file"
        ) from e
    return parse_overrides(text, str(path))


def parse_overrides(text: str, path: str = "overrides") -> dict[int, Entry]:
    """The same from TOML text. Pure."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"{path}: not TOML: {e}", hint="write [xid.79] and below it key = value") from e
    for name in tables:
        if name != "xid":
            raise ConfigError(f"{path}: [{name}]: no such table{_near(name, ['xid'])}", hint="write [xid.79]")
    rows = tables.get("xid", {})
    if not isinstance(rows, dict):
        raise ConfigError(f"{path}: xid must be a table, got {rows!r}", hint="write [xid.79]")
    return {(code := _code(path, name)): _entry(path, code, row) for name, row in rows.items()}


def _code(path: str, name: str) -> int:
    if not name.isdecimal() or not 0 < int(name[:8]) < 10_000:
        raise ConfigError(f"{path}: [xid.{name}]: not an Xid", hint="write the number alone: [xid.79]")
    return int(name)


def _entry(path: str, code: int, row: object) -> Entry:
    if not isinstance(row, dict):
        raise ConfigError(f"{path}: xid.{code}: must be a table, got {row!r}", hint=f"write [xid.{code}]")
    for key, value in row.items():
        _check(f"{path}: xid.{code}.{key}", key, value)
    ours = shipped().get(code)
    if ours is None and "meaning" not in row:
        known = ", ".join(map(str, nearest(code)))
        raise ConfigError(
            f"{path}: xid.{code}: the catalogue does not hold this code, and no meaning is given",
            hint=f'add meaning = "..."; the nearest known codes are {known}',
        )
    source = f"{ours.sources}; changed by {path}" if ours else path
    return msgspec.structs.replace(ours or _blank(code), sources=source, **row)


def _check(where: str, key: str, value: object) -> None:
    if key not in _KEYS:
        raise ConfigError(f"{where}: no such key{_near(key, _KEYS)}", hint=f"keys: {', '.join(_KEYS)}")
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{where}: must be a text (got {value!r})", hint=f'write {key} = "..."')
    allowed = _ALLOWED.get(key)
    if allowed is not None and value not in allowed:
        raise ConfigError(
            f"{where}: {value!r} is no {key}{_near(value, allowed)}", hint=f"one of: {', '.join(allowed)}"
        )


def _blank(code: int) -> Entry:
    return Entry(
        code=code, mnemonic="defined by this site", meaning="", layer="unknown", scope="", terminal="no",
        label="none", nvidia_action="", nvidia_investigate="", action="observe", why="this site says so",
        precursor_of="", sources="",
    )  # fmt: skip


def _near(name: str, known: tuple[str, ...] | list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
