"""A real Apache Kafka broker in KRaft mode on loopback, in a temporary directory."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

JARS = Path(__file__).parent / "target" / "jars"
START_TIMEOUT_S = 60.0


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Broker:
    """One broker that can be stopped and started again on the same port with the same data."""

    def __init__(
        self,
        directory: Path,
        security: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self._settings = dict(settings or {})
        self._security = dict(security or {})
        self._listener = "SASL_SSL" if security else "PLAINTEXT"
        self.port = free_port()
        self._controller_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._format()

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _java(self, main: str, *args: str) -> list[str]:
        heap = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return [
            "java",
            *heap,
            f"-Dlog4j2.level={os.environ.get('KAFKA_LOG', 'ERROR')}",
            "-cp",
            f"{JARS}/*",
            main,
            *args,
        ]

    def _format(self) -> None:
        properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "listeners": f"{self._listener}://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": f"{self._listener}://127.0.0.1:{self.port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": f"{self._listener}:{self._listener},CONTROLLER:PLAINTEXT",
            "security.inter.broker.protocol": self._listener,
            "log.dirs": str(self.directory / "data"),
            "num.partitions": "4",
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "auto.create.topics.enable": "true",
            **self._security,
            **self._settings,
        }
        self.directory.mkdir(parents=True, exist_ok=True)
        conf = self.directory / "server.properties"
        conf.write_text("".join(f"{k}={v}\n" for k, v in properties.items()))
        cluster = uuid.uuid4().hex[:22]
        subprocess.run(
            self._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(conf)),
            check=True, capture_output=True, timeout=START_TIMEOUT_S,
        )  # fmt: skip

    def start(self) -> None:
        log = (self.directory / "broker.log").open("ab")
        command = self._java("kafka.Kafka", str(self.directory / "server.properties"))
        self._process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
        log.close()
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=0.2).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        tail = (self.directory / "broker.log").read_text()[-3000:]
        raise RuntimeError(f"Kafka did not start:\n{tail}")

    def stop(self, *, kill: bool = False) -> None:
        if self._process is None:
            return
        if kill:
            self._process.kill()
        else:
            self._process.terminate()
        self._process.wait(timeout=30)
        self._process = None


@contextmanager
def running_broker(directory: Path) -> Iterator[Broker]:
    """Start a broker, hand it over, stop it."""
    broker = Broker(directory)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop(kill=True)
