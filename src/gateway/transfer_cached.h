/* transfer_cached - what the cache's ways of answering a client share: transfer_cache.c has them,
 * and what is said of inference; transfer_items.c what is said of several items in one request, and
 * transfer_http.c of GET and HEAD.
 *
 * Thread: the transfer's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_TRANSFER_CACHED_H
#define PS_GATEWAY_TRANSFER_CACHED_H

#include "gateway/cache_status.h"
#include "gateway/transfer.h"

struct ps_http;

/* What the client wants of the cache. */
struct ps_cached_wish {
    bool no_store; /* neither look nor keep */
    bool refresh;  /* don't look, but keep */
    bool only_cached;
    ps_span ttl; /* 0 = the route's */
};

/* A request that the cache takes care of. */
struct ps_cached {
    struct ps_transfer *transfer;
    struct ps_key key;
    struct ps_flight_seat seat;
    struct ps_entry *entry; /* the one that is sent, or may be when the upstream fails */
    struct ps_buf rendered; /* the entry in the form that was asked for */
    struct ps_str body;     /* of the entry or the rendering */
    size_t sent;
    bool other_form; /* the body is a rendering */
    bool leads;      /* the flight is its own */
    bool bare;       /* what it takes to ask went over to a flight */
    bool live;       /* what the flight records is passed on */
    bool hide;       /* without the usage that it did not ask for */
    bool has_facts;
    struct ps_flight_facts facts;
    struct ps_http *http; /* of GET and HEAD; or NULL */
    struct ps_transfer *pilot; /* that flies for this one first, on the same thread; or NULL */
    struct ps_buf trailers;    /* of its answer: whole lines */
};

ps_time ps_cached_now(const struct ps_transfer *transfer);

/* --- transfer_key.c */

/* Cache-Control (RFC 9111, 5.2.1) and our own headers. */
struct ps_cached_wish ps_cached_read_wish(const struct ps_h1_head *head);

/* May the answer to this POST be remembered? */
bool ps_cached_is_cacheable(const struct ps_transfer *transfer);

/* Can its answers be turned from a stream into a whole and back? */
bool ps_cached_is_renderable(const struct ps_transfer *transfer);

/* The key of the whole question; the job stays, for the keys of its items. PS_OK, or as
 * ps_key_job_end(): it has none. */
PS_MUST_CHECK int ps_cached_make_key(struct ps_transfer *transfer, struct ps_key_job **job,
                                     struct ps_key *out);

/* --- transfer_cache.c */

/* Appends header lines without those that are not for this client. */
PS_MUST_CHECK int ps_cached_write_lines(const struct ps_transfer *transfer, struct ps_str lines,
                                        bool other_form, struct ps_buf *out);

/* Begins the answer with these lines and what is each client's own. */
PS_MUST_CHECK int ps_cached_start(struct ps_transfer *transfer,
                                  const struct ps_cache_status *status, int code,
                                  struct ps_buf *lines, uint64_t length);

/* The answer was sent; or it can't be sent on. */
void ps_cached_finish(struct ps_transfer *transfer);
void ps_cached_cut(struct ps_transfer *transfer, const char *why);

/* Asks for a seat in the flight of cached->key (of its own kind, when it wants the answer anew); as
 * ps_flights_join(). */
enum ps_flight_role ps_cached_join(struct ps_transfer *transfer, bool refresh,
                                   struct ps_flight_seat *seat, struct ps_flight **out);

/* Takes a seat in the flight of cached->key, or flies it; with a NULL seat nobody waits for it.
 * False: the request has to go alone. */
bool ps_cached_take_off(struct ps_transfer *transfer, const struct ps_cached_wish *wish,
                        struct ps_flight_seat *seat);

/* Sends on of cached->body, and ends the answer with it. */
void ps_cached_send(struct ps_transfer *transfer);

/* Sends on what the flight has recorded, and ends the answer as the flight does. */
void ps_cached_pass_on(struct ps_transfer *transfer);

/* Keeps what its own flight took, once that has ended. */
void ps_cached_take_facts(struct ps_cached *cached);

/* Tells the client why the flight was refused. */
void ps_cached_refuse(struct ps_transfer *transfer);

/* Nothing of the cache is of use: the request goes its own way, if it still can. */
void ps_cached_go_alone(struct ps_transfer *transfer);

void ps_cached_fail_memory(struct ps_transfer *transfer);
void ps_cached_fail_uncached(struct ps_transfer *transfer);

#endif
