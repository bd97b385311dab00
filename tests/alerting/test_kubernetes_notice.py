"""The condition and the Event of a node, against the stub."""

import json
from datetime import UTC, datetime

import pytest

from alerting.kubernetes_api import Object
from alerting.kubernetes_hold import HOLD
from alerting.kubernetes_notice import condition
from tests.alerting.kubernetes_bridge import DRAIN, OURS, adapter_to, our_condition
from tests.alerting.kubernetes_stub import cluster


@pytest.fixture
def api(tmp_path):
    with cluster() as stub:
        adapter = adapter_to(stub, tmp_path)
        yield stub, adapter
        adapter.close()


def test_the_condition_says_which_incidents_and_leaves_the_kubelets_alone(api):
    stub, adapter = api
    adapter.drain(DRAIN)
    found = our_condition(stub)
    assert (found["status"], found["reason"]) == ("True", "GpuFault")
    assert found["message"] == "predicted: foreshock:i1 GPU 3 GPU-a risk=0.93 (synthetic)"
    assert stub.node()["status"]["conditions"][0] == {"type": "Ready", "status": "True"}


def test_the_condition_keeps_its_transition_time_while_its_status_stays():
    hold: Object = {"incidents": {"i1": {"value": "predicted", "text": "a"}}, "taint": True}
    node: Object = {"metadata": {"name": "n1", "annotations": {HOLD: json.dumps(hold)}}, "status": {}}
    first = condition(node, datetime(2026, 1, 1, tzinfo=UTC))
    assert first is not None
    node["status"] = {"conditions": [first]}
    assert condition(node, datetime(2026, 1, 2, tzinfo=UTC)) is None
    hold["incidents"]["i2"] = {"value": "failed", "text": "b"}
    node["metadata"]["annotations"][HOLD] = json.dumps(hold)
    second = condition(node, datetime(2026, 1, 3, tzinfo=UTC))
    assert second is not None
    assert second["lastTransitionTime"] == "2026-01-01T00:00:00Z"
    assert second["lastHeartbeatTime"] == "2026-01-03T00:00:00Z"


def test_an_event_on_the_node_tells_what_was_done(api):
    stub, adapter = api
    adapter.drain(DRAIN)
    event = stub.find("events", "foreshock-i1-drain", "default")
    assert event["involvedObject"] == {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "n1"}
    assert (event["type"], event["reason"]) == ("Warning", "GpuFaultPredicted")
    assert event["message"].startswith("i1 (synthetic): n1 tainted")


def test_a_right_that_is_missing_for_a_notice_is_told_and_does_not_fail_the_drain(api):
    stub, adapter = api
    stub.denied = {("patch", "nodes/status"), ("create", "events")}
    outcome = adapter.drain(DRAIN)
    assert outcome.ok
    assert "condition not written" in outcome.detail
    assert "event not written" in outcome.detail
    assert stub.taints == [OURS]
