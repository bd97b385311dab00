"""The demo's processes: started with a log each, waited for until they say that they are ready, stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from collector.errors import ForeshockError

_START_TIMEOUT_S: Final = 120.0
"""Libraries are read from a cold disk on a busy machine: once, and it is not what the demo is about."""


class Chain:
    """The running processes, by name."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, argv: list[str], env: dict[str, str]) -> None:
        with (self._logs / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-I", "-m", *argv],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **env},
            )  # fmt: skip

    def kill(self, name: str) -> None:
        """What a collective's abort does to a rank: no warning, no time to save."""
        self._processes[name].send_signal(signal.SIGKILL)
        self._processes.pop(name).wait(timeout=10)

    def has(self, name: str) -> bool:
        return name in self._processes

    def check(self) -> None:
        """Raises ForeshockError, with the end of its log, when a process has ended that should run."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                tail = (self._logs / f"{name}.log").read_text(errors="replace").strip()[-600:]
                raise ForeshockError(
                    f"{name} ended with {process.returncode}: {tail}", hint=f"see {self._logs}"
                )

    def stop(self) -> None:
        for process in reversed(self._processes.values()):
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Ready:
    """Hears services say READY=1, as systemd does (sd_notify): on a socket for each."""

    def __init__(self) -> None:
        self._sockets: dict[str, socket.socket] = {}

    def address(self, name: str) -> str:
        """For $NOTIFY_SOCKET of the service `name`. An abstract socket: a path in a deep directory may be too long."""
        address = f"@foreshock-demo-{os.getpid()}-{name}"
        self._sockets[name] = hears = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        hears.bind("\0" + address[1:])
        hears.setblocking(False)
        return address

    def wait(self, chain: Chain) -> None:
        """Until all have said it. Raises ForeshockError where one ends, or none of that happens in time."""
        silent = dict(self._sockets)

        def all_said() -> bool:
            for name in [name for name, hears in silent.items() if _said_ready(hears)]:
                del silent[name]
            return not silent

        _await(chain, all_said, lambda: f"{', '.join(silent)} was not ready in time")

    def close(self) -> None:
        for hears in self._sockets.values():
            hears.close()


def _said_ready(hears: socket.socket) -> bool:
    try:
        return hears.recv(4096).startswith(b"READY=1")
    except BlockingIOError:
        return False


def await_files(chain: Chain, *files: Path) -> None:
    """Until all exist. Raises ForeshockError where a process ends, or none of that happens in time."""
    _await(chain, lambda: all(f.exists() for f in files), lambda: "the demo did not start in time")


def _await(chain: Chain, holds: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not holds():
        chain.check()
        if time.monotonic() > deadline:
            raise ForeshockError(otherwise(), hint="see the logs of the demo")
        time.sleep(0.05)
