"""What Slurm prints of jobs, read: who holds a GPU, which processes are whose, what the job's comment wishes."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_WISH: Final = re.compile(r"\bforeshock:(?:(none)\b|(signal|migrate)=([A-Za-z0-9]+))")


class Job(NamedTuple):
    """A running job. `wishes` is its AdminComment, then its Comment: the administrator's word comes first."""

    job_id: str
    nodes: int
    requeueable: bool
    wishes: tuple[str, ...] = ()


class Listed(NamedTuple):
    """A line of `scontrol listpids`. `is_batch_script`: the shell that runs the script of sbatch."""

    pid: int
    job_id: str
    is_batch_script: bool


def jobs_on_gpu(text: str, node: str, gpu_index: int | None) -> list[Job]:
    """`scontrol show job --oneliner --details` -> running jobs that hold the GPU on that node.

    Slurm's IDX is the order of gres.conf, which is the device minor; NVML's index is the same unless an
    administrator reordered either.
    """
    found = []
    for line in text.splitlines():
        name = re.match(r"JobId=(\d+)\b", line)
        if name is None or "JobState=RUNNING" not in line:
            continue
        for nodes, gres in re.findall(r"\bNodes=(\S+) CPU_IDs=\S+ Mem=\S+ GRES=(\S*)", line):
            if node in hosts(nodes) and gpu_index is not None and gpu_index in _gpu_indices(gres):
                found.append(_job(name.group(1), line))
                break
    return found


def _job(job_id: str, line: str) -> Job:
    nodes = re.search(r"\bNumNodes=(\d+)", line)
    comments = (re.search(rf" {key}=(.*?)(?= \w+=|$)", line) for key in ("AdminComment", "Comment"))
    return Job(
        job_id,
        nodes=int(nodes.group(1)) if nodes else 1,
        requeueable="Requeue=1" in line and "BatchFlag=1" in line,
        wishes=tuple(c.group(1) for c in comments if c),
    )


def wished_signal(job: Job, what: str) -> str | None:
    """The signal that the job's comments name for `what` (`signal` or `migrate`), `none`, or None: nothing said."""
    for comment in job.wishes:
        for none, key, name in _WISH.findall(comment):
            if none or key == what:
                return "none" if none else str(name)
    return None


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


def parse_pids(text: str) -> list[Listed]:
    """`scontrol listpids` -> each process once. A process is listed under its step before it is under the batch."""
    found: dict[int, Listed] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 4 and words[0].isdecimal() and words[1].isdecimal():
            pid = int(words[0])
            found.setdefault(pid, Listed(pid, words[1], words[2] == "batch" and words[3] == "0"))
    return list(found.values())


def _gpu_indices(gres: str) -> set[int]:
    return {int(n) for ranges in re.findall(r"gpu[^()]*\(IDX:([\d,-]+)\)", gres) for n in _numbers(ranges)}


def _numbers(ranges: str) -> list[str]:
    numbers: list[str] = []
    for part in ranges.split(","):
        low, _, high = part.partition("-")
        span = range(int(low), int(high or low) + 1)
        numbers += [str(n).zfill(len(low)) for n in span]
    return numbers
