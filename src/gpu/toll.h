/* toll - what each kind of call into a driver takes, and whether one hangs at this moment.
 *
 * A driver call may take microseconds, milliseconds or for ever, and it holds the thread that made
 * it. So every call goes through a book: who calls enters, calls and leaves; any thread may read
 * what calls took so far and what is going on now.
 *
 * Thread: enter and leave by the one thread that calls; add and the rest from any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GPU_TOLL_H
#define PS_GPU_TOLL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

#define PS_TOLL_KINDS 64

/* One kind of call. */
struct ps_toll_cell {
    _Atomic uint64_t calls;
    _Atomic uint64_t errors;      /* that did not end well */
    _Atomic int last_error;       /* of the latest that did not; as the driver numbers them */
    _Atomic int64_t total;        /* ns, all calls */
    _Atomic int64_t longest;      /* ns */
    _Atomic uint64_t over_budget; /* that took longer than they may */
};

struct ps_toll_book {
    const char *const *names;                 /* static; one for each kind */
    size_t count;                             /* kinds; at most PS_TOLL_KINDS */
    struct ps_toll_cell cells[PS_TOLL_KINDS]; /* shared, atomic; so is the rest */
    _Atomic uint32_t inside;                  /* the kind that is called now */
    _Atomic ps_time since;                    /* when that began; PS_NEVER = none */
};

/* What was read of one kind. */
struct ps_toll {
    const char *name;
    uint64_t calls;
    uint64_t errors;
    int last_error; /* 0: none yet */
    ps_span total;
    ps_span longest;
    uint64_t over_budget;
};

void ps_toll_init(struct ps_toll_book *book, const char *const *names, size_t count);

void ps_toll_enter(struct ps_toll_book *book, size_t kind, ps_time now);

/* Ends what ps_toll_enter() began. `error` is the driver's; 0 is success. Returns what it took. */
ps_span ps_toll_leave(struct ps_toll_book *book, size_t kind, ps_time now, int error);

/* Counts a call of another thread, which isn't watched. */
void ps_toll_add(struct ps_toll_book *book, size_t kind, ps_span took, int error);

/* Counts that a call took longer than it may. */
void ps_toll_blame(struct ps_toll_book *book, size_t kind);

/* Reads kind 0 .. book->count - 1. */
void ps_toll_read(const struct ps_toll_book *book, size_t kind, struct ps_toll *out);

/* The call that runs now and how long already; NULL when there is none. */
const char *ps_toll_now(const struct ps_toll_book *book, ps_time now, ps_span *took);

#endif
