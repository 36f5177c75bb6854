#include "io/stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/check.h"
#include "io/stream_private.h"

enum { READS_PER_TURN = 4 }; /* TLS records that one stream may take before others have their turn */

static void on_poll(uv_poll_t *poll, int status, int events);

/* --- plain transport -------------------------------------------------------------------------- */

static ssize_t read_plain(struct ps_stream *stream, char *bytes, size_t len)
{
    ssize_t n;
    do {
        n = read(stream->fd, bytes, len);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        return n;
    }
    if (n == 0) {
        return PS_ECLOSED;
    }
    return errno == EAGAIN || errno == EWOULDBLOCK ? PS_EBUSY : ps_err_from_errno(errno);
}

static ssize_t write_plain(struct ps_stream *stream, const struct ps_str *parts, size_t count)
{
    struct iovec iov[PS_STREAM_VIEWS];
    count = count < PS_STREAM_VIEWS ? count : PS_STREAM_VIEWS;
    for (size_t i = 0; i < count; i++) {
        iov[i] = (struct iovec){(void *)(uintptr_t)parts[i].ptr, parts[i].len};
    }
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = count};
    ssize_t n;
    do {
        n = sendmsg(stream->fd, &message, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        return n;
    }
    return errno == EAGAIN || errno == EWOULDBLOCK ? PS_EBUSY : ps_err_from_errno(errno);
}

static const struct ps_transport plain_transport = {read_plain, write_plain};

/* --- what is watched -------------------------------------------------------------------------- */

/* Changing the watched events costs two system calls, so a paused stream is only taken out when
 * bytes really arrive (see on_readable). */
static void watch(struct ps_stream *stream, int events)
{
    if (events != stream->interest && !stream->freed && !stream->closed) {
        stream->interest = events;
        uv_poll_start(&stream->poll, events, on_poll);
    }
}

static bool must_write(const struct ps_stream *stream)
{
    bool unsent = stream->queue.len > 0 || stream->wants_room;
    return stream->connecting || stream->wants_write || (unsent && !stream->handshaking);
}

void ps_stream_rewatch(struct ps_stream *stream, bool drop_read)
{
    int events = must_write(stream) ? UV_WRITABLE : 0;
    bool reads = !stream->paused || (!drop_read && (stream->interest & UV_READABLE) != 0);
    if (!stream->connecting) {
        events |= reads ? UV_READABLE : 0;
        events |= stream->watch_hangup ? UV_DISCONNECT : 0;
    }
    watch(stream, events);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void tell_closed(struct ps_stream *stream, int err)
{
    if (stream->closed || stream->freed) {
        return;
    }
    uv_poll_stop(&stream->poll);
    stream->closed = true;
    stream->failed = err;
    stream->ops->on_close(stream->ctx, err);
}

void ps_stream_fail_later(struct ps_stream *stream, int err)
{
    if (stream->failed == PS_OK) {
        stream->failed = err; /* the queue stays: it says what was not sent */
        ps_loop_defer(stream->loop, &stream->later);
    }
}

static void on_uv_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void ps_stream_free(struct ps_stream *stream)
{
    if (stream == NULL || stream->freed) {
        return;
    }
    ps_stream_tls_free(stream);
    stream->freed = true;
    ps_task_clear(&stream->later);
    ps_chunks_fini(&stream->queue);
    ps_budget_give(stream->budget, stream->kept.len);
    ps_buf_fini(&stream->kept);
    free(stream->cork);
    stream->cork = NULL;
    int fd = stream->fd;
    if (stream->loop == NULL) { /* detached */
        free(stream);
    } else {
        uv_close((uv_handle_t *)&stream->poll, on_uv_closed);
    }
    close(fd);
}

void ps_stream_abort(struct ps_stream *stream)
{
    if (stream != NULL && !stream->freed) {
        struct linger at_once = {.l_onoff = 1, .l_linger = 0};
        setsockopt(stream->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        stream->failed = stream->failed != PS_OK ? stream->failed : PS_ERESET; /* no TLS goodbye either */
        ps_stream_free(stream);
    }
}

/* --- reading ---------------------------------------------------------------------------------- */

/* Keeps what the consumer left, up to the shared buffer's size; the stream is paused. */
static void keep(struct ps_stream *stream, struct ps_str rest)
{
    stream->paused = true;
    int err = ps_budget_take(stream->budget, rest.len);
    if (err == PS_OK) {
        err = ps_buf_append_str(&stream->kept, rest);
        if (err != PS_OK) {
            ps_budget_give(stream->budget, rest.len);
        }
    }
    if (err != PS_OK) {
        tell_closed(stream, err);
    }
}

static void offer(struct ps_stream *stream, struct ps_str data)
{
    stream->in_data = true;
    stream->resume_asked = false;
    size_t used = stream->ops->on_data(stream->ctx, data);
    stream->in_data = false;
    if (!stream->freed && !stream->closed && used < data.len) {
        keep(stream, ps_str_skip(data, used));
    }
    if (stream->resume_asked) { /* handed over: the new owner wants the rest */
        ps_stream_resume(stream);
    }
}

/* Offers kept input again; bytes that were used are dropped. */
static void offer_kept(struct ps_stream *stream)
{
    struct ps_buf kept = stream->kept;
    stream->kept = ps_buf_make(kept.limit);
    stream->paused = false;
    ps_budget_give(stream->budget, kept.len);
    offer(stream, ps_buf_str(&kept));
    ps_buf_fini(&kept);
    if (!stream->freed && !stream->closed) {
        ps_stream_rewatch(stream, false);
        if (!stream->paused && ps_stream_tls_has_pending(stream)) {
            stream->offering = true;
            ps_loop_defer(stream->loop, &stream->later);
        }
    }
}

/* Reads once; returns false when there is nothing more to do now. */
static bool read_once(struct ps_stream *stream)
{
    size_t len;
    char *scratch = ps_loop_scratch(stream->loop, &len);
    ssize_t n = stream->transport->read(stream, scratch, len);
    if (n > 0) {
        stream->last_read = ps_loop_now(stream->loop);
        offer(stream, (struct ps_str){scratch, (size_t)n});
        return !stream->freed && !stream->closed && !stream->paused;
    }
    if (n != PS_EBUSY) {
        tell_closed(stream, (int)n);
    }
    return false;
}

/* The connection is broken: what can still be read is delivered before it is told, because a server
 * that refuses a long body answers first and resets then. */
static void on_broken(struct ps_stream *stream, int err)
{
    bool wanted = stream->paused && !stream->watch_hangup && !stream->handshaking;
    if (wanted && stream->failed == PS_OK) {
        stream->interest = 0; /* libuv has stopped; the owner hears of it when it reads on */
        return;
    }
    while (!stream->handshaking && !stream->paused && read_once(stream)) {
    }
    tell_closed(stream, err);
}

static void on_readable(struct ps_stream *stream)
{
    if (stream->paused) {
        ps_stream_rewatch(stream, true);
        return;
    }
    /* A plain socket is read once a turn: the poll tells when there is more. OpenSSL may hold bytes
     * that no poll tells of. */
    int turns = 0;
    while (read_once(stream) && ps_stream_tls_has_pending(stream)) {
        if (++turns == READS_PER_TURN) {
            stream->offering = true;
            ps_loop_defer(stream->loop, &stream->later);
            return;
        }
    }
}

void ps_stream_pause(struct ps_stream *stream)
{
    stream->paused = true;
    stream->offering = false;
    stream->resume_asked = false;
}

void ps_stream_resume(struct ps_stream *stream)
{
    if (stream->in_data) {
        stream->resume_asked = true;
        return;
    }
    if (!stream->paused || stream->freed || stream->closed) {
        return;
    }
    if (stream->kept.len > 0 || ps_stream_tls_has_pending(stream)) {
        stream->offering = true;
        ps_loop_defer(stream->loop, &stream->later);
        return;
    }
    stream->paused = false;
    ps_stream_rewatch(stream, false);
}

static void on_later(struct ps_task *task)
{
    struct ps_stream *stream = PS_CONTAINER_OF(task, struct ps_stream, later);
    if (stream->failed != PS_OK && !stream->closed) {
        on_broken(stream, stream->failed);
        return;
    }
    if (!stream->offering || stream->closed) {
        return;
    }
    stream->offering = false;
    if (stream->kept.len > 0) {
        offer_kept(stream);
        return;
    }
    stream->paused = false;
    ps_stream_rewatch(stream, false);
    on_readable(stream);
}

/* --- opening ---------------------------------------------------------------------------------- */

/* The connection stands: what was written meanwhile goes out, and reading begins. */
static void opened(struct ps_stream *stream)
{
    if (stream->ops->on_connect != NULL) {
        stream->ops->on_connect(stream->ctx);
    }
    if (!stream->freed && !stream->closed) {
        ps_stream_rewatch(stream, false);
        ps_stream_on_writable(stream);
    }
}

static void step_handshake(struct ps_stream *stream)
{
    int err = ps_stream_tls_handshake(stream);
    if (err == PS_EBUSY) {
        ps_stream_rewatch(stream, false);
        return;
    }
    if (err != PS_OK) {
        tell_closed(stream, err == PS_ECLOSED || err == PS_ERESET ? err : PS_ETLS);
        return;
    }
    stream->handshaking = false;
    opened(stream);
    if (!stream->freed && !stream->closed && ps_stream_tls_has_pending(stream)) {
        on_readable(stream);
    }
}

static void step_connect(struct ps_stream *stream)
{
    int error = 0;
    socklen_t len = sizeof error;
    getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error != 0) {
        tell_closed(stream, ps_err_from_errno(error));
        return;
    }
    stream->connecting = false;
    if (stream->handshaking) {
        step_handshake(stream);
    } else {
        opened(stream);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct ps_stream *stream = poll->data;
    if (stream->connecting) {
        step_connect(stream);
        return;
    }
    if (status < 0) {
        on_broken(stream, PS_ERESET);
        return;
    }
    if (stream->handshaking) {
        step_handshake(stream);
        return;
    }
    if ((events & UV_WRITABLE) != 0) {
        ps_stream_on_writable(stream);
    }
    if ((events & UV_READABLE) != 0 && !stream->freed && !stream->closed) {
        on_readable(stream);
    }
    if ((events & UV_DISCONNECT) != 0 && !stream->freed && !stream->closed && stream->watch_hangup) {
        tell_closed(stream, PS_ECLOSED);
    }
}

/* The loop watches the descriptor from now on, for nothing yet. */
static int join_loop(struct ps_stream *stream, struct ps_loop *loop)
{
    if (uv_poll_init(ps_loop_uv(loop), &stream->poll, stream->fd) != 0) {
        return PS_ENOMEM;
    }
    stream->loop = loop;
    stream->poll.data = stream;
    return PS_OK;
}

static int new_stream(struct ps_stream **out, struct ps_loop *loop, int fd,
                      const struct ps_stream_opts *opts)
{
    struct ps_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) {
        return PS_ENOMEM;
    }
    stream->fd = fd;
    stream->ops = opts->ops;
    stream->ctx = opts->ctx;
    stream->budget = opts->budget;
    stream->watch_hangup = opts->watch_hangup;
    stream->transport = &plain_transport;
    stream->queue = ps_chunks_make(opts->budget);
    stream->later.on_turn = on_later;
    stream->last_read = stream->last_write = ps_loop_now(loop);
    size_t scratch;
    ps_loop_scratch(loop, &scratch);
    stream->kept = ps_buf_make(2 * scratch);
    if (join_loop(stream, loop) != PS_OK) {
        free(stream);
        return PS_ENOMEM;
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    *out = stream;
    return PS_OK;
}

int ps_stream_accept(struct ps_stream **out, struct ps_loop *loop, int fd,
                     const struct ps_stream_opts *opts)
{
    struct ps_stream *stream = NULL;
    int err = new_stream(&stream, loop, fd, opts);
    if (err != PS_OK) {
        close(fd);
        return err;
    }
    stream->peer.len = sizeof stream->peer.storage;
    if (getpeername(fd, (struct sockaddr *)&stream->peer.storage, &stream->peer.len) != 0) {
        stream->peer.len = 0;
    }
    if (opts->tls != NULL) {
        err = ps_stream_tls_start(stream, opts->tls, true, NULL);
    }
    if (err != PS_OK) {
        ps_stream_free(stream);
        return err;
    }
    ps_stream_rewatch(stream, false);
    *out = stream;
    return PS_OK;
}

int ps_stream_connect(struct ps_stream **out, struct ps_loop *loop, const struct ps_address *to,
                      const struct ps_stream_opts *opts)
{
    int fd = socket(to->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return ps_err_from_errno(errno);
    }
    if (connect(fd, (const struct sockaddr *)&to->storage, to->len) != 0 && errno != EINPROGRESS) {
        int err = errno == EADDRNOTAVAIL ? PS_EINUSE : ps_err_from_errno(errno);
        close(fd);
        return err;
    }
    struct ps_stream *stream = NULL;
    int err = new_stream(&stream, loop, fd, opts);
    if (err != PS_OK) {
        close(fd);
        return err;
    }
    stream->peer = *to;
    stream->connecting = true;
    if (opts->tls != NULL) {
        err = ps_stream_tls_start(stream, opts->tls, false, opts->server_name);
    }
    if (err != PS_OK) {
        ps_stream_free(stream);
        return err;
    }
    ps_stream_rewatch(stream, false);
    *out = stream;
    return PS_OK;
}

/* --- another loop ----------------------------------------------------------------------------- */

/* libuv's part of the old struct lives until the loop is done with it, so the rest moves into a new one. */
struct ps_stream *ps_stream_detach(struct ps_stream *stream)
{
    PS_CHECK(!stream->in_data && stream->cork == NULL && !stream->closed);
    struct ps_stream *moved = malloc(sizeof *moved);
    if (moved == NULL) {
        ps_stream_free(stream);
        return NULL;
    }
    ps_task_clear(&stream->later);
    *moved = *stream;
    moved->loop = NULL;
    moved->ops = NULL;
    moved->later = (struct ps_task){.on_turn = on_later};
    moved->interest = 0;
    moved->paused = true;
    moved->offering = false;
    stream->freed = true;
    uv_close((uv_handle_t *)&stream->poll, on_uv_closed); /* out of the loop's set before it returns */
    return moved;
}

int ps_stream_attach(struct ps_stream *stream, struct ps_loop *loop, const struct ps_stream_ops *ops, void *ctx)
{
    int err = join_loop(stream, loop);
    if (err != PS_OK) {
        ps_stream_free(stream);
        return err;
    }
    ps_stream_set_owner(stream, ops, ctx);
    ps_stream_rewatch(stream, false);
    if (stream->failed != PS_OK) {
        ps_loop_defer(loop, &stream->later);
    }
    return PS_OK;
}

/* --- small answers ---------------------------------------------------------------------------- */

void ps_stream_set_owner(struct ps_stream *stream, const struct ps_stream_ops *ops, void *ctx)
{
    stream->ops = ops;
    stream->ctx = ctx;
}

void ps_stream_set_send_room(struct ps_stream *stream, int bytes)
{
    setsockopt(stream->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

ps_time ps_stream_last_read(const struct ps_stream *stream)
{
    return stream->last_read;
}

ps_time ps_stream_last_write(const struct ps_stream *stream)
{
    return stream->last_write;
}

bool ps_stream_has_input(const struct ps_stream *stream)
{
    int waiting = 0;
    return stream->kept.len > 0 || ps_stream_tls_has_pending(stream) ||
           (ioctl(stream->fd, FIONREAD, &waiting) == 0 && waiting > 0);
}

size_t ps_stream_kept(const struct ps_stream *stream)
{
    return stream->kept.len;
}

void ps_stream_read_to_end(struct ps_stream *stream)
{
    stream->watch_hangup = false;
    ps_stream_rewatch(stream, false);
}

void ps_stream_watch_hangup(struct ps_stream *stream)
{
    stream->watch_hangup = true;
    ps_stream_rewatch(stream, false);
}

const struct ps_address *ps_stream_peer(const struct ps_stream *stream)
{
    return &stream->peer;
}
