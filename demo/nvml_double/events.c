/* Xid events: lines `gpu_index xid` appended to $FORESHOCK_NVML_DOUBLE_EVENTS, seen by each set from its creation on. */
#include "double.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* A real driver wakes its caller; looking more often than this would be most of what an idle agent costs. */
#define POLL_US 20000
#define NO_INSTANCE 0xFFFFFFFFu

struct nvmlEventSet_st {
    char path[4096];
    long position;
    bool is_registered[MAX_GPUS];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static long file_size(const char *path) {
    struct stat now;
    return path[0] != '\0' && stat(path, &now) == 0 ? (long)now.st_size : 0;
}

nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *set) {
    const char *named = getenv("FORESHOCK_NVML_DOUBLE_EVENTS");
    nvmlReturn_t status = check_driver();
    if (status != NVML_SUCCESS)
        return status;
    if (set == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    *set = calloc(1, sizeof **set);
    if (*set == NULL)
        return NVML_ERROR_MEMORY;
    snprintf((*set)->path, sizeof(*set)->path, "%s", named != NULL ? named : "");
    (*set)->position = file_size((*set)->path);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t set) {
    free(set);
    return NVML_SUCCESS;
}

/* Only what the file can say: Xids. As with a real GPU, asking for more is refused, so mask with this first. */
nvmlReturn_t nvmlDeviceGetSupportedEventTypes(nvmlDevice_t device, unsigned long long *types) {
    unsigned int gpu = 0;
    nvmlReturn_t status = enter(device, &gpu);
    if (status != NVML_SUCCESS)
        return status;
    if (types == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    *types = nvmlEventTypeXidCriticalError;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t device, unsigned long long types, nvmlEventSet_t set) {
    unsigned int gpu = 0;
    nvmlReturn_t status = enter(device, &gpu);
    if (status != NVML_SUCCESS)
        return status;
    if (set == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    if ((types & ~(unsigned long long)nvmlEventTypeXidCriticalError) != 0)
        return NVML_ERROR_NOT_SUPPORTED;
    pthread_mutex_lock(&lock);
    set->is_registered[gpu] = types != 0 || set->is_registered[gpu];
    pthread_mutex_unlock(&lock);
    return NVML_SUCCESS;
}

/* The next whole line after the set's position; a half-written one waits for its newline. */
static bool next_line(nvmlEventSet_t set, unsigned int *gpu, unsigned long long *xid) {
    char line[128];
    long size = file_size(set->path);
    if (size < set->position)
        set->position = 0; /* the file was started afresh */
    if (size == set->position)
        return false;
    FILE *file = fopen(set->path, "re");
    if (file == NULL)
        return false;
    bool whole = fseek(file, set->position, SEEK_SET) == 0 && fgets(line, sizeof line, file) != NULL &&
                 strchr(line, '\n') != NULL;
    fclose(file);
    if (!whole)
        return false;
    set->position += (long)strlen(line);
    if (sscanf(line, "%u %llu", gpu, xid) != 2)
        *gpu = MAX_GPUS;
    return true;
}

static bool next_event(nvmlEventSet_t set, nvmlEventData_t *data) {
    unsigned int gpu = 0;
    unsigned long long xid = 0;
    bool found = false;
    pthread_mutex_lock(&lock);
    while (!found && next_line(set, &gpu, &xid))
        found = gpu < MAX_GPUS && set->is_registered[gpu];
    pthread_mutex_unlock(&lock);
    if (found)
        *data = (nvmlEventData_t){handle_of(gpu), nvmlEventTypeXidCriticalError, xid, NO_INSTANCE, NO_INSTANCE};
    return found;
}

static unsigned long long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (unsigned long long)now.tv_sec * 1000 + (unsigned long long)now.tv_nsec / 1000000;
}

/* `events=!15` makes every wait fail, as some drivers do once a GPU is lost. */
nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *data, unsigned int timeoutms) {
    char text[TEXT_SIZE];
    unsigned long long deadline_ms = now_ms() + timeoutms;
    if (set == NULL || data == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (;;) {
        nvmlReturn_t status = check_driver();
        if (status != NVML_SUCCESS)
            return status;
        status = node_text("events", text, sizeof text);
        if (status != NVML_SUCCESS && status != NVML_ERROR_NOT_SUPPORTED)
            return status;
        if (next_event(set, data))
            return NVML_SUCCESS;
        if (now_ms() >= deadline_ms)
            return NVML_ERROR_TIMEOUT;
        pause_us(POLL_US);
    }
}

nvmlReturn_t nvmlEventSetWait(nvmlEventSet_t set, nvmlEventData_t *data, unsigned int timeoutms) {
    return nvmlEventSetWait_v2(set, data, timeoutms);
}
