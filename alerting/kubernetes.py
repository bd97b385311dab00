"""`foreshock bridge kubernetes`: one taint on the node, ours alone.

A strategic-merge patch of spec.taints replaces the whole list (seen on a real API server), so that two owners
who patch blindly erase each other. Hence read, change our entry only, write the full list with the
resourceVersion that was read, and begin again on 409. Needs RBAC `get` and `patch` on nodes, nothing more.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any, Final

import httpx2

from alerting.action import Action, Outcome
from collector.config import BridgeConfig
from collector.errors import ConfigError, ForeshockError

TAINT_KEY: Final = "foreshock.org/gpu-fault"
_EFFECT: Final = "NoSchedule"
_TRIES: Final = 5
_TIMEOUT_S: Final = 10.0
_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class KubernetesAdapter:
    """The scheduler's side of an action, through the API server."""

    def __init__(self, config: BridgeConfig) -> None:
        """Raises ConfigError when there is no API server to talk to."""
        self._token_file = Path(config.kubernetes_token_file or _ACCOUNT / "token")
        ca_file = Path(config.kubernetes_ca_file or _ACCOUNT / "ca.crt")
        verify = ssl.create_default_context(cafile=str(ca_file)) if ca_file.is_file() else True
        url = config.kubernetes_url or _in_cluster_url()
        self._client = httpx2.Client(base_url=url, verify=verify, timeout=_TIMEOUT_S)

    def checkpoint(self, action: Action) -> Outcome:
        """Not done yet, and said so: Kubernetes has no "save and go on"; pods are only ever asked to end."""
        return Outcome(ok=False, detail=f"advisory only: no pod on {action.node} was asked to checkpoint")

    def drain(self, action: Action) -> Outcome:
        """Taint the node. Running pods stay; a cordon or another owner's taint is neither set nor lifted."""
        value = "failed" if action.action == "drain_now" else "predicted"
        path = f"/api/v1/nodes/{_node_name(action.node)}"
        taint = f"{TAINT_KEY}={value}:{_EFFECT}"
        for _ in range(_TRIES):
            node = _checked(self._client.get(path, headers=self._headers()), action.node).json()
            taints = with_taint(node["spec"].get("taints") or [], value)
            if taints is None:
                return Outcome(ok=True, detail=f"{action.node} has the taint already")
            patch = {
                "metadata": {"resourceVersion": node["metadata"]["resourceVersion"]},
                "spec": {"taints": taints},
            }
            headers = {**self._headers(), "content-type": "application/merge-patch+json"}
            answer = self._client.patch(path, json=patch, headers=headers)
            if answer.status_code != 409:
                _checked(answer, action.node)
                return Outcome(ok=True, detail=f"{action.node} tainted {taint}")
        return Outcome(
            ok=False, detail=f"{action.node}: {_TRIES} conflicts in a row, others keep writing to it"
        )

    def migrate(self, action: Action) -> Outcome:
        """The drain alone so far."""
        return self.drain(action)

    def release(self, action: Action) -> Outcome:
        return Outcome(ok=False, detail=f"{action.node}: not lifted, only drained nodes are known so far")

    def close(self) -> None:
        self._client.close()

    def _headers(self) -> dict[str, str]:
        """The token is read anew each time: the kubelet rotates it."""
        try:
            return {"authorization": f"Bearer {self._token_file.read_text().strip()}"}
        except OSError as e:
            raise ConfigError(
                f"{self._token_file}: {e.strerror}", hint="set bridge.kubernetes_token_file"
            ) from e


def with_taint(taints: list[dict[str, Any]], value: str) -> list[dict[str, Any]] | None:
    """The list with ours in it, all others as they were; None when it is there already.

    `failed` is not taken back to `predicted`.
    """
    ours = next((t for t in taints if t["key"] == TAINT_KEY and t["effect"] == _EFFECT), None)
    if ours is not None and ours.get("value") in (value, "failed"):
        return None
    return [*(t for t in taints if t is not ours), {"key": TAINT_KEY, "value": value, "effect": _EFFECT}]


def _checked(answer: httpx2.Response, node: str) -> httpx2.Response:
    if answer.is_success:
        return answer
    hint = {
        401: "see bridge.kubernetes_token_file",
        403: "the service account needs get and patch on nodes",
        404: "collector.node must be the name of the Kubernetes node",
    }.get(answer.status_code, "see the API server's log")
    raise ForeshockError(f"node {node}: HTTP {answer.status_code}: {answer.text[:200]}", hint=hint)


def _node_name(name: str) -> str:
    """A DNS subdomain, so that it cannot become another path."""
    if not name or not all(c.isascii() and (c.isalnum() or c in "-.") for c in name) or name.startswith("."):
        raise ForeshockError(
            f"{name!r} is not a node name", hint="collector.node must be the Kubernetes node"
        )
    return name


def _in_cluster_url() -> str:
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise ConfigError(
            "no Kubernetes API server", hint="set bridge.kubernetes_url, or run inside the cluster"
        )
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
