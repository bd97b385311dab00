from __future__ import annotations

import socket
from pathlib import Path

import pytest

from collector.notify import Notifier


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_ready_and_alive(tmp_path: Path, abstract: bool):
    name = f"@foreshock-test-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name[1:] if abstract else name)
        systemd.settimeout(2)
        notifier = Notifier(name)
        notifier.ready("8 of 8 GPUs ok")
        assert systemd.recv(200) == b"READY=1\nSTATUS=8 of 8 GPUs ok"
        notifier.alive("7 of 8")
        assert systemd.recv(200) == b"WATCHDOG=1\nSTATUS=7 of 8"
        notifier.stopping()
        assert systemd.recv(200) == b"STOPPING=1"


def test_without_systemd_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier().alive("")
    Notifier(str(tmp_path / "gone")).alive("")
