/* stream - a non-blocking byte stream and its listener; TLS stands behind the same functions.
 *
 * Reading: bytes arrive in the loop's shared buffer and are handed out as a view. The consumer says how
 * many it used; when it used fewer, the stream keeps the rest, stops reading, and offers it again after
 * ps_stream_resume(). That is the whole of back-pressure on the reading side.
 *
 * Writing: ps_stream_write() writes at once what the socket takes and queues a copy of the rest, counted
 * against a budget; on_drain comes when the queue is empty again. Between ps_stream_cork() and
 * ps_stream_uncork() parts are collected and leave in one system call.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_IO_STREAM_H
#define PS_IO_STREAM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/chunk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "io/address.h"

struct ps_loop;
struct ps_tls;
struct ps_stream;
struct ps_listener;

struct ps_stream_ops {
    /* A connection that was asked for stands (TLS included). May be NULL for accepted streams. */
    void (*on_connect)(void *ctx);
    /* Bytes arrived. Returns how many were used; fewer than data.len pauses the stream. The callback
     * may free the stream (then the result is ignored). */
    size_t (*on_data)(void *ctx, struct ps_str data);
    /* The output queue is empty again, or ps_stream_send() may go on. May be NULL. */
    void (*on_drain)(void *ctx);
    /* The end: PS_ECLOSED when the peer closed in order, otherwise why it failed. Comes once, nothing
     * follows; the owner must ps_stream_free(). */
    void (*on_close)(void *ctx, int err);
};

struct ps_stream_opts {
    const struct ps_stream_ops *ops;
    void *ctx;
    struct ps_budget *budget; /* for queued output and kept input; or NULL */
    struct ps_tls *tls;       /* or NULL for plain; the stream takes its own reference */
    const char *server_name;  /* TLS client: name to verify and to ask for; NULL verifies the address */
    /* Tell on_close as soon as the peer hangs up, even while paused with bytes unread: right for a
     * server, which answers nobody then; wrong for a client, whose answer may still be in the socket. */
    bool watch_hangup;
    bool stamp; /* of a connection that is opened: ask the kernel when bytes came, see ps_stream_came() */
};

/* Begins to connect. PS_OK means that on_connect or on_close follows. The options' ops live on;
 * the rest is copied. PS_ENOMEM, PS_ELIMIT (descriptors), PS_EINUSE (no local port is
 * free), PS_EUNREACHABLE, PS_EREFUSED at once. */
PS_MUST_CHECK int ps_stream_connect(struct ps_stream **out, struct ps_loop *loop,
                                    const struct ps_address *to, const struct ps_stream_opts *opts);

/* Wraps a connected descriptor and owns it from now on, also when it fails (then it is closed). With
 * TLS the handshake runs as the server. PS_OK, PS_ENOMEM. */
PS_MUST_CHECK int ps_stream_accept(struct ps_stream **out, struct ps_loop *loop, int fd,
                                   const struct ps_stream_opts *opts);

/* Closes at once, dropping what is queued; no callback comes any more. NULL is fine. */
void ps_stream_free(struct ps_stream *stream);

/* The same with a reset instead of an orderly end, so that the peer can't take what it has for everything.
 * NULL is fine. */
void ps_stream_abort(struct ps_stream *stream);

/* Takes the stream off its loop, paused, with all that it holds, so that another loop can have it. The old pointer is
 * gone and so are its callbacks; what comes back has none until ps_stream_attach(), may cross threads, and can only
 * be attached or freed. Not from inside on_data. NULL when out of memory: the stream is closed. */
struct ps_stream *ps_stream_detach(struct ps_stream *stream);

/* Puts a detached stream on a loop, whose thread it belongs to from now on; ps_stream_resume() begins to read. PS_OK,
 * or PS_ENOMEM and the stream is closed. */
PS_MUST_CHECK int ps_stream_attach(struct ps_stream *stream, struct ps_loop *loop, const struct ps_stream_ops *ops,
                                   void *ctx);

/* Changes who is called; for handing a connection over (tunnels, pools). */
void ps_stream_set_owner(struct ps_stream *stream, const struct ps_stream_ops *ops, void *ctx);

/* Sends the parts in order. The bytes are borrowed until it returns, or, while corked, until
 * ps_stream_uncork(). PS_OK; PS_ELIMIT when the budget has no room for what the socket did not take and
 * PS_ENOMEM: the stream can't go on then, free it. A broken connection is told by on_close. */
PS_MUST_CHECK int ps_stream_write(struct ps_stream *stream, const struct ps_str *parts, size_t count);

/* Sends what the socket takes now and queues nothing: returns the bytes that were taken. When those are not all,
 * on_drain comes once there is room, and the same bytes must be offered first then (TLS may hold a record of them).
 * Nothing is taken while something is queued or corked, and from a broken stream, of which on_close tells. */
size_t ps_stream_send(struct ps_stream *stream, struct ps_str data);

void ps_stream_cork(struct ps_stream *stream);
PS_MUST_CHECK int ps_stream_uncork(struct ps_stream *stream);
bool ps_stream_is_corked(const struct ps_stream *stream);

/* Bytes written by the owner and not yet taken by the socket. */
size_t ps_stream_queued(const struct ps_stream *stream);

/* Bounds what the kernel holds of unsent bytes (it takes about twice the number): for streams whose reader may be slow
 * and whose bytes grow old. */
void ps_stream_set_send_room(struct ps_stream *stream, int bytes);

/* Closes the sending side when the queue is empty; reading goes on. */
void ps_stream_shutdown(struct ps_stream *stream);

/* Stops reading; a vanished peer is still noticed (on_close). */
void ps_stream_pause(struct ps_stream *stream);

/* Reads on; bytes kept by a short on_data are offered first, from the loop, not from inside this
 * call. */
void ps_stream_resume(struct ps_stream *stream);

/* The instant of the last byte that moved in each direction, for idle deadlines. */
ps_time ps_stream_last_read(const struct ps_stream *stream);
ps_time ps_stream_last_write(const struct ps_stream *stream);

/* When the last of the bytes that on_data has came to this machine, as the kernel stamped it; where it was not asked or does
 * not say (TLS, other systems), now. */
ps_time ps_stream_came(const struct ps_stream *stream);

/* Is there input that nobody has taken, here or in the socket? Closing would throw it away, and with it, by
 * a reset, what was sent last. */
bool ps_stream_has_input(const struct ps_stream *stream);

/* Bytes that on_data did not use, not yet offered again. */
size_t ps_stream_kept(const struct ps_stream *stream);

/* Turns opts.watch_hangup off: from now on the end comes after the last byte, as when a connection that was a
 * request's becomes a tunnel's. */
void ps_stream_read_to_end(struct ps_stream *stream);

/* Turns it on: a peer that hangs up is gone, whatever it left unread while the stream was paused. */
void ps_stream_watch_hangup(struct ps_stream *stream);

const struct ps_address *ps_stream_peer(const struct ps_stream *stream);

/* After a failed TLS stream: the reason in words, or "". */
const char *ps_stream_tls_error(const struct ps_stream *stream);

/* Called with a fresh descriptor, which the callee owns. */
typedef void ps_accept_fn(void *ctx, int fd, const struct ps_address *peer);

/* Listens on an address, together with other loops of this process (SO_REUSEPORT). The port 0 picks a
 * free one; ps_listener_address() tells. PS_OK, PS_EINUSE, PS_EDENIED, PS_EINVAL, PS_EIO, PS_ENOMEM. */
PS_MUST_CHECK int ps_listener_new(struct ps_listener **out, struct ps_loop *loop,
                                  const struct ps_address *at, ps_accept_fn *on_accept, void *ctx);

/* Takes over a listening descriptor (owned from now on). */
PS_MUST_CHECK int ps_listener_adopt(struct ps_listener **out, struct ps_loop *loop, int fd,
                                    ps_accept_fn *on_accept, void *ctx);
void ps_listener_free(struct ps_listener *listener);
const struct ps_address *ps_listener_address(const struct ps_listener *listener);

/* Binds and listens with SO_REUSEPORT without a loop, so that errors show before threads start.
 * Gives the descriptor, or a negative PS_E* code. */
PS_MUST_CHECK int ps_listen(const struct ps_address *at, int *fd);

#endif
