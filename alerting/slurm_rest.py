"""Slurm's controller through slurmrestd: drains where scontrol is not at hand. Signals stay local, by pid.

The API's version is in every path. We take the highest that the server offers and that we know; a node can be
drained this way since v0.0.40 (Slurm 23.11). Before that, and where there is no JWT, use scontrol.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import httpx2

from alerting.slurm_node import Node
from collector.errors import ConfigError, ForeshockError

_TIMEOUT_S: Final = 10.0
_KNOWN: Final = range(40, 45)
_NODE_PATH: Final = re.compile(r"/slurm/v0\.0\.(\d+)/node/\{node_name\}/?")


class SlurmRest:
    """A node's drain over HTTP. The token's user needs AdminLevel Operator, as with scontrol."""

    def __init__(self, url: str, token_file: str) -> None:
        """Raises ConfigError for a URL that is none. The token is read at each request."""
        parsed = httpx2.URL(url)
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ConfigError(f"bridge.slurm_rest_url: not a URL: {url!r}", hint='e.g. "https://slurm:6820"')
        self._token_file = token_file
        self._client = httpx2.Client(base_url=url, timeout=_TIMEOUT_S)
        self._version = ""

    def read(self, node: str) -> Node:
        answer = self._ask("GET", node)
        found = answer.get("nodes") or []
        if len(found) != 1:
            raise ForeshockError(
                f"slurmrestd shows {len(found)} nodes for {node!r}",
                hint="collector.node must be the NodeName",
            )
        state = found[0].get("state") or []
        flags = [state] if isinstance(state, str) else state
        return Node(frozenset(str(f).upper() for f in flags), str(found[0].get("reason") or ""))

    def drain(self, node: str, reason: str) -> None:
        self._ask("POST", node, {"state": ["DRAIN"], "reason": reason})

    def undrain(self, node: str, note: str) -> None:
        self._ask("POST", node, {"state": ["UNDRAIN"], "reason": note})

    def close(self) -> None:
        self._client.close()

    def _ask(self, method: str, node: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One request on the node. `node` is one name (single_node), so that it cannot become another path."""
        if not self._version:
            self._version = newest_version(self._send("GET", "/openapi/v3"))
        return self._send(method, f"/slurm/{self._version}/node/{node}", body)

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"X-SLURM-USER-TOKEN": self._token(), "accept": "application/json"}
        try:
            answer = self._client.request(method, path, json=body, headers=headers)
            told = answer.json() if answer.content else {}
        except (httpx2.HTTPError, ValueError) as e:
            raise ForeshockError(
                f"slurmrestd: {type(e).__name__}: {e}", hint="see bridge.slurm_rest_url"
            ) from e
        errors = told.get("errors") if isinstance(told, dict) else None
        if not answer.is_success or errors or not isinstance(told, dict):
            said = "; ".join(str(e.get("description") or e.get("error")) for e in errors or [])
            raise ForeshockError(
                f"slurmrestd: HTTP {answer.status_code} for {method} {path}: {said or answer.text[:200]}",
                hint="the token's user needs AdminLevel Operator; see bridge.slurm_token_file",
            )
        return told

    def _token(self) -> str:
        """`scontrol token` prints SLURM_JWT=...; the bare token is as good. Read anew: tokens are short-lived."""
        try:
            return Path(self._token_file).read_text().strip().removeprefix("SLURM_JWT=")
        except OSError as e:
            raise ConfigError(
                f"bridge.slurm_token_file {self._token_file!r}: {e.strerror}",
                hint="scontrol token lifespan=3600",
            ) from e


def newest_version(openapi: dict[str, Any]) -> str:
    """`GET /openapi/v3` -> the newest version that we know and in which a node can be changed."""
    numbers = [
        int(match.group(1))
        for path, methods in openapi.get("paths", {}).items()
        if (match := _NODE_PATH.fullmatch(path)) and "post" in methods
    ]
    known = [n for n in numbers if n in _KNOWN]
    if not known:
        raise ForeshockError(
            f"slurmrestd offers no way to drain a node that we know (v0.0.40 to v0.0.44): {sorted(set(numbers))}",
            hint="unset bridge.slurm_rest_url: scontrol is used then",
        )
    return f"v0.0.{max(known)}"
