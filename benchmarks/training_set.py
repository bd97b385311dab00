"""Train on a lake that is larger than the memory the training may use.

    python -m benchmarks.training_set [--rows 24000000] [--gpus 1000] [--limit-mib 2048] [--share 0.01] [--folder DIR]

Makes a lake of rollups (synthetic), then starts a process that sets itself a limit (RLIMIT_DATA: all memory it may ever
ask for, files that are only mapped apart), walks the lake by `pipeline.training_set` and fits a histogram gradient
boosting on what was kept. The label is a fault of the GPU within an hour: good enough for a speed, no claim of skill.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from benchmarks.lake_large import add_sorted, progress
from collector.xid_catalogue import is_fault
from pipeline.fleet import START, Fleet
from pipeline.fleet_params import FleetParams
from pipeline.lake import Lake
from pipeline.signals import INPUTS, KEYS
from pipeline.training_set import training_set

_ALLOCATOR = {"_RJEM_MALLOC_CONF": "retain:false,dirty_decay_ms:1000,muzzy_decay_ms:0"}
"""Polars gives address space back that it does not use: the limit counts that too, resident or not."""
_FILE_ROWS = 1_000_000
_WITHIN = timedelta(hours=1)
_FAULTS = 50.0
"""Times the published rate, so that a small fleet of some days has enough of them."""


def main() -> None:
    args = _arguments()
    if args.walk:
        print(json.dumps(walk(Lake(Path(args.walk)), args.share, args.limit_mib, args.rows_at_once)))
        return
    work = Path(tempfile.mkdtemp(prefix="foreshock-training-", dir=args.folder))
    try:
        made = make(Lake(work), args.rows, args.gpus)
        walked = subprocess.run(
            [sys.executable, "-m", "benchmarks.training_set", "--walk", str(work),
             "--share", str(args.share), "--limit-mib", str(args.limit_mib),
             "--rows-at-once", str(args.rows_at_once)],
            check=True, stdout=subprocess.PIPE, text=True, env=os.environ | _ALLOCATOR,
        )  # fmt: skip
    finally:
        shutil.rmtree(work)
    _tell(made | json.loads(walked.stdout.splitlines()[-1]))


def make(lake: Lake, rows: int, gpus: int) -> dict[str, float]:
    """Whole minutes of `gpus` GPUs: rollups in sorted files, events. Sizes are what Polars would hold."""
    minutes = -(-rows // gpus)
    files = max(rows // _FILE_ROWS, 1)
    fleet = Fleet(gpus, seed=2, params=FleetParams(days=minutes // 1440 + 1, fault_rate_factor=_FAULTS))
    begun_s = time.perf_counter()
    done, all_bytes, read_bytes = 0, 0.0, 0.0
    wanted = list(dict.fromkeys((*KEYS, *INPUTS)))
    with duckdb.connect(config={"memory_limit": "2GiB"}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for number, frame in enumerate(_files(fleet.rollup_parts(START, minutes)), 1):
            all_bytes += frame.estimated_size()
            read_bytes += frame.select(wanted).estimated_size()
            add_sorted(lake, connection, "rollups", frame)
            done += frame.height
            progress(number, files, done, begun_s)
    lake.append("events", fleet.events(START, minutes * 60))
    disk = sum(Path(f).stat().st_size for f in lake.files("rollups"))
    return {
        "rows": done, "gpus": gpus, "days": round(minutes / 1440, 1), "lake_mib": _mib(all_bytes),
        "lake_read_columns_mib": _mib(read_bytes), "lake_disk_mib": _mib(disk),
    }  # fmt: skip


def _files(parts: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    held: list[pl.DataFrame] = []
    for part in parts:
        held.append(part)
        if sum(p.height for p in held) >= _FILE_ROWS:
            yield pl.concat(held).sort("gpu_uuid", "minute")
            held = []
    if held:
        yield pl.concat(held).sort("gpu_uuid", "minute")


def walk(lake: Lake, share: float, limit_mib: int, rows_at_once: int) -> dict[str, float]:
    """Everything that training does, within the limit. A GPU-minute is one window of features."""
    limit = limit_mib * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    bounds = lake.scan("rollups", columns=["minute"]).select(
        pl.len().alias("rows"), pl.col("minute").min().alias("first"), pl.col("minute").max().alias("last")
    )
    rows, first, last = bounds.collect(engine="streaming").row(0)
    faults = _faults(lake)

    def soon(matrix: pl.DataFrame) -> pl.Series:
        return _fails_soon(matrix, faults)

    begun_s = time.perf_counter()
    until = last + timedelta(minutes=1)
    parts = training_set(lake, first, until, keep=soon, sample_share=share, rows_at_once=rows_at_once)
    chosen = pl.concat(p.with_columns(soon(p).alias("y")) for p in parts)
    walked_s = time.perf_counter() - begun_s
    begun_s = time.perf_counter()
    _fit(chosen)
    return {
        "windows_per_s": round(rows / walked_s), "walk_s": round(walked_s, 1), "kept": chosen.height,
        "positives": int(chosen["y"].sum()), "stands_for": round(chosen["weight"].sum()),
        "fit_s": round(time.perf_counter() - begun_s, 1), "limit_mib": limit_mib,
        "peak_rss_mib": _peak_rss_mib(),
    }  # fmt: skip


def _peak_rss_mib() -> int:
    """Of this program alone: ru_maxrss would begin with what the process that started it had."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) / 1024)


def _faults(lake: Lake) -> pl.DataFrame:
    events = lake.read("events", columns=["time", "gpu_uuid", "code"])
    codes = [c for c in events["code"].drop_nulls().unique() if is_fault(c)]
    return events.filter(pl.col("code").is_in(codes)).select("gpu_uuid", "time").sort("time")


def _fails_soon(matrix: pl.DataFrame, faults: pl.DataFrame) -> pl.Series:
    numbered = matrix.select("gpu_uuid", "minute").with_row_index("row").sort("minute")
    joined = numbered.join_asof(
        faults, left_on="minute", right_on="time", by="gpu_uuid", strategy="forward", tolerance=_WITHIN,
        check_sortedness=False,
    )  # fmt: skip
    return joined.sort("row")["time"].is_not_null()


def _fit(chosen: pl.DataFrame) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier

    names = [c for c in chosen.columns if c not in {*KEYS, "weight", "y"}]
    model = HistGradientBoostingClassifier(max_iter=50, random_state=0)
    x = chosen.select(names).to_numpy().astype(np.float32)
    model.fit(x, chosen["y"].to_numpy(), sample_weight=chosen["weight"].to_numpy())


def _tell(found: dict[str, float]) -> None:
    read, limit = found["lake_read_columns_mib"], found["limit_mib"]
    found["ratio"] = round(read / limit, 2)
    print(f"synthetic lake: {found['rows']:,} GPU-minutes, {found['days']} days of {found['gpus']:,} GPUs")
    print(f"in memory it would be {found['lake_mib']:,} MiB, the columns that features read {read:,} MiB")
    print(
        f"limit {limit:,} MiB: the lake is {found['ratio']} times that; peak RSS {found['peak_rss_mib']:,} MiB"
    )
    print(
        f"{found['windows_per_s']:,} windows/s; kept {found['kept']:,} rows that stand for {found['stands_for']:,}"
    )
    print(f"{found['positives']:,} of them fail within an hour; fitted in {found['fit_s']} s")
    print(json.dumps(found))


def _mib(size: float) -> int:
    return round(size / 2**20)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=24_000_000, help="GPU-minutes in the lake")
    parser.add_argument("--gpus", type=int, default=1_000)
    parser.add_argument("--limit-mib", type=int, default=2048, help="memory of the training process")
    parser.add_argument("--share", type=float, default=0.01, help="of the rows without a fault")
    parser.add_argument("--rows-at-once", type=int, default=300_000, help="GPU-minutes held at once")
    parser.add_argument("--folder", help="where to work (default: the system's)")
    parser.add_argument("--walk", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
