/* personality - what makes the simulated server look like one engine and not like another.
 *
 * Underneath is always the same engine and the same device. A personality is a table of routes, the
 * shape of its errors, its page of metrics, and a few habits. Each has a file of its own, named as
 * the engine is; engines.h lists them.
 *
 * Thread: constants only.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_PERSONALITY_H
#define PS_SIM_PERSONALITY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/clock.h"
#include "sim/request.h"
#include "sim/route.h"

struct ps_sim_desk;

/* An option whose default is another one with this engine. */
struct ps_sim_default {
    const char *option;
    const char *text;
};

/* What a request finds that comes for a model. */
enum ps_sim_absent {
    PS_SIM_ABSENT_FAILS, /* a model that is not on the device answers with an error */
    PS_SIM_ABSENT_LOADS  /* it is loaded first, others that are idle make room */
};

struct ps_sim_personality {
    const char *name; /* as --engine has it */
    struct ps_sim_routes routes;
    const struct ps_sim_default *defaults; /* ends with an empty row; or NULL */
    bool own_slots;    /* each model has memory of its own; otherwise names are aliases */
    bool any_model;    /* requests may name whatever they like */
    bool starts_empty; /* models are loaded when they are asked for */
    enum ps_sim_absent absent;
    int full_status;   /* of the answer when max_queue is reached; 0: 503 */
    const char *owner; /* owned_by in /v1/models */
    /* Appends an error as this engine writes it, and what it says while its model is away. */
    int (*refusal)(struct ps_buf *out, const struct ps_sim_refusal *refusal);
    int (*refusal_v1)(struct ps_buf *out, const struct ps_sim_refusal *refusal); /* below /v1/, or
                                                                                    NULL */
    void (*away)(const struct ps_sim_desk *desk, size_t slot, struct ps_sim_refusal *refusal);
    /* Puts the exact name of a model into a request that calls it otherwise; or NULL. */
    void (*rename)(const struct ps_sim_desk *desk, json_t *request);
    /* Appends the page that --metrics-lag holds back; NULL: it has none. */
    int (*metrics)(struct ps_buf *out, struct ps_sim_desk *desk);
    /* Life of what only this personality has (desk->own); all may be NULL. tick is called whenever
     * the desk's time has come and says when it wants to be called next. */
    int (*start)(struct ps_sim_desk *desk);
    ps_time (*tick)(struct ps_sim_desk *desk, ps_time now);
    /* The model of a slot has nothing to do any more. */
    void (*idle)(struct ps_sim_desk *desk, size_t slot, ps_time now);
    void (*stop)(struct ps_sim_desk *desk);
};

#endif
