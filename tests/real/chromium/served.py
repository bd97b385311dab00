"""`foreshock dashboard` as an operator starts it: a process of its own on a free port, on a given lake."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.real.kafka.broker import free_port

START_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True)
class Served:
    """`url` without a slash at its end; `log` is what the server writes."""

    url: str
    log: Path

    def failures(self) -> list[str]:
        """What the server logged of parts that failed: the pages show these as a sentence or not at all."""
        return [line for line in self.log.read_text().splitlines() if _tells_of_a_failure(line)]


@contextmanager
def serving(
    lake: Path, directory: Path, more: str = "", secrets: Callable[[str], str] | None = None
) -> Iterator[Served]:
    """Start the dashboard, wait until it answers, stop it with all it started.

    `directory` gets the config, with `more` at the end of its [dashboard], the log, and what `secrets(url)` gives.
    """
    port = free_port()
    config = directory / "foreshock.toml"
    config.write_text(f'[lake]\npath = "{lake}"\n[dashboard]\nlisten = "127.0.0.1:{port}"\n{more}')
    served = Served(f"http://127.0.0.1:{port}", directory / "dashboard.log")
    if secrets is not None:
        (directory / ".streamlit").mkdir()
        (directory / ".streamlit" / "secrets.toml").write_text(secrets(served.url))
    with served.log.open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-I", "-m", "foreshock", "--config", str(config), "dashboard"],
            stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=directory,
            env=os.environ | {"HOME": str(directory)}, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_for_health(served, child)
        yield served
    finally:
        _stop(child)


def _wait_for_health(served: Served, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and child.poll() is None:
        try:
            with urllib.request.urlopen(f"{served.url}/_stcore/health", timeout=5) as answer:
                if answer.read() == b"ok":
                    return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise RuntimeError(f"the dashboard did not start:\n{served.log.read_text()[-3000:]}")


def _stop(child: subprocess.Popen[bytes]) -> None:
    """The command and the Streamlit it started share a session of their own."""
    if child.poll() is not None:
        return
    os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(timeout=15)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait(timeout=15)


def _tells_of_a_failure(line: str) -> bool:
    return any(
        word in line for word in ("Traceback (most recent", "Error: ", "Uncaught", "a part of the page")
    )
