/* nvml_fake - the made-up driver libraries of tests/fake, and their knobs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_HELPERS_NVML_FAKE_H
#define TESTS_HELPERS_NVML_FAKE_H

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct nvml_fake {
    char path[PATH_MAX];
    void *handle;
    int (*knob)(const char *name, long value);
};

/* Opens one: "nvidia-ml", "nvidia-ml-r530", "nvidia-ml-old", "nvidia-ml-bare". The libraries lie
 * beside the tests: <build>/tests/unit/test_x and <build>/tests/fake. All its knobs are as they
 * were. */
static inline void nvml_fake_open(struct nvml_fake *fake, const char *name)
{
    char self[PATH_MAX / 2];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    self[len > 0 ? len : 0] = '\0';
    for (int i = 0; i < 2; i++) {
        char *slash = strrchr(self, '/');
        *(slash == NULL ? self : slash) = '\0';
    }
    (void)snprintf(fake->path, sizeof fake->path, "%s/fake/lib%s.so.1", self, name);
    /* It stays: what a thread that was left behind did there is not to be mistaken for what comes
     * next. */
    fake->handle = dlopen(fake->path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (fake->handle == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        abort();
    }
    void *symbol = dlsym(fake->handle, "penstock_simulated_nvml");
    memcpy(&fake->knob, &symbol, sizeof symbol);
    fake->knob("reset", 0);
}

static inline void nvml_fake_set(struct nvml_fake *fake, const char *name, long value)
{
    if (fake->knob(name, value) != 0) {
        fprintf(stderr, "no knob '%s'\n", name);
        abort();
    }
}

static inline void nvml_fake_close(struct nvml_fake *fake)
{
    fake->knob("reset", 0);
    (void)dlclose(fake->handle);
}

#endif
