"""systemd's notification protocol (sd_notify): ready, and alive while the tick loop turns."""

from __future__ import annotations

import os
import socket


class Notifier:
    """Tells systemd through $NOTIFY_SOCKET. Silent where there is none (not under systemd)."""

    def __init__(self, address: str | None = None) -> None:
        self._address = address if address is not None else os.environ.get("NOTIFY_SOCKET", "")

    def ready(self, status: str) -> None:
        """Start-up is done."""
        self._send(f"READY=1\nSTATUS={status}")

    def alive(self, status: str) -> None:
        """Feed the watchdog. Called by the tick loop itself: a thread beside it would feed for a dead loop."""
        self._send(f"WATCHDOG=1\nSTATUS={status}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # A leading @ names a socket of the abstract namespace.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
            try:
                s.sendto(message.encode(), address)
            except OSError:
                return  # systemd is gone or restarting: nothing that the agent could do about it
