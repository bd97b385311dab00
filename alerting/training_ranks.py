"""Which processes of a job are its training ranks: the ones to signal, and never those that started them.

A rank handles the signal. A launcher (srun, torchrun, mpirun) also does, and would take its ranks down before
they have saved. Data-loading workers are forked from a rank and inherit its handler: each would save as well,
so of a family only the eldest that handles the signal counts. A shell counts only where nothing below it does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from alerting.job_signal import handles, parent_of

_SHELLS: Final = frozenset({"bash", "dash", "ksh", "sh", "zsh"})
_LAUNCHERS: Final = frozenset({
    "accelerate", "composer", "deepspeed", "ft_launcher", "hydra_pmi_proxy", "mpiexec", "mpiexec.hydra", "mpirun",
    "orted", "orterun", "prted", "prterun", "slurm_script", "slurmscriptd", "slurmstepd", "srun", "torchrun",
})  # fmt: skip
_LAUNCHING_MODULES: Final = frozenset({
    "accelerate.commands.launch", "composer.cli.launcher", "deepspeed.launcher.launch", "deepspeed.launcher.runner",
    "torch.distributed.launch", "torch.distributed.run",
    "nvidia_resiliency_ext.fault_tolerance.launcher",
})  # fmt: skip


def training_ranks(signals: Mapping[int, int], is_handled: Callable[[int, int], bool] = handles) -> list[int]:
    """Pids of a job -> those to signal. `signals` gives each pid the signal it would get."""
    able = {p for p, signal in signals.items() if is_handled(p, signal) and not is_launcher(p)}
    shells = {p for p in able if is_shell(p)}
    ranks = able - shells
    eldest = {p for p in ranks if not ranks.intersection(_ancestors(p))}
    above = {a for p in ranks for a in _ancestors(p)}
    lone = {p for p in shells - above if not (shells | ranks).intersection(_ancestors(p))}
    return [p for p in signals if p in eldest | lone]


def is_shell(pid: int) -> bool:
    return _name(_arguments(pid)) in _SHELLS


def is_launcher(pid: int) -> bool:
    """srun, torchrun and their kind, by the command line: a process may rename itself, but seldom its arguments."""
    arguments = _arguments(pid)
    names = {Path(a).name for a in arguments[:1]} | {Path(a).name for a in _script(arguments)}
    return bool(names & _LAUNCHERS) or _module(arguments) in _LAUNCHING_MODULES


def environment(pid: int, name: str) -> str | None:
    """One variable of the process as it was started; None when it is unset or may not be read."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    key = f"{name}=".encode()
    return next((v[len(key) :].decode(errors="replace") for v in raw.split(b"\0") if v.startswith(key)), None)


def _arguments(pid: int) -> list[str]:
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return raw.decode(errors="replace").rstrip("\0").split("\0")


def _name(arguments: list[str]) -> str:
    return Path(arguments[0].lstrip("-")).name.rstrip(":") if arguments else ""


def _script(arguments: list[str]) -> Iterable[str]:
    """What an interpreter runs: its first argument that is not an option."""
    if _name(arguments).startswith("python"):
        rest = arguments[1:]
        if _module(arguments) is None:
            yield from [a for a in rest if not a.startswith("-")][:1]


def _module(arguments: list[str]) -> str | None:
    """`python -u -m NAME ...` -> NAME."""
    if not _name(arguments).startswith("python"):
        return None
    for option, value in itertools.pairwise(arguments[1:]):
        if option == "-m":
            return value
        if not option.startswith("-"):
            break
    return None


def _ancestors(pid: int) -> list[int]:
    found: list[int] = []
    parent = parent_of(pid)
    while parent > 1 and parent not in found:
        found.append(parent)
        parent = parent_of(parent)
    return found
