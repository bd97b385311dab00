"""Samples and records made by hand: what an agent would have put on the stream."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import polars as pl

from collector.batch import encode
from collector.records import FIELDS, TOPIC_EVENTS, TOPIC_TELEMETRY, Event
from pipeline.stream import Record
from pipeline.tables import TELEMETRY

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
START_S = START.timestamp()


def sample(second: float, gpu: int = 0, node: str = "n1", **values: Any) -> dict[str, Any]:
    """One row `second` seconds after START; unnamed readings are null."""
    named = {
        "time": round((START_S + second) * 1e6), "node": node, "gpu_uuid": f"GPU-{node}-{gpu}", "gpu_index": gpu,
        "pci_bdf": f"0000:{gpu:02x}:00", "synthetic": True, "job": "7", "gpu_state": "ok", "nvml_return": 0,
        "nvml_latency_us": 500, "gap_s": 1.0,
    }  # fmt: skip
    return {f.name: (named | values).get(f.name) for f in FIELDS}


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Samples as decoded telemetry."""
    columns = {f.name: [r[f.name] for r in rows] for f in FIELDS}
    schema = {f.name: pl.Int64() if f.name == "time" else TELEMETRY[f.name] for f in FIELDS}
    out = pl.DataFrame(columns, schema=schema).with_columns(pl.col("time").cast(TELEMETRY["time"]))
    return out.with_columns(stream=pl.lit("s"), seq=pl.lit(1, dtype=pl.Int64))


def telemetry_record(
    rows: list[dict[str, Any]], offset: int, *, partition: int = 0, stream: str = "s1"
) -> Record:
    value = encode([tuple(r.values()) for r in rows])
    return Record(TOPIC_TELEMETRY, partition, offset, str(rows[0]["node"]), value, stream, offset)


def event(second: float, code: int | None = 79, gpu: int = 0, node: str = "n1", **more: Any) -> Event:
    values: dict[str, Any] = {
        "fingerprint": f"{node}-{gpu}-{code}-{second}", "time": START_S + second, "node": node, "kind": "xid",
        "source": "kmsg", "gpu_uuid": f"GPU-{node}-{gpu}", "gpu_index": gpu, "pci_bdf": f"0000:{gpu:02x}:00",
        "code": code, "synthetic": True,
    }  # fmt: skip
    return Event(**(values | more))


def event_record(e: Event, offset: int, *, partition: int = 0, stream: str = "s1") -> Record:
    return Record(TOPIC_EVENTS, partition, offset, e.node, msgspec.json.encode(e), stream, offset)
