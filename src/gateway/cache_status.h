/* cache_status - what a cache says about an answer: the header lines Cache-Status and Age.
 *
 *      Cache-Status: Penstock; hit; ttl=41; detail=L1
 *      Cache-Status: Penstock; fwd=uri-miss; fwd-status=200; stored; collapsed
 *
 * Cache-Status is a list with a member for each cache on the way, the one next to the origin first
 * (RFC 9211, 2). Ours is a line of its own behind those that came with the answer, which means the
 * same as one line with a comma.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_CACHE_STATUS_H
#define PS_GATEWAY_CACHE_STATUS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"

/* Why a request was forwarded (RFC 9211, 2.2). X(NAME, token). */
/* clang-format off */
#define PS_CACHE_FWD_TABLE(X)                                                                      \
    X(NONE, "")             /* it was not */                                                       \
    X(BYPASS, "bypass")     /* the route or the request does not use the cache */                  \
    X(METHOD, "method")     /* what the method means asks for it */                                \
    X(URI_MISS, "uri-miss") /* nothing is stored under this name */                                \
    X(VARY_MISS, "vary-miss") /* something is, for other values of the fields in Vary */           \
    X(MISS, "miss")         /* nothing fits; why is not known in more detail */                    \
    X(REQUEST, "request")   /* a fresh answer is stored, but the request's Cache-Control wants     \
                             * another one */                                                      \
    X(STALE, "stale")       /* what is stored is stale */                                          \
    X(PARTIAL, "partial")   /* what is stored is a part of it */
/* clang-format on */

enum ps_cache_fwd {
#define PS_CACHE_FWD_ENUM(name, token) PS_CACHE_FWD_##name,
    PS_CACHE_FWD_TABLE(PS_CACHE_FWD_ENUM)
#undef PS_CACHE_FWD_ENUM
        PS_CACHE_FWD_COUNT
};

/* The token, "uri-miss" for instance; empty for NONE. Static. */
struct ps_str ps_cache_fwd_token(enum ps_cache_fwd fwd);

/* What became of one request. All zero: nothing is known, and nothing but our name is written. */
struct ps_cache_status {
    enum ps_cache_fwd fwd; /* NONE = a hit, when `hit` is set too */
    bool hit;              /* answered from memory or Redis; never together with fwd */
    bool stored;           /* fwd only: the answer is remembered */
    bool collapsed;        /* fwd only: the request joined another one that was on its way */
    bool has_ttl;
    ps_span ttl;          /* what is left of its freshness; negative: how long it has been stale */
    int fwd_status;       /* fwd only: what the upstream answered; 0 = nothing, or not told */
    struct ps_str key;    /* of the entry; empty = not told */
    struct ps_str detail; /* anything else, "L1" for instance; empty = nothing */
};

/* Appends the whole line. What is not allowed beside a hit is left out. PS_OK; PS_EINVAL when key
 * or detail has a byte that is not printable ASCII; PS_ELIMIT or PS_ENOMEM. On failure the buffer
 * is as it was. */
PS_MUST_CHECK int ps_cache_status_write(struct ps_buf *out, const struct ps_cache_status *status);

/* Appends "Age: 41": whole seconds, 2^31 at the most, 0 for what is negative (RFC 9111, 5.1).
 * PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_cache_status_write_age(struct ps_buf *out, ps_span age);

#endif
