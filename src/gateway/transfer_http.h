/* transfer_http - GET and HEAD through the cache, as RFC 9111 has it (freshness.h, vary.h, kept.h,
 * validator.h say what it says): the clients' side in transfer_http.c, those that fly in
 * transfer_http_pilot.c.
 *
 *      primary key -> nothing, an answer, or a marker of Vary -> another key -> an answer
 *      answer: fresh -> whole, a part, 304         stale -> fly with its validators -> 304: it is
 *                                                  the answer again     200: the new one is
 *
 * A flight's answer is for the others who wait only when it may be kept and Vary finds nothing in
 * theirs; who waited in vain leaves word, so that nobody does until
 * there is an answer for all. HEAD, Range and what has
 * a condition and no entry go upstream as they are when memory has nothing for them.
 *
 * Thread: the transfer's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_TRANSFER_HTTP_H
#define PS_GATEWAY_TRANSFER_HTTP_H

#include "gateway/freshness.h"
#include "gateway/transfer_cached.h"
#include "gateway/vary.h"

/* What the cache knows of a request by GET or HEAD. */
struct ps_http {
    struct ps_freshness_request asked;
    struct ps_freshness_use use; /* of the entry that there is */
    struct ps_key primary;
    uint64_t mark; /* of the marker */
    bool marked;   /* there is one */
    bool refresh;  /* another answer is wanted than the one there is */
};

/* Is it one of those, on a route that remembers? */
bool ps_http_is_about(const struct ps_transfer *transfer);

/* See ps_transfer_ask_cache(). */
bool ps_http_ask(struct ps_transfer *transfer);

/* The primary key of a target (path and query) as this client would ask for it with GET on `route`.
 */
PS_MUST_CHECK int ps_http_key(const struct ps_transfer *transfer, const struct ps_route *route,
                              struct ps_str target, struct ps_key *out);

struct ps_freshness_policy ps_http_policy(const struct ps_transfer *transfer);

/* Finds what memory has for a request: the key under which its answer is or would be, and the
 * answer or NULL. `counts`: statistics and the policy hear of it. */
enum ps_http_found {
    PS_HTTP_NOTHING,
    PS_HTTP_ENTRY,
    PS_HTTP_PASS /* its answers were not for others: don't wait for one */
};
enum ps_http_found ps_http_find(struct ps_transfer *transfer, struct ps_http *http, bool counts,
                                struct ps_key *key, struct ps_entry **out);

/* Which requests of a primary key an answer to this one is for. PS_OK; PS_EINVAL: for no other;
 * PS_ELIMIT or PS_ENOMEM: as good as none. */
PS_MUST_CHECK int ps_http_variant(const struct ps_h1_head *request, const struct ps_key *primary,
                                  const struct ps_h1_head *answer, struct ps_flight_variant *out);

/* An unsafe request was answered with this head: what it names is not what is kept any more. */
void ps_http_outdate(struct ps_transfer *transfer, const struct ps_h1_head *head);

/* A request passed by because the answers to it were not for others (transfer->passes): is this
 * one, so that the next may be waited for? */
void ps_http_reconsider(struct ps_transfer *transfer, const struct ps_h1_head *head);

/* --- transfer_http_pilot.c */

struct ps_http_pilot;

/* Makes pilot->http when the asker is one of ours. PS_OK, PS_ENOMEM or PS_ELIMIT. */
PS_MUST_CHECK int ps_http_pilot_new(struct ps_pilot *pilot, const struct ps_transfer *asker);

/* NULL is fine. */
void ps_http_pilot_free(struct ps_http_pilot *http);

/* Redis has answered; `entry` or NULL is a reference that is taken. */
void ps_http_on_fetched(struct ps_transfer *transfer, struct ps_entry *entry);

/* The head of the upstream's answer: is it kept, for how long, for whom? */
void ps_http_judge(struct ps_transfer *transfer, const struct ps_h1_head *head);

/* The answer begins: fills in what the flight tells. False: there is nothing to tell before its
 * end, because a 304 said that an entry is the answer. */
bool ps_http_begin(struct ps_transfer *transfer, struct ps_flight_head *head);

/* The answer is complete: keeps it and lands. */
void ps_http_land(struct ps_transfer *transfer, struct ps_flight_facts *facts);

#endif
