/* run - see run.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/check.h"
#include "io/loop.h"
#include "io/mailbox.h"
#include "load/thread.h"

#define IN_FLIGHT 16384u
#define TIMEOUT (60 * PS_SECOND)
#define START_IN (20 * PS_MILLISECOND)  /* from when all threads are ready to t = 0 */
#define EARLY (150 * PS_MICROSECOND)    /* spent polling before each send, so that it is punctual */
#define DESCRIPTORS_KEPT 64u            /* for everything that is not a connection */
#define BUSY_PERCENT 95.0               /* a thread above this had no time to be punctual */

/* A thread, as control knows it. */
struct hand {
    struct ps_run *run;
    struct ps_thread *thread;
    struct ps_thread_block *first; /* blocks that no row has taken yet */
    struct ps_thread_block *last;
    double busy_seconds; /* up to the last row */
    size_t in_flight;
    size_t connections;
    bool ready;
    bool over; /* its last block was taken */
};

struct ps_run {
    struct ps_loop *loop;
    struct ps_mailbox *mailbox;
    struct ps_run_opts opts;
    const struct ps_run_ops *ops;
    void *ctx;
    struct ps_catalogue *catalogue;
    struct ps_schedule schedule; /* walked by nobody: what the rate is at a time */
    struct hand *hands;
    unsigned count;
    struct ps_tally *total;
    struct ps_tally *row; /* of several threads */
    uint64_t rows;
    ps_time start;
    ps_time started_wall;
    ps_time ended;
    double busiest;      /* of all rows: mean of the busiest thread's share, as a sum */
    double busy_seconds; /* what it is a sum over */
    uint64_t cut;
    unsigned ready;
    struct ps_task end;
    int err;
    char target[300];
    char error[640];
    char limited[400];
    bool begun;
    bool stopping;
    bool over;
    bool freed;
};

static int say(struct ps_run_error *error, int err, const char *what)
{
    snprintf(error->text, sizeof error->text, "%s", what);
    return err;
}

/* ---------------------------------------------------------------------------------------- end */

static void on_end(struct ps_task *task)
{
    struct ps_run *run = PS_CONTAINER_OF(task, struct ps_run, end);
    run->ops->on_end(run->ctx, run->err);
}

static void end(struct ps_run *run)
{
    run->over = true;
    run->ended = ps_loop_now(run->loop);
    ps_loop_defer(run->loop, &run->end);
}

/* Keeps the first cause. */
static void note(struct ps_run *run, int err, const char *why)
{
    if (run->err == PS_OK && err != PS_OK) {
        run->err = err;
        snprintf(run->error, sizeof run->error, "%s", why);
    }
}

void ps_run_stop(struct ps_run *run)
{
    run->stopping = true;
    for (unsigned i = 0; i < run->count; i++) {
        ps_thread_stop(run->hands[i].thread);
    }
}

/* --------------------------------------------------------------------------------------- rows */

/* Do all threads that still work have a block for this row? */
static bool is_complete(const struct ps_run *run)
{
    bool any = false;
    for (unsigned i = 0; i < run->count; i++) {
        const struct hand *hand = &run->hands[i];
        if (!hand->over && hand->first == NULL) {
            return false;
        }
        any = any || hand->first != NULL;
    }
    return any;
}

static struct ps_thread_block *take_block(struct hand *hand)
{
    struct ps_thread_block *block = hand->first;
    hand->first = block->next;
    hand->last = hand->first == NULL ? NULL : hand->last;
    block->next = NULL;
    return block;
}

/* Merges a block into the row; returns how long the thread was busy. */
static double merge(struct hand *hand, struct ps_thread_block *block, struct ps_tally *row)
{
    double busy = block->busy_seconds - hand->busy_seconds;
    hand->busy_seconds = block->busy_seconds;
    hand->in_flight = block->in_flight;
    hand->connections = block->last ? 0 : block->connections;
    ps_tally_merge(row, block->tally);
    if (block->last) {
        hand->over = true;
        hand->run->cut += hand == hand->run->hands ? block->cut : 0; /* each thread reads the whole trace */
        note(hand->run, block->err, block->error);
    }
    return busy;
}

static void dispose(struct hand *hand, struct ps_thread_block *block)
{
    if (block->last) {
        ps_thread_block_free(block);
    } else {
        ps_thread_recycle(hand->thread, block);
    }
}

/* Takes a block of each thread; returns the busy time of the busiest. */
static double collect(struct ps_run *run, struct ps_tally *row)
{
    double busiest = 0;
    for (unsigned i = 0; i < run->count; i++) {
        struct hand *hand = &run->hands[i];
        if (hand->first != NULL) {
            struct ps_thread_block *block = take_block(hand);
            busiest = fmax(busiest, merge(hand, block, row));
            dispose(hand, block);
        }
    }
    return busiest;
}

static struct ps_run_self self_of(const struct ps_tally *tally, double cpu_percent)
{
    return (struct ps_run_self){
        .cpu_percent = cpu_percent,
        .lag_p99_seconds = ps_hist_percentile(&tally->lag, 0.99) / 1e9,
        .late = tally->late,
        .skipped = tally->skipped,
        .out_of_ports = tally->failures[PS_FAILURE_PORTS],
        .out_of_files = tally->failures[PS_FAILURE_GENERATOR],
    };
}

static bool all_over(const struct ps_run *run)
{
    for (unsigned i = 0; i < run->count; i++) {
        if (!run->hands[i].over) {
            return false;
        }
    }
    return true;
}

static bool has_schedule(const struct ps_run *run)
{
    return run->opts.connections == 0 && !ps_catalogue_has_times(run->catalogue);
}

/* What was due in the row; nothing any more when sending has ended. */
static double target_rate(struct ps_run *run, ps_span at, ps_span length)
{
    ps_span end = at + length;
    if (!has_schedule(run) || length <= 0) {
        return NAN;
    }
    if (run->opts.duration > 0 && end > run->opts.duration) {
        end = run->opts.duration > at ? run->opts.duration : at;
    }
    ps_schedule_skip(&run->schedule, at);
    return ps_schedule_expected(&run->schedule, at, end) / ps_span_seconds(length);
}

static void count_busy(struct ps_run *run, double busy, ps_span length)
{
    run->busiest += busy;
    run->busy_seconds += ps_span_seconds(length);
}

static void tell_row(struct ps_run *run, const struct ps_tally *tally, ps_span length, double busy)
{
    ps_span at = (ps_span)run->rows * PS_SECOND;
    double cpu = length > 0 ? 100 * busy / ps_span_seconds(length) : 0;
    struct ps_run_row row = {
        .number = run->rows,
        .at = at,
        .length = length,
        .wall = run->started_wall + at,
        .target_rate = target_rate(run, at, length),
        .tally = tally,
        .self = self_of(tally, cpu),
    };
    for (unsigned i = 0; i < run->count; i++) {
        row.in_flight += run->hands[i].in_flight;
        row.connections += run->hands[i].connections;
    }
    run->rows++;
    if (run->ops->on_row != NULL) {
        run->ops->on_row(run->ctx, &row);
    }
}

static ps_span last_length(const struct ps_run *run)
{
    ps_span length = ps_loop_now(run->loop) - run->start - (ps_span)run->rows * PS_SECOND;
    return length < 0 ? 0 : length > PS_SECOND ? PS_SECOND : length;
}

static void make_row(struct ps_run *run)
{
    ps_tally_clear(run->row);
    double busy = collect(run, run->row);
    bool last = all_over(run);
    ps_span length = last ? last_length(run) : PS_SECOND;
    bool empty = last && run->row->sent == 0 && ps_tally_ended(run->row) == 0 && run->row->unfinished == 0 &&
                 run->row->skipped == 0;
    count_busy(run, busy, length);
    ps_tally_merge(run->total, run->row);
    if (!empty && run->begun) {
        tell_row(run, run->row, length, busy);
    }
    if (last) {
        end(run);
    }
}

static void on_block(struct ps_letter *letter, void *receiver)
{
    struct ps_thread_block *block = PS_CONTAINER_OF(letter, struct ps_thread_block, letter);
    struct hand *hand = block->owner;
    struct ps_run *run = receiver;
    if (run->freed) {
        ps_thread_block_free(block);
        return;
    }
    if (hand->last == NULL) {
        hand->first = block;
    } else {
        hand->last->next = block;
    }
    hand->last = block;
    if (block->last && block->err != PS_OK) {
        ps_run_stop(run); /* one that broke off ends all */
    }
    while (!run->over && is_complete(run)) {
        make_row(run);
    }
}

/* -------------------------------------------------------------------------------------- begin */

static void begin(struct ps_run *run)
{
    run->begun = true;
    run->start = ps_clock_now(&ps_clock_real) + START_IN;
    run->started_wall = ps_clock_wall(&ps_clock_real) + START_IN;
    for (unsigned i = 0; i < run->count; i++) {
        ps_thread_start(run->hands[i].thread, run->start);
    }
    if (run->ops->on_start != NULL) {
        run->ops->on_start(run->ctx);
    }
}

static void on_ready(struct ps_letter *letter, void *receiver)
{
    const struct ps_thread_news *news = PS_CONTAINER_OF(letter, struct ps_thread_news, letter);
    struct ps_run *run = receiver;
    if (run->freed) {
        return;
    }
    if (news->err != PS_OK) {
        note(run, news->err, news->why);
        ps_run_stop(run);
    } else if (++run->ready == run->count && !run->stopping) {
        begin(run);
    }
}

static struct ps_thread_opts thread_opts(struct ps_run *run, unsigned part)
{
    const struct ps_run_opts *opts = &run->opts;
    size_t connections = opts->connections / run->count + (part < opts->connections % run->count ? 1 : 0);
    struct ps_thread_opts thread = {
        .target = opts->target,
        .catalogue = run->catalogue,
        .generator = {.schedule = has_schedule(run) ? &run->opts.schedule : NULL,
                      .connections = connections,
                      .pace = opts->pace,
                      .limit = opts->limit,
                      .part = part,
                      .parts = run->count,
                      .max_in_flight = (opts->max_in_flight + run->count - 1) / run->count,
                      .timeout = opts->timeout,
                      .drain = opts->drain,
                      .max_lag = opts->max_lag,
                      .cancel_share = opts->cancel_share,
                      .objectives = opts->objectives,
                      .seed = opts->seed},
        .reach = part == 0,
        .early = opts->connections > 0 ? 0 : EARLY,
        .control = run->mailbox,
        .owner = &run->hands[part],
        .on_ready = on_ready,
        .on_block = on_block,
    };
    return thread;
}

void ps_run_start(struct ps_run *run)
{
    struct ps_target_error error = {""};
    PS_CHECK(run->count == 0 && !run->over);
    int err = PS_OK;
    unsigned count = run->opts.threads;
    run->count = count;
    for (unsigned i = 0; err == PS_OK && i < count; i++) {
        const struct ps_thread_opts opts = thread_opts(run, i);
        run->hands[i].run = run;
        run->count = count;
        err = ps_thread_new(&run->hands[i].thread, &opts, &error);
        run->count = err == PS_OK ? count : i;
    }
    if (err == PS_OK) {
        return;
    }
    note(run, err, error.text);
    ps_run_stop(run);
    if (run->count == 0) {
        end(run);
    }
}

ps_span ps_run_change(struct ps_run *run, const struct ps_phase *phase)
{
    ps_span from = ps_clock_now(&ps_clock_real) - run->start + PS_RUN_CHANGE_DELAY;
    PS_CHECK(run->begun && has_schedule(run)); /* before that the threads have nothing to change */
    from = from < 0 ? 0 : from;
    ps_schedule_change(&run->schedule, from, phase);
    for (unsigned i = 0; i < run->count; i++) {
        int err = ps_thread_change(run->hands[i].thread, from, phase);
        if (err != PS_OK) { /* threads that disagree about the rate are worse than none */
            note(run, err, ps_err_text(err));
            ps_run_stop(run);
        }
    }
    return from;
}

void ps_run_drain(struct ps_run *run)
{
    for (unsigned i = 0; i < run->count; i++) {
        ps_thread_drain(run->hands[i].thread);
    }
}

/* --------------------------------------------------------------------------------------- life */

/* A process may open fewer descriptors than requests are allowed in flight: raises what can be. */
static size_t descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return SIZE_MAX;
    }
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur > 2 * DESCRIPTORS_KEPT ? (size_t)limit.rlim_cur - DESCRIPTORS_KEPT : DESCRIPTORS_KEPT;
}

static int check(struct ps_run *run, struct ps_run_error *error)
{
    struct ps_run_opts *opts = &run->opts;
    size_t files = descriptors();
    if (opts->connections > files) {
        snprintf(error->text, sizeof error->text, "%zu connections: this process may have %zu (ulimit -n)",
                 opts->connections, files);
        return PS_ELIMIT;
    }
    opts->max_in_flight = opts->max_in_flight < files ? opts->max_in_flight : files;
    if (has_schedule(run) && ps_schedule_check(&opts->schedule) != PS_OK) {
        return say(error, PS_EINVAL, "a rate or a length that can't be, or nothing to send");
    }
    return PS_OK;
}

static void fill(struct ps_run *run, const struct ps_run_opts *opts)
{
    struct ps_run_opts *own = &run->opts;
    *own = *opts;
    own->threads = opts->threads == 0 ? 1 : opts->threads;
    own->threads = own->threads < PS_RUN_THREADS_MAX ? own->threads : PS_RUN_THREADS_MAX;
    if (opts->connections > 0 && opts->connections < own->threads) {
        own->threads = (unsigned)opts->connections;
    }
    own->max_lag = opts->max_lag > 0 ? opts->max_lag : PS_TALLY_LATE;
    own->timeout = opts->timeout > 0 ? opts->timeout : TIMEOUT;
    own->max_in_flight = opts->max_in_flight > 0 ? opts->max_in_flight : IN_FLIGHT;
    if (opts->connections > own->max_in_flight) {
        own->max_in_flight = opts->connections;
    }
    own->pace.speed = opts->pace.speed > 0 ? opts->pace.speed : 1;
    if (opts->duration > 0) {
        own->pace.duration = opts->duration;
    }
    run->end.on_turn = on_end;
    snprintf(run->target, sizeof run->target, "%s", opts->target.url);
}

static int build(struct ps_run *run, struct ps_run_error *error)
{
    struct ps_requests_error why = {""};
    struct ps_target_error bad;
    run->hands = calloc(run->opts.threads, sizeof *run->hands);
    run->total = calloc(1, sizeof *run->total);
    run->row = calloc(1, sizeof *run->row);
    if (run->hands == NULL || run->total == NULL || run->row == NULL) {
        return PS_ENOMEM;
    }
    int err = ps_target_check(&run->opts.target, &bad);
    if (err != PS_OK) {
        return say(error, err, bad.text);
    }
    err = ps_catalogue_new(&run->catalogue, &run->opts.requests, &why);
    if (err != PS_OK) {
        return say(error, err, why.text);
    }
    err = check(run, error);
    if (err != PS_OK) {
        return err;
    }
    ps_schedule_init(&run->schedule, &run->opts.schedule);
    return ps_mailbox_new(&run->mailbox, run->loop, run);
}

int ps_run_new(struct ps_run **out, struct ps_loop *loop, const struct ps_run_opts *opts,
               const struct ps_run_ops *ops, void *ctx, struct ps_run_error *error)
{
    struct ps_run *run = calloc(1, sizeof *run);
    say(error, PS_ENOMEM, ps_err_text(PS_ENOMEM));
    if (run == NULL) {
        return PS_ENOMEM;
    }
    run->loop = loop;
    run->ops = ops;
    run->ctx = ctx;
    fill(run, opts);
    int err = build(run, error);
    if (err != PS_OK) {
        ps_run_free(run);
        return err;
    }
    *out = run;
    return PS_OK;
}

static void free_blocks(struct hand *hand)
{
    while (hand->first != NULL) {
        ps_thread_block_free(take_block(hand));
    }
}

void ps_run_free(struct ps_run *run)
{
    if (run == NULL) {
        return;
    }
    run->freed = true;
    for (unsigned i = 0; i < run->count; i++) {
        ps_thread_join(run->hands[i].thread);
    }
    ps_mailbox_free(run->mailbox);
    for (unsigned i = 0; i < run->count; i++) {
        free_blocks(&run->hands[i]);
        ps_thread_free(run->hands[i].thread);
    }
    ps_task_clear(&run->end);
    ps_catalogue_free(run->catalogue);
    free(run->hands);
    free(run->total);
    free(run->row);
    free(run);
}

/* -------------------------------------------------------------------------------------- looks */

const struct ps_tally *ps_run_total(const struct ps_run *run)
{
    return run->total;
}

struct ps_run_self ps_run_self(const struct ps_run *run)
{
    return self_of(run->total, run->busy_seconds > 0 ? 100 * run->busiest / run->busy_seconds : 0);
}

double ps_run_seconds(const struct ps_run *run)
{
    const struct ps_tally *total = run->total;
    if (!run->begun) {
        return 0;
    }
    ps_time now = run->over ? run->ended : ps_loop_now(run->loop);
    /* Waiting for the end of the last second is not part of it. */
    ps_time last = run->over && ps_tally_ended(total) > 0 && !total->stopped ? total->last_end : now;
    return ps_span_seconds(last > run->start ? last - run->start : 0);
}

const char *ps_run_limited(const struct ps_run *run)
{
    const struct ps_tally *total = run->total;
    struct ps_run_self self = ps_run_self(run);
    char *text = ((struct ps_run *)(uintptr_t)run)->limited;
    size_t size = sizeof run->limited;
    if (self.out_of_ports > 0) {
        snprintf(text, size, "%llu connections found no free local port",
                 (unsigned long long)self.out_of_ports);
    } else if (self.out_of_files > 0) {
        snprintf(text, size, "%llu connections found no free descriptor or memory",
                 (unsigned long long)self.out_of_files);
    } else if (total->skipped > 0) {
        snprintf(text, size, "%llu requests could not be sent: %zu in flight is the bound",
                 (unsigned long long)total->skipped, run->opts.max_in_flight);
    } else if (ps_tally_is_limited(total)) {
        snprintf(text, size, "%llu of %llu requests left over %g ms late", (unsigned long long)total->late,
                 (unsigned long long)total->sent, (double)run->opts.max_lag / 1e6);
    } else if (self.cpu_percent > BUSY_PERCENT && run->busy_seconds >= 1) {
        snprintf(text, size, "a generator thread was busy %.0f %% of the time: it had no more to give",
                 self.cpu_percent);
    } else {
        return NULL;
    }
    return text;
}

const char *ps_run_error(const struct ps_run *run)
{
    return run->error;
}

const char *ps_run_target(const struct ps_run *run)
{
    return run->target;
}

ps_time ps_run_started(const struct ps_run *run)
{
    return run->begun ? run->started_wall : 0;
}

uint64_t ps_run_cut(const struct ps_run *run)
{
    return run->cut;
}
