"""A STUB of the Kubernetes API server, not the real one: a few kinds of objects over real HTTP on loopback.

It has the rules that matter to the bridge. Seen on a real kube-apiserver 1.20: every write makes a new
resourceVersion and one that names a stale one is 409; a patch of spec.taints, merge or strategic-merge, replaces
the whole list; strategic-merge merges status.conditions by type; an accepted eviction sets deletionTimestamp.
From the API's documentation: names are unique (409), a uid precondition that fails is 409, an eviction that a
budget forbids is 429 with Retry-After, a resource that is not served is 404, a right that is missing is 403, and
a write to an object leaves its status alone while one to /status leaves all else alone.
"""

import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>v[0-9a-z]+)(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<resource>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<part>[a-z]+))?"
)
_VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}
Json = dict[str, Any]
Key = tuple[str, str, str]
"""Resource, namespace (empty: none), name."""
Answer = tuple[int, Json, dict[str, str]]
"""HTTP status, body, headers."""


class Call(NamedTuple):
    """One request as RBAC sees it; `resource` is `pods/eviction` for a subresource."""

    verb: str
    group: str
    resource: str
    name: str


class Cluster:
    """The state. `before_patch` runs before each patch is looked at: another owner may write there."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.url = ""
        self.objects: dict[Key, Json] = {}
        self.served = {"nodes", "pods", "events"}
        self.versions = {"devicetaintrules": "v1"}
        self.denied: set[tuple[str, str]] = set()
        self.allowed: set[tuple[str, str, str]] | None = None
        self.budget: dict[str, int] = {}
        self.retry_after = "7"
        self.evictions: list[Json] = []
        self.answers: list[int] = []
        self.calls: list[Call] = []
        self.before_patch: Callable[[], None] = lambda: None
        self.conflicts = 0
        self.page = 2
        self._numbers = itertools.count(1)
        self.lock = threading.RLock()

    def put(self, resource: str, name: str, body: Json, namespace: str = "") -> Json:
        """Write an object as some other owner would."""
        with self.lock:
            kept = deepcopy(body)
            number = str(next(self._numbers))
            metadata = {"uid": f"uid-{number}", **kept.get("metadata", {}), "name": name}
            if namespace:
                metadata["namespace"] = namespace
            kept["metadata"] = {**metadata, "resourceVersion": number}
            self.objects[resource, namespace, name] = kept
            return kept

    def find(self, resource: str, name: str, namespace: str = "") -> Json:
        return self.objects[resource, namespace, name]

    def named(self, resource: str) -> list[str]:
        return sorted(name for kind, _, name in self.objects if kind == resource)

    def node(self, name: str = "n1") -> Json:
        return self.find("nodes", name)

    @property
    def taints(self) -> list[Json]:
        taints: list[Json] = self.node()["spec"].get("taints") or []
        return taints

    @property
    def version(self) -> str:
        return str(self.node()["metadata"]["resourceVersion"])

    def write_taints(self, taints: list[Json]) -> None:
        self.put("nodes", "n1", {**self.node(), "spec": {**self.node()["spec"], "taints": taints}})

    def handle(self, method: str, url: str, kind: str, body: Json) -> Answer:
        split = urlsplit(url)
        match = _PATH.fullmatch(split.path)
        if match is None or not self._serves(match["resource"], match["version"]):
            return _status(404, "the server could not find the requested resource")
        resource = match["resource"] + (f"/{match['part']}" if match["part"] else "")
        verb = _VERBS.get(method) or ("get" if match["name"] else "list")
        call = Call(verb, match["group"] or "", resource, match["name"] or "")
        self.calls.append(call)
        if self.answers:
            return _status(self.answers.pop(0), "busy")
        if not self._may(call):
            return _status(403, f"cannot {verb} resource {resource!r}")
        if verb == "patch":
            self.before_patch()
        key = (match["resource"], match["namespace"] or "", match["name"] or "")
        with self.lock:
            return self._done(call, key, dict(parse_qsl(split.query)), kind, body)

    def _serves(self, resource: str, version: str) -> bool:
        return resource in self.served and self.versions.get(resource, version) == version

    def _done(self, call: Call, key: Key, query: dict[str, str], kind: str, body: Json) -> Answer:
        part = call.resource.partition("/")[2]
        if call.verb == "list":
            return self._list(key[0], query)
        if call.verb == "create":
            return self._evict(key, body) if part == "eviction" else self._create(key, body)
        if key not in self.objects:
            return _status(404, f"{call.resource} {key[2]!r} not found")
        if call.verb == "patch":
            return self._patch(key, part, kind, body)
        return self._delete(key, body) if call.verb == "delete" else (200, self.objects[key], {})

    def _may(self, call: Call) -> bool:
        is_denied = (call.verb, call.resource) in self.denied
        return not is_denied and (
            self.allowed is None or (call.group, call.resource, call.verb) in self.allowed
        )

    def _list(self, resource: str, query: dict[str, str]) -> Answer:
        """Pages of two, whatever the limit: a reader that forgets `continue` is found out."""
        found = [o for (kind, _, _), o in sorted(self.objects.items()) if kind == resource]
        for selector, read in (("fieldSelector", _field), ("labelSelector", _label)):
            if selector in query:
                name, _, value = query[selector].partition("=")
                found = [o for o in found if read(o, name) == value]
        start = int(query.get("continue", 0))
        following = str(start + self.page) if start + self.page < len(found) else ""
        items = found[start : start + self.page]
        return 200, {"items": items, "metadata": {"continue": following}}, {}

    def _create(self, key: Key, body: Json) -> Answer:
        resource, namespace, _ = key
        name = body["metadata"]["name"]
        if (resource, namespace, name) in self.objects:
            return _status(409, f"{resource} {name!r} already exists")
        return 201, self.put(resource, name, body, namespace), {}

    def _patch(self, key: Key, part: str, kind: str, patch: Json) -> Answer:
        if kind not in (MERGE, STRATEGIC):
            return _status(415, "unsupported media type")
        found = self.objects[key]
        wanted = patch.get("metadata", {}).get("resourceVersion")
        if wanted is not None and wanted != found["metadata"]["resourceVersion"]:
            self.conflicts += 1
            return _status(409, "the object has been modified")
        merged = merge(found, patch, strategic=kind == STRATEGIC)
        kept = {**found, "status": merged.get("status")} if part == "status" else merged
        if part != "status" and "status" in found:
            kept["status"] = found["status"]
        return 200, self.put(key[0], key[2], kept, key[1]), {}

    def _delete(self, key: Key, body: Json) -> Answer:
        uid = body.get("preconditions", {}).get("uid")
        if uid not in (None, self.objects[key]["metadata"]["uid"]):
            return _status(409, "the UID in the precondition does not match")
        return 200, self.objects.pop(key), {}

    def _evict(self, key: Key, body: Json) -> Answer:
        pod = self.objects.get(key)
        if pod is None:
            return _status(404, "pod not found")
        if body["deleteOptions"]["preconditions"]["uid"] != pod["metadata"]["uid"]:
            return _status(409, "the UID in the precondition does not match")
        refusals = self.budget.get(key[2], 0)
        if refusals > 0:
            self.budget[key[2]] = refusals - 1
            code, answer, _ = _status(
                429, "Cannot evict pod as it would violate the pod's disruption budget."
            )
            return code, answer, {"retry-after": self.retry_after}
        self.evictions.append(body)
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        self.put(key[0], key[2], pod, key[1])
        return 201, {"kind": "Status", "status": "Success"}, {}


def merge(old: Any, patch: Any, *, strategic: bool, key: str = "") -> Any:
    """RFC 7396; strategic-merge differs here only in that conditions merge by type."""
    if strategic and key == "conditions":
        return list({c["type"]: c for c in [*(old or []), *patch]}.values())
    if not isinstance(patch, dict):
        return patch
    out = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            out.pop(name, None)
        else:
            out[name] = merge(out.get(name), value, strategic=strategic, key=name)
    return out


def _field(item: Json, name: str) -> Any:
    for part in name.split("."):
        item = item.get(part) or {}
    return item


def _label(item: Json, name: str) -> Any:
    return item["metadata"].get("labels", {}).get(name)


def _status(code: int, message: str) -> Answer:
    return code, {"kind": "Status", "code": code, "message": message}, {}


@contextmanager
def cluster(token: str = "t") -> Iterator[Cluster]:
    """A running stub with one empty node, n1."""
    state = Cluster(token)
    state.put("nodes", "n1", {"spec": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.headers["authorization"] != f"Bearer {state.token}":
                code, answer, extra = _status(401, "Unauthorized")
            else:
                kind = self.headers["content-type"]
                code, answer, extra = state.handle(self.command, self.path, kind, json.loads(body or b"{}"))
            data = json.dumps(answer).encode()
            self.send_response(code)
            for name, value in {**extra, "content-length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    for method in _VERBS:
        setattr(Handler, f"do_{method}", Handler.do_GET)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join(5)
