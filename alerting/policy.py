"""From a risk or an event to incidents and actions. Pure: the same signals in the same order give the same.

Never flaps: an open incident asks each action once, and closes only after the risk was seen below
`clear_level` and stayed there for `clear_s`. Silence alone never closes it: no news may mean a dead pipeline.
Safe to repeat: names come from the signals, and a signal that was counted before changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from alerting.action import INTENTS, Action, ActionName
from alerting.economics import (
    JobCosts,
    break_even_checkpoint,
    break_even_drain,
    checkpoint_arithmetic,
    drain_arithmetic,
)
from alerting.evidence import asked_by, is_terminal
from alerting.incident import (
    ChangeName,
    Incident,
    IncidentRow,
    close,
    fail,
    from_evidence,
    gpu_key,
    incident_row,
    join_event,
    join_risk,
    open_incident,
    slot_key,
)
from alerting.summary import summary
from collector.records import Event, Risk

State = Mapping[str, Incident]
"""The newest incident of each GPU, open or closed, by `gpu_key`. Closed ones know what they counted."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the policy may assume. `is_terminal` and `is_application` speak of Xid codes."""

    is_terminal: Callable[[int], bool]
    is_application: Callable[[int], bool]
    advice: Callable[[int], str] | None = None
    alarm_level: float = 0.5
    clear_level: float = 0.1
    clear_s: float = 1800.0
    quiet_s: float = 86_400.0
    """A signal that comes this long after the last one belongs to a new incident."""
    event_max_age_s: float = 3600.0
    """An event older than this is recorded but asks for nothing: the node may be mended by now."""
    rewrite_s: float = 3600.0
    """An incident that only counts on writes a row this often, so that a restart knows it is alive."""
    costs: JobCosts = field(default_factory=JobCosts)
    dry_run: bool = True


class Decision(NamedTuple):
    """What follows from one signal. `changes` are log rows; `actions` are to be delivered once."""

    state: State
    changes: tuple[IncidentRow, ...] = ()
    actions: tuple[Action, ...] = ()


def decide(state: State, signal: Event | Risk, now_s: float, rules: Rules) -> Decision:
    """Take one signal. `now_s` is the watcher's clock, used for staleness and for the rows' time."""
    found = _find(state, signal)
    if found is None:
        return Decision(state)
    key, incident = found
    decision = Decision(state)
    if incident is not None and incident.is_open and signal.time - incident.last_signal_s > rules.quiet_s:
        decision = _close(state, key, "lapsed", now_s, rules)
        incident = decision.state[key]
    if isinstance(signal, Risk):
        after = _on_risk(decision.state, key, incident, signal, now_s=now_s, rules=rules)
    else:
        after = _on_event(decision.state, key, incident, signal, now_s=now_s, rules=rules)
    return after._replace(changes=decision.changes + after.changes)


def tick(state: State, now_s: float, rules: Rules) -> Decision:
    """Close what was quiet for `clear_s`. Only when the stream is read up: else `now_s` runs ahead of it."""
    changes: tuple[IncidentRow, ...] = ()
    for key, incident in list(state.items()):
        if incident.is_open and _is_quiet(incident, now_s, rules):
            decision = _close(state, key, "recovered", now_s, rules)
            state, changes = decision.state, changes + decision.changes
    return Decision(state, changes)


def restore(rows: Iterable[Mapping[str, object]]) -> State:
    """State from the INCIDENTS log, in any order. An unreadable row is passed over: the log has others."""
    newest: dict[str, tuple[tuple[float, bool, int], Incident]] = {}
    for row in rows:
        try:
            incident = from_evidence(str(row["evidence"]))
        except (KeyError, msgspec.DecodeError):
            continue
        key = gpu_key(incident)
        order = (incident.opened_s, not incident.is_open, incident.count)
        if key is not None and (key not in newest or order >= newest[key][0]):
            newest[key] = (order, incident)
    return {key: incident for key, (_, incident) in newest.items()}


def _find(state: State, signal: Event | Risk) -> tuple[str, Incident | None] | None:
    """The key to use and the GPU's incident. A kernel line knows only the slot, so the slot is tried too."""
    key, slot = gpu_key(signal), slot_key(signal)
    if key is None:
        return None
    if signal.gpu_uuid is None:
        same_slot = [k for k, i in state.items() if slot_key(i) == slot]
        if same_slot:
            key = max(same_slot, key=lambda k: (state[k].is_open, state[k].last_signal_s))
    elif slot is not None and key not in state and slot in state and state[slot].gpu_uuid in (None, key):
        key = slot
    return key, state.get(key)


def _on_risk(
    state: State, key: str, incident: Incident | None, risk: Risk, *, now_s: float, rules: Rules
) -> Decision:
    counted = incident is not None and incident.last_risk_s is not None and risk.time <= incident.last_risk_s
    if counted or now_s - risk.time > risk.horizon_s:  # past its horizon a prediction is history
        return Decision(state)
    if incident is None or not incident.is_open:
        if risk.risk < rules.alarm_level:
            return Decision(state)
        opened = join_risk(open_incident(risk, "predicted_fault", incident), risk, rules.clear_level)
        return _settle(
            state, key, "opened", opened, _wanted(opened, risk.risk, rules), now_s=now_s, rules=rules
        )
    joined = join_risk(incident, risk, rules.clear_level)
    if _is_quiet(joined, risk.time, rules):
        return _close({**state, key: joined}, key, "recovered", now_s, rules)
    return _settle(state, key, None, joined, _wanted(joined, risk.risk, rules), now_s=now_s, rules=rules)


def _on_event(
    state: State, key: str, incident: Incident | None, event: Event, *, now_s: float, rules: Rules
) -> Decision:
    if incident is not None and event.fingerprint in incident.fingerprints:
        return _on_more(state, key, incident, event, now_s=now_s, rules=rules)
    is_open = incident is not None and incident.is_open
    asked = asked_by(event, rules.is_terminal)
    if not asked and (not is_open or _is_application(event, rules)):
        return Decision(state)
    cause = event.kind if event.code is None else f"{event.kind}_{event.code}"
    before = incident if incident is not None and is_open else open_incident(event, cause, incident)
    after = join_event(before, event)
    change: ChangeName | None = None if is_open else "opened"
    if is_terminal(event, rules.is_terminal):
        after, change = fail(after, event), _change(before, event, is_open)
    wanted = {} if now_s - event.time > rules.event_max_age_s else asked
    return _settle(state, key, change, after, wanted, now_s=now_s, rules=rules)


def _on_more(
    state: State, key: str, incident: Incident, event: Event, *, now_s: float, rules: Rules
) -> Decision:
    """An event that was counted before: a storm goes on, or more is known of it. A mere repeat changes nothing."""
    if not incident.is_open or event.time < incident.opened_s:  # of an older incident
        return Decision(state)
    if event.last_time is not None and event.last_time > incident.last_signal_s:
        incident = msgspec.structs.replace(incident, last_signal_s=event.last_time, below_since_s=None)
    named = incident.state == "failed" and (incident.code is not None or event.code is None)
    if named or not is_terminal(event, rules.is_terminal):
        return Decision({**state, key: incident})
    change: ChangeName = "joined" if incident.state == "failed" else "failed"
    wanted = {} if now_s - event.time > rules.event_max_age_s else asked_by(event, rules.is_terminal)
    return _settle(state, key, change, fail(incident, event), wanted, now_s=now_s, rules=rules)


def _change(before: Incident, event: Event, is_open: bool) -> ChangeName | None:
    """What a terminal event means for the log: a code that the incident already shows is only counted."""
    if not is_open:
        return "opened"
    if before.state != "failed":
        return "failed"
    return None if any(s.code == event.code for s in before.sightings) else "joined"


def _is_application(event: Event, rules: Rules) -> bool:
    return event.kind == "xid" and event.code is not None and rules.is_application(event.code)


def _is_quiet(incident: Incident, time_s: float, rules: Rules) -> bool:
    return incident.below_since_s is not None and time_s - incident.below_since_s >= rules.clear_s


def _wanted(incident: Incident, risk: float, rules: Rules) -> dict[ActionName, str]:
    """What a risk of this height asks for, each with its arithmetic; nothing where it would not pay."""
    if incident.state == "failed" or risk < rules.alarm_level:
        return {}
    wanted: dict[ActionName, str] = {}
    if risk > break_even_checkpoint(rules.costs):
        wanted["checkpoint"] = checkpoint_arithmetic(risk, rules.costs)
    if risk > break_even_drain(rules.costs):
        wanted["drain"] = drain_arithmetic(risk, rules.costs)
    return wanted


def _settle(
    state: State,
    key: str,
    change: ChangeName | None,
    incident: Incident,
    wanted: Mapping[ActionName, str],
    *,
    now_s: float,
    rules: Rules,
) -> Decision:
    """Ask what was not asked before, and write a row if there is anything to tell."""
    new = {name: why for name, why in wanted.items() if name not in incident.asked}
    if change is None:
        overdue = incident.last_signal_s - incident.written_s > rules.rewrite_s
        change = "asked" if new else "continues" if overdue else None
    written_s = incident.last_signal_s if change is not None else incident.written_s
    incident = msgspec.structs.replace(incident, asked=(*incident.asked, *new), written_s=written_s)
    text = summary(incident, rules.advice) if change is not None else ""
    actions = tuple(_action(incident, name, why, text, now_s=now_s, rules=rules) for name, why in new.items())
    rows = () if change is None else (incident_row(change, incident, text, now_s),)
    return Decision({**state, key: incident}, rows, actions)


def _close(state: State, key: str, how: ChangeName, now_s: float, rules: Rules) -> Decision:
    assert how in ("recovered", "lapsed")
    incident = close(state[key], how, now_s)
    row = incident_row(how, incident, summary(incident, rules.advice), now_s)
    return Decision({**state, key: incident}, (row,))


def _action(
    incident: Incident, name: ActionName, why: str, text: str, *, now_s: float, rules: Rules
) -> Action:
    return Action(
        action_id=f"{incident.incident_id}.{name}", incident_id=incident.incident_id, action=name,
        intent=INTENTS[name], time=now_s, node=incident.node, gpu_uuid=incident.gpu_uuid,
        gpu_index=incident.gpu_index, pci_bdf=incident.pci_bdf, risk=incident.risk, reasons=incident.reasons,
        summary=text, detail=why, synthetic=incident.synthetic, dry_run=rules.dry_run,
    )  # fmt: skip
