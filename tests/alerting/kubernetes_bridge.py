"""What the tests of `bridge kubernetes` share: actions, pods, and an adapter before the stub."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from alerting.action import Action
from alerting.kubernetes import KubernetesAdapter
from alerting.kubernetes_hold import TAINT_KEY
from alerting.kubernetes_notice import CONDITION
from collector.config import BridgeConfig
from tests.alerting.kubernetes_stub import Cluster

DRAIN = Action(
    action_id="i1.drain", incident_id="i1", action="drain", intent="no_new_work", time=1.0, node="n1",
    gpu_uuid="GPU-a", gpu_index=3, pci_bdf=None, risk=0.93, reasons=(), summary="", detail="", synthetic=True,
    dry_run=False,
)  # fmt: skip
NOW = msgspec.structs.replace(DRAIN, action_id="i1.drain_now", action="drain_now", intent="migrate")
CHECKPOINT = msgspec.structs.replace(
    DRAIN, action_id="i1.checkpoint", action="checkpoint", intent="checkpoint"
)
RELEASE = msgspec.structs.replace(DRAIN, action_id="i1.release", action="release", intent="resume")
OTHERS = {"key": "nvidia.com/gpu-xid-error", "value": "true", "effect": "NoSchedule"}
OURS = {"key": TAINT_KEY, "value": "predicted", "effect": "NoSchedule"}


def of_second(action: Action) -> Action:
    """The same, of another incident on another GPU of the node."""
    return msgspec.structs.replace(
        action, action_id=f"i2.{action.action}", incident_id="i2", gpu_uuid="GPU-b", gpu_index=5
    )


def adapter_to(
    stub: Cluster, directory: Path, wait: Callable[[float], None] = lambda _: None, **settings: Any
) -> KubernetesAdapter:
    token = directory / "token"
    token.write_text("t\n")
    config = BridgeConfig(kubernetes_url=stub.url, kubernetes_token_file=str(token), **settings)
    return KubernetesAdapter(config, wait)


def add_pod(stub: Cluster, name: str, gpus: int = 1, node: str = "n1", **metadata: Any) -> dict[str, Any]:
    limits = {"nvidia.com/gpu": str(gpus)} if gpus > 0 else {"cpu": "1"}
    body = {
        "metadata": {"uid": f"uid-{name}", **metadata},
        "spec": {"nodeName": node, "containers": [{"name": "c", "resources": {"limits": limits}}]},
        "status": {"phase": "Running"},
    }
    return stub.put("pods", name, body, "team")


def annotations(stub: Cluster, pod: str) -> dict[str, str]:
    found: dict[str, str] = stub.find("pods", pod, "team")["metadata"].get("annotations") or {}
    return found


def our_condition(stub: Cluster) -> dict[str, Any]:
    """Ours among the node's conditions."""
    (found,) = [c for c in stub.node()["status"]["conditions"] if c["type"] == CONDITION]
    return dict(found)
