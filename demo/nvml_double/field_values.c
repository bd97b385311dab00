/* nvmlDeviceGetFieldValues: NVIDIA's own names of the field ids, to the names and units of collector/fields.py. */
#include "double.h"

#include <limits.h>
#include <math.h>
#include <string.h>
#include <time.h>

enum kind { U32, U64, I32, LINKS_U64, LINKS_BER };

struct field {
    unsigned int id;
    const char *name;
    double scale;
    enum kind kind;
};

/* LINKS_*: only with scope UINT_MAX, the sum over all links. Scale 0: a bin that is empty, but there. */
static const struct field fields[] = {
    {NVML_FI_DEV_ECC_SBE_VOL_TOTAL, "ecc_sbe_volatile", 1, U64},
    {NVML_FI_DEV_ECC_DBE_VOL_TOTAL, "ecc_dbe_volatile", 1, U64},
    {NVML_FI_DEV_ECC_SBE_AGG_TOTAL, "ecc_sbe_aggregate", 1, U64},
    {NVML_FI_DEV_ECC_DBE_AGG_TOTAL, "ecc_dbe_aggregate", 1, U64},
    {NVML_FI_DEV_ECC_SBE_VOL_DEV, "ecc_dram_sbe_volatile", 1, U64},
    {NVML_FI_DEV_ECC_DBE_VOL_DEV, "ecc_dram_dbe_volatile", 1, U64},
    {NVML_FI_DEV_ECC_SBE_AGG_L1, "ecc_l1_sbe_aggregate", 1, U64},
    {NVML_FI_DEV_ECC_DBE_AGG_L1, "ecc_l1_dbe_aggregate", 1, U64},
    {NVML_FI_DEV_ECC_SBE_AGG_L2, "ecc_l2_sbe_aggregate", 1, U64},
    {NVML_FI_DEV_ECC_DBE_AGG_L2, "ecc_l2_dbe_aggregate", 1, U64},
    {NVML_FI_DEV_ECC_SBE_AGG_DEV, "ecc_dram_sbe_aggregate", 1, U64},
    {NVML_FI_DEV_ECC_DBE_AGG_DEV, "ecc_dram_dbe_aggregate", 1, U64},
    {NVML_FI_DEV_ECC_SBE_AGG_REG, "ecc_register_sbe_aggregate", 1, U64},
    {NVML_FI_DEV_ECC_DBE_AGG_REG, "ecc_register_dbe_aggregate", 1, U64},
    {NVML_FI_DEV_ECC_SBE_AGG_TEX, "ecc_texture_sbe_aggregate", 1, U64},
    {NVML_FI_DEV_ECC_DBE_AGG_TEX, "ecc_texture_dbe_aggregate", 1, U64},
    {NVML_FI_DEV_ECC_DBE_AGG_CBU, "ecc_cbu_dbe_aggregate", 1, U64},
    {NVML_FI_DEV_RETIRED_SBE, "retired_pages_sbe", 1, U32},
    {NVML_FI_DEV_RETIRED_DBE, "retired_pages_dbe", 1, U32},
    {NVML_FI_DEV_RETIRED_PENDING, "retired_pages_pending", 1, U32},
    {NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL, "nvlink_crc_flit_errors", 1, U64},
    {NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL, "nvlink_crc_data_errors", 1, U64},
    {NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL, "nvlink_replay_errors", 1, U64},
    {NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL, "nvlink_recovery_errors", 1, U64},
    {NVML_FI_DEV_NVLINK_ECC_DATA_ERROR_COUNT_TOTAL, "nvlink_ecc_data_errors", 1, U64},
    {NVML_FI_DEV_PERF_POLICY_POWER, "power_violation_us", 1e3, U64},
    {NVML_FI_DEV_PERF_POLICY_THERMAL, "thermal_violation_us", 1e3, U64},
    {NVML_FI_DEV_PERF_POLICY_SYNC_BOOST, "sync_boost_violation_us", 1e3, U64},
    {NVML_FI_DEV_PERF_POLICY_BOARD_LIMIT, "board_limit_violation_us", 1e3, U64},
    {NVML_FI_DEV_PERF_POLICY_LOW_UTILIZATION, "low_utilization_violation_us", 1e3, U64},
    {NVML_FI_DEV_PERF_POLICY_RELIABILITY, "reliability_violation_us", 1e3, U64},
    {NVML_FI_DEV_PERF_POLICY_TOTAL_APP_CLOCKS, "app_clocks_violation_us", 1e3, U64},
    {NVML_FI_DEV_PERF_POLICY_TOTAL_BASE_CLOCKS, "base_clocks_violation_us", 1e3, U64},
    {NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN, "sw_thermal_slowdown_us", 1e3, U64},
    {NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN, "hw_thermal_slowdown_us", 1e3, U64},
    {NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN, "hw_power_brake_us", 1e3, U64},
    {NVML_FI_DEV_MEMORY_TEMP, "memory_temperature_c", 1, U32},
    {NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION, "energy_j", 1e3, U64},
    {NVML_FI_DEV_POWER_AVERAGE, "power_average_w", 1e3, U32},
    {NVML_FI_DEV_POWER_INSTANT, "power_instant_w", 1e3, U32},
    {NVML_FI_DEV_PCIE_REPLAY_COUNTER, "pcie_replay", 1, U32},
    {NVML_FI_DEV_PCIE_REPLAY_ROLLOVER_COUNTER, "pcie_replay_rollover", 1, U32},
    {NVML_FI_DEV_PCIE_L0_TO_RECOVERY_COUNTER, "pcie_l0_to_recovery", 1, U32},
    {NVML_FI_DEV_PCIE_COUNT_CORRECTABLE_ERRORS, "pcie_correctable_errors", 1, U32},
    {NVML_FI_DEV_PCIE_COUNT_NAKS_RECEIVED, "pcie_naks_received", 1, U32},
    {NVML_FI_DEV_PCIE_COUNT_RECEIVER_ERROR, "pcie_receiver_errors", 1, U32},
    {NVML_FI_DEV_PCIE_COUNT_BAD_TLP, "pcie_bad_tlp", 1, U32},
    {NVML_FI_DEV_PCIE_COUNT_NAKS_SENT, "pcie_naks_sent", 1, U32},
    {NVML_FI_DEV_PCIE_COUNT_BAD_DLLP, "pcie_bad_dllp", 1, U32},
    {NVML_FI_DEV_PCIE_COUNT_NON_FATAL_ERROR, "pcie_non_fatal_errors", 1, U32},
    {NVML_FI_DEV_PCIE_COUNT_FATAL_ERROR, "pcie_fatal_errors", 1, U32},
    {NVML_FI_DEV_PCIE_COUNT_UNSUPPORTED_REQ, "pcie_unsupported_requests", 1, U32},
    {NVML_FI_DEV_PCIE_COUNT_LCRC_ERROR, "pcie_lcrc_errors", 1, U32},
    {NVML_FI_DEV_PCIE_COUNT_LANE_ERROR, "pcie_lane_errors", 1, U32},
    {NVML_FI_DEV_REMAPPED_COR, "remapped_rows_correctable", 1, U32},
    {NVML_FI_DEV_REMAPPED_UNC, "remapped_rows_uncorrectable", 1, U32},
    {NVML_FI_DEV_REMAPPED_PENDING, "remap_pending", 1, U32},
    {NVML_FI_DEV_REMAPPED_FAILURE, "remap_failure", 1, U32},
    {NVML_FI_DEV_REMAPPED_ROWS_COR_INACTIVE, "remapped_rows_correctable_inactive", 1, U32},
    {NVML_FI_DEV_REMAPPED_ROWS_UNC_INACTIVE, "remapped_rows_uncorrectable_inactive", 1, U32},
    {NVML_FI_DEV_ACTIVE_BANK_REMAPPINGS, "bank_remaps_active", 1, U32},
    {NVML_FI_DEV_INACTIVE_BANK_REMAPPINGS, "bank_remaps_inactive", 1, U32},
    {NVML_FI_DEV_PENDING_BANK_REMAPPING, "bank_remap_pending", 1, U32},
    {NVML_FI_DEV_NVLINK_LINK_COUNT, "nvlink_count", 1, U32},
    {NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX, "nvlink_tx_kib", 1, LINKS_U64},
    {NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX, "nvlink_rx_kib", 1, LINKS_U64},
    {NVML_FI_DEV_NVLINK_COUNT_XMIT_BYTES, "nvlink5_tx_bytes", 1, LINKS_U64},
    {NVML_FI_DEV_NVLINK_COUNT_RCV_BYTES, "nvlink5_rx_bytes", 1, LINKS_U64},
    {NVML_FI_DEV_NVLINK_COUNT_MALFORMED_PACKET_ERRORS, "nvlink5_malformed_packets", 1, LINKS_U64},
    {NVML_FI_DEV_NVLINK_COUNT_BUFFER_OVERRUN_ERRORS, "nvlink5_buffer_overruns", 1, LINKS_U64},
    {NVML_FI_DEV_NVLINK_COUNT_RCV_ERRORS, "nvlink5_rx_errors", 1, LINKS_U64},
    {NVML_FI_DEV_NVLINK_COUNT_RCV_REMOTE_ERRORS, "nvlink5_rx_remote_errors", 1, LINKS_U64},
    {NVML_FI_DEV_NVLINK_COUNT_RCV_GENERAL_ERRORS, "nvlink5_rx_general_errors", 1, LINKS_U64},
    {NVML_FI_DEV_NVLINK_COUNT_LOCAL_LINK_INTEGRITY_ERRORS, "nvlink5_integrity_errors", 1, LINKS_U64},
    {NVML_FI_DEV_NVLINK_COUNT_XMIT_DISCARDS, "nvlink5_tx_discards", 1, LINKS_U64},
    {NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_SUCCESSFUL_EVENTS, "nvlink5_recoveries_ok", 1, LINKS_U64},
    {NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_FAILED_EVENTS, "nvlink5_recoveries_failed", 1, LINKS_U64},
    {NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_EVENTS, "nvlink5_recoveries", 1, LINKS_U64},
    {NVML_FI_DEV_NVLINK_COUNT_EFFECTIVE_ERRORS, "nvlink5_effective_errors", 1, LINKS_U64},
    {NVML_FI_DEV_NVLINK_COUNT_EFFECTIVE_BER, "nvlink5_effective_ber", 1, LINKS_BER},
    {NVML_FI_DEV_NVLINK_COUNT_SYMBOL_ERRORS, "nvlink5_symbol_errors", 1, LINKS_U64},
    {NVML_FI_DEV_NVLINK_COUNT_SYMBOL_BER, "nvlink5_symbol_ber", 1, LINKS_BER},
    {NVML_FI_DEV_NVLINK_COUNT_FEC_HISTORY_8, "nvlink5_fec_high", 1, LINKS_U64},
    {NVML_FI_DEV_NVLINK_COUNT_FEC_HISTORY_9, "nvlink5_fec_high", 0, LINKS_U64},
    {NVML_FI_DEV_NVLINK_COUNT_FEC_HISTORY_10, "nvlink5_fec_high", 0, LINKS_U64},
    {NVML_FI_DEV_NVLINK_COUNT_FEC_HISTORY_11, "nvlink5_fec_high", 0, LINKS_U64},
    {NVML_FI_DEV_NVLINK_COUNT_FEC_HISTORY_12, "nvlink5_fec_high", 0, LINKS_U64},
    {NVML_FI_DEV_NVLINK_COUNT_FEC_HISTORY_13, "nvlink5_fec_high", 0, LINKS_U64},
    {NVML_FI_DEV_NVLINK_COUNT_FEC_HISTORY_14, "nvlink5_fec_high", 0, LINKS_U64},
    {NVML_FI_DEV_NVLINK_COUNT_FEC_HISTORY_15, "nvlink5_fec_high", 0, LINKS_U64},
    {NVML_FI_DEV_C2C_LINK_ERROR_INTR, "c2c_crc_errors", 1, U32},
    {NVML_FI_DEV_C2C_LINK_ERROR_REPLAY, "c2c_replays", 1, U32},
    {NVML_FI_DEV_C2C_LINK_ERROR_REPLAY_B2B, "c2c_replays_b2b", 1, U32},
    {NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT, "tlimit_shutdown_c", 1, I32},
    {NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT, "tlimit_slowdown_c", 1, I32},
    {NVML_FI_DEV_TEMPERATURE_MEM_MAX_TLIMIT, "tlimit_memory_max_c", 1, I32},
    {NVML_FI_DEV_TEMPERATURE_GPU_MAX_TLIMIT, "tlimit_gpu_max_c", 1, I32},
    {NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, "recovery_action", 1, U32},
};

/* Mantissa (0-15) in bits 8-11, negative exponent of ten in bits 0-7. */
static unsigned long long packed_ber(double ratio) {
    for (unsigned int exponent = 0; ratio > 0 && exponent < 256; exponent++) {
        double mantissa = ratio * pow(10, exponent);
        if (mantissa > 0.999 && mantissa < 15.5 && fabs(mantissa - round(mantissa)) < 1e-6)
            return (unsigned long long)round(mantissa) << 8 | exponent;
    }
    return 0;
}

static nvmlReturn_t read_known(unsigned int gpu, const struct field *field, nvmlFieldValue_t *out) {
    double value = 0;
    bool on_links = field->kind == LINKS_U64 || field->kind == LINKS_BER;
    if (on_links && out->scopeId != UINT_MAX)
        return NVML_ERROR_INVALID_ARGUMENT;
    nvmlReturn_t status = gpu_number(gpu, field->name, &value);
    if (status != NVML_SUCCESS)
        return status;
    value *= field->scale;
    if (!(value < 1.9e19) || (value < 0 && field->kind != I32))
        return NVML_ERROR_UNKNOWN;
    switch (field->kind) {
    case U32:
        out->valueType = NVML_VALUE_TYPE_UNSIGNED_INT;
        out->value.uiVal = (unsigned int)(value + 0.5);
        break;
    case I32:
        out->valueType = NVML_VALUE_TYPE_SIGNED_INT;
        out->value.siVal = (int)value;
        break;
    case LINKS_BER:
        out->valueType = NVML_VALUE_TYPE_UNSIGNED_LONG_LONG;
        out->value.ullVal = packed_ber(value);
        break;
    default:
        out->valueType = NVML_VALUE_TYPE_UNSIGNED_LONG_LONG;
        out->value.ullVal = value < 1.8e19 ? (unsigned long long)(value + 0.5) : ULLONG_MAX;
    }
    return NVML_SUCCESS;
}

/* Of `nvlink_count` links the first `nvlinks_active` are active, every second of those asleep. */
static nvmlReturn_t read_link_state(unsigned int gpu, nvmlFieldValue_t *out) {
    unsigned int links = 0, active = 0;
    nvmlReturn_t status = gpu_uint(gpu, "nvlink_count", &links);
    if (status == NVML_SUCCESS && out->scopeId >= links)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (status == NVML_SUCCESS)
        status = gpu_uint(gpu, "nvlinks_active", &active);
    if (status != NVML_SUCCESS)
        return status;
    out->valueType = NVML_VALUE_TYPE_UNSIGNED_INT;
    if (out->scopeId < active)
        out->value.uiVal = out->scopeId % 2 == 0 ? NVML_NVLINK_STATE_ACTIVE : NVML_NVLINK_STATE_SLEEP;
    else
        out->value.uiVal = out->scopeId % 2 == 0 ? NVML_NVLINK_STATE_INACTIVE : NVML_NVLINK_STATE_ACTIVE_TRAFFIC_DISABLED;
    return NVML_SUCCESS;
}

/* What a failed entry holds is anything: a caller who does not look at nvmlReturn shall notice. */
static void read_field(unsigned int gpu, nvmlFieldValue_t *out) {
    struct timespec now;
    const struct field *field = NULL;
    for (size_t i = 0; field == NULL && i < sizeof fields / sizeof *fields; i++)
        field = fields[i].id == out->fieldId ? &fields[i] : NULL;
    clock_gettime(CLOCK_REALTIME, &now);
    out->timestamp = (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    out->latencyUsec = 0;
    memset(&out->value, 0xAB, sizeof out->value);
    if (out->fieldId == NVML_FI_DEV_NVLINK_GET_STATE)
        out->nvmlReturn = read_link_state(gpu, out);
    else
        out->nvmlReturn = field != NULL ? read_known(gpu, field, out) : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, nvmlFieldValue_t *out) {
    unsigned int gpu = 0;
    nvmlReturn_t status = enter(device, &gpu);
    if (status == NVML_SUCCESS && (out == NULL || count < 0))
        status = NVML_ERROR_INVALID_ARGUMENT;
    for (int i = 0; status == NVML_SUCCESS && i < count; i++)
        read_field(gpu, &out[i]);
    return status;
}
