/* thread - one generator thread of a run: a loop, a target, a generator, and letters to and from control.
 *
 *      control                               thread
 *      ps_thread_new() ------- spawns -----> resolves, connects once
 *      on_ready(err) <------- letter ------- is ready, or why not
 *      ps_thread_start(at) --- letter -----> generator begins; each second its tally goes out
 *      on_block(block) <------ letter ------ counts of a second
 *      ps_thread_recycle(block) - letter --> used again
 *      ps_thread_stop() ------ letter -----> drops what is in flight
 *      on_block(last) <------- letter ------ the rest; the thread ends
 *
 * Thread: these functions belong to control, whose loop delivers the letters.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_THREAD_H
#define PS_LOAD_THREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "io/mailbox.h"
#include "load/generator.h"
#include "load/target.h"

struct ps_catalogue;
struct ps_thread;

/* What a thread counted since its last block. */
struct ps_thread_block {
    struct ps_letter letter;
    struct ps_thread_block *next; /* for a list of the receiver's */
    void *owner;                  /* opts.owner of the thread */
    struct ps_tally *tally;
    size_t in_flight;             /* now */
    size_t connections;           /* open now */
    double busy_seconds;          /* of processor time; spinning is not counted */
    bool last;                    /* nothing comes any more; the thread ends */
    int err;                      /* last: why it broke off, or PS_OK */
    uint64_t cut;                 /* last: prompts of its trace that were cut */
    char error[640];
};

/* The thread is ready, or could not be: err and why. */
struct ps_thread_news {
    struct ps_letter letter;
    void *owner;
    int err;
    char why[640];
};

struct ps_thread_opts {
    struct ps_target_opts target;
    const struct ps_catalogue *catalogue; /* borrowed */
    struct ps_generator_opts generator;
    bool reach;                 /* connect once before it is ready */
    ps_span early;              /* for sends: see ps_loop_set_early() */
    struct ps_mailbox *control; /* gets the letters below; outlives the thread */
    void *owner;                /* of the letters */
    void (*on_ready)(struct ps_letter *letter, void *receiver); /* in a ps_thread_news, which lives with the thread */
    void (*on_block)(struct ps_letter *letter, void *receiver); /* in a ps_thread_block, which is the receiver's */
};

/* Makes a thread and lets it run. PS_OK; PS_EINVAL, PS_ETLS, PS_ENOMEM, PS_EIO: *error says why; PS_ELIMIT: no thread. */
PS_MUST_CHECK int ps_thread_new(struct ps_thread **out, const struct ps_thread_opts *opts,
                                struct ps_target_error *error);

/* Begins to send: t = 0 is at `start`. Once, after it was ready. */
void ps_thread_start(struct ps_thread *thread, ps_time start);

/* PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_thread_change(struct ps_thread *thread, ps_span from, const struct ps_phase *phase);
void ps_thread_drain(struct ps_thread *thread);
void ps_thread_stop(struct ps_thread *thread);

/* Gives a block back. */
void ps_thread_recycle(struct ps_thread *thread, struct ps_thread_block *block);
void ps_thread_block_free(struct ps_thread_block *block); /* NULL is fine */

/* Stops it and waits for its end; letters that it posted are still in control's mailbox. NULL is fine. */
void ps_thread_join(struct ps_thread *thread);

/* Joins and frees it. No letter of it may be undelivered. NULL is fine. */
void ps_thread_free(struct ps_thread *thread);

#endif
