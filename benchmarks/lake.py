"""What the lake costs and how fast it answers: bytes per sample, ten queries timed, beside Prometheus on the same data.

    python benchmarks/lake.py [--rows 200000] [--gpus 512] [--prometheus-rows 20000] [--folder DIR]

A sample is one row: all readings of one GPU at one second. Prometheus calls each reading a sample; both are given.
The data is synthetic (benchmarks/lake_rows.py). The last line is one JSON object. --rows 100000000 --gpus 100000 needs
about 6 GB of disk and hours on two cores; most of it is making the data.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import polars as pl

from benchmarks.lake_prometheus import Held, import_blocks
from benchmarks.lake_rows import START, Fleet
from collector.config import UpkeepConfig
from collector.records import FIELDS
from pipeline.lake import Lake
from pipeline.sql import Desk, Limits, connect
from pipeline.upkeep import Upkeep

APPENDS = 100
"""At most about so many, so that a large run spends its time on rows."""
FLUSH_S = 5
READINGS = [f.name for f in FIELDS if f.role != "identity" and f.name != "gpu_state"]

QUERIES = {
    "the lake's rows": "SELECT count(*) FROM telemetry",
    "one GPU, every reading, one minute": "FROM telemetry WHERE gpu_uuid = $gpu AND time >= $at AND time < $to",
    "one GPU by minute": "SELECT time_bucket(INTERVAL 1 MINUTE, time) AS minute, avg(power_w), max(temperature_c) "
    "FROM telemetry WHERE gpu_uuid = $gpu GROUP BY 1 ORDER BY 1",
    "one node against its GPUs": "SELECT gpu_index, avg(sm_util_pct), max(nvml_latency_us), max(gap_s) "
    "FROM telemetry WHERE node = $node GROUP BY 1 ORDER BY 1",
    "fleet power by minute": "SELECT time_bucket(INTERVAL 1 MINUTE, time) AS minute, avg(power_w), sum(power_w) "
    "FROM telemetry GROUP BY 1 ORDER BY 1",
    "the ten hottest": "SELECT gpu_uuid, max(temperature_c) AS c FROM telemetry GROUP BY 1 ORDER BY 2 DESC LIMIT 10",
    "energy by job": "SELECT job, sum(j) FROM (SELECT job, gpu_uuid, max(energy_j) - min(energy_j) AS j "
    "FROM telemetry GROUP BY 1, 2) GROUP BY 1 ORDER BY 2 DESC LIMIT 10",
    "link errors, worst ten": "SELECT gpu_uuid, max(nvlink_crc_flit_errors) - min(nvlink_crc_flit_errors) AS n "
    "FROM telemetry GROUP BY 1 ORDER BY 2 DESC LIMIT 10",
    "throttled samples": "SELECT node, count(*) FROM telemetry WHERE clock_event_reasons & 64 <> 0 "
    "GROUP BY 1 ORDER BY 2 DESC LIMIT 10",
    "every GPU's last row": "SELECT gpu_uuid, time, gpu_state, power_w FROM gpu_now",
}


def main() -> None:
    args = _arguments()
    work = Path(tempfile.mkdtemp(prefix="foreshock-lake-", dir=args.folder))
    try:
        result = measure(work, args.rows, args.gpus) | beside_prometheus(work, args.prometheus_rows)
    finally:
        shutil.rmtree(work)
    print(json.dumps(result))


def measure(work: Path, rows: int, gpus: int) -> dict[str, object]:
    """Write, keep, ask. Times are seconds of the wall clock, each query once on a fresh desk (files may be cached)."""
    lake, seconds = Lake(work / "lake"), max(rows // gpus, 1)
    per_append = min(seconds, max(FLUSH_S, seconds // APPENDS))
    append_s, written, values = 0.0, 0, 0
    for block in Fleet(gpus).blocks(seconds, per_append):
        begun_s = time.perf_counter()
        lake.append("telemetry", block)
        append_s += time.perf_counter() - begun_s
        written += block.height
        values += _values(block)
    before = _bytes(lake)
    begun_s = time.perf_counter()
    report = Upkeep(lake, UpkeepConfig()).round(START + timedelta(days=2))
    upkeep_s = time.perf_counter() - begun_s
    after = _bytes(lake)
    print(f"synthetic telemetry: {written:,} samples of {gpus:,} GPUs, {values / written:.0f} readings each")
    print(f"written        {before / written:8.1f} bytes a sample, {written / append_s:12,.0f} samples/s")
    print(f"after upkeep   {after / written:8.1f} bytes a sample, {report.made} files of {report.merged}")
    return {
        "rows": written, "gpus": gpus, "bytes_per_sample": round(after / written, 2),
        "bytes_per_reading": round(after / values, 4), "bytes_per_sample_written": round(before / written, 2),
        "append_samples_per_s": round(written / append_s), "files": len(lake.files("telemetry")),
        "upkeep_samples_per_s": round(sum(report.rows_by_table.values()) / upkeep_s),
        "queries_s": _ask(lake, gpus),
    }  # fmt: skip


def _ask(lake: Lake, gpus: int) -> dict[str, float]:
    some = next(Fleet(gpus).blocks(1, 1)).row(gpus // 2, named=True)
    params = {
        "gpu": some["gpu_uuid"], "node": some["node"], "at": some["time"],
        "to": some["time"] + timedelta(minutes=1),
    }  # fmt: skip
    took = {}
    with connect(lake.files, lake.path, Limits(time_s=600)) as desk:
        for name, sql in QUERIES.items():
            took[name] = _timed(desk, sql, {k: v for k, v in params.items() if f"${k}" in sql})
            print(f"{took[name]:8.3f} s  {name}")
    return took


def _timed(desk: Desk, sql: str, params: dict[str, object]) -> float:
    begun_s = time.perf_counter()
    assert desk.query(sql, params).height > 0 or "clock_event_reasons" in sql
    return round(time.perf_counter() - begun_s, 4)


def beside_prometheus(work: Path, rows: int) -> dict[str, object]:
    """The same rows in both: as long a stretch of as few GPUs as `rows` allows, which is what Prometheus likes."""
    if rows == 0:
        return {"prometheus": None}
    gpus = 8
    data = pl.concat(Fleet(gpus).blocks(max(rows // gpus, 1), 600))
    (work / "prometheus").mkdir()
    held = import_blocks(data, work / "prometheus")
    if held is None:
        print("promtool is not installed: no comparison (Debian package `prometheus`)")
        return {"prometheus": None}
    lake = Lake(work / "same")
    for part in data.iter_slices(max(gpus * 60, 1)):
        lake.append("telemetry", part)
    Upkeep(lake, UpkeepConfig()).round(START + timedelta(days=2))
    return {"prometheus": _compared(held, _bytes(lake), data)}


def _compared(held: Held, ours: int, data: pl.DataFrame) -> dict[str, object]:
    assert held.values == _values(data), "both must hold every reading"
    print(f"the same {data.height:,} samples, {held.values:,} readings:")
    for name, size in (("lake", ours), ("Prometheus", held.bytes)):
        print(f"{name:<12} {size / data.height:8.1f} bytes a sample, {size / held.values:.3f} a reading")
    return {
        "rows": data.height, "readings": held.values, "bytes_per_sample": round(held.bytes / data.height, 2),
        "lake_bytes_per_sample": round(ours / data.height, 2), "ratio": round(held.bytes / ours, 2),
        "import_s": round(held.seconds, 2),
    }  # fmt: skip


def _bytes(lake: Lake) -> int:
    return sum(Path(f).stat().st_size for f in lake.files("telemetry"))


def _values(rows: pl.DataFrame) -> int:
    return sum(rows[name].count() for name in READINGS if name in rows.columns)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--gpus", type=int, default=512)
    parser.add_argument("--prometheus-rows", type=int, default=20_000, help="0 leaves it out")
    parser.add_argument("--folder", help="where to work; as large as the lake (default: the system's)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
