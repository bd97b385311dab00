"""The production policy as one more party of the simulation: it is told what a watcher is told, and asks what it asks.

Nothing of it is copied here: `alerting.policy.decide` and `tick` decide, `alerting.job_book` holds the checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from alerting.action import Action
from alerting.policy import Decision, Rules, State, decide, tick
from collector.checkpoints import Checkpoint
from collector.records import Event, Inventory, Risk

EPOCH_S: Final = 1_800_000_000.0
"""The start of a simulated run as Unix time."""
JOB: Final = "simulated-job"
_REMEMBERED_S: Final = 86_400.0
_XID: Final = 79
_BDF: Final = "0000:1b:00"


def node_name(node: int) -> str:
    return f"n{node}"


def node_number(name: str) -> int:
    return int(name.removeprefix("n"))


class PolicyInLoop:
    """`asked` are the actions so far, by name, `asked_on_risk` those that no fault confirmed.

    GPUs are named by node and by how often their card was swapped.
    """

    def __init__(self, rules: Rules, horizon_s: float) -> None:
        self._rules = rules
        self._horizon_s = int(horizon_s)
        self._state: State = {}
        self._cards: dict[int, int] = {}
        self.asked: dict[str, int] = {}
        self.asked_on_risk: dict[str, int] = {}
        self.clear_s = rules.clear_s

    def checkpoint(self, started_s: float, finished_s: float) -> None:
        """The trainer tells of a save that is complete."""
        saved = Checkpoint(JOB, 0, EPOCH_S + started_s, EPOCH_S + finished_s)
        self._rules = replace(self._rules, jobs=self._rules.jobs.seen(saved))

    def risk(self, node: int, probability: float, now_s: float, *, in_job: bool) -> list[Action]:
        """The model's word on the node's GPU."""
        at_s = EPOCH_S + now_s
        told = Risk(
            time=at_s, node=node_name(node), gpu_uuid=self._gpu(node), gpu_index=0, pci_bdf=_BDF, risk=probability,
            horizon_s=self._horizon_s, model_id="measured-curve", feature_set="", synthetic=True,
            job=JOB if in_job else None,
        )  # fmt: skip
        actions = self._take(decide(self._state, told, at_s, self._rules))
        for action in actions:
            self.asked_on_risk[action.action] = self.asked_on_risk.get(action.action, 0) + 1
        return actions

    def fault(self, node: int, now_s: float, *, in_job: bool) -> list[Action]:
        """The kernel's line of a GPU that is gone."""
        at_s = EPOCH_S + now_s
        line = Event(
            fingerprint=f"{node}@{now_s!r}", time=at_s, node=node_name(node), kind="xid", source="sim",
            gpu_uuid=self._gpu(node), gpu_index=0, pci_bdf=_BDF, code=_XID, text="GPU has fallen off the bus.",
            synthetic=True, job=JOB if in_job else None,
        )  # fmt: skip
        return self._take(decide(self._state, line, at_s, self._rules))

    def mended(self, node: int, now_s: float) -> list[Action]:
        """Another card answers in the slot."""
        self._cards[node] = self._cards.get(node, 0) + 1
        at_s = EPOCH_S + now_s
        card = Inventory(time=at_s, node=node_name(node), gpu_uuid=self._gpu(node), gpu_index=0, pci_bdf=_BDF)
        return self._take(decide(self._state, card, at_s, self._rules))

    def silence(self, now_s: float) -> list[Action]:
        """The stream is read up: what was quiet for long enough ends."""
        return self._take(tick(self._state, EPOCH_S + now_s, self._rules))

    def wants_more(self, node: int) -> bool:
        """Something is not asked yet for this node's open incident: a later risk may change that."""
        incident = self._state.get(self._gpu(node))
        return incident is not None and incident.is_open and not {"drain", "drain_now"} & set(incident.asked)

    def _gpu(self, node: int) -> str:
        return f"GPU-{node}-{self._cards.get(node, 0)}"

    def _take(self, decision: Decision) -> list[Action]:
        now = decision.changes
        self._state = _forgotten(decision.state) if now else decision.state
        for action in decision.actions:
            self.asked[action.action] = self.asked.get(action.action, 0) + 1
        return list(decision.actions)


def _forgotten(state: State) -> State:
    """Without what ended a day before the newest signal: no rule looks at it any more, and a year has thousands."""
    newest = _newest(i.last_signal_s for i in state.values())
    return {
        k: i for k, i in state.items() if i.closed_s is None or newest - i.closed_s < _REMEMBERED_S
    }  # fmt: skip


def _newest(times_s: Iterable[float]) -> float:
    return max(times_s, default=0.0)
