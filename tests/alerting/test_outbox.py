import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from alerting.action import Action, decided_row, delivered_row
from alerting.delivery import Send, Sink, deliver_due
from alerting.message import Message
from alerting.outbox import LONGEST_DELAY_S, WEBHOOK, Outbox
from alerting.post import DeliveryError, RefusedError
from collector.clock import SystemClock
from collector.errors import ForeshockError
from tests.alerting.change_rows import action


def ids(outbox: Outbox, now_s: float) -> list[str]:
    return [p.id for p in outbox.pending(now_s)]


def round_(outbox: Outbox, send: Send) -> int:
    return deliver_due(outbox, Sink(WEBHOOK, send), SystemClock(), threading.Event())


@pytest.fixture
def outbox(tmp_path):
    box = Outbox(tmp_path / "outbox.db", jitter=random.Random(7))
    yield box
    box.close()


def test_an_action_is_kept_once_however_often_it_is_enqueued(outbox):
    assert outbox.enqueue([action()], now_s=0, deliver_for_s=60) == 1
    assert outbox.enqueue([action()], now_s=5, deliver_for_s=60) == 0
    assert [p.action for p in outbox.pending(5)] == [action()]


def test_a_delivered_action_is_never_pending_again(outbox):
    outbox.enqueue([action()], now_s=0, deliver_for_s=60)
    outbox.delivered("i1.drain", delivered_row(action(), 2))
    assert outbox.enqueue([action()], now_s=9, deliver_for_s=60) == 0
    assert outbox.pending(1e12) == []
    assert outbox.counts() == {"delivered": 1}


def test_a_dry_run_is_kept_and_never_sent(outbox):
    outbox.enqueue([action(dry_run=True)], now_s=0, deliver_for_s=60)
    assert outbox.pending(1e12) == []
    assert outbox.counts() == {"dry_run": 1}


def test_tries_come_less_often_and_end_at_the_deadline(outbox):
    outbox.enqueue([action()], now_s=0, deliver_for_s=1000)
    now_s, waits = 0.0, list[float]()
    while outbox.failed("i1.drain", "away", now_s):
        next_s = now_s
        while not outbox.pending(next_s):
            next_s += 0.1
        waits.append(next_s - now_s)
        now_s = next_s
    assert waits[0] <= 0.6
    assert max(waits) <= LONGEST_DELAY_S + 0.2
    assert waits[6] > waits[2] > waits[0]
    assert 900 < now_s <= 1000


def test_rows_for_the_lake_wait_until_they_are_forgotten(outbox):
    rows = [decided_row(action("i1.a")), decided_row(action("i1.b"))]
    outbox.enqueue([action("i1.a"), action("i1.b")], rows, now_s=0, deliver_for_s=1)
    first, second = outbox.journaled()
    assert (first.table, first.row, second.row) == ("actions", rows[0], rows[1])
    outbox.forget([first.seq])
    assert outbox.journaled() == [second]


def test_a_refusal_is_a_dead_letter_at_once_and_a_failure_is_not(outbox):
    outbox.enqueue([action("i1.a"), action("i1.b")], now_s=time.time(), deliver_for_s=60)

    def send(m: Message) -> None:
        assert isinstance(m, Action)
        raise RefusedError("HTTP 400") if m.action_id == "i1.a" else DeliveryError("HTTP 503")

    assert round_(outbox, send) == 0
    assert round_(outbox, send) == 0
    [letter] = outbox.dead_letters()
    assert (letter.action.action_id, letter.error) == ("i1.a", "HTTP 400")
    assert outbox.counts() == {"dead": 1, "waiting": 1}
    assert [j.row.state for j in outbox.journaled()] == ["failed"]


def test_an_action_past_its_deadline_is_a_dead_letter(outbox):
    outbox.enqueue([action()], now_s=time.time() - 10, deliver_for_s=5)

    def send(_: Message) -> None:
        raise DeliveryError("connection refused")

    round_(outbox, send)
    assert [d.error for d in outbox.dead_letters()] == ["connection refused"]


_CHILD = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from alerting.outbox import Outbox
from tests.alerting.change_rows import action
outbox = Outbox(Path(sys.argv[1]))
for n in range(1000):
    outbox.enqueue([action(f"i1.{n}")], now_s=0, deliver_for_s=1e12)
    print(n, flush=True)
"""


def test_what_was_enqueued_before_kill_9_is_there_after_it(tmp_path):
    """The child says a number only after enqueue has returned; each one it said must be pending."""
    script = tmp_path / "child.py"
    script.write_text(_CHILD)
    path = tmp_path / "outbox.db"
    here = Path(__file__)
    with subprocess.Popen(
        [sys.executable, script, path, here.parents[2], here.parent], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        said = [child.stdout.readline().strip() for _ in range(20)]
        child.send_signal(signal.SIGKILL)
        said += child.stdout.read().split()
    assert child.returncode == -signal.SIGKILL
    outbox = Outbox(path)
    kept = {p.action.action_id for p in outbox.pending(1.0, limit=2000)}
    delivered = list[str]()

    def send(m: Message) -> None:
        assert isinstance(m, Action)
        delivered.append(m.action_id)

    while round_(outbox, send):
        pass
    outbox.close()
    assert len(said) >= 20
    assert {f"i1.{n}" for n in said} <= kept
    assert sorted(delivered) == sorted(kept)


_VERSION_1 = """
CREATE TABLE actions(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, action_id TEXT NOT NULL UNIQUE, action BLOB NOT NULL,
    state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, next_s REAL NOT NULL, deadline_s REAL NOT NULL,
    error TEXT NOT NULL DEFAULT '');
CREATE INDEX waiting ON actions(next_s) WHERE state = 'waiting';
CREATE TABLE IF NOT EXISTS journal(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, lake_table TEXT NOT NULL, row BLOB NOT NULL);
"""


def version_1(path: Path, *rows: tuple[Action, str, int, float, float, str]) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(_VERSION_1)
    connection.executemany(
        "INSERT INTO actions(action_id, action, state, attempts, next_s, deadline_s, error)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(a.action_id, msgspec.json.encode(a), *more) for a, *more in rows],
    )
    connection.execute(
        "INSERT INTO journal(lake_table, row) VALUES ('actions', ?)",
        (msgspec.json.encode(decided_row(action())),),
    )
    connection.commit()
    connection.close()


def test_a_file_of_the_first_version_is_carried_over_whole(tmp_path):
    path = tmp_path / "outbox.db"
    version_1(
        path,
        (action("i1.a"), "delivered", 0, 1.0, 60.0, ""),
        (action("i1.b"), "waiting", 2, 5.0, 60.0, "away"),
        (action("i1.c", does="drain_now"), "waiting", 0, 1.0, 60.0, ""),
        (action("i2.d", incident="i2"), "dead", 7, 1.0, 60.0, "HTTP 400"),
        (action("i2.e", dry_run=True), "dry_run", 0, 1.0, 60.0, ""),
    )
    outbox = Outbox(path)
    assert outbox.counts() == {"delivered": 1, "waiting": 2, "dead": 1, "dry_run": 1}
    assert ids(outbox, 1) == ["i1.c"]
    assert [(p.action.action_id, p.attempts, p.thread) for p in outbox.pending(5)] == [
        ("i1.b", 2, "i1"), ("i1.c", 0, "i1"),
    ]  # fmt: skip
    assert [(d.action.action_id, d.attempts, d.error) for d in outbox.dead_letters()] == [
        ("i2.d", 7, "HTTP 400")
    ]
    assert outbox.enqueue([action("i1.a")], now_s=0, deliver_for_s=1) == 0
    assert [j.row for j in outbox.journaled()] == [decided_row(action())]
    outbox.close()


def test_a_file_that_the_first_version_opened_once_more_is_carried_over_again(tmp_path):
    path = tmp_path / "outbox.db"
    first = Outbox(path)
    first.enqueue([action("i1.a")], now_s=0, deliver_for_s=60)
    first.close()
    version_1(
        path, (action("i1.a"), "delivered", 0, 1.0, 60.0, ""), (action("i1.b"), "waiting", 0, 1.0, 60.0, "")
    )
    outbox = Outbox(path)
    assert ids(outbox, 1) == ["i1.a", "i1.b"]
    outbox.close()
    again = Outbox(path)
    assert ids(again, 1) == ["i1.a", "i1.b"]
    again.close()


def test_a_path_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ForeshockError, match="outbox"):
        Outbox(tmp_path / "file" / "outbox.db")
