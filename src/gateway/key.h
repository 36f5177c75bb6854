/* key - the name of an answer: equal for requests that mean the same, different for all others.
 *
 *      key = SHA-256( version, tenant, route, upstream, model revision, method, path, query,
 *                     content type, body )
 *
 * Every part stands behind its length, so no two requests are spelt alike. A JSON body counts by
 * what it means (gateway/canon.h): the order of members, white space, escapes and the spelling of
 * numbers make no difference; whatever else differs gives another key, members that we have never
 * heard of included. Only top-level members that cannot change the output are left out: `user`,
 * `metadata`, `store`, `safety_identifier`, `service_tier`, `prompt_cache_key`,
 * `prompt_cache_retention`, and `stream` and `stream_options`, which choose how it is rendered.
 *
 * What has no certain meaning has no key: duplicate members, invalid UTF-8, half a surrogate pair,
 * nesting or numbers beyond bounds. Such a request is forwarded and never stored.
 *
 * A job is fed while the body arrives. With a memo, bodies below PS_KEY_MEMO_BODY are held until
 * they are complete: when the same bytes came before under the same names, the memo knows the key
 * and nothing is parsed. The memo is itself keyed by SHA-256, so it cannot be made to lie. Longer
 * bodies are parsed as they come, which costs little more than a digest of the same bytes would.
 *
 * Of requests with items the memo knows those that have one.
 *
 * Embeddings: the members beside `input` (or `inputs`) are one part, each of its items another, so
 * an item has the key that it would have in a request of its own.
 *
 * Thread: a keyer and its jobs belong to one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_KEY_H
#define PS_GATEWAY_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/chunk.h"
#include "base/err.h"
#include "base/str.h"

#define PS_KEY_VERSION   1u
#define PS_KEY_BYTES     32u
#define PS_KEY_MEMO_BODY ((size_t)64 << 10)

struct ps_key {
    uint8_t bytes[PS_KEY_BYTES];
};

static inline bool ps_key_eq(const struct ps_key *a, const struct ps_key *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/* 64 lower-case hex digits and a terminator. */
void ps_key_hex(const struct ps_key *key, char out[2 * PS_KEY_BYTES + 1]);

/* Reads 64 hex digits. PS_OK or PS_EPARSE. */
PS_MUST_CHECK int ps_key_from_hex(struct ps_str text, struct ps_key *out);

/* One worker's maker of keys: a digest context and a memo. */
struct ps_keyer;

/* `memo` is how many bodies are remembered (64 bytes each); 0 = none. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_keyer_new(struct ps_keyer **out, size_t memo);

/* NULL is fine. After the last of its jobs. */
void ps_keyer_free(struct ps_keyer *keyer);

/* How often the memo knew the key. */
uint64_t ps_keyer_memo_hits(const struct ps_keyer *keyer);

/* What the key covers beside the body. All are borrowed until ps_key_job_new() returns. */
struct ps_key_scope {
    struct ps_str tenant;   /* its name; two tenants never share a key ... */
    bool any_tenant;        /* ... unless the route says that they may */
    struct ps_str route;    /* name of the route */
    struct ps_str upstream; /* name of the upstream */
    struct ps_str
        revision; /* of the model: whatever changes when the same name answers otherwise */
    struct ps_str method, path, query;
    struct ps_str content_type; /* `Application/JSON; charset=utf-8` is `application/json` */
};

enum ps_key_body {
    PS_KEY_RAW,        /* byte for byte, or no body at all */
    PS_KEY_JSON,       /* an object; by its meaning, without the members named above */
    PS_KEY_EMBEDDINGS, /* the same, with a key for each item of `input` */
    PS_KEY_EMBED       /* of `inputs`: text-embeddings-inference */
};

struct ps_key_job;

/* Begins a key. What the job must hold (a body that is not parsed yet, members of objects that are
 * still open) counts against `budget` (NULL = no bound). PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_key_job_new(struct ps_key_job **out, struct ps_keyer *keyer,
                                 const struct ps_key_scope *scope, enum ps_key_body body,
                                 struct ps_budget *budget);

/* NULL is fine. */
void ps_key_job_free(struct ps_key_job *job);

/* The next bytes of the body; borrowed until it returns. PS_OK. PS_EPARSE: it has no key, see
 * ps_key_job_reason(). PS_ELIMIT: too deep, too many members, or the budget. PS_ENOMEM. Every
 * failure stays. */
PS_MUST_CHECK int ps_key_job_feed(struct ps_key_job *job, struct ps_str bytes);

/* The body is complete. PS_OK, or as above. Of embeddings with several items *out stands for the
 * whole request. */
PS_MUST_CHECK int ps_key_job_end(struct ps_key_job *job, struct ps_key *out);

/* After a successful end, embeddings only: how many items there are (at least 1), and the key of
 * one of them. */
size_t ps_key_job_items(const struct ps_key_job *job);
void ps_key_job_item(struct ps_key_job *job, size_t i, struct ps_key *out);

/* The key of a request for these items (n >= 1), in this order: of one it is the item's. */
void ps_keyer_list(struct ps_keyer *keyer, const struct ps_key *items, size_t n,
                   struct ps_key *out);

/* Why there is no key: a short phrase, static. */
const char *ps_key_job_reason(const struct ps_key_job *job);

#endif
