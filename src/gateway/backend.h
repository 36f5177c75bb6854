/* backend - an upstream: its endpoints, how they are, and which one is next.
 *
 * All workers share one backend. What they share is in atomics: requests and tokens in flight,
 * health, the retry budget. A reload makes a new backend that takes over the endpoints (same URL),
 * the gate and the counters of the old one; requests in flight keep the old one by reference.
 *
 *      healthy --(n failures in a row)--> out for a while --(time is up)--> one request probes
 *         ^                                    ^                                |     |
 *         |                                    '------------ failure -----------'     |
 *         '------------------------------------------------- success -----------------'
 *
 * Passive health (above) never takes out the only endpoint, and when it has taken out all of them
 * they are used anyway (`health.panic: yes`, as nginx does); an endpoint that fails its active
 * checks or drains is never used. No usable endpoint is 503.
 *
 * Thread: any, unless a function says otherwise.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_BACKEND_H
#define PS_GATEWAY_BACKEND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/option.h"
#include "base/str.h"
#include "gateway/admit.h"
#include "gateway/endpoint.h"
#include "gateway/engine.h"
#include "gateway/price.h"

#define PS_BACKEND_ENDPOINTS_MAX 64 /* a set of tried endpoints is one word */

enum ps_balance { PS_BALANCE_LEAST_TOKENS, PS_BALANCE_PREFIX };

struct ps_endpoint_opts {
    char *url;
    uint64_t weight;
};

struct ps_backend_tls_opts {
    char *ca_file;
    bool verify;
    char *server_name; /* NULL = the URL's host */
};

struct ps_timeout_opts {
    ps_span connect;
    ps_span first_byte;
    ps_span idle;
    ps_span send;
};

struct ps_retry_opts {
    double budget_percent; /* retries per 100 requests */
    uint64_t attempts;     /* tries of one request, the first included */
    uint64_t min_retries;  /* always allowed per 10 s */
};

/* One item of `upstreams:`. */
struct ps_upstream_opts {
    char *name;
    struct ps_option_list endpoints; /* of struct ps_endpoint_opts */
    int engine;                      /* enum ps_engine */
    int balance;                     /* enum ps_balance */
    double prefix_load; /* bound of an endpoint's load over the mean, for prefix affinity */
    char *api_key;      /* secret */
    struct ps_option_strings models;
    char *revision; /* of the weights; or NULL */
    struct ps_backend_tls_opts tls;
    struct ps_health_opts health;
    struct ps_admit_opts admission;
    struct ps_timeout_opts timeouts;
    struct ps_retry_opts retry;
    uint64_t max_idle; /* kept connections per endpoint and worker */
    struct ps_price_opts price;
};

extern const struct ps_option ps_upstream_options[];

struct ps_backend {
    /* constant */
    const char *name;
    size_t index; /* in the list of upstreams */
    size_t count;
    struct ps_endpoint *endpoints[PS_BACKEND_ENDPOINTS_MAX];
    uint64_t weights[PS_BACKEND_ENDPOINTS_MAX];
    uint64_t weight_sum;
    struct ps_price price;
    enum ps_balance balance;
    double prefix_load;
    uint64_t max_idle;
    char *api_key; /* or NULL; never printed */
    char *revision; /* or NULL */
    struct ps_health_opts health;
    struct ps_timeout_opts timeouts;
    struct ps_retry_opts retry;
    struct ps_backend_tls_opts tls;
    struct ps_admit_opts admission;
    enum ps_engine engine; /* as configured; auto: what each endpoint was found to be */

    /* shared */
    struct ps_gate *gate; /* lives on over reloads */
    _Atomic uint32_t refs;
    struct ps_backend_shared *shared;
};

/* Makes the backend of one upstream, reference count 1. `previous` (or NULL) is the backend of the
 * same name before a reload. `index` is its place in the list of upstreams. PS_OK, PS_EINVAL with a
 * sentence in reason (no endpoint, too many, a malformed URL), or PS_ENOMEM. Call from the thread
 * that reloads. */
PS_MUST_CHECK int ps_backend_new(struct ps_backend **out, const struct ps_upstream_opts *opts,
                                 size_t index, struct ps_backend *previous, ps_time now,
                                 char *reason, size_t size);

/* Its bounds hold at the gate from now on, for the requests of the previous one as well: once nothing
 * can go wrong any more with the configuration that it belongs to. Any thread. */
void ps_backend_begin(struct ps_backend *backend, ps_time now);

struct ps_backend *ps_backend_ref(struct ps_backend *backend);
void ps_backend_unref(struct ps_backend *backend); /* NULL is fine */

/* What a request needs of an endpoint. */
struct ps_pick {
    uint64_t tokens;      /* estimated */
    uint64_t prefix_hash; /* 0 = none: least loaded */
    uint64_t tried;       /* bit per endpoint that this request has tried */
    unsigned prefer;      /* 1 + index of the endpoint that has the answer; 0 = not known */
    uint64_t sticky;      /* equal numbers meet at the same endpoint, whatever the load; 0 = none */
};

/* Chooses an endpoint and books the request on it. Returns its index, or -1: no usable endpoint is
 * left (see ps_backend_retry_after()). Every pick is ended by ps_backend_done(). */
int ps_backend_pick(struct ps_backend *backend, const struct ps_pick *pick, ps_time now);

/* Takes the request off the endpoint. `tokens` as given to the pick. Returns true when the outcome
 * took the endpoint out or brought it back. */
bool ps_backend_done(struct ps_backend *backend, int index, uint64_t tokens,
                     enum ps_outcome outcome, ps_time now);

/* What was learned of this upstream's jobs; made at the first call and shared by all workers, over
 * reloads too. NULL when out of memory. */
struct ps_sticky *ps_backend_sticky(struct ps_backend *backend);

/* Are its endpoints several servers that keep their jobs to themselves? */
bool ps_backend_keeps_jobs(const struct ps_backend *backend);

/* The index of an endpoint by its id, or -1: it is not one of these. */
int ps_backend_index(const struct ps_backend *backend, uint32_t id);

/* Is there an endpoint that could be picked and has an address? For readiness. */
bool ps_backend_is_usable(const struct ps_backend *backend, ps_time now);

/* When an endpoint comes back at the earliest, between 1 s and 60 s. */
ps_span ps_backend_retry_after(const struct ps_backend *backend, ps_time now);

/* The retry budget. Count each request once when it is first sent; ask before each retry. */
void ps_backend_count_request(struct ps_backend *backend);
bool ps_backend_may_retry(struct ps_backend *backend, ps_time now);

/* Bytes of prompt text per token on this upstream, learned from usage (4.0 until then). Learn only
 * from requests without media, whose bytes are not text. */
double ps_backend_bytes_per_token(const struct ps_backend *backend);
void ps_backend_learn(struct ps_backend *backend, uint64_t input_bytes, uint64_t prompt_tokens);

#endif
