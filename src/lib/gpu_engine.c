#include "lib/gpu_engine.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/list.h"
#include "lib/thread.h"

/* What a program's thread asks for and waits for; it is on its stack. */
struct call {
    struct ps_letter letter;
    struct ps_list link; /* while it waits for the sources */
    void (*begin)(struct ps_gpu_engine *engine, struct call *call);
    ps_gpu_engine_write_fn *write;
    struct ps_str order;
    ps_span limit;
    struct ps_buf *out;
    char *reason;
    size_t size;
    int err;
    struct ps_wait wait;
};

struct ps_gpu_engine {
    struct ps_thread *thread;
    struct ps_gpu *gpu;

    /* of the thread */
    struct ps_list early; /* calls that came before the sources were heard */
    struct call *cleanup; /* whose end is waited for; NULL = none */
    struct ps_timer limit;
};

static void answer(struct call *call, int err)
{
    call->err = err;
    ps_wait_wake(&call->wait);
}

/* --- calls ------------------------------------------------------------------------------------ */

static void begin_write(struct ps_gpu_engine *engine, struct call *call)
{
    int err = call->write(engine->gpu, call->out);
    if (err == PS_ENOTFOUND) {
        ps_gpu_explain(engine->gpu, call->reason, call->size);
    }
    answer(call, err);
}

static void begin_cleanup(struct ps_gpu_engine *engine, struct call *call)
{
    bool done = true;
    struct ps_loop *loop = ps_thread_loop(engine->thread);
    int err = PS_ENOTFOUND;
    if (ps_gpu_is_known(engine->gpu)) {
        err = ps_gpu_cleanup(engine->gpu, call->order, "program", call->out, &done, call->reason,
                             call->size);
    } else {
        ps_gpu_explain(engine->gpu, call->reason, call->size);
    }
    if (err != PS_OK || done) {
        answer(call, err);
        return;
    }
    engine->cleanup = call;
    if (ps_timer_set(loop, &engine->limit, ps_loop_now(loop) + call->limit) != PS_OK) {
        ps_gpu_end_cleanup(engine->gpu, "out of memory");
    }
}

static void on_limit(struct ps_timer *timer, ps_time now)
{
    struct ps_gpu_engine *engine = PS_CONTAINER_OF(timer, struct ps_gpu_engine, limit);
    (void)now;
    ps_gpu_end_cleanup(engine->gpu, "the time is up");
}

/* One cleanup runs at a time: it is the one that is waited for. */
static void on_run(void *ctx, const struct ps_optimizer_run *run)
{
    struct ps_gpu_engine *engine = ctx;
    struct call *call = engine->cleanup;
    if (call != NULL) {
        engine->cleanup = NULL;
        ps_timer_clear(ps_thread_loop(engine->thread), &engine->limit);
        ps_buf_clear(call->out);
        answer(call, ps_gpu_write_cleanup(engine->gpu, run, call->out));
    }
}

static void on_settled(void *ctx)
{
    struct ps_gpu_engine *engine = ctx;
    while (!ps_list_is_empty(&engine->early)) {
        struct call *call = PS_LIST_FIRST(&engine->early, struct call, link);
        ps_list_remove(&call->link);
        call->begin(engine, call);
    }
}

static void on_call(struct ps_letter *letter, void *receiver)
{
    struct call *call = PS_CONTAINER_OF(letter, struct call, letter);
    struct ps_gpu_engine *engine = receiver;
    if (ps_gpu_is_settled(engine->gpu)) {
        call->begin(engine, call);
    } else {
        ps_list_push(&engine->early, &call->link);
    }
}

static int ask(struct ps_gpu_engine *engine, struct call *call)
{
    call->letter.on_delivery = on_call;
    ps_wait_init(&call->wait);
    ps_thread_post(engine->thread, &call->letter);
    ps_wait_for(&call->wait);
    return call->err;
}

int ps_gpu_engine_write(struct ps_gpu_engine *engine, ps_gpu_engine_write_fn *write,
                        struct ps_buf *out, char *reason, size_t size)
{
    struct call call = {
        .begin = begin_write, .write = write, .out = out, .reason = reason, .size = size};
    return ask(engine, &call);
}

/* Something to do at once. */
struct action {
    struct ps_letter letter;
    ps_gpu_engine_act_fn *act;
    void *ctx;
    struct ps_wait wait;
};

static void on_action(struct ps_letter *letter, void *receiver)
{
    struct action *action = PS_CONTAINER_OF(letter, struct action, letter);
    struct ps_gpu_engine *engine = receiver;
    action->act(engine->gpu, action->ctx);
    ps_wait_wake(&action->wait);
}

void ps_gpu_engine_do(struct ps_gpu_engine *engine, ps_gpu_engine_act_fn *act, void *ctx)
{
    struct action action = {.letter = {.on_delivery = on_action}, .act = act, .ctx = ctx};
    ps_wait_init(&action.wait);
    ps_thread_post(engine->thread, &action.letter);
    ps_wait_for(&action.wait);
}

int ps_gpu_engine_clean(struct ps_gpu_engine *engine, struct ps_str order, ps_span limit,
                        struct ps_buf *out, char *reason, size_t size)
{
    struct call call = {.begin = begin_cleanup,
                        .order = order,
                        .limit = limit,
                        .out = out,
                        .reason = reason,
                        .size = size};
    return ask(engine, &call);
}

/* --- life ------------------------------------------------------------------------------------- */

static int open_room(struct ps_gpu_engine *engine, const struct ps_gpu_opts *opts, char *reason,
                     size_t size)
{
    const struct ps_gpu_observer observer = {
        .on_run = on_run, .on_settled = on_settled, .ctx = engine};
    int err = ps_gpu_new(&engine->gpu, opts, ps_thread_loop(engine->thread), NULL, NULL);
    if (err == PS_OK) {
        ps_gpu_observe(engine->gpu, &observer);
        err = ps_gpu_set(engine->gpu, opts, NULL, reason, size);
    }
    return err;
}

int ps_gpu_engine_new(struct ps_gpu_engine **out, const struct ps_gpu_opts *opts, char *reason,
                      size_t size)
{
    struct ps_gpu_engine *engine = calloc(1, sizeof *engine);
    snprintf(reason, size, "the optimizer's thread can't be started");
    if (engine == NULL) {
        return PS_ENOMEM;
    }
    ps_list_init(&engine->early);
    engine->limit.on_time = on_limit;
    int err = ps_thread_new(&engine->thread, engine);
    err = err != PS_OK ? err : open_room(engine, opts, reason, size);
    err = err != PS_OK ? err : ps_thread_start(engine->thread);
    if (err != PS_OK) {
        ps_gpu_engine_free(engine);
        return err;
    }
    *out = engine;
    return PS_OK;
}

void ps_gpu_engine_free(struct ps_gpu_engine *engine)
{
    if (engine == NULL) {
        return;
    }
    if (engine->thread != NULL) {
        ps_thread_stop(engine->thread);
        ps_timer_clear(ps_thread_loop(engine->thread), &engine->limit);
    }
    ps_gpu_free(engine->gpu);
    ps_thread_free(engine->thread);
    free(engine);
}
