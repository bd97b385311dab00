"""kubelet's pod-resources service: which pod got which device. One unary gRPC call over a Unix socket.

gRPC is HTTP/2 with a five-byte prefix, and the answer is a protobuf of three nested lists: with h2 (pure Python,
0.3 MB) both fit in this file, where grpcio is 20 MB of binary on every GPU node. Needs the extra `kubernetes`.
Source of the messages: kubernetes/kubelet, pkg/apis/podresources/v1/api.proto.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

from collector.errors import NotInstalledError
from collector.job import PodDevice
from collector.jobs_pods import PodLister

SOCKET = "/var/lib/kubelet/pod-resources/kubelet.sock"
_METHOD = "/v1.PodResourcesLister/List"
_EMPTY_REQUEST = b"\0\0\0\0\0"
"""A gRPC message: not compressed, length 0 (ListPodResourcesRequest has no fields)."""
_MAX_BYTES = 16 * 2**20
_GPU_RESOURCES = ("nvidia.com/gpu", "nvidia.com/mig-", "nvidia.com/pgpu", "nvidia.com/vgpu")


class KubeletError(OSError):
    """kubelet answered, but not with a list."""


def lister(path: str = SOCKET, *, timeout_s: float = 2.0) -> PodLister:
    """A function that lists the GPUs kubelet gave out. Raises NotInstalledError when h2 is not there."""
    try:
        import h2.connection  # noqa: F401
    except ImportError as e:
        raise NotInstalledError(
            "asking kubelet which pod holds a GPU needs h2", hint="pip install 'foreshock[kubernetes]'"
        ) from e
    return lambda: pod_devices(call(path, timeout_s=timeout_s))


def call(path: str, *, timeout_s: float) -> bytes:
    """PodResourcesLister.List; the bytes of ListPodResourcesResponse. Raises OSError, within `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        connection.connect(path)
        return _exchange(connection, deadline_s)


def _exchange(connection: socket.socket, deadline_s: float) -> bytes:
    import h2.config
    import h2.connection
    import h2.events
    import h2.exceptions

    http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    try:
        http.initiate_connection()
        http.send_headers(1, _HEADERS)
        http.send_data(1, _EMPTY_REQUEST, end_stream=True)
        connection.sendall(http.data_to_send())
        return _answer(http, connection, deadline_s)
    except (h2.exceptions.H2Error, UnicodeDecodeError) as e:
        raise KubeletError(f"HTTP/2 {type(e).__name__}: {e}") from e


_HEADERS = [
    (":method", "POST"), (":scheme", "http"), (":path", _METHOD), (":authority", "localhost"),
    ("te", "trailers"), ("content-type", "application/grpc"), ("user-agent", "foreshock"),
]  # fmt: skip


def _answer(http: Any, connection: socket.socket, deadline_s: float) -> bytes:
    import h2.events

    body, status = bytearray(), dict[str, str]()
    while True:
        for event in http.receive_data(_receive(connection, deadline_s)):
            if isinstance(event, h2.events.DataReceived):
                body += event.data or b""
                http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                status.update((str(name), str(value)) for name, value in event.headers or ())
            elif isinstance(event, h2.events.StreamEnded):
                return _message(bytes(body), status)
            elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                raise KubeletError(f"the connection was ended, HTTP/2 error {event.error_code}")
        if len(body) > _MAX_BYTES:
            raise KubeletError(f"the answer is longer than {_MAX_BYTES} bytes")
        connection.sendall(http.data_to_send())


def _receive(connection: socket.socket, deadline_s: float) -> bytes:
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("kubelet did not answer in time")
    connection.settimeout(left_s)
    data = connection.recv(65536)
    if not data:
        raise KubeletError("kubelet closed the connection")
    return data


def _message(body: bytes, status: dict[str, str]) -> bytes:
    code = status.get("grpc-status", "")
    if code != "0":
        raise KubeletError(f"gRPC status {code or 'missing'}: {status.get('grpc-message', '')}")
    if len(body) < 5 or body[0] != 0 or int.from_bytes(body[1:5]) != len(body) - 5:
        raise KubeletError("the answer is not one uncompressed gRPC message")
    return body[5:]


def pod_devices(response: bytes) -> list[PodDevice]:
    """The GPUs in a ListPodResourcesResponse. Raises KubeletError when it is not one."""
    out = []
    for pod in _submessages(response, 1):
        name, namespace = _text(pod, 1), _text(pod, 2)
        for container in _submessages(pod, 3):
            for devices in _submessages(container, 2):
                if _text(devices, 1).startswith(_GPU_RESOURCES):
                    ids = (i.decode("utf-8", "replace") for i in _submessages(devices, 2))
                    out += [PodDevice(i, namespace, name, _text(container, 1)) for i in ids]
    return out


def _submessages(message: bytes, number: int) -> Iterator[bytes]:
    """The length-delimited fields with this number. Other fields are stepped over (protobuf encoding)."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind, length = tag & 7, 0
        if kind == 0:
            _, at = _varint(message, at)
        elif kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise KubeletError(f"the answer is not protobuf (wire type {kind})")
        if at + length > len(message):
            raise KubeletError("the answer is cut off")
        if kind == 2 and tag >> 3 == number:
            yield message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise KubeletError("the answer is cut off")
        value |= (message[at] & 0x7F) << shift
        at += 1
        if message[at - 1] < 0x80:
            return value, at
    raise KubeletError("the answer is not protobuf (endless number)")


def _text(message: bytes, number: int) -> str:
    found = [*_submessages(message, number)]
    return found[-1].decode("utf-8", "replace") if found else ""  # protobuf: the last one counts
