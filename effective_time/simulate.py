"""One job, its nodes and their faults, with or without the production policy in the loop.

A discrete-event simulation: between two happenings the job's cycles are counted, not stepped. The same faults
(`effective_time.faults`) in both arms, so that their difference is Foreshock's and not luck's.

Left out, as of now: a fault that spares the job; the time that people need; risks of idle nodes in the model's words.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from alerting.action import Action
from alerting.policy import Rules
from alerting.waste import Run
from effective_time.alarms import FALSE, Alarms
from effective_time.faults import Faults
from effective_time.job import Job
from effective_time.nodes import Nodes
from effective_time.policy_in_loop import PolicyInLoop, node_number

RISK_EVERY_S: Final = 60.0
"""A live model speaks every minute."""
LOW_RISK: Final = 0.0
_Kind = Literal["mended", "fault", "alarm", "risk", "risk ends", "quiet", "leaves"]
_ORDER: Final[dict[_Kind, int]] = {
    "mended": 0, "leaves": 1, "fault": 2, "alarm": 3, "risk": 4, "risk ends": 5, "quiet": 6,
}  # fmt: skip
"""Of one moment: whoever left in time has left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The job: on `nodes_in_job` of the world's nodes, the others spare. Seconds; T is `interval_s`.

    `proactive_s` is C_p, `move_s` P; `horizon_s` is that of the predictor, which speaks every `risk_every_s`.
    """

    run: Run
    interval_s: float
    nodes_in_job: int
    proactive_s: float = 0.0
    move_s: float = 0.0
    horizon_s: float = 3600.0
    risk_every_s: float = RISK_EVERY_S


@dataclass(frozen=True, slots=True)
class Outcome:
    """`lost_s` by cause; with `work_s` it adds up to `span_s`. Counts of what happened, `asked` by action."""

    span_s: float
    work_s: float
    lost_s: dict[str, float]
    interruptions: int
    avoided: int
    """Faults of nodes that the job had left before."""
    faults: int
    alarms: int
    asked: dict[str, int] = field(default_factory=dict)
    asked_on_risk: dict[str, int] = field(default_factory=dict)
    """Of them those that a mere risk asked for; the others came with a fault."""

    @property
    def ettr(self) -> float:
        return self.work_s / self.span_s


class _Happening(NamedTuple):
    time_s: float
    order: int
    number: int
    kind: _Kind
    node: int
    which: int


def simulate(
    faults: Faults, setup: Setup, alarms: Alarms | None = None, rules: Rules | None = None
) -> Outcome:
    """Run to the end. Without `alarms` and `rules` nobody foretells anything and nobody acts."""
    return _Simulation(faults, setup, alarms, rules).run()


class _Simulation:
    def __init__(self, faults: Faults, setup: Setup, alarms: Alarms | None, rules: Rules | None) -> None:
        self._faults, self._setup, self._alarms = faults, setup, alarms
        self._policy = None if rules is None else PolicyInLoop(rules, setup.horizon_s)
        self._job = Job(setup.interval_s, setup.run.checkpoint_s)
        self._nodes = Nodes(faults.nodes, setup.nodes_in_job)
        self._interruptions = self._avoided = 0
        self._mending: set[int] = set()
        self._left: set[int] = set()
        self._told_s: float | None = None
        self._stopped_s: float | None = None
        self._queue = [
            _Happening(float(t), _ORDER["fault"], i, "fault", int(n), i)
            for i, (t, n) in enumerate(zip(faults.time_s, faults.node, strict=True))
        ]
        if alarms is not None and self._policy is not None:
            self._queue += [
                _Happening(float(t), _ORDER["alarm"], i, "alarm", int(n), i)
                for i, (t, n) in enumerate(zip(alarms.time_s, alarms.node, strict=True))
            ]
        heapq.heapify(self._queue)

    def run(self) -> Outcome:
        until_s = self._faults.until_s
        handlers = {
            "mended": self._mended, "fault": self._fault, "alarm": self._risk, "risk": self._risk,
            "risk ends": self._risk_ends, "quiet": self._quiet, "leaves": self._leaves,
        }  # fmt: skip
        while self._queue and self._queue[0].time_s < until_s:
            now = heapq.heappop(self._queue)
            self._job.advance(now.time_s)
            handlers[now.kind](now)
        self._job.advance(until_s)
        self._job.end()
        asked = ({}, {}) if self._policy is None else (self._policy.asked, self._policy.asked_on_risk)
        return Outcome(
            until_s, self._job.work_s, self._job.lost_s, self._interruptions, self._avoided, len(self._faults),
            0 if self._alarms is None else len(self._alarms), *asked,
        )  # fmt: skip

    def _later(self, now: _Happening, in_s: float, kind: _Kind) -> None:
        happening = _Happening(now.time_s + in_s, _ORDER[kind], now.number, kind, now.node, now.which)
        heapq.heappush(self._queue, happening)

    def _fault(self, now: _Happening) -> None:
        if now.node in self._mending:
            return  # nothing runs there that could fail
        in_job = self._nodes.works(now.node)
        if self._policy is not None:
            # what it asks now comes too late for this job; that the incident counts against the caps does not
            self._policy.fault(now.node, now.time_s, in_job=in_job)
        self._mending.add(now.node)
        self._nodes.leave(now.node)
        if in_job:
            self._interruptions += now.time_s != self._stopped_s  # nodes that fail at one moment stop it once
            self._stopped_s = now.time_s
            self._nodes.start_anew()
            self._job.stop(self._setup.run.unplanned_s)
            self._job.wait(self._nodes.lacking > 0)
        elif now.node in self._left:
            self._avoided += 1
        self._left.discard(now.node)
        self._later(now, float(self._faults.repair_s[now.which]), "mended")

    def _mended(self, now: _Happening) -> None:
        self._mending.discard(now.node)
        self._back(now.node)
        if self._policy is not None:
            self._obey(now, self._policy.mended(now.node, now.time_s))

    def _risk(self, now: _Happening) -> None:
        alarms, policy = self._alarms, self._policy
        if alarms is None or policy is None or now.node in self._mending:
            return
        self._tell_checkpoints(policy)
        in_job = self._nodes.works(now.node)
        self._obey(
            now, policy.risk(now.node, float(alarms.probability[now.which]), now.time_s, in_job=in_job)
        )
        ends_s = float(alarms.time_s[now.which] + alarms.lasts_s[now.which])
        if policy.wants_more(now.node) and now.time_s + self._setup.risk_every_s < ends_s:
            self._later(now, self._setup.risk_every_s, "risk")
        if now.kind == "alarm" and alarms.fault[now.which] == FALSE:
            self._later(now, ends_s - now.time_s, "risk ends")

    def _risk_ends(self, now: _Happening) -> None:
        if self._policy is None or now.node in self._mending:
            return
        self._obey(now, self._policy.risk(now.node, LOW_RISK, now.time_s, in_job=self._nodes.works(now.node)))
        self._later(now, self._policy.clear_s + 1.0, "quiet")

    def _quiet(self, now: _Happening) -> None:
        if self._policy is not None:
            self._obey(now, self._policy.silence(now.time_s))

    def _tell_checkpoints(self, policy: PolicyInLoop) -> None:
        """The last save and the one before: what it takes to see the job's interval."""
        saved_s, takes_s = self._job.saved_s, self._setup.run.checkpoint_s
        if saved_s is None or saved_s == self._told_s:
            return
        for end_s in (saved_s - self._setup.interval_s, saved_s):
            if end_s >= takes_s:
                policy.checkpoint(end_s - takes_s, end_s)
        self._told_s = saved_s

    def _obey(self, now: _Happening, actions: list[Action]) -> None:
        """As the bridges do: save; save and start elsewhere; take no new work; take work again."""
        for action in actions:
            if action.dry_run:
                continue
            node = node_number(action.node)
            if action.action == "release":
                self._back(node)
            elif action.action == "drain":
                self._left |= {node} if self._nodes.works(node) else set()
                self._nodes.close(node)
            elif self._nodes.works(node):
                self._job.save(self._setup.proactive_s)
                if action.action == "drain_now":
                    self._later(now._replace(node=node), self._job.saving_s, "leaves")
            elif action.action == "drain_now":
                self._nodes.leave(node)

    def _leaves(self, now: _Happening) -> None:
        """The save is on disk. A node that failed before has stopped the job by now."""
        if not self._nodes.works(now.node):
            return
        self._left.add(now.node)
        self._nodes.leave(now.node)
        self._job.move(self._setup.move_s)
        self._job.wait(self._nodes.lacking > 0)

    def _back(self, node: int) -> None:
        if node in self._mending:
            return
        self._left.discard(node)
        self._nodes.come_back(node)
        self._job.wait(self._nodes.lacking > 0)
