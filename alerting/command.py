"""`foreshock bridge command`: for trainers without a scheduler we know, by pid files and a drain command.

A training process NAME writes its pid to pid_dir/NAME.pid, handles the configured signal by saving at its next
step boundary, and then writes acknowledge_dir/NAME.checkpoint.json, e.g. {"step": 1200} (by rename, so that
it is never half there).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from alerting.action import Action, Outcome, reason_line
from alerting.execute import execute
from alerting.job_signal import (
    Process,
    Signalled,
    checkpoint_processes,
    signal_number,
    started_ticks,
    started_unix_s,
)
from collector.config import BridgeConfig
from collector.errors import ConfigError

DRAIN_TIMEOUT_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.02
_PID_FILE_SLACK_S: Final = 2.0
"""/proc tells the boot time in whole seconds, so a start time is only right to a second."""

_Version = tuple[int, int, int]


class Acknowledgement(msgspec.Struct, frozen=True):
    """What a trainer writes when its checkpoint is on disk. More keys are welcome."""

    step: int | None = None


class _Job(NamedTuple):
    name: str
    process: Process
    before: _Version | None


class CommandAdapter:
    """Signals the processes named by pid files and runs the operator's drain command."""

    def __init__(self, config: BridgeConfig) -> None:
        """Raises ConfigError for a signal that cannot ask for anything."""
        self._config = config
        self._signal = signal_number(config.signal)

    def checkpoint(self, action: Action) -> Outcome:
        """Signal every job that handles it and wait until each has acknowledged, or the time is up."""
        del action  # pid_dir names the jobs of this node; which GPU is the scheduler's knowledge, not ours
        begun_s = time.monotonic()
        jobs, skipped = self._jobs()
        signalled = checkpoint_processes([j.process for j in jobs], self._signal)
        skipped += [f"pid {s.pid} {s.why}" for s in signalled.skipped]
        waited = [j for j in jobs if j.process.pid in signalled.sent]
        if not waited:
            return Outcome(ok=False, detail="; ".join(["no process could be asked", *skipped]))
        return self._collect(waited, signalled, skipped, begun_s)

    def drain(self, action: Action) -> Outcome:
        """Run `drain_command` with the incident in its environment."""
        argv = self._config.drain_command
        if not argv:
            raise ConfigError(
                "bridge.drain_command is not set", hint='e.g. drain_command = ["/usr/local/bin/drain"]'
            )
        env = {
            "FORESHOCK_INCIDENT": action.incident_id,
            "FORESHOCK_ACTION": action.action,
            "FORESHOCK_INTENT": action.intent,
            "FORESHOCK_NODE": action.node,
            "FORESHOCK_GPU_UUID": action.gpu_uuid or "",
            "FORESHOCK_REASON": reason_line(action),
        }
        begun_s = time.monotonic()
        done = execute(argv, DRAIN_TIMEOUT_S, env=env, hint="see bridge.drain_command in foreshock.toml")
        said = (done.output.strip() or done.error)[-300:]
        detail = f"{argv[0]} exited {done.code}{': ' + said if said else ''}"
        return Outcome(ok=done.code == 0, detail=detail, seconds=time.monotonic() - begun_s)

    def migrate(self, action: Action) -> Outcome:
        """The drain alone so far."""
        return self.drain(action)

    def release(self, action: Action) -> Outcome:
        return Outcome(ok=False, detail=f"{action.node}: not lifted, only drained nodes are known so far")

    def _jobs(self) -> tuple[list[_Job], list[str]]:
        """The jobs of pid_dir, with what their acknowledgement was before we ask; and what cannot be used."""
        jobs: list[_Job] = []
        skipped: list[str] = []
        for file in sorted(Path(self._config.pid_dir or "/nonexistent").glob("*.pid")):
            found = _read_pid_file(file)
            if isinstance(found, str):
                skipped.append(f"{file.name}: {found}")
            else:
                jobs.append(_Job(file.stem, found, _version(self._acknowledgement(file.stem))))
        if not jobs and not skipped:
            skipped.append(f"no .pid file in bridge.pid_dir {self._config.pid_dir!r}")
        return jobs, skipped

    def _acknowledgement(self, name: str) -> Path:
        return Path(self._config.acknowledge_dir) / f"{name}.checkpoint.json"

    def _collect(self, jobs: list[_Job], signalled: Signalled, skipped: list[str], begun_s: float) -> Outcome:
        deadline_s = begun_s + self._config.acknowledge_timeout_s
        steps: dict[str, int | None] = {}
        while len(steps) < len(jobs) and time.monotonic() < deadline_s:
            for job in jobs:
                answer = self._answer(job) if job.name not in steps else None
                if answer is not None:
                    steps[job.name] = answer.step
            if len(steps) < len(jobs):
                time.sleep(_LOOK_EVERY_S)
        return _outcome(jobs, steps, skipped, time.monotonic() - begun_s, len(signalled.sent))

    def _answer(self, job: _Job) -> Acknowledgement | None:
        """The acknowledgement if it is newer than the request and whole."""
        file = self._acknowledgement(job.name)
        if _version(file) in (None, job.before):
            return None
        try:
            return msgspec.json.decode(file.read_bytes(), type=Acknowledgement)
        except (OSError, msgspec.DecodeError):
            return None


def _outcome(
    jobs: list[_Job], steps: dict[str, int | None], skipped: list[str], seconds: float, asked: int
) -> Outcome:
    silent = [j.name for j in jobs if j.name not in steps]
    known = [s for s in steps.values() if s is not None]
    parts = [f"{len(steps)} of {asked} signalled processes saved"]
    parts += [f"{name} at step {step}" for name, step in steps.items()]
    parts += [f"{name} did not answer within {seconds:.1f} s" for name in silent]
    return Outcome(
        ok=not silent, detail="; ".join(parts + skipped), step=min(known) if known else None, seconds=seconds
    )


def _read_pid_file(file: Path) -> Process | str:
    """The process of a pid file, or why it cannot be trusted: a younger process has inherited the number."""
    try:
        pid, written_s = int(file.read_text().split()[0]), file.stat().st_mtime
    except (OSError, ValueError, IndexError):
        return "not a pid file"
    ticks, began_s = started_ticks(pid), started_unix_s(pid)
    if pid <= 0 or ticks is None or began_s is None:
        return f"pid {pid} is gone"
    if began_s > written_s + _PID_FILE_SLACK_S:
        return f"pid {pid} began after the file was written: another process has this pid now"
    return Process(pid, ticks)


def _version(file: Path) -> _Version | None:
    """What changes whenever the file is replaced or rewritten; None when it is not there."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
