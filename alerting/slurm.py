"""`foreshock bridge slurm`: drain through scontrol, checkpoint by signalling a job's own processes on this node.

Runs on the node it acts for (`scontrol listpids` sees only local processes), whose host name is its Slurm
NodeName. It owns what it did: a drain that somebody else set is never touched, and ours is told by its reason.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from alerting.action import Action, Outcome, reason_line
from alerting.execute import execute
from alerting.job_signal import Process, checkpoint_processes, signal_number, started_ticks
from collector.config import BridgeConfig
from collector.errors import ForeshockError

OUR_PREFIX: Final = "foreshock:"
_TIMEOUT_S: Final = 10.0
_NODE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HINT: Final = "install slurm-client, and see that `scontrol ping` answers for this user"


class Node(NamedTuple):
    """A node as scontrol shows it. `flags` is its state split at +, e.g. {MIXED, DRAIN}."""

    flags: frozenset[str]
    reason: str

    @property
    def is_drained(self) -> bool:
        return bool(self.flags & {"DRAIN", "DRAINED", "DRAINING"})


class SlurmAdapter:
    """The scheduler's side of an action."""

    def __init__(self, config: BridgeConfig) -> None:
        """Raises ConfigError for a signal that cannot ask for anything."""
        self._signal = signal_number(config.signal)

    def checkpoint(self, action: Action) -> Outcome:
        """Signal the jobs on this GPU; does not wait, since Slurm has no word for "the checkpoint is on disk"."""
        node = single_node(action.node)
        jobs = jobs_on_gpu(_scontrol("show", "job", "--oneliner", "--details"), node, action.gpu_index)
        if not jobs:
            return Outcome(
                ok=False, detail=f"no running job on {node} shows GPU {action.gpu_index}; advisory only"
            )
        processes = [
            Process(pid, started_ticks(pid))
            for job in jobs
            for pid in pids_of(_scontrol("listpids", job, node, may_fail=True))
        ]
        signalled = checkpoint_processes(processes, self._signal)
        told = f"job {', '.join(jobs)}: {len(signalled.sent)} processes on this node signalled"
        left = "; ".join(f"pid {s.pid} {s.why}" for s in signalled.skipped)
        return Outcome(ok=bool(signalled.sent), detail=f"{told}; {left}" if left else told)

    def drain(self, action: Action) -> Outcome:
        """DRAIN with our reason, unless the node is drained already."""
        node = single_node(action.node)
        before = parse_node(_scontrol("show", "node", node, "--oneliner"))
        if before.is_drained:
            owner = "us" if before.reason.startswith(OUR_PREFIX) else "somebody else, left alone"
            return Outcome(ok=True, detail=f"{node} is drained already, by {owner}: {before.reason}")
        _scontrol(*drain_arguments(node, reason_line(action)))
        return Outcome(ok=True, detail=f"{node} drained: {reason_line(action)}")

    def migrate(self, action: Action) -> Outcome:
        """The drain alone so far."""
        return self.drain(action)

    def release(self, action: Action) -> Outcome:
        return Outcome(ok=False, detail=f"{action.node}: not lifted, only drained nodes are known so far")


def single_node(name: str) -> str:
    """The name if it is one node. Slurm also takes `ALL` and `n[1-500]` here, which a message must never reach."""
    if _NODE_NAME.fullmatch(name) is None or name.upper() == "ALL":
        raise ForeshockError(f"{name!r} is not one node", hint="collector.node must be the Slurm NodeName")
    return name


def drain_arguments(node: str, reason: str) -> tuple[str, ...]:
    """Arguments of scontrol; the reason is one argument, no shell reads it."""
    return ("update", f"NodeName={node}", "State=DRAIN", f"Reason={reason}")


def parse_node(text: str) -> Node:
    """`scontrol show node NAME --oneliner` -> state and reason."""
    state = re.search(r"\bState=(\S+)", text)
    reason = re.search(r"\bReason=(.*?) \[[^\]\s]+@[^\]]+\]", text)
    flags = state.group(1).rstrip("*~#!%$@^-").split("+") if state else []
    return Node(frozenset(flags), reason.group(1) if reason else "")


def jobs_on_gpu(text: str, node: str, gpu_index: int | None) -> list[str]:
    """`scontrol show job --oneliner --details` -> running jobs that hold the GPU on that node.

    Slurm's IDX is the order of gres.conf, which is the device minor; NVML's index is the same unless an
    administrator reordered either. A node list that is folded (`n[1-4]`) is matched by its exact members only.
    """
    found = []
    for line in text.splitlines():
        job = re.match(r"JobId=(\d+)\b", line)
        if job is None or "JobState=RUNNING" not in line:
            continue
        for nodes, gres in re.findall(r"\bNodes=(\S+) CPU_IDs=\S+ Mem=\S+ GRES=(\S*)", line):
            if node in hosts(nodes) and gpu_index is not None and gpu_index in _gpu_indices(gres):
                found.append(job.group(1))
                break
    return found


def hosts(expression: str) -> set[str]:
    """`a[1-3,7],b` -> {a1, a2, a3, a7, b}; keeps leading zeros. One bracket a name, as scontrol prints it."""
    names: set[str] = set()
    for part in re.findall(r"[^,\[]+(?:\[[^\]]*\])?[^,\[]*", expression):
        folded = re.fullmatch(r"([^\[]*)\[([^\]]*)\](.*)", part)
        if folded is None:
            names.add(part)
        else:
            head, ranges, tail = folded.groups()
            names |= {f"{head}{number}{tail}" for number in _numbers(ranges)}
    return names


def pids_of(text: str) -> list[int]:
    """`scontrol listpids` -> each pid once."""
    first = (line.split()[0] for line in text.splitlines() if line.strip())
    return list(dict.fromkeys(int(word) for word in first if re.fullmatch(r"[0-9]+", word)))


def _gpu_indices(gres: str) -> set[int]:
    return {int(n) for ranges in re.findall(r"gpu[^()]*\(IDX:([\d,-]+)\)", gres) for n in _numbers(ranges)}


def _numbers(ranges: str) -> list[str]:
    numbers: list[str] = []
    for part in ranges.split(","):
        low, _, high = part.partition("-")
        span = range(int(low), int(high or low) + 1)
        numbers += [str(n).zfill(len(low)) for n in span]
    return numbers


def _scontrol(*arguments: str, may_fail: bool = False) -> str:
    done = execute(["scontrol", *arguments], _TIMEOUT_S, hint=_HINT)
    if done.code != 0 and not may_fail:
        raise ForeshockError(f"scontrol {arguments[0]}: {done.error or done.output.strip()}", hint=_HINT)
    return done.output
