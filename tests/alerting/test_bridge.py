"""The bridge over real HTTP on loopback."""

import dataclasses
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import msgspec
import pytest

from alerting.action import Action, Outcome
from alerting.bridge import MAX_BODY_BYTES, act, serve
from alerting.cloud_event import encode_action
from alerting.inbox import Inbox
from alerting.post import DeliveryError, RefusedError
from alerting.webhook import Sender, new_secret, sign
from collector.config import BridgeConfig
from collector.errors import ConfigError, ForeshockError
from tests.alerting.receiver import Notes, running

NEW, OLD = new_secret(), new_secret()


def action(name: str = "checkpoint", incident: str = "i1", **more: object) -> Action:
    fields: dict[str, object] = {
        "action_id": f"{incident}.{name}", "incident_id": incident, "action": name, "intent": "checkpoint",
        "time": 1.0, "node": "n1", "gpu_uuid": "GPU-a", "gpu_index": 0, "pci_bdf": None, "risk": 0.9,
        "reasons": [], "summary": "s", "detail": "d", "synthetic": True, "dry_run": False,
    }  # fmt: skip
    return msgspec.convert({**fields, **more}, Action)


@pytest.fixture
def config(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(f"{NEW}\n{OLD}\n")
    secret.chmod(0o600)
    return BridgeConfig(
        listen="127.0.0.1:0", secret_file=str(secret), state=tmp_path / "bridge.db", dry_run=False
    )


def post(url: str, body: bytes, headers: dict[str, str]) -> httpx2.Response:
    return httpx2.post(f"{url}/v1/actions", content=body, headers=headers, timeout=5)


def signed(url: str, a: Action, secret: str = NEW, now: datetime | None = None) -> httpx2.Response:
    body = encode_action(a)
    return post(url, body, sign([secret], a.action_id, body, now))


def until(true: Callable[[], bool], timeout_s: float = 10) -> None:
    end_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.01)


def test_a_signed_action_is_accepted_at_once_and_done_once(config):
    notes, told = Notes(), list[Outcome]()
    with running(config, notes, told) as url:
        first = signed(url, action())
        assert (first.status_code, first.json()) == (202, {"status": "accepted"})
        until(lambda: bool(told))
        again = signed(url, action())
        assert (again.status_code, again.json()["status"]) == (200, "already done")
        assert httpx2.get(f"{url}/healthz").json() == {"status": "ok", "requests": {"done": 1}}
    assert notes.asked == ["i1.checkpoint"]
    assert told == [Outcome(ok=True, detail="done", step=5)]


def test_the_answer_does_not_wait_for_the_job(config):
    notes = Notes()
    notes.gate.clear()
    with running(config, notes) as url:
        assert signed(url, action()).status_code == 202
        until(lambda: notes.asked == ["i1.checkpoint"])
        assert signed(url, action()).json() == {"status": "already accepted"}
        assert signed(url, action(incident="i2")).status_code == 202
        until(lambda: "i2.checkpoint" in notes.asked)  # another incident is not held up
        signed(url, action("drain"))
        signed(url, action("drain_now", intent="migrate"))
        until(lambda: "i1.drain_now" in notes.asked)  # a fault waits for nothing
        assert "i1.drain" not in notes.asked  # a soft drain follows its checkpoint
        notes.gate.set()
        until(lambda: "i1.drain" in notes.asked)


def test_an_exact_replay_within_the_tolerance_is_answered_but_not_done_again(config):
    notes = Notes()
    body = encode_action(action())
    headers = sign([NEW], "i1.checkpoint", body)
    with running(config, notes) as url:
        codes = [post(url, body, headers).status_code for _ in range(5)]
        until(lambda: bool(notes.asked))
    assert codes == [202, 200, 200, 200, 200]
    with running(config, notes) as url:  # nor after a restart
        assert post(url, body, headers).status_code == 200
    assert notes.asked == ["i1.checkpoint"]


def test_what_is_not_signed_by_us_is_refused_and_leaves_no_trace(config):
    notes, body = Notes(), encode_action(action())
    good = sign([NEW], "i1.checkpoint", body)
    old = datetime.now(tz=UTC) - timedelta(seconds=301)
    with running(config, notes) as url:
        refused = [
            post(url, body, {}),
            post(url, body, {**good, "webhook-signature": "v1,AAAA"}),
            post(url, body + b" ", good),
            post(url, body, {**good, "webhook-id": "i2.checkpoint"}),
            signed(url, action(), new_secret()),
            signed(url, action(), now=old),
            signed(url, action(), now=datetime.now(tz=UTC) + timedelta(seconds=360)),
        ]
        assert {r.status_code for r in refused} == {401}
        assert httpx2.get(f"{url}/healthz").json()["requests"] == {}
    assert notes.asked == []


def test_junk_is_400_even_when_signed_and_too_much_is_413(config):
    with running(config, Notes()) as url:
        assert post(url, b"{}", sign([NEW], "x", b"{}")).status_code == 400
        body = encode_action(action())
        assert post(url, body, sign([NEW], "another-id", body)).status_code == 400
        large = b" " * (MAX_BODY_BYTES + 1)
        assert post(url, large, sign([NEW], "x", large)).status_code == 413
        assert httpx2.get(f"{url}/v1/actions").status_code == 405


def test_keys_rotate_without_a_restart(config):
    third = new_secret()
    with running(config, Notes()) as url:
        assert signed(url, action(incident="i1"), OLD).status_code == 202
        assert signed(url, action(incident="i2"), third).status_code == 401
        Path(config.secret_file).write_text(f"{third}\n{NEW}\n")
        assert signed(url, action(incident="i3"), third).status_code == 202
        assert signed(url, action(incident="i4"), NEW).status_code == 202
        assert signed(url, action(incident="i5"), OLD).status_code == 401
        Path(config.secret_file).unlink()
        assert signed(url, action(incident="i6"), NEW).status_code == 503


def test_the_sender_tells_try_again_from_never(config):
    with running(config, Notes()) as url:
        sender = Sender(f"{url}/v1/actions", config.secret_file, 5)
        sender(action())
        sender(action())  # a repeat is a success
        lost = Sender(f"{url}/elsewhere", config.secret_file, 5)
        with pytest.raises(DeliveryError, match="404"):
            lost(action())
        with pytest.raises(RefusedError, match="413"):
            sender(action(incident="i2", summary="x" * MAX_BODY_BYTES))
    with pytest.raises(DeliveryError, match="Connect"):
        sender(action())
    sender.close()
    lost.close()


def test_dry_run_acts_on_nothing_and_says_what_it_would_do():
    notes = Notes()
    assert act(notes, action(), dry_run=True).detail == "dry run: would checkpoint n1"
    assert act(notes, action(dry_run=True), dry_run=False).detail.startswith("dry run")
    assert notes.asked == []


def test_a_failing_adapter_is_an_outcome_and_the_next_action_goes_on():
    notes = Notes()
    notes.error = ForeshockError("scontrol: not found", hint="install it")
    assert act(notes, action(), dry_run=False) == Outcome(
        ok=False, detail="scontrol: not found (try: install it)"
    )
    notes.error = RuntimeError("boom")
    assert act(notes, action(), dry_run=False).detail == "RuntimeError: boom"


_CHILD = """
import os, sys, threading
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from alerting.action import Outcome
from alerting.bridge import serve
from collector.config import BridgeConfig

class Hangs:
    def checkpoint(self, action):
        print("acting", flush=True)
        threading.Event().wait(60)
        return Outcome(ok=True, detail="never")
    drain = checkpoint

serve(BridgeConfig(listen="127.0.0.1:0", secret_file=sys.argv[1], state=Path(sys.argv[2]), dry_run=False),
      Hangs(), threading.Event(), ready=lambda host, port: print(port, flush=True))
"""


def test_what_kill_9_interrupted_is_done_after_the_restart(config, tmp_path):
    script = tmp_path / "child.py"
    script.write_text(_CHILD)
    root = Path(__file__).parents[2]
    command = [sys.executable, script, config.secret_file, config.state, root]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        url = f"http://127.0.0.1:{int(child.stdout.readline())}"
        assert signed(url, action()).status_code == 202
        assert child.stdout.readline() == "acting\n"
        child.send_signal(signal.SIGKILL)
    notes, told = Notes(), list[Outcome]()
    with running(config, notes, told) as url:
        until(lambda: bool(told))
        assert signed(url, action()).json()["status"] == "already done"
    assert notes.asked == ["i1.checkpoint"]


def test_what_was_interrupted_long_ago_is_not_taken_up_again(tmp_path):
    inbox = Inbox(tmp_path / "bridge.db")
    inbox.accept(action("drain", "old"), 1000.0)
    inbox.accept(action("drain", "new"), 5000.0)
    assert inbox.claim() is not None
    assert inbox.claim() is not None
    assert inbox.resume(5100.0, 3600.0) == (1, 1)
    again = inbox.accept(action("drain", "old"), 5100.0)
    assert again.outcome is not None
    assert "expired" in again.outcome.detail
    claimed = inbox.claim()
    assert claimed is not None
    assert claimed.incident_id == "new"
    inbox.close()


@pytest.mark.parametrize("listen", ["nowhere", "127.0.0.1:x", "256.0.0.1:0"])
def test_an_address_that_cannot_be_used_is_a_clear_error(config, listen):
    bad = dataclasses.replace(config, listen=listen)
    with pytest.raises(ConfigError, match=r"bridge\.listen"):
        serve(bad, Notes(), threading.Event())
