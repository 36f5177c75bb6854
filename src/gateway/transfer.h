/* transfer - one request on its way, from the exchange to the last byte of the answer.
 *
 *      receiving --> (waiting at the gate) --> calling --> answering --> gone
 *          |                  |                 ^    |          |
 *          '--- error         '--- error        '----' retry    '--- broken: reset
 *
 * transfer.c has the request's side, transfer_body.c its body, transfer_send.c the calls, transfer_answer.c
 * the way back.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_TRANSFER_H
#define PS_GATEWAY_TRANSFER_H

#include "base/chunk.h"
#include "base/list.h"
#include "base/rng.h"
#include "gateway/admit.h"
#include "gateway/answer.h"
#include "gateway/backend.h"
#include "gateway/forward.h"
#include "gateway/dialect.h"
#include "gateway/flight.h"
#include "gateway/gateway.h"
#include "gateway/items.h"
#include "gateway/job.h"
#include "gateway/key.h"
#include "gateway/pools.h"
#include "gateway/record.h"
#include "gateway/request.h"
#include "gateway/request_memo.h"
#include "gateway/route.h"
#include "gateway/tenant.h"
#include "gateway/usage.h"
#include "http/client.h"
#include "http/ndjson.h"
#include "http/server.h"
#include "http/sse.h"
#include "io/loop.h"
#include "io/mailbox.h"

enum {
    PS_TRANSFER_HIGH_WATER = 64 * 1024,  /* unsent bytes at which the source is not read any more */
    PS_TRANSFER_KEEP_BODY = 64 * 1024,   /* plain bodies up to this size are kept for a retry */
    PS_TRANSFER_HEAD_LIMIT = 256 * 1024, /* heads that we write */
    PS_TRANSFER_EVENT_LIMIT = 256 * 1024, /* an event of a stream that is looked at */
    PS_TRANSFER_LINE_LIMIT = 64 * 1024,  /* a line of JSON that is looked at */
    PS_TRANSFER_RENDERED_MAX = 64 * 1024 * 1024, /* a stored answer in its other form */
    PS_TRANSFER_DEFAULT_OUTPUT = 256     /* tokens assumed when the request has no max_tokens */
};

/* One worker's lane: what all its transfers share. */
struct ps_lane {
    struct ps_loop *loop;
    struct ps_gateway *gateway; /* of requests from now on; reference */
    struct ps_mailbox *mailbox; /* slots that other threads hand over, and news of flights */
    struct ps_flight_desk desk;
    struct ps_tier *tier;    /* NULL: nothing is remembered */
    struct ps_keyer *keyer;
    struct ps_request_memo *memo; /* with the keyer */
    struct ps_list transfers;
    struct ps_list tunnels;
    size_t active;
    struct ps_pools pools;
    struct ps_rng rng;
    unsigned shard;
    struct ps_finished_ring *finished; /* who learns from calls; or NULL */
    void (*on_done)(void *ctx, const struct ps_record *record); /* or NULL */
    void *ctx;
};

/* What is still to be said of a request that has become a tunnel, whose exchange is over. */
struct ps_transfer_memo {
    struct ps_server *server; /* counts the peer until the tunnel has ended */
    struct ps_address peer;
    ps_time began;
    size_t method_len;
    size_t path_len;
    char text[]; /* method, path */
};

/* How the body of the answer is looked at on its way. */
enum ps_transfer_form {
    PS_FORM_BYTES, /* not at all */
    PS_FORM_JSON,
    PS_FORM_EVENTS, /* text/event-stream */
    PS_FORM_LINES   /* application/x-ndjson */
};

struct ps_transfer {
    struct ps_list link;
    struct ps_lane *lane;
    struct ps_gateway *gateway; /* reference */
    struct ps_exchange *exchange; /* NULL when the client is gone or has its answer, and of pilots */
    const struct ps_h1_head *head; /* of the request; as long as the exchange or the pilot */
    struct ps_cached *cached; /* it may be answered from memory or by a flight; or NULL */
    struct ps_transfer_items *items; /* beside `cached`: what it asks for, item by item; or NULL */
    struct ps_pilot *pilot;   /* it flies for others and has no client of its own; or NULL */
    struct ps_transfer_memo *memo; /* of a tunnel; or NULL */
    const struct ps_route *route;
    const struct ps_operation *operation; /* what the call is; NULL = any HTTP */
    const struct ps_tenant *tenant; /* or NULL */
    struct ps_backend *backend;     /* of the gateway; NULL until decided */
    struct ps_price price;

    /* the request */
    struct ps_request_parser *parser; /* parsed bodies, and models in paths */
    struct ps_request_known *known;   /* the body was read before; or NULL */
    const struct ps_request *request; /* of the parser or what is known, once complete */
    struct ps_job *job;               /* of ComfyUI's calls; or NULL */
    struct ps_request_edits *edits;   /* or NULL */
    struct ps_chunks body;
    uint64_t bytes_in;
    uint64_t estimate; /* tokens */
    uint64_t weight;   /* when endpoints are compared */
    uint64_t prompt;   /* tokens of its prompt, where an answer is written to it; else 0 */
    bool parsed;       /* the body is JSON that is read */
    bool deferred;     /* ... at its end, if nobody knows what it says */
    bool streaming;    /* the body passes through and is not kept */
    bool request_done;
    bool left; /* the client went away */
    bool upgrade;
    bool cors;
    char request_id[PS_REQUEST_ID_MAX + 1];

    /* limits and the gate */
    struct ps_tenant_grant grant;
    struct ps_ticket ticket;
    struct ps_letter granted; /* a slot was handed over by another thread */
    struct ps_timer deadline; /* of the wait */
    bool in_gate;
    bool queued;
    bool zombie; /* finished, but the letter is still on its way */
    ps_time gate_since;
    ps_span waited; /* -1 = not yet */
    struct ps_census_place place; /* among those at the endpoint */

    /* the call */
    struct ps_call *call;
    int endpoint; /* index, -1 = none booked */
    uint64_t tried;
    unsigned attempts;
    ps_time called;  /* when the last try was sent; 0 = not yet */
    uint32_t beside; /* requests in flight at its endpoint then, itself included */
    bool fresh; /* a kept connection had died: the next call opens a new one */
    uint64_t sent;      /* bytes of the body handed to the call */
    size_t edit;        /* next edit to send */
    bool body_given;    /* the whole body was handed to the call */
    bool retry_spoilt;  /* bytes that are not kept went upstream */

    /* the answer */
    struct ps_buf headers; /* end-to-end lines, held until the first byte of the body */
    uint64_t length;
    int status; /* of the upstream's answer; 0 = none yet */
    bool started;
    uint8_t form; /* enum ps_transfer_form */
    bool hide_usage;
    union {
        struct ps_sse sse;       /* PS_FORM_EVENTS */
        struct ps_ndjson lines;  /* PS_FORM_LINES */
        struct ps_usage_reader reader; /* PS_FORM_JSON */
    } scan;
    struct ps_usage usage;
    uint8_t cache; /* enum ps_cache_part */
    bool passes;   /* the cache has word that its answers are not for others */
    uint8_t fwd;   /* enum ps_cache_fwd: what Cache-Status says of an answer that goes past the cache */
    uint64_t bytes_out;
    ps_time first_byte; /* 0 = not yet */
    const char *error;  /* static text for the log */
};

/* --- transfer.c */
void ps_transfer_begin(struct ps_lane *lane, struct ps_exchange *exchange);

/* Answers with an error and ends. */
void ps_transfer_fail(struct ps_transfer *transfer, const struct ps_answer *answer, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Everything it holds goes back; `status` is what the client got (499: it left), `complete` whether it got
 * all of it. */
void ps_transfer_finish(struct ps_transfer *transfer, int status, bool complete, enum ps_outcome outcome);

/* Keeps what the log needs, before the exchange becomes a tunnel. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_transfer_remember(struct ps_transfer *transfer);

/* Appends the lines that every answer of ours carries, but for x-request-id: CORS and limits. */
PS_MUST_CHECK int ps_transfer_write_extra(struct ps_transfer *transfer, struct ps_buf *out);

/* Who asks; a pilot: who asked first. */
const struct ps_address *ps_transfer_peer(const struct ps_transfer *transfer);
bool ps_transfer_is_tls(const struct ps_transfer *transfer);

/* A transfer without a client, at the end of the lane's list; or NULL. */
struct ps_transfer *ps_transfer_new(struct ps_lane *lane, struct ps_gateway *gateway);

/* A header of the request, or empty (its ptr is NULL then). */
struct ps_str ps_transfer_header(const struct ps_transfer *transfer, enum ps_h1_field id);

/* The request is understood: limits are reserved, then the cache is asked, then the gate. */
void ps_transfer_admit(struct ps_transfer *transfer);

/* Whatever the cache said: to the gate, and upstream. */
void ps_transfer_enter_gate(struct ps_transfer *transfer);

/* --- transfer_body.c */

/* How the body is treated: parsed, kept, or passed through. Returns false when it was answered. */
bool ps_transfer_plan_body(struct ps_transfer *transfer);

void ps_transfer_on_body(void *ctx, struct ps_str data);
void ps_transfer_on_body_end(void *ctx);

/* The body was replaced by another one: reads what it says. False: the request was answered. */
bool ps_transfer_reread(struct ps_transfer *transfer);

/* --- transfer_send.c */

/* The gate is passed: choose an endpoint and send. */
void ps_transfer_call(struct ps_transfer *transfer);

/* Sends on when there is more of the body and the socket has room. */
void ps_transfer_pump(struct ps_transfer *transfer);

/* A try has failed in this phase; `stale`: because a kept connection was closed. Sends again if that is
 * allowed. False: it is not. */
bool ps_transfer_retry(struct ps_transfer *transfer, enum ps_call_phase phase, bool stale);

/* The endpoint does not have what was asked for: asks the next one, as long as there is one. True: the
 * present call is not of interest any more. */
bool ps_transfer_elsewhere(struct ps_transfer *transfer);

/* The call has ended as it should, and the endpoint is still booked: tells who learns from it. */
void ps_transfer_tell_finished(const struct ps_transfer *transfer);

/* Takes the request off its endpoint. */
void ps_transfer_unbook(struct ps_transfer *transfer, enum ps_outcome outcome);

/* --- transfer_cache.c: what clients get from memory, from Redis, or from another's flight */

/* May the cache have the answer? It is asked then, and answers in its time: true. False: nothing
 * is known of it, go on to the gate. */
bool ps_transfer_ask_cache(struct ps_transfer *transfer);

/* The client took what was written. */
void ps_transfer_cache_drain(struct ps_transfer *transfer);

/* Gives back what it holds. */
void ps_transfer_cache_leave(struct ps_transfer *transfer);

/* Is the answer one that cost its tenant nothing? */
bool ps_transfer_is_served(const struct ps_transfer *transfer);

/* "hit", "stale", "collapsed", "miss", "bypass", or NULL. Static. */
const char *ps_transfer_cache_text(const struct ps_transfer *transfer);

/* What its own flight took, once that has ended; or NULL. */
const struct ps_flight_facts *ps_transfer_flight_facts(const struct ps_transfer *transfer);

/* --- transfer_pilot.c: transfers that fly */


/* What a transfer is that has no client. */
struct ps_pilot {
    struct ps_flight *flight;    /* NULL after its end */
    struct ps_key key;           /* of the answer */
    struct ps_tier_op *fetch;    /* from Redis, under way */
    struct ps_pilot_items *items; /* the answer is remembered in pieces; or NULL */
    struct ps_request request;   /* the transfer's */
    struct ps_address peer;      /* who asked first */
    bool tls;
    bool storable; /* so far */
    bool personal; /* the answer is for nobody else */
    bool framed;   /* HTTP says where the answer ends */
    bool json;     /* its type does */
    bool done;     /* the stream said that it is complete */
    bool served;   /* no upstream was asked */
    bool landed;   /* the answer is complete */
    bool refused;
    ps_span ttl;
    struct ps_http_pilot *http; /* of GET; or NULL */
    struct ps_transfer *leader; /* who asked first, as long as it is there: it gets what only one
                                 * client can, interim answers and trailers; or NULL */
    struct ps_flight_refusal refusal;
    struct ps_h1_head head;
    struct ps_h1_header memory[]; /* what the head views */
};

/* What an answer is taken apart into. Views, borrowed. */
struct ps_flying_items {
    enum ps_items_form form;
    const struct ps_key *keys;
    const uint32_t *weights;
    size_t count;
};

struct ps_flying {
    struct ps_flight *flight;
    const struct ps_flying_items *items; /* the answer is remembered in pieces; or NULL */
    const struct ps_key *key; /* of the answer; not always the flight's */
    ps_span ttl;
    bool ask_redis;
    bool takes_limits; /* what the asker reserved goes over */
};

/* Begins to fly what this request asks for: its body goes over, the client stays. On failure the
 * flight is refused. */
void ps_transfer_fly(struct ps_transfer *asker, const struct ps_flying *flying);

/* The head of the answer is there, its lines in transfer->headers. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_pilot_begin(struct ps_transfer *transfer);

/* May an answer with this head be remembered? */
void ps_pilot_judge(struct ps_transfer *transfer, const struct ps_h1_head *head);

/* An event or a line of the stream was seen. */
void ps_pilot_see(struct ps_transfer *transfer, const struct ps_usage_event *event,
                  struct ps_str data);

/* Records the next bytes of the answer. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_pilot_record(struct ps_transfer *transfer, struct ps_str bytes);

/* What was recorded may be read. True: wait, the readers are too slow. */
bool ps_pilot_tell(struct ps_transfer *transfer);

/* The ends of the transfer: the answer is complete; or this went wrong. */
void ps_pilot_land(struct ps_transfer *transfer, enum ps_outcome outcome);
void ps_pilot_refuse(struct ps_transfer *transfer, const struct ps_answer *answer,
                     struct ps_str text);

/* Asks Redis for pilot->key. PS_OK: the answer comes; else it is a miss now. */
PS_MUST_CHECK int ps_pilot_fetch(struct ps_transfer *transfer);

/* The tags of the route and of the request; returns their number. */
size_t ps_pilot_read_tags(const struct ps_transfer *transfer, struct ps_str tags[PS_ENTRY_TAGS_MAX]);

/* Says of an entry what is the same for all that come of this answer; the tags' memory is the
 * caller's. */
void ps_pilot_describe(const struct ps_transfer *transfer, struct ps_str tags[PS_ENTRY_TAGS_MAX],
                       struct ps_entry_spec *spec);

/* Ends the flight as it stands: landed, refused, or else crashed. Nothing for other transfers. */
void ps_pilot_end(struct ps_transfer *transfer);

/* Trailers came, whole lines: they are for the leader. */
void ps_pilot_trail(struct ps_transfer *transfer, struct ps_str trailers);

/* After its end; NULL is fine. */
void ps_pilot_free(struct ps_pilot *pilot);

/* --- transfer_answer.c */

/* Ends looking at the answer's body. */
void ps_transfer_end_scan(struct ps_transfer *transfer);

extern const struct ps_call_ops ps_transfer_call_ops;

/* The client took what was written: read on. */
void ps_transfer_on_drain(struct ps_transfer *transfer);

#endif
