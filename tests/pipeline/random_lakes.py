"""Rollups and events drawn at random: what a fleet with gaps, nulls and stragglers leaves in the lake. Synthetic."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import polars as pl

from pipeline.signals import INPUTS, KEYS
from pipeline.tables import EVENTS, ROLLUPS
from tests.pipeline.samples import START

GPUS_PER_NODE = 3
_GAUGES = ("temperature_c_mean", "power_w_mean", "gap_max_s", "nvml_latency_us_mean")


def random_rollups(
    seed: int, minutes: Sequence[int], nodes: int = 2, *, missing: float = 0.1
) -> pl.DataFrame:
    """KEYS and INPUTS of `minutes` (since START), each node without some of them, each value null at times."""
    rng = np.random.default_rng(seed)
    rows = [
        (n, g, m)
        for n in range(nodes) for m in minutes if n == 0 or rng.random() >= missing
        for g in range(GPUS_PER_NODE) if rng.random() >= missing / 2
    ]  # fmt: skip
    node, gpu, minute = (np.array([r[i] for r in rows], dtype=int) for i in range(3))
    identity = {
        "gpu_uuid": [f"GPU-{n}-{g}" for n, g in zip(node, gpu, strict=True)],
        "minute": [START + timedelta(minutes=int(m)) for m in minute], "node": [f"n{n}" for n in node],
        "gpu_index": gpu, "pci_bdf": [f"0000:{g:02x}:00" for g in gpu], "synthetic": [True] * len(rows),
    }  # fmt: skip
    values = {c: pl.Series(c, _values(rng, c, len(rows)), dtype=ROLLUPS[c]) for c in INPUTS}
    return pl.DataFrame(identity | values, schema={c: ROLLUPS[c] for c in (*KEYS, *INPUTS)})


def _values(rng: np.random.Generator, column: str, rows: int) -> list[object]:
    known = rng.random(rows) > 0.15
    if column == "gpu_state":
        drawn: list[object] = list(rng.choice(["ok", "lost", "hung"], rows, p=[0.9, 0.05, 0.05]))
    elif column in _GAUGES:
        drawn = list(rng.normal(400, 40, rows))
    else:
        drawn = [int(v) for v in rng.poisson(3, rows)]
    return [v if k else None for v, k in zip(drawn, known, strict=True)]


def random_events(seed: int, first: int, last: int, nodes: int = 2, *, count: int = 40) -> pl.DataFrame:
    """Events from 100 days before to the minute `last`, thick around [first, last); some are told again."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        near = rng.random() < 0.7
        minute = rng.uniform(first - 60, last) if near else rng.uniform(first - 100 * 1440, first)
        second = round(minute * 60) if rng.random() < 0.5 else round(minute) * 60  # also on a minute's edge
        gpu, node = int(rng.integers(GPUS_PER_NODE)), int(rng.integers(nodes))
        kind = str(rng.choice(["xid", "xid", "xid", "sxid", "gpu_lost", "nvml_recovered"]))
        time = START + timedelta(seconds=second)
        told = {
            "time": time, "fingerprint": f"f{i}", "node": f"n{node}", "kind": kind, "source": "sim",
            "gpu_uuid": f"GPU-{node}-{gpu}" if rng.random() < 0.8 else [None, "GPU-old", "GPU-1-0"][rng.integers(3)],
            "pci_bdf": f"0000:{gpu:02x}:00" if rng.random() < 0.9 else None,
            "text": str(rng.choice(["Fatal", "Nonfatal", ""])),
            "code": int(rng.choice([79, 48, 31, 43, 63, 94, 145, 999])) if kind == "xid" else None,
            "count": 1, "synthetic": True,
        }  # fmt: skip
        rows.append(told)
        if rng.random() < 0.3:
            rows.append(told | {"count": 5, "last_time": time + timedelta(minutes=3), "code": 31})
    return pl.DataFrame(rows, schema=EVENTS, infer_schema_length=None)


def flushes(seed: int, rollups: pl.DataFrame) -> list[pl.DataFrame]:
    """`rollups` as a worker hands them on: each node's minutes in order, some at a time, nodes at their own pace."""
    rng = np.random.default_rng(seed)
    waiting = {
        str(node): rows.partition_by("minute", maintain_order=True)
        for (node,), rows in rollups.sort("minute", "gpu_uuid").partition_by("node", as_dict=True).items()
    }
    out = []
    while waiting:
        parts = []
        for node in rng.permutation(sorted(waiting)):
            if rng.random() < 0.3:
                continue  # this one falls behind
            take = int(rng.choice([1, 1, 2, 40]))
            parts += waiting[node][:take]
            waiting[node] = waiting[node][take:]
            if not waiting[node]:
                del waiting[node]
        if parts:
            out.append(pl.concat(parts))
    return out
