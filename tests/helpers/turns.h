/* turns - runs a loop until something is true, and plays the other end of a connection byte by byte.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_TESTS_TURNS_H
#define PS_TESTS_TURNS_H

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "io/loop.h"

/* The far end: a bare descriptor. */
struct raw {
    int fd;
    bool ended; /* the peer closed or reset */
    struct ps_buf got;
};

static inline void raw_init(struct raw *raw, int fd)
{
    *raw = (struct raw){.fd = fd, .got = ps_buf_make(256u << 20)};
}

static inline void raw_close(struct raw *raw)
{
    if (raw->fd >= 0) {
        close(raw->fd);
    }
    ps_buf_fini(&raw->got);
    raw->fd = -1;
}

static inline void raw_read(struct raw *raw)
{
    char bytes[65536];
    ssize_t n;
    while (raw->fd >= 0 && !raw->ended && (n = recv(raw->fd, bytes, sizeof bytes, MSG_DONTWAIT)) != -1) {
        raw->ended = n == 0;
        PS_CHECK(ps_buf_append(&raw->got, bytes, (size_t)n) == PS_OK);
    }
    raw->ended = raw->ended || (raw->fd >= 0 && errno != EAGAIN && errno != EINTR);
}

static inline void raw_write(struct raw *raw, const char *text)
{
    ssize_t n = send(raw->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
    PS_CHECK(n == (ssize_t)strlen(text));
}

static inline bool raw_has(const struct raw *raw, const char *text)
{
    return ps_str_contains(ps_buf_str(&raw->got), ps_str_from(text));
}

#define TURNS_PATIENCE (20 * PS_SECOND)

struct turns {
    struct ps_loop *loop;
    struct ps_task task;
    struct raw *raws[4]; /* read between turns */
    bool (*done)(void *ctx);
    void *ctx;
    int left; /* turns, when only some are wanted */
    unsigned taken;
    ps_time give_up;
};

static inline void turns_on_task(struct ps_task *task)
{
    struct turns *turns = PS_CONTAINER_OF(task, struct turns, task);
    for (size_t i = 0; i < 4; i++) {
        if (turns->raws[i] != NULL) {
            raw_read(turns->raws[i]);
        }
    }
    turns->taken++;
    bool late = ps_clock_now(&ps_clock_real) > turns->give_up;
    bool over = turns->done != NULL ? turns->done(turns->ctx) : turns->left-- <= 0;
    if (late || over) {
        ps_loop_stop(turns->loop);
    } else {
        ps_loop_defer(turns->loop, task);
    }
}

/* Runs until done(ctx), or until patience ends. False when it never was. */
static inline bool turns_until(struct turns *turns, bool (*done)(void *ctx), void *ctx)
{
    turns->done = done;
    turns->ctx = ctx;
    turns->taken = 0;
    turns->give_up = ps_clock_now(&ps_clock_real) + TURNS_PATIENCE;
    turns->task.on_turn = turns_on_task;
    ps_loop_defer(turns->loop, &turns->task);
    ps_loop_run(turns->loop);
    return done == NULL || done(ctx);
}

/* Runs for a while: enough turns and time for everything under way on this machine. Time alone would
 * not do: a process that has to wait for its processor may find it over in its first turn.
 */
#define TURNS_OF_A_REST 100

static inline bool turns_rested(void *ctx)
{
    const struct turns *turns = ctx;
    return turns->taken >= TURNS_OF_A_REST &&
           ps_clock_now(&ps_clock_real) > turns->give_up - TURNS_PATIENCE + 15 * PS_MILLISECOND;
}

static inline void turns_rest(struct turns *turns)
{
    turns_until(turns, turns_rested, turns);
}

#endif
