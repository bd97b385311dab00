"""Which job holds each GPU: dcgm-exporter's job mapping, Slurm, Kubernetes. Never raises for what vanished.

Sources, in order: the HPC job-mapping directory (a prolog wrote it: it knows), the control groups of the
processes on the GPU (the kernel's word), their environment (the user's word), and kubelet's pod-resources
service, which also knows a GPU on which nothing runs yet. Cost is bounded: a GPU whose processes have not
changed is not looked at again for `recheck_s`, and one call looks at no more than `max_processes` processes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from collector import jobs_process
from collector.job import Holder, Job
from collector.jobs_group import idle_share, jobs_of, mapped, of_pod, with_pod_names
from collector.jobs_mapping import JobMapping
from collector.jobs_pods import PodDevices, PodLister
from collector.jobs_process import Process

__all__ = ["Held", "Holder", "Job", "Jobs"]

Held = tuple[str, int | None]
"""A GPU's UUID and the MIG instance on it (None: the whole GPU)."""


class _Known(NamedTuple):
    pids: tuple[int, ...]
    job_ids: tuple[str, ...]
    until_s: float
    jobs: tuple[Job, ...]


class Jobs:
    """Asks who holds each GPU. `pods` lists kubelet's devices (jobs_kubelet.lister); None leaves that out."""

    def __init__(
        self,
        *,
        mapping_dir: str = "",
        proc: str = "/proc",
        pods: PodLister | None = None,
        recheck_s: float = 30.0,
        max_processes: int = 128,
    ) -> None:
        self._mapping = JobMapping(Path(mapping_dir)) if mapping_dir else None
        self._proc = Path(proc)
        self._pods = PodDevices(pods, recheck_s) if pods is not None else None
        self._recheck_s = recheck_s
        self._max_processes = max_processes
        self._known: dict[Held, _Known] = {}
        self._processes: dict[int, tuple[Process, float]] = {}
        self._budget = 0
        self.deferred = 0
        """Processes left for a later call because one call may look at so many only."""

    def of(self, holders: Iterable[Holder], now_s: float) -> dict[Held, tuple[Job, ...]]:
        """(GPU UUID, MIG instance) -> the jobs on it, oldest source first; empty where there is none."""
        self._budget = self._max_processes
        asked = list(holders)
        out: dict[Held, _Known] = {}
        for holder in asked:
            key = holder.uuid, holder.instance
            job_ids = self._mapping.jobs_of(holder) if self._mapping else ()
            known = self._known.get(key)
            if known is None or known[:2] != (holder.pids, job_ids) or now_s >= known.until_s:
                known = self._look(holder, job_ids, now_s)
            out[key] = known
        self._known = out
        self._forget()
        return self._with_idle(asked, {key: known.jobs for key, known in out.items()})

    def signal_capable(self, job: Job, signal: int) -> tuple[int, ...]:
        """Those of the job's processes here that handle `signal` now. Read afresh: handlers come and go."""
        return tuple(pid for pid in job.pids if jobs_process.catches(self._proc, pid, signal))

    def _with_idle(
        self, asked: list[Holder], found: dict[Held, tuple[Job, ...]]
    ) -> dict[Held, tuple[Job, ...]]:
        """A GPU on which nothing runs (yet) is still the job's that Slurm gave it to."""
        everywhere = {j.job_id: j for jobs in found.values() for j in jobs if j.gpus}
        if not everywhere:
            return found
        for holder in asked:
            key = holder.uuid, holder.instance
            if not found[key] and holder.instance is None:
                found[key] = idle_share(everywhere.values(), holder.minor)
        return found

    def _look(self, holder: Holder, job_ids: tuple[str, ...], now_s: float) -> _Known:
        deferred_before = self.deferred
        processes = [p for pid in holder.pids if (p := self._process(pid, now_s)) is not None]
        complete = self.deferred == deferred_before
        by_process = jobs_of(processes)
        pods = self._pods.of(holder, now_s) if self._pods else []
        if job_ids:
            jobs = [mapped(job_id, by_process) for job_id in job_ids]
        else:
            jobs = with_pod_names(by_process, pods) or [of_pod(p) for p in pods]
        until_s = now_s + self._recheck_s if complete else now_s
        return _Known(holder.pids, job_ids, until_s, tuple(jobs))

    def _process(self, pid: int, now_s: float) -> Process | None:
        known, checked_s = self._processes.get(pid, (None, 0.0))
        if known is not None and now_s < checked_s + self._recheck_s:
            return known
        if self._budget <= 0:
            self.deferred += 1
            return known
        self._budget -= 1
        started = jobs_process.started_ticks(self._proc, pid)
        if known is None or known.started_ticks != started:
            known = None if started is None else jobs_process.look(self._proc, pid, started)
        if known is None:
            self._processes.pop(pid, None)
        else:
            self._processes[pid] = known, now_s
        return known

    def _forget(self) -> None:
        alive = {pid for known in self._known.values() for pid in known.pids}
        if len(self._processes) > len(alive):
            self._processes = {pid: p for pid, p in self._processes.items() if pid in alive}
