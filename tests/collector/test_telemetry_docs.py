"""The table of columns against NVIDIA's header, and the page against the table."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from collector.fields import FIELDS
from collector.nvml_gpm import METRICS
from collector.records import READINGS, Inventory
from collector.telemetry_docs import page
from demo.nvml_double.build import find_header

PAGE = Path(__file__).parents[2] / "docs" / "telemetry.md"
HEADER = find_header().read_text(encoding="utf-8", errors="replace")


def test_the_page_is_fresh():
    made = subprocess.run(
        [sys.executable, "-m", "collector.telemetry_docs"], capture_output=True, text=True, check=True
    )
    assert made.stdout == page()
    assert PAGE.read_text() == page(), "python -m collector.telemetry_docs > docs/telemetry.md"


def test_the_page_has_every_column_and_every_fact_once():
    named = re.findall(r"^\| `(\w+)` \|", page(), re.M)
    facts = [f.name for f in msgspec.structs.fields(Inventory)]
    assert sorted(named) == sorted([*(f.name for f in FIELDS), *facts])
    widths = {line.count("|") for line in page().splitlines() if line.startswith("|")}
    assert widths == {9, 3}, "no meaning breaks its row"


@pytest.mark.parametrize("field", [f for f in FIELDS if f.field_ids], ids=lambda f: f.name)
def test_every_field_number_is_the_one_of_nvidias_header(field):
    found = re.fullmatch(r"field (\d+)(?:-(\d+))? (\w+)", field.source)
    assert found is not None
    first, last, name = found.groups()
    defined = re.search(rf"#define NVML_FI_DEV_{name}\s+(\d+)", HEADER)
    assert defined is not None
    assert int(defined[1]) == int(first) == field.field_ids[0]
    assert field.field_ids[-1] == int(last or first)


@pytest.mark.parametrize("field", [f for f in FIELDS if "GpmMetrics" in f.source], ids=lambda f: f.name)
def test_every_profiling_metric_is_the_one_of_nvidias_header(field):
    _, number, name = field.source.split()
    defined = re.search(rf"NVML_GPM_METRIC_{name}\s+= (\d+),", HEADER)
    assert defined is not None
    assert int(defined[1]) == int(number) == METRICS[field.name]


@pytest.mark.parametrize("field", [f for f in FIELDS if f.name in READINGS], ids=lambda f: f.name)
def test_every_call_is_in_nvidias_header(field):
    for name in re.findall(r"nvml\w+", field.source):
        assert re.search(rf"\b{name}\b\s*\(", HEADER), name


def test_slow_periods_are_multiples_so_that_what_is_due_together_is_read_together():
    periods = sorted({f.every_s for f in FIELDS if f.name in READINGS})
    assert periods[0] == 1
    assert all(b % a == 0 for a, b in itertools.pairwise(periods))
