/* test_stream - two ends of a connection on one loop, plain and over TLS: every byte, every ending.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/stream.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "../helpers/certificate.h"
#include "base/buf.h"
#include "base/check.h"
#include "io/loop.h"
#include "io/stream_private.h"
#include "io/tls.h"

enum { NEVER = -1, IN_CONNECT, IN_DATA, IN_DRAIN, IN_CLOSE };

struct bench;

/* One end of the connection. */
struct end {
    struct bench *bench;
    struct ps_stream *stream;
    struct ps_buf got;
    size_t take;     /* bytes that on_data uses at most */
    int free_in;     /* the callback that frees the stream */
    int resume_in_data;
    struct ps_str on_connect_write;
    int connects;
    int drains;
    int closes;
    int calls; /* of on_data */
    int err;
};

struct bench {
    struct ps_loop *loop;
    struct ps_listener *listener;
    struct ps_tls *server_tls;
    struct ps_tls *client_tls;
    struct ps_budget budget;
    struct end client;
    struct end server;
    struct ps_task watch;
    bool (*done)(struct bench *bench);
    ps_time give_up;
    unsigned turns;
    int accepted_fd; /* when no stream is wanted */
    bool keep_fd;
    bool watch_hangup;
    bool stamp;
    int send_room;
    struct ps_loop *other;
    struct ps_task stop;
    struct ps_str offered;
    size_t sent;
    int offers;
};

static struct certificate certificate;

/* --- running ---------------------------------------------------------------------------------- */

static void on_watch(struct ps_task *task)
{
    struct bench *bench = PS_CONTAINER_OF(task, struct bench, watch);
    bench->turns++;
    bool late = ps_clock_now(&ps_clock_real) > bench->give_up;
    if (late || bench->done(bench)) {
        ps_loop_stop(bench->loop);
    } else {
        ps_loop_defer(bench->loop, task);
    }
}

static void run_until(struct bench *bench, bool (*done)(struct bench *bench))
{
    bench->done = done;
    bench->turns = 0;
    bench->give_up = ps_clock_now(&ps_clock_real) + 10 * PS_SECOND;
    bench->watch.on_turn = on_watch;
    ps_loop_defer(bench->loop, &bench->watch);
    ps_loop_run(bench->loop);
    assert_true(done(bench));
}

static bool after_a_while(struct bench *bench) /* turns too: our time may pass while others run */
{
    return bench->turns > 100 &&
           ps_clock_now(&ps_clock_real) > bench->give_up - 10 * PS_SECOND + 30 * PS_MILLISECOND;
}

static bool both_stand(struct bench *bench)
{
    return bench->client.connects + bench->client.closes > 0 && bench->server.stream != NULL &&
           (bench->server_tls == NULL || bench->server.connects > 0 || bench->server.closes > 0);
}

static bool client_closed(struct bench *bench)
{
    return bench->client.closes > 0;
}

static bool client_is_free(struct bench *bench)
{
    return bench->client.stream == NULL;
}

static bool server_is_free(struct bench *bench)
{
    return bench->server.stream == NULL;
}

static bool server_closed(struct bench *bench)
{
    return bench->server.closes > 0;
}

/* --- an end ----------------------------------------------------------------------------------- */

static void maybe_free(struct end *end, int where)
{
    if (end->free_in == where) {
        ps_stream_free(end->stream);
        end->stream = NULL;
    }
}

static void on_connect(void *ctx)
{
    struct end *end = ctx;
    end->connects++;
    if (end->on_connect_write.len > 0) {
        assert_int_equal(ps_stream_write(end->stream, &end->on_connect_write, 1), PS_OK);
    }
    maybe_free(end, IN_CONNECT);
}

static size_t on_data(void *ctx, struct ps_str data)
{
    struct end *end = ctx;
    struct ps_str used = ps_str_first(data, end->take);
    end->calls++;
    PS_CHECK(data.len > 0);
    PS_CHECK(ps_buf_append_str(&end->got, used) == PS_OK);
    if (end->resume_in_data > 0) {
        end->resume_in_data--;
        ps_stream_resume(end->stream);
    }
    maybe_free(end, IN_DATA);
    return used.len;
}

static void on_drain(void *ctx)
{
    struct end *end = ctx;
    end->drains++;
    maybe_free(end, IN_DRAIN);
}

static void on_close(void *ctx, int err)
{
    struct end *end = ctx;
    end->closes++;
    end->err = err;
    maybe_free(end, IN_CLOSE);
}

static const struct ps_stream_ops end_ops = {on_connect, on_data, on_drain, on_close};

static void init_end(struct bench *bench, struct end *end)
{
    end->bench = bench;
    end->take = SIZE_MAX;
    end->free_in = NEVER;
    end->got = ps_buf_make(64u << 20);
}

static void on_accept(void *ctx, int fd, const struct ps_address *peer)
{
    struct bench *bench = ctx;
    assert_true(ps_address_is_loopback(peer));
    if (bench->keep_fd) {
        bench->accepted_fd = fd;
        return;
    }
    if (bench->server.stream != NULL) {
        close(fd); /* of somebody who dials a port that was another's a moment ago */
        return;
    }
    if (bench->send_room > 0) {
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bench->send_room, sizeof bench->send_room);
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bench->send_room, sizeof bench->send_room);
    }
    struct ps_stream_opts opts = {.ops = &end_ops, .ctx = &bench->server, .tls = bench->server_tls,
                                  .budget = &bench->budget, .watch_hangup = bench->watch_hangup};
    assert_int_equal(ps_stream_accept(&bench->server.stream, bench->loop, fd, &opts), PS_OK);
}

static int setup(void **state)
{
    bool tls = *state != NULL && *(const bool *)*state;
    struct bench *bench = calloc(1, sizeof *bench);
    struct ps_address at;
    struct ps_tls_error error;
    bench->budget.limit = 64 << 20;
    init_end(bench, &bench->client);
    init_end(bench, &bench->server);
    int err = ps_loop_new(&bench->loop, &ps_clock_real);
    err = err != PS_OK ? err : ps_address_parse(PS_STR("127.0.0.1:0"), &at);
    err = err != PS_OK ? err : ps_listener_new(&bench->listener, bench->loop, &at, on_accept, bench);
    if (err == PS_OK && tls) {
        err = ps_tls_new_server(&bench->server_tls, certificate.cert, certificate.key, &error);
        err = err != PS_OK ? err : ps_tls_new_client(&bench->client_tls, certificate.cert, true, &error);
    }
    *state = bench;
    return err;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    ps_stream_free(bench->client.stream);
    ps_stream_free(bench->server.stream);
    ps_listener_free(bench->listener);
    ps_loop_free(bench->loop);
    ps_loop_free(bench->other);
    ps_tls_unref(bench->server_tls);
    ps_tls_unref(bench->client_tls);
    ps_buf_fini(&bench->client.got);
    ps_buf_fini(&bench->server.got);
    int64_t leaked = bench->budget.used;
    free(bench);
    return leaked == 0 ? 0 : -1;
}

static void dial(struct bench *bench, const char *server_name)
{
    struct ps_stream_opts opts = {.ops = &end_ops, .ctx = &bench->client, .tls = bench->client_tls,
                                  .budget = &bench->budget, .server_name = server_name,
                                  .stamp = bench->stamp};
    assert_int_equal(ps_stream_connect(&bench->client.stream, bench->loop,
                                       ps_listener_address(bench->listener), &opts), PS_OK);
}

static void join(struct bench *bench)
{
    dial(bench, "localhost");
    run_until(bench, both_stand);
    assert_int_equal(bench->client.connects, 1);
}

static void tell(struct end *end, struct ps_str text)
{
    assert_int_equal(ps_stream_write(end->stream, &text, 1), PS_OK);
}

/* Bytes whose place can be told. */
static struct ps_str pattern(size_t len)
{
    char *bytes = malloc(len);
    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (char)(i * 2654435761u >> 13);
    }
    return (struct ps_str){bytes, len};
}

static void assert_got(const struct end *end, struct ps_str want)
{
    assert_int_equal(end->got.len, want.len);
    assert_memory_equal(end->got.data, want.ptr, want.len);
}

static size_t wanted;

static bool server_has_wanted(struct bench *bench)
{
    return bench->server.got.len >= wanted;
}

static bool client_has_wanted(struct bench *bench)
{
    return bench->client.got.len >= wanted;
}

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

/* --- TLS only --------------------------------------------------------------------------------- */

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

static void a_certificate_for_another_name_is_refused(void **state)
{
    struct bench *bench = *state;
    dial(bench, "elsewhere.example");
    run_until(bench, client_closed);
    assert_int_equal(bench->client.err, PS_ETLS);
    assert_true(strlen(ps_stream_tls_error(bench->client.stream)) > 0);
    assert_int_equal(bench->client.connects, 0);
}

static void an_unknown_authority_is_refused(void **state)
{
    struct bench *bench = *state;
    struct ps_tls_error error;
    ps_tls_unref(bench->client_tls);
    bench->client_tls = NULL;
    assert_int_equal(ps_tls_new_client(&bench->client_tls, NULL, true, &error), PS_OK);
    dial(bench, "localhost");
    run_until(bench, client_closed);
    assert_int_equal(bench->client.err, PS_ETLS);
}

static void verification_that_is_off_takes_any_certificate(void **state)
{
    struct bench *bench = *state;
    struct ps_tls_error error;
    ps_tls_unref(bench->client_tls);
    bench->client_tls = NULL;
    assert_int_equal(ps_tls_new_client(&bench->client_tls, NULL, false, &error), PS_OK);
    dial(bench, "elsewhere.example");
    run_until(bench, both_stand);
    assert_int_equal(bench->client.connects, 1);
}

static void rubbish_instead_of_a_handshake_is_refused(void **state)
{
    struct bench *bench = *state;
    ps_tls_unref(bench->client_tls);
    bench->client_tls = NULL;
    dial(bench, NULL);
    tell(&bench->client, PS_STR("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    run_until(bench, server_closed);
    assert_int_equal(bench->server.err, PS_ETLS);
    assert_int_equal(bench->server.connects, 0);
}

static void a_client_that_leaves_in_the_handshake_is_noticed(void **state)
{
    struct bench *bench = *state;
    ps_tls_unref(bench->client_tls);
    bench->client_tls = NULL;
    dial(bench, NULL);
    run_until(bench, after_a_while);
    ps_stream_free(bench->client.stream);
    bench->client.stream = NULL;
    run_until(bench, server_closed);
    assert_int_equal(bench->server.connects, 0);
}

static void an_end_without_goodbye_is_a_reset(void **state)
{
    struct bench *bench = *state;
    join(bench);
    shutdown(bench->client.stream->fd, SHUT_WR); /* below TLS: no close_notify */
    run_until(bench, server_closed);
    assert_int_equal(bench->server.err, PS_ERESET);
}

/* --- contexts --------------------------------------------------------------------------------- */

static void bad_certificates_say_why(void **state)
{
    struct certificate other;
    struct certificate locked;
    struct ps_tls *tls = NULL;
    struct ps_tls_error error = {{0}};
    (void)state;
    certificate_make(&other, NULL);
    certificate_make(&locked, "sesame");
    assert_int_equal(ps_tls_new_server(&tls, "/does/not/exist", certificate.key, &error), PS_ETLS);
    assert_non_null(strstr(error.text, "certificate"));
    assert_int_equal(ps_tls_new_server(&tls, certificate.cert, "/does/not/exist", &error), PS_ETLS);
    assert_non_null(strstr(error.text, "key"));
    assert_int_equal(ps_tls_new_server(&tls, certificate.key, certificate.key, &error), PS_ETLS);
    assert_int_equal(ps_tls_new_server(&tls, certificate.cert, other.key, &error), PS_ETLS);
    assert_true(strlen(error.text) > 0);
    assert_int_equal(ps_tls_new_server(&tls, locked.cert, locked.key, &error), PS_ETLS); /* asks nobody */
    assert_int_equal(ps_tls_new_client(&tls, "/does/not/exist", true, &error), PS_ETLS);
    assert_int_equal(ps_tls_new_client(&tls, certificate.key, true, &error), PS_ETLS);
    assert_null(tls);
    certificate_drop(&other);
    certificate_drop(&locked);
}

static void a_context_lives_as_long_as_its_last_reference(void **state)
{
    struct ps_tls *tls;
    struct ps_tls_error error;
    (void)state;
    assert_int_equal(ps_tls_new_server(&tls, certificate.cert, certificate.key, &error), PS_OK);
    assert_ptr_equal(ps_tls_ref(tls), tls);
    ps_tls_unref(tls);
    ps_tls_unref(tls);
    ps_tls_unref(NULL);
    assert_null(ps_tls_ref(NULL));
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

static const bool over_tls = true;

#define PLAIN(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TLS(name)                                                                                  \
    {                                                                                              \
        #name "_over_tls", name, setup, teardown, (void *)(uintptr_t)&over_tls                     \
    }
#define BOTH(name) PLAIN(name), TLS(name)

static int make_certificate(void **state)
{
    (void)state;
    certificate_make(&certificate, NULL);
    return signal(SIGPIPE, SIG_IGN) == SIG_ERR ? -1 : 0;
}

static int drop_certificate(void **state)
{
    (void)state;
    certificate_drop(&certificate);
    return 0;
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
        TLS(a_certificate_for_another_name_is_refused),
        TLS(an_unknown_authority_is_refused),
        TLS(verification_that_is_off_takes_any_certificate),
        TLS(rubbish_instead_of_a_handshake_is_refused),
        TLS(a_client_that_leaves_in_the_handshake_is_noticed),
        TLS(an_end_without_goodbye_is_a_reset),
        cmocka_unit_test(bad_certificates_say_why),
        cmocka_unit_test(a_context_lives_as_long_as_its_last_reference),
        PLAIN(a_listener_without_descriptors_waits_and_goes_on),
        PLAIN(a_taken_port_without_sharing_is_told),
        PLAIN(an_address_of_another_machine_cant_be_listened_on),
    };
    return cmocka_run_group_tests(tests, make_certificate, drop_certificate);
}
