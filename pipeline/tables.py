"""The lake's tables: columns, types and keys. The producer of a row owns it; the lake only stores it.

Every table has a `date` partition column (the UTC day of its time column), which `pipeline/lake.py` adds.
"""

from __future__ import annotations

from typing import Final

import msgspec
import polars as pl

from collector.records import FIELDS, ArrowType, Inventory

TIME: Final = pl.Datetime("us", "UTC")
_POLARS: Final[dict[ArrowType, pl.DataType]] = {
    "timestamp": TIME,
    "utf8": pl.String(),
    "int64": pl.Int64(),
    "float32": pl.Float32(),
    "float64": pl.Float64(),
    "bool": pl.Boolean(),
}

TELEMETRY: Final = pl.Schema(
    {f.name: _POLARS[f.type] for f in FIELDS} | {"stream": pl.String(), "seq": pl.Int64()}
)

EVENTS: Final = pl.Schema({
    "time": TIME, "fingerprint": pl.String(), "node": pl.String(), "kind": pl.String(), "source": pl.String(),
    "gpu_uuid": pl.String(), "gpu_index": pl.Int64(), "pci_bdf": pl.String(), "code": pl.Int64(),
    "pid": pl.Int64(), "process": pl.String(), "job": pl.String(), "text": pl.String(),
    "root_code": pl.Int64(), "recovery_action": pl.String(), "count": pl.Int64(), "synthetic": pl.Boolean(),
    "root_fingerprint": pl.String(), "last_time": TIME, "stream": pl.String(), "seq": pl.Int64(),
})  # fmt: skip
"""A log: an event that goes on has more rows, and the last one of a fingerprint counts (view `xid_events`)."""

_SPREAD: Final = ("mean", "min", "max", "std")
STATISTICS: Final = {f.name: tuple(s for s in f.rollup if s in _SPREAD) for f in FIELDS}
DELTAS: Final = tuple(f.name for f in FIELDS if "delta" in f.rollup)
"""Counters whose increments within the minute are kept. The others have their last value only."""
LASTS: Final = tuple(f for f in FIELDS if "last" in f.rollup)

ROLLUPS: Final = pl.Schema(
    {"minute": TIME, "node": pl.String(), "gpu_uuid": pl.String(), "gpu_index": pl.Int64(),
     "pci_bdf": pl.String(), "synthetic": pl.Boolean(), "job": pl.String(), "samples": pl.Int64(), "good_samples": pl.Int64(),
     "gpu_state": pl.String(), "nvml_errors": pl.Int64(), "gap_max_s": pl.Float64()}
    | {f"{name}_{s}": pl.Float64() for name, kept in STATISTICS.items() for s in kept}
    | {f"{c}_delta": pl.Float64() for c in DELTAS}
    | {f"{f.name}_last": pl.Float64() if f.role == "counter" else pl.Int64() for f in LASTS}
)  # fmt: skip
"""One row per GPU per minute; `minute` is its start. Deltas are reset-aware and null where unsupported.

Which statistics a column has is said by `rollup` in collector/fields.py.
"""

_OF_ANNOTATION: Final = {"float": pl.Float64(), "int": pl.Int64(), "str": pl.String(), "bool": pl.Boolean()}

INVENTORY: Final = pl.Schema(
    {
        f.name: _OF_ANNOTATION[str(getattr(f.type, "__name__", f.type)).split(" ")[0]]
        for f in msgspec.structs.fields(Inventory)
    }
    | {"time": TIME, "stream": pl.String(), "seq": pl.Int64()}
)
"""One row per GPU when it was met, and one when something about it changed."""

REASON: Final = pl.Struct({"feature": pl.String(), "value": pl.Float64(), "healthy": pl.String(),
                           "share": pl.Float64(), "text": pl.String()})  # fmt: skip

PREDICTIONS: Final = pl.Schema({
    "time": TIME, "minute": TIME, "node": pl.String(), "gpu_uuid": pl.String(), "gpu_index": pl.Int64(),
    "pci_bdf": pl.String(), "risk": pl.Float64(), "horizon_s": pl.Int64(), "model_id": pl.String(),
    "feature_set": pl.String(), "reasons": pl.List(REASON), "synthetic": pl.Boolean(),
})  # fmt: skip
"""`time` is the end of the minute the risk was computed from: what was known then."""

INCIDENTS: Final = pl.Schema({
    "time": TIME, "incident_id": pl.String(), "change": pl.String(), "state": pl.String(), "cause": pl.String(),
    "severity": pl.String(), "node": pl.String(), "gpu_uuid": pl.String(), "gpu_index": pl.Int64(),
    "pci_bdf": pl.String(), "opened": TIME, "risk": pl.Float64(), "code": pl.Int64(), "summary": pl.String(),
    "evidence": pl.String(), "synthetic": pl.Boolean(),
})  # fmt: skip
"""A log: one row per change of an incident; the last row of an incident_id is its present."""

ACTIONS: Final = pl.Schema({
    "time": TIME, "action_id": pl.String(), "incident_id": pl.String(), "action": pl.String(), "intent": pl.String(),
    "state": pl.String(), "node": pl.String(), "gpu_uuid": pl.String(), "detail": pl.String(), "synthetic": pl.Boolean(),
})  # fmt: skip
"""A log: decided, delivered, acknowledged, failed; one row each."""

TABLES: Final[dict[str, pl.Schema]] = {
    "telemetry": TELEMETRY, "events": EVENTS, "inventory": INVENTORY, "rollups": ROLLUPS, "predictions": PREDICTIONS,
    "incidents": INCIDENTS, "actions": ACTIONS,
}  # fmt: skip

TIME_COLUMN: Final = {"rollups": "minute"}
"""The column a table is partitioned by, where it is not `time`."""
