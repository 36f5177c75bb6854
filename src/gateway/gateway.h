/* gateway - one configuration of the request path: an immutable snapshot that all workers share.
 *
 * A reload makes a new one, in which upstreams, endpoints and tenants of the same name go on with their
 * counters; each worker takes it over between two requests, and the old one goes when its last request
 * has ended.
 *
 * Thread: constant after creation; references may be taken and dropped by any thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_GATEWAY_H
#define PS_GATEWAY_GATEWAY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/chunk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/option.h"
#include "gateway/backend.h"
#include "gateway/route.h"
#include "gateway/tenant.h"
#include "io/address.h"

struct ps_flights;
struct ps_tiers;
struct ps_tls;
struct ps_traffic;

/* What the cache had to do with an answer. */
enum ps_cache_part {
    PS_CACHE_NONE,   /* not asked: the route does not use it */
    PS_CACHE_BYPASS, /* the route does, and this request may not */
    PS_CACHE_MISS,
    PS_CACHE_COLLAPSED, /* got what another request was just asking for */
    PS_CACHE_STALE,
    PS_CACHE_HIT,
    PS_CACHE_PARTS
};

/* How often, over all workers, and what it was worth. */
struct ps_cache_tally {
    _Atomic uint64_t parts[PS_CACHE_PARTS];
    _Atomic int64_t cost_saved; /* nano-dollars */
};

struct ps_gateway_opts {
    const struct ps_option_list *routes;    /* of struct ps_route_opts */
    const struct ps_option_list *upstreams; /* of struct ps_upstream_opts */
    const struct ps_option_list *models;    /* of struct ps_model_opts */
    const struct ps_option_list *tenants;   /* of struct ps_tenant_opts; empty = nobody needs a key */
    const struct ps_option_strings *trusted_proxies;
    const struct ps_option_strings *cors_origins; /* "*" = all */
    bool loopback_only; /* no keys: refuse names and origins that are not this machine's */
    uint64_t max_body;
    struct ps_budget *budget; /* bytes buffered by all requests; borrowed, outlives the gateway */
    struct ps_tiers *tiers;   /* answers that are known, NULL = none are kept; likewise */
    struct ps_flights *flights;   /* answers on their way; there when tiers are; likewise */
    struct ps_cache_tally *tally; /* likewise */
};

struct ps_gateway {
    _Atomic uint32_t refs;
    struct ps_route_table *routes; /* NULL when there is no upstream */
    struct ps_backend **backends;
    struct ps_tls **tls; /* of each backend; NULL = plain only */
    size_t backend_count;
    struct ps_tenants *tenants; /* NULL = no keys */
    struct ps_network *trusted;
    size_t trusted_count;
    struct ps_option_strings cors_origins; /* owned copies */
    bool loopback_only;
    uint64_t max_body;
    struct ps_budget *budget;
    struct ps_tiers *tiers; /* or NULL */
    struct ps_flights *flights;
    struct ps_cache_tally *tally;
    struct ps_traffic *metrics; /* bound to it before it is shared; owned */
    void (*free_metrics)(struct ps_traffic *metrics);
};

/* Builds a snapshot; reference count 1. `previous` (or NULL) hands on counters of what stays. PS_OK,
 * PS_EINVAL with a sentence in reason, or PS_ENOMEM. */
PS_MUST_CHECK int ps_gateway_new(struct ps_gateway **out, const struct ps_gateway_opts *opts,
                                 const struct ps_gateway *previous, ps_time now, char *reason, size_t size);

/* Its bounds of admission hold from now on: see ps_backend_begin(). */
void ps_gateway_begin(struct ps_gateway *gateway, ps_time now);

struct ps_gateway *ps_gateway_ref(struct ps_gateway *gateway);
void ps_gateway_unref(struct ps_gateway *gateway); /* NULL is fine */

/* Is this peer one of `trusted_proxies`? */
bool ps_gateway_trusts(const struct ps_gateway *gateway, const struct ps_address *peer);

/* May a page of this origin read answers? By `cors.origins`. */
bool ps_gateway_allows_origin(const struct ps_gateway *gateway, struct ps_str origin);

/* Does this Host header, or an origin's authority, name this machine: localhost, 127.0.0.0/8 or ::1, with
 * any port? */
bool ps_host_is_loopback(struct ps_str host);

/* The authority of an origin "scheme://host:port"; empty for "null" and others. */
struct ps_str ps_origin_host(struct ps_str origin);

#endif
