"""DRA and NVSentinel, against the stub, and what the shipped roles allow."""

import re
from pathlib import Path

import pytest

from alerting.kubernetes_api import Api
from collector.config import BridgeConfig
from tests.alerting.kubernetes_bridge import (
    CHECKPOINT,
    DRAIN,
    NOW,
    OURS,
    RELEASE,
    adapter_to,
    add_pod,
    annotations,
    of_second,
)
from tests.alerting.kubernetes_stub import cluster

ROLES = Path(__file__).parents[2] / "deploy" / "kubernetes"
DRA = {"resourceslices", "resourceclaims", "devicetaintrules"}


@pytest.fixture
def stub():
    with cluster() as state:
        yield state


def with_dra(stub, version="v1"):
    stub.served |= DRA
    stub.versions["devicetaintrules"] = version
    stub.put("resourceslices", "old", gpu_slice("gpu-9", "GPU-a", generation=1))
    stub.put("resourceslices", "new", gpu_slice("gpu-3", "GPU-a", generation=2))
    stub.put("resourceslices", "new2", gpu_slice("gpu-5", "GPU-b", generation=2))
    for name, device in (("a", "gpu-3"), ("b", "gpu-5")):
        add_pod(stub, name, gpus=0)
        stub.put("resourceclaims", name, claim(device, f"uid-{name}"), "team")


def gpu_slice(device, uuid, generation):
    return {
        "spec": {
            "driver": "gpu.nvidia.com",
            "nodeName": "n1",
            "pool": {"name": "n1", "generation": generation, "resourceSliceCount": 1},
            "devices": [{"name": device, "attributes": {"uuid": {"string": uuid}}}],
        }
    }


def claim(device, pod_uid):
    result = {"driver": "gpu.nvidia.com", "pool": "n1", "device": device, "request": "gpu"}
    reserved = [{"resource": "pods", "name": "x", "uid": pod_uid}]
    return {"status": {"allocation": {"devices": {"results": [result]}}, "reservedFor": reserved}}


@pytest.mark.parametrize("version", ["v1", "v1beta2"])
def test_where_dra_is_on_a_drain_taints_the_one_device_and_not_the_node(stub, tmp_path, version):
    with_dra(stub, version)
    adapter = adapter_to(stub, tmp_path, kubernetes_device_taint=True)
    outcome = adapter.drain(DRAIN)
    assert outcome.ok
    assert "device n1/gpu-3 tainted" in outcome.detail
    assert stub.taints == []
    (name,) = stub.named("devicetaintrules")
    rule = stub.find("devicetaintrules", name)
    assert rule["apiVersion"] == f"resource.k8s.io/{version}"
    assert rule["spec"] == {
        "deviceSelector": {"driver": "gpu.nvidia.com", "pool": "n1", "device": "gpu-3"},
        "taint": {"key": "foreshock.org/gpu-fault", "effect": "NoSchedule"},
    }
    assert adapter.drain(DRAIN).ok
    assert stub.named("devicetaintrules") == [name]


def test_a_release_deletes_only_the_rules_of_its_incident(stub, tmp_path):
    with_dra(stub)
    adapter = adapter_to(stub, tmp_path, kubernetes_device_taint=True)
    adapter.drain(DRAIN)
    adapter.drain(of_second(DRAIN))
    stub.put("devicetaintrules", "theirs", {"spec": {}})
    assert adapter.release(RELEASE).ok
    assert stub.named("devicetaintrules") == ["foreshock-i2-n1-gpu-5", "theirs"]


def test_a_gpu_that_failed_takes_the_whole_node_too(stub, tmp_path):
    with_dra(stub)
    adapter_to(stub, tmp_path, kubernetes_device_taint=True).migrate(NOW)
    assert stub.taints == [{**OURS, "value": "failed"}]
    assert stub.named("devicetaintrules") == ["foreshock-i1-n1-gpu-3"]


@pytest.mark.parametrize("served", [set(), {"resourceslices"}, DRA])
def test_where_dra_does_not_know_the_gpu_the_node_is_tainted_and_that_is_told(stub, tmp_path, served):
    stub.served |= served
    if served != DRA:
        stub.put("resourceslices", "s", gpu_slice("gpu-3", "GPU-a", generation=1))
    outcome = adapter_to(stub, tmp_path, kubernetes_device_taint=True).drain(DRAIN)
    assert outcome.ok
    assert "hence not per GPU" in outcome.detail
    assert stub.taints == [OURS]


def test_a_claim_says_which_pod_has_the_gpu(stub, tmp_path):
    with_dra(stub)
    adapter = adapter_to(stub, tmp_path, kubernetes_device_taint=True, kubernetes_evict=True)
    assert "by its resource claim" in adapter.checkpoint(CHECKPOINT).detail
    assert (bool(annotations(stub, "a")), bool(annotations(stub, "b"))) == (True, False)
    assert adapter.migrate(NOW).ok
    assert [e["metadata"]["name"] for e in stub.evictions] == ["a"]


def test_nvsentinel_gets_the_node_instead_of_our_taint(stub, tmp_path):
    stub.served |= {"maintenancerequests"}
    adapter = adapter_to(stub, tmp_path, kubernetes_nvsentinel=True)
    assert adapter.drain(DRAIN).ok
    assert stub.taints == [OURS]  # "no new work" is not NVSentinel's: it would drain
    assert stub.named("maintenancerequests") == []
    assert adapter.migrate(of_second(NOW)).ok
    assert stub.taints == [OURS]
    health = stub.find("maintenancerequests", "foreshock-n1")["spec"]["healthEvent"]
    assert (health["version"], health["nodeName"], health["isHealthy"]) == (1, "n1", False)
    assert (health["isFatal"], health["recommendedAction"]) == (False, "NONE")
    assert health["message"] == "foreshock:i2 GPU 5 GPU-b risk=0.93 (synthetic)"


def test_the_request_is_withdrawn_with_the_last_incident_that_needs_it(stub, tmp_path):
    stub.served |= {"maintenancerequests"}
    adapter = adapter_to(stub, tmp_path, kubernetes_nvsentinel=True)
    adapter.migrate(NOW)
    adapter.migrate(of_second(NOW))
    adapter.release(RELEASE)
    assert stub.named("maintenancerequests") == ["foreshock-n1"]
    assert "MaintenanceRequest deleted" in adapter.release(of_second(RELEASE)).detail
    assert stub.named("maintenancerequests") == []
    assert stub.taints == []


def test_where_nvsentinel_cannot_take_the_node_it_is_tainted_and_that_is_told(stub, tmp_path):
    adapter = adapter_to(stub, tmp_path, kubernetes_nvsentinel=True)
    outcome = adapter.migrate(NOW)  # not served
    assert outcome.ok
    assert "hence not per GPU or handed over" in outcome.detail
    assert stub.taints == [{**OURS, "value": "failed"}]


def test_a_node_that_is_opted_out_of_nvsentinel_is_ours_to_taint(stub, tmp_path):
    stub.served |= {"maintenancerequests"}
    labels = {"nvsentinel.dgxc.nvidia.com/managed": "false"}
    stub.put("nodes", "n1", {"metadata": {"labels": labels}, "spec": {}})
    adapter = adapter_to(stub, tmp_path, kubernetes_nvsentinel=True)
    assert "opted out" in adapter.migrate(NOW).detail
    assert stub.taints == [{**OURS, "value": "failed"}]
    assert stub.named("maintenancerequests") == []


def test_somebody_elses_request_is_neither_taken_for_ours_nor_deleted(stub, tmp_path):
    stub.served |= {"maintenancerequests"}
    stub.put("maintenancerequests", "foreshock-n1", {"spec": {}})
    adapter = adapter_to(stub, tmp_path, kubernetes_nvsentinel=True)
    assert "somebody else's" in adapter.migrate(NOW).detail
    assert adapter.release(RELEASE).ok
    assert stub.named("maintenancerequests") == ["foreshock-n1"]


def test_an_object_that_somebody_made_anew_under_the_name_is_not_deleted(stub, tmp_path):
    stub.served |= {"maintenancerequests"}
    token = tmp_path / "token"
    token.write_text("t")
    api = Api(BridgeConfig(kubernetes_url=stub.url, kubernetes_token_file=str(token)))
    path = "/apis/nvsentinel.dgxc.nvidia.com/v1/maintenancerequests/foreshock-n1"
    made = stub.put("maintenancerequests", "foreshock-n1", {"spec": {}})
    api.delete(path, "uid-of-the-former")
    assert stub.named("maintenancerequests") == ["foreshock-n1"]
    api.delete(path, made["metadata"]["uid"])
    assert stub.named("maintenancerequests") == []
    api.close()


def rules(*files):
    """(group, resource, verb) of the one-line rules."""
    allowed = set()
    for file in files:
        for line in re.findall(r"- \{apiGroups: (.*)\}", (ROLES / file).read_text()):
            groups, resources, verbs = (
                re.findall(r'"([^"]*)"', part) for part in re.split(r"resources:|verbs:", line)
            )
            allowed |= {(g, r, v) for g in groups for r in resources for v in verbs}
    return allowed


FILES = ("rbac.yaml", "rbac-evict.yaml", "rbac-dra.yaml", "rbac-nvsentinel.yaml")


def test_the_shipped_roles_are_enough_and_not_one_right_too_many(stub, tmp_path):
    with_dra(stub)
    stub.served |= {"maintenancerequests"}
    stub.allowed = rules(*FILES)
    adapter = adapter_to(
        stub, tmp_path, kubernetes_cordon=True, kubernetes_evict=True, kubernetes_evict_all=True,
        kubernetes_device_taint=True, kubernetes_nvsentinel=True,
    )  # fmt: skip
    for ask, action in (
        (adapter.checkpoint, CHECKPOINT),
        (adapter.drain, DRAIN),
        (adapter.migrate, NOW),
        (adapter.migrate, NOW),
        (adapter.release, RELEASE),
    ):
        outcome = ask(action)
        assert outcome.ok
        assert "403" not in outcome.detail
        assert "not written" not in outcome.detail
    assert {(call.group, call.resource, call.verb) for call in stub.calls} == stub.allowed


def test_without_settings_the_first_file_is_enough(stub, tmp_path):
    add_pod(stub, "a")
    stub.allowed = rules("rbac.yaml")
    adapter = adapter_to(stub, tmp_path)
    for ask, action in (
        (adapter.checkpoint, CHECKPOINT),
        (adapter.migrate, NOW),
        (adapter.release, RELEASE),
    ):
        outcome = ask(action)
        assert outcome.ok
        assert "403" not in outcome.detail
    assert {(call.group, call.resource, call.verb) for call in stub.calls} == stub.allowed
