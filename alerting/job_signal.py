"""Signal training processes, but never one that the signal would kill.

The default action of USR1, USR2 and TERM is death. A process that installed a handler shows the signal's bit
in `SigCgt` of /proc/PID/status (proc(5)); only such a process gets it. The pidfd is opened before the check and
the signal goes through it, so a pid that is reused in between is never hit.
"""

from __future__ import annotations

import os
import signal as signals
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from collector.errors import ConfigError


class Process(NamedTuple):
    """A pid, and when it started (clock ticks since boot) if that was noted: together they never repeat."""

    pid: int
    started_ticks: int | None = None


class Skipped(NamedTuple):
    """A process that was left alone, and why."""

    pid: int
    why: str


class Signalled(NamedTuple):
    """What became of a round of signals."""

    sent: tuple[int, ...]
    skipped: tuple[Skipped, ...]


def signal_number(name: str, setting: str = "bridge.signal") -> int:
    """`USR1` or `SIGUSR1` -> its number. Raises ConfigError for another name, and for one that nobody can handle.

    `setting` says in the error who named it.
    """
    full = name if name.startswith("SIG") else f"SIG{name}"
    if full in ("SIGKILL", "SIGSTOP") or full not in signals.Signals.__members__:
        raise ConfigError(f"{setting}: {name!r} cannot ask for a checkpoint", hint="use USR1, USR2 or TERM")
    return int(signals.Signals[full])


def handles(pid: int, signal: int) -> bool:
    """Whether the process has its own handler for `signal`. False when it is gone."""
    return bool(_mask(pid, "SigCgt") >> (signal - 1) & 1)


def started_ticks(pid: int) -> int | None:
    """Start of the process in clock ticks since boot; None when it is gone (proc(5), stat field 22)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])  # the name in parentheses may hold spaces and ")"


def parent_of(pid: int) -> int:
    """The parent's pid; 0 when the process is gone."""
    return int(_status(pid, "PPid", "0"))


def started_unix_s(pid: int) -> float | None:
    """Start of the process as Unix seconds, right to a second; None when it is gone."""
    ticks = started_ticks(pid)
    if ticks is None:
        return None
    boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")


def checkpoint_processes(processes: Iterable[Process], signal: int) -> Signalled:
    """Send `signal` to each process that handles it; say of the others why not."""
    sent: list[int] = []
    skipped: list[Skipped] = []
    for process in processes:
        why = _send(process, signal)
        if why is None:
            sent.append(process.pid)
        else:
            skipped.append(Skipped(process.pid, why))
    return Signalled(tuple(sent), tuple(skipped))


def _send(process: Process, signal: int) -> str | None:
    """-> None when it was sent, else why it was not."""
    try:
        handle = os.pidfd_open(process.pid)
    except OSError as e:
        return "no such process" if isinstance(e, ProcessLookupError) else f"cannot be opened: {e.strerror}"
    try:
        why = refusal(process, signal)
        if why is None:
            signals.pidfd_send_signal(handle, signal)
    except OSError as e:
        return "ended meanwhile" if isinstance(e, ProcessLookupError) else f"not signalled: {e.strerror}"
    finally:
        os.close(handle)
    return why


def refusal(process: Process, signal: int) -> str | None:
    """Why this process must not get `signal`; None when it may."""
    name = signals.Signals(signal).name
    if process.started_ticks is not None and started_ticks(process.pid) != process.started_ticks:
        return "another process has this pid now"
    if handles(process.pid, signal):
        return None
    if _mask(process.pid, "SigIgn") >> (signal - 1) & 1:
        return f"ignores {name}"
    return f"does not handle {name}, which would kill it"


def _mask(pid: int, name: str) -> int:
    """A signal mask of /proc/PID/status; 0 when the process is gone."""
    return int(_status(pid, name, "0"), 16)


def _status(pid: int, name: str, otherwise: str) -> str:
    """A field of /proc/PID/status; `otherwise` when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return otherwise
    return next((line.split()[1] for line in text.splitlines() if line.startswith(f"{name}:")), otherwise)
