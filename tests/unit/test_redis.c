/* test_redis - the second tier against scripted servers: every reply, every fault, every deadline.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "../helpers/redis_bench.h"

/* --- lookups ---------------------------------------------------------------------------------- */

static void a_value_is_found(void **state)
{
    struct bench *bench = *state;
    bench_open(bench, 1);
    bench_welcome(bench, 0);
    bench_get(bench);
    bench_expect(bench, 0,
                 "*2\r\n$3\r\nGET\r\n$75\r\npenstock:1:"
                 "0102030000000000000000000000000000000000000000000000000000000000\r\n");
    bench_answer_value(bench, 0, bench_key, "an answer");
    bench_assert_log(bench, "H");
    assert_true(ps_str_eq(ps_buf_str(&bench->body), PS_STR("an answer")));
}

static void whatever_else_a_lookup_gets_is_no_value(void **state)
{
    static const struct {
        const char *reply;
        const char *log;
    } rows[] = {
        {"$-1\r\n", "m"},
        {"$0\r\n\r\n", "r"},
        {"$5\r\nhello\r\n", "r"},
        {"-ERR no\r\n", "f"},
        {"-WRONGTYPE Operation\r\n", "f"},
        {":1\r\n", "f"},
        {"+OK\r\n", "f"},
        {"*1\r\n$1\r\na\r\n", "f"},
        {"-MOVED 1 127.0.0.1:1\r\n", "f"},
    };
    struct bench *bench = *state;
    struct ps_redis_node_stats stats[BENCH_NODES + 1];
    bench_open(bench, 1);
    bench_welcome(bench, 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bench_get(bench);
        bench_expect(bench, 0, "GET");
        bench_answer(bench, 0, rows[i].reply);
        bench_assert_log(bench, rows[i].log);
    }
    bench_get(bench);
    bench_expect(bench, 0, "GET");
    bench_answer_value(bench, 0, (const uint8_t[PS_REDIS_KEY_BYTES]){9}, "of another key");
    bench_assert_log(bench, "r");
    bench_stats(bench, stats);
    assert_int_equal(stats[0].gets, 10);
    assert_int_equal(stats[0].misses, 1);
    assert_int_equal(stats[0].rejected, 3);
    assert_int_equal(stats[0].errors, 3);
    assert_int_equal(stats[0].hits, 0);
    assert_int_equal(stats[0].opened, 0);
    assert_true(stats[0].keys_known);
    assert_int_equal(stats[0].keys, 3);
}

static void lookups_of_one_turn_leave_together_and_are_told_in_order(void **state)
{
    struct bench *bench = *state;
    bench_open(bench, 1);
    bench_welcome(bench, 0);
    for (int i = 0; i < 40; i++) {
        bench_get(bench);
    }
    bench_rest(bench);
    for (int i = 0; i < 40; i++) {
        raw_write(&bench->far[0], i % 2 == 0 ? "$-1\r\n" : "$1\r\nx\r\n");
    }
    bench_rest(bench);
    bench_assert_log(bench, "mrmrmrmrmrmrmrmrmrmrmrmrmrmrmrmrmrmrmrmr");
}

static void a_late_reply_is_a_miss_and_is_dropped_in_its_place(void **state)
{
    struct bench *bench = *state;
    struct ps_redis_node_stats stats[BENCH_NODES + 1];
    bench_open(bench, 1);
    bench_welcome(bench, 0);
    bench_get(bench);
    bench_expect(bench, 0, "GET");
    bench_pass(bench, PS_MILLISECOND);
    bench_assert_log(bench, "");
    bench_pass(bench, PS_MILLISECOND);
    bench_assert_log(bench, "l");
    bench_get(bench);
    bench_expect(bench, 0, "GET");
    bench_answer(bench, 0, "$-1\r\n"); /* the late one's */
    bench_assert_log(bench, "");
    bench_answer_value(bench, 0, bench_key, "in time");
    bench_assert_log(bench, "H");
    bench_stats(bench, stats);
    assert_int_equal(stats[0].late, 1);
    assert_int_equal(stats[0].hits, 1);
    assert_int_equal(stats[0].misses, 0);
}

static void a_reply_that_began_in_time_may_go_on(void **state)
{
    struct bench *bench = *state;
    bench_open(bench, 1);
    bench_welcome(bench, 0);
    bench_get(bench);
    bench_expect(bench, 0, "GET");
    bench_answer(bench, 0, "$5\r\nhe");
    for (int i = 0; i < 3; i++) {
        bench_pass(bench, 1500 * PS_MICROSECOND);
        bench_assert_log(bench, "");
        bench_answer(bench, 0, "l");
    }
    bench_answer(bench, 0, "\r\n");
    bench_assert_log(bench, "r");
    bench_get(bench);
    bench_expect(bench, 0, "GET");
    bench_answer(bench, 0, "$5\r\nhe");
    bench_pass(bench, 2 * PS_MILLISECOND); /* but not stand still */
    bench_assert_log(bench, "l");
}

static void a_lookup_may_be_canceled(void **state)
{
    struct bench *bench = *state;
    bench_open(bench, 1);
    bench_welcome(bench, 0);
    bench_get(bench);
    ps_redis_cancel(bench->op);
    ps_redis_cancel(NULL);
    bench_expect(bench, 0, "GET");
    bench_answer(bench, 0, "$-1\r\n");
    bench_get(bench);
    bench_expect(bench, 0, "GET");
    ps_redis_cancel(bench->op);
    bench_pass(bench, 2 * PS_MILLISECOND);
    bench_get(bench);
    ps_redis_free(bench->redis); /* with two under way */
    bench->redis = NULL;
    bench_rest(bench);
    bench_assert_log(bench, "");
}

static void what_is_under_way_has_a_bound(void **state)
{
    struct bench *bench = *state;
    bench->opts.max_pending = 3;
    bench->opts.max_pending_bytes = 4096;
    bench_open(bench, 1);
    bench_welcome(bench, 0);
    for (int i = 0; i < 3; i++) {
        bench_get(bench);
    }
    assert_int_equal(ps_redis_get(&bench->op, bench->redis, bench_key, bench_on_value, bench),
                     PS_ELIMIT);
    bench_expect(bench, 0, "GET");
    bench_answer(bench, 0, "$-1\r\n$-1\r\n$-1\r\n");
    bench_assert_log(bench, "mmm");
    static char large[5000];
    struct ps_envelope value = {
        .body = {large, sizeof large}, .stored = ps_clock_wall(&bench->clock), .ttl = PS_MINUTE};
    for (size_t i = 0; i < sizeof large; i++) {
        large[i] = (char)(i * i * 2654435761u >> 13); /* does not compress */
    }
    bench->opts.compress_above = 0;
    assert_int_equal(ps_redis_set(bench->redis, bench_key, &value), PS_ELIMIT);
}

/* --- storing ---------------------------------------------------------------------------------- */

static void a_value_is_stored_until_its_time_is_over(void **state)
{
    struct bench *bench = *state;
    struct ps_redis_node_stats stats[BENCH_NODES + 1];
    struct ps_envelope value = {.body = PS_STR("x"),
                                .stored = ps_clock_wall(&bench->clock) - PS_SECOND,
                                .ttl = 10 * PS_SECOND};
    bench_open(bench, 1);
    bench_welcome(bench, 0);
    assert_int_equal(ps_redis_set(bench->redis, bench_key, &value), PS_OK);
    bench_expect(bench, 0, "$2\r\nPX\r\n$4\r\n9000\r\n");
    bench_answer(bench, 0, "+OK\r\n");
    assert_int_equal(ps_redis_set(bench->redis, bench_key, &value), PS_OK);
    bench_expect(bench, 0, "SET");
    bench_answer(bench, 0, "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
    value.ttl = PS_SECOND;
    assert_int_equal(ps_redis_set(bench->redis, bench_key, &value), PS_EINVAL);
    assert_int_equal(ps_redis_delete(bench->redis, bench_key), PS_OK);
    bench_expect(bench, 0, "UNLINK");
    bench_answer(bench, 0, ":1\r\n");
    bench_stats(bench, stats);
    assert_int_equal(stats[0].sets, 1);
    assert_int_equal(stats[0].set_failures, 1);
    assert_int_equal(stats[0].errors, 1);
    assert_int_equal(stats[0].state, PS_REDIS_CLOSED); /* a full node still answers lookups */
    bench_assert_log(bench, "");
}

/* --- opening ---------------------------------------------------------------------------------- */

static void secrets_are_said_first_and_to_nobody_else(void **state)
{
    struct bench *bench = *state;
    bench->opts.username = ps_str_dup(PS_STR("gate"));
    bench->opts.password = ps_str_dup(PS_STR("s3cret"));
    bench->opts.database = 5;
    bench_open(bench, 1);
    bench_accept(bench, 0);
    bench_expect(
        bench, 0,
        "*3\r\n$4\r\nAUTH\r\n$4\r\ngate\r\n$6\r\ns3cret\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n5\r\n"
        "*1\r\n$4\r\nPING\r\n");
    bench_answer(bench, 0,
                 "-ERR unknown command `AUTH`, with args beginning with: `gate` `s3cret`\r\n");
    bench_assert_log(bench, "-");
    assert_string_equal(bench->reason, "AUTH was refused: ERR");
}

static void the_greeting_must_be_answered_as_it_should(void **state)
{
    static const struct {
        const char *reply;
        const char *reason;
    } rows[] = {
        {"-WRONGPASS invalid username-password pair\r\n", "AUTH was refused: WRONGPASS"},
        {"+OK\r\n-ERR DB index is out of range\r\n", "SELECT was refused: ERR"},
        {"+OK\r\n+OK\r\n-LOADING Redis is loading\r\n", "the first command was refused: LOADING"},
        {"+OK\r\n+OK\r\n+PANG\r\n", "the first command was refused"},
        {"+OK\r\n+OK\r\n:1\r\n", "the first command was refused"},
        {"220 smtp ready\r\n", "what it sent is not the Redis protocol"},
        {"*1000000\r\n", "a reply was larger than may be"},
    };
    struct bench *bench = *state;
    bench->opts.password = ps_str_dup(PS_STR("x"));
    bench->opts.database = 1;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bench_open(bench, 1);
        bench_accept(bench, 0);
        bench_expect(bench, 0, "PING\r\n");
        bench_answer(bench, 0, rows[i].reply);
        bench_assert_log(bench, "-");
        assert_string_equal(bench->reason, rows[i].reason);
        ps_redis_free(bench->redis);
        ps_redis_hub_unref(bench->hub);
        bench->redis = NULL;
        bench->hub = NULL;
    }
}

static void a_lookup_may_wait_for_the_connection_within_its_time(void **state)
{
    struct bench *bench = *state;
    bench_open(bench, 1);
    bench_get(bench);
    bench_accept(bench, 0);
    bench_expect(bench, 0, "PING\r\n");
    assert_false(raw_has(&bench->far[0], "GET")); /* not before it is ready */
    raw_write(&bench->far[0], "+PONG\r\n");
    bench_expect(bench, 0, "GET");
    bench_answer(bench, 0, "$-1\r\n:0\r\n");
    bench_assert_log(bench, "m");
}

static void a_node_that_is_not_there_is_told_once_and_tried_again(void **state)
{
    struct bench *bench = *state;
    close(bench->listening[0]);
    bench->listening[0] = -1;
    bench_open(bench, 1);
    bench_rest(bench);
    bench_assert_log(bench, "-");
    assert_string_equal(bench->reason, "the connection was refused");
    for (int i = 0; i < 20; i++) {
        assert_int_equal(ps_redis_get(&bench->op, bench->redis, bench_key, bench_on_value, bench),
                         PS_EBUSY);
        bench_pass(bench, PS_SECOND);
    }
    bench_assert_log(bench, "");
    struct ps_address at;
    char text[40];
    snprintf(text, sizeof text, "127.0.0.1:%u", bench->ports[0]);
    assert_int_equal(ps_address_parse(ps_str_from(text), &at), PS_OK);
    assert_int_equal(ps_listen(&at, &bench->listening[0]), PS_OK);
    bench_pass(bench, 15 * PS_SECOND);
    bench_accept(bench, 0);
    bench_expect(bench, 0, "PING\r\n");
    bench_answer(bench, 0, "+PONG\r\n");
    bench_assert_log(bench, "+");
    bench_get(bench);
    bench_expect(bench, 0, "GET");
    bench_answer(bench, 0, "$-1\r\n");
    bench_assert_log(bench, "m");
}

static void a_node_that_accepts_and_says_nothing_is_not_waited_for(void **state)
{
    struct bench *bench = *state;
    bench_open(bench, 1);
    bench_accept(bench, 0);
    bench_expect(bench, 0, "PING\r\n");
    bench_pass(bench, 199 * PS_MILLISECOND);
    bench_assert_log(bench, "");
    bench_pass(bench, PS_MILLISECOND);
    bench_assert_log(bench, "-");
    assert_string_equal(bench->reason, "connected, but no reply in time");
}

/* --- faults ----------------------------------------------------------------------------------- */

static void a_node_that_stands_still_is_left_alone_until_it_answers(void **state)
{
    struct bench *bench = *state;
    bench_open(bench, 1);
    bench_welcome(bench, 0);
    bench_get(bench);
    bench_expect(bench, 0, "GET");
    bench_pass(bench, 2 * PS_MILLISECOND);
    bench_get(bench);
    bench_pass(bench, 97 * PS_MILLISECOND);
    bench_assert_log(bench, "ll");
    bench_pass(bench, PS_MILLISECOND);
    bench_assert_log(bench, "-");
    assert_string_equal(bench->reason, "no reply for 100 ms");
    assert_int_equal(ps_redis_get(&bench->op, bench->redis, bench_key, bench_on_value, bench),
                     PS_EBUSY);
    assert_true(bench->far[0].ended);
    bench_pass(bench, 420 * PS_MILLISECOND);
    bench_accept(bench, 0);
    bench_expect(bench, 0, "PING\r\n");
    assert_int_equal(ps_redis_get(&bench->op, bench->redis, bench_key, bench_on_value, bench),
                     PS_EBUSY);
    bench_answer(bench, 0, "+PONG\r\n");
    bench_assert_log(bench, "+");
    bench_get(bench);
    bench_expect(bench, 0, "GET");
    bench_answer(bench, 0, "$-1\r\n");
    bench_assert_log(bench, "m");
}

static void a_node_whose_every_reply_is_late_is_left_alone(void **state)
{
    struct bench *bench = *state;
    bench_open(bench, 1);
    bench_welcome(bench, 0);
    for (int i = 0; i < 30 && bench->log[0] != '-'; i++) {
        bench->log[0] = '\0';
        bench_get(bench);
        bench_expect(bench, 0, "GET");
        bench_pass(bench, 6 * PS_MILLISECOND);
        if (bench->log[0] == 'l') {
            bench_answer(bench, 0, "$-1\r\n");
        }
    }
    bench_assert_log(bench, "-l"); /* told before the last one was */
    assert_string_equal(bench->reason, "its replies are late");
}

static void a_node_that_is_idle_and_stands_still_is_noticed(void **state)
{
    struct bench *bench = *state;
    bench_open(bench, 1);
    bench_welcome(bench, 0);
    bench_pass(bench, PS_SECOND);
    bench_expect(bench, 0, "DBSIZE\r\n");
    bench_pass(bench, 100 * PS_MILLISECOND);
    bench_assert_log(bench, "-");
}

static void rubbish_ends_the_connection_and_fails_what_waits(void **state)
{
    static const char *const rows[] = {"HTTP/1.1 400 Bad Request\r\n\r\n", "$x\r\n", "*-7\r\n",
                                       "%1\r\n+a\r\n+b\r\n"};
    struct bench *bench = *state;
    bench_open(bench, 1);
    bench_welcome(bench, 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bench_get(bench);
        bench_get(bench);
        bench_expect(bench, 0, "GET");
        bench_answer(bench, 0, rows[i]);
        bench_assert_log(bench, "ff-");
        bench_pass(bench, 20 * PS_SECOND);
        bench_accept(bench, 0);
        bench_expect(bench, 0, "PING\r\n");
        bench_answer(bench, 0, "+PONG\r\n");
        bench_assert_log(bench, "+");
        bench_pass(bench, PS_SECOND);
        bench_expect(bench, 0, "DBSIZE");
        bench_answer(bench, 0, ":1\r\n");
    }
}

static void a_reply_that_nobody_asked_for_is_rubbish(void **state)
{
    struct bench *bench = *state;
    bench_open(bench, 1);
    bench_welcome(bench, 0);
    bench_answer(bench, 0, "+OK\r\n");
    bench_assert_log(bench, "-");
    assert_string_equal(bench->reason, "it spoke without being asked");
}

static void a_value_that_is_too_large_is_not_read(void **state)
{
    struct bench *bench = *state;
    static char bytes[100001];
    bench->opts.max_value = 100000;
    memset(bytes, 'x', sizeof bytes - 1);
    bench_open(bench, 1);
    bench_welcome(bench, 0);
    bench_get(bench);
    bench_expect(bench, 0, "GET");
    bench_answer(bench, 0, "$536870912\r\n");
    bench_answer(bench, 0, bytes);
    bench_assert_log(bench, "");
    bench_answer(bench, 0, bytes);
    bench_assert_log(bench, "f-");
    assert_string_equal(bench->reason, "a reply was larger than may be");
}

static void a_connection_that_worked_is_opened_again_quietly(void **state)
{
    struct bench *bench = *state;
    bench_open(bench, 1);
    bench_welcome(bench, 0);
    bench_pass(bench, 1100 * PS_MILLISECOND);
    bench_expect(bench, 0, "DBSIZE");
    bench_answer(bench, 0, ":1\r\n");
    bench_get(bench);
    bench_expect(bench, 0, "GET");
    close(bench->far[0].fd);
    bench->far[0].fd = -1;
    bench_rest(bench);
    bench_assert_log(bench, "f");
    bench_accept(bench, 0);
    bench_expect(bench, 0, "PING\r\n");
    bench_answer(bench, 0, "+PONG\r\n");
    bench_get(bench);
    bench_expect(bench, 0, "GET");
    close(bench->far[0].fd); /* this one did not last */
    bench->far[0].fd = -1;
    bench_rest(bench);
    bench_assert_log(bench, "f-");
}

/* --- nodes ------------------------------------------------------------------------------------ */

/* Keys are digests: nothing like a progression, which a slot table may send to one node. */
static void make_key(uint8_t key[PS_REDIS_KEY_BYTES], unsigned number)
{
    uint64_t mixed = (number + 1) * 0x9E3779B97F4A7C15u;
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9u;
    memset(key, 0, PS_REDIS_KEY_BYTES);
    memcpy(key, &mixed, sizeof mixed);
}

static void keys_go_to_the_node_that_the_ring_says(void **state)
{
    struct bench *bench = *state;
    char name[64];
    bench_open(bench, 2);
    bench_welcome(bench, 0);
    bench_welcome(bench, 1);
    int asked[2] = {0, 0};
    for (unsigned i = 0; i < 30; i++) {
        uint8_t key[PS_REDIS_KEY_BYTES];
        make_key(key, i);
        ps_redis_hub_assigned(bench->hub, key, name, sizeof name);
        int node = strcmp(name, bench->urls[0] + 8) == 0 ? 0 : 1;
        assert_string_equal(name, bench->urls[node] + 8);
        assert_int_equal(ps_redis_get(&bench->op, bench->redis, key, bench_on_value, bench), PS_OK);
        bench_expect(bench, node, "GET");
        bench_answer(bench, node, "$-1\r\n");
        bench_assert_log(bench, "m");
        asked[node]++;
    }
    assert_true(asked[0] > 2 && asked[1] > 2);
    assert_true(ps_redis_hub_imbalance_percent(bench->hub) < 0.2);
}

static void a_dead_node_does_not_touch_the_others(void **state)
{
    struct bench *bench = *state;
    struct ps_redis_node_stats stats[BENCH_NODES + 1];
    bench_open(bench, 2);
    bench_welcome(bench, 0);
    bench_welcome(bench, 1);
    bench_answer(bench, 0, "rubbish\r\n");
    bench_assert_log(bench, "-");
    int busy = 0;
    for (unsigned i = 0; i < 30; i++) {
        uint8_t key[PS_REDIS_KEY_BYTES];
        make_key(key, i);
        int err = ps_redis_get(&bench->op, bench->redis, key, bench_on_value, bench);
        busy += err == PS_EBUSY;
        if (err == PS_OK) {
            bench_expect(bench, 1, "GET");
            bench_answer(bench, 1, "$-1\r\n");
            bench_assert_log(bench, "m");
        }
    }
    assert_true(busy > 2 && busy < 28);
    bench_stats(bench, stats);
    assert_int_equal(stats[0].state, PS_REDIS_OPEN);
    assert_int_equal(stats[1].state, PS_REDIS_CLOSED);
    assert_int_equal(stats[0].slots + stats[1].slots, 655373);
}

static void settings_that_make_no_sense_are_refused(void **state)
{
    static const char *const urls[] = {
        "redis://user:pass@a:1", "http://a:1", "a:0",  "a:99999", "",           "a b",
        "redis://a:1/3",         "unix://x",   "[::1", "::1:7",   "[1.2.3.4]:5"};
    struct bench *bench = *state;
    char reason[256];
    struct ps_redis_hub *hub = NULL;
    const struct ps_redis_observer nobody = {NULL, NULL};
    struct ps_redis_opts opts = bench->opts;
    struct ps_redis_node_opts nodes[2] = {{.weight = 1}, {.url = bench->urls[0], .weight = 1}};
    opts.nodes = (struct ps_option_list){.items = nodes, .count = 1};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        char text[64];
        snprintf(text, sizeof text, "%s", urls[i]);
        nodes[0].url = text;
        assert_int_equal(ps_redis_hub_new(&hub, &opts, &nobody, reason, sizeof reason), PS_EINVAL);
        assert_true(strlen(reason) > 20 && strstr(reason, "pass@") == NULL);
    }
    nodes[0].url = bench->urls[0];
    opts.nodes.count = 2;
    assert_int_equal(ps_redis_hub_new(&hub, &opts, &nobody, reason, sizeof reason), PS_EINVAL);
    assert_non_null(strstr(reason, "twice"));
    opts.nodes.count = 0;
    assert_int_equal(ps_redis_hub_new(&hub, &opts, &nobody, reason, sizeof reason), PS_EINVAL);
    opts.nodes.count = 1;
    char braces[] = "a{b}";
    opts.prefix = braces;
    assert_int_equal(ps_redis_hub_new(&hub, &opts, &nobody, reason, sizeof reason), PS_EINVAL);
    opts.prefix = NULL;
    opts.cluster = true;
    opts.database = 1;
    assert_int_equal(ps_redis_hub_new(&hub, &opts, &nobody, reason, sizeof reason), PS_EINVAL);
    opts.cluster = false;
    char missing[] = "/nowhere/ca.pem";
    opts.tls.enabled = true;
    opts.tls.ca_file = missing;
    assert_int_equal(ps_redis_hub_new(&hub, &opts, &nobody, reason, sizeof reason), PS_EINVAL);
    assert_non_null(strstr(reason, "/nowhere/ca.pem"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_value_is_found),
        TEST(whatever_else_a_lookup_gets_is_no_value),
        TEST(lookups_of_one_turn_leave_together_and_are_told_in_order),
        TEST(a_late_reply_is_a_miss_and_is_dropped_in_its_place),
        TEST(a_reply_that_began_in_time_may_go_on),
        TEST(a_lookup_may_be_canceled),
        TEST(what_is_under_way_has_a_bound),
        TEST(a_value_is_stored_until_its_time_is_over),
        TEST(secrets_are_said_first_and_to_nobody_else),
        TEST(the_greeting_must_be_answered_as_it_should),
        TEST(a_lookup_may_wait_for_the_connection_within_its_time),
        TEST(a_node_that_is_not_there_is_told_once_and_tried_again),
        TEST(a_node_that_accepts_and_says_nothing_is_not_waited_for),
        TEST(a_node_that_stands_still_is_left_alone_until_it_answers),
        TEST(a_node_whose_every_reply_is_late_is_left_alone),
        TEST(a_node_that_is_idle_and_stands_still_is_noticed),
        TEST(rubbish_ends_the_connection_and_fails_what_waits),
        TEST(a_reply_that_nobody_asked_for_is_rubbish),
        TEST(a_value_that_is_too_large_is_not_read),
        TEST(a_connection_that_worked_is_opened_again_quietly),
        TEST(keys_go_to_the_node_that_the_ring_says),
        TEST(a_dead_node_does_not_touch_the_others),
        TEST(settings_that_make_no_sense_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
