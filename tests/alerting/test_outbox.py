import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from alerting.action import Action, decided_row, delivered_row
from alerting.delivery import deliver_due
from alerting.outbox import LONGEST_DELAY_S, Outbox
from alerting.webhook import DeliveryError, RefusedError
from collector.clock import SystemClock
from collector.errors import ForeshockError


def action(name: str = "i1.drain", *, dry_run: bool = False) -> Action:
    return Action(
        action_id=name, incident_id="i1", action="drain", intent="no_new_work", time=1.0, node="n1",
        gpu_uuid="GPU-a", gpu_index=0, pci_bdf=None, risk=0.9, reasons=(), summary="s", detail="d",
        synthetic=True, dry_run=dry_run,
    )  # fmt: skip


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

    def send(a: Action) -> None:
        raise RefusedError("HTTP 400") if a.action_id == "i1.a" else DeliveryError("HTTP 503")

    assert deliver_due(outbox, send, SystemClock(), threading.Event()) == 0
    [letter] = outbox.dead_letters()
    assert (letter.action.action_id, letter.error) == ("i1.a", "HTTP 400")
    assert outbox.counts() == {"dead": 1, "waiting": 1}
    assert [j.row.state for j in outbox.journaled()] == ["failed"]


def test_an_action_past_its_deadline_is_a_dead_letter(outbox):
    outbox.enqueue([action()], now_s=time.time() - 10, deliver_for_s=5)

    def send(_: Action) -> None:
        raise DeliveryError("connection refused")

    deliver_due(outbox, send, SystemClock(), threading.Event())
    assert [d.error for d in outbox.dead_letters()] == ["connection refused"]


_CHILD = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from alerting.outbox import Outbox
from test_outbox import action
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
    while deliver_due(outbox, lambda a: delivered.append(a.action_id), SystemClock(), threading.Event()):
        pass
    outbox.close()
    assert len(said) >= 20
    assert {f"i1.{n}" for n in said} <= kept
    assert sorted(delivered) == sorted(kept)


def test_a_path_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ForeshockError, match="outbox"):
        Outbox(tmp_path / "file" / "outbox.db")
