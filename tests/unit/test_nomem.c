/* test_nomem - a call and its answer with every single allocation failing in turn: nothing crashes,
 * leaks or hangs; who can be told is told.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../helpers/nomem.h"
#include "../helpers/turns.h"
#include "gateway/forward.h"
#include "gateway/items.h"
#include "gateway/l1.h"
#include "gateway/render.h"
#include "gateway/tier.h"
#include "gateway/tunnel.h"
#include "http/client.h"
#include "http/server.h"
#include "io/stream.h"

/* --- the story -------------------------------------------------------------------------------- */

struct story {
    struct turns turns;
    struct ps_server *server;
    struct ps_client_pool *pool;
    struct ps_call *call;
    struct ps_exchange *exchange;
    struct ps_stream *streams[2];
    struct ps_list tunnels;
    int done;  /* calls that ended, well or not */
    int heard; /* exchanges that ended or were aborted */
    int asked;
    size_t got;
};

static void on_exchange_body(void *ctx, struct ps_str data)
{
    struct story *story = ctx;
    if (ps_exchange_write(story->exchange, data) != PS_OK) {
        story->heard++;
        ps_exchange_reset(story->exchange);
    }
}

static void on_exchange_end(void *ctx)
{
    struct story *story = ctx;
    story->heard++;
    ps_exchange_end(story->exchange, PS_STR("X-T: t\r\n"));
}

static void on_abort(void *ctx)
{
    ((struct story *)ctx)->heard++;
}

static const struct ps_exchange_ops exchange_ops = {on_exchange_body, on_exchange_end, NULL,
                                                    on_abort};

static void on_request(void *ctx, struct ps_exchange *exchange)
{
    struct story *story = ctx;
    story->asked++;
    story->exchange = exchange;
    ps_exchange_handle(exchange, &exchange_ops, story);
    ps_exchange_cork(exchange);
    if (ps_exchange_interim(exchange, 103, PS_STR("Link: <a>\r\n")) != PS_OK ||
        ps_exchange_start(exchange, 200, PS_STR(""), PS_STR("X-A: b\r\n"), PS_LENGTH_UNKNOWN) !=
            PS_OK ||
        ps_exchange_uncork(exchange) != PS_OK) {
        story->heard++;
        ps_exchange_reset(exchange);
    }
}

static void on_head(void *ctx, const struct ps_h1_head *head)
{
    (void)ctx;
    (void)head;
}

static void on_body(void *ctx, struct ps_str data)
{
    ((struct story *)ctx)->got += data.len;
}

static void on_end(void *ctx, struct ps_str trailers)
{
    (void)trailers;
    struct story *story = ctx;
    story->call = NULL;
    story->done++;
}

static void on_error(void *ctx, const struct ps_call_error *error)
{
    (void)error;
    struct story *story = ctx;
    story->call = NULL;
    story->done++;
}

static const struct ps_call_ops call_ops = {
    .on_head = on_head, .on_body = on_body, .on_end = on_end, .on_error = on_error};

static bool call_is_over(void *ctx)
{
    return ((struct story *)ctx)->call == NULL;
}

static int make_both(struct story *story)
{
    struct ps_server_opts server_opts;
    struct ps_pool_opts pool_opts;
    struct ps_address at;
    ps_server_opts_init(&server_opts);
    server_opts.on_request = on_request;
    server_opts.ctx = story;
    ps_pool_opts_init(&pool_opts);
    pool_opts.server_name = "localhost";
    int err = ps_address_parse(PS_STR("127.0.0.1:0"), &at);
    err = err != PS_OK ? err : ps_server_new(&story->server, story->turns.loop, &server_opts);
    err = err != PS_OK ? err : ps_server_listen(story->server, &at, NULL);
    if (err == PS_OK) {
        pool_opts.address = *ps_server_address(story->server, 0);
        err = ps_pool_new(&story->pool, story->turns.loop, &pool_opts);
    }
    return err;
}

static int call_once(struct story *story, const char *big, size_t len)
{
    struct ps_call_request request = {
        .head = PS_STR("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"),
        .body = PS_STR("begin"),
        .chunked = true,
        .body_follows = true};
    int err = ps_call_start(&story->call, story->pool, &request, &call_ops, story);
    if (err != PS_OK) {
        story->call = NULL;
        return err;
    }
    err = ps_call_write(story->call, (struct ps_str){big, len});
    if (err != PS_OK) {
        ps_call_cancel(story->call);
        story->call = NULL;
        return err;
    }
    ps_call_end(story->call);
    /* A connection that could not be accepted is closed; a deadline that could not be set is the
     * only thing that may leave a call waiting, and then it is cancelled like this. */
    if (!turns_until(&story->turns, call_is_over, story)) {
        ps_call_cancel(story->call);
        story->call = NULL;
        return PS_ETIMEOUT;
    }
    return PS_OK;
}

static void tell_story(struct story *story)
{
    static char big[300 * 1000];
    int err = ps_loop_new(&story->turns.loop, &ps_clock_real);
    if (err != PS_OK) {
        assert_int_equal(err, PS_ENOMEM);
        return;
    }
    err = make_both(story);
    if (err == PS_OK) {
        err = call_once(story, big, sizeof big);
        assert_int_not_equal(err, PS_ETIMEOUT);
    } else {
        assert_int_equal(err, PS_ENOMEM);
    }
    turns_rest(&story->turns);
    ps_pool_free(story->pool);
    ps_server_free(story->server);
    ps_loop_free(story->turns.loop);
    assert_int_equal(story->heard, story->asked);
}

static void each_allocation_of_a_call_may_fail(void **state)
{
    (void)state;
    struct story whole = {.call = NULL};
    tell_story(&whole);
    assert_int_equal(whole.got, 300 * 1000 + 5);
    long n = 0;
    do {
        struct story story = {.call = NULL};
        nomem_failed = false;
        nomem_left = n;
        tell_story(&story);
        nomem_left = -1;
        n++;
    } while (nomem_failed && n < 1000);
    assert_true(n > 10 && n < 1000);
    print_message("%ld allocations\n", n - 1);
}

/* --- tunnels ---------------------------------------------------------------------------------- */

static void on_tunnel_end(void *ctx, uint64_t from_client, uint64_t from_upstream)
{
    (void)from_client;
    (void)from_upstream;
    ((struct story *)ctx)->done++;
}

static size_t on_no_data(void *ctx, struct ps_str data)
{
    (void)ctx;
    (void)data;
    return 0;
}

static void on_no_close(void *ctx, int err)
{
    (void)ctx;
    (void)err;
}

static const struct ps_stream_ops none = {NULL, on_no_data, NULL, on_no_close};

static void tell_tunnel(struct story *story)
{
    static char big[400 * 1000];
    int pairs[2][2];
    struct raw ends[2];
    struct ps_stream_opts opts = {.ops = &none, .ctx = story};
    ps_list_init(&story->tunnels);
    assert_int_equal(ps_loop_new(&story->turns.loop, &ps_clock_real), PS_OK);
    nomem_left = story->asked;
    int err = PS_OK;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(
            socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pairs[i]), 0);
        raw_init(&ends[i], pairs[i][1]);
        int opened = ps_stream_accept(&story->streams[i], story->turns.loop, pairs[i][0], &opts);
        err = err != PS_OK ? err : opened;
    }
    if (err == PS_OK) {
        err = ps_tunnel_new(story->turns.loop, story->streams[0], story->streams[1], PS_MINUTE,
                            &story->tunnels, on_tunnel_end, story);
        story->streams[0] = story->streams[1] = NULL;
    }
    if (err == PS_OK) {
        ssize_t n = send(ends[0].fd, big, sizeof big, MSG_NOSIGNAL);
        assert_true(n > 0);
        turns_rest(&story->turns);
    } else {
        assert_int_equal(err, PS_ENOMEM);
    }
    nomem_left = -1;
    ps_stream_free(story->streams[0]);
    ps_stream_free(story->streams[1]);
    ps_tunnel_free_all(&story->tunnels);
    assert_int_equal(story->done, err == PS_OK);
    raw_close(&ends[0]);
    raw_close(&ends[1]);
    ps_loop_free(story->turns.loop);
}

static void each_allocation_of_a_tunnel_may_fail(void **state)
{
    (void)state;
    int n = 0;
    do {
        struct story story = {.asked = n};
        nomem_failed = false;
        tell_tunnel(&story);
        n++;
    } while (nomem_failed && n < 200);
    assert_true(n > 4 && n < 200);
}

/* --- heads ------------------------------------------------------------------------------------ */

static void each_allocation_of_a_forwarded_head_may_fail(void **state)
{
    struct ps_str text =
        PS_STR("GET /a HTTP/1.1\r\nHost: h\r\nX-Penstock-A: b\r\nX-C: d\r\nCookie: a=b\r\n\r\n");
    struct ps_h1_scratch scratch;
    struct ps_h1 h1;
    (void)state;
    assert_int_equal(ps_h1_scratch_init(&scratch, 0), PS_OK);
    ps_h1_init(&h1, PS_H1_REQUEST, NULL, &scratch);
    assert_int_equal(ps_h1_next(&h1, &text), PS_H1_HEAD);
    struct ps_forward forward = {.head = ps_h1_head(&h1),
                                 .authority = PS_STR("up:80"),
                                 .request_id = PS_STR("id"),
                                 .peer = PS_STR("192.0.2.1")};
    int err;
    int n = 0;
    do {
        struct ps_buf out = ps_buf_make(64 * 1024);
        nomem_left = n++;
        err = ps_forward_request(&out, &forward);
        nomem_left = -1;
        assert_true(err == PS_OK || err == PS_ENOMEM);
        ps_buf_fini(&out);
    } while (err != PS_OK && n < 100);
    assert_int_equal(err, PS_OK);
    for (size_t limit = 1; limit < 1200; limit += 7) { /* no room is no crash */
        struct ps_buf out = ps_buf_make(limit);
        assert_true(ps_forward_request(&out, &forward) != PS_OK || out.len <= limit);
        ps_buf_fini(&out);
    }
    ps_h1_fini(&h1);
    ps_h1_scratch_fini(&scratch);
}

/* --- the cache -------------------------------------------------------------------------------- */

/* A body with something of everything, so that each buffer grows. */
static int tell_key(struct ps_key *key)
{
    static const char body[] =
        "{\"input\":[[1,2],[3]],\"a\":[\"\\u00e9\",{\"b\":{}}],\"user\":\"u\"}";
    struct ps_key_scope scope = {.tenant = PS_STR("t")};
    struct ps_keyer *keyer = NULL;
    struct ps_key_job *job = NULL;
    struct ps_budget budget = {.limit = 1 << 20};
    int err = ps_keyer_new(&keyer, 16);
    for (int kind = 0; kind <= PS_KEY_EMBEDDINGS && err == PS_OK; kind++) {
        err = ps_key_job_new(&job, keyer, &scope, (enum ps_key_body)kind, &budget);
        err = err != PS_OK ? err : ps_key_job_feed(job, ps_str_from(body));
        err = err != PS_OK ? err : ps_key_job_end(job, key);
        ps_key_job_free(job);
        job = NULL;
    }
    ps_keyer_free(keyer);
    assert_int_equal(budget.used, 0);
    return err;
}

static int tell_cache(const struct ps_key *key)
{
    struct ps_l1_opts opts = {.size = 1 << 20,
                              .max_entry = 1 << 16,
                              .shards = 1,
                              .mean_entry = 4096,
                              .max_purges = 4,
                              .max_age = PS_HOUR};
    struct ps_entry_spec spec = {.status = 200, .body = PS_STR("b"), .born = 1, .fresh = PS_HOUR};
    struct ps_purge purge = {.kind = PS_PURGE_PATTERN, .at = 0, .text = PS_STR("*")};
    struct ps_l1 *cache = NULL;
    struct ps_entry *entry = NULL;
    int err = ps_l1_new(&cache, &opts);
    err = err != PS_OK ? err : ps_l1_invalidate(cache, &purge, 1);
    err = err != PS_OK ? err : ps_entry_new(&entry, &spec);
    err = err != PS_OK ? err : ps_l1_put(cache, key, entry);
    if (cache != NULL) {
        struct ps_entry *found = NULL;
        enum ps_l1_answer answer = ps_l1_get(cache, key, 2, &found);
        assert_int_equal(answer, err == PS_OK ? PS_L1_HIT : PS_L1_MISS);
        assert_true(ps_l1_is_sane(cache));
        ps_entry_unref(found);
    }
    ps_entry_unref(entry);
    ps_l1_free(cache);
    return err;
}

/* Both sides of one process, all of whose servers are away. */
struct sides {
    struct ps_loop *loop;
    struct ps_tiers *tiers;
    struct ps_tier_keeper *keeper;
    struct ps_tier *tier;
};

static int open_sides(struct sides *sides, const struct ps_cache_opts *opts)
{
    char reason[128];
    const struct ps_tiers_opts tiers = {.l1 = &opts->l1, .redis = &opts->redis};
    int err = ps_loop_new(&sides->loop, &ps_clock_real);
    err = err != PS_OK ? err : ps_tiers_new(&sides->tiers, &tiers, reason, sizeof reason);
    err = err != PS_OK ? err : ps_tier_keeper_new(&sides->keeper, sides->tiers, sides->loop);
    return err != PS_OK ? err : ps_tier_new(&sides->tier, sides->tiers, sides->loop);
}

static void close_sides(struct sides *sides)
{
    ps_tier_free(sides->tier);
    ps_tier_keeper_free(sides->keeper);
    ps_tiers_free(sides->tiers);
    ps_loop_free(sides->loop);
}

static int use_sides(struct sides *sides, const struct ps_key *key)
{
    struct ps_entry_spec spec = {.status = 200, .body = PS_STR("b"), .born = 1, .fresh = PS_NEVER};
    struct ps_purge purge = {.kind = PS_PURGE_KEY, .at = 1, .key = *key};
    struct ps_entry *entry = NULL;
    int err = ps_entry_new(&entry, &spec);
    err = err != PS_OK ? err : ps_tier_store(sides->tier, key, entry);
    ps_entry_unref(entry);
    if (err == PS_OK) {
        err = ps_tier_keeper_invalidate(sides->keeper, &purge, NULL, NULL);
        assert_true(err == PS_OK || err == PS_ENOMEM || err == PS_ELIMIT);
    }
    return err == PS_ELIMIT ? PS_ENOMEM : err; /* what could not be sent is sent later */
}

static int tell_tiers(const struct ps_key *key)
{
    struct ps_cache_opts opts;
    struct ps_redis_node_opts node = {.url = (char[]){"127.0.0.1:1"}, .weight = 1};
    struct sides sides = {.loop = NULL};
    int err = ps_option_init(ps_cache_options, &opts);
    if (err == PS_OK) {
        opts.l1.size = 1 << 20;
        opts.l1.max_entry = 1 << 16;
        opts.redis.nodes = (struct ps_option_list){.items = &node, .count = 1};
        err = open_sides(&sides, &opts);
        opts.redis.nodes = (struct ps_option_list){.items = NULL, .count = 0};
    }
    err = err != PS_OK ? err : use_sides(&sides, key);
    close_sides(&sides);
    ps_option_fini(ps_cache_options, &opts);
    return err;
}

static int tell_rendering(void)
{
    static const char answer[] = "{\"object\":\"chat.completion\",\n\"choices\":[{\"index\":0,"
                                 "\"message\":{\"content\":\"a\",\"tool_calls\":"
                                 "[{\"function\":{\"name\":\"f\"}}]},\"logprobs\":{\"content\":[1]}"
                                 ",\"finish_reason\":\"stop\"}]}";
    struct ps_buf events = ps_buf_make(1 << 20);
    struct ps_buf json = ps_buf_make(1 << 20);
    struct ps_buf plain = ps_buf_make(1 << 20);
    int err = ps_render_events(ps_str_from(answer), true, &events);
    err = err != PS_OK ? err : ps_render_json(ps_buf_str(&events), &json);
    err = err != PS_OK ? err : ps_render_without_usage(ps_buf_str(&events), &plain);
    assert_true(err == PS_OK || plain.len == 0);
    ps_buf_fini(&events);
    ps_buf_fini(&json);
    ps_buf_fini(&plain);
    return err;
}

static int cut_request(struct ps_budget *budget)
{
    struct ps_items_ask *ask = NULL;
    struct ps_chunks body = ps_chunks_make(budget);
    uint32_t twins[2];
    struct ps_key keys[2] = {{{0}}};
    int err = ps_items_find_twins(keys, 2, twins);
    err = err != PS_OK ? err : ps_items_ask_new(&ask, PS_ITEMS_OPENAI, budget);
    err = err != PS_OK ? err : ps_items_ask_feed(ask, PS_STR("{\"input\":[\"a\",\"b\"]}"));
    err = err != PS_OK ? err : ps_items_ask_end(ask);
    err = err != PS_OK ? err : ps_items_ask_write(ask, (const uint32_t[]){1}, 1, &body);
    ps_items_ask_free(ask);
    ps_chunks_fini(&body);
    return err;
}

static int join_piece(struct ps_str piece)
{
    struct ps_items_join *join = NULL;
    uint64_t length = 0;
    int err = ps_items_join_new(&join, PS_ITEMS_OPENAI, 1);
    err = err != PS_OK ? err : ps_items_join_put(join, 0, piece);
    err = err != PS_OK ? err : ps_items_join_end(join, &length);
    ps_items_join_free(join);
    return err;
}

static int tell_items(void)
{
    static const char answer[] = "{\"data\":[{\"index\":0,\"embedding\":[1]}],\"usage\":{\"n\":1}}";
    struct ps_budget budget = {.limit = 1 << 20};
    struct ps_items_split *split = NULL;
    struct ps_buf piece = ps_buf_make(1 << 20);
    int err = cut_request(&budget);
    err = err != PS_OK ? err
                       : ps_items_split_new(&split, PS_ITEMS_OPENAI, NULL, 1, SIZE_MAX, &budget);
    err = err != PS_OK ? err : ps_items_split_feed(split, ps_str_from(answer));
    err = err != PS_OK ? err : ps_items_split_end(split);
    err = err != PS_OK ? err : ps_items_split_piece(split, 0, &piece);
    err = err != PS_OK ? err : join_piece(ps_buf_str(&piece));
    ps_items_split_free(split);
    ps_buf_fini(&piece);
    assert_int_equal(budget.used, 0);
    return err;
}

static void each_allocation_of_items_may_fail(void **state)
{
    (void)state;
    int err;
    int n = 0;
    do {
        nomem_left = n++;
        err = tell_items();
        nomem_left = -1;
        assert_true(err == PS_OK || err == PS_ENOMEM);
    } while (err != PS_OK && n < 100);
    assert_int_equal(err, PS_OK);
    assert_true(n > 8);
}

static void each_allocation_of_the_tiers_may_fail(void **state)
{
    (void)state;
    const struct ps_key key = {{1}};
    int err;
    int n = 0;
    do {
        nomem_left = n++;
        err = tell_tiers(&key);
        nomem_left = -1;
        assert_true(err == PS_OK || err == PS_ENOMEM);
    } while (err != PS_OK && n < 400);
    assert_int_equal(err, PS_OK);
    assert_true(n > 20);
}

static void each_allocation_of_the_cache_may_fail(void **state)
{
    (void)state;
    struct ps_key key = {{1}};
    for (int tale = 0; tale < 3; tale++) {
        int err;
        int n = 0;
        do {
            nomem_left = n++;
            err = tale == 0 ? tell_key(&key) : tale == 1 ? tell_cache(&key) : tell_rendering();
            nomem_left = -1;
            assert_true(err == PS_OK || err == PS_ENOMEM);
        } while (err != PS_OK && n < 200);
        assert_int_equal(err, PS_OK);
        assert_true(n > 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_allocation_of_a_call_may_fail),
        cmocka_unit_test(each_allocation_of_a_tunnel_may_fail),
        cmocka_unit_test(each_allocation_of_a_forwarded_head_may_fail),
        cmocka_unit_test(each_allocation_of_the_cache_may_fail),
        cmocka_unit_test(each_allocation_of_the_tiers_may_fail),
        cmocka_unit_test(each_allocation_of_items_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
