"""Prometheus Alertmanager as a receiver: routing, grouping, silences and pagers that a site has already.

`POST /api/v2/alerts` (Alertmanager 0.25, api/v2/openapi.yaml). An alert is its label set, so labels hold what
stays the same; a risk that changes every minute is an annotation. A firing alert ends by itself at `endsAt`, which
we push on from time to time: when this process is gone for good, what it said does not stand for ever.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx2
import msgspec

from alerting.incident import IncidentRow, from_evidence
from alerting.links import Links
from alerting.post import RefusedError, is_url, post
from collector.errors import ConfigError

_LOG = logging.getLogger(__name__)
NAME: Final = "alertmanager"
STANDS_S: Final = 900.0
"""How long an alert fires that is not repeated: a restart of ours resolves nothing."""
REPEAT_S: Final = 60.0
_REPEAT_AGAIN_S: Final = 5.0
_AT_ONCE: Final = 100  # alerts of one repeat that travel together

Told = Callable[[str | None], Sequence[IncidentRow]]
"""The newest change of one incident (of each for None) that Alertmanager was told."""


class Alert(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`postableAlert` of the API."""

    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: datetime
    ends_at: datetime
    generator_url: str = msgspec.field(name="generatorURL", default="")


class AlertmanagerSink:
    """Posts incidents to one Alertmanager and repeats those that are open. For one thread."""

    def __init__(
        self, url: str, links: Links, told: Told, timeout_s: float,
        *, stands_s: float = STANDS_S, repeat_s: float = REPEAT_S,
    ) -> None:  # fmt: skip
        """Raises ConfigError for an unusable URL."""
        if not is_url(url):
            raise ConfigError(
                f"watch.alertmanager_url: not a URL: {url!r}", hint="e.g. http://alertmanager:9093"
            )
        self._url = f"{url.rstrip('/')}/api/v2/alerts"
        self._links, self._told = links, told
        self._stands_s, self._repeat_s = stands_s, repeat_s
        self._repeat_from_s = 0.0
        self._client = httpx2.Client(timeout=timeout_s)

    def send(self, row: IncidentRow) -> None:
        """Tell of one change. Raises DeliveryError or RefusedError."""
        before = next(iter(self._told(row.incident_id)), None)
        now = datetime.now(tz=UTC)
        self._post(alerts(row, before, now, self._ends(now), self._links))

    def repeat(self) -> None:
        """Push on the end of what is open, when it is time. Raises DeliveryError: then call it again."""
        if time.monotonic() < self._repeat_from_s:
            return
        self._repeat_from_s = time.monotonic() + min(_REPEAT_AGAIN_S, self._repeat_s)
        now = datetime.now(tz=UTC)
        standing = [
            _alert(row, now, self._ends(now), self._links) for row in self._told(None) if _is_open(row)
        ]
        for n in range(0, len(standing), _AT_ONCE):
            try:
                self._post(standing[n : n + _AT_ONCE])
            except RefusedError as e:  # of one in the request; Alertmanager has taken the others
                _LOG.error("%s: repeat refused: %s", NAME, e)
        self._repeat_from_s = time.monotonic() + self._repeat_s

    def close(self) -> None:
        self._client.close()

    def _ends(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self._stands_s)

    def _post(self, found: Sequence[Alert]) -> None:
        if found:
            post(self._client, self._url, msgspec.json.encode(found), {"content-type": "application/json"})


def alerts(
    row: IncidentRow, before: IncidentRow | None, now: datetime, ends_at: datetime, links: Links
) -> list[Alert]:
    """What to post for one change, given the change told `before` it; empty where there is nothing to say.

    A prediction that came true, or a GPU whose name became known, has other labels: the alert under the old ones
    is resolved in the same request, so that an inhibited warning does not fire when the failure is over.
    """
    if before is not None and before.time > row.time:
        return []  # a dead letter that was tried again: Alertmanager has heard of later things
    found = [_alert(row, now, ends_at, links)] if _is_open(row) else []
    if before is not None and _is_open(before) and (not found or labels(before) != labels(row)):
        found.insert(0, _alert(before, now, now, links))
    return found


def labels(row: IncidentRow) -> dict[str, str]:
    """Prometheus conventions; the same for as long as the incident is the same."""
    found = {
        "alertname": "GpuFault" if row.state == "failed" else "GpuFaultPredicted",
        "severity": row.severity,
        "node": row.node,
        "instance": row.node,
        "gpu": None if row.gpu_index is None else str(row.gpu_index),
        "uuid": row.gpu_uuid,
        "pci_bdf": row.pci_bdf,
        "cause": row.cause,
        "incident": row.incident_id,
        "synthetic": "true" if row.synthetic else None,
    }
    return {name: value for name, value in found.items() if value}


def _alert(row: IncidentRow, now: datetime, ends_at: datetime, links: Links) -> Alert:
    dashboard = links.dashboard(row)
    annotations = {
        "summary": row.summary.split("\n", 1)[0],
        "description": row.summary,
        "risk": "" if row.risk is None else f"{row.risk:.2f}",
        "runbook_url": links.runbook(row),
        "dashboard_url": dashboard,
    }
    return Alert(
        labels=labels(row),
        annotations={name: text for name, text in annotations.items() if text},
        starts_at=min(row.opened, now),  # the demo's clock runs ahead, and a start after the end is refused
        ends_at=ends_at,
        generator_url=dashboard,
    )


def _is_open(row: IncidentRow) -> bool:
    """As the incident itself has it. A row that we cannot read ends by itself."""
    try:
        return from_evidence(row.evidence).is_open
    except msgspec.DecodeError:
        _LOG.error("%s: its evidence cannot be read", row.incident_id)
        return False
