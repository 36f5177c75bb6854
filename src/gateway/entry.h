/* entry - an answer that is remembered: what was said, what it is about, what it cost, how long it
 * holds.
 *
 * An entry never changes after it is made, so any number of threads may read and send it. It is one
 * block of memory; references are counted, so an entry that the cache throws out lives on until the
 * last reader has sent it.
 *
 *      born            stored              + fresh            + while_revalidate   (or + if_error)
 *      | request went   | age counts        | fresh no more    | gone
 *      | upstream       | from here         |                  |
 *
 * All instants are wall-clock time (nanoseconds since 1970): they are compared across gateways.
 *
 * Thread: any; the count is atomic.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_ENTRY_H
#define PS_GATEWAY_ENTRY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"

#define PS_ENTRY_TAGS_MAX 16  /* tags of one entry */
#define PS_ENTRY_NAME_MAX 256 /* bytes of a route, model, tenant or tag */

enum ps_entry_kind {
    PS_ENTRY_BYTES,  /* sent as it is */
    PS_ENTRY_JSON,   /* a whole answer in JSON; render.h can make a stream of it */
    PS_ENTRY_EVENTS, /* a whole event stream, usage included; render.h can make JSON of it */
    PS_ENTRY_VARY /* no answer: a marker that says under which other keys there are some (vary.h) */
};

#define PS_ENTRY_KIND_MAX PS_ENTRY_VARY

/* What an entry is made of. Everything is copied, but for the body when `release` is given. */
struct ps_entry_spec {
    int status;
    enum ps_entry_kind kind;
    struct ps_str head; /* header lines to be sent again, each with its CR LF */
    struct ps_str body;
    /* When not NULL the body is not copied: it must stay as it is until release(release_ctx) is
     * called, on whichever thread drops the last reference; at once when making the entry fails. */
    void (*release)(void *ctx);
    void *release_ctx;

    /* What it is about: for invalidation. At most PS_ENTRY_NAME_MAX bytes each. */
    struct ps_str route, model, tenant;
    const struct ps_str *tags;
    size_t tags_count; /* at most PS_ENTRY_TAGS_MAX */

    ps_time born;   /* when the request went upstream: what was purged since then is not stored */
    ps_time stored; /* where its age begins: when it came, less the Age that it came with */
    ps_span fresh;  /* how long it is fresh from there; PS_NEVER = for good */
    ps_span while_revalidate; /* how long it may be sent stale while somebody asks anew */
    ps_span if_error;         /* how long it may be sent stale when the upstream fails */

    double seconds;                            /* upstream time that a hit saves; 0 = unknown */
    uint64_t prompt_tokens, completion_tokens; /* what a hit saves in tokens */
};

/* The fields are private but for those above the line, which are constant. */
struct ps_entry {
    ps_time born, stored;
    ps_span fresh, while_revalidate, if_error;
    uint32_t prompt_tokens, completion_tokens; /* larger ones are cut */
    float seconds;
    uint16_t status;
    uint8_t kind; /* enum ps_entry_kind */

    /* private */
    uint8_t tags_count;
    _Atomic uint32_t refs;
    _Atomic uint32_t purges; /* position in the purge log up to which it was found valid */
    uint32_t head_len;
    uint16_t route_len, model_len, tenant_len, tags_len;
    size_t body_len;
    const char *body;
    void (*release)(void *ctx);
    void *release_ctx;
    char text[]; /* route, model, tenant, tags (each behind its length), head, body */
};

/* Makes an entry with one reference. PS_OK, PS_ENOMEM, or PS_EINVAL for what is too long. */
PS_MUST_CHECK int ps_entry_new(struct ps_entry **out, const struct ps_entry_spec *spec);

/* One more reference, for whoever has one. Returns entry. */
struct ps_entry *ps_entry_ref(struct ps_entry *entry);

/* Gives a reference back; NULL is fine. */
void ps_entry_unref(struct ps_entry *entry);

/* Bytes of memory that it takes, allocator included; a body that was not copied counts as well. */
size_t ps_entry_bytes(const struct ps_entry *entry);

/* Views into the entry, valid as long as the reference. */
struct ps_str ps_entry_route(const struct ps_entry *entry);
struct ps_str ps_entry_model(const struct ps_entry *entry);
struct ps_str ps_entry_tenant(const struct ps_entry *entry);
struct ps_str ps_entry_head(const struct ps_entry *entry);
struct ps_str ps_entry_body(const struct ps_entry *entry);

/* The next tag: *at begins with 0. False when there is none left. */
bool ps_entry_next_tag(const struct ps_entry *entry, size_t *at, struct ps_str *tag);

enum ps_freshness {
    PS_FRESH,
    PS_STALE_USABLE,   /* send it and ask anew */
    PS_STALE_ON_ERROR, /* ask; send it only if that fails */
    PS_STALE_GONE
};

enum ps_freshness ps_entry_freshness(const struct ps_entry *entry, ps_time now);

/* For the header Age; never negative. */
ps_span ps_entry_age(const struct ps_entry *entry, ps_time now);

#endif
