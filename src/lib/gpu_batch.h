/* gpu_batch - what the program tells of its batches, and asks: into the room's book and out of it.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LIB_GPU_BATCH_H
#define PS_LIB_GPU_BATCH_H

#include "base/err.h"
#include "lib/gpu_engine.h"
#include "penstock/penstock.h"

/* Are names and numbers as the header wants them? PS_OK, or PS_EINVAL: ps_last_error(). */
PS_MUST_CHECK int ps_gpu_batch_check(const struct ps_gpu_batch_seen *seen);
PS_MUST_CHECK int ps_gpu_batch_check_goal(const struct ps_gpu_batch_goal *goal);

/* PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_gpu_batch_tell(struct ps_gpu_engine *engine,
                                    const struct ps_gpu_batch_seen *seen);

/* With so many bytes for a batch, whatever the goal says; INFINITY: any number. PS_OK, or
 * PS_ENOTFOUND: there was no batch of this model and shape. */
PS_MUST_CHECK int ps_gpu_batch_best(struct ps_gpu_engine *engine,
                                    const struct ps_gpu_batch_goal *goal, double bytes,
                                    struct ps_gpu_batch_advice *out);

#endif
