"""The pods that hold a GPU: which they are, telling them to save, and asking them to go.

The API server does not say which GPU a device plugin gave to which pod. So a pod is known to hold the GPU only
where the action names it, a DRA claim says so, or it was given every GPU of the node.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple

from alerting.kubernetes_api import Api, ApiError, Object
from collector.errors import ForeshockError

CHECKPOINT: Final = "foreshock.org/checkpoint-requested"
"""Annotation: the incidents that ask for a checkpoint, separated by commas."""
_RESOURCES: Final = ("nvidia.com/gpu", "nvidia.com/mig-", "nvidia.com/pgpu", "nvidia.com/vgpu")
_MIRROR: Final = "kubernetes.io/config.mirror"


class Pod(NamedTuple):
    """A pod that has not ended. `gpus`: how many its containers have of a device plugin."""

    namespace: str
    name: str
    uid: str
    gpus: int
    is_evictable: bool

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"

    @property
    def label(self) -> str:
        return f"{self.namespace}/{self.name}"


class Choice(NamedTuple):
    """The pods that an action is about, whether it is known that they hold the GPU, and how we know, in words."""

    pods: list[Pod]
    is_known: bool
    how: str


def pods_on(api: Api, node: str) -> list[Pod]:
    """All pods on the node that are not at their end. Raises ApiError."""
    found = api.list("/api/v1/pods", fieldSelector=f"spec.nodeName={node}")
    return [_pod(p) for p in found if _is_active(p)]


def choose(pods: list[Pod], text: str, claimed: Collection[str], node_gpus: int | None) -> Choice:
    """Whom to tell. `text` may name a pod or its uid; `claimed` are uids by DRA; `node_gpus` are the node's."""
    by_claim = [p for p in pods if p.uid in claimed]
    if by_claim:
        return Choice(by_claim, True, "by its resource claim")
    gpu_pods = [p for p in pods if p.gpus > 0]
    words = set(re.findall(r"[A-Za-z0-9./-]+", text))
    named = [p for p in gpu_pods if words & {p.label, p.uid}]
    if named:
        return Choice(named, True, "named by the action")
    if len(gpu_pods) == 1 and node_gpus is not None and gpu_pods[0].gpus >= node_gpus:
        return Choice(gpu_pods, True, "it has every GPU of the node")
    how = "the action names no pod and the API server does not say which pod has which GPU: all GPU pods of the node"
    return Choice(gpu_pods, False, how)


def tell(api: Api, pods: Iterable[Pod], incident_id: str) -> list[str]:
    """Annotate them; what went wrong, in words. A pod that has gone meanwhile is no problem."""

    def change(pod: Object) -> Object | None:
        asked = _asked(pod)
        if incident_id in asked:
            return None
        return {"metadata": {"annotations": {CHECKPOINT: ",".join([*asked, incident_id])}}}

    return [problem for pod in pods for problem in _edited(api, pod, change)]


def untell(api: Api, pods: Iterable[Pod], incident_id: str) -> list[str]:
    """Take the incident out of the annotation; another one's stays. What went wrong, in words."""

    def change(pod: Object) -> Object | None:
        asked = _asked(pod)
        if incident_id not in asked:
            return None
        left = ",".join(name for name in asked if name != incident_id)
        return {"metadata": {"annotations": {CHECKPOINT: left or None}}}

    return [problem for pod in pods for problem in _edited(api, pod, change)]


def _edited(api: Api, pod: Pod, change: Callable[[Object], Object | None]) -> list[str]:
    try:
        api.edit(pod.path, change)
    except ApiError as e:
        return [] if e.status == 404 else [f"pod {pod.label}: {e}"]
    except ForeshockError as e:
        return [f"pod {pod.label}: {e}"]
    return []


def _asked(pod: Object) -> list[str]:
    text = (pod["metadata"].get("annotations") or {}).get(CHECKPOINT, "")
    return [name for name in text.split(",") if name]


def _is_active(pod: Object) -> bool:
    is_ending = pod["metadata"].get("deletionTimestamp") is not None
    return not is_ending and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def _pod(pod: Object) -> Pod:
    """A DaemonSet's pod would be made again at once, and a static pod is not the API server's to evict."""
    metadata = pod["metadata"]
    owners = {owner["kind"] for owner in metadata.get("ownerReferences") or []}
    is_static = _MIRROR in (metadata.get("annotations") or {})
    containers = [*(pod["spec"].get("containers") or []), *(pod["spec"].get("initContainers") or [])]
    return Pod(
        metadata["namespace"],
        metadata["name"],
        metadata["uid"],
        sum(_gpus(container) for container in containers),
        "DaemonSet" not in owners and not is_static,
    )


def _gpus(container: Object) -> int:
    limits = (container.get("resources") or {}).get("limits") or {}
    return sum(int(n) for name, n in limits.items() if name.startswith(_RESOURCES) and str(n).isdigit())
