"""The broker away, the agent killed with -9, the disk full: no event is missing, and every lost sample is counted."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import polars as pl
import pytest

from collector.agent import Agent
from collector.clock import SystemClock
from collector.config import Config, KafkaConfig
from collector.records import TOPIC_EVENTS, TOPIC_TELEMETRY, Event
from collector.spool import Spool
from pipeline.decode import telemetry
from pipeline.stream import Record, open_stream
from tests.double import Node, eventually
from tests.e2e.chain import Services
from tests.real.kafka.broker import JARS, Broker

TICKS_AWAY = 600
"""Ten minutes at 1 Hz. The test ticks at 20 Hz: as many samples and records, in less of our time."""
INTERVAL_S = 0.05


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(tmp_path, monkeypatch)


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    if not JARS.exists():
        pytest.skip("a broker of our own must be stopped here, and its jars are not installed")
    broker = Broker(tmp_path / "kafka")
    yield broker
    broker.stop(kill=True)


def everything(kafka: KafkaConfig, topic: str) -> list[Record]:
    """All that is on the topic, each of the agent's records once."""
    stream = open_stream(Config(kafka=kafka), f"all-{uuid.uuid4().hex[:6]}", [topic])
    taken: dict[tuple[str, int], Record] = {}
    quiet = 0
    while quiet < 6:
        polled = stream.poll(0.5)
        quiet = 0 if polled else quiet + 1
        taken.update({(r.stream, r.seq): r for r in polled})
    stream.close()
    return list(taken.values())


@pytest.mark.kafka
@pytest.mark.timeout(300)
def test_ten_minutes_without_a_broker_and_two_kills_lose_nothing(
    own_broker: Broker, node: Node, tmp_path: Path
):
    chain = Services(
        tmp_path, node, speed=1.0, kafka=own_broker.bootstrap_servers, interval_s=INTERVAL_S, flush_s=0.25
    )
    kafka = KafkaConfig(bootstrap_servers=own_broker.bootstrap_servers)
    kills: list[tuple[float, float]] = []
    printed = 0
    for life in range(3):
        chain.start("collect", "collect")
        began = time.time()
        for _ in range(TICKS_AWAY // 3 // 10):
            time.sleep(INTERVAL_S * 10)  # the length of the outage is the point
            printed += 1
            node.kernel(
                f"NVRM: Xid (PCI:0000:18:00): {100 + printed}, pid={printed}, name=x, t", sequence=printed
            )
        if life < 2:
            killed = time.time()
            chain.kill_9("collect")
            kills.append((began, killed))
    own_broker.start()
    spool = Spool(tmp_path / "spool.db", 1024)
    eventually(lambda: not spool.read([TOPIC_EVENTS], 0, 1), 60)
    chain.stop()
    eventually(lambda: not spool.state().records, 20)
    rows, rejected = telemetry(everything(kafka, TOPIC_TELEMETRY))
    events = [msgspec.json.decode(r.value, type=Event) for r in everything(kafka, TOPIC_EVENTS)]

    assert not rejected
    codes = sorted(e.code for e in events if e.kind == "xid" and e.code is not None)
    assert codes == list(range(101, 101 + printed)), "every Xid once"
    state = spool.state()
    assert (state.dropped_rows, spool.fact("refused_rows") or 0) == (0, 0)
    assert rows.select("gpu_uuid", "time").is_unique().all()
    times = rows["time"].unique().dt.epoch("us") / 1e6
    for _, killed in kills:
        last = times.filter(times < killed).max()
        assert killed - float(last) < 4 * INTERVAL_S, "the samples of the open batch survived the kill"  # type: ignore[arg-type]
    assert rows.group_by("time").len()["len"].unique().to_list() == [8], "no tick came in half"
    spool.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)]).returncode
    ):
        pytest.skip("a small disk to fill needs the right to mount one")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_costs_telemetry_that_is_counted_and_no_event(small_disk: Path, node: Node):
    spool = Spool(small_disk / "spool.db", 64, reserve_bytes=4 * 2**20)
    agent = Agent(node.config(interval_s=0.01, flush_s=0.05), spool, SystemClock(), small_disk / "journal")
    stop = threading.Event()
    thread = threading.Thread(target=agent.run, args=(stop,))
    thread.start()
    try:
        eventually(lambda: spool.read([TOPIC_TELEMETRY], 0, 1))
        filler = small_disk / "somebody-elses-core-dump"
        with filler.open("wb", buffering=0) as f, contextlib.suppress(OSError):
            while True:
                f.write(bytes(4096))
        before = agent.status()
        for n in range(1, 201):
            node.kernel(f"NVRM: Xid (PCI:0000:18:00): {1000 + n}, pid={n}, name=x, text", sequence=n)
        eventually(lambda: agent.status().refused_rows > before.refused_rows, 60)
        assert agent.status().agent_problem() is None
        eventually(lambda: len(spool.read([TOPIC_EVENTS], 0, 1000)) >= 200, 30)
        filler.unlink()
        eventually(lambda: not agent.status().refused_rows - int(spool.fact("refused_rows") or 0), 20)
    finally:
        stop.set()
        thread.join(timeout=20)
    codes = [msgspec.json.decode(r.value, type=Event).code for r in spool.read([TOPIC_EVENTS], 0, 1000)]
    assert sorted(c for c in codes if c) == list(range(1001, 1201)), (
        "every event once, in spite of the full disk"
    )
    records = [Record(r.topic, 0, r.seq, r.key, r.value) for r in spool.read([TOPIC_TELEMETRY], 0, 100_000)]
    rows, _ = telemetry(records)
    status = agent.status()
    assert status.samples == rows.height + status.refused_rows + status.spool.dropped_rows
    assert int(spool.fact("refused_rows") or 0) == status.refused_rows > 0, "the count itself is on disk"
    assert rows.select("gpu_uuid", "time").is_unique().all()
    assert rows["time"].is_sorted()
    assert isinstance(rows, pl.DataFrame)
    spool.close()
