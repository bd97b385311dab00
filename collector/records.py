"""THE CONTRACT: what the node agent puts on the stream. Everything imports it; of ours it imports only the table.

Telemetry is one Arrow IPC stream per flush: all GPUs of one node, one row per GPU per tick.
`FIELDS` (collector/fields.py) is the one table that makes the Arrow schema, the documentation and the tests.
Counters are cumulative as NVML gives them; null means "the GPU would not say" and is never 0.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from collector import fields

SCHEMA_VERSION: Final = 1

TOPIC_TELEMETRY: Final = "foreshock.telemetry"
TOPIC_EVENTS: Final = "foreshock.events"
TOPIC_INVENTORY: Final = "foreshock.inventory"
TOPIC_RISKS: Final = "foreshock.risks"
TOPIC_ALERTS: Final = "foreshock.alerts"
TOPIC_OPERATOR: Final = "foreshock.operator"
TOPIC_DEAD_LETTERS: Final = "foreshock.dead-letters"

# Kafka headers. `stream` names one spool (one agent installation), `seq` its record number: together they
# tell a consumer that a record was sent twice.
HEADER_SCHEMA: Final = "foreshock-schema"
HEADER_STREAM: Final = "foreshock-stream"
HEADER_SEQ: Final = "foreshock-seq"

Field = fields.Field
ArrowType = fields.ArrowType
Role = fields.Role
FIELDS: Final = fields.FIELDS
COLUMNS: Final = tuple(f.name for f in FIELDS)
READINGS: Final = tuple(f.name for f in FIELDS if f.role in ("gauge", "counter", "state"))
COUNTERS: Final = tuple(f.name for f in FIELDS if f.role == "counter")
GAUGES: Final = tuple(f.name for f in FIELDS if f.role == "gauge")
STATES: Final = tuple(f.name for f in FIELDS if f.role == "state")

GpuState = Literal["ok", "lost", "hung", "missing", "error", "unread"]
EventSource = Literal["kmsg", "nvml", "dcgm", "agent", "sim"]
EventKind = Literal["xid", "sxid", "gpu_lost", "nvml_hang", "nvml_recovered", "gpu_missing", "checkpoint"]
"""`checkpoint` is never a fault: a job has saved its state (collector/checkpoints.py). It names a job and no GPU."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """One thing that happened to one GPU (or switch). JSON on `foreshock.events`, key: node.

    `time` is Unix seconds, UTC: when it was first seen. `fingerprint` is the identity: the same fault seen by
    kmsg and by NVML has one fingerprint. A consumer that meets it again keeps the newest, which knows more:
    a storm is one event whose `count` and `last_time` grow.
    """

    fingerprint: str
    time: float
    node: str
    kind: EventKind
    source: EventSource
    gpu_uuid: str | None = None
    gpu_index: int | None = None
    pci_bdf: str | None = None
    code: int | None = None
    pid: int | None = None
    process: str | None = None
    job: str | None = None
    text: str = ""
    root_code: int | None = None
    recovery_action: str | None = None
    count: int = 1
    synthetic: bool = False
    root_fingerprint: str | None = None
    """The event that this one is a consequence of; `root_code` alone where that one was not seen."""
    last_time: float | None = None
    """When it was last seen; null where it was seen once."""


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """Who and what one GPU is. JSON on `foreshock.inventory`, key: node; sent once, and when something changed.

    `time` is Unix seconds, UTC. Null means that the GPU would not say. Modes are 0 (off) or 1 (on); `*_pending` is
    what holds after the next reset. `tlimit_*_c` are T.Limit thresholds (Ada and newer, degrees of margin),
    `temperature_*_c` the absolute ones of older GPUs.
    """

    time: float
    node: str
    gpu_uuid: str
    gpu_index: int | None = None
    pci_bdf: str | None = None
    serial: str | None = None
    name: str | None = None
    minor: int | None = None
    """N of /dev/nvidiaN: what Slurm's gres index counts."""
    board_part_number: str | None = None
    vbios_version: str | None = None
    inforom_image_version: str | None = None
    inforom_oem_version: str | None = None
    inforom_ecc_version: str | None = None
    inforom_power_version: str | None = None
    driver_version: str | None = None
    nvml_version: str | None = None
    cuda_version: str | None = None
    architecture: str | None = None
    ecc_mode: int | None = None
    ecc_mode_pending: int | None = None
    mig_mode: int | None = None
    mig_mode_pending: int | None = None
    persistence_mode: int | None = None
    gsp_firmware_mode: int | None = None
    gsp_firmware_version: str | None = None
    pcie_generation_max: int | None = None
    pcie_width_max: int | None = None
    nvlink_count: int | None = None
    memory_total_mib: float | None = None
    power_limit_default_w: float | None = None
    power_limit_min_w: float | None = None
    power_limit_max_w: float | None = None
    temperature_shutdown_c: int | None = None
    temperature_slowdown_c: int | None = None
    temperature_memory_max_c: int | None = None
    temperature_gpu_max_c: int | None = None
    tlimit_shutdown_c: int | None = None
    tlimit_slowdown_c: int | None = None
    tlimit_memory_max_c: int | None = None
    tlimit_gpu_max_c: int | None = None
    fabric_cluster_uuid: str | None = None
    fabric_clique_id: int | None = None
    chassis_serial: str | None = None
    slot_number: int | None = None
    tray_index: int | None = None
    host_id: int | None = None
    module_id: int | None = None
    synthetic: bool = False


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a risk is what it is: one feature, its value, the healthy range, and its signed share."""

    feature: str
    value: float | None
    healthy: str
    share: float
    text: str = ""


class Risk(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU's probability of a fault within `horizon_s`. JSON on `foreshock.risks`, key: node.

    Only risks above the watch level travel; all of them are in the lake's `predictions`.
    """

    time: float
    node: str
    gpu_uuid: str
    gpu_index: int | None
    pci_bdf: str | None
    risk: float
    horizon_s: int
    model_id: str
    feature_set: str
    reasons: tuple[Reason, ...] = ()
    synthetic: bool = False
    job: str | None = None
    """What ran on the GPU in that minute, where the agent knows."""
