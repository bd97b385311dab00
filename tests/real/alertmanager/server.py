"""Debian's Prometheus Alertmanager on a free loopback port, in a temporary directory."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.real.kafka.broker import free_port

PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
START_TIMEOUT_S = 30.0

_CONFIG = """
route:
  receiver: hook
  group_by: [node]
  group_wait: 1s
  group_interval: 1s
  repeat_interval: 1h
receivers:
- name: hook
  webhook_configs:
  - url: {hook}
    send_resolved: true
inhibit_rules:
- source_matchers: [alertname="GpuFault"]
  target_matchers: [alertname="GpuFaultPredicted"]
  equal: [node, uuid]
"""


class Alertmanager:
    """`url` is its base; `alerts()` is what it holds active now."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def alerts(self) -> list[Any]:
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts", timeout=5) as answer:
            found: list[Any] = json.load(answer)
        return found


@contextmanager
def running_alertmanager(directory: Path, hook: str) -> Iterator[Alertmanager]:
    """Start one that groups by node and tells `hook`, hand it over, stop it."""
    assert PROGRAM is not None
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "alertmanager.yml"
    config.write_text(_CONFIG.format(hook=hook))
    port = free_port()
    argv = [
        PROGRAM, f"--config.file={config}", f"--storage.path={directory}/data",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    ]  # fmt: skip
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        _wait_until_ready(process, port, directory / "log")
        yield Alertmanager(port)
    finally:
        process.kill()
        process.wait(timeout=10)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"Alertmanager did not start:\n{log.read_text()[-3000:]}")
