#include "io/mailbox.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <uv.h>

#include "io/loop.h"

struct ps_mailbox {
    uv_async_t wake;
    void *receiver;
    pthread_mutex_t lock; /* guards first and last */
    struct ps_letter *first;
    struct ps_letter **last;
};

/* Takes all letters at once: the lock is never held while one is delivered. */
static struct ps_letter *take_all(struct ps_mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->lock);
    struct ps_letter *letters = mailbox->first;
    mailbox->first = NULL;
    mailbox->last = &mailbox->first;
    pthread_mutex_unlock(&mailbox->lock);
    return letters;
}

static void deliver(struct ps_mailbox *mailbox)
{
    struct ps_letter *letter = take_all(mailbox);
    while (letter != NULL) {
        struct ps_letter *next = letter->next;
        letter->on_delivery(letter, mailbox->receiver);
        letter = next;
    }
}

static bool is_empty(struct ps_mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->lock);
    bool empty = mailbox->first == NULL;
    pthread_mutex_unlock(&mailbox->lock);
    return empty;
}

static void on_wake(uv_async_t *wake)
{
    deliver(wake->data);
}

int ps_mailbox_new(struct ps_mailbox **out, struct ps_loop *loop, void *receiver)
{
    struct ps_mailbox *mailbox = calloc(1, sizeof *mailbox);
    if (mailbox == NULL) {
        return PS_ENOMEM;
    }
    mailbox->receiver = receiver;
    mailbox->last = &mailbox->first;
    if (uv_async_init(ps_loop_uv(loop), &mailbox->wake, on_wake) != 0) {
        free(mailbox);
        return PS_EIO;
    }
    mailbox->wake.data = mailbox;
    pthread_mutex_init(&mailbox->lock, NULL);
    *out = mailbox;
    return PS_OK;
}

static void on_closed(uv_handle_t *handle)
{
    struct ps_mailbox *mailbox = handle->data;
    pthread_mutex_destroy(&mailbox->lock);
    free(mailbox);
}

void ps_mailbox_free(struct ps_mailbox *mailbox)
{
    if (mailbox != NULL) {
        while (!is_empty(mailbox)) { /* a letter may post another */
            deliver(mailbox);
        }
        uv_close((uv_handle_t *)&mailbox->wake, on_closed);
    }
}

void ps_mailbox_post(struct ps_mailbox *mailbox, struct ps_letter *letter)
{
    letter->next = NULL;
    pthread_mutex_lock(&mailbox->lock);
    *mailbox->last = letter;
    mailbox->last = &letter->next;
    pthread_mutex_unlock(&mailbox->lock);
    uv_async_send(&mailbox->wake);
}
