"""Where a person reads on: the runbook of a cause, and the GPU on the dashboard."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlencode

from alerting.incident import IncidentRow


@dataclass(frozen=True, slots=True)
class Links:
    """The site's own addresses; an empty one gives no link."""

    runbook_url: str = ""
    """`{cause}` in it is replaced; without that the cause becomes the last part of the path."""
    dashboard_url: str = ""

    def runbook(self, row: IncidentRow) -> str:
        """The page of this cause."""
        return _at(self.runbook_url, "{cause}", row.cause)

    def dashboard(self, row: IncidentRow) -> str:
        """The GPU's page, with the incident named for whoever reads the address."""
        if not self.dashboard_url:
            return ""
        wanted = {"gpu": row.gpu_uuid, "incident": row.incident_id}
        return f"{self.dashboard_url.rstrip('/')}/gpu?{urlencode({k: v for k, v in wanted.items() if v})}"


def _at(base: str, place: str, name: str) -> str:
    if not base:
        return ""
    name = quote(name, safe="")
    return base.replace(place, name) if place in base else f"{base.rstrip('/')}/{name}"
