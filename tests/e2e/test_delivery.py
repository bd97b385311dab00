"""A watcher's delivery killed with -9 again and again between its decision and its delivery."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from alerting.webhook import new_secret
from collector.config import BridgeConfig
from tests.alerting.http_receiver import receiving
from tests.alerting.receiver import Notes, running

KILLS = 50
ROOT = Path(__file__).parents[2]


def until(true: Callable[[], bool], timeout_s: float = 60) -> None:
    end_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.01)


class Nursery:
    """Lives one after another; each is ended by kill -9."""

    def __init__(self, process: subprocess.Popen[str], directory: Path) -> None:
        self._process, self._directory = process, directory

    def begin(self) -> int:
        """-> the pid of a new life."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return int(self.wait_for("life").split()[1])

    def wait_for(self, word: str) -> str:
        """Lines of a life and of the nursery come in any order."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(word):
                return line.strip()
        raise AssertionError("the nursery ended")

    def event(self, name: str) -> None:
        with (self._directory / "events.txt").open("a") as f:
            f.write(f"{name}\n")

    def kill_9(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self.wait_for("over")


@contextmanager
def nursery(directory: Path, *urls: str) -> Iterator[Nursery]:
    argv = [sys.executable, "-m", "tests.e2e.lives", str(directory), *urls]
    with subprocess.Popen(
        argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Nursery(process, directory)
        finally:
            process.kill()


def states(directory: Path) -> Counter[str]:
    connection = sqlite3.connect(directory / "outbox.db", timeout=10)
    try:
        return Counter(
            dict(connection.execute("SELECT state, count(*) FROM messages GROUP BY state").fetchall())
        )
    finally:
        connection.close()


@pytest.mark.timeout(300)
def test_killed_fifty_times_between_decision_and_delivery_everything_arrives_and_is_done_once(tmp_path):
    """Real process, real kill -9, real outbox, real bridge; the seed is printed. An Alertmanager hears each too."""
    seed = random.SystemRandom().randrange(2**32)
    rng = random.Random(seed)
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text(new_secret())
    (tmp_path / "events.txt").touch()
    bridge = BridgeConfig(
        listen="127.0.0.1:0", secret_file=str(secret), state=tmp_path / "b.db", dry_run=False
    )
    notes = Notes()
    undelivered = 0
    with receiving() as people, running(bridge, notes) as url, nursery(tmp_path, url, people.url) as lives:
        for n in range(KILLS):
            pid = lives.begin()
            lives.event(f"inc-{n:02}")
            lives.wait_for(f"decided inc-{n:02}")
            time.sleep(rng.choice([0.0, rng.uniform(0, 0.3)]))  # the moment is the point
            lives.kill_9(pid)
            undelivered += states(tmp_path)["waiting"] > 0
        before_the_last = states(tmp_path)["delivered"]
        pid = lives.begin()
        until(lambda: states(tmp_path) == {"delivered": 3 * KILLS})
        until(lambda: len(notes.asked) >= 2 * KILLS)
        lives.kill_9(pid)
    print(f"seed {seed}: {undelivered} of {KILLS} kills left something undelivered,")
    print(f"{before_the_last} of {3 * KILLS} messages were delivered by lives that were killed")
    assert undelivered >= KILLS // 5, "kills came before the delivery"
    assert before_the_last >= KILLS // 5, "and after it"
    incidents = [f"inc-{n:02}" for n in range(KILLS)]
    assert Counter(notes.asked) == {f"{i}.{does}": 1 for i in incidents for does in ("checkpoint", "drain")}
    asked = {name: notes.asked.index(name) for name in notes.asked}
    assert all(asked[f"{i}.checkpoint"] < asked[f"{i}.drain"] for i in incidents)
    heard = {a["labels"]["incident"] for r in people.received for a in json.loads(r.body)}
    assert heard == set(incidents)
