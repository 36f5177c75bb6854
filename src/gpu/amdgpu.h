/* amdgpu - AMD's GPUs, from the files of the kernel's driver.
 *
 * No library is needed: the kernel's documentation (gpu/amdgpu/driver-misc, hwmon, DRM client usage
 * stats) names the files. Some are made up on reading and may block with a broken card, so this too
 * is a source for gpu/sampler.
 *
 * Memory and utilization are read every 100 ms, the rest every second, and who uses a card every 5
 * s: for that the descriptors of all processes are looked at. pcie_bw is not read: it blocks for a
 * second.
 *
 * Thread: open by the owner, everything else by the one thread that samples.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GPU_AMDGPU_H
#define PS_GPU_AMDGPU_H

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "gpu/sampler.h"

struct ps_amdgpu;

struct ps_amdgpu_opts {
    const char *root;             /* where /sys and /proc are looked for: "" is the system's own */
    const struct ps_clock *clock; /* outlives it */
    ps_span memory_every;         /* the rest is never read more often */
    bool wait;                    /* cards may come later: open succeeds without one */
};

void ps_amdgpu_opts_init(struct ps_amdgpu_opts *opts);

/* Looks for cards. PS_OK; PS_ENOTFOUND and a sentence in `why` when there is none; PS_ENOMEM. */
PS_MUST_CHECK int ps_amdgpu_open(struct ps_amdgpu **out, const struct ps_amdgpu_opts *opts,
                                 char why[PS_SAMPLER_WHY]);

/* What a sampler calls; see gpu/sampler.h. The ctx is a struct ps_amdgpu. */
extern const struct ps_sampler_source ps_amdgpu_source;

/* What a descriptor of a card says of its owner (/proc/PID/fdinfo/N). */
struct ps_amdgpu_client {
    char bus[32];   /* PCI address */
    uint64_t id;    /* descriptors that share it share the memory */
    uint64_t bytes; /* of device memory */
};

/* Pure. False when the text isn't of a descriptor of this driver or lacks one of the three. */
bool ps_amdgpu_parse_client(struct ps_str text, struct ps_amdgpu_client *out);

#endif
