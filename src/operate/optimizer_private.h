/* optimizer_private - what the two files of operate/optimizer share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OPERATE_OPTIMIZER_PRIVATE_H
#define PS_OPERATE_OPTIMIZER_PRIVATE_H

#include <pthread.h>

#include "operate/optimizer.h"

/* Why what could have been done was not. */
struct ps_optimizer_blocked {
    char busy[PS_OPTIMIZER_NAME];
    char unnamed[PS_OPTIMIZER_NAME]; /* a rung that is not allowed */
    enum ps_rung rung;
};

/* What could be called next. */
struct ps_optimizer_candidate {
    const struct ps_optimizer_target *target;
    const struct ps_hook *hook;
    const char *model;
    struct ps_device_reading expected;
    ps_span idle; /* how long no use of the model was seen; -1 = nobody can tell */
};

struct ps_optimizer {
    struct ps_optimizer_ops ops;
    struct ps_optimizer_opts opts;
    enum ps_optimizer_mode mode;
    struct ps_optimizer_run runs[PS_OPTIMIZER_RUNS]; /* a ring */
    uint64_t count;                                  /* of runs so far */
    uint64_t first;                                  /* number of the one before the first */
    bool running;
    ps_time now;                    /* of the figures */
    struct ps_optimizer_step *step; /* under way */
    struct ps_vitals before;        /* of the step's server */
    struct ps_device_reading last;  /* in use at the last sample */
    ps_time poll_at;
    ps_time over_since; /* PS_NEVER: it is not over the target */
    ps_time cool_until;
    unsigned quiet; /* runs in a row that could do nothing */
    pthread_mutex_t stats_lock; /* around what follows: whoever collects metrics reads it */
    struct ps_optimizer_stats stats;
    struct ps_optimizer_target targets[PS_OPTIMIZER_TARGETS];
    size_t target_count;
};

static inline bool ps_optimizer_is_wake(const struct ps_optimizer_run *run)
{
    return run->rungs == 1u << PS_RUNG_WAKE;
}

/* Is it over the limit now? For a run that somebody asked for the device counts, else what counts
 * for the engine. */
bool ps_optimizer_is_over(const struct ps_optimizer_target *target, bool manual, double limit);

/* Over the limit, or going to be. */
bool ps_optimizer_needs_room(const struct ps_optimizer *optimizer,
                             const struct ps_optimizer_target *target, bool manual, double limit);
bool ps_optimizer_any_over(const struct ps_optimizer *optimizer, bool manual, double limit);

/* In percent, of the fullest. */
struct ps_device_reading ps_optimizer_fullest(const struct ps_optimizer *optimizer, bool manual);

/* The cheapest rung that is left, of it what promises most; no hook: none. *blocked says why what
 * could have been done was not. */
struct ps_optimizer_candidate ps_optimizer_choose(const struct ps_optimizer *optimizer,
                                                  const struct ps_optimizer_run *run,
                                                  struct ps_optimizer_blocked *blocked);

#endif
