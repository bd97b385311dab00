"""Actions and changes of incidents as the watcher writes them, for the receivers' tests. Synthetic."""

from typing import Any

import msgspec

from alerting.action import Action, ActionName
from alerting.incident import ChangeName, Incident, IncidentRow, IncidentState, incident_row
from alerting.summary import summary
from collector.records import Reason

OPENED_S = 1_790_000_000.0


def incident(name: str = "inc-1", state: IncidentState = "open", **more: Any) -> Incident:
    made = Incident(
        incident_id=name, cause="risk", node="n1", gpu_uuid="GPU-a", gpu_index=0, pci_bdf="0000:3b:00",
        opened_s=OPENED_S, last_signal_s=OPENED_S, state=state,
        severity="critical" if state == "failed" else "warning", risk=0.0, peak_risk=0.93, horizon_s=3600,
        model_id="rules-1", synthetic=True,
        reasons=(
            Reason(feature="replays_1h", value=0.0, healthy="0 to 2", share=0.6, text="PCIe <replays>"),
            Reason(feature="ecc_1h", value=None, healthy="0", share=0.2),
        ),
    )  # fmt: skip
    replaced: Incident = msgspec.structs.replace(made, **more)
    return replaced


def change(
    what: ChangeName, state: IncidentState = "open", *, after_s: float = 0.0, **more: Any
) -> IncidentRow:
    """The row of a change `after_s` seconds after the incident opened."""
    made = incident(state=state, **more)
    return incident_row(what, made, summary(made), OPENED_S + after_s)


def action(
    name: str = "i1.drain", *, incident: str = "i1", does: ActionName = "drain", dry_run: bool = False
) -> Action:
    return Action(
        action_id=name, incident_id=incident, action=does, intent="no_new_work", time=1.0, node="n1",
        gpu_uuid="GPU-a", gpu_index=0, pci_bdf=None, risk=0.9, reasons=(), summary="s", detail="d",
        synthetic=True, dry_run=dry_run,
    )  # fmt: skip
