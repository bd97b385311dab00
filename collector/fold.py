"""One fault, one event: what kmsg and NVML both tell is told once.

Pure: the clock comes in. Bounded: forgotten after the fold time, and never more than `_MAX_KEYS`.
"""

from __future__ import annotations

import hashlib

import msgspec

from collector.records import Event

_MAX_KEYS = 4096


def fingerprint(event: Event) -> str:
    """Identity of an event: node, GPU, kind, code, text and the microsecond it was first seen."""
    parts = (event.node, event.pci_bdf, event.kind, event.code, event.text, round(event.time * 1e6))
    return hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()


class Folder:
    """Gives each event its fingerprint; None for one that another source has told within `fold_s` seconds."""

    def __init__(self, fold_s: float) -> None:
        self._fold_s = fold_s
        self._seen: dict[tuple[object, ...], tuple[float, str]] = {}
        self.folded = 0
        """How many events were the echo of another source's."""

    def offer(self, event: Event) -> Event | None:
        key = (event.node, event.pci_bdf, event.kind, event.code)
        before = self._seen.get(key)
        if before is not None:
            first_s, source = before
            if source != event.source and abs(event.time - first_s) <= self._fold_s:
                self.folded += 1
                return None
        self._forget(event.time)
        self._seen[key] = (event.time, event.source)
        return msgspec.structs.replace(event, fingerprint=fingerprint(event))

    def _forget(self, now_s: float) -> None:
        if len(self._seen) < _MAX_KEYS:
            return
        self._seen = {k: v for k, v in self._seen.items() if now_s - v[0] <= self._fold_s}
        while len(self._seen) >= _MAX_KEYS:
            self._seen.pop(next(iter(self._seen)))
