"""Against a stateful stub (kubernetes_stub.py), not a real API server."""

import msgspec
import pytest

from alerting.bridge import act
from alerting.kubernetes import KubernetesAdapter
from alerting.kubernetes_hold import HOLD
from collector.config import BridgeConfig
from collector.errors import ConfigError, ForeshockError
from tests.alerting.kubernetes_bridge import (
    DRAIN,
    NOW,
    OTHERS,
    OURS,
    RELEASE,
    adapter_to,
    of_second,
    our_condition,
)
from tests.alerting.kubernetes_stub import cluster


@pytest.fixture
def api(tmp_path):
    with cluster() as stub:
        adapter = adapter_to(stub, tmp_path)
        yield stub, adapter
        adapter.close()


def test_a_drain_adds_our_taint_and_keeps_the_others(api):
    stub, adapter = api
    stub.write_taints([OTHERS])
    outcome = adapter.drain(DRAIN)
    assert (outcome.ok, outcome.detail) == (True, "n1 tainted foreshock.org/gpu-fault=predicted:NoSchedule")
    assert stub.taints == [OTHERS, OURS]


def test_twice_is_once(api):
    stub, adapter = api
    adapter.drain(DRAIN)
    version = stub.version
    assert "is tainted foreshock.org/gpu-fault=predicted:NoSchedule already" in adapter.drain(DRAIN).detail
    assert stub.version == version
    assert stub.named("events") == ["foreshock-i1-drain"]


def test_a_taint_that_another_owner_writes_meanwhile_is_not_lost(api):
    stub, adapter = api

    def other_owner():
        if stub.conflicts == 0:
            stub.write_taints([OTHERS])

    stub.before_patch = other_owner
    assert adapter.drain(DRAIN).ok
    assert stub.conflicts == 1
    assert stub.taints == [OTHERS, OURS]


def test_a_taint_that_another_owner_writes_during_a_release_is_not_lost(api):
    stub, adapter = api
    adapter.drain(DRAIN)

    def other_owner():
        if stub.conflicts == 0:
            stub.write_taints([*stub.taints, OTHERS])

    stub.before_patch = other_owner
    assert adapter.release(RELEASE).ok
    assert stub.conflicts == 1
    assert stub.taints == [OTHERS]


def test_endless_conflicts_end_in_an_outcome(api):
    stub, adapter = api
    stub.before_patch = lambda: stub.write_taints([OTHERS])
    outcome = act(adapter, DRAIN, dry_run=False)
    assert not outcome.ok
    assert "5 conflicts" in outcome.detail
    assert stub.taints == [OTHERS]


def test_a_fault_makes_the_taint_failed_and_a_prediction_does_not_take_that_back(api):
    stub, adapter = api
    adapter.drain(DRAIN)
    adapter.migrate(NOW)
    assert stub.taints == [{**OURS, "value": "failed"}]
    adapter.drain(DRAIN)
    assert stub.taints == [{**OURS, "value": "failed"}]


def test_the_taint_stays_until_the_last_of_two_incidents_is_released(api):
    stub, adapter = api
    adapter.migrate(NOW)
    adapter.drain(of_second(DRAIN))
    first = adapter.release(RELEASE)
    assert first.ok
    assert "the taint stays for i2" in first.detail
    assert stub.taints == [OURS]  # `failed` went with the incident that said so
    assert our_condition(stub)["status"] == "True"
    assert "our hold is lifted" in adapter.release(of_second(RELEASE)).detail
    assert stub.taints == []
    assert HOLD not in stub.node()["metadata"]["annotations"]
    assert our_condition(stub)["status"] == "False"


def test_an_incident_that_holds_nothing_releases_nothing(api):
    stub, adapter = api
    adapter.drain(of_second(DRAIN))
    before = (stub.version, stub.taints)
    outcome = adapter.release(RELEASE)
    assert (outcome.ok, outcome.detail) == (True, "i1 holds nothing of n1")
    assert (stub.version, stub.taints) == before


def test_a_taint_of_our_key_that_an_administrator_set_is_never_lifted(api):
    stub, adapter = api
    stub.write_taints([OURS])
    assert "by somebody else: left alone" in adapter.drain(DRAIN).detail
    adapter.migrate(NOW)
    assert stub.taints == [OURS]
    adapter.release(RELEASE)
    assert stub.taints == [OURS]


def test_a_release_does_not_set_again_what_an_administrator_took_away(api):
    stub, adapter = api
    adapter.drain(DRAIN)
    adapter.drain(of_second(DRAIN))
    stub.write_taints([])
    adapter.release(RELEASE)
    assert stub.taints == []


def test_the_cordon_is_lifted_with_the_last_incident(tmp_path):
    with cluster() as stub:
        adapter = adapter_to(stub, tmp_path, kubernetes_cordon=True)
        assert "and cordoned" in adapter.drain(DRAIN).detail
        adapter.drain(of_second(DRAIN))
        adapter.release(RELEASE)
        assert stub.node()["spec"]["unschedulable"] is True
        adapter.release(of_second(RELEASE))
        assert "unschedulable" not in stub.node()["spec"]
        adapter.close()


def test_an_administrators_cordon_is_never_lifted(tmp_path):
    with cluster() as stub:
        stub.put("nodes", "n1", {"spec": {"unschedulable": True}})
        adapter = adapter_to(stub, tmp_path, kubernetes_cordon=True)
        adapter.drain(DRAIN)
        adapter.release(RELEASE)
        assert stub.node()["spec"]["unschedulable"] is True
        assert stub.taints == []
        adapter.close()


def test_without_the_setting_there_is_no_cordon(api):
    stub, adapter = api
    adapter.drain(DRAIN)
    assert "unschedulable" not in stub.node()["spec"]


def test_an_annotation_that_cannot_be_read_stops_everything(api):
    stub, adapter = api
    stub.put("nodes", "n1", {"metadata": {"annotations": {HOLD: "mine!"}}, "spec": {"taints": [OURS]}})
    for ask, action in ((adapter.drain, DRAIN), (adapter.release, RELEASE)):
        with pytest.raises(ForeshockError, match="cannot be read"):
            ask(action)
    assert stub.taints == [OURS]


def test_a_server_that_is_busy_for_a_moment_is_asked_again(tmp_path):
    with cluster() as stub:
        waits: list[float] = []
        adapter = adapter_to(stub, tmp_path, waits.append)
        stub.answers = [503, 429]
        assert adapter.drain(DRAIN).ok
        assert waits == [0.5, 1.0]
        stub.answers = [503] * 4
        with pytest.raises(ForeshockError, match="503"):
            adapter.drain(DRAIN)
        adapter.close()


def test_a_server_that_is_away_is_a_clear_error(tmp_path):
    with cluster() as stub:
        adapter = adapter_to(stub, tmp_path)
    with pytest.raises(ForeshockError, match="API server http://127"):
        adapter.drain(DRAIN)
    adapter.close()


def test_what_the_server_refuses_comes_with_a_hint(api, tmp_path):
    stub, adapter = api
    with pytest.raises(ForeshockError, match="404") as told:
        adapter.drain(msgspec.structs.replace(DRAIN, node="n2"))
    assert "collector.node" in told.value.hint
    stub.denied = {("patch", "nodes")}
    with pytest.raises(ForeshockError, match="403: cannot patch resource 'nodes'") as told:
        adapter.drain(DRAIN)
    assert "deploy/kubernetes" in told.value.hint
    (tmp_path / "token").write_text("wrong")
    with pytest.raises(ForeshockError, match="401"):
        adapter.drain(DRAIN)
    (tmp_path / "token").unlink()
    with pytest.raises(ConfigError, match="token"):
        adapter.drain(DRAIN)


@pytest.mark.parametrize("name", ["", "../pods", "n1/status", "n1?x=1", ".."])
@pytest.mark.parametrize("ask", ["checkpoint", "drain", "migrate", "release"])
def test_a_node_name_cannot_become_another_path(api, name, ask):
    stub, adapter = api
    with pytest.raises(ForeshockError, match="node name"):
        getattr(adapter, ask)(msgspec.structs.replace(DRAIN, node=name))
    assert stub.calls == []


def test_outside_a_cluster_without_a_url_is_a_clear_error(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError, match="no Kubernetes API server"):
        KubernetesAdapter(BridgeConfig())
