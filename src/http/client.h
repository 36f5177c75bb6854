/* client - pooled connections to upstream servers; one call is one request and its answer.
 *
 * A pool belongs to one loop: no lock on the way of a request. The caller names an endpoint (address and
 * how to speak to it) and hands over a ready request head; the client finds an idle connection or opens
 * one, and tells what comes back. It never retries by itself: the error says in which phase it happened
 * and whether the request may have been seen, and the caller decides.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_HTTP_CLIENT_H
#define PS_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/chunk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "http/h1.h"
#include "io/address.h"

struct ps_loop;
struct ps_tls;
struct ps_stream;
struct ps_client;
struct ps_client_pool; /* idle connections to one endpoint */
struct ps_call;

enum ps_call_phase {
    PS_CALL_CONNECT, /* TCP and TLS */
    PS_CALL_SEND,    /* the request was not wholly written */
    PS_CALL_HEAD,    /* written; no final status yet */
    PS_CALL_BODY     /* the answer began */
};

/* "connect", "send", "head", "body". */
const char *ps_call_phase_text(enum ps_call_phase phase);

struct ps_call_error {
    int err; /* PS_E* */
    enum ps_call_phase phase;
    bool reused;        /* on a kept-alive connection: the server may just have closed it */
    bool sent_some;     /* at least one byte of the request was taken by the socket */
    const char *detail; /* static or valid until the callback returns */
};

struct ps_call_ops {
    void (*on_interim)(void *ctx, const struct ps_h1_head *head); /* 1xx but 101; may be NULL */
    void (*on_head)(void *ctx, const struct ps_h1_head *head);    /* final status; 101 too */
    void (*on_body)(void *ctx, struct ps_str data);               /* view */
    /* The answer is complete. `trailers` is a view of whole lines, mostly empty. The call is gone. */
    void (*on_end)(void *ctx, struct ps_str trailers);
    void (*on_error)(void *ctx, const struct ps_call_error *error); /* the call is gone */
    /* The bytes of one read were all handed out: the moment to flush what was corked. May be NULL. Not
     * called after on_end, on_error or a cancel. */
    void (*on_batch)(void *ctx);
    /* The request body that was written has left. May be NULL. */
    void (*on_drain)(void *ctx);
};

struct ps_pool_opts {
    struct ps_address address;
    struct ps_tls *tls;      /* or NULL; the pool takes a reference */
    const char *server_name; /* TLS; copied */
    struct ps_h1_limits limits;
    uint32_t max_idle; /* connections kept open without a call */
    ps_span connect_timeout;
    ps_span head_timeout; /* request sent to first byte of the final head; 0 = none */
    ps_span idle_timeout; /* longest gap inside an answer; 0 = none */
    ps_span send_timeout; /* longest time without progress while sending */
    ps_span keep_alive;   /* an idle connection is closed after this */
    struct ps_budget *budget; /* for buffered request bytes; or NULL */
    bool stamp; /* for ps_call_came() */
};

/* 64 idle, 3 s to connect, 600 s for the head, 120 s gap, 60 s send, 55 s idle, 64 KiB heads. */
void ps_pool_opts_init(struct ps_pool_opts *opts);

/* Creates a pool on `loop`. Options are copied. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_pool_new(struct ps_client_pool **out, struct ps_loop *loop,
                              const struct ps_pool_opts *opts);

/* Closes the idle connections and frees the pool; calls in flight go on and their connections are closed at
 * their end. NULL is fine. */
void ps_pool_free(struct ps_client_pool *pool);

/* Closes the idle connections only (the server was found dead). */
void ps_pool_close_idle(struct ps_client_pool *pool);

size_t ps_pool_idle(const struct ps_client_pool *pool);

/* Connections that there are, and that were begun so far. */
size_t ps_pool_open(const struct ps_client_pool *pool);
uint64_t ps_pool_begun(const struct ps_client_pool *pool);

#define PS_CALL_PIECES_MAX 16

/* What a call sends first. */
struct ps_call_request {
    struct ps_str head; /* start line, headers, blank line, framing included; borrowed until it returns */
    struct ps_str body; /* first or only part of the body, borrowed likewise; may be empty */
    const struct ps_str *pieces; /* instead of `body`, not chunked: up to PS_CALL_PIECES_MAX parts */
    size_t piece_count;
    bool body_follows;  /* more comes by ps_call_write() and ps_call_end() */
    bool chunked;       /* the head says Transfer-Encoding: chunked: pieces are framed here */
    bool is_head;       /* HEAD: the answer has no body */
    bool fresh;         /* do not reuse an idle connection */
    ps_span head_timeout; /* instead of the pool's; 0 = the pool's, here and below */
    ps_span idle_timeout;
};

/* Begins a call. PS_OK means that callbacks follow, ending with on_end or on_error (never from inside
 * this function). PS_ENOMEM, PS_ELIMIT: nothing follows. */
PS_MUST_CHECK int ps_call_start(struct ps_call **out, struct ps_client_pool *pool,
                                const struct ps_call_request *request, const struct ps_call_ops *ops,
                                void *ctx);

/* When the bytes that a callback is about came to this machine (ps_stream_came()); in on_end those that ended the answer. Of
 * a pool with opts.stamp, in on_head, on_body and on_end, until another call is begun. */
ps_time ps_call_came(const struct ps_call *call);

/* Sends more of the body. PS_OK; PS_ELIMIT and PS_ENOMEM: cancel the call. */
PS_MUST_CHECK int ps_call_write(struct ps_call *call, struct ps_str data);
void ps_call_end(struct ps_call *call);

/* Bytes of the request not yet taken by the socket. */
size_t ps_call_queued(const struct ps_call *call);

/* Back-pressure on the answer. */
void ps_call_pause(struct ps_call *call);
void ps_call_resume(struct ps_call *call);

/* Closes the connection now; no callback follows. NULL is fine. */
void ps_call_cancel(struct ps_call *call);

/* Inside on_head with status 101: takes the stream out of the client. The call is over, no callback
 * follows. The new owner sets itself as owner, calls ps_stream_resume() to get what follows the head, and
 * frees the stream. */
struct ps_stream *ps_call_upgrade(struct ps_call *call);

#endif
