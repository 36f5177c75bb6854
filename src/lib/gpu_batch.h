/* gpu_batch - what the program told of its batches, behind one lock.
 *
 * Thread: any, but for new and free.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LIB_GPU_BATCH_H
#define PS_LIB_GPU_BATCH_H

#include "base/err.h"
#include "penstock/penstock.h"

struct ps_gpu_batches;

/* NULL when out of memory. */
struct ps_gpu_batches *ps_gpu_batches_new(void);
void ps_gpu_batches_free(struct ps_gpu_batches *batches); /* NULL is fine */

/* Are names and numbers as the header wants them? PS_OK, or PS_EINVAL: ps_last_error(). */
PS_MUST_CHECK int ps_gpu_batch_check(const struct ps_gpu_batch *batch);
PS_MUST_CHECK int ps_gpu_batch_check_goal(const struct ps_gpu_batch_goal *goal);

/* PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_gpu_batches_learn(struct ps_gpu_batches *batches,
                                       const struct ps_gpu_batch *batch);

/* With so many bytes for a batch, whatever the goal says; INFINITY: any number. PS_OK, or
 * PS_ENOTFOUND: there was no batch of this model and shape. */
PS_MUST_CHECK int ps_gpu_batches_advise(struct ps_gpu_batches *batches,
                                        const struct ps_gpu_batch_goal *goal, double bytes,
                                        struct ps_gpu_batch_advice *out);

#endif
