/* server - connections become requests, and answers become bytes.
 *
 * One connection carries one exchange at a time; a pipelined request waits in the socket until the
 * answer before it is complete. The handler gets the head, then the body as it arrives, and answers
 * whenever it likes: whole, or piece by piece with back-pressure. Framing (Content-Length, chunked, close)
 * is the server's business, and so are time limits, Expect: 100-continue, HEAD, and malformed requests.
 *
 *      on_request --> on_body* --> on_body_end            the request
 *      ps_exchange_start --> ps_exchange_write* --> end   the answer, at any time after on_request
 *      on_abort                                           the client went away: nothing more is possible
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_HTTP_SERVER_H
#define PS_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/chunk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "http/h1.h"
#include "io/address.h"
#include "io/stream.h"

struct ps_loop;
struct ps_tls;
struct ps_server;
struct ps_exchange;

/* What the handler hears about one exchange; set by ps_exchange_handle() inside on_request. After
 * on_abort, after ps_exchange_end() (and the calls that end it) the exchange must not be touched. */
struct ps_exchange_ops {
    void (*on_body)(void *ctx, struct ps_str data); /* view; NULL drops the body */
    void (*on_body_end)(void *ctx);                 /* the request is complete; may be NULL */
    void (*on_drain)(void *ctx);                    /* all that was written has left; may be NULL */
    void (*on_abort)(void *ctx);                    /* the client is gone, or broke the rules */
};

struct ps_server_opts {
    /* A request's head is complete. The handler calls ps_exchange_handle() or answers at once. */
    void (*on_request)(void *ctx, struct ps_exchange *exchange);
    /* May this peer connect? Every true is followed by one on_gone. Both NULL: everybody may. */
    bool (*on_accept)(void *ctx, const struct ps_address *peer);
    void (*on_gone)(void *ctx, const struct ps_address *peer);
    /* A request that never became one (malformed, too slow), for counting; may be NULL. */
    void (*on_refused)(void *ctx, int status, const struct ps_address *peer);
    void *ctx;
    struct ps_h1_limits limits;
    uint64_t max_body;          /* bytes; above it 413. 0 = no limit (the handler counts) */
    uint32_t max_connections;   /* per server; 0 = no limit */
    struct ps_budget *budget;   /* for buffered bytes; or NULL */
    ps_span head_timeout;       /* first byte to complete head; 408 */
    ps_span body_timeout;       /* longest gap between two reads of a body; 408 */
    ps_span keep_alive_timeout; /* idle between requests */
    ps_span send_timeout;       /* longest time that a client may refuse to read a byte */
    /* Headers added to every refusal that the server makes itself (whole lines); may be empty. */
    struct ps_str refusal_headers;
};

/* Sensible limits: 32 KiB heads of 100 fields, 32 MiB bodies, 10 s heads, 30 s body gaps, 75 s idle, 60 s
 * send. */
void ps_server_opts_init(struct ps_server_opts *opts);

/* Creates a server without listeners. Options are copied. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_server_new(struct ps_server **out, struct ps_loop *loop,
                                const struct ps_server_opts *opts);

/* Closes everything at once; handlers hear on_abort. NULL is fine. */
void ps_server_free(struct ps_server *server);

/* Adds a listener on `at` (SO_REUSEPORT), plain when tls is NULL. Errors of ps_listener_new(). */
PS_MUST_CHECK int ps_server_listen(struct ps_server *server, const struct ps_address *at,
                                   struct ps_tls *tls);

/* Adds a listener on a descriptor of ps_listen(); it is owned from now on. */
PS_MUST_CHECK int ps_server_listen_fd(struct ps_server *server, int fd, struct ps_tls *tls);

/* The address of the n-th listener, or NULL. */
const struct ps_address *ps_server_address(const struct ps_server *server, size_t n);

/* Serves this certificate to connections from now on, on all TLS listeners. */
void ps_server_set_tls(struct ps_server *server, struct ps_tls *tls);

/* Takes a connected descriptor as if it had been accepted (owned from now on). */
void ps_server_adopt(struct ps_server *server, int fd, const struct ps_address *peer,
                     struct ps_tls *tls);

/* Changes limits for connections from now on (reload). */
void ps_server_set_opts(struct ps_server *server, const struct ps_server_opts *opts);

/* Stops listening, closes idle connections, and answers the rest with Connection: close.
 * on_idle runs (once, from the loop) when no connection is left. */
void ps_server_drain(struct ps_server *server, void (*on_idle)(void *ctx), void *ctx);

size_t ps_server_connections(const struct ps_server *server);

/* --- the request ------------------------------------------------------------------------------ */

/* Who hears about this exchange from now on. */
void ps_exchange_handle(struct ps_exchange *exchange, const struct ps_exchange_ops *ops, void *ctx);

/* The request's head; valid as long as the exchange. */
const struct ps_h1_head *ps_exchange_head(const struct ps_exchange *exchange);

/* The first value of a header by well-known id or by name; the empty view with NULL ptr when absent. */
struct ps_str ps_exchange_header(const struct ps_exchange *exchange, struct ps_str name);

/* Path and query of the target, without scheme and authority. */
struct ps_str ps_exchange_path(const struct ps_exchange *exchange);
struct ps_str ps_exchange_query(const struct ps_exchange *exchange); /* without '?' */

const struct ps_address *ps_exchange_peer(const struct ps_exchange *exchange);
bool ps_exchange_is_tls(const struct ps_exchange *exchange);
struct ps_loop *ps_exchange_loop(const struct ps_exchange *exchange);

/* When the first byte of the request arrived. */
ps_time ps_exchange_started(const struct ps_exchange *exchange);

/* Back-pressure on the request body: no on_body until resumed. */
void ps_exchange_pause(struct ps_exchange *exchange);
void ps_exchange_resume(struct ps_exchange *exchange);

/* Is the whole request there? */
bool ps_exchange_body_done(const struct ps_exchange *exchange);

/* --- the answer ------------------------------------------------------------------------------- */

#define PS_LENGTH_UNKNOWN UINT64_MAX /* chunked, or until close for HTTP/1.0 */

/* Sends an interim answer (100 to 199 but 101) at once; `headers` are whole lines or empty. */
PS_MUST_CHECK int ps_exchange_interim(struct ps_exchange *exchange, int status, struct ps_str headers);

/* Begins the answer. `headers` are whole lines ("Name: value\r\n"...) without framing and Connection, which
 * are the server's; `length` is the body's or PS_LENGTH_UNKNOWN. The head leaves with the first bytes of
 * the body, or at the end of this turn of the loop. PS_OK, PS_ENOMEM, PS_ELIMIT. */
PS_MUST_CHECK int ps_exchange_start(struct ps_exchange *exchange, int status, struct ps_str reason,
                                    struct ps_str headers, uint64_t length);

/* Sends a piece of the body; borrowed until it returns (or until the cork is out). PS_OK, or PS_ELIMIT
 * when the client is too slow for the budget and PS_ENOMEM: call ps_exchange_reset() then. */
PS_MUST_CHECK int ps_exchange_write(struct ps_exchange *exchange, struct ps_str data);

/* Collects the writes until uncork into one system call. */
void ps_exchange_cork(struct ps_exchange *exchange);
PS_MUST_CHECK int ps_exchange_uncork(struct ps_exchange *exchange);

/* Bytes not yet taken by the client's socket. */
size_t ps_exchange_queued(const struct ps_exchange *exchange);

bool ps_exchange_is_started(const struct ps_exchange *exchange);

/* Completes the answer; trailers are whole lines or empty (sent only when chunked). When the request
 * body is still arriving it is read and dropped up to a small bound, otherwise the connection closes. */
void ps_exchange_end(struct ps_exchange *exchange, struct ps_str trailers);

/* start + write + end in one: a whole answer with a Date. content_type may be empty; `headers` are whole
 * lines. */
void ps_exchange_respond(struct ps_exchange *exchange, int status, struct ps_str headers,
                         struct ps_str content_type, struct ps_str body);

/* Gives up: closes the connection without a proper end, so that the client knows it is incomplete. */
void ps_exchange_reset(struct ps_exchange *exchange);

/* After a 101 was decided: sends head (whole, with start line and blank line) and hands the stream over.
 * The exchange is over. The new owner sets itself as owner, calls ps_stream_resume() to get what follows the
 * request, frees the stream, and then tells ps_server_gone(): the client counts until then. NULL when the
 * head can't be sent: the connection is closed and nothing is owed. */
struct ps_stream *ps_exchange_upgrade(struct ps_exchange *exchange, struct ps_str head);

/* A stream that ps_exchange_upgrade() handed over is closed. */
void ps_server_gone(struct ps_server *server, const struct ps_address *peer);

/* A stream that ps_exchange_upgrade() handed over leaves this thread: whoever has it then owes on_gone, from there. */
void ps_server_moved(struct ps_server *server);

/* The instant in the form of the Date header (RFC 9110 section 5.6.7), cached for the second. */
struct ps_str ps_server_date(struct ps_server *server);
struct ps_server *ps_exchange_server(const struct ps_exchange *exchange);

#endif
