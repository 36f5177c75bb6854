/* test_stream - two ends of a connection on one loop, plain and over TLS: every byte, every ending.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/stream.h"

#include <sys/resource.h>

#include "../helpers/stream_bench.h"

/* --- cases ------------------------------------------------------------------------------------ */

static void small_bytes_cross_both_ways(void **state)
{
    struct bench *bench = *state;
    join(bench);
    tell(&bench->client, PS_STR("ping"));
    wanted = 4;
    run_until(bench, server_has_wanted);
    tell(&bench->server, PS_STR("pong"));
    run_until(bench, client_has_wanted);
    assert_got(&bench->server, PS_STR("ping"));
    assert_got(&bench->client, PS_STR("pong"));
    assert_true(ps_address_eq(ps_stream_peer(bench->client.stream), ps_listener_address(bench->listener)));
}

static void what_is_written_before_the_connection_stands_is_sent(void **state)
{
    struct bench *bench = *state;
    dial(bench, NULL);
    tell(&bench->client, PS_STR("early "));
    bench->client.on_connect_write = PS_STR("bird");
    wanted = 10;
    run_until(bench, server_has_wanted);
    assert_got(&bench->server, PS_STR("early bird"));
    assert_int_equal(bench->client.drains, 1);
}

static void megabytes_pass_through_tiny_buffers(void **state)
{
    struct bench *bench = *state;
    struct ps_str all = pattern(6 << 20);
    bench->send_room = 64 * 1024;
    join(bench);
    setsockopt(bench->client.stream->fd, SOL_SOCKET, SO_SNDBUF, &bench->send_room, sizeof(int));
    tell(&bench->client, all);
    assert_true(ps_stream_queued(bench->client.stream) > 0);
    wanted = all.len;
    run_until(bench, server_has_wanted);
    assert_got(&bench->server, all);
    run_until(bench, after_a_while);
    assert_int_equal(bench->client.drains, 1);
    assert_int_equal(ps_stream_queued(bench->client.stream), 0);
    free((void *)(uintptr_t)all.ptr);
}

static void many_parts_arrive_in_order_from_a_cork(void **state)
{
    struct bench *bench = *state;
    struct ps_str all = pattern(700 * 1000);
    join(bench);
    ps_stream_cork(bench->client.stream);
    assert_true(ps_stream_is_corked(bench->client.stream));
    size_t at = 0;
    for (size_t n = 1; at < all.len; n = n * 7 % 4093 + 1) {
        struct ps_str parts[3] = {ps_str_first(ps_str_skip(all, at), n)};
        at += parts[0].len;
        parts[1] = ps_str_first(ps_str_skip(all, at), 5);
        char fleeting[5]; /* small parts are copied */
        memcpy(fleeting, parts[1].ptr, parts[1].len);
        at += parts[1].len;
        parts[1].ptr = fleeting;
        parts[2] = PS_STR("");
        assert_int_equal(ps_stream_write(bench->client.stream, parts, 3), PS_OK);
        memset(fleeting, 'x', sizeof fleeting);
    }
    ps_stream_shutdown(bench->client.stream); /* waits for the cork */
    assert_int_equal(ps_stream_uncork(bench->client.stream), PS_OK);
    assert_false(ps_stream_is_corked(bench->client.stream));
    run_until(bench, server_closed);
    assert_int_equal(bench->server.err, PS_ECLOSED);
    assert_got(&bench->server, all);
    free((void *)(uintptr_t)all.ptr);
}

static void a_reader_that_uses_less_gets_the_rest_again(void **state)
{
    struct bench *bench = *state;
    struct ps_str all = pattern(400 * 1000);
    join(bench);
    bench->server.take = 1000;
    tell(&bench->client, all);
    wanted = 1000;
    run_until(bench, server_has_wanted);
    run_until(bench, after_a_while);
    assert_int_equal(bench->server.calls, 1); /* silent until resumed */
    assert_true(ps_stream_kept(bench->server.stream) > 0);
    while (wanted < 9000) {
        ps_stream_resume(bench->server.stream);
        assert_int_equal(bench->server.got.len, wanted); /* never from inside */
        wanted += 1000;
        run_until(bench, server_has_wanted);
    }
    bench->server.take = SIZE_MAX;
    ps_stream_resume(bench->server.stream);
    wanted = all.len;
    run_until(bench, server_has_wanted);
    assert_got(&bench->server, all);
    free((void *)(uintptr_t)all.ptr);
}

static void a_resume_inside_on_data_brings_the_rest(void **state)
{
    struct bench *bench = *state;
    join(bench);
    bench->server.take = 2;
    bench->server.resume_in_data = 2;
    tell(&bench->client, PS_STR("abcdef"));
    wanted = 6;
    run_until(bench, server_has_wanted);
    assert_int_equal(bench->server.calls, 3);
    assert_got(&bench->server, PS_STR("abcdef"));
}

static void a_paused_end_reads_nothing_until_resumed(void **state)
{
    struct bench *bench = *state;
    join(bench);
    ps_stream_pause(bench->server.stream);
    tell(&bench->client, PS_STR("later"));
    run_until(bench, after_a_while);
    assert_int_equal(bench->server.calls, 0);
    ps_stream_resume(bench->server.stream);
    ps_stream_pause(bench->server.stream); /* the last word counts */
    run_until(bench, after_a_while);
    assert_int_equal(bench->server.calls, 0);
    ps_stream_resume(bench->server.stream);
    wanted = 5;
    run_until(bench, server_has_wanted);
}

static void a_resume_taken_back_before_the_rest_came_holds(void **state)
{
    struct bench *bench = *state;
    join(bench);
    bench->server.take = 1;
    tell(&bench->client, PS_STR("xyz"));
    wanted = 1;
    run_until(bench, server_has_wanted);
    ps_stream_resume(bench->server.stream);
    ps_stream_pause(bench->server.stream);
    run_until(bench, after_a_while);
    assert_int_equal(bench->server.calls, 1);
    bench->server.take = SIZE_MAX;
    ps_stream_resume(bench->server.stream);
    wanted = 3;
    run_until(bench, server_has_wanted);
    assert_got(&bench->server, PS_STR("xyz"));
}

static void a_shutdown_ends_one_direction_only(void **state)
{
    struct bench *bench = *state;
    join(bench);
    tell(&bench->client, PS_STR("last words"));
    ps_stream_shutdown(bench->client.stream);
    run_until(bench, server_closed);
    assert_got(&bench->server, PS_STR("last words"));
    assert_int_equal(bench->server.err, PS_ECLOSED);
    assert_int_equal(bench->client.closes, 0);
    ps_stream_free(bench->server.stream);
    bench->server.stream = NULL;
    run_until(bench, client_closed);
}

static void a_shutdown_waits_for_the_queue(void **state)
{
    struct bench *bench = *state;
    struct ps_str all = pattern(6 << 20);
    bench->send_room = 64 * 1024;
    join(bench);
    tell(&bench->client, all);
    ps_stream_shutdown(bench->client.stream);
    run_until(bench, server_closed);
    assert_int_equal(bench->server.err, PS_ECLOSED);
    assert_got(&bench->server, all);
    assert_int_equal(bench->server.closes, 1);
    free((void *)(uintptr_t)all.ptr);
}

static void freeing_with_bytes_queued_gives_the_budget_back(void **state)
{
    struct bench *bench = *state;
    struct ps_str all = pattern(32 << 20);
    join(bench);
    ps_stream_pause(bench->server.stream);
    tell(&bench->client, all);
    assert_true(bench->budget.used > 0);
    ps_stream_free(bench->client.stream);
    bench->client.stream = NULL;
    assert_int_equal(bench->budget.used, 0);
    ps_stream_resume(bench->server.stream);
    run_until(bench, server_closed);
    free((void *)(uintptr_t)all.ptr);
}

static void a_budget_without_room_is_told_to_the_writer(void **state)
{
    struct bench *bench = *state;
    struct ps_str all = pattern(8 << 20);
    join(bench);
    ps_stream_pause(bench->server.stream);
    bench->budget.limit = 64 * 1024;
    assert_int_equal(ps_stream_write(bench->client.stream, &all, 1), PS_ELIMIT);
    free((void *)(uintptr_t)all.ptr);
}

static void a_budget_without_room_for_kept_input_closes(void **state)
{
    struct bench *bench = *state;
    join(bench);
    bench->server.take = 0;
    bench->budget.limit = 2;
    struct ps_str text = PS_STR("too much");
    assert_int_equal(ps_stream_write(bench->client.stream, &text, 1), PS_OK);
    run_until(bench, server_closed);
    assert_int_equal(bench->server.err, PS_ELIMIT);
}

static void a_stream_may_be_freed_in_every_callback(void **state)
{
    struct bench *bench = *state;
    bench->client.free_in = IN_CONNECT;
    dial(bench, "localhost");
    run_until(bench, client_is_free);
    run_until(bench, after_a_while);
    assert_int_equal(bench->client.connects, 1);
    ps_stream_free(bench->server.stream);
    bench->server = (struct end){.bench = bench};
    init_end(bench, &bench->server);

    static const int wheres[] = {IN_DATA, IN_DRAIN, IN_CLOSE};
    for (size_t i = 0; i < 3; i++) {
        bench->client = (struct end){.bench = bench};
        init_end(bench, &bench->client);
        join(bench);
        bench->server.free_in = wheres[i];
        if (wheres[i] == IN_DRAIN) {
            struct ps_str all = pattern(6 << 20);
            tell(&bench->server, all);
            assert_true(ps_stream_queued(bench->server.stream) > 0);
            free((void *)(uintptr_t)all.ptr);
        } else {
            tell(&bench->client, PS_STR("x"));
            run_until(bench, after_a_while);
            if (wheres[i] == IN_CLOSE) {
                ps_stream_free(bench->client.stream);
                bench->client.stream = NULL;
            }
        }
        run_until(bench, server_is_free);
        ps_stream_free(bench->client.stream);
        bench->client.stream = NULL;
        ps_buf_fini(&bench->client.got);
        ps_buf_fini(&bench->server.got);
        bench->server = (struct end){.bench = bench};
        init_end(bench, &bench->server);
    }
    bench->client = (struct end){.bench = bench};
    init_end(bench, &bench->client);
}

static void freeing_in_the_offer_of_kept_bytes_is_safe(void **state)
{
    struct bench *bench = *state;
    join(bench);
    bench->server.take = 1;
    tell(&bench->client, PS_STR("abc"));
    wanted = 1;
    run_until(bench, server_has_wanted);
    bench->server.free_in = IN_DATA;
    ps_stream_resume(bench->server.stream);
    run_until(bench, after_a_while);
    assert_null(bench->server.stream);
}

static void a_refused_connection_is_told_later(void **state)
{
    struct bench *bench = *state;
    struct ps_address closed = *ps_listener_address(bench->listener);
    ps_listener_free(bench->listener);
    bench->listener = NULL;
    struct ps_stream_opts opts = {.ops = &end_ops, .ctx = &bench->client, .tls = bench->client_tls};
    int err = ps_stream_connect(&bench->client.stream, bench->loop, &closed, &opts);
    if (err == PS_OK) {
        assert_int_equal(bench->client.closes, 0);
        run_until(bench, client_closed);
        err = bench->client.err;
    }
    assert_int_equal(err, PS_EREFUSED);
    assert_int_equal(bench->client.connects, 0);
}

static void a_reset_is_told_as_a_reset(void **state)
{
    struct bench *bench = *state;
    join(bench);
    ps_stream_abort(bench->server.stream);
    bench->server.stream = NULL;
    run_until(bench, client_closed);
    assert_int_equal(bench->client.err, PS_ERESET);
    assert_int_equal(bench->client.closes, 1);
}

/* What came before the reset may still be wanted, so a paused end is not told until it reads on. */
static void a_paused_end_hears_of_a_reset_when_it_reads_on(void **state)
{
    struct bench *bench = *state;
    join(bench);
    ps_stream_pause(bench->client.stream);
    ps_stream_abort(bench->server.stream);
    bench->server.stream = NULL;
    run_until(bench, after_a_while);
    assert_int_equal(bench->client.closes, 0);
    ps_stream_resume(bench->client.stream);
    run_until(bench, client_closed);
    assert_int_equal(bench->client.err, PS_ERESET);
    assert_int_equal(bench->client.closes, 1);
}

static void what_was_sent_before_a_reset_is_delivered(void **state)
{
    struct bench *bench = *state;
    join(bench);
    tell(&bench->server, PS_STR("413, and no more"));
    ps_stream_abort(bench->server.stream);
    bench->server.stream = NULL;
    struct ps_str all = pattern(1 << 20);
    tell(&bench->client, all); /* into a connection that is gone */
    run_until(bench, client_closed);
    assert_int_equal(bench->client.closes, 1);
    if (bench->client_tls == NULL) {
        assert_got(&bench->client, PS_STR("413, and no more"));
    }
    tell(&bench->client, PS_STR("silence")); /* after the end nothing is told */
    free((void *)(uintptr_t)all.ptr);
}

static void a_watched_hangup_is_told_although_paused(void **state)
{
    struct bench *bench = *state;
    bench->watch_hangup = true;
    join(bench);
    ps_stream_pause(bench->server.stream);
    tell(&bench->client, PS_STR("never read"));
    run_until(bench, after_a_while);
    ps_stream_free(bench->client.stream);
    bench->client.stream = NULL;
    run_until(bench, server_closed);
    assert_int_equal(bench->server.got.len, 0);
}

static void a_stream_read_to_its_end_loses_nothing_to_a_hangup(void **state)
{
    struct bench *bench = *state;
    struct ps_str all = pattern(600 * 1000);
    bench->watch_hangup = true;
    join(bench);
    ps_stream_read_to_end(bench->server.stream);
    ps_stream_pause(bench->server.stream);
    tell(&bench->client, all);
    ps_stream_shutdown(bench->client.stream);
    run_until(bench, after_a_while);
    assert_int_equal(bench->server.closes, 0);
    ps_stream_resume(bench->server.stream);
    run_until(bench, server_closed);
    assert_int_equal(bench->server.err, PS_ECLOSED);
    assert_got(&bench->server, all);
    free((void *)(uintptr_t)all.ptr);
}

static size_t on_other_data(void *ctx, struct ps_str data)
{
    struct end *end = ctx;
    PS_CHECK(ps_buf_append_str(&end->got, PS_STR("+")) == PS_OK);
    PS_CHECK(ps_buf_append_str(&end->got, data) == PS_OK);
    return data.len;
}

static const struct ps_stream_ops other_ops = {NULL, on_other_data, NULL, on_close};

static void a_new_owner_gets_what_the_old_one_left(void **state)
{
    struct bench *bench = *state;
    join(bench);
    bench->server.take = 4;
    tell(&bench->client, PS_STR("headrest"));
    wanted = 4;
    run_until(bench, server_has_wanted);
    ps_stream_set_owner(bench->server.stream, &other_ops, &bench->server);
    ps_stream_resume(bench->server.stream);
    wanted = 9;
    run_until(bench, server_has_wanted);
    assert_got(&bench->server, PS_STR("head+rest"));
}

/* --- to another loop, and without a queue ------------------------------------------------------- */

static void on_stop(struct ps_task *task)
{
    struct bench *bench = PS_CONTAINER_OF(task, struct bench, stop);
    ps_loop_stop(bench->other);
}

/* Some turns of the other loop. */
static bool turn_other(struct bench *bench)
{
    bench->stop.on_turn = on_stop;
    for (int i = 0; i < 3; i++) {
        ps_loop_defer(bench->other, &bench->stop);
        ps_loop_run(bench->other);
    }
    return false;
}

static bool server_has_wanted_there(struct bench *bench)
{
    return turn_other(bench) || server_has_wanted(bench);
}

static bool client_has_wanted_from_there(struct bench *bench)
{
    return turn_other(bench) || client_has_wanted(bench);
}

static bool server_closed_there(struct bench *bench)
{
    return turn_other(bench) || server_closed(bench);
}

static void a_stream_moves_to_another_loop_with_all_that_it_holds(void **state)
{
    struct bench *bench = *state;
    struct ps_str all = pattern(3 << 20);
    bench->send_room = 64 * 1024;
    assert_int_equal(ps_loop_new(&bench->other, &ps_clock_real), PS_OK);
    bench->server.take = 0;
    join(bench);
    tell(&bench->client, PS_STR("kept, "));
    run_until(bench, after_a_while);
    tell(&bench->client, PS_STR("unread"));
    tell(&bench->server, all); /* most of it waits in the queue */
    assert_true(ps_stream_queued(bench->server.stream) > 0);

    bench->server.stream = ps_stream_detach(bench->server.stream);
    assert_non_null(bench->server.stream);
    run_until(bench, after_a_while); /* the first loop has forgotten it */
    bench->server.take = SIZE_MAX;
    assert_int_equal(ps_stream_attach(bench->server.stream, bench->other, &end_ops, &bench->server), PS_OK);
    ps_stream_resume(bench->server.stream);
    wanted = 12;
    run_until(bench, server_has_wanted_there);
    assert_got(&bench->server, PS_STR("kept, unread"));
    wanted = all.len;
    run_until(bench, client_has_wanted_from_there);
    assert_got(&bench->client, all);
    free((void *)(uintptr_t)all.ptr);

    ps_stream_free(bench->client.stream);
    bench->client.stream = NULL;
    run_until(bench, server_closed_there);
    assert_int_equal(bench->server.err, PS_ECLOSED);
}

static void a_detached_stream_can_be_freed(void **state)
{
    struct bench *bench = *state;
    bench->server.take = 0;
    join(bench);
    tell(&bench->client, PS_STR("kept"));
    run_until(bench, after_a_while);
    ps_stream_free(ps_stream_detach(bench->server.stream));
    bench->server.stream = NULL;
    run_until(bench, client_closed);
}

/* Offers what is left, each time from the place where it stopped. */
static bool server_sends_on(struct bench *bench)
{
    if (bench->server.drains > bench->offers) {
        bench->offers = bench->server.drains;
        bench->sent += ps_stream_send(bench->server.stream, ps_str_skip(bench->offered, bench->sent));
    }
    return client_has_wanted(bench);
}

static void what_is_sent_without_a_queue_arrives_in_order(void **state)
{
    struct bench *bench = *state;
    struct ps_str all = pattern(3 << 20);
    bench->send_room = 64 * 1024;
    join(bench);
    bench->offers = bench->server.drains;
    bench->offered = all;
    bench->sent = ps_stream_send(bench->server.stream, all);
    assert_true(bench->sent < all.len);
    assert_int_equal(ps_stream_queued(bench->server.stream), 0);
    assert_int_equal(bench->budget.used, 0);
    wanted = all.len;
    run_until(bench, server_sends_on);
    assert_got(&bench->client, all);
    assert_int_equal(bench->sent, all.len);
    free((void *)(uintptr_t)all.ptr);
}

/* Sends a byte while the loop does something else. Gives the time that passed from its coming to its being looked at. */
static ps_span send_to_a_busy_reader(struct bench *bench)
{
    ps_time sent = ps_clock_now(&ps_clock_real);
    tell(&bench->server, PS_STR("x"));
    usleep(2000);
    ps_time looked = ps_clock_now(&ps_clock_real);
    wanted = bench->client.got.len + 1;
    run_until(bench, client_has_wanted);
    ps_time came = ps_stream_came(bench->client.stream);
    assert_true(came >= sent && came <= ps_clock_now(&ps_clock_real));
    return looked - came;
}

/* The kernel begins to stamp a moment after it was asked to. */
static void bytes_came_when_they_came_and_not_when_they_are_read(void **state)
{
    struct bench *bench = *state;
    bench->stamp = true;
    join(bench);
    ps_span waited = 0;
    for (int i = 0; i < 500 && waited <= 0; i++) {
        waited = send_to_a_busy_reader(bench);
    }
    assert_true(waited > 0);
}

static void without_a_stamp_bytes_came_now(void **state)
{
    struct bench *bench = *state;
    join(bench);
    for (int i = 0; i < 10; i++) {
        assert_true(send_to_a_busy_reader(bench) <= 0);
    }
}

static void a_stamp_that_cant_be_is_none(void **state)
{
    (void)state;
    const ps_time wall = 1000 * PS_SECOND;
    const ps_time now = 50 * PS_SECOND;
    const ps_time since = 40 * PS_SECOND;
    assert_int_equal(ps_stream_stamp_place(wall, wall, now, since), now);
    assert_int_equal(ps_stream_stamp_place(wall - 7, wall, now, since), now - 7);
    assert_int_equal(ps_stream_stamp_place(wall - 10 * PS_SECOND, wall, now, since), since);
    assert_int_equal(ps_stream_stamp_place(wall - 11 * PS_SECOND, wall, now, since), now); /* it was set forward ... */
    assert_int_equal(ps_stream_stamp_place(wall + 1, wall, now, since), now);              /* ... or back */
    assert_int_equal(ps_stream_stamp_place(0, wall, now, since), now);
}

/* --- the listener ----------------------------------------------------------------------------- */

static bool accepted(struct bench *bench)
{
    return bench->accepted_fd > 0;
}

static void a_listener_without_descriptors_waits_and_goes_on(void **state)
{
    struct bench *bench = *state;
    struct rlimit before;
    bench->keep_fd = true;
    dial(bench, NULL);
    int next = dup(0); /* the lowest free number: nothing above may be opened */
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit tight = {(rlim_t)next, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    run_until(bench, after_a_while);
    int while_short = bench->accepted_fd;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(while_short, 0);
    run_until(bench, accepted);
    close(bench->accepted_fd);
}

static void a_taken_port_without_sharing_is_told(void **state)
{
    struct bench *bench = *state;
    struct ps_address at;
    int plain = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fd;
    (void)bench;
    assert_int_equal(ps_address_parse(PS_STR("127.0.0.1:0"), &at), PS_OK);
    assert_int_equal(bind(plain, (const struct sockaddr *)&at.storage, at.len), 0);
    assert_int_equal(listen(plain, 1), 0);
    assert_int_equal(getsockname(plain, (struct sockaddr *)&at.storage, &at.len), 0);
    assert_int_equal(ps_listen(&at, &fd), PS_EINUSE);
    close(plain);
    assert_int_equal(ps_listen(&at, &fd), PS_OK);
    int second;
    assert_int_equal(ps_listen(&at, &second), PS_OK); /* shared by two loops */
    close(fd);
    close(second);
}

static void an_address_of_another_machine_cant_be_listened_on(void **state)
{
    struct ps_address at;
    int fd;
    (void)state;
    assert_int_equal(ps_address_parse(PS_STR("192.0.2.1:0"), &at), PS_OK);
    assert_true(ps_listen(&at, &fd) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(small_bytes_cross_both_ways),
        BOTH(what_is_written_before_the_connection_stands_is_sent),
        BOTH(megabytes_pass_through_tiny_buffers),
        BOTH(many_parts_arrive_in_order_from_a_cork),
        BOTH(a_reader_that_uses_less_gets_the_rest_again),
        BOTH(a_resume_inside_on_data_brings_the_rest),
        BOTH(a_paused_end_reads_nothing_until_resumed),
        BOTH(a_resume_taken_back_before_the_rest_came_holds),
        BOTH(a_shutdown_ends_one_direction_only),
        BOTH(a_shutdown_waits_for_the_queue),
        BOTH(freeing_with_bytes_queued_gives_the_budget_back),
        BOTH(a_budget_without_room_is_told_to_the_writer),
        BOTH(a_budget_without_room_for_kept_input_closes),
        BOTH(a_stream_may_be_freed_in_every_callback),
        BOTH(freeing_in_the_offer_of_kept_bytes_is_safe),
        BOTH(a_refused_connection_is_told_later),
        BOTH(a_reset_is_told_as_a_reset),
        BOTH(a_paused_end_hears_of_a_reset_when_it_reads_on),
        BOTH(what_was_sent_before_a_reset_is_delivered),
        BOTH(a_watched_hangup_is_told_although_paused),
        BOTH(a_stream_read_to_its_end_loses_nothing_to_a_hangup),
        BOTH(a_new_owner_gets_what_the_old_one_left),
        BOTH(a_stream_moves_to_another_loop_with_all_that_it_holds),
        BOTH(a_detached_stream_can_be_freed),
        BOTH(what_is_sent_without_a_queue_arrives_in_order),
        PLAIN(bytes_came_when_they_came_and_not_when_they_are_read),
        BOTH(without_a_stamp_bytes_came_now),
        cmocka_unit_test(a_stamp_that_cant_be_is_none),
        PLAIN(a_listener_without_descriptors_waits_and_goes_on),
        PLAIN(a_taken_port_without_sharing_is_told),
        PLAIN(an_address_of_another_machine_cant_be_listened_on),
    };
    return cmocka_run_group_tests(tests, make_certificate, drop_certificate);
}
