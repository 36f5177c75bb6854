/* freshness - may an answer be kept, for how long is it good, and may it answer this request? HTTP
 * caching as RFC 9111 has it, for a cache that many share, for GET and HEAD.
 *
 *      request + answer --> ps_freshness_of()  --> keep it? until when? what may be done then?
 *      request + entry  --> ps_freshness_use() --> send it, ask upstream, or neither (504)
 *
 * What is kept (section 3): final answers to GET, but 206 and 304, that nothing forbids
 * (`no-store`, `private`; `Authorization` without a word of the server) and that are of use: good
 * for a while, or with a validator. How long (4.2.1): s-maxage, max-age, Expires, or a tenth of the
 * time since Last-Modified for a status that allows it. A targeted field (cache_control.h) stands
 * in the place of Cache-Control and Expires.
 *
 * Where the standard leaves a choice:
 *
 *   Set-Cookie        inhibits a guessed lifetime, not one that the server gave (7.3)
 *   s-maxage          forbids stale use, as proxy-revalidate does (5.2.2.10), whatever else
 *                     stands there; max-age with stale-while-revalidate does not
 *   stale on arrival  kept for its validator, or when the server allows stale use
 *   unknown status    kept with an explicit lifetime, not with must-understand
 *
 * Times: `wall` is nanoseconds since 1970.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_FRESHNESS_H
#define PS_GATEWAY_FRESHNESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/str.h"
#include "gateway/cache_control.h"
#include "gateway/cache_status.h"
#include "gateway/entry.h"
#include "gateway/kept.h"
#include "http/h1_head.h"

/* What a request says about caches. */
struct ps_freshness_request {
    struct ps_cache_control cc; /* with Pragma: no-cache where there is no Cache-Control (5.4) */
    bool is_get;                /* or HEAD: nothing else is answered from what is kept */
    bool is_head;
    bool is_safe;       /* GET, HEAD, OPTIONS, TRACE: does not make anything invalid (4.4) */
    bool authorization; /* it came with Authorization */
    bool range;         /* Range, or If-Range */
    bool precondition;  /* If-Match or If-Unmodified-Since: only the server can tell */
    bool conditional;   /* If-None-Match or If-Modified-Since */
};

void ps_freshness_read_request(struct ps_freshness_request *out, const struct ps_h1_head *head);

/* What the house adds to the standard. */
struct ps_freshness_policy {
    ps_span guess_max; /* a lifetime that is guessed is not longer; 0 = none is guessed */
    ps_span keep;      /* how long a stale answer waits to be validated */
    ps_span while_revalidate, if_error; /* of answers that don't say themselves */
    /* Authorization does not count: it named the tenant, whose answers nobody else gets, and the
     * server never saw it. */
    bool own_authorization;
};

/* What is known of one answer. */
struct ps_freshness_answer {
    const struct ps_h1_head *head;
    ps_time asked; /* wall, when the request went upstream */
    ps_time came;  /* wall, when the head came */
};

struct ps_freshness_life {
    bool keep;       /* may and should be kept */
    const char *why; /* why not: a token for Cache-Status's detail, static; NULL when kept */
    bool guessed;    /* the lifetime is a guess */
    bool no_stale;   /* never used stale: must-revalidate and the like, or no-cache */
    ps_time stored;  /* where its age begins */
    ps_span fresh;   /* 0: must be validated before each use */
    ps_span while_revalidate, if_error; /* what the server allows of stale use */
    ps_span stays; /* how long it is kept behind `fresh`, for one reason or another */
};

/* Judges an answer. */
void ps_freshness_of(struct ps_freshness_life *out, const struct ps_freshness_request *request,
                     const struct ps_freshness_answer *answer,
                     const struct ps_freshness_policy *policy);

/* What may be done with an entry now; its lines are read again only when it is stale. Fills fresh,
 * no_stale, while_revalidate and if_error. Lines that can't be read forbid stale use. */
void ps_freshness_of_entry(struct ps_freshness_life *out, const struct ps_entry *entry, ps_time now,
                           const struct ps_freshness_policy *policy);

enum ps_freshness_verdict {
    PS_FRESHNESS_SEND,      /* send it */
    PS_FRESHNESS_SEND_ANEW, /* send it, and ask anew in the background */
    PS_FRESHNESS_ASK,       /* ask upstream, with the entry's validators */
    PS_FRESHNESS_REFUSE     /* 504: only-if-cached, and it may not be sent */
};

struct ps_freshness_use {
    enum ps_freshness_verdict verdict;
    enum ps_cache_fwd fwd; /* why it must be asked for: STALE or REQUEST */
    bool fallback;         /* when asking fails it may be sent stale (stale-if-error) */
};

/* May an entry with this life and age answer the request? */
struct ps_freshness_use ps_freshness_use(const struct ps_freshness_request *request,
                                         const struct ps_freshness_life *life, ps_span age);

/* May the answer to this request be kept at all, as far as the request goes? (`no-store`, Range) */
bool ps_freshness_may_keep(const struct ps_freshness_request *request);

/* An error that stale-if-error is about (RFC 5861, 4): 500, 502, 503, 504. */
static inline bool ps_freshness_is_error(int status)
{
    return status == 500 || (status >= 502 && status <= 504);
}

#endif
