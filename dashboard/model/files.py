"""The registry of models as plain files: which one serves, their cards, and every change. Nothing is loaded or scored.

    <root>/<model_id>/card.json      what a model was made from and promises
    <root>/active.json               which one serves
    <root>/log.jsonl                 every change, one a line

A card of a newer or older version shows what it has: missing parts are None or empty, unknown ones are skipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from collector.errors import ForeshockError


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """A threshold and what was measured there; rates are per day and 10,000 GPUs. None: not measured."""

    threshold: float
    chosen_by: str = ""
    precision: float | None = None
    recall: float | None = None
    alarms_per_day_per_10k: float | None = None


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What card.json says. Whether it is synthetic must be said, since figures may not be shown without it."""

    model_id: str
    created: datetime
    synthetic: bool
    point: Point
    head: str = ""
    dataset: str = ""
    feature_set: str = ""
    feature_names: tuple[str, ...] = ()
    label: dict[str, Any] = {}
    label_digest: str = ""
    horizon_s: int | None = None
    data_from: datetime | None = None
    data_until: datetime | None = None
    n_faults: int | None = None
    n_rows: int | None = None
    metrics: dict[str, Any] = {}
    curve: tuple[Point, ...] = ()
    seed: int | None = None
    versions: dict[str, str] = {}

    def metric(self, name: str) -> float | None:
        """A figure of `metrics`; None where there is none."""
        found = self.metrics.get(name)
        return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the log. `model_id` serves afterwards (promote, rollback), or came or went."""

    time: datetime
    change: str
    model_id: str | None = None
    before: str | None = None
    reason: str = ""
    who: str = ""


@dataclass(frozen=True, slots=True)
class Registry:
    """`cards`: by model id, newest first; a text says why one cannot be read. `unread`: lines of the log."""

    root: Path
    active: str | None
    cards: dict[str, Card | str]
    changes: tuple[Change, ...]
    unread: int


def read(root: Path) -> Registry | None:
    """The registry at `root`; None where there is no such folder. Raises ForeshockError where it cannot be read."""
    try:
        if not root.is_dir():
            return None
        folders = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
        changes, unread = _log(root / "log.jsonl")
        cards = {name: _card(root / name) for name in folders}
        return Registry(root, _active(root / "active.json"), _newest_first(cards), changes, unread)
    except OSError as e:
        raise ForeshockError(
            f"the registry {root} cannot be read: {e.strerror}",
            hint="may the dashboard's user read models.registry?",
        ) from e


def _newest_first(cards: dict[str, Card | str]) -> dict[str, Card | str]:
    """Readable ones by the time they were made, then those that cannot be read."""
    readable = {name: card for name, card in cards.items() if isinstance(card, Card)}
    ordered = sorted(readable, key=lambda name: readable[name].created, reverse=True)
    return {name: cards[name] for name in (*ordered, *(n for n in cards if n not in readable))}


def _card(folder: Path) -> Card | str:
    try:
        card = msgspec.json.decode((folder / "card.json").read_bytes(), type=Card)
    except FileNotFoundError:
        return "it has no card.json"
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        return f"its card.json is no card: {e}"
    return card if card.model_id == folder.name else f"it holds the card of {card.model_id}"


class _Active(msgspec.Struct, frozen=True):
    model_id: str | None = None


def _active(path: Path) -> str | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Active).model_id
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise ForeshockError(
            f"{path} cannot be read: {e}", hint="restore it, or delete it and `foreshock models promote ID`"
        ) from e


def _log(path: Path) -> tuple[tuple[Change, ...], int]:
    """Changes, oldest first, and how many lines are none. An end without a newline is a crash's: it never was."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    found: list[Change] = []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=Change))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return tuple(found), len(lines) - len(found)
