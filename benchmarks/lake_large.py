"""A lake of any size in minutes: sorted files, as upkeep leaves them, of telemetry and of all that comes from it.

Synthetic. One stretch of samples in `_REUSED` is drawn (benchmarks/lake_rows.py); the others are the same wanderings
with time and running counters moved on. A file compresses by itself, so that its size is what it would be anyway.
Memory is that of one stretch, whatever the lake's size.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import duckdb
import polars as pl

from benchmarks.lake_rows import START, Fleet
from pipeline.compaction import copy_sorted
from pipeline.lake import Lake, conform, time_column
from pipeline.lake_files import exchange, root
from pipeline.rollup import CARRY, rollup
from pipeline.tables import DELTAS

_ROWS: Final = 1_000_000
"""Of one file: upkeep.target_rows as shipped."""
_REUSED: Final = 8
_MEMORY: Final = "3GiB"
_MOVED_ON: Final = ("energy_j", "nvlink_tx_kib", "nvlink_rx_kib", "power_violation_us")


@dataclass(frozen=True, slots=True)
class Laid:
    """Rows by table, and how long laying them took."""

    rows: dict[str, int]
    seconds: float


def lay(lake: Lake, rows: int, gpus: int) -> Laid:
    """At least `rows` rows of telemetry at 1 Hz from START on, their rollups, a risk a minute, faults, inventory."""
    begun_s = time.perf_counter()
    stretch_s = max(_ROWS // gpus // 60, 1) * 60
    stretches = max(-(-rows // (gpus * stretch_s)), 1)
    total: dict[str, int] = {}
    with duckdb.connect(config={"memory_limit": _MEMORY}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for number, tables in enumerate(_stretches(gpus, stretches, stretch_s), 1):
            for table, frame in tables.items():
                add_sorted(lake, connection, table, frame)
                total[table] = total.get(table, 0) + frame.height
            progress(number, stretches, total["telemetry"], begun_s)
    last = START + timedelta(seconds=stretches * stretch_s)
    for table, frame in {"inventory": _inventory(gpus), "events": _events(gpus, last)}.items():
        lake.append(table, frame)
        total[table] = frame.height
    return Laid(total, time.perf_counter() - begun_s)


def _stretches(gpus: int, stretches: int, stretch_s: int) -> Iterator[dict[str, pl.DataFrame]]:
    fleet = Fleet(gpus)
    for first in range(0, stretches, _REUSED):
        drawn = conform("telemetry", next(fleet.blocks(stretch_s, stretch_s))).sort("gpu_uuid", "time")
        begun = drawn["time"].min()
        assert isinstance(begun, datetime)
        parts = drawn.iter_slices(64 * stretch_s)  # 64 whole GPUs
        minutes = pl.concat(rollup(part, pl.DataFrame(schema=CARRY)) for part in parts)
        for again in range(min(_REUSED, stretches - first)):
            to = START + timedelta(seconds=(first + again) * stretch_s)
            by = to - begun.replace(microsecond=0)
            yield _moved(drawn, minutes, by)


def _moved(drawn: pl.DataFrame, minutes: pl.DataFrame, by: timedelta) -> dict[str, pl.DataFrame]:
    on = by.total_seconds()
    rolled = minutes.with_columns(
        pl.col("minute") + by, *(pl.col(f"{c}_last") + 420.0 * on for c in _MOVED_ON if c in DELTAS)
    )
    return {
        "telemetry": drawn.with_columns(pl.col("time") + by, *(pl.col(_MOVED_ON) + round(420 * on),)),
        "rollups": rolled,
        "predictions": _predictions(rolled),
    }


def _predictions(rolled: pl.DataFrame) -> pl.DataFrame:
    """A risk from each row, with a reason; what the rules would say does not matter here."""
    reason = pl.struct(
        feature=pl.lit("nvlink_crc_10m"), value=pl.col("power_w_mean"), healthy=pl.lit("0"), share=pl.lit(1.0),
        text=pl.lit("NVLink CRC errors in ten minutes"),
    )  # fmt: skip
    return rolled.select(
        (pl.col("minute") + timedelta(minutes=1)).alias("time"), "minute", "node", "gpu_uuid", "gpu_index", "pci_bdf",
        (pl.col("temperature_c_mean") / 1e4).alias("risk"), pl.lit(3600, pl.Int64).alias("horizon_s"),
        pl.lit("benchmark").alias("model_id"), pl.lit("benchmark").alias("feature_set"),
        pl.concat_list(reason).alias("reasons"), "synthetic",
    )  # fmt: skip


def _names(gpus: int) -> pl.DataFrame:
    return next(Fleet(gpus).blocks(1, 1)).select("node", "gpu_uuid", "gpu_index", "pci_bdf", "job")


def _inventory(gpus: int) -> pl.DataFrame:
    return _names(gpus).drop("job").with_columns(
        time=pl.lit(START), name=pl.lit("a simulated H100"), driver_version=pl.lit("570.1"),
        vbios_version=pl.lit("96.00"), synthetic=True,
    )  # fmt: skip


def _events(gpus: int, last: datetime) -> pl.DataFrame:
    """Far more than a fleet of this size meets: a fault of every 50th GPU, some of them twice; application Xids."""
    names = _names(gpus).with_row_index("n").with_columns(pl.col("n").cast(pl.Int64))
    span_s = int((last - START).total_seconds())
    kinds = [(79, 50, 7), (79, 100, 13), (48, 77, 3), (31, 3, 5), (13, 4, 11)]
    told = [
        names.filter(pl.col("n") % every == 0).with_columns(
            code=pl.lit(code, pl.Int64),
            time=pl.lit(START)
            + pl.duration(seconds=600 + (pl.col("n") * 977 * factor) % max(span_s - 600, 1)),
        )
        for code, every, factor in kinds
    ]
    return pl.concat(told).with_row_index("seq").select(
        "time", (pl.lit("f") + pl.col("seq").cast(pl.String)).alias("fingerprint"), "node",
        pl.lit("xid").alias("kind"), pl.lit("kmsg").alias("source"), "gpu_uuid", "gpu_index", "pci_bdf", "code",
        "job", pl.lit("synthetic").alias("text"), pl.lit(1, pl.Int64).alias("count"),
        pl.lit(True).alias("synthetic"), pl.col("seq").cast(pl.Int64),
    )  # fmt: skip


def add_sorted(lake: Lake, connection: duckdb.DuckDBPyConnection, table: str, frame: pl.DataFrame) -> None:
    """`frame`, sorted, becomes a file for each of its days. The first rows of a table make the table."""
    when = time_column(table)
    if lake.open(table) is None:
        lake.append(table, frame.head(1))
        frame = frame.tail(-1)
    for (day,), of_day in conform(table, frame).group_by(pl.col(when).dt.date(), maintain_order=True):
        found = lake.open(table)
        assert found is not None
        folder: Path = root(found)
        (folder / f"date={day}").mkdir(exist_ok=True)
        connection.register("stretch", of_day.to_arrow())
        made = copy_sorted(connection, "SELECT * FROM stretch", folder, day, when)
        connection.unregister("stretch")
        assert exchange(found, [], [made], lost=False)


def progress(done: int, of: int, rows: int, begun_s: float) -> None:
    took_s = time.perf_counter() - begun_s
    bar = "#" * min(30 * done // of, 30)
    end = "\n" if done == of or not sys.stderr.isatty() else "\r"
    if sys.stderr.isatty() or done % max(of // 10, 1) == 0 or done == of:
        print(f"[{bar:<30}] {rows:>12,} rows, {rows / took_s:,.0f} rows/s", end=end, file=sys.stderr)
