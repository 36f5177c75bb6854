/* cuda - memory that we allocate, free and trim ourselves, as NVML sees it.
 *
 * Through the driver API (CUDA Driver API reference), opened at run time: no toolkit. A pool that
 * keeps what is freed plays the caching allocator of a framework: after the free NVML must still
 * see the memory in use, and after the trim not any more. Needs a card on which nobody else
 * allocates meanwhile.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "check.h"

#define ALLOWED    (16 * CHECK_MIB)
#define LEAST      (64 * CHECK_MIB)
#define MOST       (1024 * CHECK_MIB)
#define READS_MOST 20 /* until memory stands still */
#define THRESHOLD  4  /* CU_MEMPOOL_ATTR_RELEASE_THRESHOLD */
#define UUID_BYTES 16

/* X(result of dlsym, parameters); newest names, which all drivers since 11.2 have. */
#define CUDA_TABLE(X)                                \
    X(cuInit, (unsigned))                            \
    X(cuDeviceGetCount, (int *))                     \
    X(cuDeviceGet, (int *, int))                     \
    X(cuDeviceGetUuid, (unsigned char *, int))       \
    X(cuDevicePrimaryCtxRetain, (void **, int))      \
    X(cuDevicePrimaryCtxRelease_v2, (int))           \
    X(cuCtxSetCurrent, (void *))                     \
    X(cuStreamSynchronize, (void *))                 \
    X(cuDeviceGetDefaultMemPool, (void **, int))     \
    X(cuMemPoolSetAttribute, (void *, int, void *))  \
    X(cuMemPoolTrimTo, (void *, size_t))             \
    X(cuMemAllocAsync, (uint64_t *, size_t, void *)) \
    X(cuMemFreeAsync, (uint64_t, void *))

struct cuda {
    void *handle;
#define CUDA_MEMBER(name, parameters) int(*name) parameters;
    CUDA_TABLE(CUDA_MEMBER)
#undef CUDA_MEMBER
};

static bool open_cuda(struct cuda *cuda, struct check *check)
{
    void *symbol;
    cuda->handle = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (cuda->handle == NULL) {
        check_skip(check, "the driver API is not there (libcuda.so.1)");
        return false;
    }
#define CUDA_FIND(name, parameters)                         \
    symbol = dlsym(cuda->handle, #name);                    \
    if (symbol == NULL) {                                   \
        check_skip(check, "this driver API has no " #name); \
        return false;                                       \
    }                                                       \
    memcpy(&cuda->name, &symbol, sizeof symbol);
    CUDA_TABLE(CUDA_FIND)
#undef CUDA_FIND
    return true;
}

/* GPU-01234567-89ab-cdef-0123-456789abcdef, as NVML writes it */
static void write_uuid(const unsigned char *bytes, char *out, size_t size)
{
    size_t len = (size_t)snprintf(out, size, "GPU");
    for (size_t i = 0; i < UUID_BYTES; i++) {
        const char *dash = i == 0 || i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "";
        len += (size_t)snprintf(out + len, size - len, "%s%02x", dash, bytes[i]);
    }
}

static const struct ps_device *find(const struct check *check, const char *uuid)
{
    for (size_t i = 0; i < check->now->device_count; i++) {
        if (strcmp(check->now->devices[i].uuid, uuid) == 0) {
            return &check->now->devices[i];
        }
    }
    return NULL;
}

/* What is in use once that stands still; below 0: it is not known. */
static double used(struct check *check, const char *uuid)
{
    double last = -1;
    for (int i = 0; i < READS_MOST; i++) {
        check_read(check);
        const struct ps_device *device = find(check, uuid);
        if (device == NULL || !device->readings[PS_DEVICE_MEMORY_USED].known) {
            return -1;
        }
        double now = device->readings[PS_DEVICE_MEMORY_USED].value;
        if (now == last) {
            break;
        }
        last = now;
    }
    return last;
}

static void expect(struct check *check, const char *uuid, const char *what, double before,
                   double bytes)
{
    double now = used(check, uuid);
    check_say(check, now >= 0 && fabs(now - before - bytes) <= ALLOWED,
              "%s: %s, and %.1f MiB more than before are in use; %.1f were expected", uuid, what,
              (now - before) / CHECK_MIB, bytes / CHECK_MIB);
}

/* A power of two, so that pools don't round it, and at most a quarter of what is free. */
static double choose_size(const struct check *check, const char *uuid)
{
    const struct ps_device *device = find(check, uuid);
    double size = MOST;
    while (device != NULL && size > device->readings[PS_DEVICE_MEMORY_FREE].value / 4) {
        size /= 2;
    }
    return size;
}

static void measure(struct check *check, const struct cuda *cuda, void *pool, const char *uuid)
{
    uint64_t address = 0;
    uint64_t keep = UINT64_MAX;
    double before = used(check, uuid);
    double size = choose_size(check, uuid);
    if (before < 0 || size < LEAST) {
        check_skip(check, "%s: its memory is not known or not free", uuid);
        return;
    }
    if (cuda->cuMemPoolSetAttribute(pool, THRESHOLD, &keep) != 0 ||
        cuda->cuMemAllocAsync(&address, (size_t)size, NULL) != 0 ||
        cuda->cuStreamSynchronize(NULL) != 0) {
        check_say(check, false, "%s: could not allocate", uuid);
        return;
    }
    expect(check, uuid, "allocated", before, size);
    if (cuda->cuMemFreeAsync(address, NULL) != 0 || cuda->cuStreamSynchronize(NULL) != 0) {
        check_say(check, false, "%s: could not free", uuid);
        return;
    }
    expect(check, uuid, "freed to the pool, which keeps it", before, size);
    if (cuda->cuMemPoolTrimTo(pool, 0) != 0) {
        check_say(check, false, "%s: could not trim", uuid);
        return;
    }
    expect(check, uuid, "trimmed", before, 0);
}

static void check_card(struct check *check, const struct cuda *cuda, int i)
{
    int device;
    unsigned char bytes[UUID_BYTES];
    char uuid[64];
    void *context = NULL;
    void *pool = NULL;
    if (cuda->cuDeviceGet(&device, i) != 0 || cuda->cuDeviceGetUuid(bytes, device) != 0 ||
        cuda->cuDevicePrimaryCtxRetain(&context, device) != 0) {
        check_say(check, false, "CUDA device %d can't be used", i);
        return;
    }
    write_uuid(bytes, uuid, sizeof uuid);
    if (find(check, uuid) == NULL) {
        check_skip(check, "CUDA device %s is none that NVML shows as a whole", uuid);
    } else if (cuda->cuCtxSetCurrent(context) != 0 ||
               cuda->cuDeviceGetDefaultMemPool(&pool, device) != 0) {
        check_skip(check, "%s has no memory pool", uuid);
    } else {
        measure(check, cuda, pool, uuid);
    }
    (void)cuda->cuDevicePrimaryCtxRelease_v2(device);
}

void check_cuda(struct check *check)
{
    struct cuda cuda = {0};
    int count = 0;
    if (open_cuda(&cuda, check)) {
        if (cuda.cuInit(0) != 0 || cuda.cuDeviceGetCount(&count) != 0) {
            check_skip(check, "the driver API does not start");
        }
        for (int i = 0; i < count; i++) {
            check_card(check, &cuda, i);
        }
    }
    if (cuda.handle != NULL) {
        (void)dlclose(cuda.handle);
    }
}
