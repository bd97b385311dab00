"""What the lake costs and how fast it answers: bytes per sample, twenty queries timed, beside Prometheus.

    python -m benchmarks.lake [--rows 2000000] [--gpus 1024] [--prometheus-rows 20000] [--folder DIR] [--keep]

A sample is one row: all readings of one GPU at one second. Prometheus calls each reading a sample; both are given.
The data is synthetic (benchmarks/lake_rows.py). Part of it is written and compacted as ingest and upkeep do; all is
laid down as upkeep leaves it (benchmarks/lake_large.py): for 100,000,000 rows that takes minutes and 6 GB of disk.
Asked are the questions of docs/analysts.md, and ten scans of raw samples (benchmarks/lake_questions.py). The last line
is one JSON object.
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

from benchmarks.lake_large import lay
from benchmarks.lake_prometheus import Held, import_blocks
from benchmarks.lake_questions import RAW, TARGET_S, ask, questions
from benchmarks.lake_rows import START, Fleet
from collector.config import UpkeepConfig
from collector.records import FIELDS
from pipeline.lake import Lake
from pipeline.upkeep import Upkeep

WRITTEN_ROWS = 1_000_000
"""At most so many go through Lake.append and upkeep: enough for a rate."""
FLUSH_ROWS = 50_000
READINGS = [f.name for f in FIELDS if f.role != "identity" and f.name != "gpu_state"]


def main() -> None:
    args = _arguments()
    work = Path(tempfile.mkdtemp(prefix="foreshock-lake-", dir=args.folder))
    try:
        result = written(work, min(args.rows, WRITTEN_ROWS), args.gpus)
        result |= asked(work, args.rows, args.gpus) | beside_prometheus(work, args.prometheus_rows)
    finally:
        if args.keep:
            print(f"kept: {work}")
        else:
            shutil.rmtree(work)
    print(json.dumps(result))


def written(work: Path, rows: int, gpus: int) -> dict[str, object]:
    """How fast rows are appended and compacted, and what that does to their bytes."""
    lake, seconds = Lake(work / "written"), max(rows // gpus, 1)
    append_s, count, values = 0.0, 0, 0
    for block in Fleet(gpus).blocks(seconds, max(FLUSH_ROWS // gpus, 1)):
        begun_s = time.perf_counter()
        lake.append("telemetry", block)
        append_s += time.perf_counter() - begun_s
        count += block.height
        values += _values(block)
    before = _bytes(lake, "telemetry")
    begun_s = time.perf_counter()
    report = Upkeep(lake, UpkeepConfig()).round(START + timedelta(days=2))
    upkeep_s = time.perf_counter() - begun_s
    after = _bytes(lake, "telemetry")
    print(f"synthetic telemetry: {count:,} samples of {gpus:,} GPUs, {values / count:.0f} readings each")
    print(f"appended       {before / count:8.1f} bytes a sample, {count / append_s:12,.0f} samples/s")
    print(f"after upkeep   {after / count:8.1f} bytes a sample, {report.made} files of {report.merged}")
    return {
        "readings_per_sample": round(values / count), "bytes_per_sample_written": round(before / count, 2),
        "append_samples_per_s": round(count / append_s),
        "upkeep_samples_per_s": round(sum(report.rows_by_table.values()) / upkeep_s),
    }  # fmt: skip


def asked(work: Path, rows: int, gpus: int) -> dict[str, object]:
    """The whole lake, its bytes, and its answers."""
    lake = Lake(work / "lake")
    laid = lay(lake, rows, gpus)
    per_row = {t: round(_bytes(lake, t) / laid.rows[t], 2) for t in ("telemetry", "rollups", "predictions")}
    print(
        f"laid down {laid.rows['telemetry']:,} samples in {laid.seconds:.0f} s, {per_row['telemetry']} bytes each;"
    )
    print(f"{laid.rows['rollups']:,} GPU-minutes, {per_row['rollups']} bytes each")
    result: dict[str, object] = {
        "rows": laid.rows["telemetry"], "gpus": gpus, "laid_s": round(laid.seconds),
        "bytes_per_sample": per_row["telemetry"], "bytes_per_rollup": per_row["rollups"],
        "bytes_per_prediction": per_row["predictions"], "files": len(lake.files("telemetry")),
    }  # fmt: skip
    for what, queries in {"questions": questions(), "raw": RAW}.items():
        answered = ask(lake, gpus, queries)
        print(f"{what}: connected in {answered.connect_s:.2f} s; first and second asking, s")
        for name, first_s in answered.first_s.items():
            late = "  OVER" if first_s > TARGET_S else ""
            print(f"{first_s:8.3f} {answered.again_s[name]:8.3f}  {name}{late}")
        result |= {
            f"{what}_connect_s": round(answered.connect_s, 2), f"{what}_s": answered.first_s,
            f"{what}_again_s": answered.again_s, f"{what}_over": answered.over(),
        }  # fmt: skip
    return result


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
    return {"prometheus": _compared(held, _bytes(lake, "telemetry"), data)}


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


def _bytes(lake: Lake, table: str) -> int:
    return sum(Path(f).stat().st_size for f in lake.files(table))


def _values(rows: pl.DataFrame) -> int:
    return sum(rows[name].count() for name in READINGS if name in rows.columns)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--gpus", type=int, default=1024)
    parser.add_argument("--prometheus-rows", type=int, default=20_000, help="0 leaves it out")
    parser.add_argument("--folder", help="where to work; as large as the lake (default: the system's)")
    parser.add_argument("--keep", action="store_true", help="leave the lakes where they are")
    return parser.parse_args()


if __name__ == "__main__":
    main()
