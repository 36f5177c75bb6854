#include "gateway/tunnel.h"

#include <stdlib.h>

#include "io/loop.h"
#include "io/stream.h"

enum { HIGH_WATER = 64 * 1024 }; /* unsent bytes at which the other side is not read any more */

struct side {
    struct ps_tunnel *tunnel;
    struct ps_stream *stream;
    struct side *other;
    uint64_t received;
    bool closed;
    bool held; /* not read, because the other side is slow */
};

struct ps_tunnel {
    struct ps_list link;
    struct ps_loop *loop;
    struct side sides[2];
    struct ps_timer timer;
    struct ps_task burial;
    ps_span idle;
    void (*on_end)(void *ctx, uint64_t from_client, uint64_t from_upstream);
    void *ctx;
    bool dead;
};

static void on_burial(struct ps_task *task)
{
    free(PS_CONTAINER_OF(task, struct ps_tunnel, burial));
}

static void end_tunnel(struct ps_tunnel *tunnel)
{
    if (tunnel->dead) {
        return;
    }
    tunnel->dead = true;
    ps_list_remove(&tunnel->link);
    ps_timer_clear(tunnel->loop, &tunnel->timer);
    ps_stream_free(tunnel->sides[0].stream);
    ps_stream_free(tunnel->sides[1].stream);
    ps_loop_defer(tunnel->loop, &tunnel->burial);
    tunnel->on_end(tunnel->ctx, tunnel->sides[0].received, tunnel->sides[1].received);
}

static size_t on_data(void *ctx, struct ps_str data)
{
    struct side *side = ctx;
    struct side *other = side->other;
    side->received += data.len;
    if (ps_stream_write(other->stream, &data, 1) != PS_OK) {
        end_tunnel(side->tunnel);
    } else if (ps_stream_queued(other->stream) > HIGH_WATER) {
        side->held = true;
        ps_stream_pause(side->stream);
    }
    return data.len;
}

static void on_drain(void *ctx)
{
    struct side *side = ctx;
    if (side->other->closed) {
        end_tunnel(side->tunnel);
    } else if (side->other->held) {
        side->other->held = false;
        ps_stream_resume(side->other->stream);
    }
}

static void on_close(void *ctx, int err)
{
    struct side *side = ctx;
    side->closed = true;
    if (err != PS_ECLOSED || side->other->closed || ps_stream_queued(side->other->stream) == 0) {
        end_tunnel(side->tunnel);
    }
}

static const struct ps_stream_ops stream_ops = {NULL, on_data, on_drain, on_close};

static ps_time last_byte(const struct ps_tunnel *tunnel)
{
    ps_time a = ps_stream_last_read(tunnel->sides[0].stream);
    ps_time b = ps_stream_last_read(tunnel->sides[1].stream);
    return a > b ? a : b;
}

static void on_time(struct ps_timer *timer, ps_time now)
{
    struct ps_tunnel *tunnel = PS_CONTAINER_OF(timer, struct ps_tunnel, timer);
    ps_time deadline = last_byte(tunnel) + tunnel->idle;
    if (deadline <= now || ps_timer_set(tunnel->loop, timer, deadline) != PS_OK) {
        end_tunnel(tunnel);
    }
}

int ps_tunnel_new(struct ps_loop *loop, struct ps_stream *client, struct ps_stream *upstream, ps_span idle,
                  struct ps_list *list,
                  void (*on_end)(void *ctx, uint64_t from_client, uint64_t from_upstream), void *ctx)
{
    struct ps_tunnel *tunnel = calloc(1, sizeof *tunnel);
    if (tunnel == NULL) {
        ps_stream_free(client);
        ps_stream_free(upstream);
        return PS_ENOMEM;
    }
    tunnel->loop = loop;
    tunnel->idle = idle;
    tunnel->on_end = on_end;
    tunnel->ctx = ctx;
    tunnel->timer.on_time = on_time;
    tunnel->burial.on_turn = on_burial;
    ps_list_push(list, &tunnel->link);
    struct ps_stream *streams[2] = {client, upstream};
    for (int i = 0; i < 2; i++) {
        tunnel->sides[i] = (struct side){tunnel, streams[i], &tunnel->sides[1 - i], 0, false, false};
        ps_stream_set_owner(streams[i], &stream_ops, &tunnel->sides[i]);
        ps_stream_resume(streams[i]);
    }
    if (idle > 0) {
        PS_IGNORE(ps_timer_set(loop, &tunnel->timer, ps_loop_now(loop) + idle));
    }
    return PS_OK;
}

void ps_tunnel_free_all(struct ps_list *list)
{
    while (!ps_list_is_empty(list)) {
        end_tunnel(PS_LIST_FIRST(list, struct ps_tunnel, link));
    }
}
