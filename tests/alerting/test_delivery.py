"""Delivery beside the loop: an outage of ten minutes, a dead neighbour, an error that nobody foresaw."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest

from alerting.action import Action
from alerting.delivery import Sink, deliver, deliver_due, wake
from alerting.message import Message
from alerting.outbox import LONGEST_DELAY_S, WEBHOOK, Outbox
from alerting.post import DeliveryError
from alerting.webhook import Sender, new_secret
from collector.clock import SystemClock
from collector.config import BridgeConfig
from tests.alerting.change_rows import action, change
from tests.alerting.receiver import Notes, running

OUTAGE_S = 600


@pytest.fixture
def outbox(tmp_path):
    box = Outbox(tmp_path / "outbox.db", jitter=random.Random(7))
    yield box
    box.close()


def until(true: Callable[[], bool], timeout_s: float = 10) -> None:
    end_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.005)


@contextmanager
def delivering(outbox: Outbox, sinks: Sequence[Sink]) -> Iterator[None]:
    stop = threading.Event()
    threads = [threading.Thread(target=deliver, args=(outbox, s, SystemClock(), stop)) for s in sinks]
    for t in threads:
        t.start()
    try:
        yield
    finally:
        stop.set()
        wake(sinks)
        for t in threads:
            t.join(10)
    assert not any(t.is_alive() for t in threads)


def test_a_receiver_that_was_away_for_ten_minutes_gets_each_action_once(tmp_path, outbox):
    """The outbox's clock is injected: 600 s in steps of a quarter. Sender, signature, port and bridge are real."""
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text(new_secret())
    bridge = BridgeConfig(
        listen="127.0.0.1:0", secret_file=str(secret), state=tmp_path / "bridge.db", dry_run=False
    )
    notes = Notes()
    with running(bridge, notes) as url:
        pass  # its port is free again, and nobody listens
    sender = Sender(f"{url}/v1/actions", str(secret), 5)
    tries = list[float]()
    now = [1_000.0]

    def send(message: Message) -> None:
        assert isinstance(message, Action)
        tries.append(now[0])
        sender(message)

    def go_on(seconds: float) -> None:
        for _ in range(int(seconds * 4)):
            deliver_due(outbox, Sink(WEBHOOK, send), SystemClock(), threading.Event(), lambda: now[0])
            now[0] += 0.25

    names = [f"i{n}.{does}" for n in range(5) for does in ("checkpoint", "drain")]
    for n in range(5):
        asked = [action(f"i{n}.{does}", incident=f"i{n}") for does in ("checkpoint", "drain")]
        outbox.enqueue(asked, now_s=now[0], deliver_for_s=3600)
    go_on(OUTAGE_S)
    assert outbox.counts() == {"waiting": 10}
    assert 5 * 10 < len(tries) < 5 * 30  # seldom enough for a receiver that wakes up
    with running(replace(bridge, listen=url.removeprefix("http://")), notes):
        go_on(LONGEST_DELAY_S + 1)
        assert outbox.counts() == {"delivered": 10}
        until(lambda: len(notes.asked) == 10)
    sender.close()
    assert sorted(notes.asked) == sorted(names)
    for n in range(5):
        mine = [name for name in notes.asked if name.startswith(f"i{n}.")]
        assert mine == [f"i{n}.checkpoint", f"i{n}.drain"]


def test_a_dead_sink_does_not_delay_another(outbox):
    """The dead one hangs in its connection, which is the worst it can do."""
    hung, heard = threading.Event(), list[float]()

    def hang(_: Message) -> None:
        assert hung.wait(20)
        raise DeliveryError("timed out")

    def hear(_: Message) -> None:
        heard.append(time.monotonic())

    sinks = [Sink("a", hang), Sink("b", hear)]
    with delivering(outbox, sinks):
        for n in range(3):
            begun_s = time.monotonic()
            row = change("opened", incident_id=f"inc-{n}")
            outbox.enqueue([], now_s=time.time(), deliver_for_s=60, notify={"a": [row], "b": [row]})
            wake(sinks)
            until(lambda n=n: len(heard) == n + 1)  # type: ignore[misc]
            assert heard[-1] - begun_s < 0.2
        assert outbox.counts("b") == {"delivered": 3}
        assert outbox.counts("a") == {"waiting": 3}
        hung.set()
    assert outbox.pending(1e12, sink="a")[0].attempts == 1


def test_an_error_that_nobody_foresaw_does_not_end_the_thread(outbox, caplog):
    outbox.enqueue([action()], now_s=time.time(), deliver_for_s=60)
    tries = list[Message]()

    def send(message: Message) -> None:
        tries.append(message)
        if len(tries) == 1:
            raise OSError("no space left on device")

    with delivering(outbox, [Sink(WEBHOOK, send)]):
        until(lambda: outbox.counts() == {"delivered": 1})
    assert "no space left" in caplog.text


def test_what_a_sink_does_between_messages_is_done_again_when_it_failed(outbox, caplog):
    calls = list[float]()

    def between() -> None:
        calls.append(time.monotonic())
        if len(calls) == 1:
            raise DeliveryError("HTTP 503")

    with delivering(outbox, [Sink("a", lambda _: None, between=between)]):
        until(lambda: len(calls) >= 2)
    assert "a: HTTP 503" in caplog.text


def test_an_action_leaves_its_row_for_the_lake_and_a_notice_leaves_none(outbox):
    row = change("opened")
    outbox.enqueue([action()], now_s=time.time(), deliver_for_s=60, notify={"a": [row]})
    for name in (WEBHOOK, "a"):
        assert deliver_due(outbox, Sink(name, lambda _: None), SystemClock(), threading.Event()) == 1
    assert [(j.table, j.row.state) for j in outbox.journaled()] == [("actions", "delivered")]
