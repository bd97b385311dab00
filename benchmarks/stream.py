"""The stream path under load: Kafka fetch -> decode -> rollup -> features -> score -> lake, on this machine.

    python -m benchmarks.stream [--seconds 60] [--gpus 100000] [--workers 2] [--json]
    python -m benchmarks.stream --quix --quix-python PATH   # beside Quix Streams: see benchmarks/stream_quix.py
    python -m benchmarks.stream --slope                     # cost per sample at 1k, 10k and 100k GPUs
    python -m benchmarks.stream --profile                   # one process without Kafka: microseconds of each stage

It fills a topic of a real Apache Kafka broker on loopback (its own, or $FORESHOCK_TEST_KAFKA) with the records
of a fleet that ticks at 1 Hz (benchmarks/load.py: synthetic values), then lets the workers of one consumer group
at it, and counts afterwards that the lake has every record once. The last line is one JSON object.

`samples_per_s` is what is in the lake at the end, over the time from the first sample taken to the last flush.
`ratio_to_fetch` compares it with as many bare kafka-python consumers in one group as there are workers, on the
same topic and the same cores, before and after (the mean): that is what the same machine could do if the work
were free. `ratio_to_fetch_one` compares with one bare consumer, which leaves the other core to the broker; with
two workers it is the easier reading. Memory is the sum of the workers' proportional shares (PSS), looked at every
second; its slope is over the second half. Upkeep (compaction) does not run: it is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.stream_broker import delete_topics, servers
from benchmarks.stream_check import stored
from benchmarks.stream_fetch import fetch
from benchmarks.stream_fill import Filled, Fleet, bytes_on_disk, fill
from benchmarks.stream_processes import child
from benchmarks.stream_profile import profile
from benchmarks.stream_report import print_profile, print_run, print_slope, run_numbers, slope_numbers
from benchmarks.stream_rival import HOW_TO, VARIABLE, quix
from benchmarks.stream_workers import run_workers
from collector import broker
from collector.config import CollectorConfig, KafkaConfig
from pipeline.ingest import TOPICS
from pipeline.lake import Lake

_FETCH_S = 10.0
_PARTITIONS = 4
_QUIX_S = 20.0
_SLOPE_GPUS = (1_000, 10_000, 100_000)
_SLOPE_FLEET_S = 180
_DISK_PER_SAMPLE = 900
"""Bytes: the broker's log (lz4), the lake, and room for what both keep for a while."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One run. `samples` are put on the topic; the workers run `seconds` at most."""

    fleet: Fleet
    samples: float
    seconds: float
    workers: int
    producers: int
    fetch_s: float = _FETCH_S
    quix_python: str = ""
    quix_s: float = _QUIX_S


def measure(settings: Settings) -> dict[str, Any]:
    """Fill, fetch, work, fetch again, let Quix at it, count the lake; everything written is removed."""
    scratch_root = Path(tempfile.gettempdir())
    _room_for(scratch_root, settings.samples)
    with tempfile.TemporaryDirectory(dir=scratch_root) as name, servers(Path(name) / "kafka") as address:
        scratch = Path(name)
        prefix = f"bench{os.getpid()}-{settings.fleet.gpus}."
        config = KafkaConfig(
            bootstrap_servers=address,
            topic_prefix=prefix,
            ingest_group=f"{prefix}ingest",
            partitions=max(_PARTITIONS, settings.workers),
        )
        broker.ensure_topics(config, [prefix + t for t in TOPICS])
        try:
            return _measure(settings, config, scratch)
        finally:
            delete_topics(config)


def _measure(settings: Settings, config: KafkaConfig, scratch: Path) -> dict[str, Any]:
    filled = fill(config, settings.fleet, settings.samples, settings.producers)
    log_bytes = (
        bytes_on_disk(scratch / "kafka" / "data", f"{config.topic_prefix}*/*.log")
        if (scratch / "kafka").is_dir()
        else None
    )
    before = _fetched(settings, config)
    lake = scratch / "lake"
    run = run_workers(
        config, lake, settings.workers, seconds=settings.seconds, samples=filled.samples,
        broker_pid=child("kafka.Kafka"),
    )  # fmt: skip
    numbers = run_numbers(run, stored(Lake(lake), settings.fleet.samples_per_record), settings.workers)
    numbers |= _sizes(filled, log_bytes, lake, numbers["samples_in_lake"])
    fetched = [*before, *_fetched(settings, config)]
    return numbers | _ratios(numbers["samples_per_s"], fetched) | _rival(settings, config, numbers)


def _fetched(settings: Settings, config: KafkaConfig) -> list[tuple[float, float]]:
    """(one process, as many as there are workers), or nothing where it is left out."""
    if settings.fetch_s <= 0:
        return []
    per_record = settings.fleet.samples_per_record
    one = fetch(config, 1, settings.fetch_s, per_record)
    many = fetch(config, settings.workers, settings.fetch_s, per_record) if settings.workers > 1 else one
    return [(one, many)]


def _ratios(rate: float, fetched: list[tuple[float, float]]) -> dict[str, Any]:
    names = ("fetch_one_samples_per_s", "fetch_samples_per_s", "ratio_to_fetch_one", "ratio_to_fetch")
    if not fetched:
        return dict.fromkeys(names)
    one, many = (mean(pair) for pair in zip(*fetched, strict=True))
    return dict(
        zip(names, (round(one), round(many), round(rate / one, 3), round(rate / many, 3)), strict=True)
    )


def _rival(settings: Settings, config: KafkaConfig, numbers: dict[str, Any]) -> dict[str, Any]:
    names = (
        "quix_samples_per_s",
        "quix_columns",
        "ratio_to_quix",
        "quix_few_samples_per_s",
        "ratio_to_quix_few",
    )
    if not settings.quix_python:
        return dict.fromkeys(names)
    rate = numbers["samples_per_s"]
    full = quix(settings.quix_python, config, settings.workers, settings.quix_s)
    few = quix(settings.quix_python, config, settings.workers, settings.quix_s, few=True)
    values = (round(full.samples_per_s), full.columns, round(rate / full.samples_per_s, 1),
              round(few.samples_per_s), round(rate / few.samples_per_s, 1))  # fmt: skip
    return dict(zip(names, values, strict=True))


def _sizes(filled: Filled, log_bytes: int | None, lake: Path, rows: int) -> dict[str, Any]:
    telemetry = bytes_on_disk(lake / "telemetry", "*.parquet")
    return {
        "gpus": filled.fleet.gpus, "flush_s": filled.fleet.flush_s, "samples_sent": filled.samples,
        "fleet_s": filled.samples // (filled.fleet.nodes * 8), "fill_s": round(filled.took_s, 1),
        "raw_bytes_per_sample": round(filled.raw_bytes / filled.samples),
        "topic_bytes_per_sample": None if log_bytes is None else round(log_bytes / filled.samples),
        "lake_bytes_per_sample": round(telemetry / rows) if rows else None,
    }  # fmt: skip


def _room_for(directory: Path, samples: float) -> None:
    free, need = shutil.disk_usage(directory).free, samples * _DISK_PER_SAMPLE
    if need > free:
        raise SystemExit(
            f"{samples:,.0f} samples need about {need / 1e9:.0f} GB under {directory}, {free / 1e9:.0f} are free: "
            "a smaller --rate or --seconds, or another $TMPDIR"
        )


def slope(args: argparse.Namespace) -> dict[str, Any]:
    """The run at three sizes: the same number of samples or more, three minutes of the fleet or more."""
    found = []
    for gpus in [g for g in _SLOPE_GPUS if g <= args.slope_max_gpus]:
        print(f"{gpus:,} GPUs", file=sys.stderr)
        samples = max(args.rate * args.seconds, gpus * _SLOPE_FLEET_S)
        settings = Settings(
            Fleet(gpus, args.flush_s), samples, 10 * args.seconds, args.workers, args.producers, fetch_s=0.0
        )
        found.append(measure(settings))
    return slope_numbers(found)


def run(args: argparse.Namespace) -> dict[str, Any]:
    python = (args.quix_python or os.environ.get(VARIABLE, "")) if args.quix else ""
    if args.quix and not python:
        print(HOW_TO, file=sys.stderr)
    fleet = Fleet(args.gpus, args.flush_s)
    return measure(
        Settings(
            fleet, args.rate * args.seconds, args.seconds, args.workers, args.producers,
            fetch_s=min(_FETCH_S, args.seconds), quix_python=python, quix_s=min(_QUIX_S, max(8.0, args.seconds)),
        )
    )  # fmt: skip


def main() -> int:
    args = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the broker and the gigabytes go even then
    began = time.monotonic()
    if args.profile:
        found, show = profile(args.gpus, args.flush_s, args.rate * args.seconds), print_profile
    elif args.slope:
        found, show = slope(args), print_slope
    else:
        found, show = run(args), print_run
    found["took_s"] = round(time.monotonic() - began, 1)
    if not args.json:
        show(found)
    print(json.dumps(found))
    return 1 if found.get("duplicates") or found.get("missing") or not found.get("ended_cleanly", True) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    flush_s = round(CollectorConfig().flush_s)
    add("--gpus", type=int, default=100_000, help="size of the fleet (default: %(default)s)")
    add("--seconds", type=float, default=60.0, help="how long the workers run at most (default: %(default)s)")
    add("--workers", type=int, default=2, help="processes in the consumer group (default: %(default)s)")
    add("--rate", type=float, default=200_000.0, help="samples put on the topic per second of --seconds")
    add("--producers", type=int, default=2, help="processes that fill the topic (default: %(default)s)")
    add(
        "--flush-s",
        type=int,
        default=flush_s,
        help="seconds of one record (the agent's default: %(default)s)",
    )
    add("--quix", action="store_true", help="also measure Quix Streams on the same topic")
    add("--quix-python", default="", help=f"the interpreter that has it (or ${VARIABLE})")
    add("--slope", action="store_true", help="cost per sample at 1k, 10k and 100k GPUs instead")
    add("--slope-max-gpus", type=int, default=max(_SLOPE_GPUS), help="leave out larger fleets")
    add("--profile", action="store_true", help="one worker without Kafka, microseconds of each stage instead")
    add("--json", action="store_true", help="only the JSON line")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
