"""The services as real processes around one directory: what a node and a server would run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alerting.webhook import new_secret
from tests.double import Node
from tests.real.kafka.broker import free_port


class Services:
    """Starts `foreshock` commands on one config and ends them."""

    def __init__(
        self,
        directory: Path,
        node: Node,
        *,
        speed: float = 20.0,
        kafka: str = "",
        prefix: str = "",
        interval_s: float = 1.0,
        flush_s: float = 5.0,
    ) -> None:
        self.directory = directory
        self.job = directory / "job"
        self.job.mkdir()
        secret = directory / "secret"
        secret.touch(mode=0o600)
        secret.write_text(new_secret())
        self.port = free_port()
        self.toml = directory / "foreshock.toml"
        self.origin_s = time.time()
        self.toml.write_text(f"""
[clock]
speed = {speed}
origin_unix_s = {self.origin_s!r}
[collector]
node = "n1"
nvml_library = "{node.library}"
kmsg = "{node.kmsg}"
interval_s = {interval_s}
flush_s = {flush_s}
listen = ""
deadline_s = 0.5
synthetic = true
[spool]
path = "{directory}/spool.db"
[kafka]
bootstrap_servers = "{kafka}"
topic_prefix = "{prefix}"
ingest_group = "{prefix}ingest"
watch_group = "{prefix}watch"
[lake]
path = "{directory}/lake"
[ingest]
flush_s = 0.5
[watch]
dry_run = false
outbox = "{directory}/outbox.db"
webhook_url = "http://127.0.0.1:{self.port}/v1/actions"
webhook_secret_file = "{secret}"
[bridge]
dry_run = false
listen = "127.0.0.1:{self.port}"
secret_file = "{secret}"
state = "{directory}/bridge.db"
pid_dir = "{self.job}"
acknowledge_dir = "{self.job}"
drain_command = ["{sys.executable}", "-I", "-m", "demo.drain", "{directory}/drained"]
""")
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *argv: str) -> None:
        module = ["foreshock", "--config", str(self.toml), *argv] if name != "training" else list(argv)
        with (self.directory / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-I", "-m", *module],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(os.environ),
            )

    def start_all(self) -> None:
        self.start("training", "demo.training", "--directory", str(self.job), "--config", str(self.toml))
        self.start("bridge", "bridge", "command")
        self.start("watch", "watch")
        self.start("ingest", "ingest")
        self.start("collect", "collect")

    def kill_9(self, name: str) -> None:
        process = self.running.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)

    def stop(self) -> None:
        for process in self.running.values():
            process.terminate()
        for name, process in self.running.items():
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                pytest.fail(f"{name} did not stop: {self.log(name)}")

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")[-2000:]
