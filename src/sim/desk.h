/* desk - what all requests of a simulated server share, and its one timer.
 *
 *      calls, jobs --> desk --> engine (steps), memory (releases), personality (its own affairs)
 *                        ^------ timer: ps_sim_desk_tick()
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_DESK_H
#define PS_SIM_DESK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/chunk.h"
#include "base/list.h"
#include "base/rng.h"
#include "io/loop.h"
#include "sim/engine.h"
#include "sim/lag.h"
#include "sim/memory.h"
#include "sim/metrics.h"
#include "sim/options.h"
#include "sim/personality.h"
#include "sim/request.h"

#define PS_SIM_HEADERS "X-Simulated: true\r\n"

/* Somebody who waits for the engine. */
struct ps_sim_party {
    struct ps_list link;
    /* Ends at once. ordered: an operator asked for it, so the client is told; otherwise the
     * simulation itself can't go on. */
    void (*give_up)(struct ps_sim_party *party, bool ordered);
};

struct ps_sim_desk {
    struct ps_loop *loop;
    const struct ps_sim_opts *opts;
    const struct ps_sim_personality *personality;
    struct ps_sim_engine *engine;
    struct ps_sim_memory memory;
    struct ps_sim_metrics metrics;
    struct ps_sim_lag lag;
    struct ps_timer timer;   /* the end of the engine's step, or what is due before */
    struct ps_rng faults;    /* decides who gets a 500 */
    struct ps_budget budget; /* bodies that are arriving, and unsent answers */
    struct ps_buf scratch;   /* an answer while it is written; empty between uses */
    struct ps_list parties;
    uint64_t count; /* of requests so far; makes their ids */
    ps_time started;
    void *own; /* the personality's */
};

/* Loads the model(s) and starts the personality. On failure the desk is only good for
 * ps_sim_desk_stop(). PS_OK; PS_ELIMIT: no room on the device; PS_EINVAL: max_model_len is more
 * than the cache holds; PS_ENOMEM. */
PS_MUST_CHECK int ps_sim_desk_start(struct ps_sim_desk *desk, struct ps_loop *loop,
                                    const struct ps_sim_opts *opts);

/* Ends it; nobody waits for the engine any more. */
void ps_sim_desk_stop(struct ps_sim_desk *desk);

/* Does what is due now and sets the timer for the rest. */
void ps_sim_desk_tick(struct ps_sim_desk *desk, ps_time now);

/* Has ps_sim_desk_tick() called in the next turn, so that what arrives together begins together.
 * PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_sim_desk_wake(struct ps_sim_desk *desk);

/* Whoever waits for the engine waits no more; the operator asked for it. */
void ps_sim_desk_abort(struct ps_sim_desk *desk);

static inline ps_time ps_sim_desk_now(const struct ps_sim_desk *desk)
{
    return ps_loop_now(desk->loop);
}

/* Nanoseconds since 1970 at this turn of the loop. */
ps_time ps_sim_desk_wall(const struct ps_sim_desk *desk);

/* The slot of a model: its own, or the one of all. */
size_t ps_sim_desk_slot(const struct ps_sim_desk *desk, size_t model);

/* A request needs this slot: PS_OK, and *delay is how long it has to wait for it; PS_EINVAL with a
 * refusal. Followed by ps_sim_desk_unuse(). */
PS_MUST_CHECK int ps_sim_desk_use(struct ps_sim_desk *desk, size_t slot, ps_span *delay,
                                  struct ps_sim_refusal *refusal);
void ps_sim_desk_unuse(struct ps_sim_desk *desk, size_t slot);

/* Releases parts of a model; nobody must be using it. */
void ps_sim_desk_release(struct ps_sim_desk *desk, size_t slot, unsigned parts);

/* Appends the page of metrics, as old as --metrics-lag wants it. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_sim_desk_metrics(struct ps_sim_desk *desk, struct ps_buf *out);

#endif
