/* Starting up, the node's own values, handles, and the gate that every call on a handle passes. */
#include "double.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static atomic_int users;
static struct nvmlDevice_st devices[MAX_GPUS];

static char generation[TEXT_SIZE];

nvmlReturn_t check_driver(void) {
    char text[TEXT_SIZE];
    if (atomic_load(&users) <= 0)
        return NVML_ERROR_UNINITIALIZED;
    values_refresh();
    node_text("generation", text, sizeof text);
    return strcmp(text, generation) == 0 ? NVML_SUCCESS : NVML_ERROR_UNINITIALIZED;
}

void pause_us(unsigned long long us) {
    struct timespec left = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

/* The lock of values.c is never held here: a hung GPU must not stop the others. */
nvmlReturn_t enter(nvmlDevice_t device, unsigned int *gpu) {
    unsigned long long latency_us = 0;
    nvmlReturn_t status = check_driver();
    if (status != NVML_SUCCESS)
        return status;
    if (device < devices || device >= devices + MAX_GPUS)
        return NVML_ERROR_INVALID_ARGUMENT;
    *gpu = device->index;
    /* sleeping for 0 still costs the timer's slack, some 60 us */
    if (gpu_count_of(*gpu, "latency_us", 1, &latency_us) == NVML_SUCCESS && latency_us > 0)
        pause_us(latency_us);
    while (gpu_flag(*gpu, "hang")) {
        pause_us(5000);
        values_refresh();
    }
    if (gpu_flag(*gpu, "lost") || gpu_flag(*gpu, "removed"))
        return NVML_ERROR_GPU_IS_LOST;
    return NVML_SUCCESS;
}

nvmlReturn_t enter_without_mig(nvmlDevice_t device, unsigned int *gpu) {
    nvmlReturn_t status = enter(device, gpu);
    return status == NVML_SUCCESS && gpu_flag(*gpu, "mig_mode") ? NVML_ERROR_NOT_SUPPORTED : status;
}

int double_unsupported(void *device) {
    unsigned int gpu = 0;
    nvmlReturn_t status = enter((nvmlDevice_t)device, &gpu);
    return (int)(status == NVML_SUCCESS ? NVML_ERROR_NOT_SUPPORTED : status);
}

nvmlReturn_t copy_text(nvmlReturn_t status, const char *text, char *out, size_t size) {
    if (status != NVML_SUCCESS)
        return status;
    if (out == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (strlen(text) >= size)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    strcpy(out, text);
    return NVML_SUCCESS;
}

/* Without a values file there is no driver, as far as the caller can tell. */
nvmlReturn_t nvmlInitWithFlags(unsigned int flags) {
    char text[TEXT_SIZE];
    (void)flags;
    if (!values_open())
        return NVML_ERROR_DRIVER_NOT_LOADED;
    nvmlReturn_t status = node_text("init", text, sizeof text);
    if (status != NVML_SUCCESS && status != NVML_ERROR_NOT_SUPPORTED)
        return status;
    for (unsigned int gpu = 0; gpu < MAX_GPUS; gpu++)
        devices[gpu].index = gpu;
    node_text("generation", generation, sizeof generation);
    atomic_fetch_add(&users, 1);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlInit_v2(void) {
    return nvmlInitWithFlags(0);
}

nvmlReturn_t nvmlInit(void) {
    return nvmlInitWithFlags(0);
}

nvmlReturn_t nvmlShutdown(void) {
    if (atomic_load(&users) <= 0)
        return NVML_ERROR_UNINITIALIZED;
    atomic_fetch_sub(&users, 1);
    return NVML_SUCCESS;
}

const char *nvmlErrorString(nvmlReturn_t result) {
    switch (result) {
    case NVML_SUCCESS: return "Success";
    case NVML_ERROR_UNINITIALIZED: return "Uninitialized";
    case NVML_ERROR_INVALID_ARGUMENT: return "Invalid Argument";
    case NVML_ERROR_NOT_SUPPORTED: return "Not Supported";
    case NVML_ERROR_NO_PERMISSION: return "Insufficient Permissions";
    case NVML_ERROR_NOT_FOUND: return "Not Found";
    case NVML_ERROR_INSUFFICIENT_SIZE: return "Insufficient Size";
    case NVML_ERROR_DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case NVML_ERROR_TIMEOUT: return "Timeout";
    case NVML_ERROR_GPU_IS_LOST: return "GPU is lost";
    case NVML_ERROR_RESET_REQUIRED: return "GPU requires reset";
    case NVML_ERROR_ARGUMENT_VERSION_MISMATCH: return "Argument version mismatch";
    default: return "Unknown Error";
    }
}

static nvmlReturn_t system_text(const char *key, char *out, unsigned int size) {
    char text[TEXT_SIZE];
    nvmlReturn_t status = check_driver();
    return status == NVML_SUCCESS ? copy_text(node_text(key, text, sizeof text), text, out, size) : status;
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length) {
    return system_text("driver_version", version, length);
}

nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned int length) {
    return system_text("nvml_version", version, length);
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version) {
    double value = 0;
    nvmlReturn_t status = check_driver();
    if (status == NVML_SUCCESS)
        status = version != NULL ? node_number("cuda_version", &value) : NVML_ERROR_INVALID_ARGUMENT;
    if (status == NVML_SUCCESS)
        *version = (int)value;
    return status;
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count) {
    double value = 0;
    nvmlReturn_t status = check_driver();
    if (status == NVML_SUCCESS)
        status = count != NULL ? node_number("count", &value) : NVML_ERROR_INVALID_ARGUMENT;
    if (status == NVML_SUCCESS && !(value >= 0 && value <= MAX_GPUS))
        return NVML_ERROR_UNKNOWN;
    if (status == NVML_SUCCESS)
        *count = (unsigned int)value;
    return status;
}

nvmlReturn_t nvmlDeviceGetCount(unsigned int *count) {
    return nvmlDeviceGetCount_v2(count);
}

nvmlDevice_t handle_of(unsigned int gpu) {
    return &devices[gpu];
}

/* A hung GPU still hands out its handle; only calls on the handle block. A removed one leaves its index empty. */
nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device) {
    unsigned int count = 0;
    nvmlReturn_t status = nvmlDeviceGetCount_v2(&count);
    if (status != NVML_SUCCESS)
        return status;
    if (device == NULL || index >= count)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (gpu_flag(index, "removed"))
        return NVML_ERROR_NOT_FOUND;
    if (gpu_flag(index, "lost"))
        return NVML_ERROR_GPU_IS_LOST;
    *device = handle_of(index);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned int index, nvmlDevice_t *device) {
    return nvmlDeviceGetHandleByIndex_v2(index, device);
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) {
    char text[TEXT_SIZE];
    unsigned int count = 0;
    nvmlReturn_t status = nvmlDeviceGetCount_v2(&count);
    if (status != NVML_SUCCESS)
        return status;
    for (unsigned int gpu = 0; uuid != NULL && gpu < count; gpu++)
        if (gpu_text(gpu, "uuid", text, sizeof text) == NVML_SUCCESS && strcmp(text, uuid) == 0)
            return nvmlDeviceGetHandleByIndex_v2(gpu, device);
    return uuid != NULL ? NVML_ERROR_NOT_FOUND : NVML_ERROR_INVALID_ARGUMENT;
}

static bool pci_address(const char *text, unsigned int at[3]) {
    return sscanf(text, "%x:%x:%x", &at[0], &at[1], &at[2]) == 3;
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, nvmlDevice_t *device) {
    char text[TEXT_SIZE];
    unsigned int count = 0, wanted[3], at[3];
    nvmlReturn_t status = nvmlDeviceGetCount_v2(&count);
    if (status != NVML_SUCCESS)
        return status;
    if (bus_id == NULL || !pci_address(bus_id, wanted))
        return NVML_ERROR_INVALID_ARGUMENT;
    for (unsigned int gpu = 0; gpu < count; gpu++)
        if (gpu_text(gpu, "pci_bdf", text, sizeof text) == NVML_SUCCESS && pci_address(text, at) &&
            memcmp(at, wanted, sizeof at) == 0)
            return nvmlDeviceGetHandleByIndex_v2(gpu, device);
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci) {
    char text[TEXT_SIZE];
    unsigned int gpu = 0, at[3];
    nvmlReturn_t status = enter(device, &gpu);
    if (status == NVML_SUCCESS)
        status = gpu_text(gpu, "pci_bdf", text, sizeof text);
    if (status != NVML_SUCCESS)
        return status;
    if (pci == NULL || !pci_address(text, at))
        return NVML_ERROR_INVALID_ARGUMENT;
    memset(pci, 0, sizeof *pci);
    pci->domain = at[0];
    pci->bus = at[1];
    pci->device = at[2];
    pci->pciDeviceId = 0x233010DE; /* H100 SXM5 80GB */
    snprintf(pci->busId, sizeof pci->busId, NVML_DEVICE_PCI_BUS_ID_FMT, at[0], at[1], at[2]);
    snprintf(pci->busIdLegacy, sizeof pci->busIdLegacy, NVML_DEVICE_PCI_BUS_ID_LEGACY_FMT, at[0] & 0xffff,
             at[1] & 0xff, at[2] & 0xff);
    return NVML_SUCCESS;
}
