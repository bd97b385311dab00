from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from pipeline import recovery
from pipeline.lake import Lake
from pipeline.rollup import CARRY, rollup
from tests.pipeline.samples import START, START_S, frame, sample

SINCE = START - timedelta(days=2)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Two nodes: one is heard now, one fell silent seven hours ago."""
    rows = [sample(60 * m, 0, "now", pcie_replay=m) for m in range(5)]
    rows += [sample(60 * m - 7 * 3600, 0, "silent", pcie_replay=100 + m) for m in range(3)]
    out = Lake(tmp_path)
    out.append("rollups", rollup(frame(rows), pl.DataFrame(schema=CARRY)))
    return out


def test_each_node_goes_on_where_it_was(lake: Lake):
    now = int(START_S) // 60
    assert recovery.newest_minutes(lake, SINCE) == {"now": now + 4, "silent": now - 7 * 60 + 2}


def test_counters_are_found_however_long_a_gpu_was_silent(lake: Lake):
    counters = recovery.last_counters(lake, SINCE)
    assert counters.schema == CARRY
    assert dict(counters.select("gpu_uuid", "pcie_replay").iter_rows()) == {
        "GPU-now-0": 4.0,
        "GPU-silent-0": 102.0,
    }
    assert recovery.last_counters(lake, START)["gpu_uuid"].to_list() == ["GPU-now-0"]


def test_an_empty_lake_knows_nothing(tmp_path: Path):
    empty = Lake(tmp_path)
    assert recovery.newest_minutes(empty, SINCE) == {}
    assert recovery.last_counters(empty, SINCE).is_empty()
    assert recovery.sent(empty, "telemetry", SINCE) == {}


def test_the_newest_number_of_each_agent_is_found_without_reading_a_whole_lake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lake = Lake(tmp_path)
    for minute in range(4):
        rows = frame([sample(60 * minute + s) for s in range(10)])
        lake.append("telemetry", rows.with_columns(stream=pl.lit(f"s{minute // 2}"), seq=pl.lit(minute)))
    assert recovery.sent(lake, "telemetry", SINCE) == {"s0": 1, "s1": 3}
    monkeypatch.setattr(recovery, "_ROWS", 15)
    assert recovery.sent(lake, "telemetry", SINCE) == {"s1": 3}, (
        "more than 15 rows are newer than the first two files"
    )
