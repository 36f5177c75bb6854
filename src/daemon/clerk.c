#include "daemon/clerk.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/spawn.h"
#include "daemon/ask.h"
#include "io/mailbox.h"

struct ps_clerk {
    struct ps_mailbox *mailbox; /* on control's loop */
    pthread_t thread;
    bool started;

    pthread_mutex_t lock; /* around what follows */
    pthread_cond_t wakes;
    struct ps_ask *first;
    struct ps_ask **last; /* where the next one is hung */
    bool stopping;
};

/* ---- the queue */

static void push(struct ps_clerk *clerk, struct ps_ask *ask)
{
    pthread_mutex_lock(&clerk->lock);
    ask->next = NULL;
    *clerk->last = ask;
    clerk->last = &ask->next;
    pthread_mutex_unlock(&clerk->lock);
    pthread_cond_signal(&clerk->wakes);
}

/* Waits for the next; NULL: there will be none. */
static struct ps_ask *pop(struct ps_clerk *clerk)
{
    pthread_mutex_lock(&clerk->lock);
    while (clerk->first == NULL && !clerk->stopping) {
        pthread_cond_wait(&clerk->wakes, &clerk->lock);
    }
    struct ps_ask *ask = clerk->first;
    if (ask != NULL) {
        clerk->first = ask->next;
        clerk->last = clerk->first == NULL ? &clerk->first : clerk->last;
    }
    pthread_mutex_unlock(&clerk->lock);
    return ask;
}

/* ---- the thread */

static void on_done(struct ps_letter *letter, void *receiver)
{
    struct ps_ask *ask = PS_CONTAINER_OF(letter, struct ps_ask, letter);
    (void)receiver;
    ask->on_answered(ask);
}

static void *run(void *ctx)
{
    struct ps_clerk *clerk = ctx;
    struct ps_ask *ask;
    while ((ask = pop(clerk)) != NULL) {
        ask->work(ask->work_ctx, ask);
        ask->letter.on_delivery = on_done;
        ps_mailbox_post(clerk->mailbox, &ask->letter);
    }
    return NULL;
}

void ps_clerk_take(struct ps_clerk *clerk, struct ps_ask *ask,
                   void (*work)(void *ctx, struct ps_ask *ask), void *ctx)
{
    ask->pending = true;
    ask->work = work;
    ask->work_ctx = ctx;
    push(clerk, ask);
}

/* ---- life */

int ps_clerk_new(struct ps_clerk **out, struct ps_loop *loop)
{
    struct ps_clerk *clerk = calloc(1, sizeof *clerk);
    if (clerk == NULL) {
        return PS_ENOMEM;
    }
    clerk->last = &clerk->first;
    pthread_mutex_init(&clerk->lock, NULL);
    pthread_cond_init(&clerk->wakes, NULL);
    int err = ps_mailbox_new(&clerk->mailbox, loop, clerk);
    err = err != PS_OK ? err : ps_spawn(&clerk->thread, run, clerk);
    clerk->started = err == PS_OK;
    if (err != PS_OK) {
        ps_clerk_free(clerk);
        return err;
    }
    *out = clerk;
    return PS_OK;
}

void ps_clerk_free(struct ps_clerk *clerk)
{
    if (clerk == NULL) {
        return;
    }
    pthread_mutex_lock(&clerk->lock);
    clerk->stopping = true;
    pthread_mutex_unlock(&clerk->lock);
    pthread_cond_signal(&clerk->wakes);
    if (clerk->started) {
        pthread_join(clerk->thread, NULL);
    }
    ps_mailbox_free(clerk->mailbox);
    pthread_cond_destroy(&clerk->wakes);
    pthread_mutex_destroy(&clerk->lock);
    free(clerk);
}
