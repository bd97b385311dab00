"""Length-prefixed MessagePack frames over a pipe: how the agent and its NVML child talk."""

from __future__ import annotations

import struct
import threading
from typing import IO, Any

import msgspec

_PREFIX = struct.Struct("<I")


class FrameWriter:
    """Writes whole frames; threads may share it."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()
        self._encoder = msgspec.msgpack.Encoder()

    def write(self, message: dict[str, object]) -> None:
        body = self._encoder.encode(message)
        with self._lock:
            self._pipe.write(_PREFIX.pack(len(body)) + body)
            self._pipe.flush()


class FrameReader:
    """Reads whole frames; None at the end of the pipe."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._decoder = msgspec.msgpack.Decoder(dict[str, Any])

    def read(self) -> dict[str, Any] | None:
        prefix = self._pipe.read(_PREFIX.size)
        if len(prefix) < _PREFIX.size:
            return None
        (size,) = _PREFIX.unpack(prefix)
        body = self._pipe.read(size)
        return self._decoder.decode(body) if len(body) == size else None
