"""NVRx's node health check: before a rendezvous, ft_launcher asks whether this node should take part in it.

One gRPC method on a Unix socket, nvhcd.HealthCheckService/RunHealthCheck (source: nvidia-resiliency-ext,
shared_utils/proto/nvhcd.proto; four fields, encoded here by hand). A node is left out while one of its GPUs is lost,
hung or missing, or while an incident holds it back (`hold_dir`). Where nobody answers, NVRx takes the node.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from collector.config import CollectorConfig
from collector.errors import ConfigError, NotInstalledError

log = logging.getLogger(__name__)

SERVICE: Final = "nvhcd.HealthCheckService"
HOLD_SUFFIX: Final = ".hold"
_MAX_REASON: Final = 300
_MAX_HOLDS: Final = 100


class Endpoint:
    """The service while it runs, or nothing at all."""

    def __init__(self, server: Any | None = None, socket: Path | None = None) -> None:
        self._server = server
        self._socket = socket

    def close(self) -> None:
        """Answer no more."""
        if self._server is not None:
            self._server.stop(grace=0.5).wait(2.0)
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)


def serve(config: CollectorConfig, problems: Callable[[], Sequence[str]]) -> Endpoint:
    """Answer on `health_check_socket` from threads of gRPC; nothing where it is empty.

    Raises NotInstalledError without grpcio, ConfigError for a socket that cannot be made.
    """
    if not config.health_check_socket:
        return Endpoint()
    try:
        import grpc
    except ImportError as e:
        raise NotInstalledError(
            "collector.health_check_socket needs grpcio", hint="pip install 'foreshock[nvrx]'"
        ) from e
    socket = Path(config.health_check_socket.removeprefix("unix://"))

    def run_health_check(_request: bytes, _context: object) -> bytes:
        return encode([*problems(), *holds(config.hold_dir)])

    methods = {"RunHealthCheck": grpc.unary_unary_rpc_method_handler(run_health_check)}
    server = grpc.server(ThreadPoolExecutor(2, thread_name_prefix="health-check"))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    try:
        socket.unlink(missing_ok=True)  # of an agent that was killed
        server.add_insecure_port(f"unix://{socket.absolute()}")
        server.start()
        socket.chmod(0o666)  # launchers run as the users
    except (OSError, RuntimeError) as e:
        raise ConfigError(
            f"collector.health_check_socket {str(socket)!r}: {e}", hint="name a socket in a folder of ours"
        ) from e
    log.info("node health check on %s", socket)
    return Endpoint(server, socket)


def holds(directory: str) -> list[str]:
    """Why incidents hold this node back, one line each. A hold that cannot be read still holds."""
    if not directory:
        return []
    return [_reason(file) for file in sorted(Path(directory).glob(f"*{HOLD_SUFFIX}"))[:_MAX_HOLDS]]


def _reason(file: Path) -> str:
    try:
        with file.open("rb") as f:
            text = f.read(_MAX_REASON).decode("utf-8", "replace")
    except OSError as e:
        text = f"{file.name}: {e.strerror}"
    return " ".join(text.split()) or file.name


def encode(failed: Sequence[str]) -> bytes:
    """HealthCheckResponse in protobuf: 1 success (bool), 2 exit_code (int32), 3 output (JSON), 4 error (string)."""
    output = json.dumps({"failed_checks": list(failed), "fail_count": len(failed)})
    if not failed:
        return b"\x08\x01" + _text(3, output)  # exit_code 0 is not written: proto3's default
    return b"\x10\x01" + _text(3, output) + _text(4, "; ".join(failed))


def _text(number: int, value: str) -> bytes:
    data = value.encode()
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)
