"""The sums for a large fleet: what was measured here on a small machine, times what is assumed.

    python -m benchmarks.scale      # print the table from docs/scale.json
    python -m benchmarks.scale --stream a.json --risk b.json --lake c.json --write

The second takes new figures in and writes the table into docs/scale.md. Each file holds the last line of
benchmarks/stream.py, risk_cycle.py or lake.py; what is not given stays. Cost is taken to grow linearly with GPUs:
benchmarks/stream.py --slope measures whether it does, up to 100,000.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

DOCS: Final = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- made by benchmarks/scale.py -->\n", "<!-- end -->\n"
SIZES: Final = (10_000, 100_000, 1_000_000)
READ: Final = {
    "stream": ("samples_per_s", "workers", "rss_mib", "worker_us_per_sample", "topic_bytes_per_sample"),
    "risk": ("gpus", "cycle_s", "state_mib"),
    "lake": ("bytes_per_sample", "bytes_per_rollup", "bytes_per_prediction", "upkeep_samples_per_s"),
}
"""What is taken from each benchmark."""

_DAY_S: Final = 86_400
_MINUTES: Final = 1440
_KEPT_ROWS: Final = 1_000_000
"""Rows of a file that upkeep made, as shipped."""


def table(figures: dict[str, Any]) -> str:
    """Markdown: what was measured and assumed, then the sums."""
    return "\n".join([*_inputs(figures), "", *_sums(figures)]) + "\n"


def _inputs(figures: dict[str, Any]) -> Iterable[str]:
    yield from ("| figure | value | from |", "|---|---|---|")
    for name, keys in READ.items():
        for key in keys:
            yield f"| {name}: `{key}` | {figures[name][key]:,} | {figures[name]['source']} |"
    for key, value in figures["assumed"].items():
        yield f"| `{key}` | {value:,} | assumed |"


def _sums(figures: dict[str, Any]) -> Iterable[str]:
    columns = [_column(figures, gpus) for gpus in SIZES]
    yield "| arithmetic | " + " | ".join(f"{gpus:,} GPUs" for gpus in SIZES) + " |"
    yield "|---|" + "---|" * len(SIZES)
    for name in columns[0]:
        yield f"| {name} | " + " | ".join(column[name] for column in columns) + " |"


def _column(figures: dict[str, Any], gpus: int) -> dict[str, str]:
    stream, assumed = figures["stream"], figures["assumed"]
    per_worker = stream["samples_per_s"] / stream["workers"] * assumed["worker_load"]
    workers = math.ceil(gpus * assumed["samples_per_gpu_s"] / per_worker)
    return (
        _stream(stream, assumed, gpus, workers)
        | _risk(figures["risk"], gpus, workers)
        | _lake(figures["lake"], assumed, gpus, workers)
        | _few(assumed, gpus)
    )


def _stream(stream: dict[str, Any], assumed: dict[str, Any], gpus: int, workers: int) -> dict[str, str]:
    rate = gpus * assumed["samples_per_gpu_s"]
    wire = rate * stream["topic_bytes_per_sample"]
    kept = wire * assumed["kafka_hours"] * 3600 * assumed["kafka_replicas"]
    return {
        "samples/s": f"{rate:,.0f}",
        "agents (nodes)": f"{gpus / assumed['gpus_per_node']:,.0f}",
        "Kafka records/s": f"{gpus / assumed['gpus_per_node'] / assumed['flush_s']:,.0f}",
        "Kafka in, MB/s": f"{wire / 1e6:,.0f}",
        "Kafka disk, TB": f"{kept / 1e12:,.1f}",
        "workers": f"{workers:,}",
        "partitions": f"{workers * assumed['partitions_per_worker']:,.0f}",
        "cores of the workers": f"{rate * stream['worker_us_per_sample'] / 1e6:,.1f}",
        "memory of a worker, MiB": f"{stream['rss_mib'] / stream['workers']:,.0f}",
    }


def _risk(risk: dict[str, Any], gpus: int, workers: int) -> dict[str, str]:
    mine = gpus / workers
    return {
        "GPUs of a worker": f"{mine:,.0f}",
        "risk cycle of a worker, s a minute": f"{risk['cycle_s'] * mine / risk['gpus']:,.1f}",
        "features' state of a worker, MiB": f"{risk['state_mib'] * mine / risk['gpus']:,.0f}",
    }


def _lake(lake: dict[str, Any], assumed: dict[str, Any], gpus: int, workers: int) -> dict[str, str]:
    rate = gpus * assumed["samples_per_gpu_s"]
    raw = rate * _DAY_S * lake["bytes_per_sample"]
    minutes = gpus * _MINUTES * (lake["bytes_per_rollup"] + lake["bytes_per_prediction"])
    held = raw * assumed["telemetry_days"] + minutes * assumed["rollup_days"]
    return {
        "lake: raw samples a day, GB": f"{raw / 1e9:,.1f}",
        "lake: rollups and predictions a day, GB": f"{minutes / 1e9:,.1f}",
        "lake: held once it is full, TB": f"{held / 1e12:,.1f}",
        "lake: its storage a month, $": f"{held / 1e9 * assumed['dollars_per_gb_month']:,.0f}",
        "lake: commits/s of telemetry": f"{workers / assumed['flush_s']:,.1f}",
        "lake: files of a day after upkeep": f"{rate * _DAY_S / _KEPT_ROWS:,.0f}",
        "upkeep processes needed": f"{rate * assumed['rewrites'] / lake['upkeep_samples_per_s']:,.1f}",
    }


def _few(assumed: dict[str, Any], gpus: int) -> dict[str, str]:
    return {
        "watch: faults a day": f"{gpus * assumed['faults_per_gpu_day']:,.0f}",
        "watch: other events a day": f"{gpus * assumed['application_events_per_gpu_day']:,.0f}",
    }


def replaced(page: str, made: str) -> str:
    """`page` with the table between the two marks exchanged."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return head + BEGIN + made + END + tail


def main() -> None:
    args = _arguments()
    figures = json.loads((DOCS / "scale.json").read_text())
    for name, keys in READ.items():
        if (file := getattr(args, name)) is not None:
            found = json.loads(file.read_text().strip().splitlines()[-1])
            source = f"measured {datetime.now(UTC):%Y-%m-%d}"
            figures[name] = {key: found[key] for key in keys} | {"source": source}
    if args.write:
        (DOCS / "scale.json").write_text(json.dumps(figures, indent=2) + "\n")
        page = DOCS / "scale.md"
        page.write_text(replaced(page.read_text(), table(figures)))
    print(table(figures), end="")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in READ:
        parser.add_argument(f"--{name}", type=Path, help="file whose last line is that benchmark's JSON")
    parser.add_argument(
        "--write", action="store_true", help="keep the figures and write the table into the page"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
