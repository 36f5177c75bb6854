/* test_redis_log - the log of invalidations and those who listen, against scripted servers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "../helpers/redis_bench.h"

#define WHEN (1700000000123 * PS_MILLISECOND)

/* E end with its counts, R a record; w wake, r reconnected, x lost. */
static void on_end(void *ctx, size_t done, size_t failed)
{
    struct bench *bench = ctx;
    bench->op = NULL;
    bench_note(bench, 'E');
    bench_note(bench, (char)('0' + done));
    bench_note(bench, (char)('0' + failed));
}

static void on_record(void *ctx, struct ps_str record, ps_time when)
{
    struct bench *bench = ctx;
    bench_note(bench, 'R');
    PS_CHECK(ps_buf_printf(&bench->body, "%.*s@%lld ", PS_STR_ARG(record),
                           (long long)(when / PS_MILLISECOND)) == PS_OK);
}

/* W: with the instant of the record. */
static void on_wake(void *ctx, const char *node, ps_time when)
{
    PS_CHECK(node[0] != '\0' && (when == 0 || when == WHEN / PS_MILLISECOND * PS_MILLISECOND));
    bench_note(ctx, when == 0 ? 'w' : 'W');
}

static void on_reconnected(void *ctx, const char *node)
{
    PS_CHECK(node[0] != '\0');
    bench_note(ctx, 'r');
}

static void on_lost(void *ctx, const char *node)
{
    PS_CHECK(node[0] != '\0');
    bench_note(ctx, 'x');
}

static const struct ps_redis_feed_ops feed_ops = {on_wake, on_reconnected, on_lost};

static void append(struct bench *bench)
{
    assert_int_equal(
        ps_redis_log_append(&bench->op, bench->redis, PS_STR("purge a*"), WHEN, on_end, bench),
        PS_OK);
}

static void read_since(struct bench *bench, ps_time since)
{
    assert_int_equal(ps_redis_log_read(&bench->op, bench->redis, since, on_record, on_end, bench),
                     PS_OK);
}

/* --- the log ---------------------------------------------------------------------------------- */

static void a_record_goes_to_every_node_and_then_those_who_listen_are_woken(void **state)
{
    struct bench *bench = *state;
    bench_open(bench, 2);
    bench_welcome(bench, 0);
    bench_welcome(bench, 1);
    append(bench);
    for (int node = 0; node < 2; node++) {
        bench_expect(bench, node,
                     "*4\r\n$4\r\nZADD\r\n$22\r\npenstock:{purge}:log:1\r\n$13\r\n1700000000123\r\n"
                     "$8\r\npurge a*\r\n");
        raw_write(&bench->far[node], node == 0 ? ":1\r\n" : ":0\r\n"); /* there already: as good */
        bench_expect(bench, node,
                     "PUBLISH\r\n$23\r\npenstock:{purge}:wake:1\r\n$13\r\n1700000000123\r\n");
        bench_answer(bench, node, ":2\r\n:0\r\n:0\r\n:1\r\n");
    }
    bench_assert_log(bench, "E20");
}

static void take_record(struct bench *bench, int node)
{
    bench_expect(bench, node, "ZADD");
    raw_write(&bench->far[node], ":1\r\n");
    bench_expect(bench, node, "PEXPIRE");
    bench_answer(bench, node, ":0\r\n:0\r\n:0\r\n:0\r\n");
}

static void a_record_that_one_node_took_is_told_so(void **state)
{
    struct bench *bench = *state;
    bench_open(bench, 2);
    bench_welcome(bench, 0);
    bench_welcome(bench, 1);
    append(bench);
    bench_expect(bench, 0, "ZADD");
    bench_answer(bench, 0, "-OOM command not allowed\r\n");
    bench_assert_log(bench, "");
    take_record(bench, 1);
    bench_assert_log(bench, "E11");
    bench_answer(bench, 0, "rubbish\r\n");
    bench_assert_log(bench, "-");
    append(bench);
    take_record(bench, 1);
    bench_assert_log(bench, "E11");
}

static void with_no_node_it_fails_all_the_same_later(void **state)
{
    struct bench *bench = *state;
    bench_open(bench, 1);
    bench_welcome(bench, 0);
    bench_answer(bench, 0, "rubbish\r\n");
    bench_assert_log(bench, "-");
    append(bench);
    bench_assert_log(bench, "");
    bench_rest(bench);
    bench_assert_log(bench, "E01");
    read_since(bench, 0);
    ps_redis_cancel(bench->op);
    bench_rest(bench);
    bench_assert_log(bench, "");
    append(bench);
    ps_redis_free(bench->redis);
    bench->redis = NULL;
    bench_rest(bench);
    bench_assert_log(bench, "");
}

static void records_are_read_from_every_node(void **state)
{
    struct bench *bench = *state;
    bench_open(bench, 2);
    bench_welcome(bench, 0);
    bench_welcome(bench, 1);
    read_since(bench, WHEN + 1);
    bench_expect(
        bench, 0,
        "*8\r\n$13\r\nZRANGEBYSCORE\r\n$22\r\npenstock:{purge}:log:1\r\n$13\r\n1700000000123\r\n"
        "$4\r\n+inf\r\n$10\r\nWITHSCORES\r\n$5\r\nLIMIT\r\n$1\r\n0\r\n$3\r\n256\r\n");
    bench_answer(bench, 0,
                 "*4\r\n$1\r\na\r\n$13\r\n1700000000123\r\n$1\r\nb\r\n$13\r\n1700000000999\r\n");
    bench_assert_log(bench, "RR");
    bench_expect(bench, 1, "ZRANGEBYSCORE");
    bench_answer(bench, 1,
                 "*6\r\n$1\r\na\r\n$3\r\ninf\r\n$1\r\nc\r\n$2\r\n-1\r\n:1\r\n$1\r\n5\r\n");
    bench_assert_log(bench, "E20"); /* what is not ours is passed over */
    assert_true(ps_str_eq(ps_buf_str(&bench->body), PS_STR("a@1700000000123 b@1700000000999 ")));
    read_since(bench, 0);
    bench_expect(bench, 0, "ZRANGEBYSCORE");
    bench_expect(bench, 1, "ZRANGEBYSCORE");
    bench_answer(bench, 0, "-WRONGTYPE x\r\n");
    bench_answer(bench, 1, "*1\r\n$1\r\na\r\n");
    bench_assert_log(bench, "E02");
}

/* 256 records, the last three of one instant. */
static void answer_page(struct bench *bench, long long first)
{
    struct ps_buf page = ps_buf_make(1u << 20);
    assert_int_equal(ps_buf_printf(&page, "*512\r\n"), PS_OK);
    for (int i = 0; i < 256; i++) {
        assert_int_equal(
            ps_buf_printf(&page, "$1\r\nx\r\n$13\r\n%lld\r\n", first + (i < 253 ? i : 253)), PS_OK);
    }
    assert_int_equal(ps_buf_append(&page, "", 1), PS_OK);
    bench_answer(bench, 0, page.data);
    ps_buf_fini(&page);
}

static void a_long_log_is_read_in_pages(void **state)
{
    struct bench *bench = *state;
    bench_open(bench, 1);
    bench_welcome(bench, 0);
    read_since(bench, 0);
    bench_expect(bench, 0, "ZRANGEBYSCORE");
    answer_page(bench, 1700000000000);
    bench->log[0] = '\0';
    bench_expect(
        bench, 0,
        "$13\r\n1700000000253\r\n$4\r\n+inf\r\n$10\r\nWITHSCORES\r\n$5\r\nLIMIT\r\n$1\r\n3\r\n");
    bench_answer(bench, 0, "*2\r\n$1\r\ny\r\n$13\r\n1700000000253\r\n");
    bench_assert_log(bench, "RE10");
}

static void what_is_no_record_is_refused(void **state)
{
    struct bench *bench = *state;
    static char large[PS_REDIS_RECORD_MAX + 1];
    struct ps_str record = {large, sizeof large};
    bench_open(bench, 1);
    assert_int_equal(ps_redis_log_append(&bench->op, bench->redis, record, WHEN, on_end, bench),
                     PS_EINVAL);
    record.len = 0;
    assert_int_equal(ps_redis_log_append(&bench->op, bench->redis, record, WHEN, on_end, bench),
                     PS_EINVAL);
    record.len = 1;
    assert_int_equal(ps_redis_log_append(&bench->op, bench->redis, record, -1, on_end, bench),
                     PS_EINVAL);
}

/* --- the feed --------------------------------------------------------------------------------- */

#define SUBSCRIBED "*3\r\n$9\r\nsubscribe\r\n$23\r\npenstock:{purge}:wake:1\r\n:1\r\n"
#define MESSAGE_OF "*3\r\n$7\r\nmessage\r\n$23\r\npenstock:{purge}:wake:1\r\n"
#define MESSAGE    MESSAGE_OF "$13\r\n1700000000123\r\n"

/* A feed alone: the hub's client is of no interest here. */
static void listen_to_one(struct bench *bench)
{
    char reason[256];
    const struct ps_redis_observer observer = {bench_on_change, bench};
    struct ps_redis_opts opts = bench->opts;
    opts.nodes = (struct ps_option_list){.items = bench->nodes, .count = 1};
    assert_int_equal(ps_redis_hub_new(&bench->hub, &opts, &observer, reason, sizeof reason), PS_OK);
    assert_int_equal(
        ps_redis_feed_new(&bench->feed, bench->turns.loop, bench->hub, &feed_ops, bench), PS_OK);
    assert_false(ps_redis_feed_is_listening(bench->feed));
}

static void welcome_feed(struct bench *bench)
{
    bench_accept(bench, 0);
    bench_expect(bench, 0, "PING\r\n");
    raw_write(&bench->far[0], "+PONG\r\n");
    bench_expect(bench, 0, "SUBSCRIBE\r\n$23\r\npenstock:{purge}:wake:1\r\n");
    bench_assert_log(bench, "");
    bench_answer(bench, 0, SUBSCRIBED);
    bench_assert_log(bench, "r");
    assert_true(ps_redis_feed_is_listening(bench->feed));
}

static void who_listens_is_woken(void **state)
{
    struct bench *bench = *state;
    listen_to_one(bench);
    welcome_feed(bench);
    bench_answer(bench, 0, MESSAGE);
    bench_answer(bench, 0, MESSAGE MESSAGE);
    bench_assert_log(bench, "WWW");
    bench_answer(bench, 0, MESSAGE_OF "$3\r\nall\r\n" MESSAGE_OF "$13\r\n9000000000001\r\n");
    bench_answer(bench, 0, MESSAGE_OF "$0\r\n\r\n" MESSAGE_OF ":1700000000123\r\n");
    bench_assert_log(bench, "wwww");
    for (int i = 0; i < 3; i++) {
        bench_pass(bench, 500 * PS_MILLISECOND);
        bench_expect(bench, 0, "PING");
        bench_answer(bench, 0, "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    }
    bench_assert_log(bench, "");
    assert_true(ps_redis_feed_is_listening(bench->feed));
}

static void a_lost_connection_is_told_and_opened_again(void **state)
{
    struct bench *bench = *state;
    listen_to_one(bench);
    welcome_feed(bench);
    for (int i = 0; i < 3; i++) {
        close(bench->far[0].fd);
        bench->far[0].fd = -1;
        bench_rest(bench);
        bench_assert_log(bench, "x");
        assert_false(ps_redis_feed_is_listening(bench->feed));
        bench_pass(bench, 200 * PS_MILLISECOND);
        welcome_feed(bench);
    }
}

static void a_node_that_stands_still_is_lost(void **state)
{
    struct bench *bench = *state;
    listen_to_one(bench);
    welcome_feed(bench);
    bench_pass(bench, 500 * PS_MILLISECOND);
    bench_expect(bench, 0, "PING");
    bench_pass(bench, 150 * PS_MILLISECOND);
    bench_assert_log(bench, "x");
}

static void what_is_no_confirmation_is_not_believed(void **state)
{
    static const char *const rows[] = {
        "-NOPERM no permissions\r\n",
        "+OK\r\n",
        MESSAGE,
        "*3\r\n$9\r\nsubscribe\r\n$5\r\nother\r\n:1\r\n",
        "*0\r\n",
        "$-1\r\n",
        "rubbish\r\n",
    };
    struct bench *bench = *state;
    listen_to_one(bench);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bench_accept(bench, 0);
        bench_expect(bench, 0, "PING\r\n");
        raw_write(&bench->far[0], "+PONG\r\n");
        bench_expect(bench, 0, "SUBSCRIBE");
        bench_answer(bench, 0, rows[i]);
        bench_assert_log(bench, "");
        assert_true(bench->far[0].ended);
        bench_pass(bench, 20 * PS_SECOND);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_record_goes_to_every_node_and_then_those_who_listen_are_woken),
        TEST(a_record_that_one_node_took_is_told_so),
        TEST(with_no_node_it_fails_all_the_same_later),
        TEST(records_are_read_from_every_node),
        TEST(a_long_log_is_read_in_pages),
        TEST(what_is_no_record_is_refused),
        TEST(who_listens_is_woken),
        TEST(a_lost_connection_is_told_and_opened_again),
        TEST(a_node_that_stands_still_is_lost),
        TEST(what_is_no_confirmation_is_not_believed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
