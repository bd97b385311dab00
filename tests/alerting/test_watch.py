"""The loop with a stream in memory, a real outbox, a real bridge over HTTP and a real process."""

import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl
import pytest

from alerting.command import CommandAdapter
from alerting.outbox import Outbox
from alerting.policy import Rules
from alerting.settings import rules_of
from alerting.watch import Watcher, run, step
from alerting.webhook import new_secret
from collector.clock import SystemClock
from collector.config import BridgeConfig, WatchConfig
from collector.errors import ConfigError
from collector.records import TOPIC_ALERTS, TOPIC_DEAD_LETTERS, TOPIC_EVENTS, TOPIC_RISKS, Event, Risk
from pipeline.tables import TABLES
from tests.alerting.memory_stream import MemoryStream
from tests.alerting.processes import trainer
from tests.alerting.receiver import Notes, running


class Lake:
    """Rows by table; checks on the way in that they fit the lake's schema."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, object]]] = {"incidents": [], "actions": []}
        self.broken = False

    def record(self, table: str, rows: list[dict[str, object]]) -> None:
        if self.broken:
            raise OSError("no space left on device")
        pl.DataFrame(rows, schema=TABLES[table])
        self.rows[table] += rows

    def states(self, name: str) -> list[object]:
        return [r["state"] for r in self.rows["actions"] if r["action"] == name]


def risk(value: float = 0.93, at: float | None = None) -> Risk:
    return Risk(
        time=time.time() if at is None else at, node="n1", gpu_uuid="GPU-a", gpu_index=3, pci_bdf="0000:3b:00",
        risk=value, horizon_s=3600, model_id="rules-1", feature_set="f1", synthetic=True,
    )  # fmt: skip


def xid(code: int = 79) -> Event:
    return Event(
        fingerprint=f"f{code}",
        time=time.time(),
        node="n1",
        kind="xid",
        source="kmsg",
        gpu_uuid="GPU-a",
        code=code,
    )


def until(true: Callable[[], bool], timeout_s: float = 10) -> None:
    end_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.005)


@contextmanager
def watching(
    stream: MemoryStream, lake: Lake, outbox: Outbox, config: WatchConfig, **more: Any
) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(
        target=run, args=(stream, lake.record, outbox, config, SystemClock(), stop), kwargs=more
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def secret(tmp_path):
    file = tmp_path / "secret"
    file.write_text(new_secret())
    file.chmod(0o600)
    return str(file)


@pytest.fixture
def outbox(tmp_path):
    box = Outbox(tmp_path / "outbox.db")
    yield box
    box.close()


def test_a_risk_becomes_one_incident_one_webhook_each_and_a_checkpoint_on_disk(tmp_path, secret, outbox):
    """Risk -> policy -> outbox -> signed webhook -> bridge -> signal -> checkpoint -> drain, each hop checked."""
    stream, lake, told = MemoryStream(), Lake(), list[Any]()
    drained = tmp_path / "drained"
    bridge = BridgeConfig(
        listen="127.0.0.1:0", secret_file=secret, state=tmp_path / "bridge.db", dry_run=False,
        pid_dir=str(tmp_path), acknowledge_dir=str(tmp_path), acknowledge_timeout_s=10.0,
        drain_command=("sh", "-c", f'echo "$FORESHOCK_REASON" > {drained}'),
    )  # fmt: skip
    saved = tmp_path / "run.checkpoint.json"
    with trainer("trap", saved) as process, running(bridge, CommandAdapter(bridge), told) as url:
        (tmp_path / "run.pid").write_text(str(process.pid))
        config = WatchConfig(dry_run=False, webhook_url=f"{url}/v1/actions", webhook_secret_file=secret)
        with watching(stream, lake, outbox, config):
            stream.put(risk())
            until(lambda: len(told) == 2 and "delivered" in lake.states("drain"))
            stream.put(xid())
            until(lambda: len(told) == 3 and "delivered" in lake.states("drain_now"))
    assert json.loads(saved.read_text())["step"] == 1200
    assert [o.ok for o in told] == [True, True, True]
    assert told[0].step == 1200
    assert drained.read_text().startswith("foreshock:inc-")
    assert [r["change"] for r in lake.rows["incidents"]] == ["opened", "failed"]
    assert len({r["incident_id"] for r in lake.rows["incidents"]}) == 1
    assert {n: lake.states(n) for n in ("checkpoint", "drain", "drain_now")} == {
        n: ["decided", "delivered"] for n in ("checkpoint", "drain", "drain_now")
    }
    assert stream.committed == {(TOPIC_RISKS, 0): 1, (TOPIC_EVENTS, 0): 1}
    alerts = [json.loads(v)["type"] for t, _, v in stream.published if t == TOPIC_ALERTS]
    assert alerts.count("org.foreshock.action.v1") == 3
    assert alerts.count("org.foreshock.incident.v1") == 2


def test_dry_run_decides_and_records_and_sends_nothing(outbox):
    stream, lake = MemoryStream(), Lake()
    with watching(stream, lake, outbox, WatchConfig(dry_run=True)):
        stream.put(risk())
        until(lambda: len(lake.rows["actions"]) == 2)
    assert [r["state"] for r in lake.rows["actions"]] == ["dry_run", "dry_run"]
    assert outbox.pending(1e12) == []


def test_a_dead_receiver_does_not_delay_a_decision_and_gets_each_action_once_it_is_back(
    tmp_path, secret, outbox
):
    stream, lake, notes = MemoryStream(), Lake(), Notes()
    bridge = BridgeConfig(listen="127.0.0.1:0", secret_file=secret, state=tmp_path / "b.db", dry_run=False)
    with running(bridge, notes) as url:
        pass  # now its port is free and nobody listens
    config = WatchConfig(dry_run=False, webhook_url=f"{url}/v1/actions", webhook_secret_file=secret)
    with watching(stream, lake, outbox, config):
        stream.put(risk())
        until(lambda: any(p.attempts > 0 for p in outbox.pending(1e12)))
        begun_s = time.monotonic()
        stream.put(xid())
        until(lambda: stream.committed.get((TOPIC_EVENTS, 0)) == 1)
        assert time.monotonic() - begun_s < 1.0
        listen = url.removeprefix("http://")
        with running(dataclasses.replace(bridge, listen=listen), notes):
            until(lambda: outbox.counts() == {"delivered": 3}, 20)
            until(lambda: len(notes.asked) == 3)
    assert sorted(notes.asked) == sorted(set(notes.asked))


def test_a_broken_lake_does_not_stop_decisions_and_gets_its_rows_later(outbox):
    stream, lake = MemoryStream(), Lake()
    lake.broken = True
    with watching(stream, lake, outbox, WatchConfig(dry_run=True)):
        stream.put(risk())
        until(lambda: stream.committed == {(TOPIC_RISKS, 0): 1})
        stream.put(xid())
        until(lambda: stream.committed == {(TOPIC_RISKS, 0): 1, (TOPIC_EVENTS, 0): 1})
        assert lake.rows["incidents"] == []
        lake.broken = False
        until(lambda: len(lake.rows["actions"]) == 3)
    assert [r["change"] for r in lake.rows["incidents"]] == ["opened", "failed"]


def watcher(stream: MemoryStream, lake: Lake, outbox: Outbox, state: Any = None) -> Watcher:
    rules = Rules(is_terminal=lambda c: c == 79, is_application=lambda c: c == 13, dry_run=False)
    return Watcher(state or {}, rules, stream, lake.record, outbox, SystemClock(), 3600.0)


@pytest.mark.parametrize("lost", ["enqueue", "publish", "commit", "record"])
def test_a_crash_between_any_two_steps_repeats_safely(outbox, lost):
    """The step named fails once, as a kill would; the restart rereads, and each action exists once."""

    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    stream, lake = MemoryStream(), Lake()
    stream.put(risk(at=time.time()))
    stream.put(xid())
    first = watcher(stream, lake, outbox)
    target = {"enqueue": outbox, "publish": stream, "commit": stream, "record": first}[lost]
    setattr(target, lost, die)
    with pytest.raises(Killed):
        step(first)
    if lost != "record":
        delattr(target, lost)
    stream.reopen()
    stop = threading.Event()
    config = WatchConfig(
        dry_run=True
    )  # nothing to deliver to; the actions of the first life wait in the outbox
    thread = threading.Thread(
        target=run,
        args=(stream, lake.record, outbox, config, SystemClock(), stop),
        kwargs={"incidents": lake.rows["incidents"], "rules": first.rules},
    )
    thread.start()
    until(lambda: len(stream.committed) == 2 and not outbox.journaled())
    stop.set()
    thread.join(10)
    waiting = [p.action.action for p in outbox.pending(1e12)]
    assert waiting == ["checkpoint", "drain", "drain_now"]
    assert {r["incident_id"] for r in lake.rows["incidents"]} == {
        p.action.incident_id for p in outbox.pending(1e12)
    }


def test_a_record_that_cannot_be_read_is_a_dead_letter_and_the_next_one_counts(outbox):
    stream, lake = MemoryStream(), Lake()
    stream.put(b'{"fingerprint": 1}')
    stream.put(b"\xff", TOPIC_RISKS)
    stream.put(b"whatever", "foreshock.telemetry")
    stream.put(risk())
    w = watcher(stream, lake, outbox)
    assert step(w) == 4
    assert w.dead_letters == 2
    assert [v for t, _, v in stream.published if t == TOPIC_DEAD_LETTERS] == [b'{"fingerprint": 1}', b"\xff"]
    assert stream.flushed == len(stream.published)
    assert outbox.counts() == {"waiting": 2}


def test_a_restarted_watcher_knows_its_open_incident(outbox):
    stream, lake = MemoryStream(), Lake()
    stream.put(risk())
    step(watcher(stream, lake, outbox))
    with watching(stream, lake, outbox, WatchConfig(dry_run=True), incidents=lake.rows["incidents"]):
        stream.put(risk(0.95))
        stream.put(xid())
        until(lambda: len(lake.rows["incidents"]) == 2)
    assert [r["change"] for r in lake.rows["incidents"]] == ["opened", "failed"]
    assert [r["action"] for r in lake.rows["actions"]] == ["checkpoint", "drain", "drain_now"]


def test_a_decision_takes_milliseconds(outbox):
    """From a record in the stream to a durable action: the poll returns at once, so this is the loop itself."""
    stream, lake = MemoryStream(), Lake()
    w = watcher(stream, lake, outbox)
    begun_s = time.perf_counter()
    stream.put(xid())
    step(w)
    assert time.perf_counter() - begun_s < 0.25
    assert outbox.counts() == {"waiting": 2}


def test_delivery_without_a_receiver_is_refused_at_the_start(outbox):
    with pytest.raises(ConfigError, match="webhook_url"):
        run(
            MemoryStream(),
            Lake().record,
            outbox,
            WatchConfig(dry_run=False),
            SystemClock(),
            threading.Event(),
        )


def test_the_real_catalogue_drives_the_rules():
    rules = rules_of(WatchConfig())
    assert rules.is_terminal(79)
    assert rules.is_application(13)
    assert not rules.is_terminal(13)
    assert rules.advice is not None
    assert "PCIe" in rules.advice(79)
    assert "not in the catalogue" in rules.advice(99_999)
