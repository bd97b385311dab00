"""A STUB of the Kubernetes API server, not the real one: one node, over real HTTP on loopback.

It has the rules that matter to a taint, as they were seen on a real kube-apiserver: every write makes a new
resourceVersion; a write that names another one than the present is 409; a patch of spec.taints, merge or
strategic-merge, replaces the whole list.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATCHES = ("application/merge-patch+json", "application/strategic-merge-patch+json")


class Cluster:
    """The state. `before_patch` runs before each patch is looked at: another owner may write there."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.version = 1
        self.taints: list[dict[str, Any]] | None = None
        self.before_patch: Callable[[], None] = lambda: None
        self.conflicts = 0
        self.url = ""
        self._lock = threading.Lock()

    def node(self) -> dict[str, Any]:
        spec = {} if self.taints is None else {"taints": self.taints}
        return {"metadata": {"name": "n1", "resourceVersion": str(self.version)}, "spec": spec}

    def write(self, taints: list[dict[str, Any]]) -> None:
        self.taints = taints
        self.version += 1

    def patch(self, patch: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.before_patch()
        with self._lock:
            wanted = patch.get("metadata", {}).get("resourceVersion")
            if wanted is not None and wanted != str(self.version):
                self.conflicts += 1
                return 409, {"kind": "Status", "reason": "Conflict", "code": 409}
            self.write(patch["spec"]["taints"])
            return 200, self.node()


@contextmanager
def cluster(token: str = "t") -> Iterator[Cluster]:
    """A running stub."""
    state = Cluster(token)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, state.node())

        def do_PATCH(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers["content-type"] not in PATCHES:
                self._answer(415, {"code": 415})
            else:
                self._answer(*state.patch(json.loads(body)))

        def _answer(self, code: int, body: dict[str, Any]) -> None:
            if self.headers["authorization"] != f"Bearer {state.token}":
                code, body = 401, {"code": 401}
            elif self.path != "/api/v1/nodes/n1":
                code, body = 404, {"code": 404}
            data = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield state
        server.shutdown()
        thread.join(5)
