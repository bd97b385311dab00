"""Workers killed with -9, dealt out anew, cut off from their broker: the lake holds what was sent, each once."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from collector.config import KafkaConfig
from tests.e2e.sent import Fleet, all_written, assert_once
from tests.e2e.workers import APPENDING, POLLED, UNCOMMITTED, Group
from tests.real.kafka.broker import JARS, Broker

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

KILLS = 50
SLOW_S = 120
"""What anything may take on a machine that is busy with other things; it takes a few seconds."""
SESSION_S = 1.0
"""How long the broker waits for a worker that was killed. Ten seconds in production."""


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    if not JARS.exists():
        pytest.skip("a broker of our own must be stopped here, and its jars are not installed")
    directory = tmp_path_factory.mktemp("kafka")
    broker = Broker(directory, settings={"group.min.session.timeout.ms": "500"})
    broker.start()
    yield broker
    broker.stop(kill=True)


Make = Callable[..., tuple[Fleet, Group]]


@pytest.fixture
def make(own_broker: Broker, tmp_path: Path) -> Iterator[Make]:
    made: list[tuple[Fleet, Group]] = []

    def make_(
        prefix: str, *, nodes: int, minutes: int, pause_s: float, partitions: int = 8
    ) -> tuple[Fleet, Group]:
        config = KafkaConfig(
            bootstrap_servers=own_broker.bootstrap_servers,
            topic_prefix=f"{prefix}.",
            ingest_group=f"{prefix}.ingest",
            partitions=partitions,
            session_s=SESSION_S,
        )
        directory = tmp_path / prefix
        directory.mkdir()
        group = Group(directory, config)
        made.append((Fleet(config, nodes, minutes, pause_s), group))
        return made[-1]

    yield make_
    for fleet, group in made:
        fleet.cancel()
        group.close()


def finish(fleet: Fleet, group: Group) -> None:
    fleet.finish()
    group.wait("everything is sent", lambda: fleet.done or fleet.error, SLOW_S)
    assert not fleet.error
    group.wait("everything is in the lake", lambda: all_written(group.lake, fleet), SLOW_S)
    group.stop(list(group.alive))
    assert_once(group.lake, fleet)


def test_workers_killed_at_fifty_random_moments_store_everything_once(make: Make):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    fleet, group = make("kills", nodes=6, minutes=60, pause_s=0.8)
    group.start(2)
    fleet.start()
    kills: list[list[int]] = []
    began = time.monotonic()
    while len(kills) < KILLS:
        victim = rng.choice(group.alive)
        if rng.random() < 0.8:  # at work; else wherever it is: starting, joining, waiting for its partitions
            group.wait(f"{victim} is given work", partial(group.polled, victim), SLOW_S)
        time.sleep(rng.uniform(0, 0.6))  # the moment is the point
        group.kill_9(victim)
        kills.append(list(group.told[victim]))
        group.start()
    print(f"{KILLS} kills in {time.monotonic() - began:.0f} s, {fleet.sent} samples sent by then")
    assert not fleet.done, "the fleet went on all the time"
    worked = [told for told in kills if told[POLLED]]
    assert len(worked) >= KILLS // 2, "it made progress between kills"
    assert sum(told[UNCOMMITTED] > 0 for told in kills) >= 5, "some held rows that they had not committed"
    print(
        f"{len(worked)} at work, {sum(told[UNCOMMITTED] > 0 for told in kills)} with records uncommitted, "
        f"{sum(told[APPENDING] for told in kills)} while the lake was written"
    )
    finish(fleet, group)


def test_workers_that_come_and_go_under_load_store_everything_once(make: Make):
    """2, then 4, then 3 of them: every minute that is open at a change is given up by one and rolled up by another."""
    fleet, group = make("rebalance", nodes=8, minutes=60, pause_s=0.5)
    group.start(2)
    fleet.start()
    group.wait("two at work", lambda: group.everyone_polled(group.alive) and fleet.flushed > 7, SLOW_S)
    group.start(2)
    group.wait("four at work", lambda: group.everyone_polled(group.alive), SLOW_S)
    flushed = fleet.flushed
    group.wait("a minute goes by", lambda: fleet.flushed >= flushed + 6, SLOW_S)
    group.stop(group.alive[:1])
    group.wait("another goes by", lambda: fleet.flushed >= flushed + 12, SLOW_S)
    assert not fleet.done, "the changes came under load"
    finish(fleet, group)


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_workers_outlive_a_restart_of_their_broker(make: Make, own_broker: Broker, kill: bool):
    fleet, group = make(f"restart{kill}", nodes=6, minutes=60, pause_s=0.5)
    group.start(2)
    fleet.start()
    group.wait("two at work", lambda: group.everyone_polled(group.alive) and fleet.flushed > 9, SLOW_S)
    pids = list(group.alive)
    own_broker.stop(kill=kill)
    own_broker.start()
    assert not fleet.done, "the restart came under load"
    flushed = fleet.flushed
    group.wait("a minute goes by", lambda: fleet.flushed >= flushed + 6, SLOW_S)
    finish(fleet, group)
    assert group.made == pids, "none was started again"


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_result_does_not_depend_on_the_number_of_workers(make: Make, workers: int):
    """A backlog of five minutes, as after an outage. `benchmarks/stream.py --workers N` tells the rates."""
    fleet, group = make(f"workers{workers}", nodes=8, minutes=5, pause_s=0)
    fleet.start()
    group.wait("the backlog is there", lambda: fleet.done, SLOW_S)
    group.start(workers)
    finish(fleet, group)


def put_to_sleep(fleet: Fleet, group: Group, sleeper: str, other: str) -> None:
    group.wait("it holds rows", lambda: group.told[sleeper][UNCOMMITTED] > 0, SLOW_S)
    group.signal(sleeper, signal.SIGSTOP)
    polled = group.polled(other)
    group.wait("the other has its partitions", lambda: group.polled(other) > polled + 48, SLOW_S)
    group.signal(sleeper, signal.SIGCONT)
    flushed = fleet.flushed
    group.wait("both are at work", lambda: fleet.flushed > flushed + 12, SLOW_S)


def test_a_worker_that_slept_through_its_session_writes_nothing_twice(make: Make):
    """Stopped with rows in its hands; another takes its partitions and writes them; then it wakes and goes on."""
    fleet, group = make("zombie", nodes=8, minutes=60, pause_s=0.3)
    group.start(2)
    fleet.start()
    group.wait("two at work", lambda: group.everyone_polled(group.alive) and fleet.flushed > 9, SLOW_S)
    sleeper, other = group.alive
    for _ in range(4):
        put_to_sleep(fleet, group, sleeper, other)
    finish(fleet, group)
