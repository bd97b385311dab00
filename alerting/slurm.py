"""`foreshock bridge slurm`: signals a job's training ranks on this node, drains the node, lifts its own drain.

Runs on the node it acts for (`scontrol listpids` sees only local processes), whose collector.node is its Slurm
NodeName. It owns what it did: a drain that somebody else set is never touched, and ours is told by its reason.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from alerting import slurm_node
from alerting.action import Action, Outcome, reason_line
from alerting.job_signal import Process, Skipped, checkpoint_processes, refusal, signal_number, started_ticks
from alerting.slurm_jobs import Job, Listed, jobs_on_gpu, parse_pids, wished_signal
from alerting.slurm_node import single_node
from alerting.slurm_rest import SlurmRest
from alerting.slurm_scontrol import Scontrol, scontrol
from alerting.training_ranks import environment, is_launcher, training_ranks
from collector.config import BridgeConfig
from collector.errors import ConfigError

_LOOK_EVERY_S: Final = 0.1
_FORGOTTEN: Final = "slurm_load_jobs error: Invalid job id specified"
_NAMED: Final = 4
"""So many of the processes that were left alone are named; the others are counted."""


class _Kind(NamedTuple):
    """What is asked for: its word in a job's comment, its variable in a rank's environment, the default signal."""

    word: str
    variable: str
    default: str


class _Asked(NamedTuple):
    """What came of asking one job."""

    job: Job
    sent: int
    detail: str


class SlurmAdapter:
    """The scheduler's side of an action."""

    def __init__(self, config: BridgeConfig) -> None:
        """Raises ConfigError for a signal that cannot ask for anything, or a slurmrestd that cannot be reached so."""
        signal_number(config.signal)
        signal_number(config.migrate_signal, "bridge.migrate_signal")
        self._config = config
        self._save = _Kind("signal", "FORESHOCK_SIGNAL", config.signal)
        self._leave = _Kind("migrate", "FORESHOCK_MIGRATE_SIGNAL", config.migrate_signal)
        self._controller = (
            SlurmRest(config.slurm_rest_url, config.slurm_token_file) if config.slurm_rest_url else Scontrol()
        )

    def checkpoint(self, action: Action) -> Outcome:
        """Signal the jobs on this GPU; does not wait, since Slurm has no word for "the checkpoint is on disk"."""
        begun_s = time.monotonic()
        asked = _ask_all(single_node(action.node), action.gpu_index, self._save)
        if not asked:
            return Outcome(ok=False, detail=f"{_nobody(action)}; advisory only")
        detail = "; ".join(a.detail for a in asked)
        return Outcome(
            ok=any(a.sent for a in asked), detail=detail, seconds=round(time.monotonic() - begun_s, 3)
        )

    def drain(self, action: Action) -> Outcome:
        """DRAIN with our reason, unless somebody else has drained the node."""
        node = single_node(action.node)
        return slurm_node.drain(self._controller, node, action.incident_id, reason_line(action))

    def migrate(self, action: Action) -> Outcome:
        """Drain first, so that nothing comes back here; then ask the ranks to leave, wait, and requeue if allowed.

        `ok` when no job is left on the GPU, or each was requeued.
        """
        begun_s = time.monotonic()
        steps = [self.drain(action).detail]
        node = single_node(action.node)
        asked = _ask_all(node, action.gpu_index, self._leave)
        steps += [a.detail for a in asked] or [_nobody(action)]
        waiting = [a.job for a in asked if a.sent]
        left = self._wait(node, waiting) if waiting else {}
        steps += [f"job {job} left the node after {s:.1f} s" for job, s in left.items()]
        staying = [a.job for a in asked if a.job.job_id not in left]
        gone = [self._send_away(job, node, steps) for job in staying]
        return Outcome(ok=all(gone), detail="; ".join(steps), seconds=round(time.monotonic() - begun_s, 3))

    def release(self, action: Action) -> Outcome:
        """Lift the drain that this incident set, and only that; doing it twice is doing it once."""
        return slurm_node.release(self._controller, single_node(action.node), action.incident_id)

    def _wait(self, node: str, jobs: Sequence[Job]) -> dict[str, float]:
        """Until the jobs have no process here any more, bounded. -> seconds by job, of those that left."""
        begun_s = time.monotonic()
        left: dict[str, float] = {}
        while len(left) < len(jobs) and time.monotonic() - begun_s < self._config.acknowledge_timeout_s:
            here = {p.job_id for p in _processes(node)}
            left |= {
                j.job_id: time.monotonic() - begun_s
                for j in jobs
                if j.job_id not in here and j.job_id not in left
            }
            if len(left) < len(jobs):
                time.sleep(_LOOK_EVERY_S)
        return left

    def _send_away(self, job: Job, node: str, steps: list[str]) -> bool:
        """Requeue a job that is still here, if the operator allows and Slurm will take it. -> whether it was."""
        if not self._config.requeue:
            steps.append(f"job {job.job_id} is still here: bridge.requeue is off")
        elif not job.requeueable:
            steps.append(f"job {job.job_id} is still here: it is not a batch job that may be requeued")
        elif job.job_id not in {p.job_id for p in _processes(node)}:
            steps.append(f"job {job.job_id} left the node meanwhile")
            return True
        else:
            scontrol("requeue", job.job_id)
            steps.append(f"job {job.job_id} requeued")
            return True
        return False


def _nobody(action: Action) -> str:
    return f"no running job on {action.node} shows GPU {action.gpu_index}"


def _processes(node: str) -> list[Listed]:
    """Of all jobs on this node. That there is none is an error to scontrol, but not to us."""
    return parse_pids(scontrol("listpids", "*", node, fine="No job steps exist on this node."))


def _ask_all(node: str, gpu_index: int | None, kind: _Kind) -> list[_Asked]:
    """Ask the jobs that hold the GPU. Only jobs with a process here are looked up: a cluster may have 50,000."""
    processes = _processes(node)
    shown = [
        scontrol("show", "job", job_id, "--oneliner", "--details", fine=_FORGOTTEN)
        for job_id in dict.fromkeys(p.job_id for p in processes)
    ]
    return [
        _ask(job, [p for p in processes if p.job_id == job.job_id], kind)
        for job in jobs_on_gpu("".join(shown), node, gpu_index)
    ]


def _ask(job: Job, processes: Sequence[Listed], kind: _Kind) -> _Asked:
    """Signal the job's ranks, each with the signal that its job or itself wishes."""
    name = f"job {job.job_id}"
    noted = {
        p.pid: Process(p.pid, started_ticks(p.pid))
        for p in processes
        if not p.is_batch_script and not is_launcher(p.pid)
    }
    wished = {pid: wished_signal(job, kind.word) or _own_wish(pid, kind) for pid in noted}
    if noted and all(wish == "none" for wish in wished.values()):
        return _Asked(job, 0, f"{name} wishes not to be signalled; advisory only")
    try:
        signals = {pid: signal_number(w, f"{name}") for pid, w in wished.items() if w != "none"}
    except ConfigError as e:
        return _Asked(job, 0, f"{e}; advisory only")
    ranks = training_ranks(signals)
    sent, skipped = 0, [] if ranks else _refusals(noted, signals)
    for pid in ranks:
        signalled = checkpoint_processes([noted[pid]], signals[pid])
        sent += len(signalled.sent)
        skipped += signalled.skipped
    return _Asked(job, sent, _told(job, sent, skipped))


def _own_wish(pid: int, kind: _Kind) -> str:
    """The rank's environment, which it cannot change any more while it runs; else the default."""
    if environment(pid, "FORESHOCK_SIGNAL") == "none":
        return "none"
    return environment(pid, kind.variable) or kind.default


def _refusals(noted: Mapping[int, Process], signals: Mapping[int, int]) -> list[Skipped]:
    """Why none of them is a rank."""
    whys = ((pid, refusal(noted[pid], n)) for pid, n in signals.items())
    return [Skipped(pid, why) for pid, why in whys if why is not None]


def _told(job: Job, sent: int, skipped: Iterable[Skipped]) -> str:
    text = f"job {job.job_id}: {sent} training ranks on this node signalled"
    if sent and job.nodes > 1:
        text += f" (it runs on {job.nodes} nodes; ranks elsewhere are not)"
    left = [f"pid {s.pid} {s.why}" for s in skipped]
    if len(left) > _NAMED:
        left = [*left[:_NAMED], f"and {len(left) - _NAMED} more"]
    return "; ".join([text, *left] if sent else [text, *left, "advisory only"])
