"""One incident per GPU at a time: what it remembers, how it changes, and the row it leaves in the lake.

A second symptom joins the incident that is open. Times are Unix seconds of the signals (UTC), not of the
machine that reads them, so a replay gives the same incident with the same name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal

import msgspec

from alerting.action import ActionName
from collector.clock import to_datetime
from collector.records import Event, Reason, Risk

IncidentState = Literal["open", "failed", "recovered", "lapsed", "replaced"]
"""open: predicted; failed: the fault is there; recovered: quiet for long; lapsed: unheard for too long;
replaced: another card sits in the slot."""
Ending = Literal["recovered", "lapsed", "replaced"]
Severity = Literal["warning", "critical"]
ChangeName = Literal[
    "opened", "asked", "held", "failed", "joined", "continues", "recovered", "lapsed", "replaced", "acknowledged",
    "silenced", "noted",
]  # fmt: skip

_SIGHTINGS_KEPT: Final = 8
_FINGERPRINTS_KEPT: Final = 64


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """An event as the incident remembers it."""

    time: float
    kind: str
    code: int | None
    text: str


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one GPU's trouble. It is also its own memory: its JSON is the row's `evidence`."""

    incident_id: str
    cause: str
    node: str
    gpu_uuid: str | None
    gpu_index: int | None
    pci_bdf: str | None
    opened_s: float
    last_signal_s: float
    """The newest event, or risk that was not below the clear level."""
    state: IncidentState = "open"
    severity: Severity = "warning"
    risk: float | None = None
    peak_risk: float | None = None
    horizon_s: int | None = None
    model_id: str = ""
    reasons: tuple[Reason, ...] = ()
    """Those of the highest risk."""
    code: int | None = None
    sightings: tuple[Sighting, ...] = ()
    fingerprints: tuple[str, ...] = ()
    count: int = 0
    asked: tuple[ActionName, ...] = ()
    checkpoint_asked_s: float | None = None
    """When this GPU's job was last asked for one, by this incident or the one before."""
    held: Mapping[ActionName, str] = {}
    """What would be asked, and why it is not."""
    job: str | None = None
    """The newest that was seen on the GPU."""
    recovered_before_s: float | None = None
    """When the GPU's last incident ended by itself."""
    acknowledged_by: str | None = None
    silenced_until_s: float | None = None
    notes: tuple[str, ...] = ()
    """What people wrote, oldest first."""
    last_risk_s: float | None = None
    below_since_s: float | None = None
    closed_s: float | None = None
    written_s: float = 0.0
    """When the last row was written; a long quiet join writes one now and then, for a restart to find."""
    synthetic: bool = False

    @property
    def is_open(self) -> bool:
        return self.state in ("open", "failed")


class IncidentRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the lake's `incidents`."""

    time: datetime
    incident_id: str
    change: ChangeName
    state: IncidentState
    cause: str
    severity: Severity
    node: str
    gpu_uuid: str | None
    gpu_index: int | None
    pci_bdf: str | None
    opened: datetime
    risk: float | None
    code: int | None
    summary: str
    evidence: str
    synthetic: bool


def gpu_key(signal: Event | Risk | Incident) -> str | None:
    """The card where it is known, else its slot; None when the signal names no GPU."""
    return signal.gpu_uuid if signal.gpu_uuid is not None else slot_key(signal)


def slot_key(signal: Event | Risk | Incident) -> str | None:
    """The slot alone: what a kernel line knows."""
    return None if signal.pci_bdf is None else f"{signal.node}/{signal.pci_bdf}"


def open_incident(signal: Event | Risk, cause: str, before: Incident | None) -> Incident:
    """A new incident, still empty. Its name comes from the signal alone: re-delivery gives the same name.

    It inherits what the GPU's incident `before` has counted, so that a replay from long ago is not news.
    """
    identity = signal.fingerprint if isinstance(signal, Event) else f"risk@{signal.time!r}"
    digest = hashlib.sha256(f"{gpu_key(signal)}|{identity}".encode()).hexdigest()[:8]
    return Incident(
        incident_id=f"inc-{to_datetime(signal.time):%Y%m%dT%H%M%S}-{digest}", cause=cause, node=signal.node,
        gpu_uuid=signal.gpu_uuid, gpu_index=signal.gpu_index, pci_bdf=signal.pci_bdf, opened_s=signal.time,
        last_signal_s=signal.time, synthetic=signal.synthetic,
        fingerprints=() if before is None else before.fingerprints, job=signal.job,
        checkpoint_asked_s=None if before is None else before.checkpoint_asked_s,
        recovered_before_s=before.closed_s if before is not None and before.state == "recovered" else None,
    )  # fmt: skip


def join_risk(incident: Incident, risk: Risk, clear_level: float) -> Incident:
    """One more risk of this GPU. A risk computed before the last event says nothing about recovery."""
    below = risk.risk < clear_level
    since_s = incident.below_since_s if incident.below_since_s is not None else risk.time
    joined = msgspec.structs.replace(
        _place(incident, risk),
        risk=risk.risk, last_risk_s=risk.time, count=incident.count + 1,
        below_since_s=since_s if below and risk.time > incident.last_signal_s else None,
        last_signal_s=incident.last_signal_s if below else max(incident.last_signal_s, risk.time),
    )  # fmt: skip
    if incident.peak_risk is not None and risk.risk <= incident.peak_risk:
        return joined
    return msgspec.structs.replace(
        joined, peak_risk=risk.risk, horizon_s=risk.horizon_s, model_id=risk.model_id, reasons=risk.reasons
    )


def join_event(incident: Incident, event: Event) -> Incident:
    """One more event of this GPU, kept as evidence."""
    seen = Sighting(time=event.time, kind=event.kind, code=event.code, text=event.text)
    return msgspec.structs.replace(
        _place(incident, event),
        sightings=(*incident.sightings, seen)[-_SIGHTINGS_KEPT:],
        fingerprints=(*incident.fingerprints, event.fingerprint)[-_FINGERPRINTS_KEPT:],
        count=incident.count + event.count,
        below_since_s=None,
        last_signal_s=max(incident.last_signal_s, event.time),
    )


def fail(incident: Incident, event: Event) -> Incident:
    """The fault is there: critical from here on. The first terminal code stays, what follows is aftermath."""
    code = event.code if incident.code is None else incident.code
    return msgspec.structs.replace(incident, state="failed", severity="critical", code=code)


def close(incident: Incident, state: Ending, time_s: float) -> Incident:
    """Over; nothing joins it any more."""
    return msgspec.structs.replace(incident, state=state, closed_s=time_s)


def incident_row(change: ChangeName, incident: Incident, summary: str, now_s: float) -> IncidentRow:
    """The log row of one change at `now_s`."""
    return IncidentRow(
        time=to_datetime(now_s), incident_id=incident.incident_id, change=change, state=incident.state,
        cause=incident.cause, severity=incident.severity, node=incident.node, gpu_uuid=incident.gpu_uuid,
        gpu_index=incident.gpu_index, pci_bdf=incident.pci_bdf, opened=to_datetime(incident.opened_s),
        risk=incident.risk, code=incident.code, summary=summary,
        evidence=msgspec.json.encode(incident).decode(), synthetic=incident.synthetic,
    )  # fmt: skip


def from_evidence(evidence: str) -> Incident:
    """The incident a row was written from. Raises msgspec.DecodeError for anything else."""
    return msgspec.json.decode(evidence, type=Incident)


def _place(incident: Incident, signal: Event | Risk) -> Incident:
    """A kernel line knows the slot, a sample also the card: keep whatever is known of both."""
    return msgspec.structs.replace(
        incident,
        gpu_uuid=incident.gpu_uuid if incident.gpu_uuid is not None else signal.gpu_uuid,
        gpu_index=incident.gpu_index if incident.gpu_index is not None else signal.gpu_index,
        pci_bdf=incident.pci_bdf if incident.pci_bdf is not None else signal.pci_bdf,
        synthetic=incident.synthetic or signal.synthetic,
        job=incident.job if signal.job is None else signal.job,
    )
