/* mailbox - the only bridge between threads.
 *
 * Any thread posts letters; the loop that owns the box is woken and gets them in the order of each
 * sender. A letter is embedded in what it carries; posting moves ownership to the receiver.
 *
 * Thread: ps_mailbox_post() from any; the rest from the owner's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_IO_MAILBOX_H
#define PS_IO_MAILBOX_H

#include "base/err.h"

struct ps_loop;
struct ps_mailbox;

struct ps_letter {
    struct ps_letter *next; /* the mailbox's */
    /* Runs on the receiving loop. NULL-ing or freeing the letter inside is the receiver's business. */
    void (*on_delivery)(struct ps_letter *letter, void *receiver);
};

/* Creates a box that delivers on `loop`; `receiver` is handed to each letter. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_mailbox_new(struct ps_mailbox **out, struct ps_loop *loop, void *receiver);

/* Delivers what is still inside, then frees the box. No thread may post any more. NULL is fine. */
void ps_mailbox_free(struct ps_mailbox *mailbox);

/* Hands the letter over. Never fails, never blocks longer than a list append. */
void ps_mailbox_post(struct ps_mailbox *mailbox, struct ps_letter *letter);

#endif
