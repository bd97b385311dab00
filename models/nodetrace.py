"""Reads the InfiniteHBD production fault trace: 400 servers of 8 GPUs, fault_start and fault_end per node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import polars as pl

from collector.errors import ForeshockError
from models.history import Trace

FILE: Final = "fault_trace.json"
N_NODES: Final = 400  # as published with the trace; nodes that never failed are not named in it
GPUS_PER_NODE: Final = 8
KINDS: Final = ("gpu", "hardware", "stress_test", "unknown", "other")
HARDWARE: Final = ("Parameter Plane Cable", "Fan", "Power Supply", "NIC")

_EVENTS: Final = pl.Schema({"unit": pl.String, "at": pl.Float64, "start": pl.Boolean, "class": pl.String})


def read(folder: Path) -> Trace:
    """The trace in `folder`. Days since its day 0; a fault without an end is still open at the end.

    Source: stepfun-ai/InfiniteHBD-Trace (SIGCOMM'25, Apache-2.0).
    """
    events = _events(folder / FILE)
    faults = _paired(events)
    end_day = float(events["at"].to_numpy().max())
    seen = sorted(set(faults["unit"]))
    # Everybody is ranked, also the nodes that never appear: who will appear is not known at the cut.
    units = seen + [f"never-named-{i}" for i in range(N_NODES - len(seen))]
    lives = pl.DataFrame({"unit": units}).with_columns(begin_day=pl.lit(0.0), end_day=pl.lit(float("inf")))
    return Trace("nodetrace", faults, lives, units, end_day, GPUS_PER_NODE, ("gpu",), KINDS)


def _events(path: Path) -> pl.DataFrame:
    hint = "--data names the folder that holds fault_trace.json (docs/data.md says where it can be had)"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        rows = [(r["node_id"], r["event_time"], r["event_type"] == "fault_start", r["fault_type"]["Class"])
                for r in raw]  # fmt: skip
        events = pl.DataFrame(rows, schema=_EVENTS, orient="row")
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as e:
        raise ForeshockError(f"{path}: not a node fault trace ({e!r})", hint=hint) from e
    if events.is_empty():
        raise ForeshockError(f"{path}: no events in it", hint=hint)
    return events


def _paired(events: pl.DataFrame) -> pl.DataFrame:
    """The n-th start of a class on a node belongs to its n-th end."""
    key = ["unit", "class", "nth"]
    numbered = events.sort("at", maintain_order=True).with_columns(
        nth=pl.int_range(pl.len()).over("unit", "class", "start")
    )
    begun = numbered.filter("start").rename({"at": "begin_day"})
    ended = numbered.filter(~pl.col("start")).rename({"at": "end_day"})
    kind = (
        pl.when(pl.col("class") == "GPU").then(pl.lit("gpu"))
        .when(pl.col("class").is_in(HARDWARE)).then(pl.lit("hardware"))
        .when(pl.col("class") == "Stress Test Failure").then(pl.lit("stress_test"))
        .when(pl.col("class") == "Unknown Error").then(pl.lit("unknown"))
        .otherwise(pl.lit("other"))
    )  # fmt: skip
    paired = begun.join(ended.select(*key, "end_day"), on=key, how="left")
    return paired.select("unit", "begin_day", "end_day", kind=kind, place=pl.lit(None, pl.String)).sort(
        "begin_day", "unit", "kind"
    )
