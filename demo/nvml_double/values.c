/* The values file: read again whenever it was replaced, looked up under one lock. */
#include "double.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct entry {
    char *key;
    char *value;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char path[4096];
static struct stat seen;
static bool is_settled;
static char *content;
static struct entry *entries;
static size_t entry_count;

static int by_key(const void *a, const void *b) {
    return strcmp(((const struct entry *)a)->key, ((const struct entry *)b)->key);
}

/* Timestamps step by some milliseconds and inodes are used again, so two quick replacements can look alike:
 * a file that was young when it was read is read again. */
static bool is_old_enough(const struct stat *file) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    double age_s = (double)(now.tv_sec - file->st_mtim.tv_sec) + 1e-9 * (double)(now.tv_nsec - file->st_mtim.tv_nsec);
    return age_s > 0.02 || age_s < -1;
}

static bool is_seen(const struct stat *now) {
    return is_settled && content != NULL && now->st_ino == seen.st_ino && now->st_dev == seen.st_dev &&
           now->st_size == seen.st_size && now->st_mtim.tv_sec == seen.st_mtim.tv_sec &&
           now->st_mtim.tv_nsec == seen.st_mtim.tv_nsec;
}

static char *read_all(int fd, size_t size) {
    char *bytes = malloc(size + 1);
    size_t have = 0;
    while (bytes != NULL && have < size) {
        ssize_t got = read(fd, bytes + have, size - have);
        if (got <= 0)
            break;
        have += (size_t)got;
    }
    if (bytes != NULL)
        bytes[have] = '\0';
    return bytes;
}

/* Cuts `bytes` into sorted entries and takes it over. Lines without `=` and lines that start with # are skipped. */
static void parse(char *bytes) {
    size_t room = 1;
    for (const char *c = bytes; *c != '\0'; c++)
        room += *c == '\n';
    struct entry *found = calloc(room, sizeof *found);
    size_t count = 0;
    char *rest = NULL;
    for (char *line = strtok_r(bytes, "\r\n", &rest); line != NULL && found != NULL;
         line = strtok_r(NULL, "\r\n", &rest)) {
        char *equals = strchr(line, '=');
        if (*line == '#' || equals == NULL)
            continue;
        *equals = '\0';
        found[count++] = (struct entry){line, equals + 1};
    }
    if (count > 0)
        qsort(found, count, sizeof *found, by_key);
    free(entries);
    free(content);
    entries = found;
    entry_count = count;
    content = bytes;
}

/* A file that is away for a moment leaves the last values in place. */
static bool load(void) {
    struct stat now;
    if (path[0] == '\0' || stat(path, &now) != 0)
        return false;
    if (is_seen(&now))
        return true;
    bool settled = is_old_enough(&now);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    char *bytes = fstat(fd, &now) == 0 ? read_all(fd, (size_t)now.st_size) : NULL;
    close(fd);
    if (bytes == NULL)
        return false;
    parse(bytes);
    seen = now;
    is_settled = settled;
    return true;
}

bool values_open(void) {
    const char *named = getenv("FORESHOCK_NVML_DOUBLE");
    pthread_mutex_lock(&lock);
    snprintf(path, sizeof path, "%s", named != NULL ? named : "");
    bool loaded = load();
    pthread_mutex_unlock(&lock);
    return loaded;
}

void values_refresh(void) {
    pthread_mutex_lock(&lock);
    load();
    pthread_mutex_unlock(&lock);
}

nvmlReturn_t node_text(const char *key, char *out, size_t size) {
    struct entry wanted = {(char *)key, NULL};
    pthread_mutex_lock(&lock);
    const struct entry *found =
        entry_count > 0 ? bsearch(&wanted, entries, entry_count, sizeof *entries, by_key) : NULL;
    snprintf(out, size, "%s", found != NULL ? found->value : "null");
    pthread_mutex_unlock(&lock);
    if (strcmp(out, "null") == 0)
        return NVML_ERROR_NOT_SUPPORTED;
    if (out[0] == '!')
        return (nvmlReturn_t)atoi(out + 1);
    return NVML_SUCCESS;
}

static nvmlReturn_t number_of(nvmlReturn_t status, const char *text, double *out) {
    char *end = NULL;
    if (status != NVML_SUCCESS)
        return status;
    *out = strtod(text, &end);
    return end != text && *end == '\0' ? NVML_SUCCESS : NVML_ERROR_UNKNOWN;
}

nvmlReturn_t node_number(const char *key, double *out) {
    char text[TEXT_SIZE];
    return number_of(node_text(key, text, sizeof text), text, out);
}

/* `@other` is the same GPU's reading of that name. */
nvmlReturn_t gpu_text(unsigned int gpu, const char *name, char *out, size_t size) {
    char key[128], other[128];
    snprintf(key, sizeof key, "gpu%u.%s", gpu, name);
    nvmlReturn_t status = node_text(key, out, size);
    if (status != NVML_SUCCESS || out[0] != '@')
        return status;
    snprintf(other, sizeof other, "%s", out + 1);
    snprintf(key, sizeof key, "gpu%u.%s", gpu, other);
    return node_text(key, out, size);
}

nvmlReturn_t gpu_number(unsigned int gpu, const char *name, double *out) {
    char text[TEXT_SIZE];
    return number_of(gpu_text(gpu, name, text, sizeof text), text, out);
}

/* A reading times `scale`, rounded, in NVML's own unit. */
nvmlReturn_t gpu_count_of(unsigned int gpu, const char *name, double scale, unsigned long long *out) {
    double value = 0;
    nvmlReturn_t status = gpu_number(gpu, name, &value);
    if (status != NVML_SUCCESS)
        return status;
    if (!(value >= 0 && value * scale < 1.8e19))
        return NVML_ERROR_UNKNOWN;
    *out = (unsigned long long)(value * scale + 0.5);
    return NVML_SUCCESS;
}

/* For calls that give several readings: they enter once. */
nvmlReturn_t gpu_uint(unsigned int gpu, const char *name, unsigned int *out) {
    unsigned long long value = 0;
    nvmlReturn_t status = out != NULL ? gpu_count_of(gpu, name, 1, &value) : NVML_ERROR_INVALID_ARGUMENT;
    if (status == NVML_SUCCESS)
        *out = (unsigned int)value;
    return status;
}

bool gpu_flag(unsigned int gpu, const char *name) {
    double value = 0;
    return gpu_number(gpu, name, &value) == NVML_SUCCESS && value != 0;
}
