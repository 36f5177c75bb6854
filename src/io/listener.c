#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "base/check.h"
#include "io/loop.h"
#include "io/stream.h"

enum {
    BACKLOG = 4096,
    ACCEPTS_PER_TURN = 64 /* connections that one turn of the loop takes in */
};

static const ps_span shortage_pause = 100 * PS_MILLISECOND;

struct ps_listener {
    uv_poll_t poll;
    struct ps_loop *loop;
    struct ps_timer again; /* out of descriptors: look again later instead of spinning */
    ps_accept_fn *on_accept;
    void *ctx;
    struct ps_address address;
    int fd;
    bool freed;
};

int ps_listen(const struct ps_address *at, int *fd)
{
    int on = 1;
    int made = socket(at->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (made < 0) {
        return ps_err_from_errno(errno);
    }
    setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(made, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (at->storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)&at->storage;
        /* "[::]" takes IPv4 too; a particular address does not, so that both can be listed. */
        int only = IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr) ? 0 : 1;
        setsockopt(made, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
    }
    if (bind(made, (const struct sockaddr *)&at->storage, at->len) != 0 || listen(made, BACKLOG) != 0) {
        int err = ps_err_from_errno(errno);
        close(made);
        return err;
    }
    *fd = made;
    return PS_OK;
}

static void on_ready(uv_poll_t *poll, int status, int events);

static void on_again(struct ps_timer *timer, ps_time now)
{
    (void)now;
    struct ps_listener *listener = PS_CONTAINER_OF(timer, struct ps_listener, again);
    uv_poll_start(&listener->poll, UV_READABLE, on_ready);
}

static bool is_shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct ps_listener *listener = poll->data;
    for (int i = 0; i < ACCEPTS_PER_TURN && !listener->freed; i++) {
        struct ps_address peer = {.len = sizeof peer.storage};
        int fd = accept4(listener->fd, (struct sockaddr *)&peer.storage, &peer.len,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            listener->on_accept(listener->ctx, fd, &peer);
        } else if (is_shortage(errno)) {
            uv_poll_stop(&listener->poll);
            if (ps_timer_set(listener->loop, &listener->again,
                             ps_loop_now(listener->loop) + shortage_pause) != PS_OK) {
                uv_poll_start(&listener->poll, UV_READABLE, on_ready);
            }
            return;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        }
    }
}

int ps_listener_adopt(struct ps_listener **out, struct ps_loop *loop, int fd, ps_accept_fn *on_accept,
                      void *ctx)
{
    struct ps_listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL || uv_poll_init(ps_loop_uv(loop), &listener->poll, fd) != 0) {
        free(listener);
        close(fd);
        return PS_ENOMEM;
    }
    listener->loop = loop;
    listener->fd = fd;
    listener->on_accept = on_accept;
    listener->ctx = ctx;
    listener->again.on_time = on_again;
    listener->poll.data = listener;
    listener->address.len = sizeof listener->address.storage;
    getsockname(fd, (struct sockaddr *)&listener->address.storage, &listener->address.len);
    uv_poll_start(&listener->poll, UV_READABLE, on_ready);
    *out = listener;
    return PS_OK;
}

int ps_listener_new(struct ps_listener **out, struct ps_loop *loop, const struct ps_address *at,
                    ps_accept_fn *on_accept, void *ctx)
{
    int fd;
    int err = ps_listen(at, &fd);
    return err == PS_OK ? ps_listener_adopt(out, loop, fd, on_accept, ctx) : err;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void ps_listener_free(struct ps_listener *listener)
{
    if (listener != NULL && !listener->freed) {
        listener->freed = true;
        ps_timer_clear(listener->loop, &listener->again);
        uv_close((uv_handle_t *)&listener->poll, on_closed);
        close(listener->fd);
    }
}

const struct ps_address *ps_listener_address(const struct ps_listener *listener)
{
    return &listener->address;
}
