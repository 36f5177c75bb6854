/* nvml_library - see nvml_library.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gpu/nvml_library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

static const char *const names[PS_NVML_KINDS][PS_NVML_NAMES] = {
#define PS_NVML_ROW(NAME, parameters, ...) {__VA_ARGS__},
    PS_NVML_TABLE(PS_NVML_ROW)
#undef PS_NVML_ROW
};

static void *find(struct ps_nvml_library *library, enum ps_nvml_kind kind)
{
    library->called[kind] = names[kind][0];
    for (unsigned i = 0; i < PS_NVML_NAMES && names[kind][i] != NULL; i++) {
        void *symbol = dlsym(library->handle, names[kind][i]);
        if (symbol != NULL) {
            library->found[kind] = i;
            library->called[kind] = names[kind][i];
            return symbol;
        }
    }
    return NULL;
}

/* A function's address from an object's, as POSIX has it for dlsym(). */
#define PS_NVML_FIND(NAME, parameters, ...)      \
    symbol = find(library, PS_NVML_KIND_##NAME); \
    memcpy(&library->NAME, &symbol, sizeof symbol);

static void find_all(struct ps_nvml_library *library)
{
    void *symbol;
    PS_NVML_TABLE(PS_NVML_FIND)
    library->simulated = dlsym(library->handle, "penstock_simulated_nvml") != NULL;
    library->long_processes = library->CONFIDENTIAL != NULL && library->DETAIL_LIST == NULL;
}

/* The plain name comes with development packages and may be a stub. */
static void *open_any(const char *path)
{
    if (path != NULL) {
        return dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    void *handle = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    handle = handle != NULL ? handle : dlopen("libnvidia-ml.so", RTLD_NOW | RTLD_LOCAL);
    /* Where both are missing, the first is the one to complain of. */
    return handle != NULL ? handle : dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
}

void ps_nvml_library_init(struct ps_nvml_library *library, const struct ps_clock *clock)
{
    memset(library, 0, sizeof *library);
    library->clock = clock;
    ps_toll_init(&library->book, library->called, PS_NVML_KINDS);
}

int ps_nvml_library_open(struct ps_nvml_library *library, const char *path,
                         const struct ps_clock *clock, char *why, size_t size)
{
    ps_nvml_library_init(library, clock);
    return ps_nvml_library_load(library, path, why, size);
}

int ps_nvml_library_load(struct ps_nvml_library *library, const char *path, char *why, size_t size)
{
    library->handle = open_any(path);
    if (library->handle == NULL) {
        const char *error = dlerror();
        (void)snprintf(why, size, "the NVIDIA driver's library could not be opened: %s",
                       error == NULL ? "unknown error" : error);
        return PS_ENOTFOUND;
    }
    find_all(library);
    if (library->INIT == NULL || library->COUNT == NULL || library->HANDLE == NULL) {
        (void)snprintf(
            why, size,
            "the library has no nvmlInit, nvmlDeviceGetCount or nvmlDeviceGetHandleByIndex");
        ps_nvml_library_close(library);
        return PS_EINVAL;
    }
    return PS_OK;
}

void ps_nvml_library_close(struct ps_nvml_library *library)
{
    if (library->handle != NULL) {
        (void)dlclose(library->handle);
    }
    library->handle = NULL;
}

const char *ps_nvml_code_text(int code)
{
    switch (code) {
#define PS_NVML_CODE_CASE(NAME, number, text) \
    case number:                              \
        return text;
        PS_NVML_CODES(PS_NVML_CODE_CASE)
#undef PS_NVML_CODE_CASE
    default:
        return "an error without a name here";
    }
}

void ps_nvml_enter(struct ps_nvml_library *library, enum ps_nvml_kind kind)
{
    ps_toll_enter(&library->book, kind, ps_clock_now(library->clock));
}

int ps_nvml_leave(struct ps_nvml_library *library, enum ps_nvml_kind kind, int code)
{
    ps_span took = ps_toll_leave(&library->book, kind, ps_clock_now(library->clock), code);
    if (took > PS_NVML_CALL_BUDGET) {
        ps_toll_blame(&library->book, kind);
    }
    return code;
}
