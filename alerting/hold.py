"""A hold on this node: a file per incident, which the agent tells to launchers that ask (collector/health_check.py)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from alerting.action import Action, Outcome, reason_line
from collector.errors import ForeshockError
from collector.health_check import HOLD_SUFFIX

_INCIDENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}", re.ASCII)


def place(directory: str, action: Action) -> Outcome:
    """Hold the node back for this incident. Twice is once. Raises ForeshockError where it cannot be written."""
    file = _file(directory, action)
    part = file.with_suffix(".part")
    try:
        part.write_text(reason_line(action) + "\n")
        part.replace(file)
    except OSError as e:
        raise ForeshockError(f"{file}: {e.strerror}", hint="see bridge.hold_dir in foreshock.toml") from e
    return Outcome(ok=True, detail=f"{action.node} held back by {file.name}")


def lift(directory: str, action: Action) -> Outcome:
    """Take away the hold of this incident; others stay, and hold the node on."""
    file = _file(directory, action)
    try:
        file.unlink()
    except FileNotFoundError:
        return Outcome(ok=True, detail=f"{action.node} was not held by {action.incident_id}")
    except OSError as e:
        raise ForeshockError(f"{file}: {e.strerror}", hint="see bridge.hold_dir in foreshock.toml") from e
    return Outcome(ok=True, detail=f"{action.node}: {file.name} lifted")


def _file(directory: str, action: Action) -> Path:
    if _INCIDENT.fullmatch(action.incident_id) is None:
        raise ForeshockError(f"{action.incident_id!r} is no name of a file", hint="is this our watcher's?")
    return Path(directory) / f"{action.incident_id}{HOLD_SUFFIX}"
