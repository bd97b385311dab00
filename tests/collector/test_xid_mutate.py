"""100,000 damaged real lines: none crashes the decoder, none is slow. The benchmark does a million."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.xid_mutate import damage, mutated

SLOWEST_US = 20_000.0
"""Far over what a full line costs (1 ms), far under what a regular expression that blows up costs."""


def corpus(shared_data: Path) -> list[str]:
    rows = (shared_data / "xid_lines_dev.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(row)["line"] for row in rows]


def test_no_damage_to_real_lines_crashes_the_decoder_or_makes_it_slow(shared_data: Path) -> None:
    found = damage(corpus(shared_data), 100_000)
    assert found.crashed == 0, found.crashes
    assert found.slowest_us < SLOWEST_US, found.slowest_line
    assert (
        10_000 < found.decoded < 90_000
    )  # damaged, but not beyond recognition: the depth of the decoder is reached


def test_the_damage_is_the_same_each_time() -> None:
    lines = ["NVRM: Xid (PCI:0000:18:00): 79, pid=1, name=x, GPU has fallen off the bus."]
    assert list(mutated(lines, 50)) == list(mutated(lines, 50))
    assert len(set(mutated(lines, 50))) > 40
