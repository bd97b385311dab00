"""The few calls of the Kubernetes API that the bridge needs: thin, retried, and never a blind write.

A patch of spec.taints replaces the whole list (seen on a real API server), so that two owners who patch blindly
erase each other. Hence `edit`: read, change our part only, write with the resourceVersion that was read, and
begin again on 409.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

import httpx2

from collector.config import BridgeConfig
from collector.errors import ConfigError, ForeshockError

Object = dict[str, Any]
"""A Kubernetes object, or a patch of one, as JSON."""
MERGE: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"
BUSY: Final = frozenset({429, 500, 502, 503, 504})
"""Answers that a moment later may be another one. 429 is also how the server sheds load."""
_CONFLICTS: Final = 5
_PAUSES_S: Final = (0.5, 1.0, 2.0)
_TIMEOUT_S: Final = 10.0
_PAGE: Final = "500"
_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ApiError(ForeshockError):
    """The server said no. `status` is the HTTP status."""

    def __init__(self, what: str, answer: httpx2.Response) -> None:
        hint = {
            401: "see bridge.kubernetes_token_file",
            403: "deploy/kubernetes has the roles, one for each setting",
            404: "collector.node must be the name of the Kubernetes node",
        }.get(answer.status_code, "see the API server's log")
        super().__init__(f"{what}: HTTP {answer.status_code}: {_message(answer)}", hint=hint)
        self.status = answer.status_code


class Api:
    """One API server, one service account."""

    def __init__(self, config: BridgeConfig, wait: Callable[[float], None] = time.sleep) -> None:
        """Raises ConfigError when there is no API server to talk to. `wait` takes seconds."""
        self._token_file = Path(config.kubernetes_token_file or _ACCOUNT / "token")
        ca_file = Path(config.kubernetes_ca_file or _ACCOUNT / "ca.crt")
        verify = ssl.create_default_context(cafile=str(ca_file)) if ca_file.is_file() else True
        url = config.kubernetes_url or _in_cluster_url()
        self._client = httpx2.Client(base_url=url, verify=verify, timeout=_TIMEOUT_S)
        self.wait = wait

    def get(self, path: str) -> Object:
        """One object. Raises ApiError, 404 included."""
        return _body(path, self.request("GET", path))

    def list(self, path: str, **selectors: str) -> list[Object]:
        """All items, page by page; `selectors` are fieldSelector and labelSelector."""
        items: list[Object] = []
        following = ""
        while True:
            page = {"limit": _PAGE, **({"continue": following} if following else {})}
            answer = _body(path, self.request("GET", path, params={**selectors, **page}))
            items += answer.get("items") or []
            following = (answer.get("metadata") or {}).get("continue") or ""
            if not following:
                return items

    def create(self, path: str, body: Object) -> bool:
        """Whether it is new; False when one of that name is there already. Raises ApiError."""
        answer = self.request("POST", path, body=body)
        if answer.status_code == 409:
            return False
        _body(path, answer)
        return True

    def delete(self, path: str, uid: str) -> None:
        """The object with this uid and no later one of the same name; gone already is as good."""
        answer = self.request("DELETE", path, body={"preconditions": {"uid": uid}})
        if answer.status_code not in (404, 409):
            _body(path, answer)

    def edit(
        self, path: str, change: Callable[[Object], Object | None], *, part: str = "", kind: str = MERGE
    ) -> bool:
        """Read-modify-write. `change` makes a patch of what was read, or None; -> whether something was written.

        `part` is a subresource to write to. Raises ApiError, and ForeshockError after five conflicts in a row.
        """
        for _ in range(_CONFLICTS):
            found = self.get(path)
            patch = change(found)
            if patch is None:
                return False
            version = {"resourceVersion": found["metadata"]["resourceVersion"]}
            patch = {**patch, "metadata": {**patch.get("metadata", {}), **version}}
            answer = self.request("PATCH", path + part, body=patch, content_type=kind)
            if answer.status_code != 409:
                _body(path + part, answer)
                return True
        raise ForeshockError(
            f"{path}: {_CONFLICTS} conflicts in a row, others keep writing to it", hint="try again"
        )

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Object | None = None,
        content_type: str = "application/json",
        params: Mapping[str, str] | None = None,
        busy: Collection[int] = BUSY,
    ) -> httpx2.Response:
        """One call, asked again for a few seconds where the server is away or one of `busy`.

        All of ours bear that: names are fixed, patches carry a resourceVersion. Raises ForeshockError when it
        stays away; any answer is returned.
        """
        for pause_s in (*_PAUSES_S, None):
            try:
                answer = self._client.request(
                    method, path, json=body, params=params, headers=self._headers(content_type)
                )
                if pause_s is None or answer.status_code not in busy:
                    return answer
            except httpx2.TransportError as e:
                if pause_s is None:
                    raise ForeshockError(
                        f"API server {self._client.base_url}: {e or type(e).__name__}",
                        hint="see bridge.kubernetes_url",
                    ) from e
            self.wait(pause_s)
        raise AssertionError("unreachable: the last turn returns or raises")

    def close(self) -> None:
        self._client.close()

    def _headers(self, content_type: str) -> dict[str, str]:
        """The token is read anew each time: the kubelet rotates it."""
        try:
            token = self._token_file.read_text().strip()
        except OSError as e:
            raise ConfigError(
                f"{self._token_file}: {e.strerror}", hint="set bridge.kubernetes_token_file"
            ) from e
        return {"authorization": f"Bearer {token}", "content-type": content_type}


def node_path(name: str) -> str:
    """Its path, where the name is a DNS subdomain: a name in a message cannot become another path."""
    if not name or not all(c.isascii() and (c.isalnum() or c in "-.") for c in name) or name.startswith("."):
        raise ForeshockError(
            f"{name!r} is not a node name", hint="collector.node must be the Kubernetes node"
        )
    return f"/api/v1/nodes/{name}"


def object_name(*parts: str) -> str:
    """A name for an object of ours: a DNS subdomain, the same for the same parts."""
    name = "".join(c if c.isascii() and c.isalnum() else "-" for c in "-".join(parts).lower())
    return f"foreshock-{name}"[:200].strip("-")


def _body(what: str, answer: httpx2.Response) -> Object:
    if not answer.is_success:
        raise ApiError(what, answer)
    body: Object = answer.json()
    return body


def _message(answer: httpx2.Response) -> str:
    """The Status object's own words, else the raw text."""
    try:
        return str(answer.json()["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]


def _in_cluster_url() -> str:
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise ConfigError(
            "no Kubernetes API server", hint="set bridge.kubernetes_url, or run inside the cluster"
        )
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
