/* profile - what is known of the GPUs as JSON: what /api/gpu/profile and `penstock gpu --json`
 * show.
 *
 *      {"profile":{"total_mb","used_mb","free_mb","reserved_mb","utilization_percent","fragmentation_percent",
 *                  "source","simulated","index","uuid"},
 *       "devices":[...],"processes":[...],"sources":[...]}
 *
 * What is not known is absent. "mb" is 2^20 bytes, as nvidia-smi has it. `profile` is the device of
 * which the largest share of memory is in use; each device carries every reading of gpu/device.h
 * that is known.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GPU_PROFILE_H
#define PS_GPU_PROFILE_H

#include "base/buf.h"
#include "gpu/sampler.h"

struct ps_profile_source {
    const char *name;
    struct ps_sampler_view view;      /* snapshot may be NULL */
    const struct ps_toll_book *calls; /* NULL: its calls are not shown */
};

/* Appends one line without its end. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_profile_write(const struct ps_profile_source *sources, size_t count,
                                   struct ps_buf *out);

/* The device that `profile` shows: its place in *snapshot, which is one of the sources'. NULL in
 * *snapshot when no source knows a device. Of devices whose share is unknown it is the first. */
size_t ps_profile_choose(const struct ps_profile_source *sources, size_t count,
                         const struct ps_device_snapshot **snapshot);

#endif
