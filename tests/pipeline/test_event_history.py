from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.xid_catalogue import is_application, is_fault, is_precursor
from pipeline.event_history import EVENT_LOOK_BACK_DAYS, FAULT_KINDS, EventHistory, needed
from tests.pipeline.random_lakes import random_events, random_rollups
from tests.pipeline.samples import START

DAY = timedelta(days=1)


def naive(events: pl.DataFrame, row: dict[str, Any]) -> dict[str, float]:
    """Everything that EventHistory says of one row, by looking at each event."""
    told: dict[str, dict[str, Any]] = {}
    for e in events.sort("time", "last_time", "count", nulls_last=False).iter_rows(named=True):
        told.setdefault(e["fingerprint"], e)
    end = row["minute"] + timedelta(minutes=1)

    def faulty(e):
        if e["kind"] != "xid":
            return e["kind"] in FAULT_KINDS
        return is_fault(e["code"], fatal=e["text"] == "Fatal")

    def count(days, belongs):
        return float(sum(end - days * DAY <= e["time"] < end and belongs(e) for e in told.values()))

    def mine(e):
        return e["gpu_uuid"] == row["gpu_uuid"]

    def coded(test):
        return lambda e: e["kind"] == "xid" and test(e["code"]) and mine(e)

    own = [e["time"] for e in told.values() if faulty(e) and mine(e) and end - 90 * DAY <= e["time"] < end]
    return {
        "fault_events_24h": count(1, lambda e: faulty(e) and mine(e)),
        "fault_events_7d": count(7, lambda e: faulty(e) and mine(e)),
        "fault_events_90d": count(90, lambda e: faulty(e) and mine(e)),
        "hours_since_fault": (end - max(own)).total_seconds() / 3600 if own else float("nan"),
        "precursor_events_24h": count(1, coded(is_precursor)),
        "application_events_24h": count(1, coded(is_application)),
        "node_fault_events_24h": count(1, lambda e: faulty(e) and not mine(e) and e["node"] == row["node"]),
        "slot_fault_events_90d": count(
            90,
            lambda e: (
                faulty(e) and not mine(e) and (e["node"], e["pci_bdf"]) == (row["node"], row["pci_bdf"])
            ),
        ),
    }


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_history_is_what_looking_at_each_event_says(seed: int):
    rows = random_rollups(seed, range(0, 120, 20))
    events = random_events(seed, 0, 120)
    found = EventHistory(events).features(rows)
    for i, row in enumerate(rows.iter_rows(named=True)):
        assert {n: v[i] for n, v in found.items()} == pytest.approx(naive(events, row), abs=1e-9, nan_ok=True)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_what_is_not_needed_changes_nothing(seed: int):
    rows, events = random_rollups(seed, range(0, 60, 20)), random_events(seed, 0, 60)
    kept = needed(events, START)
    assert kept.height < events.height, "events of more than 90 days ago were drawn"
    whole, bounded = EventHistory(events).features(rows), EventHistory(kept).features(rows)
    np.testing.assert_equal(bounded, whole)
    assert EVENT_LOOK_BACK_DAYS == 90


def test_a_gpu_without_a_past_has_none():
    rows = random_rollups(1, range(3))
    found = EventHistory(random_events(1, 0, 3).clear()).features(rows)
    assert all((v == 0).all() for n, v in found.items() if n != "hours_since_fault")
    assert pl.Series(found["hours_since_fault"]).is_nan().all()
