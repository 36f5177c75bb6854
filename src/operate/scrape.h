/* scrape - asks inference servers and exporters how they are, again and again.
 *
 *      every endpoint whose engine is known --.                        .--> latest result, its age
 *      every item of gpu.sources -------------+--> pages, one by one --+
 *                                                  within a budget      '--> why there is none
 *
 * Each has its own connection and its own timer, so that one that hangs holds up no other; one
 * round at a time runs for each. A round that fails is tried again after 1, 2, 4, ... intervals, 30
 * s at most. A page that a server does not have is left out for a minute. Endpoints that the
 * configuration wants left alone (an engine that is named, and no active checks) are not asked.
 *
 * A result never changes once it is made; it is counted and may be kept.
 *
 * Thread: the control loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OPERATE_SCRAPE_H
#define PS_OPERATE_SCRAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/option.h"
#include "gpu/device.h"
#include "gpu/vitals.h"
#include "operate/adapter.h"
#include "operate/inquiry.h"

struct ps_backend;
struct ps_endpoint;
struct ps_gateway;
struct ps_loop;
struct ps_scrape;

/* One item of `gpu.sources`. */
struct ps_source_opts {
    char *name;
    int kind; /* into ps_adapter_source_names */
    char *url;
    char *token;    /* secret */
    char *instance; /* of LMCache */
    char *ca_file;
};

extern const struct ps_option ps_source_options[];

struct ps_scrape_opts {
    ps_span interval;                     /* from one round to the next; 0 = nobody is asked */
    ps_span timeout;                      /* for all pages of a round */
    const struct ps_option_list *sources; /* of struct ps_source_opts; borrowed for the call */
    const char *runtime_key;              /* signs TensorRT-LLM's calls; NULL = none; copied */
};

/* What a round found. */
struct ps_scrape_result {
    unsigned refs; /* the loop's thread only */
    ps_time taken; /* when its last answer came */
    ps_span took;  /* the whole round */
    struct ps_vitals vitals;
    struct ps_device_snapshot *devices; /* NULL: no page told of a device */
};

struct ps_scrape_result *ps_scrape_result_ref(struct ps_scrape_result *result);
void ps_scrape_result_unref(struct ps_scrape_result *result); /* NULL is fine */

enum ps_scrape_state {
    PS_SCRAPE_STARTING, /* not asked yet */
    PS_SCRAPE_FRESH,
    PS_SCRAPE_STALE, /* the last good round was three intervals ago */
    PS_SCRAPE_FAILED /* no round was good since it is asked */
};

extern const char *const ps_scrape_state_names[];

#define PS_SCRAPE_WHY 160

/* One server or exporter; views are borrowed for the call. */
struct ps_scrape_view {
    uint32_t id; /* the endpoint's, or beyond all endpoints'; stays as long as it is asked */
    enum ps_adapter_id adapter;
    const char *name;     /* of the upstream or source */
    const char *endpoint; /* URL as configured */
    const char *instance; /* of LMCache, else "" */
    struct ps_str host;
    bool is_upstream;
    const struct ps_backend *backend;   /* NULL for sources */
    const struct ps_endpoint *upstream; /* its endpoint; NULL for sources */
    bool simulated;
    int64_t in_flight; /* requests of the gateway; 0 for sources */
    enum ps_scrape_state state;
    const char *why;                 /* the last round failed; else "" */
    ps_span age;                     /* of the result */
    struct ps_scrape_result *result; /* NULL: none yet */
};

/* Called at the end of each round. It may ask on, not free. */
typedef void ps_scrape_fn(void *ctx, uint32_t id);

/* PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_scrape_new(struct ps_scrape **out, struct ps_loop *loop,
                                ps_scrape_fn *on_round, void *ctx);
void ps_scrape_free(struct ps_scrape *scrape); /* NULL is fine */

/* The configuration in force; gateway may be NULL. What stays keeps its results. PS_OK, PS_ENOMEM,
 * or PS_EINVAL for a source that can't be asked (its CA file), with a sentence in reason; the rest
 * is asked. */
PS_MUST_CHECK int ps_scrape_set(struct ps_scrape *scrape, struct ps_gateway *gateway,
                                const struct ps_scrape_opts *opts, char *reason, size_t size);

/* The engine at an endpoint is known now, or is another. */
void ps_scrape_look(struct ps_scrape *scrape);

/* How many there are, and the n-th. */
size_t ps_scrape_count(const struct ps_scrape *scrape);
void ps_scrape_read(const struct ps_scrape *scrape, size_t n, ps_time now,
                    struct ps_scrape_view *view);

/* Begins a round now, unless one runs. */
void ps_scrape_hurry(struct ps_scrape *scrape, uint32_t id);

/* Sends a request of one's own, on a connection of its own. PS_OK: on_answer comes once unless it
 * is cancelled. PS_ENOTFOUND: there is no such id; else as ps_inquiry_ask(). */
PS_MUST_CHECK int ps_scrape_ask(struct ps_scrape *scrape, uint32_t id,
                                const struct ps_inquiry_request *request, ps_span timeout,
                                struct ps_inquiry **out, ps_inquiry_fn *on_answer, void *ctx);

/* The key that signs TensorRT-LLM's calls; empty = none. */
struct ps_str ps_scrape_key(const struct ps_scrape *scrape);

#endif
