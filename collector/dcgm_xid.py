"""Xid events out of dcgm-exporter's gauges, which do not tell events but what was last, or how many.

`DCGM_FI_DEV_XID_ERRORS` keeps its value until the driver is reloaded: an event is a change of it, never its
presence. The value first seen of a GPU is no event, because it may be weeks old; it would be told again at every
start of the agent, and a terminal code makes someone lose a GPU. Many exporters leave the series out until the
first Xid: one that appears on a GPU already known is a change. The same code twice in a row is only seen where
the exporter also gives its counts (`DCGM_EXP_XID_ERRORS_TOTAL` or `_COUNT`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from collector.records import Event

if TYPE_CHECKING:
    from collector.dcgm_gpu import Gpu

GpuKey = tuple[str, str]
"""Node and GPU UUID."""

_MAX_CODE = 1000
_MAX_CODES = 256


@dataclass(slots=True)
class Xids:
    """What one GPU's Xid series say: the last code (0 is none, None is unsaid), and counts by code."""

    last: int | None = None
    text: str = ""
    in_window: dict[int, int] = field(default_factory=dict)
    total: dict[int, int] = field(default_factory=dict)

    def see_last(self, value: float, text: str) -> None:
        code = _code(value)
        if code is not None and (self.last is None or self.last == 0):
            self.last, self.text = code, text[:200]

    def see_count(self, code_label: str, value: float, *, total: bool) -> None:
        code = _code(int(code_label)) if code_label.isascii() and code_label.isdigit() else None
        counts = self.total if total else self.in_window
        if code and value < 2**53 and (code in counts or len(counts) < _MAX_CODES):
            counts[code] = max(counts.get(code, 0), int(value))


def events(
    before: Mapping[GpuKey, Xids],
    now: Mapping[GpuKey, Xids],
    gpus: Mapping[GpuKey, Gpu],
    now_s: float,
    *,
    synthetic: bool = False,
) -> list[Event]:
    """One event per GPU and code that is new since `before`. GPUs that `before` does not know give none."""
    out = []
    for key, xids in now.items():
        if key in before:
            for code, count in _new(before[key], xids).items():
                out.append(_event(gpus[key], xids, code, count, now_s, synthetic=synthetic))
    return out


def remember(before: Mapping[GpuKey, Xids], now: Mapping[GpuKey, Xids]) -> dict[GpuKey, Xids]:
    """What to compare with next time. A series that is away for a while must not come back as news."""
    merged = dict(before)
    for key, xids in now.items():
        old = before.get(key)
        merged[key] = replace(xids, last=old.last) if old is not None and xids.last is None else xids
    return merged


def _new(before: Xids, now: Xids) -> dict[int, int]:
    counts = (before.total, now.total) if now.total else (before.in_window, now.in_window)
    new = {code: n - counts[0].get(code, 0) for code, n in counts[1].items() if n > counts[0].get(code, 0)}
    if now.last and now.last != before.last:
        new.setdefault(now.last, 1)
    return new


def _event(gpu: Gpu, xids: Xids, code: int, count: int, now_s: float, *, synthetic: bool) -> Event:
    said = f": {xids.text}" if xids.text and code == xids.last else ""
    job = next(iter(gpu.jobs.values()), None)
    return Event(
        fingerprint="", time=now_s, node=gpu.node, kind="xid", source="dcgm", gpu_uuid=gpu.uuid,
        gpu_index=gpu.index, pci_bdf=gpu.pci_bdf, code=code, count=count,
        text=f"Xid {code} by dcgm-exporter{said}", job=job.label if job else None, synthetic=synthetic,
    )  # fmt: skip


def _code(value: float) -> int | None:
    return int(value) if 0 <= value < _MAX_CODE and value == int(value) else None
