/* loop - one event loop: descriptors, deadlines, wake-ups.
 *
 * Descriptors are watched by libuv. Deadlines are not: uv_timer counts in milliseconds and can't
 * follow a hand-moved clock, so the loop keeps its own heap of deadlines in nanoseconds behind one
 * timerfd. A deadline that moves later costs no system call: the timerfd fires, nothing is due, and it
 * is armed again.
 *
 * Thread: everything here belongs to the thread that runs the loop; other threads talk to it through
 * a mailbox.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_IO_LOOP_H
#define PS_IO_LOOP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/heap.h"
#include "base/list.h"

struct ps_loop;

/* A deadline. Zero-initialise, set on_time, embed it in what it is for. */
struct ps_timer {
    struct ps_heap_node node;
    void (*on_time)(struct ps_timer *timer, ps_time now);
};

/* Something to do at the end of this turn of the loop, once. Zero-initialise. */
struct ps_task {
    struct ps_list link;
    void (*on_turn)(struct ps_task *task);
};

/* Creates a loop on `clock` (borrowed; outlives the loop). PS_OK, PS_ENOMEM or PS_EIO. */
PS_MUST_CHECK int ps_loop_new(struct ps_loop **out, const struct ps_clock *clock);

/* Frees the loop; whatever was opened on it must have been freed before. NULL is fine. */
void ps_loop_free(struct ps_loop *loop);

/* Runs until ps_loop_stop(). */
void ps_loop_run(struct ps_loop *loop);

/* Ends ps_loop_run() after this turn. */
void ps_loop_stop(struct ps_loop *loop);

/* The timerfd wakes a loop some tens of microseconds after a deadline, more on a virtual machine. With `early`
 * above 0 it is armed so much before it, and what is left is spent polling: deadlines are kept to a
 * microsecond, for `early` of processor time each. 0, the default, never spins. */
void ps_loop_set_early(struct ps_loop *loop, ps_span early);

/* Time spent so, in all: what a thread's processor time shows and was no work. */
ps_span ps_loop_spun(const struct ps_loop *loop);

/* The instant of this turn; read once a turn, so it costs nothing. */
ps_time ps_loop_now(struct ps_loop *loop);

const struct ps_clock *ps_loop_clock(const struct ps_loop *loop);

/* Sets or moves a deadline. Fails only when the heap can't grow (PS_ENOMEM). */
PS_MUST_CHECK int ps_timer_set(struct ps_loop *loop, struct ps_timer *timer, ps_time when);

/* Takes the deadline back; nothing happens when it is not set. */
void ps_timer_clear(struct ps_loop *loop, struct ps_timer *timer);

/* Runs task->on_turn at the end of this turn; a task already waiting is not queued twice. */
void ps_loop_defer(struct ps_loop *loop, struct ps_task *task);
void ps_task_clear(struct ps_task *task);

/* The loop's shared read buffer: streams read into it and hand out views, so that ten thousand idle
 * connections own no buffer. Valid until control returns to the loop. */
char *ps_loop_scratch(struct ps_loop *loop, size_t *len);

/* Calls on_signal on this loop's thread for each `signum`. At most 8 signals a loop. */
PS_MUST_CHECK int ps_loop_on_signal(struct ps_loop *loop, int signum,
                                    void (*on_signal)(void *ctx, int signum), void *ctx);

/* The uv_loop_t behind, and whether ps_loop_free() is under way; for the other files of io/ only. */
void *ps_loop_uv(struct ps_loop *loop);
bool ps_loop_is_closing(const struct ps_loop *loop);

#endif
