"""Which receivers the settings make, and what each of them hears."""

import json
import threading
import time

import pytest

from alerting.delivery import deliver_due
from alerting.notify import close_sinks, notices, open_sinks
from alerting.outbox import Outbox
from alerting.webhook import new_secret
from collector.clock import SystemClock
from collector.config import WatchConfig
from collector.errors import ConfigError
from tests.alerting.change_rows import action, change
from tests.alerting.http_receiver import receiving


@pytest.fixture
def outbox(tmp_path):
    box = Outbox(tmp_path / "outbox.db")
    yield box
    box.close()


def config(tmp_path, url: str, **more: object) -> WatchConfig:
    (tmp_path / "secret").write_text(new_secret())
    (tmp_path / "slack").write_text(f"{url}/slack\n")
    settings = {
        "dry_run": False, "webhook_url": f"{url}/hook", "webhook_secret_file": str(tmp_path / "secret"),
        "alertmanager_url": f"{url}/am", "slack_url_file": str(tmp_path / "slack"),
        "runbook_url": "https://x/{cause}", "dashboard_url": "https://board",
    }  # fmt: skip
    return WatchConfig(**{**settings, **more})  # type: ignore[arg-type]


def test_actions_go_to_the_webhook_and_incidents_to_people(tmp_path, outbox):
    changes = [change("opened"), change("continues", after_s=1), change("recovered", "recovered", after_s=2)]
    with receiving() as receiver:
        sinks = open_sinks(config(tmp_path, receiver.url), outbox)
        assert [s.name for s in sinks] == ["webhook", "alertmanager", "slack"]
        outbox.enqueue([action()], now_s=time.time(), deliver_for_s=60, notify=notices(sinks, changes))
        for sink in sinks:
            deliver_due(outbox, sink, SystemClock(), threading.Event())
        close_sinks(sinks)
    by_path: dict[str, list[bytes]] = {}
    for r in receiver.received:
        by_path.setdefault(r.path, []).append(r.body)
    assert {path: len(bodies) for path, bodies in by_path.items()} == {
        "/hook": 1, "/am/api/v2/alerts": 3, "/slack": 2,
    }  # fmt: skip
    assert json.loads(by_path["/am/api/v2/alerts"][0])[0]["annotations"]["runbook_url"] == "https://x/risk"
    assert b"https://board/gpu" in by_path["/slack"][0]
    assert outbox.counts() == {"delivered": 6}


def test_dry_run_has_no_receivers(tmp_path, outbox):
    assert open_sinks(config(tmp_path, "http://127.0.0.1:1", dry_run=True), outbox) == ()
    assert notices((), [change("opened")]) == {}


def test_who_arms_nothing_needs_no_webhook(tmp_path, outbox):
    sinks = open_sinks(config(tmp_path, "http://127.0.0.1:1", webhook_url="", armed=()), outbox)
    assert [s.name for s in sinks] == ["alertmanager", "slack"]
    close_sinks(sinks)


def test_what_is_not_set_is_not_there(tmp_path, outbox):
    only = config(tmp_path, "http://127.0.0.1:1", alertmanager_url="", slack_url_file="")
    sinks = open_sinks(only, outbox)
    assert [s.name for s in sinks] == ["webhook"]
    assert notices(sinks, [change("opened")]) == {}
    close_sinks(sinks)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("webhook_url", ""), ("alertmanager_url", "am:9093"), ("slack_url_file", "/nowhere/slack")],
)
def test_a_receiver_that_cannot_be_used_is_found_at_the_start(tmp_path, outbox, setting, value):
    with pytest.raises(ConfigError, match=setting):
        open_sinks(config(tmp_path, "http://127.0.0.1:1", **{setting: value}), outbox)
