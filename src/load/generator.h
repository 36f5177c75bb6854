/* generator - sends requests to a target from one loop: schedule or trace, pacer, sessions, tally.
 *
 *      schedule, trace --at--> pacer --due--> session --result--> tally
 *            ^                   |              |
 *            +------ next -------+              +--> the owner's on_result
 *
 * Open loop: the body of the next request is made while its time has not come, so that sending is only
 * sending. Reading answers never holds up a send; sends that are due at the same time leave in
 * batches, so that they don't hold up reading either. Closed loop: `connections` users, each of whom sends
 * the next request when the last one was answered.
 *
 * Several generators, each on a loop of its own, share a run: all walk the same schedule, and the `part`-th of
 * `parts` sends the requests whose numbers are `part` modulo `parts`.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_GENERATOR_H
#define PS_LOAD_GENERATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "load/pacer.h"
#include "load/requests.h"
#include "load/schedule.h"
#include "load/session.h"
#include "load/tally.h"

struct ps_generator;
struct ps_loop;
struct ps_target;

struct ps_generator_opts {
    const struct ps_schedule_opts *schedule; /* copied; NULL: a trace says when, or it is a closed loop */
    size_t connections;           /* > 0: closed loop */
    struct ps_pacer_opts pace;
    uint64_t limit;               /* of requests, of all parts together; 0 = none */
    unsigned part;                /* below parts */
    unsigned parts;               /* 0 counts as 1 */
    size_t max_in_flight;         /* of this part; beyond it a due request is skipped and counted */
    ps_span timeout;              /* of one request, from its send */
    ps_span drain;                /* the last answers are waited for so long; 0 = until their timeout */
    ps_span max_lag;              /* a send later than this is late; 0: PS_TALLY_LATE */
    double cancel_share;          /* of the requests, drawn by their numbers: broken off on purpose */
    struct ps_objectives objectives;
    uint64_t seed;
    struct ps_target *second;     /* gets every other request; borrowed; NULL = none */
};

struct ps_generator_ops {
    /* A request has ended. May be NULL. */
    void (*on_result)(void *ctx, const struct ps_session_result *result);
    /* Everything is sent and the last answer came: PS_OK; or a trace broke off: its error (then
     * ps_generator_error() says where). From the loop, once. */
    void (*on_end)(void *ctx, int err);
};

/* Creates a generator of `requests` (owned from now on, also when this fails) against `target` (borrowed). PS_OK
 * or PS_ENOMEM. */
PS_MUST_CHECK int ps_generator_new(struct ps_generator **out, struct ps_loop *loop, struct ps_target *target,
                                   struct ps_requests *requests, const struct ps_generator_opts *opts,
                                   const struct ps_generator_ops *ops, void *ctx);

/* Begins: what is planned for 0 is due at `start`. The target must be ready. */
void ps_generator_start(struct ps_generator *generator, ps_time start);

/* From `from` on, counted from the start, this phase holds. Only with a schedule, and before it has drained. */
void ps_generator_change(struct ps_generator *generator, ps_span from, const struct ps_phase *phase);

/* Sends nothing more; what is in flight may end, then on_end comes. */
void ps_generator_drain(struct ps_generator *generator);

/* Ends it at once: requests in flight are dropped and counted as unfinished. No callback follows;
 * the figures stay. */
void ps_generator_stop(struct ps_generator *generator);

/* Stops and frees it. NULL is fine. */
void ps_generator_free(struct ps_generator *generator);

/* Counts go on in `fresh` (empty, from malloc, owned from now on); gives the block that was counted in, which
 * is the caller's to free. */
struct ps_tally *ps_generator_swap(struct ps_generator *generator, struct ps_tally *fresh);

const struct ps_tally *ps_generator_tally(const struct ps_generator *generator);
const struct ps_requests *ps_generator_requests(const struct ps_generator *generator);
size_t ps_generator_in_flight(const struct ps_generator *generator);

/* Is nothing left to be sent? */
bool ps_generator_is_drained(const struct ps_generator *generator);

/* Why it broke off: "file:line: reason"; "" when it did not. */
const char *ps_generator_error(const struct ps_generator *generator);

#endif
