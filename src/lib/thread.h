/* thread - a thread of the library's own: a loop, letters to it, and waiting for what it says.
 *
 *      a program's thread                     the library's
 *      post, wait      --- letter --------->  on_delivery() ... wake
 *
 * It has all signals blocked: they are for the program's threads, and a write to a connection that
 * broke is an error there, and no SIGPIPE.
 *
 * Thread: post and wait from any; the rest by the owner.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LIB_THREAD_H
#define PS_LIB_THREAD_H

#include <pthread.h>
#include <stdbool.h>

#include "base/err.h"
#include "io/loop.h"
#include "io/mailbox.h"

struct ps_thread;

/* A loop and a mailbox whose letters are handed `receiver`; nothing runs yet. PS_OK, PS_ENOMEM or
 * PS_EIO. */
PS_MUST_CHECK int ps_thread_new(struct ps_thread **out, void *receiver);

struct ps_loop *ps_thread_loop(const struct ps_thread *thread);

/* Starts it; from now on the loop is its own. PS_OK or PS_EIO. */
PS_MUST_CHECK int ps_thread_start(struct ps_thread *thread);

/* Ends it, if it runs, and delivers the letters that are left. Nobody may post any more; the loop
 * is the owner's again, to take away what is on it. */
void ps_thread_stop(struct ps_thread *thread);

/* Frees the loop of a thread that was stopped. NULL is fine. */
void ps_thread_free(struct ps_thread *thread);

void ps_thread_post(struct ps_thread *thread, struct ps_letter *letter);

/* Who waits owns it, on its stack; who wakes does not touch it afterwards. */
struct ps_wait {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool over;
};

void ps_wait_init(struct ps_wait *wait);
void ps_wait_for(struct ps_wait *wait); /* until it is woken, and frees what is in it */
void ps_wait_wake(struct ps_wait *wait);

#endif
