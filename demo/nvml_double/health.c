/* Slow readings: SRAM errors, row remapping and repair, the NVLink fabric, profiling metrics (GPM). */
#include "double.h"

#include <stdlib.h>
#include <string.h>

nvmlReturn_t nvmlDeviceGetRemappedRows(nvmlDevice_t device, unsigned int *correctable, unsigned int *uncorrectable,
                                       unsigned int *pending, unsigned int *failure) {
    unsigned int gpu = 0;
    nvmlReturn_t status = enter(device, &gpu);
    if (status == NVML_SUCCESS)
        status = gpu_uint(gpu, "remapped_rows_correctable", correctable);
    if (status == NVML_SUCCESS)
        status = gpu_uint(gpu, "remapped_rows_uncorrectable", uncorrectable);
    if (status == NVML_SUCCESS)
        status = gpu_uint(gpu, "remap_pending", pending);
    return status == NVML_SUCCESS ? gpu_uint(gpu, "remap_failure", failure) : status;
}

struct part {
    const char *name;
    unsigned long long *out;
};

static nvmlReturn_t gpu_parts(unsigned int gpu, const struct part *parts, size_t count) {
    nvmlReturn_t status = NVML_SUCCESS;
    for (size_t i = 0; status == NVML_SUCCESS && i < count; i++)
        status = gpu_count_of(gpu, parts[i].name, 1, parts[i].out);
    return status;
}

nvmlReturn_t nvmlDeviceGetSramEccErrorStatus(nvmlDevice_t device, nvmlEccSramErrorStatus_t *out) {
    unsigned int gpu = 0;
    nvmlReturn_t status = out != NULL ? enter(device, &gpu) : NVML_ERROR_INVALID_ARGUMENT;
    if (status != NVML_SUCCESS)
        return status;
    if (out->version != nvmlEccSramErrorStatus_v1)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    const struct part parts[] = {
        {"sram_correctable_volatile", &out->volatileCor},
        {"sram_parity_volatile", &out->volatileUncParity},
        {"sram_secded_volatile", &out->volatileUncSecDed},
        {"sram_correctable_aggregate", &out->aggregateCor},
        {"sram_parity_aggregate", &out->aggregateUncParity},
        {"sram_secded_aggregate", &out->aggregateUncSecDed},
        {"sram_l2_aggregate", &out->aggregateUncBucketL2},
        {"sram_sm_aggregate", &out->aggregateUncBucketSm},
        {"sram_pcie_aggregate", &out->aggregateUncBucketPcie},
        {"sram_mcu_aggregate", &out->aggregateUncBucketMcu},
        {"sram_other_aggregate", &out->aggregateUncBucketOther},
    };
    status = gpu_parts(gpu, parts, sizeof parts / sizeof *parts);
    return status == NVML_SUCCESS ? gpu_uint(gpu, "sram_threshold_exceeded", &out->bThresholdExceeded) : status;
}

/* Without room the call says how much it needs. */
nvmlReturn_t nvmlDeviceGetSramUniqueUncorrectedEccErrorCounts(nvmlDevice_t device,
                                                              nvmlEccSramUniqueUncorrectedErrorCounts_t *out) {
    unsigned int gpu = 0, count = 0;
    nvmlReturn_t status = out != NULL ? enter(device, &gpu) : NVML_ERROR_INVALID_ARGUMENT;
    if (status == NVML_SUCCESS && out->version != nvmlEccSramUniqueUncorrectedErrorCounts_v1)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (status == NVML_SUCCESS)
        status = gpu_uint(gpu, "sram_unique_uncorrected", &count);
    if (status != NVML_SUCCESS)
        return status;
    unsigned int room = out->entries != NULL ? out->entryCount : 0;
    for (unsigned int i = 0; i < count && i < room; i++)
        out->entries[i] = (nvmlEccSramUniqueUncorrectedErrorEntry_v1_t){.address = i, .count = 1};
    out->entryCount = count;
    return count > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetRowRemapperHistogram(nvmlDevice_t device, nvmlRowRemapperHistogramValues_t *out) {
    unsigned int gpu = 0;
    nvmlReturn_t status = out != NULL ? enter(device, &gpu) : NVML_ERROR_INVALID_ARGUMENT;
    if (status == NVML_SUCCESS)
        status = gpu_uint(gpu, "remap_banks_max", &out->max);
    if (status == NVML_SUCCESS)
        status = gpu_uint(gpu, "remap_banks_high", &out->high);
    if (status == NVML_SUCCESS)
        status = gpu_uint(gpu, "remap_banks_partial", &out->partial);
    if (status == NVML_SUCCESS)
        status = gpu_uint(gpu, "remap_banks_low", &out->low);
    return status == NVML_SUCCESS ? gpu_uint(gpu, "remap_banks_none", &out->none) : status;
}

nvmlReturn_t nvmlDeviceGetRepairStatus(nvmlDevice_t device, nvmlRepairStatus_t *out) {
    unsigned int gpu = 0;
    nvmlReturn_t status = out != NULL ? enter(device, &gpu) : NVML_ERROR_INVALID_ARGUMENT;
    if (status == NVML_SUCCESS && out->version != nvmlRepairStatus_v1)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (status == NVML_SUCCESS)
        status = gpu_uint(gpu, "channel_repair_pending", &out->bChannelRepairPending);
    return status == NVML_SUCCESS ? gpu_uint(gpu, "tpc_repair_pending", &out->bTpcRepairPending) : status;
}

nvmlReturn_t nvmlDeviceGetUnrepairableMemoryFlag_v1(nvmlDevice_t device, nvmlUnrepairableMemoryStatus_v1_t *out) {
    return read_uint(device, "memory_unrepairable", 1, out != NULL ? &out->bUnrepairableMemory : NULL);
}

static void fabric_uuid(unsigned int gpu, unsigned char *out) {
    char text[TEXT_SIZE];
    memset(out, 0, NVML_GPU_FABRIC_UUID_LEN);
    if (gpu_text(gpu, "fabric_cluster_uuid", text, sizeof text) != NVML_SUCCESS)
        return;
    const char *digit = text;
    for (int i = 0; i < NVML_GPU_FABRIC_UUID_LEN && digit[0] != '\0' && digit[1] != '\0'; i++, digit += 2) {
        digit += *digit == '-';
        out[i] = (unsigned char)strtoul((char[]){digit[0], digit[1], '\0'}, NULL, 16);
    }
}

/* Version 2 is the front of version 3, but for its size. */
nvmlReturn_t nvmlDeviceGetGpuFabricInfoV(nvmlDevice_t device, nvmlGpuFabricInfoV_t *out) {
    unsigned int gpu = 0, part = 0;
    nvmlReturn_t status = out != NULL ? enter(device, &gpu) : NVML_ERROR_INVALID_ARGUMENT;
    if (status == NVML_SUCCESS && out->version != nvmlGpuFabricInfo_v2 && out->version != nvmlGpuFabricInfo_v3)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (status == NVML_SUCCESS)
        status = gpu_uint(gpu, "fabric_state", &part);
    if (status != NVML_SUCCESS)
        return status;
    out->state = (nvmlGpuFabricState_t)part;
    fabric_uuid(gpu, out->clusterUuid);
    if (gpu_uint(gpu, "fabric_clique_id", &out->cliqueId) != NVML_SUCCESS)
        out->cliqueId = 0;
    status = gpu_uint(gpu, "fabric_status", &part);
    out->status = (nvmlReturn_t)part;
    if (status == NVML_SUCCESS)
        status = gpu_uint(gpu, "fabric_health_mask", &out->healthMask);
    if (status != NVML_SUCCESS || out->version == nvmlGpuFabricInfo_v2)
        return status;
    status = gpu_uint(gpu, "fabric_health_summary", &part);
    out->healthSummary = (unsigned char)part;
    return status;
}

struct nvmlGpmSample_st {
    unsigned int gpu;
    bool is_taken;
};

nvmlReturn_t nvmlGpmQueryDeviceSupport(nvmlDevice_t device, nvmlGpmSupport_t *out) {
    unsigned int gpu = 0;
    nvmlReturn_t status = out != NULL ? enter(device, &gpu) : NVML_ERROR_INVALID_ARGUMENT;
    if (status == NVML_SUCCESS && out->version != NVML_GPM_SUPPORT_VERSION)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    return status == NVML_SUCCESS ? gpu_uint(gpu, "gpm", &out->isSupportedDevice) : status;
}

nvmlReturn_t nvmlGpmSampleAlloc(nvmlGpmSample_t *sample) {
    if (sample == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    *sample = calloc(1, sizeof **sample);
    return *sample != NULL ? NVML_SUCCESS : NVML_ERROR_MEMORY;
}

nvmlReturn_t nvmlGpmSampleFree(nvmlGpmSample_t sample) {
    free(sample);
    return sample != NULL ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t nvmlGpmSampleGet(nvmlDevice_t device, nvmlGpmSample_t sample) {
    unsigned int gpu = 0;
    nvmlReturn_t status = sample != NULL ? enter_without_mig(device, &gpu) : NVML_ERROR_INVALID_ARGUMENT;
    if (status == NVML_SUCCESS)
        *sample = (struct nvmlGpmSample_st){gpu, true};
    return status;
}

static const char *gpm_name(unsigned int metric) {
    switch (metric) {
    case NVML_GPM_METRIC_SM_UTIL: return "sm_active_pct";
    case NVML_GPM_METRIC_SM_OCCUPANCY: return "sm_occupancy_pct";
    case NVML_GPM_METRIC_ANY_TENSOR_UTIL: return "tensor_active_pct";
    case NVML_GPM_METRIC_DRAM_BW_UTIL: return "dram_active_pct";
    case NVML_GPM_METRIC_FP64_UTIL: return "fp64_active_pct";
    case NVML_GPM_METRIC_FP32_UTIL: return "fp32_active_pct";
    case NVML_GPM_METRIC_FP16_UTIL: return "fp16_active_pct";
    case NVML_GPM_METRIC_PCIE_TX_PER_SEC: return "pcie_tx_mibps";
    case NVML_GPM_METRIC_PCIE_RX_PER_SEC: return "pcie_rx_mibps";
    case NVML_GPM_METRIC_NVLINK_TOTAL_RX_PER_SEC: return "nvlink_rx_mibps";
    case NVML_GPM_METRIC_NVLINK_TOTAL_TX_PER_SEC: return "nvlink_tx_mibps";
    default: return "no such metric";
    }
}

/* Two samples of one GPU, both taken; a number per metric, `nan` included. */
nvmlReturn_t nvmlGpmMetricsGet(nvmlGpmMetricsGet_t *get) {
    nvmlReturn_t status = check_driver();
    if (status != NVML_SUCCESS)
        return status;
    if (get == NULL || get->sample1 == NULL || get->sample2 == NULL || get->numMetrics > NVML_GPM_METRIC_MAX)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (get->version != NVML_GPM_METRICS_GET_VERSION)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (get->sample1 == get->sample2 || !get->sample1->is_taken || !get->sample2->is_taken ||
        get->sample1->gpu != get->sample2->gpu)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (unsigned int i = 0; i < get->numMetrics; i++) {
        nvmlGpmMetric_t *metric = &get->metrics[i];
        metric->nvmlReturn = gpu_number(get->sample1->gpu, gpm_name(metric->metricId), &metric->value);
    }
    return NVML_SUCCESS;
}
