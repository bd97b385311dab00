"""The stream path under load: Kafka fetch -> decode -> rollup -> features -> score -> lake, on this machine.

    python benchmarks/stream.py [--gpus 100000] [--seconds 60] [--workers 2] [--json]

It fills a topic of a real Apache Kafka broker on loopback (its own, or $FORESHOCK_TEST_KAFKA) with the records
of a fleet that ticks at 1 Hz and flushes every 10 s, then lets the workers of one consumer group at it. Printed
are samples a second, beside the rate at which kafka-python alone fetches the same bytes in the same run. The
values are synthetic. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.load import Template
from collector import broker
from collector.clock import SystemClock
from collector.config import IngestConfig, KafkaConfig
from collector.records import TOPIC_TELEMETRY
from models.rules import RuleScorer
from pipeline.ingest import TOPICS, Worker
from pipeline.lake import Lake
from pipeline.stream import KafkaStream
from tests.real.kafka.broker import running_broker

_GPUS_PER_NODE = 8
_FLUSH_S = 10


def fill(config: KafkaConfig, gpus: int, samples: int) -> int:
    """Put at least `samples` samples on the topic, round by round over all nodes; how many records that was."""
    nodes = gpus // _GPUS_PER_NODE
    template = Template(_GPUS_PER_NODE, _FLUSH_S)
    producer = broker.producer(config)
    begin_us = int(time.time() // 60 * 60 - 3600) * 1_000_000
    records = 0
    while records * _GPUS_PER_NODE * _FLUSH_S < samples:
        flush, node = divmod(records, nodes)
        value = template.value(node, begin_us + flush * _FLUSH_S * 1_000_000)
        headers = [("foreshock-stream", b"s%d" % node), ("foreshock-seq", b"%d" % (flush + 1))]
        producer.send(
            config.topic_prefix + TOPIC_TELEMETRY, key=b"node-%06d" % node, value=value, headers=headers
        )
        records += 1
    producer.flush(timeout=300)
    producer.close()
    return records


def fetch_alone(config: KafkaConfig, seconds: float) -> float:
    """Samples a second that kafka-python fetches, one process, nothing done with them."""
    stream = KafkaStream(config, f"fetch-{os.getpid()}", [TOPIC_TELEMETRY])
    while not (records := stream.poll(1.0)):
        pass
    count, began = len(records), time.monotonic()
    while time.monotonic() - began < seconds:
        polled = stream.poll(0.5)
        if not polled:
            break
        count += len(polled)
    took = time.monotonic() - began
    stream.close()
    return count * _GPUS_PER_NODE * _FLUSH_S / took


def work(config: KafkaConfig, lake: str, told: Queue[tuple[int, float]], stop: Any) -> None:
    """One worker: the production class, its count told every half second."""
    worker = Worker(
        KafkaStream(config, config.ingest_group, TOPICS),
        Lake(Path(lake)),
        RuleScorer(),
        IngestConfig(),
        SystemClock(),
    )
    ended = threading.Event()
    thread = threading.Thread(target=worker.run, args=(ended,))
    thread.start()
    while not stop.wait(0.5):
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        told.put((worker.samples, rss))
    told.put((worker.samples, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
    ended.set()
    thread.join()


def run_workers(
    config: KafkaConfig, lake: Path, workers: int, seconds: float, samples: int
) -> dict[str, float]:
    """Samples a second of all workers together, from the first sample on, and their largest memory."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    queues = [context.Queue() for _ in range(workers)]
    processes = [context.Process(target=work, args=(config, str(lake), q, stop)) for q in queues]
    for process in processes:
        process.start()
    counts, rss = [0] * workers, [0.0] * workers
    began, last = 0.0, 0.0
    deadline = time.monotonic() + seconds + 120
    while time.monotonic() < deadline:
        for i, q in enumerate(queues):
            while not q.empty():
                counts[i], rss[i] = q.get()
        now = time.monotonic()
        if sum(counts) and not began:
            began, first = now, sum(counts)
        if began and (now - began >= seconds or sum(counts) >= samples):
            last = now
            break
        time.sleep(0.1)
    rate = (sum(counts) - first) / (last - began)
    stop.set()
    for process in processes:
        process.join(timeout=60)
        process.kill()
    return {"samples_per_s": rate, "rss_mib": sum(rss), "samples": sum(counts), "seconds": last - began}


@contextlib.contextmanager
def servers(directory: Path) -> Iterator[str]:
    named = os.environ.get("FORESHOCK_TEST_KAFKA")
    if named:
        yield named
    else:
        with running_broker(directory) as own:
            yield own.bootstrap_servers


def measure(gpus: int, seconds: float, workers: int) -> dict[str, float | int | str]:
    with tempfile.TemporaryDirectory() as scratch, servers(Path(scratch) / "kafka") as address:
        prefix = f"bench{os.getpid()}."
        config = KafkaConfig(bootstrap_servers=address, topic_prefix=prefix, ingest_group=f"{prefix}ingest")
        broker.ensure_topics(config, [prefix + t for t in TOPICS])
        began = time.monotonic()
        records = fill(config, gpus, int(seconds * 200_000))
        filled_s = time.monotonic() - began
        fetched = fetch_alone(config, min(10.0, seconds))
        found = run_workers(
            config, Path(scratch) / "lake", workers, seconds, records * _GPUS_PER_NODE * _FLUSH_S
        )
        stored = Lake(Path(scratch) / "lake").read("telemetry", columns=["seq"]).height
    return {
        "gpus": gpus, "workers": workers, "records": records, "fill_s": round(filled_s, 1),
        "samples_per_s": round(found["samples_per_s"]), "seconds": round(found["seconds"], 1),
        "fetch_samples_per_s": round(fetched), "ratio_to_fetch": round(found["samples_per_s"] / fetched, 3),
        "rss_mib": round(found["rss_mib"]), "samples_in_lake": stored, "columns": Template.columns(),
        "cores": len(os.sched_getaffinity(0)), "numpy": np.__version__,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpus", type=int, default=100_000, help="size of the fleet (default: 100000)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the workers run at most")
    parser.add_argument("--workers", type=int, default=2, help="processes in the consumer group")
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    args = parser.parse_args()
    found = measure(args.gpus, args.seconds, args.workers)
    if not args.json:
        print(
            f"{found['gpus']} GPUs, {found['columns']} columns, {found['workers']} workers, {found['cores']} cores"
        )
        print(f"  fetch to lake   {found['samples_per_s']:>10,} samples/s (limit 100,000)")
        print(f"  fetch alone     {found['fetch_samples_per_s']:>10,} samples/s, one process, same bytes")
        print(f"  ratio           {found['ratio_to_fetch']:>10} (limit 0.5)")
        print(f"  memory          {found['rss_mib']:>10,} MiB, all workers (limit 8192)")
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
