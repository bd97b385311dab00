"""Disk space held back for events: when the disk fills up, telemetry is refused first."""

from __future__ import annotations

import os
from pathlib import Path


class Reserve:
    """A file of `size_bytes` that is given up when a write fails, and taken again when there is room."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self._held = False
        self.hold()

    def hold(self) -> None:
        """Take the space if it is not held and the disk has it. Never raises: a reserve is a courtesy."""
        if self._held or not self._size_bytes:
            return
        try:
            with self._path.open("wb") as f:
                os.posix_fallocate(f.fileno(), 0, self._size_bytes)
        except OSError:
            self._path.unlink(missing_ok=True)
        else:
            self._held = True

    def release(self) -> bool:
        """Give the space up; False when there was none to give."""
        if not self._held:
            return False
        self._held = False
        self._path.unlink(missing_ok=True)
        return True
