/* generator - see generator.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/generator.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/rng.h"
#include "io/loop.h"
#include "load/target.h"

#define BATCH 32 /* sends before answers are looked at again */
#define RETRY (100 * PS_MILLISECOND) /* a user whose connection failed comes back after this */

struct ps_generator {
    struct ps_loop *loop;
    struct ps_target *target;
    struct ps_requests *requests;
    struct ps_generator_opts opts;
    const struct ps_generator_ops *ops;
    void *ctx;
    struct ps_schedule schedule;
    struct ps_schedule_place place; /* before the request on offer */
    struct ps_pacer pacer;
    struct ps_tally *tally;
    uint64_t counted_connects;
    struct ps_list sessions;
    size_t in_flight;
    size_t waiting;        /* users of a closed loop who come back later */
    struct ps_timer timer; /* the next send, or the return of the waiting */
    struct ps_timer close; /* the end of the duration, then of waiting for the last answers */
    struct ps_task end;    /* tells the end from the loop */
    struct ps_session_request request; /* on offer */
    uint64_t number;                   /* of it */
    uint64_t place_number;             /* the schedule's next request, from `place` */
    uint64_t walked;                   /* the schedule's next request, from where it stands */
    struct ps_requests_error error;
    int err; /* what broke it off */
    bool started;
    bool drained; /* nothing more will be sent */
    bool over;    /* on_end was told, or will never be */
};

static void look_for_end(struct ps_generator *generator)
{
    if (generator->drained && generator->in_flight == 0 && !generator->over) {
        ps_loop_defer(generator->loop, &generator->end);
    }
}

static void on_end(struct ps_task *task)
{
    struct ps_generator *generator = PS_CONTAINER_OF(task, struct ps_generator, end);
    if (!generator->over) {
        generator->over = true;
        generator->ops->on_end(generator->ctx, generator->err);
    }
}

static void set_drained(struct ps_generator *generator)
{
    ps_span drain = generator->opts.drain;
    generator->drained = true;
    generator->waiting = 0;
    ps_timer_clear(generator->loop, &generator->timer);
    ps_timer_clear(generator->loop, &generator->close);
    if (drain > 0) { /* without memory for the deadline the requests' own ones hold */
        PS_IGNORE(ps_timer_set(generator->loop, &generator->close, ps_loop_now(generator->loop) + drain));
    }
    look_for_end(generator);
}

static void break_off(struct ps_generator *generator, int err)
{
    generator->err = err;
    if (generator->error.text[0] == '\0') {
        snprintf(generator->error.text, sizeof generator->error.text, "%s", ps_err_text(err));
    }
    set_drained(generator);
}

static void wake_at(struct ps_generator *generator, struct ps_timer *timer, ps_time when)
{
    int err = ps_timer_set(generator->loop, timer, when);
    if (err != PS_OK) {
        break_off(generator, err);
    }
}

/* ----------------------------------------------------------------------------------- sending */

static const struct ps_session_ops session_ops;

/* Whose turn it is. */
static struct ps_target *next_target(const struct ps_generator *generator)
{
    bool second = generator->opts.second != NULL && generator->number % 2 == 1;
    return second ? generator->opts.second : generator->target;
}

static bool is_to_cancel(const struct ps_generator *generator)
{
    struct ps_rng rng = ps_rng_make(generator->opts.seed * 0x9e3779b97f4a7c15u + generator->number);
    return generator->opts.cancel_share > 0 && ps_rng_unit(&rng) < generator->opts.cancel_share;
}

/* Sends the request on offer. False: it could not be; it is counted as skipped. */
static bool send_one(struct ps_generator *generator, ps_time intended, ps_time now)
{
    struct ps_session_request *request = &generator->request;
    request->intended = intended;
    request->timeout = generator->opts.timeout;
    request->cancel = is_to_cancel(generator);
    int err = PS_ELIMIT;
    if (generator->in_flight < generator->opts.max_in_flight) {
        err = ps_session_start(&generator->sessions, generator->loop, next_target(generator), request,
                               &session_ops, generator);
    }
    if (err != PS_OK) {
        generator->tally->skipped++;
        return false;
    }
    generator->in_flight++;
    ps_tally_sent(generator->tally, intended, now, generator->opts.max_lag, request->head.len + request->body.len);
    return true;
}

static ps_time clock_now(const struct ps_generator *generator)
{
    return ps_clock_now(ps_loop_clock(generator->loop));
}

/* -------------------------------------------------------------------------------- closed loop */

/* One user's next request. A user who can't send waits. */
static void send_next(struct ps_generator *generator)
{
    ps_span at;
    generator->number = generator->walked++ * generator->opts.parts + generator->opts.part;
    if (generator->opts.limit > 0 && generator->number >= generator->opts.limit) {
        set_drained(generator);
        return;
    }
    int err = ps_requests_make(generator->requests, generator->number, &generator->request, &at,
                               &generator->error);
    if (err == PS_ENOTFOUND) {
        set_drained(generator);
        return;
    }
    if (err != PS_OK) {
        break_off(generator, err);
        return;
    }
    ps_time now = clock_now(generator);
    if (!send_one(generator, now, now)) {
        generator->waiting++;
        wake_at(generator, &generator->timer, now + RETRY);
    }
}

static bool never_connected(const struct ps_session_result *result)
{
    return result->failure != PS_FAILURE_NONE && result->status == 0;
}

/* Users whose connection failed don't come back at once: a server that is down must not be hammered. */
static void go_on(struct ps_generator *generator, const struct ps_session_result *result)
{
    if (!never_connected(result)) {
        send_next(generator);
        return;
    }
    if (generator->waiting++ == 0) {
        wake_at(generator, &generator->timer, ps_loop_now(generator->loop) + RETRY);
    }
}

static void send_waiting(struct ps_generator *generator)
{
    size_t count = generator->waiting;
    generator->waiting = 0;
    for (size_t i = 0; i < count && !generator->drained; i++) {
        send_next(generator);
    }
}

static void start_closed(struct ps_generator *generator, ps_time start)
{
    generator->waiting = generator->opts.connections;
    wake_at(generator, &generator->timer, start);
}

/* ---------------------------------------------------------------------------------- open loop */

static void on_text(void *ctx, ps_span gap)
{
    struct ps_generator *generator = ctx;
    generator->tally->texts++;
    if (gap >= 0) {
        ps_hist_record(&generator->tally->event_gap, gap);
    }
}

static void on_done(void *ctx, const struct ps_session_result *result)
{
    struct ps_generator *generator = ctx;
    generator->in_flight--;
    ps_tally_add(generator->tally, result, &generator->opts.objectives);
    if (generator->ops->on_result != NULL) {
        generator->ops->on_result(generator->ctx, result);
    }
    if (generator->opts.connections > 0 && !generator->drained) {
        go_on(generator, result);
    }
    look_for_end(generator);
}

static const struct ps_session_ops session_ops = {.on_text = on_text, .on_done = on_done};

/* Finds the next request of this part: its number, and by the schedule its time. False: there is none. */
static bool find_next(struct ps_generator *generator, ps_span *at)
{
    const struct ps_generator_opts *opts = &generator->opts;
    generator->place = generator->schedule.place;
    generator->place_number = generator->walked;
    do {
        if (opts->schedule != NULL && !ps_schedule_next(&generator->schedule, at)) {
            return false;
        }
        generator->number = generator->walked++;
    } while (generator->number % opts->parts != opts->part);
    return opts->limit == 0 || generator->number < opts->limit;
}

/* May a schedule that has nothing to send now have something later? */
static bool is_open(const struct ps_generator *generator)
{
    return generator->opts.schedule != NULL && ps_schedule_length(&generator->schedule.opts) == PS_NEVER;
}

/* Puts the next request on offer. False when there is none. */
static bool prepare(struct ps_generator *generator)
{
    ps_span at = 0;
    ps_span recorded = 0;
    generator->pacer.next = PS_NEVER;
    if (!find_next(generator, &at)) {
        if (!is_open(generator) || generator->opts.limit > 0) {
            set_drained(generator);
        }
        return false;
    }
    int err = ps_requests_make(generator->requests, generator->number, &generator->request, &recorded,
                               &generator->error);
    at = generator->opts.schedule == NULL ? recorded : at;
    if (err == PS_ENOTFOUND || (err == PS_OK && !ps_pacer_offer(&generator->pacer, at))) {
        set_drained(generator);
        return false;
    }
    if (err != PS_OK) {
        break_off(generator, err);
        return false;
    }
    return true;
}

static void send_due(struct ps_generator *generator, ps_time now)
{
    ps_time intended = 0;
    for (int i = 0; i < BATCH && ps_pacer_due(&generator->pacer, now, &intended); i++) {
        (void)send_one(generator, intended, clock_now(generator));
        if (!prepare(generator)) {
            return;
        }
    }
    wake_at(generator, &generator->timer, generator->pacer.next);
}

static void on_time(struct ps_timer *timer, ps_time now)
{
    struct ps_generator *generator = PS_CONTAINER_OF(timer, struct ps_generator, timer);
    if (generator->opts.connections > 0) {
        send_waiting(generator);
    } else {
        send_due(generator, now);
    }
}

/* The time of sending is over, or that of waiting for the last answers. What is due by now and not yet sent goes
 * out, late as it is. */
static void on_close(struct ps_timer *timer, ps_time now)
{
    struct ps_generator *generator = PS_CONTAINER_OF(timer, struct ps_generator, close);
    bool owes = generator->opts.connections == 0 && generator->pacer.next != PS_NEVER;
    (void)now;
    if (generator->drained) {
        generator->tally->unfinished += ps_session_cancel_all(&generator->sessions);
        generator->in_flight = 0;
        look_for_end(generator);
    } else if (!owes) {
        set_drained(generator);
    }
}

/* What was on offer may not come any more, or come at another time: it is looked for again. */
void ps_generator_change(struct ps_generator *generator, ps_span from, const struct ps_phase *phase)
{
    if (generator->drained || generator->opts.schedule == NULL) {
        return;
    }
    generator->schedule.place = generator->place;
    generator->walked = generator->place_number;
    ps_schedule_change(&generator->schedule, from, phase);
    ps_timer_clear(generator->loop, &generator->timer);
    if (prepare(generator)) {
        wake_at(generator, &generator->timer, generator->pacer.next);
    }
}

/* -------------------------------------------------------------------------------------- life */

static void fill(struct ps_generator *generator, const struct ps_generator_opts *opts)
{
    generator->opts = *opts;
    generator->opts.parts = opts->parts == 0 ? 1 : opts->parts;
    generator->opts.pace.speed = opts->pace.speed > 0 ? opts->pace.speed : 1;
    generator->opts.max_lag = opts->max_lag > 0 ? opts->max_lag : PS_TALLY_LATE;
    generator->timer.on_time = on_time;
    generator->end.on_turn = on_end;
    ps_list_init(&generator->sessions);
    if (opts->schedule != NULL) {
        ps_schedule_init(&generator->schedule, opts->schedule);
    }
}

int ps_generator_new(struct ps_generator **out, struct ps_loop *loop, struct ps_target *target,
                     struct ps_requests *requests, const struct ps_generator_opts *opts,
                     const struct ps_generator_ops *ops, void *ctx)
{
    struct ps_generator *generator = calloc(1, sizeof *generator);
    struct ps_tally *tally = calloc(1, sizeof *tally);
    if (generator == NULL || tally == NULL) {
        ps_requests_free(requests);
        free(generator);
        free(tally);
        return PS_ENOMEM;
    }
    generator->loop = loop;
    generator->target = target;
    generator->requests = requests;
    generator->tally = tally;
    generator->ops = ops;
    generator->ctx = ctx;
    fill(generator, opts);
    ps_pacer_init(&generator->pacer, &generator->opts.pace, ps_loop_now(loop));
    *out = generator;
    return PS_OK;
}

void ps_generator_start(struct ps_generator *generator, ps_time start)
{
    PS_CHECK(!generator->started);
    generator->started = true;
    ps_pacer_init(&generator->pacer, &generator->opts.pace, start);
    generator->close.on_time = on_close;
    if (generator->opts.pace.duration > 0) {
        wake_at(generator, &generator->close, start + generator->opts.pace.duration);
    }
    if (generator->opts.connections > 0) {
        start_closed(generator, start);
    } else if (prepare(generator)) {
        wake_at(generator, &generator->timer, generator->pacer.next);
    }
}

void ps_generator_drain(struct ps_generator *generator)
{
    if (!generator->drained) {
        set_drained(generator);
    }
}

void ps_generator_stop(struct ps_generator *generator)
{
    uint64_t unfinished = ps_session_cancel_all(&generator->sessions);
    if (!generator->over) {
        ps_tally_stop(generator->tally, unfinished, generator->pacer.start, ps_loop_now(generator->loop));
    }
    generator->over = true;
    generator->drained = true;
    ps_timer_clear(generator->loop, &generator->timer);
    ps_timer_clear(generator->loop, &generator->close);
    ps_task_clear(&generator->end);
    generator->in_flight = 0;
}

void ps_generator_free(struct ps_generator *generator)
{
    if (generator == NULL) {
        return;
    }
    ps_generator_stop(generator);
    ps_requests_free(generator->requests);
    free(generator->tally);
    free(generator);
}

/* -------------------------------------------------------------------------------------- looks */

struct ps_tally *ps_generator_swap(struct ps_generator *generator, struct ps_tally *fresh)
{
    struct ps_tally *full = generator->tally;
    uint64_t begun = ps_pool_begun(ps_target_pool(generator->target));
    full->connects += begun - generator->counted_connects;
    generator->counted_connects = begun;
    generator->tally = fresh;
    return full;
}

const struct ps_tally *ps_generator_tally(const struct ps_generator *generator)
{
    return generator->tally;
}

const struct ps_requests *ps_generator_requests(const struct ps_generator *generator)
{
    return generator->requests;
}

size_t ps_generator_in_flight(const struct ps_generator *generator)
{
    return generator->in_flight;
}

bool ps_generator_is_drained(const struct ps_generator *generator)
{
    return generator->drained;
}

const char *ps_generator_error(const struct ps_generator *generator)
{
    return generator->error.text;
}
