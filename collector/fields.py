# ruff: noqa: E501, PLR0917 - a table: one row, one line, and constructors that make short rows
"""The one table of telemetry columns: it makes the Arrow schema, the NVML reader, the docs page and the tests.

Counters are cumulative as NVML gives them; null means "the GPU would not say" and is never 0.
A column with `every_s` > 1 is read when it is due and carries its last value in between: it is as of at most
`every_s` ago. A reading that fails when it is due becomes null, never a stale value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

ArrowType = Literal["timestamp", "utf8", "int64", "float32", "float64", "bool"]
Role = Literal["identity", "gauge", "counter", "state", "plane"]
Statistic = Literal["mean", "min", "max", "std", "delta", "last"]

ALL_LINKS: Final = 0xFFFFFFFF
"""Scope of a field id: the sum over every NVLink (UINT_MAX)."""


@dataclass(frozen=True, slots=True)
class Field:
    """One telemetry column. `source` is the NVML call (or field id) it is read from.

    `rollup` names the statistics that the minute rollup keeps of it. `field_ids` are the NVML_FI_DEV_* ids whose
    sum times `factor` is the value, read in `scope`; empty where a call of its own gives the value.
    """

    name: str
    type: ArrowType
    role: Role
    unit: str
    source: str
    meaning: str
    every_s: float = 1.0
    rollup: tuple[Statistic, ...] = ()
    field_ids: tuple[int, ...] = ()
    scope: int = 0
    factor: float = 1.0


_FULL: Final[tuple[Statistic, ...]] = ("mean", "min", "max", "std")
_COUNT: Final[tuple[Statistic, ...]] = ("delta", "last")
_LAST: Final[tuple[Statistic, ...]] = ("last",)
_MEAN: Final[tuple[Statistic, ...]] = ("mean",)
_MAX: Final[tuple[Statistic, ...]] = ("max",)
_PEAK: Final[tuple[Statistic, ...]] = ("mean", "max")


def _gauge(
    name: str, unit: str, source: str, meaning: str, every_s: float = 1.0, keep: tuple[Statistic, ...] = _MEAN,
    type: ArrowType = "int64",
) -> Field:  # fmt: skip
    return Field(name, type, "gauge", unit, source, meaning, every_s, keep)


def _state(name: str, unit: str, source: str, meaning: str, every_s: float = 1.0) -> Field:
    return Field(name, "int64", "state", unit, source, meaning, every_s, _LAST)


def _call_counter(
    name: str, unit: str, source: str, meaning: str, every_s: float, keep: tuple[Statistic, ...] = _LAST
) -> Field:
    return Field(name, "int64", "counter", unit, source, meaning, every_s, keep)


def _value(
    id_: int, nvml: str, name: str, role: Role, unit: str, meaning: str, every_s: float = 1.0,
    keep: tuple[Statistic, ...] = _LAST, *, type: ArrowType = "int64", scope: int = 0, factor: float = 1.0,
    more_ids: tuple[int, ...] = (),
) -> Field:  # fmt: skip
    """A column that nvmlDeviceGetFieldValues gives."""
    ids = f"{id_}-{more_ids[-1]}" if more_ids else str(id_)
    source = f"field {ids} {nvml}"
    return Field(name, type, role, unit, source, meaning, every_s, keep, (id_, *more_ids), scope, factor)


# fmt: off
FIELDS: Final[tuple[Field, ...]] = (
    Field("time", "timestamp", "identity", "UTC", "agent clock", "when the tick began"),
    Field("node", "utf8", "identity", "", "collector.node", "host name"),
    Field("gpu_uuid", "utf8", "identity", "", "nvmlDeviceGetUUID", "the identity: follows the card, not the slot"),
    Field("gpu_index", "int64", "identity", "", "nvmlDeviceGetIndex", "NVML index on the node (context, not identity)"),
    Field("pci_bdf", "utf8", "identity", "", "nvmlDeviceGetPciInfo_v3", "PCI address dddd:bb:dd: the slot"),
    Field("synthetic", "bool", "identity", "", "collector.synthetic", "true where the values were simulated"),
    Field("job", "utf8", "identity", "", "collector/jobs.py", "job that holds the GPU: Slurm job id or namespace/pod; null where none is known"),
    Field("gpu_state", "utf8", "plane", "", "watchdog", "ok, lost, hung, missing, error or unread"),
    Field("nvml_return", "int64", "plane", "nvmlReturn_t", "every call", "first failing return code of the tick; 0 is success; null when a call never returned"),
    Field("nvml_latency_us", "int64", "plane", "us", "watchdog", "time inside NVML for this GPU's readings of every tick; the slower readings are not in it, so that it compares from tick to tick", 1, _FULL),
    Field("gap_s", "float64", "plane", "s", "watchdog", "time since this GPU last answered fully; null before the first answer"),
    # Work
    _gauge("sm_util_pct", "%", "nvmlDeviceGetUtilizationRates", "time share with a kernel running", keep=_FULL),
    _gauge("mem_util_pct", "%", "nvmlDeviceGetUtilizationRates", "time share with memory in use", keep=_FULL),
    _gauge("encoder_util_pct", "%", "nvmlDeviceGetEncoderUtilization", "video encoder in use", 10),
    _gauge("decoder_util_pct", "%", "nvmlDeviceGetDecoderUtilization", "video decoder in use", 10),
    _gauge("jpg_util_pct", "%", "nvmlDeviceGetJpgUtilization", "JPEG engine in use", 10),
    _gauge("ofa_util_pct", "%", "nvmlDeviceGetOfaUtilization", "optical flow engine in use", 10),
    _gauge("compute_processes", "processes", "nvmlDeviceGetComputeRunningProcesses_v3", "processes with a compute context", 10, _MAX),
    _gauge("sm_active_pct", "%", "nvmlGpmMetricsGet 2 SM_UTIL", "SMs that were busy (Hopper and newer)", keep=_PEAK, type="float32"),
    _gauge("sm_occupancy_pct", "%", "nvmlGpmMetricsGet 3 SM_OCCUPANCY", "warps active of those possible", type="float32"),
    _gauge("tensor_active_pct", "%", "nvmlGpmMetricsGet 5 ANY_TENSOR_UTIL", "time share of tensor work", keep=_PEAK, type="float32"),
    _gauge("dram_active_pct", "%", "nvmlGpmMetricsGet 10 DRAM_BW_UTIL", "memory bandwidth used of that possible", keep=_PEAK, type="float32"),
    _gauge("fp64_active_pct", "%", "nvmlGpmMetricsGet 11 FP64_UTIL", "time share of FP64 work outside tensor cores", type="float32"),
    _gauge("fp32_active_pct", "%", "nvmlGpmMetricsGet 12 FP32_UTIL", "time share of FP32 work outside tensor cores", type="float32"),
    _gauge("fp16_active_pct", "%", "nvmlGpmMetricsGet 13 FP16_UTIL", "time share of FP16 work outside tensor cores", type="float32"),
    _gauge("pcie_tx_mibps", "MiB/s", "nvmlGpmMetricsGet 20 PCIE_TX_PER_SEC", "PCIe traffic from the GPU", type="float32"),
    _gauge("pcie_rx_mibps", "MiB/s", "nvmlGpmMetricsGet 21 PCIE_RX_PER_SEC", "PCIe traffic to the GPU", type="float32"),
    _gauge("nvlink_rx_mibps", "MiB/s", "nvmlGpmMetricsGet 60 NVLINK_TOTAL_RX_PER_SEC", "NVLink traffic to the GPU, all links", type="float32"),
    _gauge("nvlink_tx_mibps", "MiB/s", "nvmlGpmMetricsGet 61 NVLINK_TOTAL_TX_PER_SEC", "NVLink traffic from the GPU, all links", type="float32"),
    # Power, temperature, clocks
    _gauge("power_w", "W", "nvmlDeviceGetPowerUsage", "board power draw", keep=_FULL, type="float64"),
    _value(185, "POWER_AVERAGE", "power_average_w", "gauge", "W", "power over the last second (Ampere but GA100, and newer)", 1, _PEAK, type="float64", factor=1e-3),
    _value(186, "POWER_INSTANT", "power_instant_w", "gauge", "W", "power at this moment", 1, _FULL, type="float64", factor=1e-3),
    _gauge("power_limit_w", "W", "nvmlDeviceGetEnforcedPowerLimit", "enforced power limit", 10, _FULL, "float64"),
    _value(83, "TOTAL_ENERGY_CONSUMPTION", "energy_j", "counter", "J", "energy since driver load", 1, _COUNT, type="float64", factor=1e-3),
    _gauge("temperature_c", "C", "nvmlDeviceGetTemperatureV", "GPU core temperature", keep=_FULL),
    _value(82, "MEMORY_TEMP", "memory_temperature_c", "gauge", "C", "HBM temperature", 1, _FULL),
    _gauge("temperature_margin_c", "C", "nvmlDeviceGetMarginTemperature", "degrees left to the slowdown threshold; may be negative", 10, ("min",)),
    _gauge("sm_clock_mhz", "MHz", "nvmlDeviceGetClockInfo", "SM clock", keep=_FULL),
    _gauge("mem_clock_mhz", "MHz", "nvmlDeviceGetClockInfo", "memory clock", keep=_FULL),
    _gauge("graphics_clock_mhz", "MHz", "nvmlDeviceGetClockInfo", "graphics clock", 10),
    _gauge("video_clock_mhz", "MHz", "nvmlDeviceGetClockInfo", "video engine clock", 10),
    _state("clock_event_reasons", "bitmask", "nvmlDeviceGetCurrentClocksEventReasons", "why the clock is held down"),
    _value(74, "PERF_POLICY_POWER", "power_violation_us", "counter", "us", "time throttled by the power limit", 1, _COUNT, factor=1e-3),
    _value(75, "PERF_POLICY_THERMAL", "thermal_violation_us", "counter", "us", "time throttled by temperature", 1, _COUNT, factor=1e-3),
    _value(76, "PERF_POLICY_SYNC_BOOST", "sync_boost_violation_us", "counter", "us", "time throttled to match a sync boost group", 10, factor=1e-3),
    _value(77, "PERF_POLICY_BOARD_LIMIT", "board_limit_violation_us", "counter", "us", "time throttled by the board's limit", 10, factor=1e-3),
    _value(78, "PERF_POLICY_LOW_UTILIZATION", "low_utilization_violation_us", "counter", "us", "time clocked down for lack of work", 10, factor=1e-3),
    _value(79, "PERF_POLICY_RELIABILITY", "reliability_violation_us", "counter", "us", "time throttled for reliability", 10, _COUNT, factor=1e-3),
    _value(80, "PERF_POLICY_TOTAL_APP_CLOCKS", "app_clocks_violation_us", "counter", "us", "time below the application clocks, all reasons", 10, factor=1e-3),
    _value(81, "PERF_POLICY_TOTAL_BASE_CLOCKS", "base_clocks_violation_us", "counter", "us", "time below the base clocks, all reasons", 10, factor=1e-3),
    _value(269, "CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN", "sw_thermal_slowdown_us", "counter", "us", "time slowed by software for GPU or memory temperature", 10, _COUNT, factor=1e-3),
    _value(270, "CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN", "hw_thermal_slowdown_us", "counter", "us", "time slowed by hardware, by half or more, for temperature", 10, _COUNT, factor=1e-3),
    _value(271, "CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN", "hw_power_brake_us", "counter", "us", "time slowed by the external power brake", 10, _COUNT, factor=1e-3),
    # Memory in use
    _gauge("memory_used_mib", "MiB", "nvmlDeviceGetMemoryInfo_v2", "framebuffer in use", keep=_FULL, type="float64"),
    _gauge("memory_total_mib", "MiB", "nvmlDeviceGetMemoryInfo_v2", "framebuffer size", keep=_FULL, type="float64"),
    _gauge("memory_free_mib", "MiB", "nvmlDeviceGetMemoryInfo_v2", "framebuffer not in use", keep=("min",), type="float64"),
    _gauge("memory_reserved_mib", "MiB", "nvmlDeviceGetMemoryInfo_v2", "framebuffer kept by the driver", keep=_MAX, type="float64"),
    _gauge("bar1_used_mib", "MiB", "nvmlDeviceGetBAR1MemoryInfo", "BAR1 in use", 60, _MAX, "float64"),
    # ECC
    _value(3, "ECC_SBE_VOL_TOTAL", "ecc_sbe_volatile", "counter", "errors", "corrected ECC errors since driver load", 1, _COUNT),
    _value(4, "ECC_DBE_VOL_TOTAL", "ecc_dbe_volatile", "counter", "errors", "uncorrected ECC errors since driver load", 1, _COUNT),
    _value(5, "ECC_SBE_AGG_TOTAL", "ecc_sbe_aggregate", "counter", "errors", "corrected ECC errors, lifetime", 1, _COUNT),
    _value(6, "ECC_DBE_AGG_TOTAL", "ecc_dbe_aggregate", "counter", "errors", "uncorrected ECC errors, lifetime", 1, _COUNT),
    _value(11, "ECC_SBE_VOL_DEV", "ecc_dram_sbe_volatile", "counter", "errors", "corrected errors of device memory since driver load", 60, _COUNT),
    _value(12, "ECC_DBE_VOL_DEV", "ecc_dram_dbe_volatile", "counter", "errors", "uncorrected errors of device memory since driver load", 60, _COUNT),
    _value(18, "ECC_SBE_AGG_L1", "ecc_l1_sbe_aggregate", "counter", "errors", "corrected errors of L1, lifetime", 60),
    _value(19, "ECC_DBE_AGG_L1", "ecc_l1_dbe_aggregate", "counter", "errors", "uncorrected errors of L1, lifetime", 60),
    _value(20, "ECC_SBE_AGG_L2", "ecc_l2_sbe_aggregate", "counter", "errors", "corrected errors of L2, lifetime", 60),
    _value(21, "ECC_DBE_AGG_L2", "ecc_l2_dbe_aggregate", "counter", "errors", "uncorrected errors of L2, lifetime", 60),
    _value(22, "ECC_SBE_AGG_DEV", "ecc_dram_sbe_aggregate", "counter", "errors", "corrected errors of device memory, lifetime", 60),
    _value(23, "ECC_DBE_AGG_DEV", "ecc_dram_dbe_aggregate", "counter", "errors", "uncorrected errors of device memory, lifetime", 60),
    _value(24, "ECC_SBE_AGG_REG", "ecc_register_sbe_aggregate", "counter", "errors", "corrected errors of the register file, lifetime", 60),
    _value(25, "ECC_DBE_AGG_REG", "ecc_register_dbe_aggregate", "counter", "errors", "uncorrected errors of the register file, lifetime", 60),
    _value(26, "ECC_SBE_AGG_TEX", "ecc_texture_sbe_aggregate", "counter", "errors", "corrected errors of texture memory, lifetime", 60),
    _value(27, "ECC_DBE_AGG_TEX", "ecc_texture_dbe_aggregate", "counter", "errors", "uncorrected errors of texture memory, lifetime", 60),
    _value(28, "ECC_DBE_AGG_CBU", "ecc_cbu_dbe_aggregate", "counter", "errors", "uncorrected errors of the CBU, lifetime", 60),
    _call_counter("sram_correctable_volatile", "errors", "nvmlDeviceGetSramEccErrorStatus", "corrected SRAM errors since driver load", 60, _COUNT),
    _call_counter("sram_parity_volatile", "errors", "nvmlDeviceGetSramEccErrorStatus", "uncorrected SRAM parity errors since driver load", 60, _COUNT),
    _call_counter("sram_secded_volatile", "errors", "nvmlDeviceGetSramEccErrorStatus", "uncorrected SRAM SEC-DED errors since driver load", 60, _COUNT),
    _call_counter("sram_correctable_aggregate", "errors", "nvmlDeviceGetSramEccErrorStatus", "corrected SRAM errors, lifetime", 60),
    _call_counter("sram_parity_aggregate", "errors", "nvmlDeviceGetSramEccErrorStatus", "uncorrected SRAM parity errors, lifetime", 60),
    _call_counter("sram_secded_aggregate", "errors", "nvmlDeviceGetSramEccErrorStatus", "uncorrected SRAM SEC-DED errors, lifetime", 60),
    _call_counter("sram_l2_aggregate", "errors", "nvmlDeviceGetSramEccErrorStatus", "uncorrected SRAM errors in L2, lifetime", 60),
    _call_counter("sram_sm_aggregate", "errors", "nvmlDeviceGetSramEccErrorStatus", "uncorrected SRAM errors in the SMs, lifetime", 60),
    _call_counter("sram_pcie_aggregate", "errors", "nvmlDeviceGetSramEccErrorStatus", "uncorrected SRAM errors in PCIe, lifetime", 60),
    _call_counter("sram_mcu_aggregate", "errors", "nvmlDeviceGetSramEccErrorStatus", "uncorrected SRAM errors in the microcontrollers, lifetime", 60),
    _call_counter("sram_other_aggregate", "errors", "nvmlDeviceGetSramEccErrorStatus", "uncorrected SRAM errors elsewhere, lifetime", 60),
    _state("sram_threshold_exceeded", "0/1", "nvmlDeviceGetSramEccErrorStatus", "NVIDIA's own threshold for a field diagnosis is passed", 60),
    _call_counter("sram_unique_uncorrected", "addresses", "nvmlDeviceGetSramUniqueUncorrectedEccErrorCounts", "SRAM addresses that had uncorrected errors (Blackwell and newer)", 60),
    # Memory repair
    _value(142, "REMAPPED_COR", "remapped_rows_correctable", "counter", "rows", "rows remapped after corrected errors", 1, _COUNT),
    _value(143, "REMAPPED_UNC", "remapped_rows_uncorrectable", "counter", "rows", "rows remapped after uncorrected errors", 1, _COUNT),
    _value(144, "REMAPPED_PENDING", "remap_pending", "state", "0/1", "a remap waits for a GPU reset"),
    _value(145, "REMAPPED_FAILURE", "remap_failure", "state", "0/1", "a remap failed: spare rows are gone"),
    _value(301, "REMAPPED_ROWS_COR_INACTIVE", "remapped_rows_correctable_inactive", "counter", "rows", "remaps after corrected errors that are not active", 60),
    _value(302, "REMAPPED_ROWS_UNC_INACTIVE", "remapped_rows_uncorrectable_inactive", "counter", "rows", "remaps after uncorrected errors that are not active", 60),
    _state("remap_banks_max", "banks", "nvmlDeviceGetRowRemapperHistogram", "banks with all spare rows left", 60),
    _state("remap_banks_high", "banks", "nvmlDeviceGetRowRemapperHistogram", "banks with most spare rows left", 60),
    _state("remap_banks_partial", "banks", "nvmlDeviceGetRowRemapperHistogram", "banks with some spare rows left", 60),
    _state("remap_banks_low", "banks", "nvmlDeviceGetRowRemapperHistogram", "banks with few spare rows left", 60),
    _state("remap_banks_none", "banks", "nvmlDeviceGetRowRemapperHistogram", "banks without a spare row", 60),
    _value(303, "ACTIVE_BANK_REMAPPINGS", "bank_remaps_active", "counter", "banks", "banks remapped and in use", 60),
    _value(304, "INACTIVE_BANK_REMAPPINGS", "bank_remaps_inactive", "counter", "banks", "bank remaps that are not active", 60),
    _value(307, "PENDING_BANK_REMAPPING", "bank_remap_pending", "state", "0/1", "a bank remap waits for a GPU reset", 60),
    _value(29, "RETIRED_SBE", "retired_pages_sbe", "counter", "pages", "pages retired after repeated corrected errors (before Ampere)", 60, _COUNT),
    _value(30, "RETIRED_DBE", "retired_pages_dbe", "counter", "pages", "pages retired after an uncorrected error (before Ampere)", 60, _COUNT),
    _value(31, "RETIRED_PENDING", "retired_pages_pending", "state", "0/1", "a page retirement waits for a reboot", 60),
    _state("memory_unrepairable", "0/1", "nvmlDeviceGetUnrepairableMemoryFlag_v1", "memory is bad and cannot be repaired", 60),
    _state("channel_repair_pending", "0/1", "nvmlDeviceGetRepairStatus", "a memory channel repair waits for a reset", 60),
    _state("tpc_repair_pending", "0/1", "nvmlDeviceGetRepairStatus", "a TPC repair waits for a reset", 60),
    # PCIe
    _value(94, "PCIE_REPLAY_COUNTER", "pcie_replay", "counter", "errors", "PCIe link replays", 1, _COUNT),
    _value(95, "PCIE_REPLAY_ROLLOVER_COUNTER", "pcie_replay_rollover", "counter", "errors", "times the replay counter ran over", 10),
    _state("pcie_generation", "", "nvmlDeviceGetCurrPcieLinkGeneration", "current PCIe generation"),
    _state("pcie_width", "lanes", "nvmlDeviceGetCurrPcieLinkWidth", "current PCIe lanes"),
    _value(169, "PCIE_L0_TO_RECOVERY_COUNTER", "pcie_l0_to_recovery", "counter", "events", "times the link fell from L0 to recovery", 10, _COUNT),
    _value(173, "PCIE_COUNT_CORRECTABLE_ERRORS", "pcie_correctable_errors", "counter", "errors", "PCIe correctable errors", 10, _COUNT),
    _value(174, "PCIE_COUNT_NAKS_RECEIVED", "pcie_naks_received", "counter", "errors", "PCIe NAKs received", 10, _COUNT),
    _value(175, "PCIE_COUNT_RECEIVER_ERROR", "pcie_receiver_errors", "counter", "errors", "PCIe receiver errors", 10),
    _value(176, "PCIE_COUNT_BAD_TLP", "pcie_bad_tlp", "counter", "errors", "damaged transaction packets", 10, _COUNT),
    _value(177, "PCIE_COUNT_NAKS_SENT", "pcie_naks_sent", "counter", "errors", "PCIe NAKs sent", 10),
    _value(178, "PCIE_COUNT_BAD_DLLP", "pcie_bad_dllp", "counter", "errors", "damaged link packets", 10, _COUNT),
    _value(179, "PCIE_COUNT_NON_FATAL_ERROR", "pcie_non_fatal_errors", "counter", "errors", "PCIe non-fatal errors", 10, _COUNT),
    _value(180, "PCIE_COUNT_FATAL_ERROR", "pcie_fatal_errors", "counter", "errors", "PCIe fatal errors", 10, _COUNT),
    _value(181, "PCIE_COUNT_UNSUPPORTED_REQ", "pcie_unsupported_requests", "counter", "errors", "PCIe unsupported requests", 10),
    _value(182, "PCIE_COUNT_LCRC_ERROR", "pcie_lcrc_errors", "counter", "errors", "PCIe link CRC errors", 10, _COUNT),
    _value(183, "PCIE_COUNT_LANE_ERROR", "pcie_lane_errors", "counter", "errors", "PCIe lane errors", 10),
    # NVLink up to 4
    _value(38, "NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", "nvlink_crc_flit_errors", "counter", "errors", "NVLink flow-control CRC errors, all links", 1, _COUNT),
    _value(45, "NVLINK_CRC_DATA_ERROR_COUNT_TOTAL", "nvlink_crc_data_errors", "counter", "errors", "NVLink data CRC errors, all links", 1, _COUNT),
    _value(52, "NVLINK_REPLAY_ERROR_COUNT_TOTAL", "nvlink_replay_errors", "counter", "errors", "NVLink replays, all links", 1, _COUNT),
    _value(59, "NVLINK_RECOVERY_ERROR_COUNT_TOTAL", "nvlink_recovery_errors", "counter", "errors", "NVLink recoveries, all links", 1, _COUNT),
    _value(160, "NVLINK_ECC_DATA_ERROR_COUNT_TOTAL", "nvlink_ecc_data_errors", "counter", "errors", "NVLink data ECC errors, all links", 10),
    _state("nvlinks_active", "links", "field 165 NVLINK_GET_STATE of each link", "links that are active or asleep; inactive ones and those closed to traffic are not in it", 10),
    _value(138, "NVLINK_THROUGHPUT_DATA_TX", "nvlink_tx_kib", "counter", "KiB", "data sent over NVLink, all links", 10, _COUNT, scope=ALL_LINKS),
    _value(139, "NVLINK_THROUGHPUT_DATA_RX", "nvlink_rx_kib", "counter", "KiB", "data received over NVLink, all links", 10, _COUNT, scope=ALL_LINKS),
    # NVLink 5 (Blackwell), summed over all links
    _value(202, "NVLINK_COUNT_XMIT_BYTES", "nvlink5_tx_bytes", "counter", "bytes", "bytes sent", 10, _COUNT, scope=ALL_LINKS),
    _value(204, "NVLINK_COUNT_RCV_BYTES", "nvlink5_rx_bytes", "counter", "bytes", "bytes received", 10, _COUNT, scope=ALL_LINKS),
    _value(206, "NVLINK_COUNT_MALFORMED_PACKET_ERRORS", "nvlink5_malformed_packets", "counter", "packets", "malformed packets received", 10, scope=ALL_LINKS),
    _value(207, "NVLINK_COUNT_BUFFER_OVERRUN_ERRORS", "nvlink5_buffer_overruns", "counter", "packets", "packets thrown away for want of a buffer", 10, scope=ALL_LINKS),
    _value(208, "NVLINK_COUNT_RCV_ERRORS", "nvlink5_rx_errors", "counter", "packets", "packets received with errors", 10, _COUNT, scope=ALL_LINKS),
    _value(209, "NVLINK_COUNT_RCV_REMOTE_ERRORS", "nvlink5_rx_remote_errors", "counter", "packets", "packets received that the sender had marked bad", 10, scope=ALL_LINKS),
    _value(210, "NVLINK_COUNT_RCV_GENERAL_ERRORS", "nvlink5_rx_general_errors", "counter", "packets", "packets received with a wrong header", 10, scope=ALL_LINKS),
    _value(211, "NVLINK_COUNT_LOCAL_LINK_INTEGRITY_ERRORS", "nvlink5_integrity_errors", "counter", "events", "times local errors passed their threshold", 10, _COUNT, scope=ALL_LINKS),
    _value(212, "NVLINK_COUNT_XMIT_DISCARDS", "nvlink5_tx_discards", "counter", "packets", "packets thrown away before sending", 10, scope=ALL_LINKS),
    _value(213, "NVLINK_COUNT_LINK_RECOVERY_SUCCESSFUL_EVENTS", "nvlink5_recoveries_ok", "counter", "events", "link recoveries that succeeded", 10, scope=ALL_LINKS),
    _value(214, "NVLINK_COUNT_LINK_RECOVERY_FAILED_EVENTS", "nvlink5_recoveries_failed", "counter", "events", "link recoveries that failed: the link is down", 10, _COUNT, scope=ALL_LINKS),
    _value(215, "NVLINK_COUNT_LINK_RECOVERY_EVENTS", "nvlink5_recoveries", "counter", "events", "link recoveries, whatever came of them", 10, _COUNT, scope=ALL_LINKS),
    _value(219, "NVLINK_COUNT_EFFECTIVE_ERRORS", "nvlink5_effective_errors", "counter", "errors", "errors that were left after correction", 10, _COUNT, scope=ALL_LINKS),
    _value(220, "NVLINK_COUNT_EFFECTIVE_BER", "nvlink5_effective_ber", "gauge", "ratio", "bit error rate after correction", 10, _MAX, type="float64", scope=ALL_LINKS),
    _value(221, "NVLINK_COUNT_SYMBOL_ERRORS", "nvlink5_symbol_errors", "counter", "errors", "errors in received symbols", 10, _COUNT, scope=ALL_LINKS),
    _value(222, "NVLINK_COUNT_SYMBOL_BER", "nvlink5_symbol_ber", "gauge", "ratio", "bit error rate of symbols", 10, _MAX, type="float64", scope=ALL_LINKS),
    _value(243, "NVLINK_COUNT_FEC_HISTORY_8", "nvlink5_fec_high", "counter", "blocks", "blocks in which 8 to 15 symbols had to be corrected: half of what FEC can mend, or more (the level is our judgement)", 60, _COUNT, scope=ALL_LINKS, more_ids=tuple(range(244, 251))),
    # Chip to chip, fabric, the driver's verdict
    _value(231, "C2C_LINK_ERROR_INTR", "c2c_crc_errors", "counter", "errors", "chip-to-chip CRC errors (Grace)", 10, _COUNT),
    _value(232, "C2C_LINK_ERROR_REPLAY", "c2c_replays", "counter", "errors", "chip-to-chip replays", 10, _COUNT),
    _value(233, "C2C_LINK_ERROR_REPLAY_B2B", "c2c_replays_b2b", "counter", "errors", "chip-to-chip replays one after the other", 10),
    _state("fabric_state", "nvmlGpuFabricState_t", "nvmlDeviceGetGpuFabricInfoV", "registration with the fabric: 0 not supported, 1 not started, 2 in progress, 3 completed", 10),
    _state("fabric_status", "nvmlReturn_t", "nvmlDeviceGetGpuFabricInfoV", "error of the registration; counts only where the state is 3", 10),
    _state("fabric_health_mask", "bitmask", "nvmlDeviceGetGpuFabricInfoV", "NVML_GPU_FABRIC_HEALTH_MASK_*: bandwidth, routes, timeouts, configuration", 10),
    _state("fabric_health_summary", "", "nvmlDeviceGetGpuFabricInfoV", "0 not supported, 1 healthy, 2 unhealthy, 3 limited capacity", 10),
    _value(230, "GET_GPU_RECOVERY_ACTION", "recovery_action", "state", "nvmlDeviceGpuRecoveryAction_t", "what the driver itself asks for; 0 is none"),
)
# fmt: on
