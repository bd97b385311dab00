/* What rarely changes: who a GPU is, its firmware, modes and limits, by the names of records.py Inventory. */
#include "double.h"

#include <string.h>

TEXT_READING(nvmlDeviceGetUUID, "uuid")
TEXT_READING(nvmlDeviceGetName, "name")
TEXT_READING(nvmlDeviceGetSerial, "serial")
TEXT_READING(nvmlDeviceGetVbiosVersion, "vbios_version")
TEXT_READING(nvmlDeviceGetBoardPartNumber, "board_part_number")
TEXT_READING(nvmlDeviceGetInforomImageVersion, "inforom_image_version")
UINT_READING(nvmlDeviceGetMinorNumber, "minor", 1)
UINT_READING(nvmlDeviceGetMaxPcieLinkGeneration, "pcie_generation_max", 1)
UINT_READING(nvmlDeviceGetMaxPcieLinkWidth, "pcie_width_max", 1)
UINT_READING(nvmlDeviceGetPowerManagementDefaultLimit, "power_limit_default_w", 1e3)
UINT_READING(nvmlDeviceGetArchitecture, "architecture", 1)
UINT_READING(nvmlDeviceGetModuleId, "module_id", 1)

nvmlReturn_t nvmlDeviceGetPersistenceMode(nvmlDevice_t device, nvmlEnableState_t *mode) {
    unsigned int value = 0;
    nvmlReturn_t status = mode != NULL ? read_uint(device, "persistence_mode", 1, &value) : NVML_ERROR_INVALID_ARGUMENT;
    if (status == NVML_SUCCESS)
        *mode = (nvmlEnableState_t)value;
    return status;
}

nvmlReturn_t nvmlDeviceGetInforomVersion(nvmlDevice_t device, nvmlInforomObject_t object, char *out,
                                         unsigned int size) {
    switch (object) {
    case NVML_INFOROM_OEM: return read_text(device, "inforom_oem_version", out, size);
    case NVML_INFOROM_ECC: return read_text(device, "inforom_ecc_version", out, size);
    case NVML_INFOROM_POWER: return read_text(device, "inforom_power_version", out, size);
    default: return NVML_ERROR_NOT_SUPPORTED;
    }
}

nvmlReturn_t nvmlDeviceGetGspFirmwareVersion(nvmlDevice_t device, char *version) {
    return read_text(device, "gsp_firmware_version", version, NVML_GSP_FIRMWARE_VERSION_BUF_SIZE);
}

/* Two numbers with one entry. */
static nvmlReturn_t pair(nvmlDevice_t device, const char *first_name, double scale, unsigned int *first,
                         const char *second_name, unsigned int *second) {
    unsigned int gpu = 0;
    unsigned long long one = 0, two = 0;
    nvmlReturn_t status = first != NULL && second != NULL ? enter(device, &gpu) : NVML_ERROR_INVALID_ARGUMENT;
    if (status == NVML_SUCCESS)
        status = gpu_count_of(gpu, first_name, scale, &one);
    if (status == NVML_SUCCESS)
        status = gpu_count_of(gpu, second_name, scale, &two);
    if (status == NVML_SUCCESS) {
        *first = (unsigned int)one;
        *second = (unsigned int)two;
    }
    return status;
}

nvmlReturn_t nvmlDeviceGetEccMode(nvmlDevice_t device, nvmlEnableState_t *current, nvmlEnableState_t *pending) {
    unsigned int now = 0, later = 0;
    nvmlReturn_t status = pair(device, "ecc_mode", 1, &now, "ecc_mode_pending", &later);
    if (status == NVML_SUCCESS) {
        *current = (nvmlEnableState_t)now;
        *pending = (nvmlEnableState_t)later;
    }
    return status;
}

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned int *current, unsigned int *pending) {
    return pair(device, "mig_mode", 1, current, "mig_mode_pending", pending);
}

nvmlReturn_t nvmlDeviceGetGspFirmwareMode(nvmlDevice_t device, unsigned int *enabled, unsigned int *by_default) {
    return pair(device, "gsp_firmware_mode", 1, enabled, "gsp_firmware_mode", by_default);
}

nvmlReturn_t nvmlDeviceGetPowerManagementLimitConstraints(nvmlDevice_t device, unsigned int *low, unsigned int *high) {
    return pair(device, "power_limit_min_w", 1e3, low, "power_limit_max_w", high);
}

nvmlReturn_t nvmlDeviceGetTemperatureThreshold(nvmlDevice_t device, nvmlTemperatureThresholds_t which,
                                               unsigned int *out) {
    switch (which) {
    case NVML_TEMPERATURE_THRESHOLD_SHUTDOWN: return read_uint(device, "temperature_shutdown_c", 1, out);
    case NVML_TEMPERATURE_THRESHOLD_SLOWDOWN: return read_uint(device, "temperature_slowdown_c", 1, out);
    case NVML_TEMPERATURE_THRESHOLD_MEM_MAX: return read_uint(device, "temperature_memory_max_c", 1, out);
    case NVML_TEMPERATURE_THRESHOLD_GPU_MAX: return read_uint(device, "temperature_gpu_max_c", 1, out);
    default: return NVML_ERROR_NOT_SUPPORTED;
    }
}

nvmlReturn_t nvmlDeviceGetPlatformInfo(nvmlDevice_t device, nvmlPlatformInfo_t *out) {
    char text[TEXT_SIZE];
    unsigned int gpu = 0, slot = 0, tray = 0, host = 0, module = 0;
    nvmlReturn_t status = out != NULL ? enter(device, &gpu) : NVML_ERROR_INVALID_ARGUMENT;
    if (status == NVML_SUCCESS && out->version != nvmlPlatformInfo_v2)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (status == NVML_SUCCESS)
        status = gpu_text(gpu, "chassis_serial", text, sizeof text);
    if (status == NVML_SUCCESS)
        status = gpu_uint(gpu, "slot_number", &slot);
    if (status == NVML_SUCCESS)
        status = gpu_uint(gpu, "tray_index", &tray);
    if (status == NVML_SUCCESS)
        status = gpu_uint(gpu, "host_id", &host);
    if (status == NVML_SUCCESS)
        status = gpu_uint(gpu, "module_id", &module);
    if (status != NVML_SUCCESS)
        return status;
    *out = (nvmlPlatformInfo_t){.version = nvmlPlatformInfo_v2,
                                .slotNumber = (unsigned char)slot,
                                .trayIndex = (unsigned char)tray,
                                .hostId = (unsigned char)host,
                                .moduleId = (unsigned char)module};
    memcpy(out->chassisSerialNumber, text, strnlen(text, sizeof out->chassisSerialNumber));
    return NVML_SUCCESS;
}
