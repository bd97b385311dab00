/* Readings of one GPU with a call of their own, from the names of collector/fields.py to NVML's calls and units. */
#include "double.h"

#include <stdlib.h>
#include <string.h>

#define MIB 1048576.0
#define NO_INSTANCE 0xFFFFFFFFu
/* Above Linux's largest possible pid. */
#define FIRST_INVENTED_PID 5000000u

nvmlReturn_t read_ull(nvmlDevice_t device, const char *name, double scale, unsigned long long *out) {
    unsigned int gpu = 0;
    nvmlReturn_t status = enter(device, &gpu);
    if (status != NVML_SUCCESS)
        return status;
    return out != NULL ? gpu_count_of(gpu, name, scale, out) : NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t read_uint(nvmlDevice_t device, const char *name, double scale, unsigned int *out) {
    unsigned long long value = 0;
    nvmlReturn_t status = read_ull(device, name, scale, &value);
    if (status != NVML_SUCCESS)
        return status;
    if (out == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    *out = (unsigned int)value;
    return NVML_SUCCESS;
}

nvmlReturn_t read_text(nvmlDevice_t device, const char *name, char *out, unsigned int size) {
    char text[TEXT_SIZE];
    unsigned int gpu = 0;
    nvmlReturn_t status = enter(device, &gpu);
    if (status == NVML_SUCCESS)
        status = gpu_text(gpu, name, text, sizeof text);
    return copy_text(status, text, out, size);
}

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

nvmlReturn_t nvmlDeviceGetMarginTemperature(nvmlDevice_t device, nvmlMarginTemperature_t *out) {
    unsigned int gpu = 0;
    double value = 0;
    nvmlReturn_t status = out != NULL ? enter(device, &gpu) : NVML_ERROR_INVALID_ARGUMENT;
    if (status == NVML_SUCCESS && out->version != nvmlMarginTemperature_v1)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (status == NVML_SUCCESS)
        status = gpu_number(gpu, "temperature_margin_c", &value);
    if (status == NVML_SUCCESS)
        out->marginTemperature = (int)value;
    return status;
}

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, nvmlClockType_t type, unsigned int *out) {
    static const char *const names[NVML_CLOCK_COUNT] = {
        [NVML_CLOCK_GRAPHICS] = "graphics_clock_mhz",
        [NVML_CLOCK_SM] = "sm_clock_mhz",
        [NVML_CLOCK_MEM] = "mem_clock_mhz",
        [NVML_CLOCK_VIDEO] = "video_clock_mhz",
    };
    return type < NVML_CLOCK_COUNT ? read_uint(device, names[type], 1, out) : NVML_ERROR_INVALID_ARGUMENT;
}

static nvmlReturn_t engine(nvmlDevice_t device, const char *name, unsigned int *share, unsigned int *period_us) {
    unsigned int gpu = 0;
    nvmlReturn_t status = share != NULL && period_us != NULL ? enter_without_mig(device, &gpu)
                                                             : NVML_ERROR_INVALID_ARGUMENT;
    if (status == NVML_SUCCESS)
        *period_us = 166000;
    return status == NVML_SUCCESS ? gpu_uint(gpu, name, share) : status;
}

#define ENGINE(call, name) \
    nvmlReturn_t call(nvmlDevice_t device, unsigned int *share, unsigned int *period_us) { \
        return engine(device, name, share, period_us); \
    }
ENGINE(nvmlDeviceGetEncoderUtilization, "encoder_util_pct")
ENGINE(nvmlDeviceGetDecoderUtilization, "decoder_util_pct")
ENGINE(nvmlDeviceGetJpgUtilization, "jpg_util_pct")
ENGINE(nvmlDeviceGetOfaUtilization, "ofa_util_pct")

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *out) {
    unsigned int gpu = 0;
    nvmlReturn_t status = out != NULL ? enter_without_mig(device, &gpu) : NVML_ERROR_INVALID_ARGUMENT;
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
    return status == NVML_SUCCESS ? gpu_count_of(gpu, "memory_free_mib", MIB, &out->free) : status;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *out) {
    nvmlMemory_t memory = {0};
    unsigned long long reserved = 0;
    if (out == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (out->version != nvmlMemory_v2)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    nvmlReturn_t status = nvmlDeviceGetMemoryInfo(device, &memory);
    if (status == NVML_SUCCESS)
        status = gpu_count_of(device->index, "memory_reserved_mib", MIB, &reserved);
    if (status == NVML_SUCCESS)
        *out = (nvmlMemory_v2_t){nvmlMemory_v2, memory.total, reserved, memory.free, memory.used};
    return status;
}

nvmlReturn_t nvmlDeviceGetBAR1MemoryInfo(nvmlDevice_t device, nvmlBAR1Memory_t *out) {
    unsigned int gpu = 0;
    nvmlReturn_t status = out != NULL ? enter(device, &gpu) : NVML_ERROR_INVALID_ARGUMENT;
    if (status == NVML_SUCCESS)
        status = gpu_count_of(gpu, "bar1_used_mib", MIB, &out->bar1Used);
    if (status == NVML_SUCCESS) {
        out->bar1Total = 131072ull * 1048576ull;
        out->bar1Free = out->bar1Total > out->bar1Used ? out->bar1Total - out->bar1Used : 0;
    }
    return status;
}

nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t device, nvmlMemoryErrorType_t error,
                                         nvmlEccCounterType_t counter, unsigned long long *out) {
    if (error == NVML_MEMORY_ERROR_TYPE_CORRECTED)
        return read_ull(device, counter == NVML_VOLATILE_ECC ? "ecc_sbe_volatile" : "ecc_sbe_aggregate", 1, out);
    return read_ull(device, counter == NVML_VOLATILE_ECC ? "ecc_dbe_volatile" : "ecc_dbe_aggregate", 1, out);
}

/* `gpuN.pids=123,456`; empty means that nothing runs there. `compute_processes` invents that many more. */
nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned int *count,
                                                     nvmlProcessInfo_t *out) {
    char text[TEXT_SIZE], *rest = NULL;
    unsigned int gpu = 0, found = 0, invented = 0;
    nvmlReturn_t status = enter(device, &gpu);
    if (status == NVML_SUCCESS)
        status = count != NULL ? gpu_text(gpu, "pids", text, sizeof text) : NVML_ERROR_INVALID_ARGUMENT;
    if (status == NVML_SUCCESS)
        status = gpu_uint(gpu, "compute_processes", &invented);
    if (status != NVML_SUCCESS)
        return status;
    unsigned int room = out != NULL ? *count : 0;
    char *pid = strtok_r(text, ",", &rest);
    for (; pid != NULL || invented > 0; found++) {
        unsigned int number = pid != NULL ? (unsigned int)strtoul(pid, NULL, 10) : FIRST_INVENTED_PID + invented--;
        if (found < room)
            out[found] = (nvmlProcessInfo_t){number, (unsigned long long)NVML_VALUE_NOT_AVAILABLE, NO_INSTANCE,
                                             NO_INSTANCE};
        pid = pid != NULL ? strtok_r(NULL, ",", &rest) : NULL;
    }
    *count = found;
    return found > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}
