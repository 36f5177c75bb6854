#include "lib/thread.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/spawn.h"

struct ps_thread {
    struct ps_loop *loop;
    struct ps_mailbox *mailbox;
    pthread_t thread;
    bool started;
    struct ps_letter stop;
};

/* --- waiting ---------------------------------------------------------------------------------- */

void ps_wait_init(struct ps_wait *wait)
{
    pthread_mutex_init(&wait->lock, NULL);
    pthread_cond_init(&wait->cond, NULL);
    wait->over = false;
}

void ps_wait_for(struct ps_wait *wait)
{
    pthread_mutex_lock(&wait->lock);
    while (!wait->over) {
        pthread_cond_wait(&wait->cond, &wait->lock);
    }
    pthread_mutex_unlock(&wait->lock);
    pthread_cond_destroy(&wait->cond);
    pthread_mutex_destroy(&wait->lock);
}

void ps_wait_wake(struct ps_wait *wait)
{
    pthread_mutex_lock(&wait->lock);
    wait->over = true;
    pthread_cond_signal(&wait->cond);
    pthread_mutex_unlock(&wait->lock);
}

/* --- the thread ------------------------------------------------------------------------------- */

static void on_stop(struct ps_letter *letter, void *receiver)
{
    (void)receiver;
    ps_loop_stop(PS_CONTAINER_OF(letter, struct ps_thread, stop)->loop);
}

static void *run(void *arg)
{
    struct ps_thread *thread = arg;
    ps_loop_run(thread->loop);
    return NULL;
}

int ps_thread_new(struct ps_thread **out, void *receiver)
{
    struct ps_thread *thread = calloc(1, sizeof *thread);
    if (thread == NULL) {
        return PS_ENOMEM;
    }
    thread->stop.on_delivery = on_stop;
    int err = ps_loop_new(&thread->loop, &ps_clock_real);
    err = err != PS_OK ? err : ps_mailbox_new(&thread->mailbox, thread->loop, receiver);
    if (err != PS_OK) {
        ps_thread_free(thread);
        return err;
    }
    *out = thread;
    return PS_OK;
}

struct ps_loop *ps_thread_loop(const struct ps_thread *thread)
{
    return thread->loop;
}

int ps_thread_start(struct ps_thread *thread)
{
    thread->started = ps_spawn(&thread->thread, run, thread) == PS_OK;
    return thread->started ? PS_OK : PS_EIO;
}

void ps_thread_stop(struct ps_thread *thread)
{
    if (thread->started) {
        ps_mailbox_post(thread->mailbox, &thread->stop);
        pthread_join(thread->thread, NULL);
        thread->started = false;
    }
    ps_mailbox_free(thread->mailbox);
    thread->mailbox = NULL;
}

void ps_thread_free(struct ps_thread *thread)
{
    if (thread != NULL) {
        ps_mailbox_free(thread->mailbox);
        ps_loop_free(thread->loop);
        free(thread);
    }
}

void ps_thread_post(struct ps_thread *thread, struct ps_letter *letter)
{
    ps_mailbox_post(thread->mailbox, letter);
}
