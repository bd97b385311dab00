"""What a person at the screen waits for: `foreshock dashboard` on one side, headless chromium on the other.

Spoken to through the DevTools protocol. A script that runs before the page's own notes, fifty times a second,
whether the map stands, and when Streamlit's script state changes. No network, no profile kept.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from websockets.sync.client import ClientConnection, connect

_WATCH: Final = """
(() => {
  const seen = window.foreshockSeen = {map_s: null, first_text_s: null, reruns_s: [], maps: 0};
  let begun = null, drawn = null;
  const look = () => {
    const now = performance.now() / 1000;
    const map = document.querySelector('[data-foreshock-map]') ||
      document.querySelector('[data-testid="stVegaLiteChart"] canvas, [data-testid="stVegaLiteChart"] svg');
    if (seen.first_text_s === null && document.querySelector('[data-testid="stMetric"]')) seen.first_text_s = now;
    if (map && seen.map_s === null) seen.map_s = now;
    const state = document.querySelector('[data-testid="stApp"]')?.dataset.testScriptState;
    const running = state === 'running';
    if (running && begun === null) begun = now;
    if (!running && begun !== null) { if (seen.map_s !== null) seen.reruns_s.push(now - begun); begun = null; }
  };
  setInterval(look, 20);
})();
"""
_WAIT_S: Final = 60.0


def missing() -> str:
    """Empty, or why there is no browser to measure with."""
    return "" if shutil.which("chromium") else "chromium is not installed"


class Page:
    """One tab of the chromium whose first process is `pid`."""

    def __init__(self, socket: ClientConnection, pid: int) -> None:
        self._socket = socket
        self.pid = pid
        self._ids = itertools.count(1)
        self.bytes = 0

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """One command and its answer; events that come between are dropped, but for the sizes of what was loaded."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            told = json.loads(self._socket.recv(timeout=_WAIT_S))
            if told.get("method") == "Network.loadingFinished":
                self.bytes += int(told["params"]["encodedDataLength"])
            if told.get("method") == "Network.webSocketFrameReceived":
                self.bytes += len(told["params"]["response"]["payloadData"]) * 3 // 4
            if told.get("id") == number:
                if "error" in told:
                    raise RuntimeError(f"{method}: {told['error']['message']}")
                return dict(told["result"])

    def evaluate(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    def open(self, url: str) -> None:
        self.call("Page.navigate", url="about:blank")
        self.call("Network.clearBrowserCache")
        self.bytes = 0
        self.call("Page.navigate", url=url)

    def wait(self, expression: str, otherwise: str) -> Any:
        """Poll until it is true; its value."""
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline:
            if found := self.evaluate(expression):
                return found
            time.sleep(0.05)
        raise RuntimeError(f"{otherwise}: {self.evaluate('document.body.innerText.slice(0, 1000)')}")


@dataclass(frozen=True)
class Served:
    """Where it answers, and its first process."""

    url: str
    pid: int


def first_paint(page: Page, served: Served) -> dict[str, float]:
    """Open the page with an empty cache: seconds from the navigation to the counts and to the map, MB fetched.

    `server_cpu_s` and `browser_cpu_s` are what both sides computed until then: on a machine that others use as well,
    they say more than the clock.
    """
    before = cpu_s(served.pid), cpu_s(page.pid)
    page.open(served.url)
    page.wait("window.foreshockSeen && window.foreshockSeen.map_s", "the map never came")
    after = cpu_s(served.pid), cpu_s(page.pid)
    seen = page.evaluate("window.foreshockSeen")
    return {
        "counts_s": seen["first_text_s"] or seen["map_s"], "map_s": seen["map_s"], "mb": page.bytes / 1e6,
        "server_cpu_s": after[0] - before[0], "browser_cpu_s": after[1] - before[1],
    }  # fmt: skip


def reruns(page: Page, wanted: int) -> list[float]:
    """Seconds of each of the next `wanted` redraws of the open page, from its script's start to its end."""
    have = page.evaluate("window.foreshockSeen.reruns_s.length")
    page.wait(
        f"window.foreshockSeen.reruns_s.length >= {have + wanted}", "the page does not draw itself again"
    )
    return [float(s) for s in page.evaluate("window.foreshockSeen.reruns_s")[have:]]


@contextmanager
def browsing(profile: Path) -> Iterator[Page]:
    """Headless chromium with one tab; ended at the end."""
    argv = [
        "chromium", "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0",
        "--window-size=1440,1000", f"--user-data-dir={profile}", "about:blank",
    ]  # fmt: skip
    with _running(argv, {}, profile / "chromium.log") as pid:
        port = _until(
            lambda: (profile / "DevToolsActivePort").read_text().split()[0], "chromium did not start"
        )
        told = json.loads(_get(f"http://127.0.0.1:{port}/json/list"))
        target = next(t["webSocketDebuggerUrl"] for t in told if t["type"] == "page")
        with connect(target, max_size=None) as socket:
            page = Page(socket, pid)
            for method in ("Page.enable", "Runtime.enable", "Network.enable"):
                page.call(method)
            page.call("Page.addScriptToEvaluateOnNewDocument", source=_WATCH)
            yield page


@contextmanager
def serving(lake: Path, directory: Path) -> Iterator[Served]:
    """`foreshock dashboard` in a process of its own, once it answers. `directory` gets its config and log."""
    directory.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    config = directory / "foreshock.toml"
    config.write_text(f'[lake]\npath = "{lake}"\n[dashboard]\nlisten = "127.0.0.1:{port}"\n')
    argv = [sys.executable, "-m", "foreshock", "--config", str(config), "dashboard"]
    with _running(argv, {"HOME": str(directory)}, directory / "dashboard.log") as pid:
        _until(lambda: _get(f"http://127.0.0.1:{port}/_stcore/health"), "the dashboard did not start")
        yield Served(f"http://127.0.0.1:{port}", pid)


def cpu_s(session: int) -> float:
    """Processor seconds of every process that lives in the session which `session` leads."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def _running(argv: list[str], more: dict[str, str], log: Path) -> Iterator[int]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as said:
        child = subprocess.Popen(
            argv, stdout=said, stderr=said, env=os.environ | more, start_new_session=True,
        )  # fmt: skip
    try:
        yield child.pid
    finally:
        _stop(child)


def _stop(child: subprocess.Popen[bytes]) -> None:
    """What it started shares its session."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is None:
            os.killpg(child.pid, how)
        try:
            child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            continue
        return


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())


def _until(ask: Callable[[], str], otherwise: str) -> str:
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        try:
            if found := ask():
                return found
        except (OSError, IndexError, urllib.error.URLError):
            time.sleep(0.05)
    raise RuntimeError(otherwise)
