/* A test double of NVIDIA's libnvidia-ml.so.1: what its C files share. It holds no NVIDIA code.
 *
 * Values come from the text file named by $FORESHOCK_NVML_DOUBLE, one `key=value` a line; values.py lists the keys.
 */
#ifndef FORESHOCK_NVML_DOUBLE_H
#define FORESHOCK_NVML_DOUBLE_H

/* The old entry points (nvmlInit beside nvmlInit_v2) are symbols here, not macros. */
#define NVML_NO_UNVERSIONED_FUNC_DEFS
#include <nvml.h>

#include <stdbool.h>
#include <stddef.h>

#define MAX_GPUS 64
#define TEXT_SIZE 512

struct nvmlDevice_st {
    unsigned int index;
};

/* values.c: the file's present content. A key that is absent or `null` is NVML_ERROR_NOT_SUPPORTED, `!15` is
 * return code 15, and text where a number belongs is NVML_ERROR_UNKNOWN, so that a typing error shows. */
bool values_open(void);
void values_refresh(void);
nvmlReturn_t node_text(const char *key, char *out, size_t size);
nvmlReturn_t node_number(const char *key, double *out);
nvmlReturn_t gpu_text(unsigned int gpu, const char *name, char *out, size_t size);
nvmlReturn_t gpu_number(unsigned int gpu, const char *name, double *out);
nvmlReturn_t gpu_count_of(unsigned int gpu, const char *name, double scale, unsigned long long *out);
nvmlReturn_t gpu_uint(unsigned int gpu, const char *name, unsigned int *out);
bool gpu_flag(unsigned int gpu, const char *name);

/* double.c: every call on a handle passes here first: it may be slow, hang, or find the GPU gone. After a driver
 * reload (the node's `generation` is another) every call is UNINITIALIZED until nvmlInit. */
nvmlReturn_t check_driver(void);
void pause_us(unsigned long long us);
nvmlReturn_t enter(nvmlDevice_t device, unsigned int *gpu);
nvmlDevice_t handle_of(unsigned int gpu);
nvmlReturn_t copy_text(nvmlReturn_t status, const char *text, char *out, size_t size);

/* One reading of one GPU, in NVML's own unit. Without MIG: NOT_SUPPORTED while `mig_mode` is on. */
nvmlReturn_t enter_without_mig(nvmlDevice_t device, unsigned int *gpu);
nvmlReturn_t read_ull(nvmlDevice_t device, const char *name, double scale, unsigned long long *out);
nvmlReturn_t read_uint(nvmlDevice_t device, const char *name, double scale, unsigned int *out);
nvmlReturn_t read_text(nvmlDevice_t device, const char *name, char *out, unsigned int size);

#define TEXT_READING(call, name) \
    nvmlReturn_t call(nvmlDevice_t device, char *out, unsigned int size) { return read_text(device, name, out, size); }
#define UINT_READING(call, name, scale) \
    nvmlReturn_t call(nvmlDevice_t device, unsigned int *out) { return read_uint(device, name, scale, out); }
#define ULL_READING(call, name, scale) \
    nvmlReturn_t call(nvmlDevice_t device, unsigned long long *out) { return read_ull(device, name, scale, out); }

/* For the generated stubs, which know no NVML types: enter, then NOT_SUPPORTED. */
int double_unsupported(void *device);

#endif
