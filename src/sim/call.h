/* call - one request of the OpenAI surface, from its body to the last byte of its answer.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_CALL_H
#define PS_SIM_CALL_H

#include <stdint.h>

#include "base/buf.h"
#include "base/chunk.h"
#include "base/list.h"
#include "base/rng.h"
#include "io/loop.h"
#include "sim/engine.h"
#include "sim/metrics.h"
#include "sim/options.h"
#include "sim/request.h"

struct ps_exchange;

#define PS_SIM_HEADERS "X-Simulated: true\r\n"

/* What all calls of a server share. */
struct ps_sim_desk {
    struct ps_loop *loop;
    const struct ps_sim_opts *opts;
    struct ps_sim_engine *engine;
    struct ps_sim_metrics metrics;
    struct ps_timer timer;   /* the end of the engine's step */
    struct ps_rng faults;    /* decides who gets a 500 */
    struct ps_budget budget; /* bodies that are arriving, and unsent answers */
    struct ps_buf scratch;   /* an answer while it is written; empty between uses */
    struct ps_list calls;
    uint64_t count; /* of calls so far */
};

/* Takes over an exchange whose head arrived; answers it when its body is there. */
void ps_sim_call_start(struct ps_sim_desk *desk, struct ps_exchange *exchange,
                       enum ps_sim_kind kind);

/* Answers with an error and counts it. */
void ps_sim_call_refuse(struct ps_sim_desk *desk, struct ps_exchange *exchange,
                        const struct ps_sim_refusal *refusal);

/* Lets the engine go on; the desk's timer calls this, and so does a new call through it. */
void ps_sim_desk_tick(struct ps_sim_desk *desk, ps_time now);

#endif
