"""The one signed door by which the page writes: it runs `foreshock incidents ack|silence|note` for a named person.

Off unless `dashboard.may_write`. The command is given as a list, never to a shell, and decides itself what it takes:
what it refuses is shown in its own words. The page itself writes nothing, neither to the lake nor to the stream.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from collector.config import Config
from collector.errors import ForeshockError

Verb = Literal["ack", "silence", "note"]

LONGEST_TEXT: Final = 1_000
"""Characters; the incident keeps 2,000 of a line, and the name and time stand in it too."""
LONGEST_SILENCE_H: Final = 24.0 * 7
_LONGEST_NAME: Final = 100
_DEADLINE_S: Final = 30.0
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


@dataclass(frozen=True, slots=True)
class Signer:
    """Who writes. `name` None: nobody has said so yet. `asked`: the page asks, and nobody checks the answer."""

    name: str | None
    asked: bool = False


@dataclass(frozen=True, slots=True)
class Word:
    """What a person tells an incident."""

    verb: Verb
    incident_id: str
    by: str
    text: str = ""
    hours: float | None = None


def signer(config: Config, user: Mapping[str, Any], headers: Mapping[str, str]) -> Signer:
    """By the proxy's header where one is configured, else by the login, else by asking.

    Where a header or a login is what names people, a request without it is nobody's.
    """
    if config.dashboard.user_header:
        return Signer(_name(headers.get(config.dashboard.user_header)))
    if "is_logged_in" in user:
        known = user["is_logged_in"] is True
        said = next(
            (user[key] for key in ("email", "preferred_username", "name", "sub") if user.get(key)), None
        )
        return Signer(_name(said) if known else None)
    return Signer(None, asked=True)


def tell(config: Config, word: Word) -> str:
    """Run the command; what it said. Raises ForeshockError with its own words where it refuses or does not end."""
    if not config.dashboard.may_write:
        raise ForeshockError(
            "this dashboard only reads", hint="set dashboard.may_write = true, or use `foreshock incidents`"
        )
    try:
        done = subprocess.run(
            command(config, checked(word)), capture_output=True, text=True, timeout=_DEADLINE_S, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as e:
        raise ForeshockError(
            f"`foreshock incidents` did not end within {_DEADLINE_S:.0f} s: nobody knows whether it was heard",
            hint="see in a minute whether the story tells of it; `foreshock doctor` looks at the stream",
        ) from e
    if done.returncode != 0:
        raise _refusal(done.stderr)
    return done.stdout.strip()


def command(config: Config, word: Word) -> list[str]:
    """Argv. What people typed stands behind a `=`, so that nothing of it can be taken for an option."""
    argv = [sys.executable, "-I", "-m", "foreshock"]
    if config.path:
        argv += ["--config", str(Path(config.path).absolute())]
    argv += ["incidents", word.verb, word.incident_id, f"--by={word.by}"]
    if word.text:
        argv.append(f"--text={word.text}")
    if word.hours is not None:
        argv.append(f"--for={word.hours:g}")
    return argv


def checked(word: Word) -> Word:
    """The word with its text on one line. Raises ForeshockError for what cannot be signed or sent."""
    text = " ".join(word.text.split())
    if not _ID.fullmatch(word.incident_id):
        raise ForeshockError(f"{word.incident_id!r} is no incident's name", hint="choose one of the list")
    if _name(word.by) != word.by:
        raise ForeshockError("a word needs the name of who says it", hint="give your name, on one line")
    if not text.isprintable() or len(text) > LONGEST_TEXT:
        raise ForeshockError(
            f"a text of {len(text)} characters, or with some that cannot be printed",
            hint=f"at most {LONGEST_TEXT}",
        )
    if word.verb == "note" and not text:
        raise ForeshockError("a note without a text", hint="write what the next one should know")
    if word.verb == "silence" and not (word.hours is not None and 0 < word.hours <= LONGEST_SILENCE_H):
        raise ForeshockError("a silence of no time, or of more than a week", hint="give hours above 0")
    return Word(word.verb, word.incident_id, word.by, text, word.hours)


def _name(said: object) -> str | None:
    """A printable name of one line; None for anything else."""
    if not isinstance(said, str):
        return None
    name = said.strip()
    return name if name and name.isprintable() and len(name) <= _LONGEST_NAME else None


def _refusal(stderr: str) -> ForeshockError:
    """The command's error and its `Try:` line; what it logged beside them is left out."""
    lines = [line.strip() for line in stderr.splitlines()]
    said = [line.removeprefix("foreshock: ") for line in lines if line.startswith("foreshock: ")]
    hints = [line.removeprefix("Try: ") for line in lines if line.startswith("Try: ")]
    return ForeshockError(
        said[-1] if said else "`foreshock incidents` failed without a word",
        hint=hints[-1] if hints else "run the command in a shell; the dashboard's log may say more",
    )
