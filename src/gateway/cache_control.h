/* cache_control - the directives of Cache-Control, and of the fields that take its place for us.
 *
 *      Cache-Control: max-age=60, no-cache="Set-Cookie", community="UCI"
 *
 * A list of directives, one line or several (RFC 9111, 5.2): a token, in any case of letters, and
 * perhaps an argument, as a token or a quoted string. What a quoted string holds is never taken for
 * a directive. A member that is no directive is left out, as is one that we don't know.
 *
 * Seconds are digits only and at most 2^31, larger ones counting as that (1.2.2). Of two values
 * the first holds. Seconds that are none (`max-age=a`) are invalid, which makes an answer stale
 * (4.2.1); so does a quoted string that never ends, because it may hide anything.
 *
 * Targeted fields (RFC 9213): for us `CDN-Cache-Control` and the older `Surrogate-Control` stand in
 * the place of Cache-Control and Expires, the first that is there and sound. These are dictionaries
 * of structured fields (RFC 8941), and one mistake makes the whole field void. A member of
 * Surrogate-Control with a parameter is meant for one device, by its name: not for us.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_CACHE_CONTROL_H
#define PS_GATEWAY_CACHE_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/str.h"
#include "http/h1_head.h"

#define PS_CC_SECONDS_MAX (INT64_C(1) << 31) /* RFC 9111, 1.2.2 */

/* X(NAME, "name"): those with seconds first. */
/* clang-format off */
#define PS_CC_TABLE(X)                                                                             \
    X(MAX_AGE, "max-age")                                                                          \
    X(S_MAXAGE, "s-maxage")                                                                        \
    X(MAX_STALE, "max-stale")                                                                      \
    X(MIN_FRESH, "min-fresh")                                                                      \
    X(STALE_WHILE_REVALIDATE, "stale-while-revalidate")                                            \
    X(STALE_IF_ERROR, "stale-if-error")                                                            \
    X(NO_STORE, "no-store")                                                                        \
    X(NO_CACHE, "no-cache")                                                                        \
    X(PRIVATE, "private")                                                                          \
    X(PUBLIC, "public")                                                                            \
    X(MUST_REVALIDATE, "must-revalidate")                                                          \
    X(PROXY_REVALIDATE, "proxy-revalidate")                                                        \
    X(MUST_UNDERSTAND, "must-understand")                                                          \
    X(ONLY_IF_CACHED, "only-if-cached")
/* clang-format on */

enum ps_cc {
#define PS_CC_ENUM(name, text) PS_CC_##name,
    PS_CC_TABLE(PS_CC_ENUM)
#undef PS_CC_ENUM
        PS_CC_COUNT
};

#define PS_CC_TIMED  (PS_CC_STALE_IF_ERROR + 1) /* how many have seconds */
#define PS_CC_BIT(d) (1u << (d))

struct ps_cache_control {
    unsigned set;     /* PS_CC_BIT() of what is there and valid */
    unsigned invalid; /* PS_CC_BIT() of those whose first seconds are none */
    bool broken;      /* a quoted string never ends */
    bool targeted;    /* read from a field that is meant for us */
    /* `no-cache` or `private` name fields, and do not stand there without: `set` has no bit of
     * them, and ps_cache_control_withholds() knows the names. */
    bool fields;
    ps_span seconds[PS_CC_TIMED]; /* of those that are set; max-stale without any: PS_NEVER */
};

static inline bool ps_cc_has(const struct ps_cache_control *cc, enum ps_cc directive)
{
    return (cc->set & PS_CC_BIT(directive)) != 0;
}

/* Reads all lines of Cache-Control, for requests and answers. */
void ps_cache_control_read(struct ps_cache_control *out, const struct ps_h1_head *head);

/* The same for an answer: a targeted field in its place if there is one. */
void ps_cache_control_read_answer(struct ps_cache_control *out, const struct ps_h1_head *head);

/* Does `no-cache="..."` or `private="..."` name this field? Then it may not be kept (5.2.2.4,
 * 5.2.2.7). For heads whose ps_cache_control has `fields`. */
bool ps_cache_control_withholds(const struct ps_h1_head *head, struct ps_str name);

#endif
