"""/metrics (Prometheus) and /healthz of the agent: its own work, and the difference between a sick GPU and a
sick agent. A lost GPU leaves /healthz at 200, so that no liveness probe kills the agent that reports it.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import CollectorRegistry

from collector.errors import ConfigError
from collector.status import Status

log = logging.getLogger(__name__)


_SOURCE_HELP: Final = {
    "nvml_restarts": "NVML processes killed after a hang or a crash",
    "job_look_failures": "Looks for the jobs on the GPUs that ended in an error",
    "dcgm_scrapes": "Scrapes of the dcgm-exporter",
    "dcgm_scrape_failures": "Scrapes that gave no usable answer",
    "dcgm_values_nulled": "Values that were blank or impossible, and became null",
    "dcgm_problems": "Lines or series that could not be understood",
    "checkpoint_files_refused": "Acknowledgements of checkpoints that were not believed",
    "checkpoint_look_failures": "Looks at checkpoint_dir that ended in an error",
}


class _Families:
    """prometheus_client's collector interface over a status."""

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        yield from families(self._status())


def families(s: Status) -> Iterator[Metric]:
    """The agent's metrics. Names end in their unit or kind; a counter never falls while the agent runs."""
    yield _gauge("tick_duration_seconds", "Time the last tick took", s.tick_s)
    yield _gauge(
        "loop_age_seconds", "Time since the tick loop came round; rises when the agent is stuck", s.loop_age_s
    )
    yield _counter("ticks", "Ticks done", s.ticks)
    yield _counter("samples", "Rows taken, one per GPU per tick", s.samples)
    for name, count in s.source.items():
        yield _counter(name, _SOURCE_HELP[name], count)
    yield _gauge("nvml_up", "1 while NVML can be opened", 0 if s.nvml_error else 1)
    yield _labelled(GaugeMetricFamily("foreshock_agent_gpus", "GPUs by state", labels=["state"]), s.gpus)
    yield _labelled(CounterMetricFamily("foreshock_agent_events", "Events told", labels=["kind"]), s.events)
    yield _counter("events_folded", "Events that were the echo or the repeat of another", s.folded)
    yield _counter("kmsg_refused", "Kernel log records of user space, not believed", s.refused_lines)
    yield _counter(
        "kmsg_lost", "Kernel log records that were overwritten before they were read", s.lost_lines
    )
    yield _counter("kmsg_failures", "Times the kernel log could not be opened or read", s.kernel_log_failures)
    yield _counter("sxid_orphans", "Continuation lines whose first line was not seen", s.orphans)
    yield _gauge("spool_records", "Records waiting", s.spool.records)
    yield _gauge("spool_bytes", "Bytes waiting", s.spool.bytes)
    yield _counter(
        "spool_dropped_samples", "Samples dropped because the spool was full", s.spool.dropped_rows
    )
    yield _counter("disk_refused_samples", "Samples dropped because the disk was full", s.refused_rows)
    if s.shipping is not None:
        yield _counter("shipped_records", "Records that the broker has acknowledged", s.shipping.shipped)
        yield _counter("ship_failures", "Tries that the broker did not answer", s.shipping.failures)
        yield _gauge("ship_lag_seconds", "Age of the oldest record that is not shipped", s.shipping.lag_s)
    yield _process(
        "process_resident_memory_bytes", "Resident memory of the agent without its NVML process", _rss_bytes()
    )
    yield _process("process_cpu_seconds_total", "CPU time of the agent without its NVML process", _cpu_s())


def _gauge(name: str, help_: str, value: float) -> Metric:
    return GaugeMetricFamily(f"foreshock_agent_{name}", help_, value=value)


def _counter(name: str, help_: str, value: float) -> Metric:
    return CounterMetricFamily(f"foreshock_agent_{name}", help_, value=value)


def _labelled(family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[str, float]) -> Metric:
    for label, value in values.items():
        family.add_metric([label], value)
    return family


def _process(name: str, help_: str, value: float) -> Metric:
    family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    return family(name, help_, value=value)


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def health(s: Status) -> tuple[int, dict[str, object]]:
    """HTTP status and body: 503 only when restarting the agent could help."""
    problem = s.agent_problem()
    body: dict[str, object] = {
        "agent": problem or "ok",
        "node": s.node,
        "gpus": dict(s.gpus),
        "gpu_problems": s.gpu_problems(),
    }
    return (503 if problem else 200), body


def serve(address: str, status: Callable[[], Status]) -> ThreadingHTTPServer:
    """Listen on `address` (host:port) in a thread of its own. Raises ConfigError when it cannot."""
    registry = CollectorRegistry()
    registry.register(_Families(status))

    class Handler(BaseHTTPRequestHandler):
        timeout = 5  # a client that sends nothing must not hold a thread

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
            elif self.path == "/healthz":
                code, body = health(status())
                self._answer(code, "application/json", json.dumps(body).encode())
            else:
                self._answer(404, "text/plain", b"try /metrics or /healthz\n")

        def _answer(self, code: int, kind: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            log.debug(format, *args)

    host, _, port = address.rpartition(":")
    try:
        server = ThreadingHTTPServer((host, int(port)), Handler)
    except (OSError, ValueError, OverflowError) as e:
        raise ConfigError(
            f"collector.listen {address!r}: {e}", hint='e.g. listen = "127.0.0.1:9481", or "" for off'
        ) from e
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server
