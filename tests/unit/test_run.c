/* test_run - whole runs against a server in this process whose delays are known.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/list.h"
#include "io/loop.h"
#include "io/mailbox.h"
#include "io/stream.h"
#include "load/run.h"

#define OK "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

/* ------------------------------------------------------------------------------------- server */

enum mood { ANSWERS, CLOSES, RUBBISH, SILENT };

struct visitor {
    struct ps_list link;
    struct ps_stream *stream;
    struct ps_timer timer;
};

static struct server {
    struct ps_loop *loop;
    struct ps_listener *listener;
    struct ps_mailbox *mailbox;
    struct ps_letter stop;
    pthread_t thread;
    struct ps_list visitors;
    enum mood mood;
    ps_span delay;
    ps_time stalled_from, stalled_to; /* what comes between is answered at its end */
    unsigned requests;
    unsigned connections;
    unsigned left; /* connections that the client closed */
    char url[64];
} server;

static void leave(struct visitor *visitor)
{
    ps_timer_clear(server.loop, &visitor->timer);
    ps_list_remove(&visitor->link);
    ps_stream_free(visitor->stream);
    free(visitor);
}

static void on_answer_time(struct ps_timer *timer, ps_time now)
{
    struct visitor *visitor = PS_CONTAINER_OF(timer, struct visitor, timer);
    const struct ps_str answer = server.mood == RUBBISH ? PS_STR("what?\r\n\r\n") : PS_STR(OK);
    (void)now;
    if (server.mood == CLOSES) {
        leave(visitor);
        return;
    }
    PS_IGNORE(ps_stream_write(visitor->stream, &answer, 1));
}

static size_t on_data(void *ctx, struct ps_str data)
{
    struct visitor *visitor = ctx;
    ps_time now = ps_loop_now(server.loop);
    server.requests++;
    if (server.mood == SILENT) {
        return data.len;
    }
    bool stalled = now >= server.stalled_from && now < server.stalled_to;
    ps_time when = stalled ? server.stalled_to : now + server.delay;
    assert_int_equal(ps_timer_set(server.loop, &visitor->timer, when), PS_OK);
    return data.len;
}

static void on_close(void *ctx, int err)
{
    (void)err;
    server.left++;
    leave(ctx);
}

static void on_accept(void *ctx, int fd, const struct ps_address *peer)
{
    static const struct ps_stream_ops ops = {.on_data = on_data, .on_close = on_close};
    struct visitor *visitor = calloc(1, sizeof *visitor);
    const struct ps_stream_opts opts = {.ops = &ops, .ctx = visitor};
    (void)ctx;
    (void)peer;
    server.connections++;
    visitor->timer.on_time = on_answer_time;
    assert_int_equal(ps_stream_accept(&visitor->stream, server.loop, fd, &opts), PS_OK);
    ps_list_push(&server.visitors, &visitor->link);
}

static void *serve(void *ctx)
{
    (void)ctx;
    ps_loop_run(server.loop);
    while (!ps_list_is_empty(&server.visitors)) {
        leave(PS_LIST_FIRST(&server.visitors, struct visitor, link));
    }
    return NULL;
}

static void on_stop(struct ps_letter *letter, void *receiver)
{
    (void)letter;
    (void)receiver;
    ps_loop_stop(server.loop);
}

static void open_server(enum mood mood, ps_span delay)
{
    struct ps_address any;
    memset(&server, 0, sizeof server);
    server.mood = mood;
    server.delay = delay;
    ps_list_init(&server.visitors);
    assert_int_equal(ps_loop_new(&server.loop, &ps_clock_real), PS_OK);
    assert_int_equal(ps_mailbox_new(&server.mailbox, server.loop, NULL), PS_OK);
    assert_int_equal(ps_address_parse(PS_STR("127.0.0.1:0"), &any), PS_OK);
    assert_int_equal(ps_listener_new(&server.listener, server.loop, &any, on_accept, NULL), PS_OK);
    strcpy(server.url, "http://");
    ps_address_text(ps_listener_address(server.listener), server.url + 7);
}

static void start_server(void)
{
    assert_int_equal(pthread_create(&server.thread, NULL, serve, NULL), 0);
}

static void close_server(void)
{
    server.stop.on_delivery = on_stop;
    ps_mailbox_post(server.mailbox, &server.stop);
    pthread_join(server.thread, NULL);
    ps_listener_free(server.listener);
    ps_mailbox_free(server.mailbox);
    ps_loop_free(server.loop);
}

/* ---------------------------------------------------------------------------------------- run */

static struct world {
    struct ps_loop *loop;
    struct ps_run *run;
    struct ps_run_opts opts;
    struct ps_tally *sum; /* of the rows */
    uint64_t rows;
    double expected; /* requests, by the rows' target rates */
    uint64_t most_in_flight;
    struct ps_phase change; /* told at the end of row `change_at` */
    uint64_t change_at, stop_at, drain_at; /* 0 = never */
    int err;
    bool over;
} world;

static void on_row(void *ctx, const struct ps_run_row *row)
{
    (void)ctx;
    assert_int_equal(row->number, world.rows);
    assert_int_equal(row->at, (ps_span)world.rows * PS_SECOND);
    world.rows++;
    world.expected += isnan(row->target_rate) ? 0 : row->target_rate * ps_span_seconds(row->length);
    world.most_in_flight = row->in_flight > world.most_in_flight ? row->in_flight : world.most_in_flight;
    ps_tally_merge(world.sum, row->tally);
    if (world.rows == world.change_at) {
        ps_span from = ps_run_change(world.run, &world.change);
        assert_true(from > row->at);
    }
    if (world.rows == world.stop_at) {
        ps_run_stop(world.run);
    }
    if (world.rows == world.drain_at) {
        ps_run_drain(world.run);
    }
}

static void on_end(void *ctx, int err)
{
    (void)ctx;
    assert_false(world.over);
    world.over = true;
    world.err = err;
    ps_loop_stop(world.loop);
}

static const struct ps_run_ops ops = {.on_row = on_row, .on_end = on_end};

static int begin(void **state)
{
    (void)state;
    memset(&world, 0, sizeof world);
    world.sum = calloc(1, sizeof *world.sum);
    world.opts.timeout = 5 * PS_SECOND;
    world.opts.schedule = (struct ps_schedule_opts){.phase_count = 1, .phases = {{200, 200, 2 * PS_SECOND}}};
    assert_int_equal(ps_loop_new(&world.loop, &ps_clock_real), PS_OK);
    return world.sum == NULL;
}

static int end(void **state)
{
    (void)state;
    ps_run_free(world.run);
    ps_loop_free(world.loop);
    free(world.sum);
    return 0;
}

static void play(void)
{
    struct ps_run_error error = {""};
    world.opts.target.url = server.url;
    world.opts.target.whole_url = true;
    assert_int_equal(ps_run_new(&world.run, world.loop, &world.opts, &ops, NULL, &error), PS_OK);
    ps_run_start(world.run);
    ps_loop_run(world.loop);
    assert_true(world.over);
}

static void assert_rows_are_the_total(void)
{
    const struct ps_tally *total = ps_run_total(world.run);
    assert_int_equal(world.sum->sent, total->sent);
    assert_int_equal(world.sum->succeeded, total->succeeded);
    assert_int_equal(world.sum->failed, total->failed);
    assert_int_equal(world.sum->corrected.count, total->corrected.count);
    assert_int_equal(total->sent, ps_tally_ended(total) + total->unfinished);
}

static void a_schedule_is_sent_to_the_last_request(void **state)
{
    (void)state;
    open_server(ANSWERS, 3 * PS_MILLISECOND);
    start_server();
    play();
    close_server();
    const struct ps_tally *total = ps_run_total(world.run);
    assert_int_equal(world.err, PS_OK);
    assert_int_equal(total->sent, 400);
    assert_int_equal(total->succeeded, 400);
    assert_int_equal(server.requests, 400);
    assert_float_equal(world.expected, 400, 2);
    assert_true(total->corrected.min >= 3 * PS_MILLISECOND);
    assert_rows_are_the_total();
    assert_in_range(world.rows, 2, 4);
}

static void threads_send_the_same_requests_as_one(void **state)
{
    (void)state;
    open_server(ANSWERS, PS_MILLISECOND);
    start_server();
    world.opts.threads = 3;
    world.opts.schedule.spread = PS_SPREAD_POISSON;
    world.opts.schedule.seed = 11;
    struct ps_schedule schedule;
    ps_span at;
    uint64_t expected = 0;
    ps_schedule_init(&schedule, &world.opts.schedule);
    while (ps_schedule_next(&schedule, &at)) {
        expected++;
    }
    play();
    close_server();
    assert_int_equal(ps_run_total(world.run)->sent, expected);
    assert_int_equal(server.requests, expected);
    assert_rows_are_the_total();
}

static void a_stall_shows_in_corrected_latencies(void **state)
{
    (void)state;
    open_server(ANSWERS, PS_MILLISECOND);
    server.stalled_from = ps_clock_now(&ps_clock_real) + 800 * PS_MILLISECOND;
    server.stalled_to = server.stalled_from + 700 * PS_MILLISECOND;
    start_server();
    play();
    close_server();
    const struct ps_tally *total = ps_run_total(world.run);
    assert_int_equal(total->succeeded, 400);
    /* 140 of 400 requests came while it stalled: the last third has waited, evenly up to 700 ms. */
    assert_true(ps_hist_percentile(&total->corrected, 0.98) > 600e6);
    assert_true(ps_hist_percentile(&total->corrected, 0.5) < 300e6);
}

static void the_rate_changes_while_it_runs(void **state)
{
    (void)state;
    open_server(ANSWERS, PS_MILLISECOND);
    start_server();
    world.opts.threads = 2;
    world.opts.schedule = (struct ps_schedule_opts){.phase_count = 1, .phases = {{100, 100, 0}}};
    world.change_at = 1;
    world.change = (struct ps_phase){500, 500, PS_SECOND};
    play();
    close_server();
    const struct ps_tally *total = ps_run_total(world.run);
    assert_float_equal((double)total->sent, world.expected, 3);
    assert_in_range(total->sent, 600, 660); /* 1 s and what the change took, then a second */
    assert_int_equal(server.left, 1); /* the one that looked whether anybody is there: none was closed for it */
    assert_rows_are_the_total();
}

static void draining_waits_for_the_answers(void **state)
{
    (void)state;
    open_server(ANSWERS, 300 * PS_MILLISECOND);
    start_server();
    world.opts.schedule = (struct ps_schedule_opts){.phase_count = 1, .phases = {{100, 100, 0}}};
    world.drain_at = 1;
    play();
    close_server();
    const struct ps_tally *total = ps_run_total(world.run);
    assert_int_equal(total->unfinished, 0);
    assert_int_equal(total->sent, total->succeeded);
    assert_rows_are_the_total();
}

static void stopping_counts_what_was_dropped(void **state)
{
    (void)state;
    open_server(SILENT, 0);
    start_server();
    world.opts.threads = 2;
    world.stop_at = 1;
    play();
    close_server();
    const struct ps_tally *total = ps_run_total(world.run);
    assert_int_equal(world.err, PS_OK);
    assert_true(total->unfinished > 150);
    assert_int_equal(total->sent, total->unfinished);
    assert_rows_are_the_total();
}

static void waiting_for_the_last_answers_has_an_end(void **state)
{
    (void)state;
    open_server(SILENT, 0);
    start_server();
    world.opts.schedule.phases[0] = (struct ps_phase){50, 50, PS_SECOND / 2};
    world.opts.drain = PS_SECOND / 5;
    play();
    close_server();
    assert_int_equal(ps_run_total(world.run)->unfinished, 25);
    assert_true(ps_run_seconds(world.run) < 2);
}

static void a_closed_loop_keeps_its_connections_busy(void **state)
{
    (void)state;
    open_server(ANSWERS, 10 * PS_MILLISECOND);
    start_server();
    world.opts.connections = 7;
    world.opts.threads = 2;
    world.opts.duration = PS_SECOND;
    play();
    close_server();
    const struct ps_tally *total = ps_run_total(world.run);
    assert_int_equal(server.connections, 8); /* and the one that looked whether anybody is there */
    assert_in_range(total->succeeded, 7 * 40, 7 * 100);
    assert_int_equal(total->unfinished, 0);
    assert_rows_are_the_total();
}

static void a_count_ends_open_and_closed_loops(void **state)
{
    (void)state;
    open_server(ANSWERS, PS_MILLISECOND);
    start_server();
    world.opts.limit = 55;
    world.opts.threads = 2;
    play();
    assert_int_equal(ps_run_total(world.run)->sent, 55);
    ps_run_free(world.run);
    world.over = false;
    world.rows = 0;
    world.opts.connections = 10;
    play();
    assert_int_equal(ps_run_total(world.run)->sent, 55);
    close_server();
    assert_int_equal(server.requests, 110);
}

static void a_server_that_closes_each_connection_is_a_failure_a_request(void **state)
{
    (void)state;
    open_server(CLOSES, 0);
    start_server();
    world.opts.schedule.phases[0].length = PS_SECOND / 2;
    play();
    close_server();
    const struct ps_tally *total = ps_run_total(world.run);
    assert_int_equal(total->failed, 100);
    assert_int_equal(total->failures[PS_FAILURE_RESET], 100);
    assert_int_equal(total->connects, 100);
}

static void rubbish_is_a_failure_a_request(void **state)
{
    (void)state;
    open_server(RUBBISH, 0);
    start_server();
    world.opts.schedule.phases[0].length = PS_SECOND / 2;
    play();
    close_server();
    assert_int_equal(ps_run_total(world.run)->failures[PS_FAILURE_BAD_ANSWER], 100);
}

static void nobody_there_is_told_before_anything_is_sent(void **state)
{
    (void)state;
    snprintf(server.url, sizeof server.url, "http://127.0.0.1:1");
    play();
    assert_int_equal(world.err, PS_EREFUSED);
    assert_non_null(strstr(ps_run_error(world.run), "127.0.0.1:1"));
    assert_int_equal(ps_run_total(world.run)->sent, 0);
    assert_int_equal(world.rows, 0);
}

static void a_bound_in_flight_is_the_generators_limit(void **state)
{
    (void)state;
    open_server(SILENT, 0);
    start_server();
    world.opts.max_in_flight = 10;
    world.opts.drain = PS_SECOND / 10;
    world.opts.schedule.phases[0].length = PS_SECOND / 2;
    play();
    close_server();
    assert_int_equal(ps_run_total(world.run)->skipped, 90);
    assert_non_null(strstr(ps_run_limited(world.run), "10 in flight is the bound"));
}

static void a_share_is_broken_off_on_purpose(void **state)
{
    (void)state;
    open_server(ANSWERS, PS_MILLISECOND);
    start_server();
    world.opts.cancel_share = 0.5;
    play();
    close_server();
    /* Answers that are whole at once can't be broken off: nothing is lost, nothing is counted twice. */
    const struct ps_tally *total = ps_run_total(world.run);
    assert_int_equal(total->succeeded + total->cancelled, 400);
    assert_int_equal(total->failed, 0);
}

static void it_may_be_freed_at_any_time(void **state)
{
    (void)state;
    struct ps_run_error error;
    open_server(ANSWERS, PS_MILLISECOND);
    start_server();
    world.opts.target.url = server.url;
    world.opts.threads = 4;
    for (int i = 0; i < 3; i++) {
        ps_run_free(world.run);
        assert_int_equal(ps_run_new(&world.run, world.loop, &world.opts, &ops, NULL, &error), PS_OK);
        if (i > 0) {
            ps_run_start(world.run);
        }
    }
    close_server();
}

static void what_can_not_be_is_refused(void **state)
{
    (void)state;
    struct ps_run_error error;
    world.opts.target.url = "http://127.0.0.1:1";
    world.opts.schedule.phases[0].from = -1;
    assert_int_equal(ps_run_new(&world.run, world.loop, &world.opts, &ops, NULL, &error), PS_EINVAL);
    world.opts.requests.templates = "/nowhere";
    assert_int_equal(ps_run_new(&world.run, world.loop, &world.opts, &ops, NULL, &error), PS_ENOTFOUND);
    assert_non_null(strstr(error.text, "/nowhere"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(a_schedule_is_sent_to_the_last_request),
        TEST(threads_send_the_same_requests_as_one),
        TEST(a_stall_shows_in_corrected_latencies),
        TEST(the_rate_changes_while_it_runs),
        TEST(draining_waits_for_the_answers),
        TEST(stopping_counts_what_was_dropped),
        TEST(waiting_for_the_last_answers_has_an_end),
        TEST(a_closed_loop_keeps_its_connections_busy),
        TEST(a_count_ends_open_and_closed_loops),
        TEST(a_server_that_closes_each_connection_is_a_failure_a_request),
        TEST(rubbish_is_a_failure_a_request),
        TEST(nobody_there_is_told_before_anything_is_sent),
        TEST(a_bound_in_flight_is_the_generators_limit),
        TEST(a_share_is_broken_off_on_purpose),
        TEST(it_may_be_freed_at_any_time),
        TEST(what_can_not_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
