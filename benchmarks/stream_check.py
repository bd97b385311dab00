"""Whether the lake has what was on the stream: each record once, none left out."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from pipeline.lake import Lake


class Stored(NamedTuple):
    """`duplicates` and `missing` are samples. A record of a stream is missing where the lake has a later one."""

    samples: int
    duplicates: int
    missing: int
    rollups: int
    predictions: int


def stored(lake: Lake, samples_per_record: int) -> Stored:
    """Count rows by (stream, seq), which name a record; the streams of the benchmark begin at seq 1."""
    files = lake.files("telemetry")
    if not files:
        return Stored(0, 0, 0, 0, 0)
    rows = pl.scan_parquet(files, hive_partitioning=False).select("stream", "seq")
    records = rows.group_by("stream", "seq").len().collect(engine="streaming")
    more = (records["len"].cast(pl.Int64) - samples_per_record).clip(lower_bound=0)
    fewer = (samples_per_record - records["len"].cast(pl.Int64)).clip(lower_bound=0)
    gaps = records.group_by("stream").agg((pl.col("seq").max() - pl.len().cast(pl.Int64)).alias("gaps"))
    missing = int(fewer.sum()) + int(gaps["gaps"].sum()) * samples_per_record
    return Stored(
        int(records["len"].sum()),
        int(more.sum()),
        missing,
        _rows(lake, "rollups"),
        _rows(lake, "predictions"),
    )


def _rows(lake: Lake, table: str) -> int:
    files = lake.files(table)
    return (
        int(pl.scan_parquet(files, hive_partitioning=False).select(pl.len()).collect().item()) if files else 0
    )
