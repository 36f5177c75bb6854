/* ws - the server's side of a WebSocket connection (RFC 6455).
 *
 *      request --> ps_ws_accept() --> stream (may move to another loop) --> ps_ws_open()
 *      ps_ws_send() --> [waiting] --> on its way --> socket            nothing is copied, nothing queued beyond
 *      on_message ... on_gone                                          what `max_waiting` says
 *
 * Pings are answered (the newest, when several came while the socket was full), a silent peer is pinged and let go
 * when it does not answer, the closing handshake is done here, and a peer that breaks the rules hears why
 * (http/ws_read.h). A frame that waits is a reference: what a slow reader costs is the rest of one frame.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_HTTP_WS_H
#define PS_HTTP_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "http/ws_frame.h"
#include "http/ws_handshake.h"
#include "http/ws_read.h"

struct ps_exchange;
struct ps_loop;
struct ps_stream;
struct ps_ws;

struct ps_ws_ops {
    /* A whole message; the view is valid until it returns. NULL: messages are checked and dropped. */
    void (*on_message)(void *ctx, bool is_text, struct ps_str message);
    /* The end, once, from the loop, never from inside a call: `code` is what the peer said or would have been told,
     * PS_WS_LOST when it went without a word. The WebSocket is gone. */
    void (*on_gone)(void *ctx, unsigned code);
};

/* What has been sent on all WebSockets that share this. */
struct ps_ws_tally {
    uint64_t frames; /* messages that began to be sent */
    uint64_t bytes;  /* that the sockets took, heads and control frames included */
    uint64_t skipped;
};

struct ps_ws_opts {
    const struct ps_ws_ops *ops;
    void *ctx;
    struct ps_ws_tally *tally; /* or NULL */
    size_t max_message;        /* bytes that a client's message may have */
    uint32_t max_waiting;      /* messages that may wait behind the one on its way; at least 1 */
    bool skips;                /* when more would wait the oldest is left out; otherwise the peer is let go */
    bool deflate;              /* agreed on in the handshake */
    uint64_t max_rate;         /* bytes a second that are read from the peer, half a KiB more for each message and
                                  control frame; 0 = no bound */
    ps_span ping_interval;     /* of silence until it is pinged, and then again until it is let go; 0 = never */
};

/* Answers an exchange that asks for a WebSocket with 101 and hands out its stream, paused; see ps_exchange_upgrade()
 * for what is owed then. `headers` are more whole lines. NULL: it could not be sent, nothing is owed. */
struct ps_stream *ps_ws_accept(struct ps_exchange *exchange, const struct ps_ws_handshake *handshake,
                               struct ps_str headers);

/* Speaks WebSocket on an accepted stream (owned from now on, also when it fails) and begins to read. The options are
 * copied, `ops` and `tally` live on. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_ws_open(struct ps_ws **out, struct ps_loop *loop, struct ps_stream *stream,
                             const struct ps_ws_opts *opts);

/* Sends a message, or lets it wait: takes a reference. After the end or while closing it does nothing. */
void ps_ws_send(struct ps_ws *ws, struct ps_ws_frame *frame);

/* The same with a text of which a frame is made; without memory it is left out. */
void ps_ws_send_text(struct ps_ws *ws, struct ps_str text);

/* Says goodbye (from inside on_message too): what waits is dropped, the close frame follows what is on its way. on_gone comes when the peer has
 * answered, or after two seconds. `reason` is at most 123 bytes of UTF-8. Once. */
void ps_ws_close(struct ps_ws *ws, enum ps_ws_code code, struct ps_str reason);

/* Closes at once, without on_gone; not from inside on_message. NULL is fine. */
void ps_ws_free(struct ps_ws *ws);

#endif
