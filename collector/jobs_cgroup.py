"""A process's control group -> the Slurm job or the Kubernetes container it runs in.

The kernel writes /proc/PID/cgroup and a user cannot forge it, which is why it is asked before the environment.
Forms: Slurm cgroup v1 (`/slurm_<node>/uid_U/job_J/step_S/task_T`, seen on Slurm 22.05) and v2
(`.../<node>_slurmstepd.scope/job_J/step_S/user/task_T`); kubelet's systemd and cgroupfs drivers with containerd,
CRI-O and Docker, and those nested below another slice (kind, minikube).
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_BYTES = 64 * 1024

_SLURM_V1 = re.compile(
    r"/slurm(?:_[^/]*)?/uid_(?P<uid>\d{1,10})/job_(?P<job>\d{1,18})"
    r"(?:/step_(?P<step>[^/]{1,64}))?(?:/task_(?P<task>[^/]{1,64}))?(?:/|$)"
)
_SLURM_V2 = re.compile(
    r"slurmstepd\.scope/job_(?P<job>\d{1,18})"
    r"(?:/step_(?P<step>[^/]{1,64}))?(?:/(?:user|slurm))?(?:/task_(?P<task>[^/]{1,64}))?(?:/|$)"
)
_HEX = "[0-9a-f]"
_POD = re.compile(
    rf"(?:^|[/-])pod(?P<uid>{_HEX}{{8}}(?:[-_]{_HEX}{{4}}){{3}}[-_]{_HEX}{{12}}|{_HEX}{{32}})(?=$|[./:])"
)
_CONTAINER = re.compile(rf"(?:^|[/:-])(?P<id>{_HEX}{{64}})(?=$|[./])")


class SlurmPlace(NamedTuple):
    """Where in Slurm a process runs. `step` is a number, `batch`, `extern` or `interactive`."""

    job_id: str
    step: str | None
    task: str | None
    uid: int | None


class PodPlace(NamedTuple):
    """Which pod a process runs in, by the API's uid, and which container (the runtime's id)."""

    pod_uid: str
    container_id: str | None


def slurm_job_of_cgroup(text: str) -> SlurmPlace | None:
    """The Slurm job in the text of /proc/PID/cgroup, or None. The line that knows most wins."""
    best: SlurmPlace | None = None
    for path in _paths(text):
        found = _SLURM_V1.search(path) or _SLURM_V2.search(path)
        if found is not None:
            uid = found.groupdict().get("uid")
            place = SlurmPlace(found["job"], found["step"], found["task"], None if uid is None else int(uid))
            if best is None or _known(place) > _known(best):
                best = place
    return best


def pod_of_cgroup(text: str) -> PodPlace | None:
    """The Kubernetes pod in the text of /proc/PID/cgroup, or None."""
    for path in _paths(text):
        pod = _POD.search(path)
        if pod is not None:
            container = _CONTAINER.search(path, pod.end())
            return PodPlace(_canonical(pod["uid"]), container["id"] if container else None)
    return None


def _paths(text: str) -> list[str]:
    """The path of each `hierarchy:controllers:path` line."""
    parts = (line.split(":", 2) for line in text[:MAX_BYTES].splitlines())
    return [p[2][:MAX_BYTES] for p in parts if len(p) == 3]


def _known(place: SlurmPlace) -> int:
    return sum(part is not None for part in place)


def _canonical(uid: str) -> str:
    """Slices of systemd cannot hold a dash within a name: there the uid's dashes are underscores."""
    return uid.replace("_", "-")
