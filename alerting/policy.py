"""From a risk or an event to incidents and actions. Pure: the same signals in the same order give the same.

Never flaps: an open incident asks each action once, and closes only after the risk was seen below
`clear_level` and stayed there for `clear_s`. Silence alone never closes it: no news may mean a dead pipeline.
Safe to repeat: names come from the signals, and a signal that was counted before changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from alerting.asking import settle, wanted
from alerting.ending import end
from alerting.evidence import asked_by, is_terminal
from alerting.incident import (
    ChangeName,
    Incident,
    fail,
    from_evidence,
    gpu_key,
    incident_row,
    join_event,
    join_risk,
    open_incident,
    slot_key,
)
from alerting.instruction import CHANGES, Instruction, obey
from alerting.rules import Decision, Rules, State
from alerting.summary import summary
from collector.records import Event, Inventory, Risk

__all__ = ["Decision", "Rules", "State", "decide", "restore", "tick"]


def decide(
    state: State, signal: Event | Risk | Instruction | Inventory, now_s: float, rules: Rules
) -> Decision:
    """Take one signal. `now_s` is the watcher's clock, used for staleness and for the rows' time."""
    if isinstance(signal, Inventory):
        return _on_card(state, signal, now_s, rules)
    if isinstance(signal, Instruction):
        return _on_instruction(state, signal, now_s, rules)
    found = _find(state, signal)
    if found is None:
        return Decision(state)
    key, incident = found
    decision = Decision(state)
    if incident is not None and incident.is_open and signal.time - incident.last_signal_s > rules.quiet_s:
        decision = end(state, key, "lapsed", now_s, rules)
        incident = decision.state[key]
    if isinstance(signal, Risk):
        after = _on_risk(decision.state, key, incident, signal, now_s=now_s, rules=rules)
    else:
        after = _on_event(decision.state, key, incident, signal, now_s=now_s, rules=rules)
    return after._replace(changes=decision.changes + after.changes, actions=decision.actions + after.actions)


def tick(state: State, now_s: float, rules: Rules) -> Decision:
    """Close what was quiet for `clear_s`. Only when the stream is read up: else `now_s` runs ahead of it."""
    total = Decision(state)
    for key, incident in list(state.items()):
        if incident.is_open and _is_quiet(incident, now_s, rules):
            after = end(total.state, key, "recovered", now_s, rules)
            total = Decision(after.state, total.changes + after.changes, total.actions + after.actions)
    return total


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
        if risk.risk < rules.alarm_at(risk.model_id):
            return Decision(state)
        opened = join_risk(
            open_incident(risk, "predicted_fault", incident), risk, rules.clear_at(risk.model_id)
        )
        return settle(state, key, "opened", opened, wanted(opened, risk, rules), now_s=now_s, rules=rules)
    joined = join_risk(incident, risk, rules.clear_at(risk.model_id))
    if _is_quiet(joined, risk.time, rules):
        return end({**state, key: joined}, key, "recovered", now_s, rules)
    return settle(state, key, None, joined, wanted(joined, risk, rules), now_s=now_s, rules=rules)


def _on_instruction(state: State, told: Instruction, now_s: float, rules: Rules) -> Decision:
    """A person's word on an incident that is known; a repeat changes nothing."""
    key = next((k for k, i in state.items() if i.incident_id == told.incident_id), None)
    if key is None or (after := obey(state[key], told)) is state[key]:
        return Decision(state)
    row = incident_row(CHANGES[told.verb], after, summary(after, rules.advice), now_s)
    return Decision({**state, key: after}, (row,))


def _on_card(state: State, card: Inventory, now_s: float, rules: Rules) -> Decision:
    """A new card in the slot ends what the old one left open: nobody will ever hear of that one there again."""
    slot = f"{card.node}/{card.pci_bdf}"
    total = Decision(state)
    for key, old in state.items():
        same = old.gpu_uuid in (None, card.gpu_uuid)
        if old.is_open and slot_key(old) == slot and not same and card.time > old.last_signal_s:
            after = end(total.state, key, "replaced", now_s, rules)
            total = Decision(after.state, total.changes + after.changes, total.actions + after.actions)
    return total


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
    asks = {} if now_s - event.time > rules.event_max_age_s else asked
    return settle(state, key, change, after, asks, now_s=now_s, rules=rules)


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
    asks = {} if now_s - event.time > rules.event_max_age_s else asked_by(event, rules.is_terminal)
    return settle(state, key, change, fail(incident, event), asks, now_s=now_s, rules=rules)


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
