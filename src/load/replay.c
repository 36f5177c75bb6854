/* replay - see replay.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/replay.h"

#include <stdio.h>
#include <stdlib.h>

#include "io/loop.h"

#define BODY_MAX (64u * 1024u * 1024u)
#define BATCH 32 /* sends before answers are looked at again */

struct ps_replay {
    struct ps_loop *loop;
    struct ps_target *target;
    struct ps_plan *plan;
    struct ps_replay_opts opts;
    const struct ps_replay_ops *ops;
    void *ctx;
    struct ps_pacer pacer;
    struct ps_tally tally;
    struct ps_list sessions;
    size_t in_flight;
    struct ps_timer timer; /* the next send */
    struct ps_task end;    /* tells the end from the loop */
    struct ps_plan_entry entry;
    struct ps_buf body; /* of the request on offer */
    struct ps_plan_error error;
    int err; /* what broke the plan off */
    bool started;
    bool drained; /* nothing more will be sent */
    bool over;    /* on_end was told, or will never be */
};

static void look_for_end(struct ps_replay *replay)
{
    if (replay->drained && replay->in_flight == 0 && !replay->over) {
        ps_loop_defer(replay->loop, &replay->end);
    }
}

static void on_end(struct ps_task *task)
{
    struct ps_replay *replay = PS_CONTAINER_OF(task, struct ps_replay, end);
    if (!replay->over) {
        replay->over = true;
        replay->ops->on_end(replay->ctx, replay->err);
    }
}

static void set_drained(struct ps_replay *replay)
{
    replay->drained = true;
    ps_timer_clear(replay->loop, &replay->timer);
    look_for_end(replay);
}

static void break_off(struct ps_replay *replay, int err)
{
    replay->err = err;
    if (replay->error.text[0] == '\0') {
        snprintf(replay->error.text, sizeof replay->error.text, "%s", ps_err_text(err));
    }
    set_drained(replay);
}

/* ----------------------------------------------------------------------------------- sending */

static void on_text(void *ctx)
{
    struct ps_replay *replay = ctx;
    replay->tally.texts++;
}

static void on_done(void *ctx, const struct ps_session_result *result)
{
    struct ps_replay *replay = ctx;
    replay->in_flight--;
    ps_tally_add(&replay->tally, result);
    if (replay->ops->on_result != NULL) {
        replay->ops->on_result(replay->ctx, result);
    }
    look_for_end(replay);
}

static const struct ps_session_ops session_ops = {.on_text = on_text, .on_done = on_done};

/* Whose turn it is. */
static struct ps_target *next_target(const struct ps_replay *replay)
{
    bool second = replay->opts.second != NULL && replay->entry.number % 2 == 1;
    return second ? replay->opts.second : replay->target;
}

static void send_one(struct ps_replay *replay, ps_time intended)
{
    struct ps_session_request request = {
        .protocol = replay->opts.prompt.protocol,
        .kind = replay->entry.kind,
        .prompt_tokens = replay->entry.prompt_tokens,
        .body = ps_buf_str(&replay->body),
        .intended = intended,
        .timeout = replay->opts.timeout,
    };
    ps_time now = ps_clock_now(ps_loop_clock(replay->loop));
    int err = PS_ELIMIT;
    if (replay->in_flight < replay->opts.max_in_flight) {
        err = ps_session_start(&replay->sessions, replay->loop, next_target(replay), &request,
                               &session_ops, replay);
    }
    if (err == PS_OK) {
        replay->in_flight++;
        ps_pacer_sent(&replay->pacer, now);
    } else {
        ps_pacer_skipped(&replay->pacer);
    }
}

/* Takes the next request from the plan and makes its body. False when there is none. */
static bool prepare(struct ps_replay *replay)
{
    int err = PS_ENOTFOUND;
    if (!ps_pacer_is_full(&replay->pacer)) {
        err = ps_plan_next(replay->plan, &replay->entry, &replay->error);
    }
    if (err == PS_ENOTFOUND || (err == PS_OK && !ps_pacer_offer(&replay->pacer, replay->entry.at))) {
        set_drained(replay);
        return false;
    }
    if (err == PS_OK && ps_protocol_call(replay->opts.prompt.protocol, replay->entry.kind) == NULL) {
        snprintf(replay->error.text, sizeof replay->error.text, "%s has no embeddings",
                 ps_protocol_names[replay->opts.prompt.protocol]);
        err = PS_EINVAL;
    }
    if (err == PS_OK) {
        ps_buf_clear(&replay->body);
        err = ps_prompt_body(&replay->entry, &replay->opts.prompt, &replay->body);
    }
    if (err != PS_OK) {
        break_off(replay, err);
        return false;
    }
    return true;
}

static void on_time(struct ps_timer *timer, ps_time now)
{
    struct ps_replay *replay = PS_CONTAINER_OF(timer, struct ps_replay, timer);
    ps_time intended = 0;
    for (int i = 0; i < BATCH && ps_pacer_due(&replay->pacer, now, &intended); i++) {
        send_one(replay, intended);
        if (!prepare(replay)) {
            return;
        }
    }
    int err = ps_timer_set(replay->loop, &replay->timer, replay->pacer.next);
    if (err != PS_OK) {
        break_off(replay, err);
    }
}

/* -------------------------------------------------------------------------------------- life */

int ps_replay_new(struct ps_replay **out, struct ps_loop *loop, struct ps_target *target,
                  struct ps_plan *plan, const struct ps_replay_opts *opts,
                  const struct ps_replay_ops *ops, void *ctx)
{
    struct ps_replay *replay = calloc(1, sizeof *replay);
    if (replay == NULL) {
        ps_plan_close(plan);
        return PS_ENOMEM;
    }
    replay->loop = loop;
    replay->target = target;
    replay->plan = plan;
    replay->opts = *opts;
    replay->ops = ops;
    replay->ctx = ctx;
    replay->timer.on_time = on_time;
    replay->end.on_turn = on_end;
    replay->body = ps_buf_make(BODY_MAX);
    ps_list_init(&replay->sessions);
    ps_pacer_init(&replay->pacer, &opts->pace, ps_loop_now(loop));
    *out = replay;
    return PS_OK;
}

void ps_replay_start(struct ps_replay *replay)
{
    PS_CHECK(!replay->started);
    replay->started = true;
    ps_pacer_init(&replay->pacer, &replay->opts.pace, ps_loop_now(replay->loop));
    if (!prepare(replay)) {
        return;
    }
    int err = ps_timer_set(replay->loop, &replay->timer, replay->pacer.next);
    if (err != PS_OK) {
        break_off(replay, err);
    }
}

void ps_replay_drain(struct ps_replay *replay)
{
    if (!replay->drained) {
        set_drained(replay);
    }
}

void ps_replay_stop(struct ps_replay *replay)
{
    uint64_t unfinished = ps_session_cancel_all(&replay->sessions);
    if (!replay->over) {
        ps_tally_stop(&replay->tally, unfinished, replay->pacer.start, ps_loop_now(replay->loop));
    }
    replay->over = true;
    replay->drained = true;
    ps_timer_clear(replay->loop, &replay->timer);
    ps_task_clear(&replay->end);
    replay->in_flight = 0;
}

void ps_replay_free(struct ps_replay *replay)
{
    if (replay == NULL) {
        return;
    }
    ps_replay_stop(replay);
    ps_plan_close(replay->plan);
    ps_buf_fini(&replay->body);
    free(replay);
}

const struct ps_tally *ps_replay_tally(const struct ps_replay *replay)
{
    return &replay->tally;
}

const struct ps_pacer *ps_replay_pacer(const struct ps_replay *replay)
{
    return &replay->pacer;
}

const struct ps_plan *ps_replay_plan(const struct ps_replay *replay)
{
    return replay->plan;
}

size_t ps_replay_in_flight(const struct ps_replay *replay)
{
    return replay->in_flight;
}

bool ps_replay_is_drained(const struct ps_replay *replay)
{
    return replay->drained;
}

const char *ps_replay_error(const struct ps_replay *replay)
{
    return replay->error.text;
}
