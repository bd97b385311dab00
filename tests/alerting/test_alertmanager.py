"""What Alertmanager is told, as pure data, and what a real one makes of it."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from alerting.alertmanager import NAME, AlertmanagerSink, alerts, labels
from alerting.delivery import Sink, deliver_due
from alerting.incident import IncidentRow
from alerting.links import Links
from alerting.outbox import Outbox
from alerting.post import DeliveryError
from collector.clock import SystemClock
from collector.errors import ConfigError
from tests.alerting.change_rows import change
from tests.alerting.http_receiver import Receiver, receiving
from tests.real.alertmanager.server import PROGRAM, running_alertmanager

NOW = datetime(2026, 9, 22, tzinfo=UTC)
LATER = NOW + timedelta(minutes=15)
LINKS = Links("https://runbooks.example.org/gpu", "https://foreshock.example.org/")


def told(row: IncidentRow, before: IncidentRow | None = None) -> list[tuple[str, bool]]:
    """(name, fires) of what is posted."""
    found = alerts(row, before, NOW, LATER, Links())
    return [(a.labels["alertname"], a.ends_at > NOW) for a in found]


def test_an_open_incident_fires_with_conventional_labels_and_the_text_for_the_night():
    row = change("opened")
    [alert] = alerts(row, None, NOW, LATER, LINKS)
    assert alert.labels == {
        "alertname": "GpuFaultPredicted", "severity": "warning", "node": "n1", "instance": "n1", "gpu": "0",
        "uuid": "GPU-a", "pci_bdf": "0000:3b:00", "cause": "risk", "incident": "inc-1", "synthetic": "true",
    }  # fmt: skip
    assert alert.annotations["summary"] == row.summary.split("\n")[0]
    assert alert.annotations["description"] == row.summary
    assert alert.annotations["risk"] == "0.00"
    assert alert.annotations["runbook_url"] == "https://runbooks.example.org/gpu/risk"
    assert alert.generator_url == "https://foreshock.example.org/gpu?gpu=GPU-a&incident=inc-1"
    sent = msgspec.to_builtins(alert)
    assert set(sent) == {"labels", "annotations", "startsAt", "endsAt", "generatorURL"}
    assert sent["endsAt"] == "2026-09-22T00:15:00Z"


@pytest.mark.parametrize("risk", [0.0, 0.51, 0.99, None])
def test_a_risk_that_moves_does_not_make_another_alert(risk):
    assert labels(change("continues", risk=risk)) == labels(change("opened"))


def test_what_is_unknown_is_no_label():
    unknown = labels(change("opened", gpu_uuid=None, gpu_index=None, pci_bdf=None, synthetic=False))
    assert set(unknown) == {"alertname", "severity", "node", "instance", "cause", "incident"}


def test_a_prediction_that_comes_true_is_resolved_in_the_request_that_fires_the_fault():
    opened, failed = change("opened"), change("failed", "failed", after_s=60)
    assert told(failed, opened) == [("GpuFaultPredicted", False), ("GpuFault", True)]


def test_a_gpu_whose_name_becomes_known_leaves_no_nameless_alert_behind():
    nameless, named = change("opened", "failed", gpu_uuid=None), change("joined", "failed", after_s=1)
    first, second = alerts(named, nameless, NOW, LATER, Links())
    assert (first.labels.get("uuid"), first.ends_at) == (None, NOW)
    assert (second.labels.get("uuid"), second.ends_at) == ("GPU-a", LATER)


@pytest.mark.parametrize("how", ["recovered", "lapsed"])
def test_the_end_of_an_incident_resolves_what_fires(how):
    failed = change("failed", "failed")
    assert told(change(how, how, after_s=60), failed) == [("GpuFault", False)]
    assert told(change(how, how, after_s=60)) == []
    assert told(change(how, how, after_s=60), change(how, how)) == []


def test_an_old_change_that_is_tried_again_does_not_wake_a_resolved_alert():
    assert told(change("opened"), change("recovered", "recovered", after_s=60)) == []


def test_a_start_in_the_future_is_told_as_now():
    """The demo's clock runs ahead of Alertmanager's."""
    [alert] = alerts(change("opened"), None, datetime(2020, 1, 1, tzinfo=UTC), LATER, Links())
    assert alert.starts_at == datetime(2020, 1, 1, tzinfo=UTC)


def test_the_cause_takes_its_place_in_the_address_of_the_runbook():
    row = change("opened", cause="xid_79 a/b")
    assert Links("https://x/{cause}.md").runbook(row) == "https://x/xid_79%20a%2Fb.md"
    assert Links("https://x/").runbook(row) == "https://x/xid_79%20a%2Fb"
    assert Links().runbook(row) == Links().dashboard(row) == ""


@pytest.fixture
def outbox(tmp_path):
    box = Outbox(tmp_path / "outbox.db")
    yield box
    box.close()


class Chain:
    """Outbox to sink to Alertmanager, one round at a time."""

    def __init__(self, outbox: Outbox, url: str, **more: float) -> None:
        self.outbox = outbox
        self.manager = AlertmanagerSink(url, LINKS, lambda i: outbox.told(NAME, i), 5, **more)
        self.sink = Sink(NAME, self.manager.send, between=self.manager.repeat)  # type: ignore[arg-type]

    def tell(self, *rows: IncidentRow) -> None:
        self.outbox.enqueue([], now_s=time.time(), deliver_for_s=60, notify={NAME: rows})
        while deliver_due(self.outbox, self.sink, SystemClock(), threading.Event()):
            pass


@pytest.fixture
def chain(outbox):
    made: list[Chain] = []

    def make(url: str, **more: float) -> Chain:
        made.append(Chain(outbox, url, **more))
        return made[-1]

    yield make
    for c in made:
        c.manager.close()


def test_what_is_open_is_repeated_with_a_later_end_and_what_is_over_is_not(chain):
    with receiving() as receiver:
        alerting = chain(receiver.url, repeat_s=0.0)
        alerting.tell(change("opened"), change("opened", incident_id="inc-2"))
        alerting.tell(change("recovered", "recovered", after_s=9, incident_id="inc-2"))
        receiver.received.clear()
        alerting.manager.repeat()
    [request] = receiver.received
    [alert] = request.json
    assert alert["labels"]["incident"] == "inc-1"
    assert datetime.fromisoformat(alert["endsAt"]) > datetime.now(tz=UTC) + timedelta(minutes=14)
    assert request.path == "/api/v2/alerts"


def test_a_repeat_waits_for_its_time_and_is_soon_tried_again_when_nobody_answers(chain):
    with receiving() as receiver:
        alerting = chain(receiver.url)
        alerting.tell(change("opened"))
        receiver.received.clear()
        receiver.answers.append((503, {}, "starting"))
        with pytest.raises(DeliveryError, match="503"):
            alerting.manager.repeat()
        alerting.manager.repeat()
    assert len(receiver.received) == 1


def test_a_bad_address_is_found_at_the_start():
    with pytest.raises(ConfigError, match="alertmanager_url"):
        AlertmanagerSink("alertmanager:9093", Links(), lambda _: [], 5)


def until(true: Callable[[], bool], timeout_s: float = 30) -> None:
    end_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.05)


def states(receiver: Receiver, key: str) -> list[str]:
    """What the hook heard of one GPU, in order, without repetitions."""
    heard = [
        f"{a['labels']['alertname']} {a['status']}"
        for r in receiver.received
        for a in r.json["alerts"]
        if a["labels"]["uuid"] == key
    ]
    return [s for n, s in enumerate(heard) if n == 0 or heard[n - 1] != s]


real = pytest.mark.skipif(
    PROGRAM is None, reason="no Alertmanager here: apt-get install prometheus-alertmanager"
)


@real
def test_a_real_alertmanager_receives_groups_by_node_and_resolves(tmp_path, chain):
    """Two GPUs of one node and one of another: two groups; a fault replaces its prediction; recovery resolves all.

    Alertmanager waits for a group's other alerts (`group_wait`) only where the first has just begun.
    """
    now_s = time.time()
    incidents: list[Any] = [
        {"incident_id": "inc-1", "gpu_uuid": "GPU-a", "node": "n1", "opened_s": now_s},
        {"incident_id": "inc-2", "gpu_uuid": "GPU-b", "node": "n1", "opened_s": now_s},
        {"incident_id": "inc-3", "gpu_uuid": "GPU-c", "node": "n2", "opened_s": now_s},
    ]
    with receiving() as hook, running_alertmanager(tmp_path / "am", hook.url) as alertmanager:
        alerting = chain(alertmanager.url)
        alerting.tell(*(change("opened", **i) for i in incidents))
        until(lambda: {u for r in hook.received for u in _uuids(r.json)} == {"GPU-a", "GPU-b", "GPU-c"})
        groups = [r.json for r in hook.received]
        assert {(g["groupLabels"]["node"], *sorted(_uuids(g))) for g in groups} == {
            ("n1", "GPU-a", "GPU-b"), ("n2", "GPU-c"),
        }  # fmt: skip
        alerting.tell(change("failed", "failed", after_s=60, **incidents[0]))
        until(lambda: states(hook, "GPU-a")[-1] == "GpuFault firing")
        assert sorted(a["labels"]["alertname"] for a in alertmanager.alerts()) == [
            "GpuFault", "GpuFaultPredicted", "GpuFaultPredicted",
        ]  # fmt: skip
        alerting.tell(*(change("recovered", "recovered", after_s=120, **i) for i in incidents))
        until(lambda: all(states(hook, i["gpu_uuid"])[-1].endswith("resolved") for i in incidents))
        assert alertmanager.alerts() == []
        alerting.manager.repeat()
        assert alertmanager.alerts() == []
    assert states(hook, "GPU-b") == ["GpuFaultPredicted firing", "GpuFaultPredicted resolved"]
    [alert] = [a for a in groups[0]["alerts"] if a["labels"]["uuid"] in ("GPU-a", "GPU-c")]
    assert "Since 20" in alert["annotations"]["description"]
    assert alert["annotations"]["runbook_url"].endswith("/risk")


@real
def test_a_real_alertmanager_keeps_what_is_repeated_and_drops_what_is_not(tmp_path, chain):
    """In short: the end is 2 s away in place of 15 min, so what outlives 5 s was repeated."""
    with receiving() as hook, running_alertmanager(tmp_path / "am", hook.url) as alertmanager:
        alerting = chain(alertmanager.url, stands_s=2.0, repeat_s=0.5)
        alerting.tell(change("opened"))
        begun_s = time.monotonic()
        while time.monotonic() - begun_s < 5:
            alerting.manager.repeat()
            assert len(alertmanager.alerts()) == 1
            time.sleep(0.2)
        until(lambda: alertmanager.alerts() == [], 10)


def _uuids(group: Any) -> list[str]:
    return [a["labels"]["uuid"] for a in group["alerts"]]
