from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from collector.errors import ForeshockError
from pipeline.lake import Lake, conform
from pipeline.tables import TABLES
from tests.pipeline.samples import START, frame, sample


def test_rows_come_back_in_their_types_and_a_table_not_there_is_empty(tmp_path: Path):
    lake = Lake(tmp_path)
    assert lake.read("telemetry").schema == TABLES["telemetry"]
    assert lake.files("telemetry") == []
    rows = frame([sample(i, power_w=1.5) for i in range(3)])
    lake.append("telemetry", rows)
    assert lake.read("telemetry").sort("time").equals(conform("telemetry", rows))


def test_the_transaction_is_read_back_by_another_reader(tmp_path: Path):
    Lake(tmp_path).append("telemetry", frame([sample(0)]), transactions={"t:0": 7, "t:1": 3})
    lake = Lake(tmp_path)
    assert [lake.version("telemetry", name) for name in ("t:0", "t:1", "t:2")] == [7, 3, -1]
    assert lake.version("events", "t:0") == -1


def test_since_reads_only_later_rows(tmp_path: Path):
    lake = Lake(tmp_path)
    lake.append("telemetry", frame([sample(0), sample(86_400), sample(86_460)]))
    later = lake.read("telemetry", since=START + timedelta(days=1, seconds=30), columns=["time"])
    assert later.height == 1
    assert later.columns == ["time"]


def test_missing_columns_are_null_and_unknown_ones_are_refused(tmp_path: Path):
    lake = Lake(tmp_path)
    lake.append("telemetry", frame([sample(0)]).drop("power_w"))
    assert lake.read("telemetry")["power_w"].to_list() == [None]
    with pytest.raises(ForeshockError, match="bogus"):
        lake.append("telemetry", frame([sample(0)]).with_columns(bogus=pl.lit(1)))
    with pytest.raises(ForeshockError, match="no table 'nope'"):
        lake.read("nope")


def test_a_table_of_an_older_version_is_read_and_grows_the_new_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    newer = TABLES["telemetry"]
    older = pl.Schema({name: kind for name, kind in newer.items() if name != "power_w"})
    monkeypatch.setitem(TABLES, "telemetry", older)
    Lake(tmp_path).append("telemetry", frame([sample(0)]).drop("power_w"))
    monkeypatch.setitem(TABLES, "telemetry", newer)
    lake = Lake(tmp_path)
    assert lake.read("telemetry")["power_w"].to_list() == [None]
    lake.append("telemetry", frame([sample(1, power_w=5.0)]))
    assert lake.read("telemetry").sort("time")["power_w"].to_list() == [None, 5.0]


def test_no_rows_make_no_commit(tmp_path: Path):
    lake = Lake(tmp_path)
    lake.append("events", pl.DataFrame(schema=TABLES["events"]), transactions={"t:0": 1})
    assert not (tmp_path / "events").exists()
