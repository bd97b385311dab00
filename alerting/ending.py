"""How an incident ends, and its drain: lifted only by the incident that set it, and only when its cause cleared."""

from __future__ import annotations

import msgspec

from alerting.asking import action
from alerting.incident import Ending, close, incident_row
from alerting.limits import DRAINS
from alerting.rules import Decision, Rules, State
from alerting.summary import summary


def end(state: State, key: str, how: Ending, now_s: float, rules: Rules) -> Decision:
    """Close it. What was drained on a mere prediction is released; after a fault a person decides, unless told."""
    before = state[key]
    incident = close(before, how, now_s)
    drained = DRAINS & set(before.asked)
    release = how != "lapsed" and drained and (before.state == "open" or rules.release_failed)
    if release:
        incident = msgspec.structs.replace(incident, asked=(*incident.asked, "release"))
    text = summary(incident, rules.advice)
    row = incident_row(how, incident, text, now_s)
    why = (
        "another card sits in its slot"
        if how == "replaced"
        else f"the risk stayed below {rules.clear_at(incident.model_id):g} for {rules.clear_s:.0f} s"
    )
    actions = (action(incident, "release", why, text, now_s=now_s, rules=rules),) if release else ()
    return Decision({**state, key: incident}, (row,), actions)
