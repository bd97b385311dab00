"""Against a stateful stub (kubernetes_stub.py), not a real API server."""

import msgspec
import pytest

from alerting.action import Action
from alerting.kubernetes import TAINT_KEY, KubernetesAdapter, with_taint
from collector.config import BridgeConfig
from collector.errors import ConfigError, ForeshockError
from tests.alerting.kubernetes_stub import cluster

ACTION = Action(
    action_id="i1.drain", incident_id="i1", action="drain", intent="no_new_work", time=1.0, node="n1",
    gpu_uuid="GPU-a", gpu_index=3, pci_bdf=None, risk=0.93, reasons=(), summary="", detail="", synthetic=True,
    dry_run=False,
)  # fmt: skip
NOW = msgspec.structs.replace(ACTION, action="drain_now", intent="migrate")
OTHERS = {"key": "nvidia.com/gpu-xid-error", "value": "true", "effect": "NoSchedule"}
OURS = {"key": TAINT_KEY, "value": "predicted", "effect": "NoSchedule"}


@pytest.fixture
def api(tmp_path):
    (tmp_path / "token").write_text("t\n")
    with cluster() as stub:
        adapter = KubernetesAdapter(
            BridgeConfig(kubernetes_url=stub.url, kubernetes_token_file=str(tmp_path / "token"))
        )
        yield stub, adapter
        adapter.close()


def test_a_drain_adds_our_taint_and_keeps_the_others(api):
    stub, adapter = api
    stub.write([OTHERS])
    outcome = adapter.drain(ACTION)
    assert (outcome.ok, outcome.detail) == (True, "n1 tainted foreshock.org/gpu-fault=predicted:NoSchedule")
    assert stub.taints == [OTHERS, OURS]


def test_a_node_without_taints_gets_its_first(api):
    stub, adapter = api
    assert adapter.drain(ACTION).ok
    assert stub.taints == [OURS]


def test_twice_is_once(api):
    stub, adapter = api
    adapter.drain(ACTION)
    version = stub.version
    assert adapter.drain(ACTION).detail == "n1 has the taint already"
    assert stub.version == version


def test_a_taint_that_another_owner_writes_meanwhile_is_not_lost(api):
    stub, adapter = api

    def other_owner() -> None:
        if stub.conflicts == 0:
            stub.write([OTHERS])

    stub.before_patch = other_owner
    assert adapter.drain(ACTION).ok
    assert stub.conflicts == 1
    assert stub.taints == [OTHERS, OURS]


def test_endless_conflicts_end_in_an_outcome(api):
    stub, adapter = api
    stub.before_patch = lambda: stub.write([OTHERS])
    outcome = adapter.drain(ACTION)
    assert not outcome.ok
    assert "5 conflicts" in outcome.detail


def test_a_fault_makes_the_taint_failed_and_a_prediction_does_not_take_that_back(api):
    stub, adapter = api
    adapter.drain(ACTION)
    adapter.drain(NOW)
    assert stub.taints == [{**OURS, "value": "failed"}]
    adapter.drain(ACTION)
    assert stub.taints == [{**OURS, "value": "failed"}]


def test_our_taint_with_another_effect_is_somebody_elses():
    theirs = {**OURS, "effect": "NoExecute"}
    assert with_taint([theirs], "predicted") == [theirs, OURS]


def test_a_checkpoint_is_honestly_only_advisory(api):
    _, adapter = api
    outcome = adapter.checkpoint(ACTION)
    assert not outcome.ok
    assert outcome.detail.startswith("advisory only")


def test_what_the_server_refuses_comes_with_a_hint(api, tmp_path):
    _, adapter = api
    with pytest.raises(ForeshockError, match="404") as told:
        adapter.drain(msgspec.structs.replace(ACTION, node="n2"))
    assert "collector.node" in told.value.hint
    (tmp_path / "token").write_text("wrong")
    with pytest.raises(ForeshockError, match="401"):
        adapter.drain(ACTION)
    (tmp_path / "token").unlink()
    with pytest.raises(ConfigError, match="token"):
        adapter.drain(ACTION)


@pytest.mark.parametrize("name", ["", "../pods", "n1/status", "n1?x=1", ".."])
def test_a_node_name_cannot_become_another_path(api, name):
    _, adapter = api
    with pytest.raises(ForeshockError, match="node name"):
        adapter.drain(msgspec.structs.replace(ACTION, node=name))


def test_outside_a_cluster_without_a_url_is_a_clear_error(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError, match="no Kubernetes API server"):
        KubernetesAdapter(BridgeConfig())
