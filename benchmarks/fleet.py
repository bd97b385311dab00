"""How fast the simulated fleet is made: rows a second of samples, records for Kafka, and minutes. One process.

    python benchmarks/fleet.py [--gpus 100000] [--seconds 30] [--days 1] [--json]

The columns that are not simulated are null and cost little; `columns_filled` says how many are not. Polars is held
to one thread, so the figures are of one core. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Iterable
from datetime import timedelta

os.environ["POLARS_MAX_THREADS"] = "1"

from pipeline.fleet import START, Fleet
from pipeline.fleet_params import FleetParams

_FLUSH_S = 10


def rate(rows: Iterable[int], seconds: float) -> tuple[float, int]:
    """Rows a second and rows, from what `rows` yields, for at most `seconds`."""
    begin, total = time.monotonic(), 0
    for made in rows:
        total += made
        if time.monotonic() - begin >= seconds:
            break
    return total / (time.monotonic() - begin), total


def measure(gpus: int, seconds: float, days: int) -> dict[str, float]:
    begin = time.monotonic()
    fleet = Fleet(gpus, seed=1, params=FleetParams(days=days))
    build_s = time.monotonic() - begin
    t0 = START + timedelta(hours=days * 12)
    one = next(fleet.samples(t0, _FLUSH_S))
    filled = sum(1 for name in one.columns if one[name].null_count() < one.height)
    per_record = _FLUSH_S * fleet.params.gpus_per_node
    samples, _ = rate((f.height for f in fleet.samples(t0, 3600)), seconds)
    records, _ = rate((per_record for _ in fleet.ipc_batches(t0, 3600)), seconds)
    minutes, _ = rate((f.height for f in fleet.rollup_parts(t0, 60 * 11)), seconds)
    return {
        "gpus": gpus, "days": days, "build_s": round(build_s, 2), "columns_filled": filled,
        "samples_per_s": round(samples), "record_rows_per_s": round(records), "minutes_per_s": round(minutes),
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--gpus", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=30, help="for each of the three")
    parser.add_argument("--days", type=int, default=1, help="length of the fleet's history")
    parser.add_argument("--json", action="store_true", help="only the last line")
    asked = parser.parse_args()
    found = measure(asked.gpus, asked.seconds, asked.days)
    if not asked.json:
        print(f"{asked.gpus} GPUs, {asked.days} days drawn in {found['build_s']} s; synthetic, one core")
        print(
            f"samples at 1 Hz     {found['samples_per_s']:>12,} rows/s ({found['columns_filled']} columns filled)"
        )
        print(
            f"records for Kafka   {found['record_rows_per_s']:>12,} rows/s (Arrow IPC, one per node and flush)"
        )
        print(f"minutes (rollups)   {found['minutes_per_s']:>12,} rows/s")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
