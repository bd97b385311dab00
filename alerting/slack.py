"""Slack's incoming webhook, and what understands its JSON: one message when an incident opens, fails or ends.

Format: Slack's "Block Kit" (header, section, context). `text` alone says enough for a receiver without blocks.
The URL is a secret: it is read from a file, and no error ever shows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec

from alerting.incident import Incident, IncidentRow, from_evidence
from alerting.links import Links
from alerting.post import DeliveryError, RefusedError, is_url, post
from alerting.webhook import warn_if_readable
from collector.errors import ConfigError
from collector.records import Reason

NAME: Final = "slack"
_TOLD: Final = frozenset({"opened", "failed", "recovered", "lapsed", "replaced"})
_HEADER_CHARACTERS: Final = 150  # Slack's limits
_SECTION_CHARACTERS: Final = 3000
_REASONS_SHOWN: Final = 5
_SIGHTINGS_SHOWN: Final = 3

Block = dict[str, Any]


class SlackSink:
    """Posts incidents to one channel. For one thread."""

    def __init__(self, url_file: str, links: Links, timeout_s: float) -> None:
        """Raises ConfigError when the file holds no URL."""
        load_url(url_file)
        warn_if_readable(url_file)
        self._url_file, self._links = url_file, links
        self._client = httpx2.Client(timeout=timeout_s)

    def send(self, row: IncidentRow) -> None:
        """Post one change. Raises DeliveryError or RefusedError."""
        body = msgspec.json.encode(message(row, self._links))
        try:
            url = load_url(self._url_file)  # anew each time: a new address needs no restart
        except ConfigError as e:
            raise DeliveryError(str(e)) from e
        try:
            post(self._client, url, body, {"content-type": "application/json"})
        except DeliveryError as e:
            raise DeliveryError(_without(url, str(e)), e.retry_after_s) from None
        except RefusedError as e:
            raise RefusedError(_without(url, str(e))) from None

    def close(self) -> None:
        self._client.close()


def wants(row: IncidentRow) -> bool:
    """Whether people shall read of this change: the beginning and the end, not what joins in between."""
    return row.change in _TOLD


def load_url(path: str) -> str:
    """The first line of the file. Raises ConfigError, which never shows it."""
    hint = "put the webhook's URL into that file, alone on its first line, and chmod 600 it"
    try:
        lines = Path(path).read_text().split("\n")
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"watch.slack_url_file {path}: cannot be read", hint=hint) from e
    url = lines[0].strip()
    if not is_url(url):
        raise ConfigError(f"watch.slack_url_file {path}: no URL in it", hint=hint)
    return url


def message(row: IncidentRow, links: Links) -> dict[str, Any]:
    """The JSON of one message. Raises RefusedError for a row whose evidence cannot be read."""
    try:
        incident = from_evidence(row.evidence)
    except msgspec.DecodeError as e:
        raise RefusedError(f"{row.incident_id}: its evidence cannot be read: {e}") from e
    headline = row.summary.split("\n", 1)[0]
    targets = [(links.dashboard(row), "Dashboard"), (links.runbook(row), "Runbook")]
    found = [f"<{url}|{name}>" for url, name in targets if url]
    blocks: list[Block] = [
        {"type": "header", "text": {"type": "plain_text", "text": headline[:_HEADER_CHARACTERS]}},
        {"type": "section", "fields": [_text(f"*{k}*\n{_safe(v)}") for k, v in _fields(row, incident)]},
        *_section("Why", [_reason(r) for r in incident.reasons[:_REASONS_SHOWN]]),
        *_section("Seen", [s.text or s.kind for s in incident.sightings[-_SIGHTINGS_SHOWN:]]),
        *_section("To do", _to_do(row.summary)),
    ]
    if found:
        blocks.append({"type": "section", "text": _text(" · ".join(found))})
    blocks.append({"type": "context", "elements": [_text(f"Incident {row.incident_id}, {row.change}")]})
    return {"text": "\n".join([_safe(headline), *map(_safe, _to_do(row.summary)), *found]), "blocks": blocks}


def _fields(row: IncidentRow, incident: Incident) -> list[tuple[str, str]]:
    """At most ten, which is Slack's limit."""
    gpu = ", ".join(
        str(n) for n in (row.gpu_index, row.gpu_uuid, row.pci_bdf) if n is not None
    )  # the index may be 0
    risk = "none predicted" if incident.peak_risk is None else f"at most {incident.peak_risk:.2f}"
    if incident.risk is not None and incident.peak_risk is not None:
        risk += f", now {incident.risk:.2f}"
    if incident.horizon_s is not None:
        risk += f" (within {incident.horizon_s / 60:.0f} min)"
    return [
        ("Node", row.node),
        ("GPU", gpu or "unknown"),
        ("State", f"{row.state}, {row.severity}"),
        ("Risk", risk),
        ("Cause", row.cause),
        ("Since", f"{row.opened:%Y-%m-%d %H:%M:%S} UTC"),
    ]


def _reason(reason: Reason) -> str:
    value = "unknown" if reason.value is None else f"{reason.value:g}"
    said = f": {reason.text}" if reason.text else ""
    return f"{reason.feature} = {value} (healthy: {reason.healthy}){said}"


def _to_do(summary: str) -> list[str]:
    """What the text for the person on call asks of them."""
    return [line.removeprefix("To do: ") for line in summary.split("\n") if line.startswith("To do: ")]


def _section(title: str, lines: list[str]) -> list[Block]:
    if not lines:
        return []
    text = "\n".join([f"*{title}*", *(f"• {_safe(line)}" for line in lines)])
    return [{"type": "section", "text": _text(text[:_SECTION_CHARACTERS])}]


def _text(markdown: str) -> Block:
    return {"type": "mrkdwn", "text": markdown}


def _safe(text: str) -> str:
    """A kernel line may hold anything: it must not become a link or call the whole channel."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _without(url: str, error: str) -> str:
    """A proxy may show the path that it was asked for."""
    for secret in (url, httpx2.URL(url).raw_path.decode()):
        if len(secret) > 1:
            error = error.replace(secret, "(the secret URL)")
    return error
