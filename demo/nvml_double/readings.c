/* Readings of one GPU, from the names of collector/records.py FIELDS to NVML's calls, field ids and units. */
#include "double.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MIB 1048576.0
#define NO_INSTANCE 0xFFFFFFFFu

static nvmlReturn_t read_ull(nvmlDevice_t device, const char *name, double scale, unsigned long long *out) {
    unsigned int gpu = 0;
    nvmlReturn_t status = enter(device, &gpu);
    if (status != NVML_SUCCESS)
        return status;
    return out != NULL ? gpu_count_of(gpu, name, scale, out) : NVML_ERROR_INVALID_ARGUMENT;
}

static nvmlReturn_t read_uint(nvmlDevice_t device, const char *name, double scale, unsigned int *out) {
    unsigned long long value = 0;
    nvmlReturn_t status = read_ull(device, name, scale, &value);
    if (status != NVML_SUCCESS)
        return status;
    if (out == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    *out = (unsigned int)value;
    return NVML_SUCCESS;
}

/* For calls that give several readings: they enter once. */
static nvmlReturn_t gpu_uint(unsigned int gpu, const char *name, unsigned int *out) {
    unsigned long long value = 0;
    nvmlReturn_t status = out != NULL ? gpu_count_of(gpu, name, 1, &value) : NVML_ERROR_INVALID_ARGUMENT;
    if (status == NVML_SUCCESS)
        *out = (unsigned int)value;
    return status;
}

static nvmlReturn_t read_text(nvmlDevice_t device, const char *name, char *out, unsigned int size) {
    char text[TEXT_SIZE];
    unsigned int gpu = 0;
    nvmlReturn_t status = enter(device, &gpu);
    if (status == NVML_SUCCESS)
        status = gpu_text(gpu, name, text, sizeof text);
    return copy_text(status, text, out, size);
}

#define TEXT_READING(call, name) \
    nvmlReturn_t call(nvmlDevice_t device, char *out, unsigned int size) { return read_text(device, name, out, size); }
#define UINT_READING(call, name, scale) \
    nvmlReturn_t call(nvmlDevice_t device, unsigned int *out) { return read_uint(device, name, scale, out); }
#define ULL_READING(call, name, scale) \
    nvmlReturn_t call(nvmlDevice_t device, unsigned long long *out) { return read_ull(device, name, scale, out); }

TEXT_READING(nvmlDeviceGetUUID, "uuid")
TEXT_READING(nvmlDeviceGetName, "name")
TEXT_READING(nvmlDeviceGetSerial, "serial")
TEXT_READING(nvmlDeviceGetVbiosVersion, "vbios")
UINT_READING(nvmlDeviceGetMinorNumber, "minor", 1)
UINT_READING(nvmlDeviceGetPowerUsage, "power_w", 1e3)
UINT_READING(nvmlDeviceGetEnforcedPowerLimit, "power_limit_w", 1e3)
UINT_READING(nvmlDeviceGetPowerManagementLimit, "power_limit_w", 1e3)
UINT_READING(nvmlDeviceGetCurrPcieLinkGeneration, "pcie_generation", 1)
UINT_READING(nvmlDeviceGetCurrPcieLinkWidth, "pcie_width", 1)
UINT_READING(nvmlDeviceGetPcieReplayCounter, "pcie_replay", 1)
ULL_READING(nvmlDeviceGetTotalEnergyConsumption, "energy_j", 1e3)
ULL_READING(nvmlDeviceGetCurrentClocksEventReasons, "clock_event_reasons", 1)
ULL_READING(nvmlDeviceGetCurrentClocksThrottleReasons, "clock_event_reasons", 1)

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned int *index) {
    unsigned int gpu = 0;
    nvmlReturn_t status = enter(device, &gpu);
    if (status == NVML_SUCCESS && index != NULL)
        *index = gpu;
    return status == NVML_SUCCESS && index == NULL ? NVML_ERROR_INVALID_ARGUMENT : status;
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, nvmlTemperatureSensors_t sensor, unsigned int *out) {
    return sensor == NVML_TEMPERATURE_GPU ? read_uint(device, "temperature_c", 1, out) : NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t device, nvmlTemperature_t *out) {
    unsigned int value = 0;
    if (out == NULL || out->sensorType != NVML_TEMPERATURE_GPU)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (out->version != nvmlTemperature_v1)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    nvmlReturn_t status = read_uint(device, "temperature_c", 1, &value);
    if (status == NVML_SUCCESS)
        out->temperature = (int)value;
    return status;
}

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, nvmlClockType_t type, unsigned int *out) {
    if (type == NVML_CLOCK_VIDEO)
        return (nvmlReturn_t)double_unsupported(device);
    if (type >= NVML_CLOCK_COUNT)
        return NVML_ERROR_INVALID_ARGUMENT;
    return read_uint(device, type == NVML_CLOCK_MEM ? "mem_clock_mhz" : "sm_clock_mhz", 1, out);
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *out) {
    unsigned int gpu = 0;
    nvmlReturn_t status = out != NULL ? enter(device, &gpu) : NVML_ERROR_INVALID_ARGUMENT;
    if (status == NVML_SUCCESS)
        status = gpu_uint(gpu, "sm_util_pct", &out->gpu);
    return status == NVML_SUCCESS ? gpu_uint(gpu, "mem_util_pct", &out->memory) : status;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *out) {
    unsigned int gpu = 0;
    nvmlReturn_t status = out != NULL ? enter(device, &gpu) : NVML_ERROR_INVALID_ARGUMENT;
    if (status == NVML_SUCCESS)
        status = gpu_count_of(gpu, "memory_total_mib", MIB, &out->total);
    if (status == NVML_SUCCESS)
        status = gpu_count_of(gpu, "memory_used_mib", MIB, &out->used);
    if (status == NVML_SUCCESS)
        out->free = out->total > out->used ? out->total - out->used : 0;
    return status;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *out) {
    nvmlMemory_t memory = {0};
    if (out == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (out->version != nvmlMemory_v2)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    nvmlReturn_t status = nvmlDeviceGetMemoryInfo(device, &memory);
    if (status == NVML_SUCCESS)
        *out = (nvmlMemory_v2_t){nvmlMemory_v2, memory.total, 0, memory.free, memory.used};
    return status;
}

nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t device, nvmlMemoryErrorType_t error,
                                         nvmlEccCounterType_t counter, unsigned long long *out) {
    if (error == NVML_MEMORY_ERROR_TYPE_CORRECTED)
        return read_ull(device, counter == NVML_VOLATILE_ECC ? "ecc_sbe_volatile" : "ecc_sbe_aggregate", 1, out);
    return read_ull(device, counter == NVML_VOLATILE_ECC ? "ecc_dbe_volatile" : "ecc_dbe_aggregate", 1, out);
}

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

struct field {
    unsigned int id;
    const char *name;
    double scale;
    bool wide;
};

static const struct field fields[] = {
    {NVML_FI_DEV_ECC_SBE_VOL_TOTAL, "ecc_sbe_volatile", 1, true},
    {NVML_FI_DEV_ECC_DBE_VOL_TOTAL, "ecc_dbe_volatile", 1, true},
    {NVML_FI_DEV_ECC_SBE_AGG_TOTAL, "ecc_sbe_aggregate", 1, true},
    {NVML_FI_DEV_ECC_DBE_AGG_TOTAL, "ecc_dbe_aggregate", 1, true},
    {NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL, "nvlink_crc_flit_errors", 1, true},
    {NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL, "nvlink_crc_data_errors", 1, true},
    {NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL, "nvlink_replay_errors", 1, true},
    {NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL, "nvlink_recovery_errors", 1, true},
    {NVML_FI_DEV_PERF_POLICY_POWER, "power_violation_us", 1e3, true},
    {NVML_FI_DEV_PERF_POLICY_THERMAL, "thermal_violation_us", 1e3, true},
    {NVML_FI_DEV_MEMORY_TEMP, "memory_temperature_c", 1, false},
    {NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION, "energy_j", 1e3, true},
    {NVML_FI_DEV_PCIE_REPLAY_COUNTER, "pcie_replay", 1, false},
    {NVML_FI_DEV_REMAPPED_COR, "remapped_rows_correctable", 1, false},
    {NVML_FI_DEV_REMAPPED_UNC, "remapped_rows_uncorrectable", 1, false},
    {NVML_FI_DEV_REMAPPED_PENDING, "remap_pending", 1, false},
    {NVML_FI_DEV_REMAPPED_FAILURE, "remap_failure", 1, false},
    {NVML_FI_DEV_POWER_AVERAGE, "power_w", 1e3, false},
    {NVML_FI_DEV_POWER_INSTANT, "power_w", 1e3, false},
    {NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, "recovery_action", 1, false},
};

static void read_field(unsigned int gpu, nvmlFieldValue_t *out) {
    struct timespec now;
    unsigned long long value = 0;
    const struct field *field = NULL;
    for (size_t i = 0; field == NULL && i < sizeof fields / sizeof *fields; i++)
        field = fields[i].id == out->fieldId ? &fields[i] : NULL;
    clock_gettime(CLOCK_REALTIME, &now);
    out->timestamp = (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    out->latencyUsec = 0;
    memset(&out->value, 0, sizeof out->value);
    out->nvmlReturn =
        field != NULL ? gpu_count_of(gpu, field->name, field->scale, &value) : NVML_ERROR_NOT_SUPPORTED;
    if (out->nvmlReturn != NVML_SUCCESS)
        return;
    out->valueType = field->wide ? NVML_VALUE_TYPE_UNSIGNED_LONG_LONG : NVML_VALUE_TYPE_UNSIGNED_INT;
    if (field->wide)
        out->value.ullVal = value;
    else
        out->value.uiVal = (unsigned int)value;
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

/* `gpuN.pids=123,456`; empty means that nothing runs there. */
nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned int *count,
                                                     nvmlProcessInfo_t *out) {
    char text[TEXT_SIZE], *rest = NULL;
    unsigned int gpu = 0, found = 0;
    nvmlReturn_t status = enter(device, &gpu);
    if (status == NVML_SUCCESS)
        status = count != NULL ? gpu_text(gpu, "pids", text, sizeof text) : NVML_ERROR_INVALID_ARGUMENT;
    if (status != NVML_SUCCESS)
        return status;
    unsigned int room = out != NULL ? *count : 0;
    for (char *pid = strtok_r(text, ",", &rest); pid != NULL; pid = strtok_r(NULL, ",", &rest), found++)
        if (found < room)
            out[found] = (nvmlProcessInfo_t){(unsigned int)strtoul(pid, NULL, 10),
                                             (unsigned long long)NVML_VALUE_NOT_AVAILABLE, NO_INSTANCE, NO_INSTANCE};
    *count = found;
    return found > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}
