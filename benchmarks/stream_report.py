"""A run in numbers and in sentences."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

from benchmarks.stream_check import Stored
from benchmarks.stream_workers import Look, Run
from collector.records import FIELDS

_SERIES_S: Final = 5.0


def run_numbers(run: Run, stored: Stored, workers: int) -> dict[str, Any]:
    """Rates, CPU, memory and counts of one run; `series_*` are one value every 5 s."""
    taken = sum(t.samples for t in run.last)
    fresh = stored.samples - run.first.samples
    looks = run.looks or [run.first]
    return {
        "samples_per_s": round(fresh / run.seconds), "seconds": round(run.seconds, 1), "workers": workers,
        "columns": len(FIELDS), "cores": len(os.sched_getaffinity(0)),
        "rss_mib": round(max(look.memory_mib for look in looks)), "rss_slope_mib_per_min": _memory_slope(looks),
        "worker_us_per_sample": round(run.worker_cpu_s / max(1, fresh) * 1e6, 2),
        "worker_cores": round(run.worker_cpu_s / run.seconds, 2),
        "broker_cores": None if run.broker_cpu_s is None else round(run.broker_cpu_s / run.seconds, 2),
        "samples_by_worker": [t.samples for t in run.last],
        "samples_in_lake": stored.samples, "samples_taken": taken, "samples_taken_again": taken - stored.samples,
        "duplicates": stored.duplicates, "missing": stored.missing,
        "late": sum(t.late for t in run.last), "dead_letters": sum(t.dead_letters for t in run.last),
        "rollup_rows": stored.rollups, "prediction_rows": stored.predictions, "ended_cleanly": run.ended_cleanly,
        **_series(looks),
    }  # fmt: skip


def _series(looks: Sequence[Look]) -> dict[str, list[float]]:
    chosen = [looks[0]]
    for look in looks[1:]:
        if look.time_s - chosen[-1].time_s >= _SERIES_S - 0.1:
            chosen.append(look)
    return {
        "series_s": [round(b.time_s - looks[0].time_s, 1) for _, b in pairwise(chosen)],
        "series_samples_per_s": [
            round((b.samples - a.samples) / (b.time_s - a.time_s)) for a, b in pairwise(chosen)
        ],
        "series_rss_mib": [round(b.memory_mib) for _, b in pairwise(chosen)],
    }


def _memory_slope(looks: Sequence[Look]) -> float | None:
    """MiB a minute over the second half; None where that is too short to say."""
    half = looks[len(looks) // 2 :]
    if len(half) < 5:
        return None
    slope = np.polyfit([look.time_s for look in half], [look.memory_mib for look in half], 1)[0]
    return round(float(slope) * 60, 1)


def slope_numbers(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Cost at each size. The exponent is that of CPU per second of the fleet's time over GPUs: linear is 1."""
    sizes = [r["gpus"] for r in runs]
    costs = [r["worker_us_per_sample"] for r in runs]
    exponent = None
    if len(runs) > 1:
        per_fleet_second = [math.log(g * c) for g, c in zip(sizes, costs, strict=True)]
        exponent = round(float(np.polyfit(np.log(sizes), per_fleet_second, 1)[0]), 3)
    last = runs[-1]
    keep = ("samples_per_s", "rss_mib", "workers", "flush_s")
    return {
        **{name: last[name] for name in keep}, "ratio_to_fetch": None, "ratio_to_quix": None,
        "slope_gpus": sizes, "slope_us_per_sample": costs, "slope_exponent": exponent,
        "slope_samples_per_s": [r["samples_per_s"] for r in runs], "slope_rss_mib": [r["rss_mib"] for r in runs],
        "slope_late": [r["late"] for r in runs],
        "duplicates": sum(r["duplicates"] for r in runs), "missing": sum(r["missing"] for r in runs),
    }  # fmt: skip


def print_run(found: dict[str, Any]) -> None:
    print(
        f"{found['gpus']:,} GPUs, {found['columns']} columns, {found['flush_s']} s a record, "
        f"{found['workers']} workers, {found['cores']} cores, synthetic values"
    )
    _line("fetch to lake", found["samples_per_s"], "samples/s (limit 100,000)")
    _line("fetch alone", found["fetch_samples_per_s"], f"samples/s, {found['workers']} processes, same bytes")
    _line("  ratio", found["ratio_to_fetch"], f"(limit 0.5); to one process {found['ratio_to_fetch_one']}")
    _line("Quix Streams", found["quix_samples_per_s"], f"samples/s, {found['quix_columns']} columns")
    _line(
        "  ratio",
        found["ratio_to_quix"],
        f"(limit 20); to Quix with ten columns {found['ratio_to_quix_few']}",
    )
    _line(
        "memory", found["rss_mib"], f"MiB at most (limit 8192), {found['rss_slope_mib_per_min']} MiB a minute"
    )
    _line("processor", found["worker_us_per_sample"], "us a sample in the workers")
    _line("  workers", found["worker_cores"], f"cores of {found['cores']}; broker {found['broker_cores']}")
    _line(
        "bytes", found["raw_bytes_per_sample"],
        f"a sample; on the topic {found['topic_bytes_per_sample']}, in the lake {found['lake_bytes_per_sample']}",
    )  # fmt: skip
    _line("in the lake", found["samples_in_lake"], f"samples in {found['seconds']} s")
    print(f"  duplicates {found['duplicates']}, missing {found['missing']}, late {found['late']}")


def print_slope(found: dict[str, Any]) -> None:
    for gpus, cost, rate in zip(
        found["slope_gpus"], found["slope_us_per_sample"], found["slope_samples_per_s"], strict=True
    ):
        print(f"  {gpus:>9,} GPUs  {cost:>8} us a sample  {rate:>10,} samples/s")
    print(f"  exponent of cost over GPUs {found['slope_exponent']} (1 is linear)")


def print_profile(found: dict[str, Any]) -> None:
    for stage, cost in found["us_per_sample"].items():
        _line(stage, cost, "us a sample")
    _line("together", found["samples_per_s"], "samples/s, one process, without Kafka")


def _line(name: str, value: float | None, rest: str) -> None:
    shown = "-" if value is None else f"{value:,}"
    print(f"  {name:<14} {shown:>12} {rest}")
