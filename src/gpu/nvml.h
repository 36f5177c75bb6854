/* nvml - NVIDIA's GPUs, through the library that comes with the driver.
 *
 * What is read together because it is wanted equally often is a tier; a tier of a card is a job
 * with a time at which it is due. Jobs run one after the other, the cheapest and most urgent first.
 * A job that took longer than it may waits a thousand times as long as it took, so that nothing can
 * ever use more than a thousandth of the driver's time; reading memory is held back for a second at
 * most.
 *
 *      memory, utilization     every 100 ms       state, fields, GPM    every second
 *      processes               every 5 s, and within a second of a change in memory
 *      PCIe throughput         every 10 s, only where no counters tell it
 *      whether cards came      every minute: the kernel's list of them and the library's count
 *
 * The library knows the cards that were there when it was initialised, so for others that is done
 * again. Whose the processes are, gpu/attribution finds out in between.
 *
 * This is the source by itself, which calls the driver on the thread that steps it. gpu/sampler
 * gives it a thread of its own: ps_sampler_start_take(&sampler, &ps_nvml_source, nvml, ...).
 *
 * Thread: open by the owner, everything else by the one thread that samples.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GPU_NVML_H
#define PS_GPU_NVML_H

#include "base/clock.h"
#include "base/err.h"
#include "gpu/sampler.h"

struct ps_nvml;

struct ps_nvml_opts {
    const char *library;          /* path; NULL: libnvidia-ml.so.1, wherever the system has it */
    const char *root;             /* where /proc is looked for: "" is the system's own */
    bool wait;                    /* the library may come later: open succeeds without it */
    const struct ps_clock *clock; /* outlives it */
    ps_span memory_every;         /* the first tier; slower ones are never read more often */
};

/* Fills in the defaults. */
void ps_nvml_opts_init(struct ps_nvml_opts *opts);

/* Opens the library, unless it may come later, and calls nothing of it. PS_OK; PS_ENOTFOUND when
 * this machine has none, PS_EINVAL when it is of no use, and a sentence in `why`; PS_ENOMEM. The
 * root of opts is borrowed for good, its library is copied. */
PS_MUST_CHECK int ps_nvml_open(struct ps_nvml **out, const struct ps_nvml_opts *opts,
                               char why[PS_SAMPLER_WHY]);

/* What a sampler calls; see gpu/sampler.h. The ctx is a struct ps_nvml. */
extern const struct ps_sampler_source ps_nvml_source;

#endif
