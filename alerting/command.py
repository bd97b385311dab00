"""`foreshock bridge command`: for trainers without a scheduler we know, by pid files and the operator's commands.

A training process NAME writes its pid to pid_dir/NAME.pid, handles the configured signal by saving at its next
step boundary, and then writes acknowledge_dir/NAME.checkpoint.json, e.g. {"step": 1200} (by rename, so that
it is never half there). collector/trainer.py does the last two; docs/checkpoint.md has the frameworks.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from alerting.action import Action, Outcome, reason_line
from alerting.command_jobs import Acknowledgement, Job, answer, jobs, raise_flag
from alerting.execute import execute
from alerting.hold import lift, place
from alerting.job_signal import Process, checkpoint_processes, signal_number, started_ticks
from collector.config import BridgeConfig
from collector.errors import ConfigError

DRAIN_TIMEOUT_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.02


class CommandAdapter:
    """Signals the processes named by pid files and runs the operator's commands."""

    def __init__(self, config: BridgeConfig) -> None:
        """Raises ConfigError for a signal that cannot ask for anything."""
        self._config = config
        self._signal = signal_number(config.signal)
        self._migrate_signal = signal_number(config.migrate_signal, "bridge.migrate_signal")

    def checkpoint(self, action: Action) -> Outcome:
        """Ask every job, by its signal or else by its flag, and wait until each has acknowledged or the time is up."""
        del action  # pid_dir names the jobs of this node; which GPU is the scheduler's knowledge, not ours
        begun_s = time.monotonic()
        known, skipped = jobs(self._config)
        waited, more = self._ask(known)
        skipped = skipped + more
        if not waited:
            return Outcome(ok=False, detail="; ".join(["no process could be asked", *skipped]))
        answers = self._collect(waited, begun_s + self._config.acknowledge_timeout_s)
        return _saved(waited, answers, skipped, time.monotonic() - begun_s)

    def drain(self, action: Action) -> Outcome:
        """Place the hold (`hold_dir`) and run `drain_command`, whichever is set."""
        held = place(self._config.hold_dir, action) if self._config.hold_dir else None
        if held is not None and not self._config.drain_command:
            return held
        if not self._config.drain_command:
            raise ConfigError(
                "bridge.drain_command is not set", hint='e.g. drain_command = ["/usr/local/bin/drain"]'
            )
        return _run(self._config.drain_command, action, "bridge.drain_command")

    def migrate(self, action: Action) -> Outcome:
        """Drain, then ask each process that handles `migrate_signal` to save and exit, and wait until it is gone.

        Where the drain fails nothing is signalled: the job would start again on this node.
        """
        begun_s = time.monotonic()
        drained = self.drain(action)
        if not drained.ok:
            return Outcome(
                ok=False, detail=f"{drained.detail}; nothing was asked to leave", seconds=drained.seconds
            )
        known, skipped = jobs(self._config)
        left = self._leave(known, begun_s + self._config.acknowledge_timeout_s)
        detail = "; ".join([drained.detail, left.detail, *skipped])
        return Outcome(ok=left.ok, detail=detail, step=left.step, seconds=time.monotonic() - begun_s)

    def release(self, action: Action) -> Outcome:
        """Lift this incident's hold and run `release_command`, which may lift no other incident's drain."""
        lifted = lift(self._config.hold_dir, action) if self._config.hold_dir else None
        if lifted is not None and not self._config.drain_command:
            return lifted
        if not self._config.release_command:
            said = "not lifted: bridge.release_command is not set"
            return Outcome(ok=False, detail=f"{action.node}: {said}")
        return _run(self._config.release_command, action, "bridge.release_command")

    def _ask(self, known: Sequence[Job]) -> tuple[list[Job], list[str]]:
        """-> the jobs that were asked, and why the others were not."""
        processes = [j.process for j in known if j.process is not None]
        signalled = checkpoint_processes(processes, self._signal)
        refused = {s.pid: s.why for s in signalled.skipped}
        asked: list[Job] = []
        skipped: list[str] = []
        for job in known:
            if (job.process is not None and job.process.pid in signalled.sent) or raise_flag(
                self._config, job.name
            ):
                asked.append(job)
            elif job.process is not None:
                skipped.append(f"pid {job.process.pid} {refused[job.process.pid]}")
        return asked, skipped

    def _collect(self, waited: Sequence[Job], deadline_s: float) -> dict[str, Acknowledgement]:
        answers: dict[str, Acknowledgement] = {}
        while True:
            for job in waited:
                told = answer(self._config, job) if job.name not in answers else None
                if told is not None:
                    answers[job.name] = told
            if len(answers) == len(waited) or time.monotonic() >= deadline_s:
                return answers
            time.sleep(_LOOK_EVERY_S)

    def _leave(self, known: Sequence[Job], deadline_s: float) -> Outcome:
        processes = [j.process for j in known if j.process is not None]
        with _handles(processes) as handles:
            signalled = checkpoint_processes([p for p in processes if p in handles], self._migrate_signal)
            asked = {p.pid: handle for p, handle in handles.items() if p.pid in signalled.sent}
            staying = _wait_for_exit(asked, deadline_s)
        skipped = [f"pid {s.pid} {s.why}" for s in signalled.skipped]
        if not asked:
            return Outcome(ok=not known, detail="; ".join(["no process was asked to leave", *skipped]))
        mine = [j for j in known if j.process is not None and j.process.pid in asked]
        answers = self._collect(mine, time.monotonic())
        parts = [f"{len(asked) - len(staying)} of {len(asked)} processes left", *_steps(answers)]
        parts += [f"pid {pid} is still there" for pid in staying]
        return Outcome(
            ok=not staying and not skipped, detail="; ".join(parts + skipped), step=_least_step(answers)
        )


def _run(argv: Sequence[str], action: Action, setting: str) -> Outcome:
    env = {
        "FORESHOCK_INCIDENT": action.incident_id,
        "FORESHOCK_ACTION": action.action,
        "FORESHOCK_INTENT": action.intent,
        "FORESHOCK_NODE": action.node,
        "FORESHOCK_GPU_UUID": action.gpu_uuid or "",
        "FORESHOCK_REASON": reason_line(action),
    }
    begun_s = time.monotonic()
    done = execute(argv, DRAIN_TIMEOUT_S, env=env, hint=f"see {setting} in foreshock.toml")
    said = (done.output.strip() or done.error)[-300:]
    detail = f"{argv[0]} exited {done.code}{': ' + said if said else ''}"
    return Outcome(ok=done.code == 0, detail=detail, seconds=time.monotonic() - begun_s)


@contextmanager
def _handles(processes: Sequence[Process]) -> Iterator[dict[Process, int]]:
    """A pidfd of each process that is still the one meant: it tells of the exit even where the pid is reused."""
    opened: dict[Process, int] = {}
    try:
        for process in processes:
            try:
                opened[process] = os.pidfd_open(process.pid)
            except OSError:
                continue  # gone already
        yield {p: handle for p, handle in opened.items() if started_ticks(p.pid) == p.started_ticks}
    finally:
        for handle in opened.values():
            os.close(handle)


def _wait_for_exit(handles: dict[int, int], deadline_s: float) -> list[int]:
    """Wait until every process has ended or the time is up. -> the pids of those that have not."""
    poll = select.poll()
    waiting = {handle: pid for pid, handle in handles.items()}
    for handle in waiting:
        poll.register(handle, select.POLLIN)
    while waiting:
        left_s = deadline_s - time.monotonic()
        ended = poll.poll(max(0.0, left_s) * 1000)
        for handle, _ in ended:
            poll.unregister(handle)
            del waiting[handle]
        if not ended and left_s <= 0:
            break
    return list(waiting.values())


def _saved(
    asked: Sequence[Job], answers: dict[str, Acknowledgement], skipped: Sequence[str], seconds: float
) -> Outcome:
    silent = [j.name for j in asked if j.name not in answers]
    parts = [f"{len(answers)} of {len(asked)} jobs that were asked saved", *_steps(answers)]
    parts += [f"{name} did not answer within {seconds:.1f} s" for name in silent]
    return Outcome(
        ok=not silent, detail="; ".join([*parts, *skipped]), step=_least_step(answers), seconds=seconds
    )


def _steps(answers: dict[str, Acknowledgement]) -> list[str]:
    """One clause per job: the step it saved, and what the save took."""
    took = {name: "" if a.seconds is None else f" in {a.seconds:.1f} s" for name, a in answers.items()}
    return [f"{name} at step {a.step}{took[name]}" for name, a in answers.items()]


def _least_step(answers: dict[str, Acknowledgement]) -> int | None:
    return min((a.step for a in answers.values() if a.step is not None), default=None)
