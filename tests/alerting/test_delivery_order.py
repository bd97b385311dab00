"""Several receivers and several incidents in one outbox: each has its own retries, and each keeps its order."""

import random
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.action import Action, dead_row
from alerting.delivery import Sink, deliver_due
from alerting.message import Message, change_id
from alerting.outbox import LONGEST_ASKED_DELAY_S, WEBHOOK, Outbox
from alerting.post import DeliveryError, RefusedError
from collector.clock import SystemClock
from tests.alerting.change_rows import action, change


@pytest.fixture
def outbox(tmp_path):
    box = Outbox(tmp_path / "outbox.db", jitter=random.Random(7))
    yield box
    box.close()


def ids(outbox: Outbox, now_s: float, sink: str = WEBHOOK) -> list[str]:
    return [p.id for p in outbox.pending(now_s, sink=sink)]


def test_each_sink_has_its_own_copy_with_its_own_retries(outbox):
    row = change("opened")
    told = {"a": [row], "b": [row]}
    outbox.enqueue([action()], [row], now_s=0, deliver_for_s=60, notify=told)
    outbox.enqueue([action()], now_s=0, deliver_for_s=60, notify=told)
    name = change_id(row)
    assert (ids(outbox, 0), ids(outbox, 0, "a"), ids(outbox, 0, "b")) == (["i1.drain"], [name], [name])
    outbox.failed(name, "away", 0, sink="a")
    assert (ids(outbox, 0, "a"), ids(outbox, 0, "b")) == ([], [name])
    outbox.delivered(name, sink="b")
    outbox.dead(name, "gone", sink="a")
    assert outbox.counts() == {"waiting": 1, "delivered": 1, "dead": 1}
    assert outbox.counts("b") == {"delivered": 1}
    assert [(d.sink, d.message, d.error) for d in outbox.dead_letters()] == [("a", row, "gone")]
    assert [j.row for j in outbox.journaled()] == [row]


def test_nothing_overtakes_an_older_message_of_its_incident(outbox):
    outbox.enqueue([action("i1.drain"), action("i1.release")], now_s=0, deliver_for_s=60)
    outbox.enqueue([action("i2.drain", incident="i2")], now_s=0, deliver_for_s=60)
    assert ids(outbox, 0) == ["i1.drain", "i1.release", "i2.drain"]
    outbox.failed("i1.drain", "away", 0)
    assert ids(outbox, 0.1) == ["i2.drain"]
    assert ids(outbox, 1) == ["i1.drain", "i1.release", "i2.drain"]
    outbox.dead("i1.drain", "refused", dead_row(action(), "refused", 1))
    assert ids(outbox, 1) == ["i1.release", "i2.drain"]


def test_a_fault_that_has_happened_waits_for_nothing(outbox):
    outbox.enqueue([action("i1.checkpoint")], now_s=0, deliver_for_s=60)
    outbox.failed("i1.checkpoint", "away", 0)
    outbox.enqueue([action("i1.drain_now", does="drain_now")], now_s=0.1, deliver_for_s=60)
    assert ids(outbox, 0.1) == ["i1.drain_now"]


def test_the_rest_of_an_incident_is_held_in_the_round_that_fails(outbox):
    outbox.enqueue([action("i1.a"), action("i1.b")], now_s=time.time(), deliver_for_s=60)
    asked = list[str]()

    def send(m: Message) -> None:
        assert isinstance(m, Action)
        asked.append(m.action_id)
        raise DeliveryError("away")

    deliver_due(outbox, Sink(WEBHOOK, send), SystemClock(), threading.Event())
    assert asked == ["i1.a"]


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["ok", "fail", "refuse"])), max_size=40))
def test_whatever_fails_each_incident_is_told_in_order(happenings):
    """Any mix of answers; time goes on between rounds until all is out. One order per incident, nothing lost."""
    with tempfile.TemporaryDirectory() as directory:
        outbox = Outbox(Path(directory) / "outbox.db", jitter=random.Random(7))
        names = [f"{incident}.{n:02}" for n, (incident, _) in enumerate(happenings)]
        outbox.enqueue([action(n, incident=n[0]) for n in names], now_s=0, deliver_for_s=1e9)
        answers = dict(zip(names, (a for _, a in happenings), strict=True))
        ended, now = list[str](), [0.0]

        def send(m: Message) -> None:
            assert isinstance(m, Action)
            answer = answers[m.action_id]
            answers[m.action_id] = "ok"
            if answer == "fail":
                raise DeliveryError("away")
            ended.append(m.action_id)
            if answer == "refuse":
                raise RefusedError("no")

        while outbox.counts().get("waiting"):
            deliver_due(outbox, Sink(WEBHOOK, send), SystemClock(), threading.Event(), lambda: now[0])
            now[0] += 0.2
        outbox.close()
    assert sorted(ended) == sorted(names)
    for incident in "ab":
        mine = [n for n in ended if n[0] == incident]
        assert mine == sorted(mine)


def test_a_receiver_may_ask_for_a_longer_pause_but_not_for_ever(outbox):
    outbox.enqueue([action("i1.a"), action("i2.b", incident="i2")], now_s=0, deliver_for_s=9999)
    outbox.failed("i1.a", "slow down", 0, retry_after_s=30)
    outbox.failed("i2.b", "slow down", 0, retry_after_s=1e9)
    assert ids(outbox, 29) == []
    assert ids(outbox, 30) == ["i1.a"]
    assert ids(outbox, LONGEST_ASKED_DELAY_S) == ["i1.a", "i2.b"]


def test_a_dead_letter_can_be_sent_again_as_if_it_were_new(outbox):
    outbox.enqueue([action()], now_s=0, deliver_for_s=1)
    outbox.failed("i1.drain", "away", 0)
    outbox.dead("i1.drain", "away", dead_row(action(), "away", 0))
    assert outbox.retry("i1.release", now_s=50, deliver_for_s=60) == 0
    assert outbox.retry("i1.drain", now_s=50, deliver_for_s=60) == 1
    [again] = outbox.pending(50)
    assert (again.action, again.attempts) == (action(), 0)
    assert outbox.dead_letters() == []


def test_a_sink_is_known_by_what_it_was_told_last(outbox):
    opened, failed = change("opened"), change("failed", "failed", after_s=1)
    other = change("opened", incident_id="inc-2")
    outbox.enqueue([], now_s=0, deliver_for_s=1, notify={"a": [opened, other, failed], "b": [opened]})
    assert outbox.told("a") == []
    for row in (opened, other):
        outbox.delivered(change_id(row), sink="a")
    assert outbox.told("a") == [opened, other]
    assert outbox.told("b") == []
    outbox.dead(change_id(failed), "refused", sink="a")
    assert outbox.told("a", "inc-1") == [failed]
    assert outbox.told("a", "inc-9") == []
