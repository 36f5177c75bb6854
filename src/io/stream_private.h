/* stream_private - the inside of a stream, shared by stream.c, stream_write.c, stream_tls.c and
 * nobody else.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_IO_STREAM_PRIVATE_H
#define PS_IO_STREAM_PRIVATE_H

#include <sys/types.h>
#include <uv.h>

#include "base/buf.h"
#include "io/loop.h"
#include "io/stream.h"

struct ssl_st;
struct ps_cork;

enum { PS_STREAM_VIEWS = 32 }; /* parts that one system call takes */

/* How bytes cross the descriptor. Both return the number moved (> 0) or a negative PS_E*: PS_EBUSY
 * when it would block, PS_ECLOSED at the end of the input. */
struct ps_transport {
    ssize_t (*read)(struct ps_stream *stream, char *bytes, size_t len);
    ssize_t (*write)(struct ps_stream *stream, const struct ps_str *parts, size_t count);
};

struct ps_stream {
    uv_poll_t poll;
    struct ps_loop *loop;
    const struct ps_stream_ops *ops;
    void *ctx;
    const struct ps_transport *transport;
    struct ssl_st *ssl; /* NULL when plain */
    struct ps_tls *tls;
    struct ps_chunks queue; /* output not yet taken by the socket */
    struct ps_buf kept;     /* input that on_data did not use */
    struct ps_cork *cork;   /* parts collected; NULL when not corked */
    struct ps_task later;   /* offers kept input, tells of a failed write */
    struct ps_budget *budget;
    ps_time last_read;
    ps_time last_write;
    struct ps_address peer;
    int fd;
    int interest; /* events that libuv watches for */
    int failed;   /* PS_E* once broken; told by on_close */
    bool connecting;
    bool handshaking;
    bool wants_write; /* the handshake waits for room */
    bool wants_room;  /* ps_stream_send() waits for some */
    bool paused;
    bool offering; /* kept input is to be offered by `later` */
    bool in_data;  /* inside on_data: what it leaves is not kept yet */
    bool resume_asked; /* by on_data or below it */
    bool shutdown_asked;
    bool shutdown_done;
    bool watch_hangup;
    bool closed; /* on_close was told */
    bool freed;
};

/* Watches for what the state needs. `drop_read` takes a paused stream out of the read set. */
void ps_stream_rewatch(struct ps_stream *stream, bool drop_read);

/* A write failed: told later, because the owner is in the middle of writing. */
void ps_stream_fail_later(struct ps_stream *stream, int err);

/* The socket takes bytes again, or for the first time: the queue goes out. */
void ps_stream_on_writable(struct ps_stream *stream);

/* Makes a stream speak TLS, as client or server. PS_OK, PS_ENOMEM, PS_ETLS. */
PS_MUST_CHECK int ps_stream_tls_start(struct ps_stream *stream, struct ps_tls *tls, bool is_server,
                                      const char *server_name);

/* One step of the handshake: PS_OK when done, PS_EBUSY when it waits, else why it failed. */
PS_MUST_CHECK int ps_stream_tls_handshake(struct ps_stream *stream);

/* Sends close_notify, as far as the socket takes it. */
void ps_stream_tls_shutdown(struct ps_stream *stream);
void ps_stream_tls_free(struct ps_stream *stream);

/* Decrypted bytes that wait inside OpenSSL, which no poll will tell of. */
bool ps_stream_tls_has_pending(const struct ps_stream *stream);

#endif
