"""A reverse proxy as docs/dashboard.md asks for: it names the person, whatever the client says, and keeps Host."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

HEADER = b"X-Forwarded-User"


@contextmanager
def naming(person: str, upstream: str) -> Iterator[str]:
    """Its URL. Each connection carries one request, or one WebSocket until it ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_serve, args=(server, person, upstream), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=10)


def _serve(server: socket.socket, person: str, upstream: str) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = server.accept()
            threading.Thread(target=_one, args=(client, person, upstream), daemon=True).start()


def _one(client: socket.socket, person: str, upstream: str) -> None:
    at = urlsplit(upstream)
    with client, contextlib.suppress(OSError):
        asked = b""
        while b"\r\n\r\n" not in asked:
            more = client.recv(65536)
            if not more:
                return
            asked += more
        with socket.create_connection((at.hostname, at.port)) as server:
            server.sendall(_named(asked, person))
            back = threading.Thread(target=_pump, args=(server, client), daemon=True)
            back.start()
            _pump(client, server)
            back.join()


def _named(asked: bytes, person: str) -> bytes:
    head, _, body = asked.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    upgrades = any(line.lower().startswith(b"upgrade:") for line in lines)
    replaced = [HEADER.lower(), *([] if upgrades else [b"connection"])]
    kept = [line for line in lines if line.partition(b":")[0].strip().lower() not in replaced]
    kept.append(HEADER + b": " + person.encode())
    if not upgrades:
        kept.append(b"Connection: close")
    return b"\r\n".join([first, *kept]) + b"\r\n\r\n" + body


def _pump(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while more := one.recv(65536):
            other.sendall(more)
    with contextlib.suppress(OSError):
        other.shutdown(socket.SHUT_WR)
