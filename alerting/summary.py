"""What an on-call engineer reads at 3 a.m.: what, how sure, since when, why, what was done, what to do."""

from __future__ import annotations

from collections.abc import Callable

from alerting.action import ActionName
from alerting.incident import Incident, Sighting
from collector.clock import hms, to_datetime
from collector.records import Reason

_REASONS_SHOWN = 5
_DONE: dict[ActionName, str] = {
    "checkpoint": "asked the job for a checkpoint",
    "drain": "asked the scheduler for no new work on the node",
    "drain_now": "asked the scheduler to move the work away now",
    "release": "asked the scheduler to lift our drain",
}


def summary(incident: Incident, advice: Callable[[int], str] | None = None) -> str:
    """Plain text, most important line first. `advice` explains an Xid code in one sentence."""
    since = f"{to_datetime(incident.opened_s):%Y-%m-%d %H:%M:%S}"
    lines = [
        _headline(incident),
        f"Since {since} UTC, signals: {incident.count}. {_sure(incident)}",
        *_section("Why", [_reason(r) for r in incident.reasons[:_REASONS_SHOWN]]),
        *_section("Seen", [_sighting(s) for s in incident.sightings]),
        f"Done: {'; '.join(_DONE[a] for a in incident.asked) or 'nothing asked'}.",
        *_section("Held back", [f"{name}: {why}" for name, why in incident.held.items()]),
        *_section("Said", list(incident.notes)),
        f"To do: {_to_do(incident, advice)}",
        f"Incident {incident.incident_id}",
    ]
    return "\n".join(lines)


def _headline(incident: Incident) -> str:
    index = "GPU" if incident.gpu_index is None else f"GPU {incident.gpu_index}"
    names = ", ".join(n for n in (incident.gpu_uuid, incident.pci_bdf) if n is not None)
    mark = "SYNTHETIC: " if incident.synthetic else ""
    return f"{mark}{_what(incident)}: {index} of {incident.node} ({names})"


def _what(incident: Incident) -> str:
    if incident.state == "failed":
        return "GPU FAILED" if incident.code is None else f"GPU FAILED, Xid {incident.code}"
    if incident.state == "recovered":
        return "GPU recovered"
    if incident.state == "replaced":
        return "GPU replaced"
    return "GPU fault predicted" if incident.state == "open" else "Nothing heard for long, closed unconfirmed"


def _sure(incident: Incident) -> str:
    if incident.peak_risk is None:
        return "Reported by the driver, no prediction came before it."
    within = "" if incident.horizon_s is None else f" within {incident.horizon_s / 60:.0f} min"
    now = "" if incident.risk is None else f", now {incident.risk:.2f}"
    model = f" by {incident.model_id}" if incident.model_id else ""
    return f"Risk at most {incident.peak_risk:.2f}{within}{model}{now}."


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"{title}:", *(f"  {line}" for line in lines)] if lines else []


def _reason(reason: Reason) -> str:
    value = "unknown" if reason.value is None else f"{reason.value:g}"
    text = f" {reason.text}" if reason.text else ""
    return f"{reason.feature} = {value} (healthy: {reason.healthy}), {reason.share:+.2f}.{text}"


def _sighting(seen: Sighting) -> str:
    name = seen.kind if seen.code is None else f"{seen.kind.capitalize()} {seen.code}"
    return f"{hms(seen.time)} {name} {seen.text}".rstrip()


_ENDED = {
    "lapsed": "see whether the node still reports at all.",
    "replaced": "nothing here; the card that was taken out still has its fault: see to its return.",
}


def _to_do(incident: Incident, advice: Callable[[int], str] | None) -> str:
    if incident.state == "recovered":
        if "release" in incident.asked:
            return "nothing, unless the drain is still there."
        return "nothing; lift the drain if it is still there and its reason names this incident."
    if incident.state == "open":
        return "see that the checkpoint landed; run a GPU diagnostic before the node takes new work."
    if incident.state in _ENDED:
        return _ENDED[incident.state]
    if incident.code is None or advice is None:
        return "the job on this GPU is lost or stuck: restart it elsewhere from its last checkpoint."
    return advice(incident.code)
