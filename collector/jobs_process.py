"""What /proc says about one process that holds a GPU: its job, its rank, its owner. None when it is gone.

Three small files for a process that is new, nothing for one that is known. The environment is the one the
process was started with; only its owner and root may read it, so an unprivileged agent does without.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from collector.jobs_cgroup import MAX_BYTES, PodPlace, SlurmPlace, pod_of_cgroup, slurm_job_of_cgroup

_MAX_ENVIRONMENT = 256 * 1024
_WANTED = frozenset({
    "SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_STEP_ID", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_PROCID",
    "SLURM_JOB_NUM_NODES", "RANK", "WORLD_SIZE",
})  # fmt: skip
_MAX_VALUE = 256


@dataclass(frozen=True, slots=True)
class Process:
    """One process on a GPU. `started_ticks` with the pid never repeats within a boot."""

    pid: int
    started_ticks: int
    uid: int | None
    slurm: SlurmPlace | None
    pod: PodPlace | None
    environment: Mapping[str, str]
    """The few variables that tell the job. A user can set them to anything."""

    @property
    def rank(self) -> int | None:
        """Global rank: `RANK` (torchrun) before `SLURM_PROCID` (srun)."""
        return number(self.environment.get("RANK") or self.environment.get("SLURM_PROCID"))


def started_ticks(proc: Path, pid: int) -> int | None:
    """Start of the process in clock ticks since boot (proc(5), stat field 22); None when it is gone."""
    text = _read(proc / str(pid) / "stat", 4096)
    fields = b"" if text is None else text.rpartition(b")")[2]
    parts = fields.split()
    return int(parts[19]) if len(parts) > 19 and parts[19].isdigit() else None


def look(proc: Path, pid: int, started: int) -> Process | None:
    """Read one process. None when it ended meanwhile; what may not be read is left out."""
    cgroup = _read(proc / str(pid) / "cgroup", MAX_BYTES)
    if cgroup is None:
        return None
    text = cgroup.decode("utf-8", "replace")
    environ = _read(proc / str(pid) / "environ", _MAX_ENVIRONMENT) or b""
    if started_ticks(proc, pid) != started:
        return None  # another process took the pid while we read
    return Process(
        pid, started, _owner(proc / str(pid)), slurm_job_of_cgroup(text), pod_of_cgroup(text),
        job_variables(environ),
    )  # fmt: skip


def job_variables(environ: bytes) -> dict[str, str]:
    """The variables that tell a job, out of the bytes of /proc/PID/environ."""
    pairs = (item.decode("utf-8", "replace").partition("=") for item in environ.split(b"\0"))
    return {name: value[:_MAX_VALUE] for name, _, value in pairs if name in _WANTED and value}


def number(text: str | None) -> int | None:
    """A small natural number, or None for anything else."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None


def catches(proc: Path, pid: int, signal: int) -> bool:
    """Whether the process has its own handler for `signal` (SigCgt). Without one, USR1 and TERM kill."""
    text = _read(proc / str(pid) / "status", 16 * 1024) or b""
    for line in text.splitlines():
        if line.startswith(b"SigCgt:"):
            try:
                return bool(int(line.split()[1], 16) >> (signal - 1) & 1)
            except (IndexError, ValueError):
                return False
    return False


def _owner(directory: Path) -> int | None:
    try:
        return directory.stat().st_uid
    except OSError:
        return None


def _read(path: Path, limit: int) -> bytes | None:
    """None when there is no such file, or we may not read it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        parts, left = [], limit
        while left > 0 and (part := os.read(handle, left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
    except OSError:
        return None  # the process ended between open and read
    finally:
        os.close(handle)
