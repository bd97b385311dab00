"""Processes, mapping and pods put together: one job per Slurm step or container."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from collector.job import Job, JobSource, PodDevice
from collector.jobs_process import Process, number

_JOB_ID = re.compile(r"[0-9]{1,18}")
_STEP = re.compile(r"\w{1,32}")
_MAX_GPUS = 64


def jobs_of(processes: Sequence[Process]) -> list[Job]:
    """Processes -> their jobs; those of one job and step are one."""
    groups: dict[tuple[str | None, ...], list[Process]] = {}
    for p in processes:
        groups.setdefault(_identity(p), []).append(p)
    return [_job(members) for identity, members in groups.items() if any(identity)]


def _identity(p: Process) -> tuple[str | None, ...]:
    if p.slurm is not None:
        return p.slurm.job_id, p.slurm.step, None, None
    if p.pod is not None:
        return None, None, p.pod.pod_uid, p.pod.container_id
    job_id = p.environment.get("SLURM_JOB_ID", "")
    if not _JOB_ID.fullmatch(job_id):
        return None, None, None, None
    step = p.environment.get("SLURM_STEP_ID", "")
    return job_id, step if _STEP.fullmatch(step) else None, None, None


def _job(members: Sequence[Process]) -> Job:
    first = members[0]
    job_id, step, pod_uid, container_id = _identity(first)
    said: Mapping[str, str] = first.environment
    if job_id is None or said.get("SLURM_JOB_ID") != job_id:
        # Inside a pod, or under another job's control group, the Slurm variables are inherited or invented.
        said = {k: v for k, v in said.items() if not k.startswith("SLURM_")}
    source: JobSource = "slurm" if first.slurm else "kubernetes" if first.pod else "environment"
    uid = first.slurm.uid if first.slurm is not None and first.slurm.uid is not None else first.uid
    ranks = [rank for p in members if (rank := p.rank) is not None]
    return Job(
        source=source, job_id=job_id, step=step, uid=uid,
        name=said.get("SLURM_JOB_NAME"),
        pod_uid=pod_uid, container_id=container_id,
        pids=tuple(sorted(p.pid for p in members)), ranks=tuple(sorted(set(ranks))),
        gpus=_gpus(said), nodes=number(said.get("SLURM_JOB_NUM_NODES")),
        world_size=number(said.get("WORLD_SIZE")),
    )  # fmt: skip


def _gpus(said: Mapping[str, str]) -> tuple[int, ...]:
    """Slurm's GPUs on this node. Of a job on many nodes, SLURM_JOB_GPUS may be the first node's."""
    one_node = said.get("SLURM_JOB_NUM_NODES") == "1"
    return numbers(said.get("SLURM_STEP_GPUS") or (said.get("SLURM_JOB_GPUS", "") if one_node else ""))


def numbers(text: str) -> tuple[int, ...]:
    """`0-2,5` -> (0, 1, 2, 5). Empty for anything that is no such list, or too long to be GPUs of a node."""
    out: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        low, high = number(first), number(last if dash else first)
        if low is None or high is None or not 0 <= high - low < _MAX_GPUS or len(out) > _MAX_GPUS:
            return ()
        out += range(low, high + 1)
    return tuple(dict.fromkeys(out))


def mapped(job_id: str, by_process: Sequence[Job]) -> Job:
    """The prolog's job id, with what its processes here tell about it."""
    same = next((j for j in by_process if j.job_id == job_id), None)
    if same is None:
        return Job(source="mapping", job_id=job_id)
    return msgspec.structs.replace(same, source="mapping")


def with_pod_names(by_process: Sequence[Job], pods: Sequence[PodDevice]) -> list[Job]:
    """Jobs found by process; the one pod that kubelet names for this GPU lends its name to the one in a pod."""
    names = {(p.namespace, p.pod, p.container) for p in pods}
    in_pods = [j for j in by_process if j.source == "kubernetes"]
    if len(names) != 1 or len(in_pods) != 1:
        return list(by_process)
    namespace, pod, container = next(iter(names))
    return [
        msgspec.structs.replace(j, namespace=namespace, pod=pod, container=container)
        if j is in_pods[0]
        else j
        for j in by_process
    ]


def idle_share(jobs: Iterable[Job], minor: int | None) -> tuple[Job, ...]:
    """The Slurm jobs that were given the GPU with this minor number though none of their processes is on it."""
    return tuple(
        msgspec.structs.replace(j, pids=(), ranks=())
        for j in jobs
        if j.source in ("slurm", "mapping") and minor is not None and minor in j.gpus
    )


def of_pod(device: PodDevice) -> Job:
    return Job(source="kubelet", namespace=device.namespace, pod=device.pod, container=device.container)
