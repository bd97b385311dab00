"""Our own commands, run by a page for a person: as a list, never by a shell, and their refusals in their own words."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from collector.errors import ForeshockError


def argv(config: str | None, arguments: Sequence[str]) -> list[str]:
    """`foreshock ARGUMENTS` with the config of the dashboard, in isolated mode."""
    with_config = ["--config", str(Path(config).absolute())] if config else []
    return [sys.executable, "-I", "-m", "foreshock", *with_config, *arguments]


def run(
    command: Sequence[str], deadline_s: float, *, late: ForeshockError, fine: tuple[int, ...] = (0,)
) -> str:
    """What it printed. Raises `late` where it does not end, and its own error where it ends with another code."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=deadline_s, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as e:
        raise late from e
    refusal = refused(done.stderr)
    if done.returncode not in fine or (refusal is not None and not done.stdout):
        last = done.stderr.strip().rpartition("\n")[2]
        raise refusal or ForeshockError(
            last or f"`foreshock {_name(command)}` failed without a word",
            hint="run the command in a shell; the dashboard's log may say more",
        )
    return done.stdout.strip()


def refused(stderr: str) -> ForeshockError | None:
    """The command's error and its `Try:` line; what it logged beside them is left out. None where there is none."""
    lines = [line.strip() for line in stderr.splitlines()]
    said = [line.removeprefix("foreshock: ") for line in lines if line.startswith("foreshock: ")]
    hints = [line.removeprefix("Try: ") for line in lines if line.startswith("Try: ")]
    return ForeshockError(said[-1], hint=hints[-1] if hints else "") if said else None


def _name(command: Sequence[str]) -> str:
    """Its words after `foreshock`, as far as they are no options."""
    words = list(command[command.index("foreshock") + 1 :])
    if words[:1] == ["--config"]:
        words = words[2:]
    return " ".join(words[:1])
