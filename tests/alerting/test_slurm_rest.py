"""Drains over slurmrestd, against a stub that answers as slurmrestd of Slurm 24.11.5 did (paths, fields, errors).

The stub is not Slurm: it keeps one node's state and reason, knows the token, and refuses what 24.11.5 refused.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from alerting import slurm_node
from alerting.slurm_node import Node
from alerting.slurm_rest import SlurmRest, newest_version
from collector.errors import ConfigError, ForeshockError

NODE = "/slurm/v0.0.42/node/n1"
PATHS = {f"/slurm/v0.0.{n}/node/{{node_name}}": ["get", "post", "delete"] for n in (40, 42)}
OURS = "foreshock:inc-1 GPU 3 GPU-a risk=0.93"


class Stub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.state = ["IDLE"]
        self.reason = ""
        self.token = "good"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if path == "/openapi/v3":
            return 200, {"paths": {path: {m: {} for m in methods} for path, methods in PATHS.items()}}
        if path != NODE:
            return 200, failed("Failure to query node nix")
        if method == "POST":
            flag, *_ = body["state"]
            if flag not in ("DRAIN", "UNDRAIN"):
                return 500, failed(f'Unknown flag "{flag}"')
            self.state = ["IDLE", "DRAIN"] if flag == "DRAIN" else ["IDLE", "NOT_RESPONDING"]
            self.reason = body.get("reason", self.reason)  # 24.11 keeps it when the drain is lifted
            return 200, {"errors": []}
        return 200, {"nodes": [{"name": "n1", "state": self.state, "reason": self.reason}], "errors": []}


class Answers(BaseHTTPRequestHandler):
    server: Stub

    def do_GET(self) -> None:
        self._reply()

    def do_POST(self) -> None:
        self._reply()

    def _reply(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        status, told = self.server.answer(self.command, self.path, body)
        if self.headers["x-slurm-user-token"] != self.server.token:
            status, told = 401, failed("Authentication failure")
        raw = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        pass


def failed(description: str) -> dict[str, Any]:
    return {
        "errors": [{"description": description, "error_number": 0, "error": "No error", "source": "stub"}]
    }


@pytest.fixture
def stub() -> Iterator[Stub]:
    with Stub() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def rest(stub: Stub, tmp_path: Path) -> Iterator[SlurmRest]:
    (tmp_path / "token").write_text("SLURM_JWT=good\n")
    client = SlurmRest(stub.url, str(tmp_path / "token"))
    yield client
    client.close()


def test_our_drain_is_set_and_lifted_and_its_reason_does_not_stay_behind(stub: Stub, rest: SlurmRest):
    assert rest.read("n1") == Node(frozenset({"IDLE"}), "")
    slurm_node.drain(rest, "n1", "inc-1", OURS)
    assert (stub.state, stub.reason) == (["IDLE", "DRAIN"], OURS)
    slurm_node.release(rest, "n1", "inc-2")
    assert stub.state == ["IDLE", "DRAIN"], "another incident's"
    slurm_node.release(rest, "n1", "inc-1")
    assert "DRAIN" not in stub.state
    assert Node(frozenset({"DRAIN"}), stub.reason).incidents == (), "a later drain without a word is not ours"


def test_an_administrators_drain_is_left_alone(stub: Stub, rest: SlurmRest):
    stub.state, stub.reason = ["IDLE", "DRAIN"], "bad fan"
    slurm_node.drain(rest, "n1", "inc-1", OURS)
    slurm_node.release(rest, "n1", "inc-1")
    assert (stub.state, stub.reason) == (["IDLE", "DRAIN"], "bad fan")


def test_a_token_that_was_renewed_is_read_anew(stub: Stub, rest: SlurmRest, tmp_path: Path):
    rest.read("n1")
    stub.token = "renewed"
    with pytest.raises(ForeshockError, match=r"HTTP 401 .*Authentication failure"):
        rest.read("n1")
    (tmp_path / "token").write_text("renewed")
    assert not rest.read("n1").is_drained


def test_an_error_under_http_200_is_an_error(rest: SlurmRest):
    with pytest.raises(ForeshockError, match="Failure to query node nix"):
        rest.read("nix")


def test_the_newest_version_that_both_know_and_that_can_drain_is_taken():
    both: dict[str, Any] = {
        "/slurm/v0.0.39/node/{node_name}": {"get": {}},
        "/slurm/v0.0.43/node/{node_name}/": {"post": {}},
    }
    assert newest_version({"paths": both}) == "v0.0.43"
    with pytest.raises(ForeshockError, match=r"no way to drain a node"):
        newest_version({"paths": {"/slurm/v0.0.38/node/{node_name}": {"get": {}}}})
    with pytest.raises(ForeshockError, match=r"no way to drain a node"):
        newest_version({"paths": {"/slurm/v0.0.99/node/{node_name}": {"post": {}}}})


def test_settings_that_cannot_work_are_said_so(tmp_path: Path, stub: Stub):
    with pytest.raises(ConfigError, match=r"bridge\.slurm_rest_url"):
        SlurmRest("slurm:6820", "")
    client = SlurmRest(stub.url, str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"bridge\.slurm_token_file"):
        client.read("n1")
    client.close()
