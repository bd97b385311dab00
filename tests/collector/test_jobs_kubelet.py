"""The kubelet client against a real gRPC server (grpcio): the other side of the wire is not ours."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.errors import NotInstalledError
from collector.job import PodDevice
from collector.jobs_kubelet import KubeletError, call, lister, pod_devices


def field(number: int, value: bytes | int) -> bytes:
    """One protobuf field: length-delimited for bytes, varint for a number."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes([*out, n])


def pod(name: str, namespace: str, *devices: tuple[str, str, list[str]]) -> bytes:
    """PodResources with one container per (container, resource, ids), with the fields we step over."""
    containers = b"".join(
        field(3, field(1, c.encode())
              + field(2, field(1, r.encode()) + b"".join(field(2, i.encode()) for i in ids) + field(3, b"\x0a\x00"))
              + field(3, 300) + varint(9 << 3 | 1) + b"\0" * 8 + varint(10 << 3 | 5) + b"\0" * 4)
        for c, r, ids in devices
    )  # fmt: skip
    return field(1, field(1, name.encode()) + field(2, namespace.encode()) + containers)


RESPONSE = (
    pod("trainer-0", "ml", ("main", "nvidia.com/gpu", ["GPU-a", "GPU-b"]), ("side", "cpu.example/x", ["7"]))
    + pod("small", "ml", ("c", "nvidia.com/mig-1g.10gb", ["MIG-1"]))
    + pod("no-gpu", "kube-system")
)
DEVICES = [
    PodDevice("GPU-a", "ml", "trainer-0", "main"),
    PodDevice("GPU-b", "ml", "trainer-0", "main"),
    PodDevice("MIG-1", "ml", "small", "c"),
]


class Kubelet:
    def __init__(self, path: str) -> None:
        self.response = RESPONSE
        self.code: grpc.StatusCode | None = None
        self.release = threading.Event()
        self.hang = False
        handler = grpc.method_handlers_generic_handler(
            "v1.PodResourcesLister", {"List": grpc.unary_unary_rpc_method_handler(self._list)}
        )
        self.server = grpc.server(
            futures.ThreadPoolExecutor(2), options=[("grpc.max_send_message_length", 64 * 2**20)]
        )
        self.server.add_generic_rpc_handlers((handler,))
        self.server.add_insecure_port(f"unix:{path}")
        self.server.start()

    def _list(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        assert request == b""
        if self.hang:
            self.release.wait(10)
        if self.code is not None:
            context.abort(self.code, "not now")
        return self.response

    def close(self) -> None:
        self.release.set()
        self.server.stop(grace=None).wait(5)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "kubelet.sock")


@pytest.fixture
def kubelet(path: str) -> Iterator[Kubelet]:
    kubelet = Kubelet(path)
    yield kubelet
    kubelet.close()


def test_the_gpus_of_a_real_grpc_server_are_listed(kubelet: Kubelet, path: str):
    assert lister(path)() == DEVICES
    assert lister(path)() == DEVICES


def test_an_answer_longer_than_a_flow_control_window_arrives_whole(kubelet: Kubelet, path: str):
    kubelet.response = b"".join(
        pod(f"p{i}", "ns", ("c", "nvidia.com/gpu", [f"GPU-{i}"])) for i in range(20_000)
    )
    assert len(kubelet.response) > 2**20
    assert len(lister(path, timeout_s=20)()) == 20_000


def test_an_error_of_the_service_is_an_oserror_that_says_so(kubelet: Kubelet, path: str):
    kubelet.code = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(KubeletError, match="gRPC status 14: not now"):
        lister(path)()


def test_a_kubelet_that_hangs_is_given_up_in_time(kubelet: Kubelet, path: str):
    kubelet.hang = True
    with pytest.raises(TimeoutError):
        call(path, timeout_s=0.2)


def test_no_socket_is_an_oserror(path: str):
    with pytest.raises(OSError, match="No such file"):
        lister(path)()


def test_a_peer_that_speaks_no_http2_is_an_oserror(path: str):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        server.listen(1)

        def answer() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 100)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(OSError, match=r"HTTP/2|closed|reset|pipe"):
            lister(path)()
        thread.join(timeout=5)


def test_without_h2_the_install_line_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "h2", None)
    monkeypatch.setitem(sys.modules, "h2.connection", None)
    with pytest.raises(NotInstalledError) as e:
        lister()
    assert e.value.hint == "pip install 'foreshock[kubernetes]'"


def test_an_answer_that_is_cut_off_is_refused():
    assert pod_devices(RESPONSE) == DEVICES
    assert pod_devices(b"") == []
    with pytest.raises(KubeletError):
        pod_devices(RESPONSE[:-1])


@given(st.binary(max_size=200))
def test_no_bytes_can_raise_anything_else(raw: bytes):
    try:
        pod_devices(raw)
    except KubeletError:
        return


@given(st.integers(0, len(RESPONSE) - 1), st.integers(0, 255))
def test_a_flipped_byte_cannot_raise_anything_else(at: int, byte: int):
    try:
        pod_devices(RESPONSE[:at] + bytes([byte]) + RESPONSE[at + 1 :])
    except KubeletError:
        return
