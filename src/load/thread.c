/* thread - see thread.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/thread.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "base/check.h"
#include "base/spawn.h"
#include "io/loop.h"

/* Seconds end a little after their instant, so that requests that are due on the second leave first. */
#define SECOND_END (300 * PS_MICROSECOND)

/* What control asks for. Those that must not fail for want of memory live in the thread. */
struct order {
    struct ps_letter letter;
    struct ps_thread *thread;
    ps_time start;
    ps_span from;
    struct ps_phase phase;
};

struct ps_thread {
    struct ps_thread_opts opts;
    struct ps_loop *loop;
    struct ps_mailbox *mailbox;
    pthread_t id;
    bool running; /* id is to be joined */
    struct order start;
    struct order drain;
    struct order stop;
    bool drain_asked; /* control's */
    bool stop_asked;  /* control's */
    struct ps_thread_news news;
    /* owned by the thread itself */
    struct ps_target *target;
    struct ps_generator *generator;
    struct ps_thread_block *spare; /* list */
    struct ps_thread_block *final; /* put aside, so that the end can't fail */
    struct ps_timer second;
    ps_time second_end;
    bool drained; /* before there was a generator */
    bool over;
};

/* ------------------------------------------------------------------------------------- blocks */

void ps_thread_block_free(struct ps_thread_block *block)
{
    if (block != NULL) {
        free(block->tally);
        free(block);
    }
}

static struct ps_thread_block *new_block(void)
{
    struct ps_thread_block *block = calloc(1, sizeof *block);
    struct ps_tally *tally = calloc(1, sizeof *tally);
    if (block == NULL || tally == NULL) {
        free(block);
        free(tally);
        return NULL;
    }
    block->tally = tally;
    return block;
}

static struct ps_thread_block *take_spare(struct ps_thread *thread)
{
    struct ps_thread_block *block = thread->spare;
    if (block == NULL) {
        return new_block();
    }
    thread->spare = block->next;
    block->next = NULL;
    return block;
}

static double busy_seconds(const struct ps_thread *thread)
{
    struct timespec spent;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
    return (double)spent.tv_sec + (double)spent.tv_nsec / 1e9 - ps_span_seconds(ps_loop_spun(thread->loop));
}

static void post_block(struct ps_thread *thread, struct ps_thread_block *block)
{
    const struct ps_client_pool *pool = thread->target == NULL ? NULL : ps_target_pool(thread->target);
    if (thread->generator != NULL) {
        block->tally = ps_generator_swap(thread->generator, block->tally);
        block->in_flight = ps_generator_in_flight(thread->generator);
        block->cut = ps_requests_cut(ps_generator_requests(thread->generator));
        snprintf(block->error, sizeof block->error, "%s", ps_generator_error(thread->generator));
    }
    block->connections = pool == NULL ? 0 : ps_pool_open(pool);
    block->busy_seconds = busy_seconds(thread);
    block->owner = thread->opts.owner;
    block->letter.on_delivery = thread->opts.on_block;
    ps_mailbox_post(thread->opts.control, &block->letter);
}

/* Without memory for a block the counts of this second stay in the next one's. */
static void on_second(struct ps_timer *timer, ps_time now)
{
    struct ps_thread *thread = PS_CONTAINER_OF(timer, struct ps_thread, second);
    struct ps_thread_block *block = take_spare(thread);
    (void)now;
    if (block != NULL) {
        post_block(thread, block);
    }
    thread->second_end += PS_SECOND;
    PS_IGNORE(ps_timer_set(thread->loop, timer, thread->second_end)); /* it was in the heap: there is room */
}

static void finish(struct ps_thread *thread, int err)
{
    if (thread->over) {
        return;
    }
    thread->over = true;
    ps_timer_clear(thread->loop, &thread->second);
    struct ps_thread_block *block = thread->final;
    thread->final = NULL;
    block->last = true;
    block->err = err;
    post_block(thread, block);
    ps_loop_stop(thread->loop);
}

/* ------------------------------------------------------------------------------------- orders */

static void on_end(void *ctx, int err)
{
    finish(ctx, err);
}

static const struct ps_generator_ops generator_ops = {.on_end = on_end};

static void on_start(struct ps_letter *letter, void *receiver)
{
    struct ps_thread *thread = receiver;
    const struct order *order = PS_CONTAINER_OF(letter, struct order, letter);
    if (thread->over) {
        return;
    }
    thread->second.on_time = on_second;
    thread->second_end = order->start + PS_SECOND + SECOND_END;
    int err = ps_timer_set(thread->loop, &thread->second, thread->second_end);
    if (err != PS_OK) {
        finish(thread, err);
        return;
    }
    ps_generator_start(thread->generator, order->start);
    if (thread->drained) {
        ps_generator_drain(thread->generator);
    }
}

static void on_change(struct ps_letter *letter, void *receiver)
{
    struct ps_thread *thread = receiver;
    struct order *order = PS_CONTAINER_OF(letter, struct order, letter);
    if (!thread->over) {
        ps_generator_change(thread->generator, order->from, &order->phase);
    }
    free(order);
}

static void on_drain(struct ps_letter *letter, void *receiver)
{
    struct ps_thread *thread = receiver;
    (void)letter;
    thread->drained = true;
    if (!thread->over && thread->generator != NULL) {
        ps_generator_drain(thread->generator);
    }
}

static void on_stop(struct ps_letter *letter, void *receiver)
{
    struct ps_thread *thread = receiver;
    (void)letter;
    if (!thread->over && thread->generator != NULL) {
        ps_generator_stop(thread->generator);
    }
    finish(thread, PS_OK);
}

static void on_recycle(struct ps_letter *letter, void *receiver)
{
    struct ps_thread *thread = receiver;
    struct ps_thread_block *block = PS_CONTAINER_OF(letter, struct ps_thread_block, letter);
    block->next = thread->spare;
    thread->spare = block;
}

void ps_thread_start(struct ps_thread *thread, ps_time start)
{
    thread->start = (struct order){.letter = {.on_delivery = on_start}, .start = start};
    ps_mailbox_post(thread->mailbox, &thread->start.letter);
}

int ps_thread_change(struct ps_thread *thread, ps_span from, const struct ps_phase *phase)
{
    struct order *order = malloc(sizeof *order);
    if (order == NULL) {
        return PS_ENOMEM;
    }
    *order = (struct order){.letter = {.on_delivery = on_change}, .from = from, .phase = *phase};
    ps_mailbox_post(thread->mailbox, &order->letter);
    return PS_OK;
}

static void post_once(struct ps_thread *thread, struct order *order, bool *asked,
                      void (*on_delivery)(struct ps_letter *letter, void *receiver))
{
    if (!*asked) {
        *asked = true;
        order->letter.on_delivery = on_delivery;
        ps_mailbox_post(thread->mailbox, &order->letter);
    }
}

void ps_thread_drain(struct ps_thread *thread)
{
    post_once(thread, &thread->drain, &thread->drain_asked, on_drain);
}

void ps_thread_stop(struct ps_thread *thread)
{
    post_once(thread, &thread->stop, &thread->stop_asked, on_stop);
}

void ps_thread_recycle(struct ps_thread *thread, struct ps_thread_block *block)
{
    ps_tally_clear(block->tally);
    block->letter.on_delivery = on_recycle;
    ps_mailbox_post(thread->mailbox, &block->letter);
}

/* ------------------------------------------------------------------------------------ beginning */

static void tell(struct ps_thread *thread, int err, const char *why)
{
    thread->news.err = err;
    snprintf(thread->news.why, sizeof thread->news.why, "%s", why);
    thread->news.owner = thread->opts.owner;
    thread->news.letter.on_delivery = thread->opts.on_ready;
    ps_mailbox_post(thread->opts.control, &thread->news.letter);
}

static void on_reached(void *ctx, int err, const char *why)
{
    tell(ctx, err, why);
}

static int make_generator(struct ps_thread *thread, struct ps_requests_error *error)
{
    struct ps_requests *requests = NULL;
    int err = ps_requests_new(&requests, thread->opts.catalogue, thread->target, error);
    return err != PS_OK ? err
                        : ps_generator_new(&thread->generator, thread->loop, thread->target, requests,
                                           &thread->opts.generator, &generator_ops, thread);
}

static void on_target(void *ctx, int err, const char *why)
{
    struct ps_thread *thread = ctx;
    struct ps_requests_error error = {"out of memory"};
    if (thread->over) {
        return;
    }
    if (err == PS_OK) {
        err = make_generator(thread, &error);
        why = error.text;
    }
    if (err == PS_OK && thread->opts.reach) {
        err = ps_target_reach(thread->target, on_reached, thread);
        why = ps_err_text(err);
        if (err == PS_OK) {
            return;
        }
    }
    tell(thread, err, why);
}

static void *run_thread(void *ctx)
{
    struct ps_thread *thread = ctx;
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    ps_loop_run(thread->loop);
    return NULL;
}

static int build(struct ps_thread *thread, struct ps_target_error *error)
{
    thread->final = new_block();
    int err = thread->final == NULL ? PS_ENOMEM : ps_loop_new(&thread->loop, &ps_clock_real);
    if (err == PS_OK) {
        ps_loop_set_early(thread->loop, thread->opts.early);
        err = ps_mailbox_new(&thread->mailbox, thread->loop, thread);
    }
    if (err == PS_OK) {
        err = ps_target_new(&thread->target, thread->loop, &thread->opts.target, on_target, thread, error);
    }
    err = err != PS_OK ? err : ps_spawn(&thread->id, run_thread, thread);
    thread->running = err == PS_OK;
    return err;
}

int ps_thread_new(struct ps_thread **out, const struct ps_thread_opts *opts, struct ps_target_error *error)
{
    struct ps_thread *thread = calloc(1, sizeof *thread);
    snprintf(error->text, sizeof error->text, "%s", ps_err_text(PS_ENOMEM));
    if (thread == NULL) {
        return PS_ENOMEM;
    }
    thread->opts = *opts;
    int err = build(thread, error);
    if (err != PS_OK) {
        ps_thread_free(thread);
        return err;
    }
    *out = thread;
    return PS_OK;
}

void ps_thread_join(struct ps_thread *thread)
{
    if (thread != NULL && thread->running) {
        ps_thread_stop(thread);
        pthread_join(thread->id, NULL);
        thread->running = false;
    }
}

void ps_thread_free(struct ps_thread *thread)
{
    if (thread == NULL) {
        return;
    }
    ps_thread_join(thread);
    ps_generator_free(thread->generator);
    ps_target_free(thread->target);
    ps_mailbox_free(thread->mailbox); /* blocks on their way back become spares */
    ps_loop_free(thread->loop);
    while (thread->spare != NULL) {
        struct ps_thread_block *block = thread->spare;
        thread->spare = block->next;
        ps_thread_block_free(block);
    }
    ps_thread_block_free(thread->final);
    free(thread);
}
