"""Trained models in plain folders: saved whole or not at all, loaded only where everything fits, promoted on record.

    <root>/<model_id>/model.skops, card.json
    <root>/active.json               the model that serves, those before it, and the last change
    <root>/log.jsonl                 every change, append-only

A local or shared file system (rename and flock must work); no object store. Whoever may write into `root` decides
what is served: the digest tells a torn or mixed-up file, not a forger. What a forger cannot do is run code: a model
file is data, and only the types of TRUSTED are ever built from it.
"""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from collector.clock import Clock, SystemClock, to_datetime
from collector.errors import ForeshockError
from models.cards import Card, check_library, decode, encode
from models.model_file import State, opened, packed

_ID: Final = re.compile(r"[a-z][a-z0-9_]{0,31}-\d{8}T\d{4}-[0-9a-f]{12}")
_RETRAIN: Final = "train again: foreshock train"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the log. `model_id` is what serves afterwards (promote, rollback) or what came or went."""

    time: datetime
    change: str
    model_id: str | None
    before: str | None = None
    reason: str = ""
    who: str = ""
    number: int = 0


class _Active(msgspec.Struct, frozen=True):
    model_id: str | None = None
    before: tuple[str | None, ...] = ()
    last: Change | None = None


class Registry:
    """The models under `root`. Readers need no lock and never see half a change; writers wait for each other."""

    def __init__(self, root: Path, clock: Clock | None = None) -> None:
        self.root = root
        self._clock = clock or SystemClock()

    def save(self, state: State, card: Card) -> str:
        """Store `state` (dicts, lists, str, numbers, arrays, estimators of TRUSTED) with its card; the model id.

        Raises ForeshockError where the state holds anything else: what could not be loaded is not saved.
        """
        data = packed(state)
        digest = _digest(data)
        model_id = f"{card.head}-{card.created:%Y%m%dT%H%M}-{digest[:12]}"
        whole = msgspec.structs.replace(card, model_id=model_id, file_digest=digest)
        opened(data, f"the new model {model_id}")
        with self._writing():
            draft = self.root / f".saving-{uuid.uuid4().hex}"
            draft.mkdir()
            _put(draft / "model.skops", data)
            _put(draft / "card.json", encode(whole))
            draft.rename(self._folder(model_id))
            self._settle(self._change("save", model_id))
        return model_id

    def load(self, model_id: str, *, feature_set: str) -> tuple[State, Card]:
        """The state and card of `model_id`, for a matrix of `feature_set`.

        Raises ForeshockError for another feature set, another scikit-learn (major.minor), a file that is not the
        one the card was written for, and a file with a type that is not TRUSTED. Another patch version is logged.
        """
        card = self.card(model_id)
        if card.feature_set != feature_set:
            raise ForeshockError(
                f"{model_id} was trained on feature set {card.feature_set}, and this is {feature_set}",
                hint=_RETRAIN,
            )
        return self._state(card), card

    def check(self, model_id: str, feature_set: str | None = None) -> Card:
        """Load it and throw it away; its card. None: whatever its feature set. Raises ForeshockError as `load`."""
        known = self.card(model_id).feature_set if feature_set is None else feature_set
        return self.load(model_id, feature_set=known)[1]

    def card(self, model_id: str) -> Card:
        """Raises ForeshockError where there is no such model or its card cannot be read."""
        card = decode(self._read(model_id, "card.json"), str(self._folder(model_id) / "card.json"))
        if card.model_id != model_id:
            raise ForeshockError(f"the folder {model_id} holds the card of {card.model_id}", hint=_RETRAIN)
        return card

    def list(self) -> tuple[str, ...]:
        """Model ids, newest first. A model that cannot be read is listed too: `card` says why."""
        found = [p.name for p in self.root.iterdir() if _ID.fullmatch(p.name)] if self.root.is_dir() else []
        return tuple(sorted(found, key=lambda name: (name.split("-")[1], name), reverse=True))

    def active(self) -> str | None:
        """The model that serves; None before the first promotion, or rolled back to before it."""
        return self._active().model_id

    def promote(self, model_id: str, reason: str, *, feature_set: str | None = None, who: str = "") -> None:
        """Let `model_id` serve. One that `check` refuses does not; the one that serves already stays."""
        with self._writing():
            self.check(model_id, feature_set)
            now = self._active()
            if now.model_id != model_id:
                change = self._change("promote", model_id, now.model_id, reason, who)
                self._switch(_Active(model_id, (*now.before, now.model_id), change))

    def rollback(self, reason: str, *, feature_set: str | None = None, who: str = "") -> str | None:
        """Let the model before the active one serve again; its id. Models removed since are stepped over.

        None: before the first promotion no model served. Raises ForeshockError where nothing is left to go back to.
        """
        with self._writing():
            now = self._active()
            left = [at for at, old in enumerate(now.before) if old is None or self._folder(old).is_dir()]
            if not left:
                raise ForeshockError(
                    "there is no model to roll back to",
                    hint="foreshock models list; foreshock models promote ID",
                )
            target = now.before[left[-1]]
            if target is not None:
                self.check(target, feature_set)
            change = self._change("rollback", target, now.model_id, reason, who)
            self._switch(_Active(target, now.before[: left[-1]], change))
        return target

    def remove(self, model_id: str, reason: str = "", *, who: str = "") -> None:
        """Delete a model; never the active one."""
        with self._writing():
            if model_id == self.active():
                raise ForeshockError(f"{model_id} is active", hint="foreshock models promote another first")
            if not self._folder(model_id).is_dir():
                raise ForeshockError(f"no model {model_id} in {self.root}", hint="foreshock models list")
            gone = self.root / f".removed-{uuid.uuid4().hex}"
            self._folder(model_id).rename(gone)
            self._settle(self._change("remove", model_id, None, reason, who))
            shutil.rmtree(gone)

    def history(self) -> tuple[Change, ...]:
        """Every change, oldest first."""
        known, last = self._logged(), self._active().last
        return known if last is None or last in known else (*known, last)

    def _state(self, card: Card) -> State:
        data = self._read(card.model_id, "model.skops")
        if _digest(data) != card.file_digest:
            raise ForeshockError(
                f"{self._folder(card.model_id)}: model.skops is not the file its card was written for",
                hint=f"foreshock models rollback, then remove {card.model_id}",
            )
        check_library(card)
        return opened(data, card.model_id)

    def _folder(self, model_id: str) -> Path:
        if not _ID.fullmatch(model_id):
            raise ForeshockError(f"{model_id!r} is no model id", hint="foreshock models list")
        return self.root / model_id

    def _read(self, model_id: str, name: str) -> bytes:
        try:
            return (self._folder(model_id) / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as e:
            raise ForeshockError(
                f"no {name} in {self._folder(model_id)}", hint="foreshock models list"
            ) from e

    def _active(self) -> _Active:
        path = self.root / "active.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=_Active)
        except FileNotFoundError:
            return _Active()
        except msgspec.DecodeError as e:
            raise ForeshockError(
                f"{path} cannot be read: {e}", hint="restore it, or delete it and promote"
            ) from e

    def _logged(self) -> tuple[Change, ...]:
        path = self.root / "log.jsonl"
        lines = (
            path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        )  # an end without a newline is a crash's
        return tuple(msgspec.json.decode(line, type=Change) for line in lines)

    def _change(
        self, what: str, model_id: str | None, before: str | None = None, reason: str = "", who: str = ""
    ) -> Change:
        return Change(
            time=to_datetime(self._clock.time_s()), change=what, model_id=model_id, before=before, reason=reason,
            who=who or _whoami(), number=1 + max((c.number for c in self.history()), default=0),
        )  # fmt: skip

    def _switch(self, active: _Active) -> None:
        """The one moment at which another model serves. The change rides along, so that no crash loses its line."""
        self._settle()
        draft = self.root / f".active-{uuid.uuid4().hex}"
        _put(draft, msgspec.json.encode(active))
        draft.replace(self.root / "active.json")
        _sync(self.root)
        self._settle()

    def _settle(self, *more: Change) -> None:
        """Append what the log lacks, whole lines only."""
        logged, last = self._logged(), self._active().last
        lacking = [c for c in (last, *more) if c is not None and c not in logged]
        path = self.root / "log.jsonl"
        with path.open("ab") as file:
            file.truncate(path.read_bytes().rfind(b"\n") + 1)
            file.write(b"".join(msgspec.json.encode(c) + b"\n" for c in lacking))
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One writer at a time; what a crashed one left half-made goes."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in (*self.root.glob(".saving-*"), *self.root.glob(".removed-*")):
                shutil.rmtree(left)
            for left in self.root.glob(".active-*"):
                left.unlink()
            yield
            _sync(self.root)


def _put(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """A rename lasts once its folder is on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _whoami() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
