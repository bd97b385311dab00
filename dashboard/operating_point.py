"""From which risk on each model's word is an alarm: the threshold on its card, read as plain JSON.

The registry is a folder of folders: <root>/<model_id>/card.json, with `point.threshold`. The watcher reads the same
card (alerting/levels.py); a page must not colour by another level than the one at which alarms are raised.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from collector.config import Config

_ID: Final = re.compile(r"[a-z][a-z0-9_]{0,31}-\d{8}T\d{4}-[0-9a-f]{12}")
"""A row of the lake names the model: nothing else becomes part of a path."""
_SCHEMA: Final = 1


class _Point(msgspec.Struct):
    threshold: float


class _Card(msgspec.Struct):
    point: _Point
    model_id: str = ""
    schema: int = _SCHEMA


class _Active(msgspec.Struct):
    model_id: str | None = None


def level_of(config: Config, model_id: str | None) -> float:
    """The alarm level for a risk of `model_id`; `watch.alarm_level` for the rules and where no card tells."""
    own = None if model_id is None or not config.watch.own_level else _threshold(config, model_id)
    return config.watch.alarm_level if own is None else own


def active(config: Config) -> str | None:
    """The model that serves; None while the rules do, or where the registry cannot be read."""
    try:
        return msgspec.json.decode(
            (config.models.registry / "active.json").read_bytes(), type=_Active
        ).model_id
    except (OSError, msgspec.DecodeError):
        return None


def with_levels(config: Config, fleet: pl.DataFrame) -> pl.DataFrame:
    """`fleet` and its column `alarm_level`: of the model that scored that row, of the active one where none did."""
    known = {m: level_of(config, m) for m in fleet["model_id"].unique().drop_nulls()}
    rest = level_of(config, active(config))
    level = pl.col("model_id").replace_strict(known, default=rest, return_dtype=pl.Float64)
    return fleet.with_columns(alarm_level=level if known else pl.lit(rest))


def _threshold(config: Config, model_id: str) -> float | None:
    if not _ID.fullmatch(model_id):
        return None
    path = config.models.registry / model_id / "card.json"
    try:
        changed_ns = path.stat().st_mtime_ns
    except OSError:
        return None
    return _read(path, model_id, changed_ns)


@lru_cache(maxsize=64)
def _read(path: Path, model_id: str, changed_ns: int) -> float | None:
    """`changed_ns` is part of the key only: a card that is restored is read again."""
    try:
        card = msgspec.json.decode(path.read_bytes(), type=_Card)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return card.point.threshold if card.schema <= _SCHEMA and card.model_id == model_id else None
