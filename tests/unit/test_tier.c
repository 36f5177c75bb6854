/* test_tier - both tiers as one: L1 alone on a clock moved by hand, then two gateways on one real
 * redis-server, which are skipped where there is none.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gateway/tier.h"

#include "../helpers/redis_server.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "../helpers/redis_story.h"
#include "gateway/entry_wire.h"
#include "gateway/tier_own.h"

#define START ((ps_time)1700000000 * PS_SECOND)

static struct ps_key key_of(uint8_t number)
{
    return (struct ps_key){.bytes = {number, 1, [31] = number}};
}

static struct ps_entry *entry_of(const char *body, const char *tag, ps_time born)
{
    struct ps_str text = ps_str_from(tag);
    const struct ps_entry_spec spec = {
        .status = 200,
        .kind = PS_ENTRY_JSON,
        .head = PS_STR("content-type: application/json\r\n"),
        .body = ps_str_from(body),
        .route = PS_STR("chat"),
        .model = PS_STR("llama"),
        .tenant = PS_STR("acme"),
        .tags = &text,
        .tags_count = 1,
        .born = born,
        .stored = born,
        .fresh = PS_HOUR,
        .seconds = 2,
    };
    struct ps_entry *entry = NULL;
    PS_CHECK(ps_entry_new(&entry, &spec) == PS_OK);
    return entry;
}

/* One process: its tiers, the keeper, one worker. */
struct gate {
    struct ps_l1_opts l1;
    struct ps_tiers *tiers;
    struct ps_tier_keeper *keeper;
    struct ps_tier *tier;
    const struct ps_clock *clock;
    int told; /* invalidations */
    size_t done, failed;
    bool fetched;
    struct ps_entry *entry; /* of the last fetch, or NULL */
};

static void gate_open(struct gate *gate, struct ps_loop *loop, const struct ps_redis_opts *redis)
{
    char reason[256] = "";
    *gate = (struct gate){.clock = ps_loop_clock(loop)};
    PS_CHECK(ps_option_init(ps_l1_options, &gate->l1) == PS_OK);
    gate->l1.size = 4 << 20;
    gate->l1.max_entry = 64 << 10;
    const struct ps_tiers_opts opts = {.l1 = &gate->l1, .redis = redis};
    if (ps_tiers_new(&gate->tiers, &opts, reason, sizeof reason) != PS_OK) {
        fail_msg("%s", reason);
    }
    assert_int_equal(ps_tier_keeper_new(&gate->keeper, gate->tiers, loop), PS_OK);
    assert_int_equal(ps_tier_new(&gate->tier, gate->tiers, loop), PS_OK);
}

static void gate_close(struct gate *gate)
{
    ps_entry_unref(gate->entry);
    ps_tier_free(gate->tier);
    ps_tier_keeper_free(gate->keeper);
    ps_tiers_free(gate->tiers);
    *gate = (struct gate){.told = 0};
}

static int gate_store(struct gate *gate, uint8_t number, const char *tag, ps_time born)
{
    struct ps_key key = key_of(number);
    struct ps_entry *entry = entry_of("an answer", tag, born);
    int err = ps_tier_store(gate->tier, &key, entry);
    ps_entry_unref(entry);
    return err;
}

static enum ps_l1_answer gate_get(struct gate *gate, uint8_t number)
{
    struct ps_key key = key_of(number);
    struct ps_entry *entry = NULL;
    enum ps_l1_answer answer = ps_tiers_get(gate->tiers, &key, ps_clock_wall(gate->clock), &entry);
    ps_entry_unref(entry);
    return answer;
}

static void gate_on_done(void *ctx, size_t done, size_t failed)
{
    struct gate *gate = ctx;
    gate->told++;
    gate->done = done;
    gate->failed = failed;
}

static int gate_purge(struct gate *gate, enum ps_purge_kind kind, const char *text)
{
    const struct ps_purge purge = {.kind = kind,
                                   .at = ps_clock_wall(gate->clock),
                                   .text = ps_str_from(text),
                                   .key = key_of(1)};
    return ps_tier_keeper_invalidate(gate->keeper, &purge, gate_on_done, gate);
}

/* --- L1 alone --------------------------------------------------------------------------------- */

struct hand {
    struct ps_clock clock;
    struct ps_loop *loop;
    struct gate gate;
    struct ps_timer stop;
};

static void on_stop(struct ps_timer *timer, ps_time now)
{
    (void)now;
    ps_loop_stop(PS_CONTAINER_OF(timer, struct hand, stop)->loop);
}

/* Runs what is due. */
static void hand_pass(struct hand *hand, ps_span by)
{
    ps_clock_advance(&hand->clock, by);
    hand->stop.on_time = on_stop;
    PS_CHECK(ps_timer_set(hand->loop, &hand->stop, ps_clock_now(&hand->clock)) == PS_OK);
    ps_loop_run(hand->loop);
}

static int hand_setup(void **state)
{
    struct hand *hand = calloc(1, sizeof *hand);
    ps_clock_init_manual(&hand->clock, 1000 * PS_SECOND, START);
    PS_CHECK(ps_loop_new(&hand->loop, &hand->clock) == PS_OK);
    gate_open(&hand->gate, hand->loop, NULL);
    *state = hand;
    return 0;
}

static int hand_teardown(void **state)
{
    struct hand *hand = *state;
    gate_close(&hand->gate);
    ps_loop_free(hand->loop);
    free(hand);
    return 0;
}

static void on_entry(void *ctx, struct ps_entry *entry)
{
    struct gate *gate = ctx;
    ps_entry_unref(gate->entry);
    gate->fetched = true;
    gate->entry = entry;
}

static void without_nodes_there_is_l1_alone(void **state)
{
    struct hand *hand = *state;
    struct gate *gate = &hand->gate;
    struct ps_key key = key_of(1);
    struct ps_tier_op *op = NULL;
    struct ps_entry *entry = NULL;
    assert_null(ps_tiers_hub(gate->tiers));
    assert_true(ps_tier_keeper_is_listening(gate->keeper));
    assert_int_equal(gate_get(gate, 1), PS_L1_MISS);
    assert_int_equal(ps_tier_fetch(&op, gate->tier, &key, on_entry, gate), PS_EBUSY);
    assert_int_equal(gate_store(gate, 1, "faq", START), PS_OK);
    assert_int_equal(gate_get(gate, 1), PS_L1_HIT);
    assert_int_equal(ps_tiers_peek(gate->tiers, &key, START, &entry), PS_L1_HIT);
    ps_entry_unref(entry);
    ps_tier_cancel(NULL);
    hand_pass(hand, PS_HOUR);
    assert_int_equal(gate_get(gate, 1), PS_L1_MISS);
}

static void an_invalidation_holds_before_it_returns_and_is_told_later(void **state)
{
    struct hand *hand = *state;
    struct gate *gate = &hand->gate;
    assert_int_equal(gate_store(gate, 1, "faq", START), PS_OK);
    assert_int_equal(gate_store(gate, 2, "news", START), PS_OK);
    assert_int_equal(gate_purge(gate, PS_PURGE_TAG, "faq"), PS_OK);
    assert_int_equal(gate_get(gate, 1), PS_L1_MISS);
    assert_int_equal(gate_get(gate, 2), PS_L1_HIT);
    assert_int_equal(gate->told, 0);
    hand_pass(hand, 0);
    assert_int_equal(gate->told, 1);
    assert_int_equal(gate->done + gate->failed, 0);
    assert_int_equal(gate_store(gate, 1, "faq", START), PS_ECANCELED); /* a flight begun before */
    assert_int_equal(gate_store(gate, 1, "faq", START + 1), PS_OK);
    assert_int_equal(gate_purge(gate, PS_PURGE_TAG, ""), PS_EINVAL);
    hand_pass(hand, PS_SECOND);
    assert_int_equal(gate->told, 1);
    assert_int_equal(gate_purge(gate, PS_PURGE_KEY, ""), PS_OK); /* never told: the keeper ends */
    assert_int_equal(gate_get(gate, 1), PS_L1_MISS);
}

static void what_is_over_is_swept_without_being_asked_for(void **state)
{
    struct hand *hand = *state;
    struct gate *gate = &hand->gate;
    struct ps_l1_stats stats;
    for (uint8_t i = 0; i < 200; i++) {
        assert_int_equal(gate_store(gate, i, i % 2 == 0 ? "faq" : "news", START), PS_OK);
    }
    assert_int_equal(gate_purge(gate, PS_PURGE_PATTERN, "faq"), PS_OK);
    hand_pass(hand, PS_SECOND);
    ps_l1_read(ps_tiers_l1(gate->tiers), &stats);
    assert_int_equal(stats.purged, 100);
    hand_pass(hand, PS_HOUR);
    ps_l1_read(ps_tiers_l1(gate->tiers), &stats);
    assert_int_equal(stats.expired, 100);
    assert_int_equal(stats.entries, 0);
}

static void options_that_do_not_fit_are_refused_with_a_reason(void **state)
{
    struct hand *hand = *state;
    char reason[256] = "";
    struct ps_tiers *tiers = NULL;
    struct ps_redis_opts redis;
    struct ps_redis_node_opts node = {.url = (char[]){"http://x"}, .weight = 1};
    assert_int_equal(ps_option_init(ps_redis_options, &redis), PS_OK);
    struct ps_tiers_opts opts = {.l1 = &hand->gate.l1, .redis = &redis};
    redis.nodes = (struct ps_option_list){.items = &node, .count = 1};
    assert_int_equal(ps_tiers_new(&tiers, &opts, reason, sizeof reason), PS_EINVAL);
    assert_true(strlen(reason) > 0);
    redis.nodes = (struct ps_option_list){.items = NULL, .count = 0};
    ps_option_fini(ps_redis_options, &redis);
    hand->gate.l1.shards = 3;
    reason[0] = '\0';
    opts.redis = NULL;
    assert_int_equal(ps_tiers_new(&tiers, &opts, reason, sizeof reason), PS_EINVAL);
    assert_true(strlen(reason) > 0);
}

static void a_full_ring_of_own_records_loses_nothing_that_counts(void **state)
{
    (void)state;
    struct ps_tier_own own = {.first = 0};
    for (uint64_t i = 0; i < PS_TIER_OWN_MAX + 10; i++) {
        assert_int_equal(ps_tier_own_add(&own, PS_STR("x"), (ps_time)i + 1, 0), PS_OK);
        ps_tier_own_at(&own, i)->everywhere = i == 0 || i >= 5;
    }
    assert_int_equal(own.next - own.first, PS_TIER_OWN_MAX);
    assert_null(ps_tier_own_at(&own, 9));
    assert_non_null(ps_tier_own_at(&own, 10));
    assert_null(ps_tier_own_at(&own, own.next));
    assert_int_equal(own.floor, 5); /* the last that left and may be missing somewhere */
    assert_int_equal(ps_tier_own_add(&own, PS_STR("x"), 9000, 1000), PS_OK);
    assert_int_equal(own.floor, 0);
    assert_int_equal(ps_tier_own_at(&own, own.first)->at, 1000);
    ps_tier_own_drop_last(&own);
    assert_int_equal(ps_tier_own_at(&own, own.next - 1)->at, PS_TIER_OWN_MAX + 10);
    ps_tier_own_fini(&own);
}

/* --- two gateways, one redis ------------------------------------------------------------------ */

struct scene {
    struct redis_server server;
    struct story story; /* its loop and options, and a client that looks at what is there */
    struct gate a, b;
    char url[64];
    int hits; /* that a waiting case saw */
};

static int setup(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    if (redis_server_is_installed()) {
        redis_server_init(&scene->server);
        snprintf(scene->url, sizeof scene->url, "redis://127.0.0.1:%u", scene->server.port);
    }
    story_init(&scene->story);
    scene->story.opts.breaker.backoff = 50 * PS_MILLISECOND;
    scene->story.opts.breaker.backoff_max = 200 * PS_MILLISECOND;
    *state = scene;
    return 0;
}

static int teardown(void **state)
{
    struct scene *scene = *state;
    gate_close(&scene->a);
    gate_close(&scene->b);
    story_fini(&scene->story);
    redis_server_fini(&scene->server);
    free(scene);
    return 0;
}

static struct scene *enter(void **state)
{
    struct scene *scene = *state;
    redis_server_need(scene->server.port != 0);
    return scene;
}

static bool is_ready(void *ctx)
{
    struct gate *gate = ctx;
    struct ps_tier_op *op = NULL;
    struct ps_key key = key_of(255);
    bool ready = ps_tier_keeper_is_listening(gate->keeper) && !ps_tiers_is_reading(gate->tiers) &&
                 ps_tier_fetch(&op, gate->tier, &key, on_entry, gate) == PS_OK;
    ps_tier_cancel(op);
    return ready;
}

static void open_gate(struct scene *scene, struct gate *gate)
{
    struct ps_redis_opts opts = scene->story.opts;
    opts.nodes = (struct ps_option_list){.items = scene->story.nodes, .count = 1};
    gate_open(gate, scene->story.loop, &opts);
}

/* Redis, a client that looks, and two gateways that have read the log. */
static struct scene *enter_two(void **state)
{
    struct scene *scene = enter(state);
    redis_server_run(&scene->server);
    story_open(&scene->story, scene->url);
    open_gate(scene, &scene->a);
    open_gate(scene, &scene->b);
    story_until(&scene->story, "the first gateway", is_ready, &scene->a);
    story_until(&scene->story, "the second gateway", is_ready, &scene->b);
    return scene;
}

static bool is_fetched(void *ctx)
{
    return ((struct gate *)ctx)->fetched;
}

/* What the other tier has: an entry that is the gate's, or NULL. */
static struct ps_entry *fetch(struct scene *scene, struct gate *gate, uint8_t number)
{
    struct ps_tier_op *op = NULL;
    struct ps_key key = key_of(number);
    gate->fetched = false;
    assert_int_equal(ps_tier_fetch(&op, gate->tier, &key, on_entry, gate), PS_OK);
    assert_false(gate->fetched);
    story_until(&scene->story, "the outcome of a fetch", is_fetched, gate);
    return gate->entry;
}

static bool is_told(void *ctx)
{
    return ((struct gate *)ctx)->told > 0;
}

static void purge(struct scene *scene, struct gate *gate, enum ps_purge_kind kind, const char *text)
{
    gate->told = 0;
    assert_int_equal(gate_purge(gate, kind, text), PS_OK);
    assert_int_equal(gate->told, 0);
    story_until(&scene->story, "the record to be written", is_told, gate);
}

/* And not only because it is held back. */
static bool misses(void *ctx)
{
    struct gate *gate = ctx;
    return !ps_tiers_is_reading(gate->tiers) && gate_get(gate, 1) == PS_L1_MISS;
}

static bool is_reading(void *ctx)
{
    return ps_tiers_is_reading(((struct gate *)ctx)->tiers);
}

static void a_fetch_finds_what_another_stored(void **state)
{
    struct scene *scene = enter_two(state);
    struct ps_tiers_stats stats;
    struct ps_key key = key_of(1);
    ps_time now = ps_clock_wall(&ps_clock_real);
    assert_null(fetch(scene, &scene->a, 1));
    assert_int_equal(gate_store(&scene->a, 1, "faq", now), PS_OK);
    assert_non_null(fetch(scene, &scene->a, 1)); /* likewise below */
    assert_int_equal(gate_get(&scene->b, 1), PS_L1_MISS);
    struct ps_entry *entry = fetch(scene, &scene->b, 1);
    assert_non_null(entry);
    assert_true(ps_str_eq(ps_entry_body(entry), PS_STR("an answer")));
    assert_true(entry->born == now);
    assert_int_equal(gate_get(&scene->b, 1), PS_L1_HIT);
    ps_tiers_read(scene->b.tiers, &stats);
    assert_int_equal(stats.hits, 1);
    assert_true(stats.gpu_seconds_saved > 1.9 && stats.gpu_seconds_saved < 2.1);
    struct ps_tier_op *op = NULL;
    scene->b.fetched = false;
    assert_int_equal(ps_tier_fetch(&op, scene->b.tier, &key, on_entry, &scene->b), PS_OK);
    ps_tier_cancel(op);
    assert_null(fetch(scene, &scene->b, 2));
    assert_int_equal(ps_tier_fetch(&op, scene->b.tier, &key, on_entry, &scene->b), PS_OK);
    ps_tier_free(scene->b.tier); /* with one under way */
    scene->b.tier = NULL;
}

static void an_invalidation_reaches_the_other(void **state)
{
    struct scene *scene = enter_two(state);
    struct ps_tiers_stats stats;
    ps_time now = ps_clock_wall(&ps_clock_real);
    assert_int_equal(gate_store(&scene->a, 1, "faq", now), PS_OK);
    assert_int_equal(gate_store(&scene->a, 2, "news", now), PS_OK);
    assert_non_null(fetch(scene, &scene->a, 2));
    assert_non_null(fetch(scene, &scene->b, 1));
    assert_non_null(fetch(scene, &scene->b, 2));
    assert_int_equal(gate_get(&scene->b, 1), PS_L1_HIT);
    ps_time began = ps_clock_now(&ps_clock_real);
    purge(scene, &scene->a, PS_PURGE_PATTERN, "*/faq");
    assert_int_equal(scene->a.done, 1);
    assert_int_equal(scene->a.failed, 0);
    assert_int_equal(gate_get(&scene->a, 1), PS_L1_MISS);
    story_until(&scene->story, "the other's L1 to miss", misses, &scene->b);
    print_message("nowhere any more after %.1f ms\n",
                  ps_span_seconds(ps_clock_now(&ps_clock_real) - began) * 1e3);
    assert_int_equal(gate_get(&scene->b, 2), PS_L1_HIT);
    assert_null(fetch(scene, &scene->b, 1)); /* it is in Redis still, and older than the record */
    assert_int_equal(gate_get(&scene->b, 1), PS_L1_MISS);
    assert_int_equal(gate_store(&scene->b, 1, "faq", now), PS_ECANCELED);
    ps_tiers_read(scene->b.tiers, &stats);
    assert_int_equal(stats.records, 1);
    assert_int_equal(stats.purged, 1);
    ps_tiers_read(scene->a.tiers, &stats);
    assert_int_equal(stats.records, 0); /* its own is none of others */
    assert_int_equal(gate_store(&scene->b, 1, "faq", ps_clock_wall(&ps_clock_real)), PS_OK);
    assert_non_null(fetch(scene, &scene->b, 1));
}

static void an_invalidated_key_leaves_redis_too(void **state)
{
    struct scene *scene = enter_two(state);
    struct ps_key key = key_of(1);
    char line[128] = "EXISTS penstock:1:";
    char reply[64];
    ps_key_hex(&key, line + strlen(line));
    strcat(line, "\r\n");
    assert_int_equal(gate_store(&scene->a, 1, "faq", ps_clock_wall(&ps_clock_real)), PS_OK);
    assert_non_null(fetch(scene, &scene->a, 1)); /* its own connection keeps the order */
    redis_server_say(scene->server.port, line, reply, sizeof reply);
    assert_string_equal(reply, ":1\r\n");
    purge(scene, &scene->b, PS_PURGE_KEY, "");
    redis_server_say(scene->server.port, line, reply, sizeof reply);
    assert_string_equal(reply, ":0\r\n");
    story_until(&scene->story, "the other's L1 to miss", misses, &scene->a);
}

/* A flight that began before ends on another gateway before that has heard of anything. */
static void what_was_asked_for_before_is_not_believed_from_redis(void **state)
{
    struct scene *scene = enter_two(state);
    ps_time born = ps_clock_wall(&ps_clock_real);
    assert_int_equal(gate_purge(&scene->a, PS_PURGE_TAG, "faq"), PS_OK);
    int err = gate_store(&scene->b, 1, "faq", born);
    assert_true(err == PS_OK || err == PS_ECANCELED);
    assert_null(fetch(scene, &scene->a, 1));
    story_until(&scene->story, "the other's L1 to miss", misses, &scene->b);
}

static void a_gateway_that_starts_reads_the_log_first(void **state)
{
    struct scene *scene = enter_two(state);
    struct ps_tier_op *op = NULL;
    struct ps_key key = key_of(1);
    struct gate fresh;
    ps_time now = ps_clock_wall(&ps_clock_real);
    assert_int_equal(gate_store(&scene->a, 1, "faq", now), PS_OK);
    assert_int_equal(gate_store(&scene->a, 2, "news", now), PS_OK);
    assert_non_null(fetch(scene, &scene->a, 2));
    purge(scene, &scene->a, PS_PURGE_TAG, "faq");
    gate_close(&scene->a);
    open_gate(scene, &fresh);
    assert_int_equal(ps_tier_fetch(&op, fresh.tier, &key, on_entry, &fresh), PS_EBUSY);
    story_until(&scene->story, "the new gateway", is_ready, &fresh);
    assert_null(fetch(scene, &fresh, 1));
    assert_non_null(fetch(scene, &fresh, 2));
    gate_close(&fresh);
}

/* Looks at each turn: once it is heard again, nothing that is invalid may be served. */
static bool is_back_and_clean(void *ctx)
{
    struct scene *scene = ctx;
    bool back = ps_tier_keeper_is_listening(scene->b.keeper);
    scene->hits += back && gate_get(&scene->b, 1) == PS_L1_HIT;
    return back && !ps_tiers_is_reading(scene->b.tiers);
}

static bool is_lost(void *ctx)
{
    return !ps_tier_keeper_is_listening(((struct gate *)ctx)->keeper);
}

static void after_a_lost_connection_the_log_is_read_before_l1_serves(void **state)
{
    struct scene *scene = enter_two(state);
    char reply[64];
    assert_int_equal(gate_store(&scene->a, 1, "faq", ps_clock_wall(&ps_clock_real)), PS_OK);
    assert_non_null(fetch(scene, &scene->a, 1));
    assert_non_null(fetch(scene, &scene->b, 1));
    redis_server_say(scene->server.port, "CLIENT KILL TYPE pubsub\r\n", reply, sizeof reply);
    assert_string_equal(reply, ":2\r\n");
    story_until(&scene->story, "the loss", is_lost, &scene->b);
    assert_int_equal(gate_get(&scene->b, 1), PS_L1_HIT); /* it serves on */
    assert_int_equal(gate_purge(&scene->a, PS_PURGE_TAG, "faq"), PS_OK);
    story_until(&scene->story, "the feed and the log", is_back_and_clean, scene);
    assert_int_equal(scene->hits, 0);
    assert_int_equal(gate_get(&scene->b, 1), PS_L1_MISS);
    story_until(&scene->story, "L2 to be believed", is_ready, &scene->b);
}

static bool has_one_record(void *ctx)
{
    struct scene *scene = ctx;
    char reply[64];
    redis_server_say(scene->server.port, "ZCARD penstock:{purge}:log:1\r\n", reply, sizeof reply);
    return strcmp(reply, ":1\r\n") == 0;
}

/* The record is made while Redis is away; it has forgotten everything when it returns. */
static void what_was_made_while_redis_was_away_is_written_when_it_returns(void **state)
{
    struct scene *scene = enter_two(state);
    assert_int_equal(gate_store(&scene->a, 1, "faq", ps_clock_wall(&ps_clock_real)), PS_OK);
    assert_non_null(fetch(scene, &scene->a, 1));
    assert_non_null(fetch(scene, &scene->b, 1));
    redis_server_kill(&scene->server);
    story_until(&scene->story, "the loss", is_lost, &scene->a);
    story_until(&scene->story, "the loss", is_lost, &scene->b);
    purge(scene, &scene->a, PS_PURGE_TAG, "faq");
    assert_int_equal(scene->a.done, 0);
    assert_int_equal(scene->a.failed, 1);
    assert_int_equal(gate_get(&scene->a, 1), PS_L1_MISS);
    assert_int_equal(gate_get(&scene->b, 1), PS_L1_HIT); /* it can't know */
    redis_server_run(&scene->server);
    story_until(&scene->story, "the other's L1 to miss", misses, &scene->b);
    story_until(&scene->story, "the record", has_one_record, scene);
    story_until(&scene->story, "the other", is_ready, &scene->b);
    assert_int_equal(gate_get(&scene->b, 1), PS_L1_MISS);
}

/* A user that may subscribe, and not read the log. */
static void a_log_that_can_not_be_read_does_not_keep_l1_from_serving(void **state)
{
    struct scene *scene = enter(state);
    static const char *const user[] = {"--user", "default", "on",    "nopass",
                                       "~*",     "&*",      "+@all", "-zrangebyscore"};
    struct ps_tier_op *op = NULL;
    struct ps_key key = key_of(1);
    for (size_t i = 0; i < PS_ARRAY_LEN(user); i++) {
        redis_server_arg(&scene->server, "%s", user[i]);
    }
    redis_server_run(&scene->server);
    story_open(&scene->story, scene->url);
    open_gate(scene, &scene->a);
    assert_int_equal(gate_store(&scene->a, 1, "faq", ps_clock_wall(&ps_clock_real)), PS_OK);
    story_until(&scene->story, "L1 to be held back", is_reading, &scene->a);
    assert_int_equal(gate_get(&scene->a, 1), PS_L1_MISS);
    while (gate_get(&scene->a, 1) != PS_L1_HIT) {
        story_pass(&scene->story, 50 * PS_MILLISECOND);
    }
    assert_int_equal(ps_tier_fetch(&op, scene->a.tier, &key, on_entry, &scene->a), PS_EBUSY);
    purge(scene, &scene->a, PS_PURGE_TAG, "faq");
    assert_int_equal(scene->a.done, 1); /* it is written for others, who may read */
    assert_int_equal(gate_get(&scene->a, 1), PS_L1_MISS);
}

static void what_left_a_full_log_invalidates_everything_before_it(void **state)
{
    struct scene *scene = enter(state);
    struct gate fresh;
    scene->story.opts.purge_max = 5;
    redis_server_run(&scene->server);
    story_open(&scene->story, scene->url);
    open_gate(scene, &scene->a);
    story_until(&scene->story, "the first gateway", is_ready, &scene->a);
    assert_int_equal(gate_store(&scene->a, 1, "faq", ps_clock_wall(&ps_clock_real)), PS_OK);
    assert_non_null(fetch(scene, &scene->a, 1));
    for (int i = 0; i < 8; i++) {
        story_pass(&scene->story, 2 * PS_MILLISECOND);
        purge(scene, &scene->a, PS_PURGE_TAG, i == 0 ? "gone" : "others");
    }
    story_pass(&scene->story, 2 * PS_MILLISECOND);
    assert_int_equal(gate_store(&scene->a, 2, "faq", ps_clock_wall(&ps_clock_real)), PS_OK);
    assert_int_equal(gate_get(&scene->a, 1), PS_L1_HIT); /* who heard all of them knows better */
    open_gate(scene, &fresh);
    story_until(&scene->story, "the new gateway", is_ready, &fresh);
    assert_null(fetch(scene, &fresh, 1));
    assert_non_null(fetch(scene, &fresh, 2));
    gate_close(&fresh);
}

static bool has_all_records(void *ctx)
{
    struct scene *scene = ctx;
    char reply[64];
    redis_server_say(scene->server.port, "ZCARD penstock:{purge}:log:1\r\n", reply, sizeof reply);
    return strcmp(reply, ":600\r\n") == 0;
}

static void more_than_can_be_under_way_are_written_all_the_same(void **state)
{
    struct scene *scene = enter_two(state);
    int limited = 0;
    char tag[16];
    for (int i = 0; i < 600; i++) {
        snprintf(tag, sizeof tag, "tag %d", i);
        int err = gate_purge(&scene->a, PS_PURGE_TAG, tag);
        assert_true(err == PS_OK || err == PS_ELIMIT);
        limited += err == PS_ELIMIT;
    }
    assert_true(limited > 0);
    story_until(&scene->story, "all records", has_all_records, scene);
    assert_int_equal(scene->a.told, 600 - limited);
}

static void put_value(struct scene *scene, const struct ps_buf *body)
{
    struct ps_key key = key_of(1);
    struct ps_envelope value = {
        .body = ps_buf_str(body), .stored = ps_clock_wall(&ps_clock_real), .ttl = PS_MINUTE};
    assert_int_equal(ps_redis_set(scene->story.redis, key.bytes, &value), PS_OK);
    story_pass(&scene->story, 50 * PS_MILLISECOND);
}

static void what_is_no_entry_of_this_time_is_rejected(void **state)
{
    struct scene *scene = enter_two(state);
    struct ps_tiers_stats stats;
    struct ps_buf body = ps_buf_make(4096);
    ps_time now = ps_clock_wall(&ps_clock_real);
    const ps_time times[] = {now + PS_HOUR, now - 100 * 24 * PS_HOUR, now - 2 * PS_HOUR};
    assert_int_equal(ps_buf_append_str(&body, PS_STR("rubbish")), PS_OK);
    put_value(scene, &body);
    assert_null(fetch(scene, &scene->a, 1));
    for (size_t i = 0; i < PS_ARRAY_LEN(times); i++) {
        struct ps_entry *entry = entry_of("an answer", "faq", times[i]);
        ps_buf_clear(&body);
        assert_int_equal(ps_entry_wire_write(entry, &body), PS_OK);
        put_value(scene, &body);
        assert_null(fetch(scene, &scene->a, 1));
        ps_entry_unref(entry);
    }
    ps_tiers_read(scene->a.tiers, &stats);
    assert_int_equal(stats.rejected, 4);
    ps_buf_fini(&body);
}

static void strangers_records_do_no_harm(void **state)
{
    struct scene *scene = enter_two(state);
    static const char *const lines[] = {
        "ZADD penstock:{purge}:log:1 1 rubbish\r\n",
        "ZADD penstock:{purge}:log:1 inf rubbish2\r\n",
        "PUBLISH penstock:{purge}:wake:1 rubbish\r\n",
        "PUBLISH penstock:{purge}:wake:1 99999999999999999999\r\n",
        "PUBLISH penstock:{purge}:wake:1 0\r\n",
    };
    char reply[64];
    assert_int_equal(gate_store(&scene->a, 1, "faq", ps_clock_wall(&ps_clock_real)), PS_OK);
    for (size_t i = 0; i < PS_ARRAY_LEN(lines); i++) {
        redis_server_say(scene->server.port, lines[i], reply, sizeof reply);
        assert_int_equal(reply[0], ':');
        story_pass(&scene->story, 20 * PS_MILLISECOND);
    }
    assert_int_equal(gate_get(&scene->a, 1), PS_L1_HIT);
    purge(scene, &scene->b, PS_PURGE_TAG, "faq");
    story_until(&scene->story, "the other's L1 to miss", misses, &scene->a);
}

#define HAND(name) cmocka_unit_test_setup_teardown(name, hand_setup, hand_teardown)
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        HAND(without_nodes_there_is_l1_alone),
        HAND(an_invalidation_holds_before_it_returns_and_is_told_later),
        HAND(what_is_over_is_swept_without_being_asked_for),
        HAND(options_that_do_not_fit_are_refused_with_a_reason),
        cmocka_unit_test(a_full_ring_of_own_records_loses_nothing_that_counts),
        TEST(a_fetch_finds_what_another_stored),
        TEST(an_invalidation_reaches_the_other),
        TEST(an_invalidated_key_leaves_redis_too),
        TEST(what_was_asked_for_before_is_not_believed_from_redis),
        TEST(a_gateway_that_starts_reads_the_log_first),
        TEST(after_a_lost_connection_the_log_is_read_before_l1_serves),
        TEST(what_was_made_while_redis_was_away_is_written_when_it_returns),
        TEST(a_log_that_can_not_be_read_does_not_keep_l1_from_serving),
        TEST(what_left_a_full_log_invalidates_everything_before_it),
        TEST(more_than_can_be_under_way_are_written_all_the_same),
        TEST(what_is_no_entry_of_this_time_is_rejected),
        TEST(strangers_records_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
