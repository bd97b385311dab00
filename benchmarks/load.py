"""Telemetry records in numbers: one real record as a template, its times and names written over in place.

Arrow IPC is not compressed inside, so that fixed-width values lie at fixed places: what makes a record another
node's, at another time, is a few hundred bytes. Encoding each from Python rows would be slower than reading.
"""

from __future__ import annotations

import random

from collector.batch import encode
from collector.records import FIELDS

_NODE = "node-%06d"
_UUID = "GPU-%06d-%02d"
_BASE_US = 1_111_111_111_000_000


class Template:
    """A flush of one node: `gpus` GPUs, `ticks` ticks at 1 Hz, every column as an H100 on an HGX board has it."""

    def __init__(self, gpus: int, ticks: int, seed: int = 0) -> None:
        rng = random.Random(seed)
        rows = [_row(rng, gpu, tick) for tick in range(ticks) for gpu in range(gpus)]
        self._bytes = encode(rows)
        self._times = [(_find(self._bytes, _BASE_US + t * 1_000_000), t) for t in range(ticks)]

    @staticmethod
    def columns() -> int:
        return len(FIELDS)

    def value(self, node: int, begin_us: int) -> bytes:
        """The record of `node` whose first tick is at `begin_us`."""
        out = self._bytes.replace(b"node-999999", (_NODE % node).encode()).replace(
            b"GPU-999999", b"GPU-%06d" % node
        )
        edited = bytearray(out)
        for places, tick in self._times:
            stamp = (begin_us + tick * 1_000_000).to_bytes(8, "little")
            for at in places:
                edited[at : at + 8] = stamp
        return bytes(edited)


def _find(haystack: bytes, value: int) -> list[int]:
    needle, places, at = value.to_bytes(8, "little"), [], -1
    while (at := haystack.find(needle, at + 1)) >= 0:
        places.append(at)
    return places


def _row(rng: random.Random, gpu: int, tick: int) -> tuple[object, ...]:
    names = {
        "time": _BASE_US + tick * 1_000_000, "node": _NODE % 999_999, "gpu_uuid": _UUID % (999_999, gpu),
        "gpu_index": gpu, "pci_bdf": f"0000:{gpu:02x}:00", "synthetic": True, "gpu_state": "ok", "nvml_return": 0,
        "nvml_latency_us": rng.randrange(300, 900), "gap_s": 1.0, "power_w": round(rng.gauss(600, 30), 1),
        "temperature_c": rng.randrange(50, 70), "sm_util_pct": rng.randrange(90, 101),
    }  # fmt: skip
    return tuple(names.get(f.name, _plausible(rng, f.name, f.type, tick)) for f in FIELDS)


def _plausible(rng: random.Random, name: str, kind: str, tick: int) -> object:
    if (
        kind == "utf8"
        or "nvlink5" in name
        or name.startswith(("c2c", "retired", "encoder", "decoder", "jpg", "ofa"))
    ):
        return None
    if "used" in name or "active" in name or "clock" in name:
        return float(rng.randrange(100)) if kind.startswith("float") else rng.randrange(100)
    return float(tick) if kind.startswith("float") else 0
