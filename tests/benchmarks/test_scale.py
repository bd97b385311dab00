"""The page's sums are those that the command makes of the figures beside it."""

from __future__ import annotations

import json

from benchmarks.scale import BEGIN, DOCS, END, READ, replaced, table

FIGURES = json.loads((DOCS / "scale.json").read_text())
PAGE = (DOCS / "scale.md").read_text()


def test_the_page_holds_the_table_of_its_figures():
    assert PAGE.count(BEGIN) == PAGE.count(END) == 1
    assert replaced(PAGE, table(FIGURES)) == PAGE, "run: python -m benchmarks.scale --write"


def test_every_figure_says_whether_it_was_measured():
    assert all(FIGURES[name]["source"] for name in READ)
    assert all(f"`{key}`" in PAGE for keys in READ.values() for key in keys)
    assert all(f"| `{key}` | {value:,} | assumed |" in PAGE for key, value in FIGURES["assumed"].items())


def test_the_sums_follow_the_figures():
    twice = json.loads(json.dumps(FIGURES))
    twice["lake"]["bytes_per_sample"] *= 2
    twice["stream"]["samples_per_s"] *= 2
    before, after = _numbers(table(FIGURES)), _numbers(table(twice))
    assert after["lake: raw samples a day, GB"] / before["lake: raw samples a day, GB"] == 2
    assert abs(after["workers"] - before["workers"] / 2) <= 1
    assert before["samples/s"] == 1_000_000


def _numbers(made: str) -> dict[str, float]:
    """Name -> the value for the largest fleet."""
    cells = [line.strip("| ").split(" | ") for line in made.splitlines() if line.count("|") == 5]
    return {c[0]: float(c[-1].replace(",", "")) for c in cells[2:]}
