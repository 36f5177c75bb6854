/* throttle - how much may be inside an upstream, so that its memory suffices.
 *
 * Where the servers tell how many tokens their caches hold, the bound is on tokens: what requests
 * have reserved (prompt and max_tokens) may come to a share of the caches, so that none has to be
 * preempted when all of them get as long as they may. What others put into the same caches is taken
 * off. Trouble (a preemption, a failed allocation) says that requests take more than was reserved:
 * the share falls by a fifth, and comes back by a hundredth every two seconds.
 *
 * Where they don't, the bound is on requests, and only experience tells it: none at first; a tenth
 * less every two seconds while memory is over the target, half on trouble, and one more (or a
 * twentieth) a second while it is well below and somebody waits. It goes when nobody needed it for
 * a minute. That is too late for the first burst: it makes trouble rare, not impossible.
 *
 * Additive increase, multiplicative decrease: Chiu and Jain, 1989.
 *
 * Pure; time is an argument. Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OPERATE_THROTTLE_H
#define PS_OPERATE_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "gpu/device.h"

enum ps_throttle_mode { PS_THROTTLE_FIXED, PS_THROTTLE_AUTO };

extern const char *const ps_throttle_mode_names[]; /* NULL-terminated */

struct ps_throttle {
    double share;    /* of the caches */
    double others;   /* tokens that are not ours */
    double requests; /* 0 = no bound */
    ps_time cut_at;  /* when it was lowered last */
    ps_time grew_at;
    ps_time needed_at; /* when somebody last waited, or memory was over the target */
};

struct ps_throttle_sample {
    struct ps_device_reading capacity;  /* tokens that the caches of all its servers hold */
    struct ps_device_reading held;      /* of these, in use */
    struct ps_device_reading effective; /* percent, of the fullest server */
    double target_percent;
    bool event; /* since the last sample somebody ran out of memory */
    uint64_t in_flight;
    uint64_t in_flight_tokens; /* reserved by these */
    uint64_t queued;
};

/* 0 = none. */
struct ps_throttle_bound {
    uint64_t requests;
    uint64_t tokens;
};

void ps_throttle_init(struct ps_throttle *throttle, ps_time now);

/* Takes what was measured, at any times, and says what the bound is from now on. */
struct ps_throttle_bound ps_throttle_push(struct ps_throttle *throttle, ps_time now,
                                          const struct ps_throttle_sample *sample);

#endif
