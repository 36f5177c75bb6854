/* tenant - who is asking, and how much they may still take.
 *
 * Keys are kept as SHA-256 only. Every limit is reserved before the request goes upstream and
 * settled at its end, so that parallel requests can't slip through together:
 *
 *      requests/min   GCRA: one 64-bit atomic, the theoretical arrival time
 *      tokens/min     GCRA with the estimate as weight; settling moves it back or forth
 *      budget         nano-dollars of this day or month: one 64-bit atomic, period tag | amount
 *      in flight      one atomic
 *
 * A reservation is one compare-and-swap on its limit, so no interleaving admits more than the
 * limit. When a later limit refuses, what the earlier ones took is given back; meanwhile another
 * request may be refused that would have fitted, never the reverse.
 *
 * A table is an immutable snapshot. A reload makes a new one in which tenants of the same name go
 * on with the counters of the old.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_TENANT_H
#define PS_GATEWAY_TENANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/chunk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/option.h"
#include "base/str.h"
#include "gateway/admit.h"

enum ps_budget_period { PS_BUDGET_MONTH, PS_BUDGET_DAY };

/* One item of `tenants:`. */
struct ps_tenant_opts {
    char *name;
    char *key;                           /* secret; hashed when the table is made */
    struct ps_option_strings key_sha256; /* 64 hex digits each; several for rotation */
    uint64_t requests_per_minute;        /* 0 = no limit, here and below */
    uint64_t tokens_per_minute;
    uint64_t max_in_flight;
    double budget_usd;
    int budget_period;             /* enum ps_budget_period; UTC */
    uint64_t max_buffered_percent; /* share of max_buffered; 100 = all */
    int priority;                  /* enum ps_priority: the best class that it may use */
};

extern const struct ps_option ps_tenant_options[];

struct ps_tenant_state;

struct ps_tenant {
    const char *name;
    uint64_t requests_per_minute;
    uint64_t tokens_per_minute;
    uint64_t max_in_flight;
    int64_t budget; /* nano-dollars */
    enum ps_budget_period period;
    enum ps_priority priority;
    size_t index;                  /* in the table */
    struct ps_tenant_state *state; /* shared by the tables that know the tenant */
};

struct ps_tenants;

/* Makes a table from a list of struct ps_tenant_opts; reference count 1. `previous` may be NULL.
 * `whole` is the budget of buffered bytes that the tenants share (or NULL). PS_OK, PS_EINVAL with a
 * sentence in reason (a tenant without key, a bad digest, a key or name that is there twice), or
 * PS_ENOMEM. */
PS_MUST_CHECK int ps_tenants_new(struct ps_tenants **out, const struct ps_option_list *opts,
                                 const struct ps_tenants *previous, struct ps_budget *whole,
                                 char *reason, size_t size);

struct ps_tenants *ps_tenants_ref(struct ps_tenants *tenants);
void ps_tenants_unref(struct ps_tenants *tenants); /* NULL is fine */

size_t ps_tenants_count(const struct ps_tenants *tenants);
const struct ps_tenant *ps_tenants_at(const struct ps_tenants *tenants, size_t n);

/* The tenant with this key, or NULL. Digests are compared in constant time. The tenant is valid as
 * long as the table. */
const struct ps_tenant *ps_tenants_find(const struct ps_tenants *tenants, struct ps_str key);

/* The key in an Authorization header ("Bearer KEY", any case of the word); empty when there is
 * none. */
struct ps_str ps_tenant_bearer(struct ps_str authorization);

/* Its share of buffered bytes, for ps_chunks_make(). */
struct ps_budget *ps_tenant_buffer(const struct ps_tenant *tenant);

enum ps_tenant_limit {
    PS_LIMIT_NONE,
    PS_LIMIT_REQUESTS,
    PS_LIMIT_TOKENS,
    PS_LIMIT_BUDGET,
    PS_LIMIT_IN_FLIGHT
};

/* "requests", "tokens", "budget", "in_flight"; "" for none. */
const char *ps_tenant_limit_text(enum ps_tenant_limit limit);

/* What a request holds; zero-initialised = nothing. Kept in the request until it is settled. */
struct ps_tenant_grant {
    uint64_t tokens;
    int64_t cost;    /* nano-dollars */
    uint32_t period; /* tag of the budget period */
    bool held;
};

struct ps_tenant_decision {
    enum ps_tenant_limit limit; /* NONE: granted */
    ps_span retry_after;        /* when it would fit, at the earliest; 0 when never */
    bool never;                 /* larger than the whole limit */
};

/* Reserves one request of `tokens` and `cost` nano-dollars (both estimates). `wall` is nanoseconds
 * since 1970. On success *grant is filled and must be settled or returned exactly once. */
struct ps_tenant_decision ps_tenant_reserve(const struct ps_tenant *tenant, uint64_t tokens,
                                            int64_t cost, ps_time now, ps_time wall,
                                            struct ps_tenant_grant *grant);

/* The request has ended: what it really took replaces what was reserved. More than reserved is
 * debited (the limit may go into debt, for tokens at most a day of it), less is refunded. A cost
 * whose period is over is not moved to the next. */
void ps_tenant_settle(const struct ps_tenant *tenant, struct ps_tenant_grant *grant,
                      uint64_t tokens, int64_t cost, ps_time now);

/* The request never went upstream: everything is given back, the request itself too. */
void ps_tenant_return(const struct ps_tenant *tenant, struct ps_tenant_grant *grant, ps_time now);

/* Where a tenant stands. Limits that are not set have limit 0. */
struct ps_tenant_figures {
    uint64_t requests_limit, requests_remaining;
    ps_span requests_reset; /* until the limit is whole again */
    uint64_t tokens_limit, tokens_remaining;
    ps_span tokens_reset;
    int64_t budget_limit, budget_remaining; /* nano-dollars */
    uint64_t in_flight;
};

void ps_tenant_read(const struct ps_tenant *tenant, ps_time now, ps_time wall,
                    struct ps_tenant_figures *out);

/* Appends whole header lines: RateLimit-Policy and RateLimit
 * (draft-ietf-httpapi-ratelimit-headers-10) and
 * x-ratelimit-{limit,remaining,reset}-{requests,tokens}. Nothing for limits that are not set.
 * PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_tenant_write_headers(const struct ps_tenant *tenant, ps_time now, ps_time wall,
                                          struct ps_buf *out);

#endif
