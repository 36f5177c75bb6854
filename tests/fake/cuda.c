/* cuda - a libcuda.so.1 whose memory is that of the made-up libnvidia-ml.so.1 in the same process.
 *
 * FAKE_CUDA_KEEPS=1: trimming gives nothing back.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FAILED 999
#define EXPORT __attribute__((visibility("default")))
#define FN(name, ...)             \
    EXPORT int name(__VA_ARGS__); \
    EXPORT int name(__VA_ARGS__)

static size_t held;  /* bytes */
static size_t freed; /* of them, in the pool */

/* Says to the other library how much more is in use. */
static int tell(void)
{
    int (*knob)(const char *, long) = NULL;
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_NOLOAD);
    void *symbol = library == NULL ? NULL : dlsym(library, "penstock_simulated_nvml");
    if (symbol == NULL) {
        return FAILED;
    }
    memcpy(&knob, &symbol, sizeof symbol);
    (void)dlclose(library);
    return knob("used_mib", 8192 + (long)(held >> 20));
}

FN(cuInit, unsigned flags)
{
    return (int)flags;
}
FN(cuDeviceGetCount, int *out)
{
    *out = 1;
    return 0;
}
FN(cuDeviceGet, int *out, int i)
{
    *out = i;
    return 0;
}
FN(cuDeviceGetUuid, unsigned char *out, int device)
{
    memset(out, 0, 16);
    return device;
}
FN(cuDevicePrimaryCtxRetain, void **out, int device)
{
    *out = &held;
    return device;
}
FN(cuDevicePrimaryCtxRelease_v2, int device)
{
    return device;
}
FN(cuCtxSetCurrent, const void *context)
{
    return context == &held ? 0 : FAILED;
}
FN(cuStreamSynchronize, const void *stream)
{
    return stream == NULL ? 0 : FAILED;
}
FN(cuDeviceGetDefaultMemPool, void **out, int device)
{
    *out = &freed;
    return device;
}
FN(cuMemPoolSetAttribute, const void *pool, int attribute, const void *value)
{
    return pool == &freed && attribute == 4 && value != NULL ? 0 : FAILED;
}
FN(cuMemPoolTrimTo, const void *pool, size_t least)
{
    const char *keeps = getenv("FAKE_CUDA_KEEPS");
    if (keeps == NULL) {
        held -= freed;
        freed = 0;
    }
    return pool == &freed && least == 0 ? tell() : FAILED;
}
FN(cuMemAllocAsync, uint64_t *out, size_t bytes, const void *stream)
{
    held += bytes;
    *out = bytes;
    return stream == NULL ? tell() : FAILED;
}
FN(cuMemFreeAsync, uint64_t address, const void *stream)
{
    freed += (size_t)address;
    return stream == NULL ? tell() : FAILED;
}
