"""From what an incident calls for to what is asked: what pays, once each, and only within the operator's limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from alerting.action import INTENTS, Action, ActionName
from alerting.bills import JobState, Option
from alerting.choice import choose
from alerting.economics import break_even_checkpoint, break_even_drain
from alerting.incident import ChangeName, Incident, incident_row
from alerting.limits import held
from alerting.rules import Decision, Rules, State
from alerting.summary import summary
from collector.records import Risk

_NEAR_S: Final = 3600
_SAVE: Final[tuple[Option, ...]] = ("checkpoint",)
_LEAVE: Final[tuple[Option, ...]] = ("migrate",)
_MOVE: Final[tuple[Option, ...]] = ("checkpoint", "no_new_work", "migrate")


def wanted(incident: Incident, risk: Risk, rules: Rules) -> dict[ActionName, str]:
    """What a risk of this height asks for, each with its arithmetic; nothing where it would not pay.

    A checkpoint from p > C_p / w on, with the p of a fault before the next regular one, which saves the work anyhow.
    The node takes no new work from p > (C_p + P) / (w + U) on, the price of moving
    for nothing: what runs stays, unless `rules.migrate` allows to move it and that costs the job least.
    """
    if incident.state == "failed" or risk.risk < rules.alarm_at(risk.model_id):
        return {}
    job, p = rules.situation(incident), risk.risk
    asks: dict[ActionName, str] = {}
    soon = _before_next_save(p, job, risk.horizon_s)
    if soon > break_even_checkpoint(job.costs, job.since_checkpoint_s):
        asks["checkpoint"] = choose(soon, job, _SAVE).arithmetic + _why_less(risk, soon, job.costs.interval_s)
    if p > break_even_drain(job.costs, job.since_checkpoint_s):
        if rules.migrate and choose(p, job, _MOVE).option == "migrate":
            asks["drain_now"] = choose(p, job, _MOVE).arithmetic
        else:
            asks["drain"] = (
                f"what runs stays, nothing new starts: leaving would pay: {choose(p, job, _LEAVE).arithmetic}"
            )
    return asks


def _before_next_save(p: float, job: JobState, horizon_s: int) -> float:
    """The part of `p` before the next regular save, were the fault as likely at any time of the horizon.

    All of it where the horizon is an hour or less: such alarms come minutes ahead (the model card has the leads).
    All of it where the last checkpoint is older than T: that job keeps to no interval.
    """
    interval_s, since_s = job.costs.interval_s, job.since_checkpoint_s
    if since_s is not None and since_s > interval_s:
        return p
    return p if horizon_s <= _NEAR_S else p * min(1.0, interval_s / horizon_s)


def _why_less(risk: Risk, soon: float, interval_s: float) -> str:
    if soon == risk.risk:
        return ""
    return (
        f"; p {soon:.3g} = {risk.risk:.3g} x T {interval_s:.0f} s / horizon {risk.horizon_s} s: "
        "a regular save comes after T"
    )


def settle(
    state: State,
    key: str,
    change: ChangeName | None,
    incident: Incident,
    asks: Mapping[ActionName, str],
    *,
    now_s: float,
    rules: Rules,
) -> Decision:
    """Ask what was not asked before and is allowed, and write a row if there is anything to tell."""
    known = {k: i for k, i in state.items() if k != key}
    new = {name: why for name, why in asks.items() if name not in incident.asked}
    waits = {n: held([*known.values(), incident], incident, n, now_s, rules.limits) for n in new}
    waits = {name: why for name, why in waits.items() if why}
    new = {name: why for name, why in new.items() if name not in waits}
    if change is None:
        overdue = incident.last_signal_s - incident.written_s > rules.rewrite_s
        change = "asked" if new else "held" if waits.keys() - incident.held.keys() else None
        if change is None and overdue:
            change = "continues"
    incident = msgspec.structs.replace(
        incident, asked=(*incident.asked, *new), held=waits,
        written_s=incident.last_signal_s if change is not None else incident.written_s,
        checkpoint_asked_s=now_s if "checkpoint" in new else incident.checkpoint_asked_s,
    )  # fmt: skip
    text = summary(incident, rules.advice) if change is not None else ""
    actions = tuple(action(incident, name, why, text, now_s=now_s, rules=rules) for name, why in new.items())
    rows = () if change is None else (incident_row(change, incident, text, now_s),)
    return Decision({**state, key: incident}, rows, actions)


def action(
    incident: Incident, name: ActionName, why: str, text: str, *, now_s: float, rules: Rules
) -> Action:
    """The request; a dry run unless the operator has armed this very action."""
    return Action(
        action_id=f"{incident.incident_id}.{name}", incident_id=incident.incident_id, action=name,
        intent=INTENTS[name], time=now_s, node=incident.node, gpu_uuid=incident.gpu_uuid,
        gpu_index=incident.gpu_index, pci_bdf=incident.pci_bdf, risk=incident.risk, reasons=incident.reasons,
        summary=text, detail=why, synthetic=incident.synthetic,
        dry_run=rules.dry_run or name not in rules.limits.armed,
    )  # fmt: skip
