"""The jobs that `foreshock bridge command` knows: pid files, flag files, and what a job says when it has saved."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from alerting.job_signal import Process, started_ticks, started_unix_s
from collector.config import BridgeConfig

FLAG_SUFFIX: Final = ".checkpoint-request"
_PID_FILE_SLACK_S: Final = 2.0
"""/proc tells the boot time in whole seconds, so a start time is only right to a second."""
_MAX_BYTES: Final = 4096

_Version = tuple[int, int, int]


class Acknowledgement(msgspec.Struct, frozen=True):
    """What a trainer writes (collector/trainer.py). `finished` null: it has only begun. More keys are welcome."""

    step: int | None = None
    started: float | None = None
    finished: float | msgspec.UnsetType | None = msgspec.UNSET

    @property
    def seconds(self) -> float | None:
        """How long the save took, by the trainer's own clock."""
        ended = isinstance(self.finished, float) and self.started is not None
        return self.finished - self.started if ended else None  # type: ignore[operator]


class Job(NamedTuple):
    """A job of this node, and the version its acknowledgement had before we asked. Without a pid it has a flag."""

    name: str
    process: Process | None
    before: _Version | None


class Jobs(NamedTuple):
    """Who can be asked, and why the others cannot."""

    found: list[Job]
    skipped: list[str]


def jobs(config: BridgeConfig) -> Jobs:
    """The jobs of `pid_dir`, and those that only keep a flag in `flag_dir`."""
    found: list[Job] = []
    skipped: list[str] = []
    files = sorted(Path(config.pid_dir).glob("*.pid")) if config.pid_dir else []
    for file in files:
        process = _read_pid_file(file)
        if isinstance(process, str):
            skipped.append(f"{file.name}: {process}")
        else:
            found.append(Job(file.stem, process, version(config, file.stem)))
    with_pid = {file.stem for file in files}
    found += [Job(n, None, version(config, n)) for n in _flags(config) if n not in with_pid]
    if not found and not skipped:
        skipped.append(f"no .pid file in bridge.pid_dir {config.pid_dir!r}, no flag in bridge.flag_dir")
    return Jobs(found, skipped)


def raise_flag(config: BridgeConfig, name: str) -> bool:
    """Touch the job's flag, if it keeps one: a job that does not is not listening. -> whether it was touched."""
    if name not in _flags(config):
        return False
    try:
        os.utime(Path(config.flag_dir) / f"{name}{FLAG_SUFFIX}", follow_symlinks=False)
    except OSError:
        return False
    return True


def answer(config: BridgeConfig, job: Job) -> Acknowledgement | None:
    """The acknowledgement if it is newer than the request, whole, and of a save that has ended."""
    if version(config, job.name) in (None, job.before):
        return None
    try:
        with _acknowledgement(config, job.name).open("rb") as f:
            told = msgspec.json.decode(f.read(_MAX_BYTES), type=Acknowledgement)
    except (OSError, msgspec.DecodeError):
        return None
    return None if told.finished is None else told


def version(config: BridgeConfig, name: str) -> _Version | None:
    """What changes whenever the acknowledgement is replaced or rewritten; None when there is no plain file."""
    try:
        found = _acknowledgement(config, name).lstat()
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _acknowledgement(config: BridgeConfig, name: str) -> Path:
    return Path(config.acknowledge_dir) / f"{name}.checkpoint.json"


def _flags(config: BridgeConfig) -> list[str]:
    if not config.flag_dir:
        return []
    flags = sorted(Path(config.flag_dir).glob(f"*{FLAG_SUFFIX}"))
    return [f.name.removesuffix(FLAG_SUFFIX) for f in flags if not f.is_symlink()]


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
