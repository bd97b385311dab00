"""A job that holds a GPU, and a GPU that a job may hold: what the job sources ask and answer with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec

JobSource = Literal["mapping", "slurm", "environment", "kubernetes", "kubelet", "dcgm"]
"""Who said so: the prolog's mapping file, a control group (slurm, kubernetes), the process's own environment,
kubelet's pod-resources, or a dcgm-exporter's labels."""


class Job(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job that holds a GPU, as far as this node can tell. Null is what it cannot."""

    source: JobSource
    job_id: str | None = None
    step: str | None = None
    uid: int | None = None
    name: str | None = None
    pod: str | None = None
    namespace: str | None = None
    container: str | None = None
    pod_uid: str | None = None
    container_id: str | None = None
    pids: tuple[int, ...] = ()
    ranks: tuple[int, ...] = ()
    """Global ranks of `pids`, sorted; empty where the launcher sets none."""
    gpus: tuple[int, ...] = ()
    """Minor numbers of this node's GPUs that Slurm gave to it, whether in use or not."""
    nodes: int | None = None
    world_size: int | None = None

    @property
    def label(self) -> str | None:
        """One word for events: the job id, else `namespace/pod`, else the pod's uid."""
        if self.job_id is not None or self.pod is None:
            return self.job_id or self.pod_uid
        return f"{self.namespace}/{self.pod}" if self.namespace else self.pod


@dataclass(frozen=True, slots=True)
class Holder:
    """One GPU or one MIG instance, and the processes NVML sees on it."""

    uuid: str
    """Of the whole GPU."""
    index: int
    """NVML index; DCGM's GPU id, which names the mapping file."""
    minor: int | None
    """N of /dev/nvidiaN, which device plugins and Slurm count by."""
    pids: tuple[int, ...]
    instance: int | None = None
    """MIG GPU instance id; None for the whole GPU."""
    mig_uuid: str | None = None


class PodDevice(NamedTuple):
    """One device that kubelet gave to a container."""

    device_id: str
    namespace: str
    pod: str
    container: str
