/* test_redis_cluster - a scripted Redis Cluster: its map, MOVED, ASK, and what goes wrong there.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "../helpers/nomem.h"
#include "../helpers/redis_bench.h"

#define WELL "$18\r\ncluster_state:ok\r\n\r\n"

/* The reply to CLUSTER SLOTS: node 0 has the slots up to `last`, node 1 the others. */
static const char *map_text(const struct bench *bench, unsigned last, char text[512])
{
    char range[2][200];
    int count = 0;
    if (last < 16384) {
        snprintf(range[count++], 200, "*3\r\n:0\r\n:%u\r\n*2\r\n$9\r\n127.0.0.1\r\n:%u\r\n", last,
                 bench->ports[0]);
    }
    if (last < 16383 || last == 16384) {
        snprintf(range[count++], 200, "*3\r\n:%u\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%u\r\n",
                 last == 16384 ? 0 : last + 1, bench->ports[1]);
    }
    snprintf(text, 512, "*%d\r\n%s%s", count, range[0], count > 1 ? range[1] : "");
    return text;
}

static const char *redirect_text(const struct bench *bench, const char *word, int node,
                                 char text[64])
{
    snprintf(text, 64, "-%s 1 127.0.0.1:%u\r\n", word, bench->ports[node]);
    return text;
}

static void welcome(struct bench *bench, int node)
{
    bench_accept(bench, node);
    bench_expect(bench, node, "CLUSTER\r\n$4\r\nINFO\r\n");
    bench_answer(bench, node, WELL);
}

/* A client that knows node 0 and has its map, in which node 0 has everything up to `last`. */
static void open_with_map(struct bench *bench, unsigned last)
{
    char text[512];
    bench->opts.cluster = true;
    bench_open(bench, 1);
    welcome(bench, 0);
    bench_expect(bench, 0, "CLUSTER\r\n$5\r\nSLOTS\r\n");
    bench_answer(bench, 0, map_text(bench, last, text));
    if (last != 16383) {
        welcome(bench, 1);
    }
    bench_pass(bench, 100 * PS_MILLISECOND);
    if (last != 16384) {
        bench_expect(bench, 0, "DBSIZE");
        bench_answer(bench, 0, ":1\r\n");
    }
    if (last != 16383) {
        bench_expect(bench, 1, "DBSIZE");
        bench_answer(bench, 1, ":1\r\n");
    }
    bench_assert_log(bench, "");
}

/* --- cases ------------------------------------------------------------------------------------ */

static void keys_go_where_the_map_says(void **state)
{
    struct bench *bench = *state;
    char name[64];
    int asked[2] = {0, 0};
    struct ps_redis_node_stats stats[BENCH_NODES + 1];
    assert_int_equal(PS_REDIS_MISS, 1);
    open_with_map(bench, 8191);
    for (uint8_t i = 0; i < 20; i++) {
        uint8_t key[PS_REDIS_KEY_BYTES] = {i};
        ps_redis_hub_assigned(bench->hub, key, name, sizeof name);
        int node = strcmp(name, bench->urls[0] + 8) == 0 ? 0 : 1;
        assert_int_equal(ps_redis_get(&bench->op, bench->redis, key, bench_on_value, bench), PS_OK);
        bench_expect(bench, node, "GET");
        bench_answer(bench, node, "$-1\r\n");
        bench_assert_log(bench, "m");
        asked[node]++;
    }
    assert_true(asked[0] > 2 && asked[1] > 2);
    bench_stats(bench, stats);
    assert_int_equal(stats[0].slots, 8192);
    assert_int_equal(stats[1].slots, 8192);
    assert_true(stats[0].share_percent == 50.0);
    assert_null(stats[2].node);
}

static void without_a_map_every_lookup_is_a_miss(void **state)
{
    struct bench *bench = *state;
    bench->opts.cluster = true;
    bench_open(bench, 1);
    assert_int_equal(ps_redis_get(&bench->op, bench->redis, bench_key, bench_on_value, bench),
                     PS_EBUSY);
    welcome(bench, 0);
    bench_expect(bench, 0, "SLOTS");
    bench_answer(bench, 0, "-ERR This instance has cluster support disabled\r\n");
    for (int i = 0; i < 5; i++) { /* it goes on asking, ten times a second */
        bench_pass(bench, 100 * PS_MILLISECOND);
        bench_expect(bench, 0, "SLOTS");
        bench_answer(bench, 0, i % 2 == 0 ? "*0\r\n" : "*1\r\n:1\r\n");
    }
    assert_int_equal(ps_redis_get(&bench->op, bench->redis, bench_key, bench_on_value, bench),
                     PS_EBUSY);
    bench_assert_log(bench, "");
}

static void a_cluster_that_is_not_well_is_left_alone(void **state)
{
    struct bench *bench = *state;
    bench->opts.cluster = true;
    bench_open(bench, 1);
    bench_accept(bench, 0);
    bench_expect(bench, 0, "INFO\r\n");
    bench_answer(bench, 0, "$20\r\ncluster_state:fail\r\n\r\n");
    bench_assert_log(bench, "-");
    assert_string_equal(bench->reason, "the cluster says that it is not well");
}

static void moved_goes_on_at_the_other_node_and_asks_for_the_map(void **state)
{
    struct bench *bench = *state;
    char text[512];
    struct ps_redis_node_stats stats[BENCH_NODES + 1];
    open_with_map(bench, 16383);
    bench_get(bench);
    bench_expect(bench, 0, "GET");
    bench_pass(bench, PS_MILLISECOND);
    raw_write(&bench->far[0], redirect_text(bench, "MOVED", 1, text));
    welcome(bench, 1);
    bench_expect(bench, 1, "GET\r\n$75\r\npenstock:1:010203");
    bench_answer_value(bench, 1, bench_key, "moved");
    bench_assert_log(bench, "H");
    bench_expect(bench, 0, "SLOTS");
    bench_answer(bench, 0, map_text(bench, 16384, text));
    bench_get(bench); /* the map is taken at the end of a turn */
    bench_expect(bench, 1, "GET");
    bench_answer(bench, 1, "$-1\r\n");
    bench_assert_log(bench, "m");
    bench_stats(bench, stats);
    assert_string_equal(stats[0].node, bench->urls[1] + 8);
    assert_int_equal(stats[0].slots, 16384);
    assert_null(stats[1].node);
}

static void ask_goes_there_once_and_the_map_stays(void **state)
{
    struct bench *bench = *state;
    char text[512];
    open_with_map(bench, 16382);
    for (int i = 0; i < 2; i++) {
        bench_get(bench);
        bench_expect(bench, 0, "GET");
        raw_write(&bench->far[0], redirect_text(bench, "ASK", 1, text));
        bench_expect(bench, 1, "*1\r\n$6\r\nASKING\r\n*2\r\n$3\r\nGET\r\n");
        bench_answer(bench, 1, "+OK\r\n$-1\r\n");
        bench_assert_log(bench, "m");
    }
    bench_pass(bench, 200 * PS_MILLISECOND);
    assert_false(raw_has(&bench->far[0], "SLOTS"));
    assert_false(raw_has(&bench->far[1], "SLOTS"));
}

static void a_store_is_sent_on_too(void **state)
{
    struct bench *bench = *state;
    char text[512];
    struct ps_redis_node_stats stats[BENCH_NODES + 1];
    struct ps_envelope value = {
        .body = PS_STR("x"), .stored = ps_clock_wall(&bench->clock), .ttl = PS_MINUTE};
    open_with_map(bench, 16382);
    assert_int_equal(ps_redis_set(bench->redis, bench_key, &value), PS_OK);
    bench_expect(bench, 0, "SET");
    raw_write(&bench->far[0], redirect_text(bench, "MOVED", 1, text));
    bench_expect(bench, 1, "SET");
    bench_answer(bench, 1, "+OK\r\n");
    bench_stats(bench, stats);
    assert_int_equal(stats[0].redirects, 1);
    assert_int_equal(stats[0].sets + stats[1].sets, 1);
}

static void redirections_end(void **state)
{
    struct bench *bench = *state;
    char text[512];
    open_with_map(bench, 16382);
    bench_get(bench);
    for (int i = 0; i < 6; i++) {
        bench_expect(bench, i % 2, "GET");
        raw_write(&bench->far[i % 2], redirect_text(bench, "ASK", 1 - i % 2, text));
        if (i < 5) {
            bench_expect(bench, 1 - i % 2, "ASKING");
            raw_write(&bench->far[1 - i % 2], "+OK\r\n");
            bench_assert_log(bench, "");
            PS_CHECK(ps_buf_append(&bench->far[1 - i % 2].got, "GET", 3) ==
                     PS_OK); /* it came with ASKING */
        }
    }
    bench_rest(bench);
    bench_assert_log(bench, "f");
}

static void a_late_lookup_is_not_sent_on(void **state)
{
    struct bench *bench = *state;
    char text[512];
    open_with_map(bench, 16382);
    bench_get(bench);
    bench_expect(bench, 0, "GET");
    bench_pass(bench, 2 * PS_MILLISECOND);
    bench_assert_log(bench, "l");
    bench_answer(bench, 0, redirect_text(bench, "ASK", 1, text));
    assert_false(raw_has(&bench->far[1], "GET"));
    bench_assert_log(bench, "");
}

static void the_map_is_asked_for_at_a_bounded_rate(void **state)
{
    struct bench *bench = *state;
    char text[512];
    open_with_map(bench, 16382);
    bench_pass(bench, PS_SECOND);
    bench_expect(bench, 0, "DBSIZE");
    bench_answer(bench, 0, ":1\r\n");
    bench_expect(bench, 1, "DBSIZE");
    bench_answer(bench, 1, ":1\r\n");
    ps_buf_clear(&bench->far[0].got);
    int questions = 0;
    for (int i = 0; i < 20; i++) {
        bench_get(bench);
        bench_expect(bench, 0, "GET");
        raw_write(&bench->far[0], redirect_text(bench, "MOVED", 1, text));
        bench->node = 1;
        bench->want = "GET";
        assert_true(turns_until(&bench->turns, bench_is_heard, bench));
        bench_answer(bench, 1, "$-1\r\n");
        bench_assert_log(bench, "m");
        for (int node = 0; node < 2; node++) {
            if (raw_has(&bench->far[node], "SLOTS")) {
                questions++;
                bench_answer(bench, node,
                             map_text(bench, 16382, text)); /* it does not know better */
            }
            ps_buf_clear(&bench->far[node].got);
        }
    }
    assert_int_equal(questions, 1);
}

static void a_node_that_says_that_the_cluster_is_down_is_left_alone(void **state)
{
    struct bench *bench = *state;
    open_with_map(bench, 16383);
    for (int i = 0; i < 20 && strchr(bench->log, '-') == NULL; i++) {
        bench->log[0] = '\0';
        bench_get(bench);
        bench_expect(bench, 0, "GET");
        bench_answer(bench, 0, "-CLUSTERDOWN Hash slot not served\r\n");
        if (raw_has(&bench->far[0], "SLOTS")) {
            ps_buf_clear(&bench->far[0].got);
            bench_answer(bench, 0, "-CLUSTERDOWN x\r\n");
        }
        bench_pass(bench, 11 * PS_MILLISECOND);
    }
    assert_non_null(strchr(bench->log, '-'));
    assert_string_equal(bench->reason, "it answers CLUSTERDOWN");
    assert_int_equal(ps_redis_get(&bench->op, bench->redis, bench_key, bench_on_value, bench),
                     PS_EBUSY);
}

static void a_master_that_dies_is_replaced_by_the_new_map(void **state)
{
    struct bench *bench = *state;
    char text[512];
    open_with_map(bench, 16382);
    close(bench->far[0].fd); /* and its address is gone */
    bench->far[0].fd = -1;
    close(bench->listening[0]);
    bench->listening[0] = -1;
    bench_rest(bench);
    bench_assert_log(bench, "-");
    bench_pass(bench, 100 * PS_MILLISECOND);
    bench_expect(bench, 1, "SLOTS");
    bench_answer(bench, 1, map_text(bench, 16382, text)); /* nobody has taken over yet */
    assert_int_equal(ps_redis_get(&bench->op, bench->redis, bench_key, bench_on_value, bench),
                     PS_EBUSY);
    for (int i = 0; i < 10 && !raw_has(&bench->far[1], "SLOTS"); i++) {
        bench_pass(bench, 100 * PS_MILLISECOND);
        if (raw_has(&bench->far[1], "DBSIZE")) {
            ps_buf_clear(&bench->far[1].got);
            bench_answer(bench, 1, ":1\r\n");
        }
    }
    bench_expect(bench, 1, "SLOTS");
    bench_answer(bench, 1, map_text(bench, 16384, text));
    bench_get(bench);
    bench_expect(bench, 1, "GET");
    bench_answer(bench, 1, "$-1\r\n");
    bench_assert_log(bench, "m");
}

/* Out of memory on the way to the other node: the lookup ends. */
static void each_allocation_of_a_redirection_may_fail(void **state)
{
    long n = 0;
    do {
        struct bench *bench = *state;
        char text[64];
        open_with_map(bench, 16383);
        bench_get(bench);
        bench_expect(bench, 0, "GET");
        raw_write(&bench->far[0], redirect_text(bench, "MOVED", 1, text));
        nomem_failed = false;
        nomem_left = n++;
        bench_rest(bench);
        nomem_left = -1;
        bench_pass(bench, 5 * PS_MILLISECOND);
        assert_int_equal(strcspn(bench->log, "fl"), 0);
        assert_null(strpbrk(bench->log + 1, "Hmlrf")); /* the link may be lost, the lookup ends once */
        bench_teardown(state);
        assert_int_equal(bench_setup(state), 0);
    } while (nomem_failed && n < 200);
    assert_true(n > 3 && n < 200);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(keys_go_where_the_map_says),
        TEST(without_a_map_every_lookup_is_a_miss),
        TEST(a_cluster_that_is_not_well_is_left_alone),
        TEST(moved_goes_on_at_the_other_node_and_asks_for_the_map),
        TEST(ask_goes_there_once_and_the_map_stays),
        TEST(a_store_is_sent_on_too),
        TEST(redirections_end),
        TEST(a_late_lookup_is_not_sent_on),
        TEST(the_map_is_asked_for_at_a_bounded_rate),
        TEST(a_node_that_says_that_the_cluster_is_down_is_left_alone),
        TEST(a_master_that_dies_is_replaced_by_the_new_map),
        TEST(each_allocation_of_a_redirection_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
