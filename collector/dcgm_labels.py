"""Which GPU, which node, which job: what the labels of a dcgm-exporter series say, in all their spellings.

4.8.3 renamed `Hostname` to `hostname`; `gpu_uuid` is on NVLink rows, `uuid` on those of 1.x; Prometheus puts
`exported_` before a label that its own target label hides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from collector.job import Job

Labels = Mapping[str, str]

_UUID = ("exported_UUID", "UUID", "uuid", "gpu_uuid")
_HOST = ("exported_Hostname", "exported_hostname", "Hostname", "hostname")
_MODEL = ("modelName", "model_name")
_DRIVER = ("DCGM_FI_SYSTEM_DRIVER_VERSION", "DCGM_FI_DRIVER_VERSION")
_PCI = re.compile(
    r"(?P<domain>[0-9a-f]{4,8}):(?P<bus>[0-9a-f]{2}):(?P<device>[0-9a-f]{2})(?:\.[0-7])?", re.IGNORECASE
)
_MINOR = re.compile(r"nvidia(\d{1,4})")
_EXPORTER_POD = "dcgm-exporter"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a series was made: host (empty when unsaid), GPU UUID and index (None when unsaid)."""

    host: str
    uuid: str | None
    index: int | None


def place(labels: Labels) -> Place:
    """The GPU a series is about. A MIG UUID is none: the instance is told by GPU_I_ID."""
    uuid = _first(labels, _UUID)
    index = labels.get("gpu", "")
    if uuid.startswith("MIG-"):
        uuid = ""
    return Place(
        host=_first(labels, _HOST) or labels.get("instance", "").rpartition(":")[0],
        uuid=uuid or None,
        index=int(index) if index.isascii() and index.isdigit() and len(index) < 5 else None,
    )


def instance_id(labels: Labels) -> str | None:
    """The MIG GPU instance a series is about, or None for the whole GPU."""
    return labels.get("GPU_I_ID") or None


def pci_bdf(labels: Labels) -> str | None:
    """`00000000:0D:00.0` -> `0000:0d:00`, as the rest of the agent writes it."""
    found = _PCI.fullmatch(labels.get("pci_bus_id", ""))
    return f"{int(found['domain'], 16):04x}:{found['bus']}:{found['device']}".lower() if found else None


def model(labels: Labels) -> str | None:
    return _first(labels, _MODEL) or None


def driver_version(labels: Labels) -> str | None:
    return _first(labels, _DRIVER) or None


def minor(labels: Labels) -> int | None:
    """`device="nvidia3"` -> 3."""
    found = _MINOR.fullmatch(labels.get("device", ""))
    return int(found[1]) if found else None


def job(labels: Labels) -> Job | None:
    """The job that holds the GPU, as the exporter sees it (`hpc_job`, or the pod labels)."""
    hpc_job = labels.get("hpc_job") or None
    pod = labels.get("exported_pod") or labels.get("pod") or None
    if pod is not None and _EXPORTER_POD in pod:
        pod = None  # Prometheus' own target label: the exporter itself
    if hpc_job is None and pod is None:
        return None
    return Job(
        source="dcgm",
        job_id=hpc_job,
        pod=pod,
        namespace=(labels.get("exported_namespace") or labels.get("namespace") or None) if pod else None,
        container=(labels.get("exported_container") or labels.get("container") or None) if pod else None,
        pod_uid=(labels.get("pod_uid") or None) if pod else None,
    )


def _first(labels: Labels, names: tuple[str, ...]) -> str:
    return next((labels[n] for n in names if labels.get(n)), "")
