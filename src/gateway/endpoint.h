/* endpoint - one server of an upstream: load, health and addresses, shared by all workers.
 *
 *      healthy --(n failures in a row)--> out for a while --(time is up)--> one request probes
 *         ^                                    ^                                |     |
 *         |                                    '------------ failure -----------'     |
 *         '------------------------------------------------- success -----------------'
 *
 * Active checks, which control makes, go on top: an endpoint that fails them, or drains, is never
 * used, whatever its requests say.
 *
 * Thread: any, unless a function says otherwise.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_ENDPOINT_H
#define PS_GATEWAY_ENDPOINT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "gateway/census.h"
#include "gateway/engine.h"
#include "http/url.h"
#include "io/address.h"

/* The section `health` of an upstream. */
struct ps_health_opts {
    char *path;       /* NULL = by engine */
    ps_span interval; /* 0 = no active checks */
    ps_span timeout;
    uint64_t unhealthy_after; /* failures in a row, active or passive */
    uint64_t healthy_after;   /* active successes in a row */
    ps_span backoff;          /* first time out; doubles */
    ps_span backoff_max;
    bool panic;
};

/* The addresses of an endpoint at one moment; counted. */
struct ps_addresses {
    _Atomic uint32_t refs;
    uint32_t generation; /* of the endpoint; starts with 1 */
    size_t count;
    struct ps_address items[];
};

void ps_addresses_unref(struct ps_addresses *addresses); /* NULL is fine */

enum ps_endpoint_state {
    PS_ENDPOINT_HEALTHY,
    PS_ENDPOINT_OUT,       /* passive: out for a while */
    PS_ENDPOINT_PROBING,   /* passive: one request is trying */
    PS_ENDPOINT_UNHEALTHY, /* active checks fail */
    PS_ENDPOINT_DRAINING
};

/* "healthy", "out", ... */
const char *ps_endpoint_state_text(enum ps_endpoint_state state);

#define PS_ENDPOINT_VERSION 64 /* with the terminator */

/* What runs at an endpoint, as its answers say. */
struct ps_identity {
    enum ps_engine engine;             /* auto: nothing was recognised */
    bool simulated;                    /* it says so: the header X-Simulated */
    uint8_t asked;                     /* which question tells it again: daemon/detect */
    char version[PS_ENDPOINT_VERSION]; /* printable ASCII; "" = unknown */
};

bool ps_identity_eq(const struct ps_identity *a, const struct ps_identity *b);

#define PS_IDENTITY_TEXT 96

/* "vllm 0.11.0 (simulated)", or "unknown"; written into text[PS_IDENTITY_TEXT] and returned. */
const char *ps_identity_text(const struct ps_identity *identity, char *text);

/* One server. Counted; shared by the backends of successive configurations. */
struct ps_endpoint {
    /* constant */
    uint32_t id;       /* unique in the process: key for pools */
    char *text;        /* the URL as configured */
    struct ps_url url; /* views into text */
    uint64_t hash;     /* of the URL, for affinity */

    /* shared */
    _Atomic uint32_t refs;
    _Atomic int64_t requests; /* in flight */
    _Atomic int64_t tokens;   /* in flight, estimated */
    _Atomic uint32_t failures;
    _Atomic uint32_t outs;     /* times out in a row, for the back-off */
    _Atomic ps_time out_until; /* 0 = in */
    _Atomic bool probing;
    _Atomic bool unhealthy; /* written by control */
    _Atomic bool draining;  /* written by control */
    _Atomic uint64_t requests_total;
    _Atomic uint64_t failures_total;
    _Atomic uint32_t generation; /* of the addresses; 0 = not resolved yet */
    _Atomic int engine;          /* enum ps_engine: that of `identity` */
    struct ps_census census;     /* of the requests that hold memory there */

    /* owned by control */
    uint32_t check_failures;
    uint32_t check_successes;
    struct ps_identity identity;

    struct ps_endpoint_private *private;
};

struct ps_endpoint *ps_endpoint_ref(struct ps_endpoint *endpoint);
void ps_endpoint_unref(struct ps_endpoint *endpoint); /* NULL is fine */

enum ps_endpoint_state ps_endpoint_state_of(const struct ps_endpoint *endpoint);

/* The current addresses with a reference for the caller, or NULL when there are none yet. Compare
 * endpoint->generation first: it is cheaper. */
struct ps_addresses *ps_endpoint_addresses(struct ps_endpoint *endpoint);

/* Control: the name has these addresses now. Nothing happens when they are the same as before.
 * PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_endpoint_set_addresses(struct ps_endpoint *endpoint,
                                            const struct ps_address *items, size_t count);

/* Control: the result of an active check. Returns true when the endpoint changed between healthy
 * and unhealthy by it. */
bool ps_endpoint_on_check(struct ps_endpoint *endpoint, bool ok, const struct ps_health_opts *opts);

/* Control: this was found to run there. */
void ps_endpoint_set_identity(struct ps_endpoint *endpoint, const struct ps_identity *identity);

/* Control: takes the endpoint out of choice without hurting requests, or back. */
void ps_endpoint_drain(struct ps_endpoint *endpoint, bool draining);

enum ps_outcome {
    PS_OUTCOME_OK,     /* the endpoint answered */
    PS_OUTCOME_FAILED, /* it did not, or broke off, or answered 502, 503, 504 */
    PS_OUTCOME_NONE    /* says nothing about it: the client left, the upstream shed load */
};

/* Makes an endpoint for a URL, reference count 1. PS_OK, PS_EPARSE (URL) or PS_ENOMEM. */
PS_MUST_CHECK int ps_endpoint_new(struct ps_endpoint **out, const char *url);

/* May it be chosen now, without a probe? */
bool ps_endpoint_is_in(const struct ps_endpoint *endpoint);

/* Is it out by passive health, with its time over and nobody probing? */
bool ps_endpoint_wants_probe(const struct ps_endpoint *endpoint, ps_time now);

/* Makes the caller the one that probes. False: another was faster. */
bool ps_endpoint_begin_probe(struct ps_endpoint *endpoint);

/* Draws conclusions from a request. `alone`: it is the only endpoint and is never taken out.
 * Returns true when it went out or came back. */
bool ps_endpoint_on_outcome(struct ps_endpoint *endpoint, enum ps_outcome outcome, bool alone,
                            const struct ps_health_opts *opts, ps_time now);

#endif
