"""Hand-over to NVSentinel (1.25 and later): its MaintenanceRequest cordons and drains the node, deleting it uncordons.

Form from NVSentinel's tutorial "Requesting Node Maintenance" and its ADR-049 (read, not run): cluster scope, one
request per node at a time, spec.healthEvent immutable, `isHealthy: false` required, webhook replaces `agent`.
"""

from __future__ import annotations

from typing import Final

from alerting.action import Action, reason_line
from alerting.kubernetes_api import Api, ApiError, Object, object_name
from collector.errors import ForeshockError

_PATH: Final = "/apis/nvsentinel.dgxc.nvidia.com/v1/maintenancerequests"
_OWNER: Final = {"app.kubernetes.io/managed-by": "foreshock"}
_OPT_OUT: Final = ("nvsentinel.dgxc.nvidia.com/managed", "k8saas.nvidia.com/ManagedByNVSentinel")


def is_managed(node: Object) -> bool:
    """Whether NVSentinel acts on this node: an operator may have opted it out by label."""
    labels = node["metadata"].get("labels") or {}
    return all(labels.get(name) != "false" for name in _OPT_OUT)


def request_maintenance(api: Api, action: Action) -> str:
    """Create the node's request, unless ours is there; its name. Raises ForeshockError when it cannot be."""
    name = object_name(action.node)
    if api.create(_PATH, maintenance_request(name, action)):
        return name
    found = api.get(f"{_PATH}/{name}")["metadata"]
    if not _is_ours(found):
        raise ForeshockError(f"MaintenanceRequest {name} is somebody else's", hint="see who made it")
    if found.get("deletionTimestamp"):
        raise ForeshockError(f"MaintenanceRequest {name} is still being deleted", hint="see NVSentinel's log")
    return name


def withdraw_maintenance(api: Api, node: str) -> bool:
    """Delete ours, whereupon NVSentinel uncordons; whether there was one. Raises ApiError."""
    path = f"{_PATH}/{object_name(node)}"
    try:
        found = api.get(path)["metadata"]
    except ApiError as e:
        if e.status != 404:
            raise
        return False
    if not _is_ours(found):
        return False
    api.delete(path, found["uid"])
    return True


def maintenance_request(name: str, action: Action) -> Object:
    """The object. `recommendedAction: NONE`: cordon and drain, and nothing after it."""
    synthetic = " (synthetic)" if action.synthetic else ""
    return {
        "apiVersion": "nvsentinel.dgxc.nvidia.com/v1",
        "kind": "MaintenanceRequest",
        "metadata": {"name": name, "labels": _OWNER},
        "spec": {
            "healthEvent": {
                "version": 1,
                "agent": "foreshock",
                "componentClass": "Node",
                "checkName": "ForeshockGpuFault",
                "nodeName": action.node,
                "isHealthy": False,
                "isFatal": False,
                "recommendedAction": "NONE",
                "message": reason_line(action) + synthetic,
            }
        },
    }


def _is_ours(metadata: Object) -> bool:
    labels = metadata.get("labels") or {}
    return all(labels.get(key) == value for key, value in _OWNER.items())
