/* sampler - a source of device readings on a thread of its own, watched from outside.
 *
 * Whatever a driver does to the thread that asks it, the readers get an answer at once: the latest
 * snapshot, how old it is, and whether the thread hangs in a call (and in which). Between the
 * threads stands one mutex, held for a pointer, never across a call into the source.
 *
 *      sampler's thread        start -> step -> sleep -> step -> ...        may hang for ever
 *                                          |
 *      latest snapshot                     v
 *      any other thread                  look                               never waits
 *
 * A thread that hangs at the end can't be joined: it is left behind with what it uses, and frees
 * that when the driver lets it go.
 *
 * Thread: start and stop by the owner; look from any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GPU_SAMPLER_H
#define PS_GPU_SAMPLER_H

#include <stddef.h>

#include "base/clock.h"
#include "base/err.h"
#include "gpu/device.h"
#include "gpu/toll.h"

#define PS_SAMPLER_WHY 200 /* bytes of a sentence */

/* What a source is to its sampler. All run on the sampler's thread, but for close. */
struct ps_sampler_source {
    const char *name; /* "nvml" */

    /* Begins, and may take its time. PS_OK; else a sentence in why, and it is tried again later. */
    int (*start)(void *ctx, ps_time now, char why[PS_SAMPLER_WHY]);

    /* Reads what is due. Gives a new snapshot away, or leaves *out NULL when nothing is new.
     * Returns when it wants to be called again. */
    ps_time (*step)(void *ctx, struct ps_device_snapshot **out);

    /* The source's calls; valid as long as ctx. */
    const struct ps_toll_book *(*book)(const void *ctx);

    /* Frees ctx; on the sampler's thread or in stop, whoever is last. */
    void (*close)(void *ctx);
};

struct ps_sampler_opts {
    const struct ps_clock *clock; /* outlives the sampler, and a thread that is left behind */
    ps_span stale_after;          /* older snapshots are stale */
    ps_span hung_after;           /* a call that takes longer hangs */
    ps_span retry_after;          /* from one failed start to the next; it doubles up to a minute */
};

enum ps_sampler_state {
    PS_SAMPLER_STARTING, /* no snapshot yet */
    PS_SAMPLER_FRESH,
    PS_SAMPLER_STALE,
    PS_SAMPLER_HUNG,  /* in a call for too long; the snapshot, if any, is from before */
    PS_SAMPLER_FAILED /* the last start failed: why says how */
};

extern const char *const ps_sampler_state_names[]; /* in the order of the enum */

struct ps_sampler_view {
    enum ps_sampler_state state;
    struct ps_device_snapshot *snapshot; /* a reference for the caller; NULL: none yet */
    ps_span age;                         /* of the snapshot; 0 without one */
    const char *call;                    /* that runs now, static; NULL: none */
    ps_span call_took;                   /* so far */
    char why[PS_SAMPLER_WHY];            /* of the last failed start; "" when it did not fail */
};

struct ps_sampler;

/* Starts the thread. Takes ctx in any case: on failure it is closed. PS_OK, PS_ENOMEM, or PS_ELIMIT
 * when the system gives no thread. */
PS_MUST_CHECK int ps_sampler_start_take(struct ps_sampler **out,
                                        const struct ps_sampler_source *source, void *ctx,
                                        const struct ps_sampler_opts *opts);

/* Ends the thread and waits for it, at most for `patience` (of real time); NULL is fine. False: it
 * hangs and is left behind. */
bool ps_sampler_stop(struct ps_sampler *sampler, ps_span patience);

/* What is known now. Never waits for the source. Unref view->snapshot. */
void ps_sampler_look(struct ps_sampler *sampler, ps_time now, struct ps_sampler_view *view);

/* The calls so far, for as long as the sampler is not stopped. */
const struct ps_toll_book *ps_sampler_book(const struct ps_sampler *sampler);

#endif
