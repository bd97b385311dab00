"""The counter files that we ship: every row of them must be one that we read."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from collector.dcgm_fields import METRICS, UNDERSTOOD, read_table
from collector.records import COUNTERS, READINGS

DEPLOY = Path(__file__).parents[2] / "deploy" / "dcgm-exporter"
FILES = ("counters.csv", "counters-4.9.csv")


def rows(name: str) -> list[list[str]]:
    """Also the rows that are commented out: they are offered."""
    lines = (DEPLOY / name).read_text().splitlines()
    offered = [line.removeprefix("# ") for line in lines if line.removeprefix("# ").startswith("DCGM_")]
    return list(csv.reader(offered, skipinitialspace=True))


@pytest.mark.parametrize("name", FILES)
def test_every_row_has_a_field_a_type_and_a_help_text(name: str):
    for row in rows(name):
        assert len(row) == 3, row
        assert row[1] in ("gauge", "counter", "label")
        assert row[2].endswith(".")


@pytest.mark.parametrize("name", FILES)
def test_every_metric_in_the_counter_files_is_understood(name: str):
    metrics = [field for field, kind, _ in rows(name) if kind != "label"]
    assert len(metrics) > 30
    assert len(set(metrics)) == len(metrics)
    assert set(metrics) <= UNDERSTOOD


def test_the_two_counter_files_fill_the_same_columns_where_it_matters():
    filled = [{METRICS[f].column for f, _, _ in rows(name) if f in METRICS} for name in FILES]
    for columns in filled:
        for wanted in ("ecc_", "remap", "retired", "pcie_replay", "nvlink_"):
            assert any(c.startswith(wanted) for c in columns), wanted
    assert filled[0] - filled[1] <= {"reliability_violation_us"}


def test_counters_of_ours_are_counters_in_the_files():
    for name in FILES:
        for field, kind, _ in rows(name):
            if field in METRICS and METRICS[field].column in COUNTERS:
                assert kind == "counter", field


def test_every_mapped_column_is_a_telemetry_column():
    assert {m.column for m in METRICS.values()} <= set(READINGS)


def test_one_column_never_has_two_metrics_of_one_rank():
    seen = {(m.column, m.rank, m.lane) for m in METRICS.values()}
    assert len(seen) == len(METRICS)


def test_a_bad_row_of_the_table_is_refused():
    with pytest.raises(ValueError, match="'mean' is not same"):
        read_table("power_w\tmean\tDCGM_FI_DEV_POWER_USAGE")
