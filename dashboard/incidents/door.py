"""The one signed door by which the page writes: it runs `foreshock incidents ack|silence|note` for a named person.

Off unless `dashboard.may_write`. The command is given as a list, never to a shell, and decides itself what it takes:
what it refuses is shown in its own words. The page itself writes nothing, neither to the lake nor to the stream.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from collector.config import Config
from collector.errors import ForeshockError
from dashboard.command import argv, run
from dashboard.visitor import printable

Verb = Literal["ack", "silence", "note"]

LONGEST_TEXT: Final = 1_000
"""Characters; the incident keeps 2,000 of a line, and the name and time stand in it too."""
LONGEST_SILENCE_H: Final = 24.0 * 7
_DEADLINE_S: Final = 30.0
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


@dataclass(frozen=True, slots=True)
class Word:
    """What a person tells an incident."""

    verb: Verb
    incident_id: str
    by: str
    text: str = ""
    hours: float | None = None


def tell(config: Config, word: Word) -> str:
    """Run the command; what it said. Raises ForeshockError with its own words where it refuses or does not end."""
    if not config.dashboard.may_write:
        raise ForeshockError(
            "this dashboard only reads", hint="set dashboard.may_write = true, or use `foreshock incidents`"
        )
    late = ForeshockError(
        f"`foreshock incidents` did not end within {_DEADLINE_S:.0f} s: nobody knows whether it was heard",
        hint="see in a minute whether the story tells of it; `foreshock doctor` looks at the stream",
    )
    return run(command(config, checked(word)), _DEADLINE_S, late=late)


def command(config: Config, word: Word) -> list[str]:
    """Argv. What people typed stands behind a `=`, so that nothing of it can be taken for an option."""
    words = ["incidents", word.verb, word.incident_id, f"--by={word.by}"]
    if word.text:
        words.append(f"--text={word.text}")
    if word.hours is not None:
        words.append(f"--for={word.hours:g}")
    return argv(config.path, words)


def checked(word: Word) -> Word:
    """The word with its text on one line. Raises ForeshockError for what cannot be signed or sent."""
    text = " ".join(word.text.split())
    if not _ID.fullmatch(word.incident_id):
        raise ForeshockError(f"{word.incident_id!r} is no incident's name", hint="choose one of the list")
    if printable(word.by) != word.by:
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
