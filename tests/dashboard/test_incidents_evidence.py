"""The evidence of an incident's rows, as the page reads it."""

from __future__ import annotations

import json
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from dashboard.incidents.evidence import Evidence, decode, timeline
from tests.dashboard.incident_rows import NOON


@given(st.text(max_size=60) | st.none())
def test_any_evidence_is_read_or_left_out(evidence: str | None) -> None:
    found = decode(evidence)
    assert found is None or isinstance(found, Evidence)


def test_evidence_of_a_newer_watcher_is_read_and_a_row_without_any_keeps_its_place() -> None:
    newer = json.dumps({"risk": 0.0, "peak_risk": 0.0, "from_the_future": [1]})
    log = [
        {"time": NOON, "change": "opened", "evidence": newer},
        {"time": NOON + timedelta(minutes=1), "change": "lapsed", "evidence": None},
    ]
    assert [(e.what, e.told) for e in timeline(log)] == [("opened", "risk 0.00"), ("lapsed", "")]
