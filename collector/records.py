"""THE CONTRACT: what the node agent puts on the stream. Everything imports it; it imports nothing of ours.

Telemetry is one Arrow IPC stream per flush: all GPUs of one node, one row per GPU per tick.
`FIELDS` is the one table that makes the Arrow schema, the documentation and the tests.
Counters are cumulative as NVML gives them; null means "the GPU would not say" and is never 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import msgspec

SCHEMA_VERSION: Final = 1

TOPIC_TELEMETRY: Final = "foreshock.telemetry"
TOPIC_EVENTS: Final = "foreshock.events"
TOPIC_RISKS: Final = "foreshock.risks"
TOPIC_ALERTS: Final = "foreshock.alerts"
TOPIC_DEAD_LETTERS: Final = "foreshock.dead-letters"

# Kafka headers. `stream` names one spool (one agent installation), `seq` its record number: together they
# tell a consumer that a record was sent twice.
HEADER_SCHEMA: Final = "foreshock-schema"
HEADER_STREAM: Final = "foreshock-stream"
HEADER_SEQ: Final = "foreshock-seq"

ArrowType = Literal["timestamp", "utf8", "int64", "float32", "float64", "bool"]
Role = Literal["identity", "gauge", "counter", "state", "plane"]


@dataclass(frozen=True, slots=True)
class Field:
    """One telemetry column. `source` is the NVML call (or field id) it is read from."""

    name: str
    type: ArrowType
    role: Role
    unit: str
    source: str
    meaning: str


# fmt: off
FIELDS: Final[tuple[Field, ...]] = (
    Field("time", "timestamp", "identity", "UTC", "agent clock", "when the tick began"),
    Field("node", "utf8", "identity", "", "collector.node", "host name"),
    Field("gpu_uuid", "utf8", "identity", "", "nvmlDeviceGetUUID", "the identity: follows the card, not the slot"),
    Field("gpu_index", "int64", "identity", "", "nvmlDeviceGetIndex", "NVML index on the node (context, not identity)"),
    Field("pci_bdf", "utf8", "identity", "", "nvmlDeviceGetPciInfo_v3", "PCI address dddd:bb:dd: the slot"),
    Field("synthetic", "bool", "identity", "", "collector.synthetic", "true where the values were simulated"),
    Field("gpu_state", "utf8", "plane", "", "watchdog", "ok, lost, hung, missing, error or unread"),
    Field("nvml_return", "int64", "plane", "nvmlReturn_t", "every call", "first failing return code of the tick; 0 is success; null when a call never returned"),
    Field("nvml_latency_us", "int64", "plane", "us", "watchdog", "time NVML took for this GPU in this tick"),
    Field("gap_s", "float64", "plane", "s", "watchdog", "time since this GPU last answered fully; null before the first answer"),
    Field("sm_util_pct", "int64", "gauge", "%", "nvmlDeviceGetUtilizationRates", "time share with a kernel running"),
    Field("mem_util_pct", "int64", "gauge", "%", "nvmlDeviceGetUtilizationRates", "time share with memory in use"),
    Field("power_w", "float64", "gauge", "W", "nvmlDeviceGetPowerUsage", "board power draw"),
    Field("power_limit_w", "float64", "gauge", "W", "nvmlDeviceGetEnforcedPowerLimit", "enforced power limit"),
    Field("energy_j", "float64", "counter", "J", "field 83 TOTAL_ENERGY_CONSUMPTION", "energy since driver load"),
    Field("temperature_c", "int64", "gauge", "C", "nvmlDeviceGetTemperatureV", "GPU core temperature"),
    Field("memory_temperature_c", "int64", "gauge", "C", "field 82 MEMORY_TEMP", "HBM temperature"),
    Field("sm_clock_mhz", "int64", "gauge", "MHz", "nvmlDeviceGetClockInfo", "SM clock"),
    Field("mem_clock_mhz", "int64", "gauge", "MHz", "nvmlDeviceGetClockInfo", "memory clock"),
    Field("clock_event_reasons", "int64", "state", "bitmask", "nvmlDeviceGetCurrentClocksEventReasons", "why the clock is held down"),
    Field("memory_used_mib", "float64", "gauge", "MiB", "nvmlDeviceGetMemoryInfo_v2", "framebuffer in use"),
    Field("memory_total_mib", "float64", "gauge", "MiB", "nvmlDeviceGetMemoryInfo_v2", "framebuffer size"),
    Field("power_violation_us", "int64", "counter", "us", "field 74 PERF_POLICY_POWER", "time throttled by the power limit"),
    Field("thermal_violation_us", "int64", "counter", "us", "field 75 PERF_POLICY_THERMAL", "time throttled by temperature"),
    Field("ecc_sbe_volatile", "int64", "counter", "errors", "field 3 ECC_SBE_VOL_TOTAL", "corrected ECC errors since driver load"),
    Field("ecc_dbe_volatile", "int64", "counter", "errors", "field 4 ECC_DBE_VOL_TOTAL", "uncorrected ECC errors since driver load"),
    Field("ecc_sbe_aggregate", "int64", "counter", "errors", "field 5 ECC_SBE_AGG_TOTAL", "corrected ECC errors, lifetime"),
    Field("ecc_dbe_aggregate", "int64", "counter", "errors", "field 6 ECC_DBE_AGG_TOTAL", "uncorrected ECC errors, lifetime"),
    Field("remapped_rows_correctable", "int64", "counter", "rows", "field 142 REMAPPED_COR", "rows remapped after corrected errors"),
    Field("remapped_rows_uncorrectable", "int64", "counter", "rows", "field 143 REMAPPED_UNC", "rows remapped after uncorrected errors"),
    Field("remap_pending", "int64", "state", "0/1", "field 144 REMAPPED_PENDING", "a remap waits for a GPU reset"),
    Field("remap_failure", "int64", "state", "0/1", "field 145 REMAPPED_FAILURE", "a remap failed: spare rows are gone"),
    Field("pcie_replay", "int64", "counter", "errors", "field 94 PCIE_REPLAY_COUNTER", "PCIe link replays"),
    Field("pcie_generation", "int64", "state", "", "nvmlDeviceGetCurrPcieLinkGeneration", "current PCIe generation"),
    Field("pcie_width", "int64", "state", "lanes", "nvmlDeviceGetCurrPcieLinkWidth", "current PCIe lanes"),
    Field("nvlink_crc_flit_errors", "int64", "counter", "errors", "field 38 NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", "NVLink flow-control CRC errors, all links"),
    Field("nvlink_crc_data_errors", "int64", "counter", "errors", "field 45 NVLINK_CRC_DATA_ERROR_COUNT_TOTAL", "NVLink data CRC errors, all links"),
    Field("nvlink_replay_errors", "int64", "counter", "errors", "field 52 NVLINK_REPLAY_ERROR_COUNT_TOTAL", "NVLink replays, all links"),
    Field("nvlink_recovery_errors", "int64", "counter", "errors", "field 59 NVLINK_RECOVERY_ERROR_COUNT_TOTAL", "NVLink recoveries, all links"),
    Field("recovery_action", "int64", "state", "nvmlDeviceGpuRecoveryAction_t", "field 230 GET_GPU_RECOVERY_ACTION", "what the driver itself asks for; 0 is none"),
)
# fmt: on

COLUMNS: Final = tuple(f.name for f in FIELDS)
READINGS: Final = tuple(f.name for f in FIELDS if f.role in ("gauge", "counter", "state"))
COUNTERS: Final = tuple(f.name for f in FIELDS if f.role == "counter")
GAUGES: Final = tuple(f.name for f in FIELDS if f.role == "gauge")
STATES: Final = tuple(f.name for f in FIELDS if f.role == "state")

GpuState = Literal["ok", "lost", "hung", "missing", "error", "unread"]
EventSource = Literal["kmsg", "nvml", "dcgm", "agent", "sim"]
EventKind = Literal["xid", "sxid", "gpu_lost", "nvml_hang", "nvml_recovered", "gpu_missing"]


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """One thing that happened to one GPU (or switch). JSON on `foreshock.events`, key: node.

    `time` is Unix seconds, UTC. `fingerprint` is the identity: the same fault seen by kmsg and by NVML has
    one fingerprint, and a consumer that meets it twice keeps one.
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
