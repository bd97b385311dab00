"""The lake that the dashboard's benchmark looks at: a quarter of an hour of any fleet, up to this minute. Synthetic."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import polars as pl

from benchmarks.lake_large import add_sorted
from pipeline.lake import Lake

MINUTES: Final = 15
MODEL: Final = "benchmark-20260101T0000-000000000000"
_ALARMED: Final = 2_000
"""One GPU of so many has a risk at the alarm level, and an incident."""
_STATES: Final = {"lost": 4_999, "hung": 9_973, "error": 7_919}
"""One GPU of so many is in that state."""


def step_s(gpus: int) -> int:
    """Seconds between two samples: few rows of a large fleet, so that laying it takes seconds and not hours."""
    return 10 if gpus <= 20_000 else 60


def lay(path: Path, gpus: int, end: datetime | None = None) -> int:
    """Make the lake at `path`; rows of telemetry. The last sample is a step before `end` (default: now)."""
    lake, names, step = Lake(path), slots(gpus), step_s(gpus)
    until = (end or datetime.now(UTC)).replace(microsecond=0)
    rows = 0
    with duckdb.connect(config={"memory_limit": "3GiB"}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for minute in range(MINUTES, 0, -1):
            begin = until - timedelta(minutes=minute)
            drawn = pl.concat(tick(names, begin + timedelta(seconds=s)) for s in range(0, 60, step))
            rolled = _rollups(drawn)
            add_sorted(lake, connection, "telemetry", drawn.sort("gpu_uuid", "time"))
            add_sorted(lake, connection, "rollups", rolled)
            add_sorted(lake, connection, "predictions", predictions(rolled))
            rows += drawn.height
    lake.append("incidents", _incidents(names, until))
    lake.append("actions", _actions(names, until))
    return rows


def slots(gpus: int) -> pl.DataFrame:
    """Which GPU is where; row n is GPU n. Nodes of eight, 32 nodes in a rack."""
    number = np.arange(gpus)
    node = number // 8
    return pl.DataFrame({
        "node": [f"rack{n // 32:03d}-node{n % 32:02d}" for n in node],
        "gpu_uuid": [f"GPU-{(g * 2654435761) % 2**32:08x}-0000-4000-8000-{g:012x}" for g in number],
        "gpu_index": number % 8, "pci_bdf": [f"0000:{0x18 + 8 * (g % 8):02x}:00" for g in number],
        "job": [str(4000 + n // 4) for n in node], "synthetic": np.ones(gpus, bool),
    })  # fmt: skip


def tick(names: pl.DataFrame, time: datetime) -> pl.DataFrame:
    """One sample of every GPU at `time`: the readings that are most asked for; the others are null."""
    random = np.random.default_rng(round(time.timestamp()))
    number = np.arange(names.height)
    state = np.full(names.height, "ok", dtype=object)
    for name, every in _STATES.items():
        state[number % every == every - 1] = name
    wander = random.normal(0, 1, names.height)
    return names.select(
        "node", "gpu_uuid", "gpu_index", "pci_bdf", "job", "synthetic", pl.lit(time).alias("time"),
        pl.Series("gpu_state", state, dtype=pl.String), pl.lit(0, pl.Int64).alias("nvml_return"),
        pl.Series("temperature_c", np.round(58 + number % 8 + 3 * wander).astype(int)),
        pl.Series("power_w", np.round(420 + 60 * wander, 3)), pl.Series("gap_s", 1 + np.abs(wander) / 9),
        pl.Series("sm_util_pct", np.round(np.clip(90 + 5 * wander, 0, 100))),
        pl.Series("memory_used_mib", np.full(names.height, 71_000)),
        pl.Series("nvlink_crc_data_errors", number % 5), pl.Series("nvlink_crc_flit_errors", number % 3),
        pl.lit("synthetic").alias("stream"), pl.lit(round(time.timestamp())).alias("seq"),
    )  # fmt: skip


def _rollups(drawn: pl.DataFrame) -> pl.DataFrame:
    of = ("node", "gpu_uuid", "gpu_index", "pci_bdf", "synthetic", "job")
    return drawn.group_by(*of, maintain_order=True).agg(
        minute=pl.col("time").min().dt.truncate("1m"), samples=pl.len(), good_samples=pl.len(),
        gpu_state=pl.col("gpu_state").last(), gap_max_s=pl.col("gap_s").max(),
        temperature_c_mean=pl.col("temperature_c").mean(), temperature_c_max=pl.col("temperature_c").max(),
        power_w_mean=pl.col("power_w").mean(),
    )  # fmt: skip


def predictions(rolled: pl.DataFrame) -> pl.DataFrame:
    """One minute's risks: mostly small, one of `_ALARMED` high, one of a hundred never scored."""
    reason = pl.struct(
        feature=pl.lit("nvlink_crc_10m"), value=pl.col("power_w_mean"), healthy=pl.lit("0"), share=pl.lit(1.0),
        text=pl.lit("NVLink CRC errors in ten minutes"),
    )  # fmt: skip
    number = pl.int_range(pl.len())
    risk = pl.when(number % _ALARMED == 17).then(0.8).otherwise((number * 7919 % 1000) / 12_000)
    return rolled.sort("node", "gpu_index").select(
        (pl.col("minute") + timedelta(minutes=1)).alias("time"), "minute", "node", "gpu_uuid", "gpu_index", "pci_bdf",
        risk.alias("risk"), pl.lit(3600, pl.Int64).alias("horizon_s"), pl.lit(MODEL).alias("model_id"),
        pl.lit("benchmark").alias("feature_set"), pl.concat_list(reason).alias("reasons"), "synthetic",
    ).filter(pl.int_range(pl.len()) % 100 != 99)  # fmt: skip


def _hit(names: pl.DataFrame) -> pl.DataFrame:
    number = pl.int_range(pl.len())
    told = names.select("node", "gpu_uuid", "gpu_index", "pci_bdf", "synthetic")
    return told.filter(number % _ALARMED == 17).with_columns(
        incident_id=pl.format("incident-{}", pl.int_range(pl.len()))
    )


def _incidents(names: pl.DataFrame, until: datetime) -> pl.DataFrame:
    opened = pl.lit(until) - pl.duration(minutes=pl.int_range(pl.len()) % 14)
    return _hit(names).with_columns(
        time=opened, opened=opened, change=pl.lit("opened"), state=pl.lit("open"), cause=pl.lit("nvlink"),
        severity=pl.lit("warning"), risk=pl.lit(0.8), summary=pl.lit("risk 0.80: NVLink CRC errors in ten minutes"),
        evidence=pl.lit("[]"),
    )  # fmt: skip


def _actions(names: pl.DataFrame, until: datetime) -> pl.DataFrame:
    return _hit(names).select(
        "incident_id", "node", "gpu_uuid", "synthetic", time=pl.lit(until),
        action_id=pl.format("{}-checkpoint", "incident_id"), action=pl.lit("checkpoint"),
        intent=pl.lit("checkpoint"), state=pl.lit("dry_run"), detail=pl.lit(""),
    )  # fmt: skip
