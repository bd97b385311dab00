"""Prometheus holding the same readings: OpenMetrics text -> promtool -> blocks, and their bytes on disk."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from collector.records import FIELDS

LABELS = ("node", "gpu_uuid", "gpu_index", "pci_bdf", "job")
"""What our row carries besides readings; in Prometheus a label costs per series, not per sample."""


@dataclass(frozen=True)
class Held:
    """`values` counts single readings: what Prometheus calls a sample."""

    bytes: int
    values: int
    seconds: float


def import_blocks(rows: pl.DataFrame, folder: Path) -> Held | None:
    """None where promtool is not installed (Debian package `prometheus`). promtool cuts blocks of two hours."""
    tool = shutil.which("promtool")
    if tool is None:
        return None
    text, blocks = folder / "rows.om", folder / "tsdb"
    values = 0
    with text.open("w") as out:
        for series, count in _series(rows):
            out.write(series)
            values += count
        out.write("# EOF\n")
    begun_s = time.perf_counter()
    subprocess.run(
        [tool, "tsdb", "create-blocks-from", "openmetrics", str(text), str(blocks)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds = time.perf_counter() - begun_s
    text.unlink()
    return Held(sum(f.stat().st_size for f in blocks.rglob("*") if f.is_file()), values, seconds)


def _series(rows: pl.DataFrame) -> Iterator[tuple[str, int]]:
    """One metric family after the other, each series in the order of time, as OpenMetrics wants it."""
    gpus = rows.sort("gpu_uuid", "time").partition_by("gpu_uuid", maintain_order=True)
    for name in (f.name for f in FIELDS if f.role != "identity" and f.name != "gpu_state"):
        if name not in rows.columns:
            continue
        # every reading as a gauge: a counter would need the suffix _total, which takes no other bytes on disk
        yield f"# TYPE foreshock_{name} gauge\n", 0
        for gpu in gpus:
            known = gpu.select("time", name).drop_nulls()
            labels = ",".join(f'{label}="{gpu[label][0]}"' for label in LABELS)
            head = f"foreshock_{name}{{{labels}}} "
            lines = known.select(
                pl.concat_str(
                    pl.lit(head),
                    pl.col(name).cast(pl.String),
                    pl.col("time").dt.strftime(" %s%.3f"),
                )
            ).to_series()
            if lines.len():
                yield "\n".join(lines) + "\n", lines.len()
