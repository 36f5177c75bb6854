/* gpu_outlook - how near each server is to running out of memory, and whether it will.
 *
 * A level (gpu/pressure) and a forecast (foresee/cleanup) for each server, fed once a second with
 * what was measured. Engines that preallocate are looked at by their cache, others by their
 * devices; what cannot be measured has neither level nor forecast. Where the size of the cache is
 * known in tokens, what the gateway has in flight and in its queue is looked at too
 * (gpu_demand.h).
 *
 * Thread: control's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OPERATE_GPU_OUTLOOK_H
#define PS_OPERATE_GPU_OUTLOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "foresee/cleanup.h"
#include "gpu/pressure.h"

struct ps_gpu_crowd;
struct ps_gpu_outlook;
struct ps_optimizer_target;

/* What an answer rests on: what the server says of itself, and beside it, in tokens, what the
 * gateway counts. */
struct ps_gpu_evidence {
    double held_percent;
    bool from_gateway; /* the rest is known */
    double capacity;   /* of the cache */
    double flight;     /* of requests sent there */
    double inside;     /* of these, waiting inside the server */
    double queued;     /* at the gate, as far as it will let them in */
    double arrived;    /* in the last second */
};

/* How it looks for one server. */
struct ps_gpu_view {
    enum ps_pressure_level level;
    struct ps_cleanup_answer answer; /* spans in samples, which are seconds */
    struct ps_gpu_evidence evidence;
};

/* NULL when out of memory. */
struct ps_gpu_outlook *ps_gpu_outlook_new(void);
void ps_gpu_outlook_free(struct ps_gpu_outlook *outlook); /* NULL is fine */

/* Takes this second's figures; servers that are not among them are forgotten. crowds[i]: what the
 * gateway knows of the requests at targets[i], or NULL. */
void ps_gpu_outlook_push(struct ps_gpu_outlook *outlook, ps_time now, double target_percent,
                         const struct ps_optimizer_target *targets,
                         const struct ps_gpu_crowd *const *crowds, size_t count);

/* False: nothing is known of it (yet). */
bool ps_gpu_outlook_read(const struct ps_gpu_outlook *outlook, uint32_t id,
                         struct ps_gpu_view *view);

#endif
