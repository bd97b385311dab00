"""One GPU out of many series: its identity, and one value per telemetry column, MIG and NVLink lanes included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client.samples import Sample

from collector import dcgm_labels as labels_of
from collector.batch import Row
from collector.dcgm_fields import ON_MIG
from collector.dcgm_xid import GpuKey, Xids
from collector.job import Job
from collector.records import COLUMNS, GpuState

_CLOCK_SKEW_S = 60.0
_RATES_OF_ERROR = {"nvlink5_effective_ber", "nvlink5_symbol_ber"}
_PARTS = {"memory_used_mib", "memory_free_mib", "memory_reserved_mib"}
"""They add up to the total, which most exporters do not give. Without the reserved part it is not known."""


@dataclass(slots=True)
class Gpu:
    """One GPU in one scrape: who it is, and what it says (telemetry column -> value)."""

    node: str
    uuid: str
    index: int | None = None
    minor: int | None = None
    pci_bdf: str | None = None
    model: str | None = None
    driver_version: str | None = None
    time_s: float | None = None
    """The newest timestamp among its series, where the text has any (federation)."""
    values: dict[str, object] = field(default_factory=dict)
    refused: int = 0
    """How many of its readings were nulled."""
    jobs: dict[str | None, Job] = field(default_factory=dict)
    """MIG instance (None: the whole GPU) -> the job that holds it."""

    @property
    def key(self) -> GpuKey:
        return self.node, self.uuid


@dataclass(slots=True)
class Series:
    """The series of one GPU before they are put together."""

    gpu: Gpu
    whole: dict[str, tuple[int, float]] = field(default_factory=dict)
    instances: dict[str, dict[str, float]] = field(default_factory=dict)
    lanes: dict[str, dict[str, float]] = field(default_factory=dict)
    xids: Xids = field(default_factory=Xids)


def state_of(gpu: Gpu) -> GpuState:
    """`error` when the exporter knows the GPU but every reading of it was blank or impossible."""
    return "error" if gpu.refused and not gpu.values else "ok"


def row(gpu: Gpu, now_s: float, state: GpuState, *, gap_s: float | None, synthetic: bool) -> Row:
    """One telemetry row, in the order of `records.FIELDS`. No NVML call was ours: those columns are null."""
    time_s = now_s if gpu.time_s is None else gpu.time_s
    known: dict[str, object] = {
        "time": round(time_s * 1e6), "node": gpu.node, "gpu_uuid": gpu.uuid, "gpu_index": gpu.index,
        "pci_bdf": gpu.pci_bdf, "synthetic": synthetic, "gpu_state": state, "gap_s": gap_s,
        "job": ",".join(dict.fromkeys(label for j in gpu.jobs.values() if (label := j.label))) or None,
    }  # fmt: skip
    known.update(gpu.values)
    return tuple(known.get(column) for column in COLUMNS)


def identify(gpu: Gpu, where: labels_of.Place, sample: Sample, now_s: float) -> None:
    """Note who the GPU is: the first series that says so counts."""
    labels = sample.labels
    gpu.index = where.index if gpu.index is None else gpu.index
    gpu.minor = labels_of.minor(labels) if gpu.minor is None else gpu.minor
    gpu.pci_bdf = gpu.pci_bdf or labels_of.pci_bdf(labels)
    gpu.model = gpu.model or labels_of.model(labels)
    gpu.driver_version = gpu.driver_version or labels_of.driver_version(labels)
    stamp_s = 0.0 if sample.timestamp is None else float(sample.timestamp)
    if 0 < stamp_s <= now_s + _CLOCK_SKEW_S:
        gpu.time_s = max(gpu.time_s or 0.0, min(now_s, stamp_s))
    instance = labels_of.instance_id(labels)
    if instance not in gpu.jobs:
        job = labels_of.job(labels)
        if job is not None:
            gpu.jobs[instance] = job


def put_together(seen: Series, nulls: Counter[str]) -> None:
    """Fill `seen.gpu.values`: whole-GPU series first, then lanes added up, then what MIG instances tell."""
    values = seen.gpu.values
    values.update({column: value for column, (_, value) in seen.whole.items()})
    for column, lanes in seen.lanes.items():
        of_all = max if column in _RATES_OF_ERROR else sum
        values.setdefault(column, of_all(lanes.values()))
    for column, parts in seen.instances.items():
        if column not in values:
            value = _of_instances(column, parts)
            if value is None:
                nulls["mig_instance"] += 1
            else:
                values[column] = value
    if "memory_total_mib" not in seen.whole and seen.whole.keys() >= _PARTS:
        values["memory_total_mib"] = sum(v for column, (_, v) in seen.whole.items() if column in _PARTS)


def _of_instances(column: str, parts: Mapping[str, float]) -> float | None:
    on_mig = ON_MIG[column]
    if on_mig == "null":
        return None
    # The same sensor read once per instance: should the readings differ, the highest is the newest counter
    # and the worst temperature.
    return sum(parts.values()) if on_mig == "sum" else max(parts.values())
