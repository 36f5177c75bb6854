/* stream_write - the writing side of a stream: at once where the socket takes it, else through the
 * queue.
 *
 *      ps_stream_write() -> cork? -> socket -> queue -> on_drain         ps_stream_send(): no queue
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"
#include "io/stream_private.h"

enum {
    MAX_PARTS = 24,   /* parts that a cork collects before it writes */
    SMALL_PART = 32,  /* parts up to this size are copied by a cork: framing, mostly */
    SMALL_ROOM = 256, /* bytes that a cork has for such copies */
};

struct ps_cork {
    struct ps_str parts[MAX_PARTS];
    size_t count;
    size_t small_used;
    char small[SMALL_ROOM];
};

/* Skips `n` bytes of the parts; returns how many parts are used up and shortens the next. */
static size_t skip_parts(struct ps_str *parts, size_t count, size_t n)
{
    size_t i = 0;
    while (i < count && n >= parts[i].len) {
        n -= parts[i++].len;
    }
    if (i < count) {
        parts[i] = ps_str_skip(parts[i], n);
    }
    return i;
}

static int enqueue(struct ps_stream *stream, const struct ps_str *parts, size_t count)
{
    int err = PS_OK;
    for (size_t i = 0; i < count && err == PS_OK; i++) {
        err = ps_chunks_append(&stream->queue, parts[i]);
    }
    return err;
}

static bool flush_queue(struct ps_stream *stream)
{
    while (stream->queue.len > 0) {
        if (stream->failed != PS_OK) {
            return false;
        }
        struct ps_str views[PS_STREAM_VIEWS];
        size_t count = ps_chunks_peek(&stream->queue, 0, views, PS_STREAM_VIEWS);
        ssize_t n = stream->transport->write(stream, views, count);
        if (n < 0) {
            if (n != PS_EBUSY) {
                ps_stream_fail_later(stream, (int)n);
            }
            return false;
        }
        stream->last_write = ps_loop_now(stream->loop);
        ps_chunks_drop(&stream->queue, (size_t)n);
    }
    return true;
}

static void finish_shutdown(struct ps_stream *stream)
{
    if (stream->shutdown_asked && !stream->shutdown_done && stream->queue.len == 0) {
        stream->shutdown_done = true;
        if (stream->ssl != NULL) {
            ps_stream_tls_shutdown(stream);
        }
        shutdown(stream->fd, SHUT_WR);
    }
}

/* Writes what the socket takes; `parts` is the caller's copy and gets shortened. */
static int send_parts(struct ps_stream *stream, struct ps_str *parts, size_t count)
{
    if (stream->failed != PS_OK || stream->closed) {
        return PS_OK;
    }
    bool direct = stream->queue.len == 0 && !stream->connecting && !stream->handshaking;
    size_t used = 0;
    if (direct) {
        ssize_t n = stream->transport->write(stream, parts, count);
        if (n < 0 && n != PS_EBUSY) {
            ps_stream_fail_later(stream, (int)n);
            return enqueue(stream, parts, count);
        }
        if (n > 0) {
            stream->last_write = ps_loop_now(stream->loop);
            used = skip_parts(parts, count, (size_t)n);
        }
    }
    if (used < count) {
        if (stream->queue.len == 0) {
            stream->last_write = ps_loop_now(stream->loop); /* the peer's time to read starts now */
        }
        int err = enqueue(stream, parts + used, count - used);
        if (err != PS_OK) {
            return err;
        }
        if (stream->ssl != NULL && direct) {
            flush_queue(stream); /* a record holds less than the parts: go on until it blocks */
        }
        ps_stream_rewatch(stream, false);
    }
    return PS_OK;
}

static int cork_parts(struct ps_stream *stream, const struct ps_str *parts, size_t count)
{
    struct ps_cork *cork = stream->cork;
    for (size_t i = 0; i < count; i++) {
        bool small = parts[i].len <= SMALL_PART;
        if (cork->count == MAX_PARTS || (small && cork->small_used + parts[i].len > SMALL_ROOM)) {
            int err = send_parts(stream, cork->parts, cork->count);
            cork->count = 0;
            cork->small_used = 0;
            if (err != PS_OK) {
                return err;
            }
        }
        struct ps_str part = parts[i];
        if (small) {
            char *copy = cork->small + cork->small_used;
            memcpy(copy, part.ptr, part.len);
            cork->small_used += part.len;
            part.ptr = copy;
        }
        cork->parts[cork->count++] = part;
    }
    return PS_OK;
}

int ps_stream_write(struct ps_stream *stream, const struct ps_str *parts, size_t count)
{
    struct ps_str copy[MAX_PARTS];
    size_t filled = 0;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].len > 0) {
            PS_CHECK(filled < MAX_PARTS);
            copy[filled++] = parts[i];
        }
    }
    if (filled == 0) {
        return PS_OK;
    }
    return stream->cork != NULL ? cork_parts(stream, copy, filled)
                                : send_parts(stream, copy, filled);
}

size_t ps_stream_send(struct ps_stream *stream, struct ps_str data)
{
    size_t sent = 0;
    if (stream->failed != PS_OK || stream->closed) {
        return 0;
    }
    bool direct = stream->queue.len == 0 && stream->cork == NULL && !stream->connecting &&
                  !stream->handshaking;
    while (direct && sent < data.len) {
        struct ps_str rest = ps_str_skip(data, sent);
        ssize_t n = stream->transport->write(stream, &rest, 1);
        if (n < 0 && n != PS_EBUSY) {
            ps_stream_fail_later(stream, (int)n);
            return sent;
        }
        sent += n > 0 ? (size_t)n : 0;
        direct = n > 0;
    }
    stream->last_write = sent > 0 ? ps_loop_now(stream->loop) : stream->last_write;
    if (sent < data.len) {
        stream->wants_room = true;
        ps_stream_rewatch(stream, false);
    }
    return sent;
}

void ps_stream_cork(struct ps_stream *stream)
{
    if (stream->cork == NULL) {
        stream->cork = malloc(sizeof *stream->cork);
        if (stream->cork != NULL) { /* without memory the parts go out one by one */
            stream->cork->count = 0;
            stream->cork->small_used = 0;
        }
    }
}

int ps_stream_uncork(struct ps_stream *stream)
{
    struct ps_cork *cork = stream->cork;
    if (cork == NULL) {
        return PS_OK;
    }
    stream->cork = NULL;
    int err = cork->count > 0 ? send_parts(stream, cork->parts, cork->count) : PS_OK;
    free(cork);
    if (err == PS_OK) {
        finish_shutdown(stream);
    }
    return err;
}

bool ps_stream_is_corked(const struct ps_stream *stream)
{
    return stream->cork != NULL;
}

size_t ps_stream_queued(const struct ps_stream *stream)
{
    return stream->queue.len;
}

void ps_stream_shutdown(struct ps_stream *stream)
{
    stream->shutdown_asked = true;
    if (stream->cork == NULL && !stream->connecting && !stream->handshaking) {
        finish_shutdown(stream);
    }
}

void ps_stream_on_writable(struct ps_stream *stream)
{
    bool waiting = stream->queue.len > 0 || stream->wants_room;
    stream->wants_write = false;
    if (!flush_queue(stream)) {
        return;
    }
    stream->wants_room = false;
    ps_stream_rewatch(stream, false);
    finish_shutdown(stream);
    if (waiting && stream->ops->on_drain != NULL) {
        stream->ops->on_drain(stream->ctx);
    }
}
