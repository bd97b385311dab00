"""One GPU of a node where GPUs are given out by dynamic resource allocation (DRA): its taint, and its pods.

DeviceTaintRule is in resource.k8s.io/v1 since Kubernetes 1.37, v1beta2 in 1.36; ResourceSlice and ResourceClaim
are in v1 since 1.34. NVIDIA's driver names a GPU by the attribute `uuid`, a MIG device by `parentUUID` too.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from alerting.kubernetes_api import Api, ApiError, Object, object_name
from alerting.kubernetes_hold import TAINT_KEY

INCIDENT_LABEL: Final = "foreshock.org/incident"
_GROUP: Final = "/apis/resource.k8s.io"
_RULE_VERSIONS: Final = ("v1", "v1beta2")


class Device(NamedTuple):
    """What names a device in the whole cluster."""

    driver: str
    pool: str
    name: str


def devices(api: Api, node: str, gpu_uuid: str | None) -> list[Device]:
    """The GPU and its MIG devices; empty when DRA does not know it. Raises ApiError, 404 where DRA is off."""
    if gpu_uuid is None:
        return []
    slices = api.list(f"{_GROUP}/v1/resourceslices", fieldSelector=f"spec.nodeName={node}")
    newest: dict[tuple[str, str], int] = {}
    for spec in (s["spec"] for s in slices):
        pool = (spec["driver"], spec["pool"]["name"])
        newest[pool] = max(newest.get(pool, 0), spec["pool"]["generation"])
    return [
        Device(spec["driver"], spec["pool"]["name"], device["name"])
        for spec in (s["spec"] for s in slices)
        if spec["pool"]["generation"] == newest[spec["driver"], spec["pool"]["name"]]
        for device in spec.get("devices") or []
        if gpu_uuid in _uuids(device)
    ]


def taint_device(api: Api, device: Device, incident_id: str) -> None:
    """New claims are not given this device; those that hold it go on. Twice is once. Raises ApiError."""
    body: Object = {
        "kind": "DeviceTaintRule",
        "metadata": {
            "name": object_name(incident_id, device.pool, device.name),
            "labels": {INCIDENT_LABEL: _label(incident_id)},
        },
        "spec": {
            "deviceSelector": {"driver": device.driver, "pool": device.pool, "device": device.name},
            "taint": {"key": TAINT_KEY, "effect": "NoSchedule"},
        },
    }
    version = _rule_version(api)
    api.create(f"{_GROUP}/{version}/devicetaintrules", {"apiVersion": f"resource.k8s.io/{version}", **body})


def untaint_devices(api: Api, incident_id: str) -> int:
    """Delete the incident's rules; how many there were. Raises ApiError."""
    path = f"{_GROUP}/{_rule_version(api)}/devicetaintrules"
    rules = api.list(path, labelSelector=f"{INCIDENT_LABEL}={_label(incident_id)}")
    for rule in rules:
        api.delete(f"{path}/{rule['metadata']['name']}", rule["metadata"]["uid"])
    return len(rules)


def pods_of(api: Api, held: list[Device]) -> set[str]:
    """The uids of the pods whose claims were given one of these devices. Raises ApiError."""
    return {
        consumer["uid"]
        for claim in api.list(f"{_GROUP}/v1/resourceclaims")
        if any(_device(result) in held for result in _results(claim))
        for consumer in (claim.get("status") or {}).get("reservedFor") or []
        if consumer["resource"] == "pods"
    }


def _label(incident_id: str) -> str:
    """A label's value has 63 characters at most."""
    return object_name(incident_id)[:63].strip("-")


def _results(claim: Object) -> list[Object]:
    allocation = (claim.get("status") or {}).get("allocation") or {}
    return (allocation.get("devices") or {}).get("results") or []


def _device(result: Object) -> Device:
    return Device(result["driver"], result["pool"], result["device"])


def _uuids(device: Object) -> set[str]:
    attributes = device.get("attributes") or {}
    return {attributes[name].get("string", "") for name in ("uuid", "parentUUID") if name in attributes}


def _rule_version(api: Api) -> str:
    """The first version that the server has. Raises the last one's ApiError (404) when it has none."""
    for version in _RULE_VERSIONS[:-1]:
        try:
            api.list(f"{_GROUP}/{version}/devicetaintrules", labelSelector=f"{INCIDENT_LABEL}=none")
        except ApiError as e:
            if e.status != 404:
                raise
        else:
            return version
    return _RULE_VERSIONS[-1]
