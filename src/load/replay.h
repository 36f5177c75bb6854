/* replay - plays a plan against a target: plan, pacer and sessions on one loop.
 *
 *      plan --entry--> pacer --due--> session --result--> tally
 *        ^               |              |
 *        +---- next -----+              +--> the owner's on_result
 *
 * The body of the next request is made while its time has not come, so that sending is only
 * sending. Reading answers never holds up a send; sends that are due at the same time leave in
 * batches, so that they don't hold up reading either.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_REPLAY_H
#define PS_LOAD_REPLAY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"
#include "base/err.h"
#include "load/pacer.h"
#include "load/plan.h"
#include "load/prompt.h"
#include "load/session.h"
#include "load/tally.h"

struct ps_loop;
struct ps_replay;
struct ps_target;

struct ps_replay_opts {
    struct ps_pacer_opts pace;
    struct ps_prompt_opts prompt; /* model borrowed for the life of the replay */
    size_t max_in_flight;         /* beyond it a due request is skipped and counted */
    ps_span timeout;              /* of one request, from its send */
    struct ps_target *second;     /* gets every other request; borrowed; NULL = none */
};

struct ps_replay_ops {
    /* A request has ended. May be NULL. */
    void (*on_result)(void *ctx, const struct ps_session_result *result);
    /* The plan is at its end and the last answer came: PS_OK; or the plan broke off: its error (then
     * ps_replay_error() says where). From the loop, once. */
    void (*on_end)(void *ctx, int err);
};

/* Creates a replay of `plan` (owned from now on, also when this fails) against `target` (borrowed).
 * PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_replay_new(struct ps_replay **out, struct ps_loop *loop,
                                struct ps_target *target, struct ps_plan *plan,
                                const struct ps_replay_opts *opts, const struct ps_replay_ops *ops,
                                void *ctx);

/* Begins now. The target must be ready. */
void ps_replay_start(struct ps_replay *replay);

/* Sends nothing more; what is in flight may end, then on_end comes. */
void ps_replay_drain(struct ps_replay *replay);

/* Ends it at once: requests in flight are dropped and counted as unfinished. No callback follows;
 * the figures stay. */
void ps_replay_stop(struct ps_replay *replay);

/* Stops and frees it. NULL is fine. */
void ps_replay_free(struct ps_replay *replay);

const struct ps_tally *ps_replay_tally(const struct ps_replay *replay);
const struct ps_pacer *ps_replay_pacer(const struct ps_replay *replay);
const struct ps_plan *ps_replay_plan(const struct ps_replay *replay);
size_t ps_replay_in_flight(const struct ps_replay *replay);

/* Is nothing left to be sent? */
bool ps_replay_is_drained(const struct ps_replay *replay);

/* Why the plan broke off: "file:line: reason"; "" when it did not. */
const char *ps_replay_error(const struct ps_replay *replay);

#endif
