/* redis_story - a client of the second tier beside real servers, on the real clock.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_TESTS_REDIS_STORY_H
#define PS_TESTS_REDIS_STORY_H

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/redis.h"
#include "gateway/redis_feed.h"
#include "io/loop.h"

#define STORY_PATIENCE (60 * PS_SECOND) /* on a machine that others use; every wait ends sooner */

struct story {
    struct ps_loop *loop;
    struct ps_redis_opts opts;
    struct ps_redis_node_opts nodes[4];
    struct ps_redis_hub *hub;
    struct ps_redis *redis;
    _Atomic int ups;
    _Atomic int downs;
    ps_time down_at;
    char reason[256];
    int outcomes[5]; /* of lookups, by enum ps_redis_outcome */
    int busy;        /* lookups that were refused */
    int open;        /* lookups under way */
    size_t body_len; /* of the last hit */
    bool (*done)(void *ctx);
    void *ctx;
    ps_time give_up;
    struct ps_timer timer;
};

static inline void story_on_change(void *ctx, const char *node, bool up, const char *reason)
{
    struct story *story = ctx;
    (void)node;
    if (up) {
        story->ups++;
    } else {
        story->down_at = ps_clock_now(&ps_clock_real);
        story->downs++;
        snprintf(story->reason, sizeof story->reason, "%s", reason);
    }
}

static inline void story_init(struct story *story)
{
    *story = (struct story){.ups = 0};
    PS_CHECK(ps_option_init(ps_redis_options, &story->opts) == PS_OK);
    PS_CHECK(ps_loop_new(&story->loop, &ps_clock_real) == PS_OK);
    /* A reply in two milliseconds is what benchmarks are about; here it is what comes back. */
    story->opts.timeout = 10 * PS_SECOND;
    story->opts.connect_timeout = 20 * PS_SECOND;
    story->opts.breaker.stall = 20 * PS_SECOND;
}

static inline void story_open(struct story *story, const char *url)
{
    char reason[256];
    const struct ps_redis_observer observer = {story_on_change, story};
    static char text[128];
    snprintf(text, sizeof text, "%s", url);
    story->nodes[0] = (struct ps_redis_node_opts){.url = text, .weight = 1};
    struct ps_redis_opts opts = story->opts;
    opts.nodes = (struct ps_option_list){.items = story->nodes, .count = 1};
    int err = ps_redis_hub_new(&story->hub, &opts, &observer, reason, sizeof reason);
    if (err != PS_OK) {
        fail_msg("%s", reason);
    }
    assert_int_equal(ps_redis_new(&story->redis, story->loop, story->hub), PS_OK);
}

static inline void story_close(struct story *story)
{
    ps_redis_free(story->redis);
    ps_redis_hub_unref(story->hub);
    story->redis = NULL;
    story->hub = NULL;
}

static inline void story_fini(struct story *story)
{
    story_close(story);
    ps_loop_free(story->loop);
    ps_option_fini(ps_redis_options, &story->opts);
}

static inline void story_on_time(struct ps_timer *timer, ps_time now)
{
    struct story *story = PS_CONTAINER_OF(timer, struct story, timer);
    if (story->done(story->ctx) || ps_clock_now(&ps_clock_real) > story->give_up) {
        ps_loop_stop(story->loop);
    } else {
        PS_CHECK(ps_timer_set(story->loop, timer, now + 2 * PS_MILLISECOND) == PS_OK);
    }
}

/* Runs the loop until something is true; fails the case when it never is. */
static inline void story_until(struct story *story, const char *what, bool (*done)(void *ctx),
                               void *ctx)
{
    story->done = done;
    story->ctx = ctx;
    story->give_up = ps_clock_now(&ps_clock_real) + STORY_PATIENCE;
    story->timer.on_time = story_on_time;
    PS_CHECK(ps_timer_set(story->loop, &story->timer, 0) == PS_OK);
    ps_loop_run(story->loop);
    if (!done(ctx)) {
        fail_msg("waited too long: %s (last reason: %s)", what, story->reason);
    }
}

static inline bool story_is_quiet(void *ctx)
{
    return ((struct story *)ctx)->open == 0;
}

static inline bool story_is_down(void *ctx)
{
    return ((struct story *)ctx)->downs > 0;
}

static inline bool story_is_up(void *ctx)
{
    return ((struct story *)ctx)->ups > 0;
}

static inline bool story_is_over(void *ctx)
{
    return ps_clock_now(&ps_clock_real) >= *(ps_time *)ctx;
}

static inline void story_pass(struct story *story, ps_span span)
{
    ps_time until = ps_clock_now(&ps_clock_real) + span;
    story_until(story, "time to pass", story_is_over, &until);
}

static inline void story_on_value(void *ctx, enum ps_redis_outcome outcome,
                                  const struct ps_envelope *value)
{
    struct story *story = ctx;
    story->open--;
    story->outcomes[outcome]++;
    story->body_len = value != NULL ? value->body.len : 0;
}

static inline void story_key(uint8_t key[PS_REDIS_KEY_BYTES], uint64_t number)
{
    memset(key, 0, PS_REDIS_KEY_BYTES);
    for (size_t i = 0; i < 8; i++) { /* spread over the table, which goes by the first bytes */
        key[i] = (uint8_t)((number * 0x9e3779b97f4a7c15u) >> (8 * i));
        key[24 + i] = (uint8_t)(number >> (8 * i));
    }
}

/* Begins a lookup; a refusal is counted. */
static inline void story_get(struct story *story, uint64_t number)
{
    uint8_t key[PS_REDIS_KEY_BYTES];
    struct ps_redis_op *op = NULL;
    story_key(key, number);
    if (ps_redis_get(&op, story->redis, key, story_on_value, story) == PS_OK) {
        story->open++;
    } else {
        story->busy++;
    }
}

/* One lookup and its outcome; -1: refused. */
static inline int story_ask(struct story *story, uint64_t number)
{
    int before[5];
    int busy = story->busy;
    memcpy(before, story->outcomes, sizeof before);
    story_get(story, number);
    story_until(story, "the outcome of a lookup", story_is_quiet, story);
    for (int i = 0; i < 5; i++) {
        if (story->outcomes[i] != before[i]) {
            return i;
        }
    }
    assert_int_equal(story->busy, busy + 1);
    return -1;
}

static inline int story_set(struct story *story, uint64_t number, struct ps_str body, ps_span ttl)
{
    uint8_t key[PS_REDIS_KEY_BYTES];
    struct ps_envelope value = {.body = body, .stored = ps_clock_wall(&ps_clock_real), .ttl = ttl};
    story_key(key, number);
    return ps_redis_set(story->redis, key, &value);
}

/* Stores, and makes sure that it is there. */
static inline void story_store(struct story *story, uint64_t number, struct ps_str body)
{
    assert_int_equal(story_set(story, number, body, PS_MINUTE * 10), PS_OK);
    assert_int_equal(story_ask(story, number), PS_REDIS_HIT);
    assert_int_equal(story->body_len, body.len);
}

static inline void story_take_stats(void *ctx, const struct ps_redis_node_stats *stats)
{
    struct ps_redis_node_stats *sum = ctx;
    sum->gets += stats->gets;
    sum->hits += stats->hits;
    sum->sets += stats->sets;
    sum->set_failures += stats->set_failures;
    sum->rejected += stats->rejected;
    sum->redirects += stats->redirects;
    sum->errors += stats->errors;
    sum->connections += stats->connections;
    sum->opened += stats->opened;
    sum->keys += stats->keys;
    sum->slots += stats->slots;
}

/* Sums over all nodes. */
static inline struct ps_redis_node_stats story_stats(struct story *story)
{
    struct ps_redis_node_stats sum = {.node = NULL};
    ps_redis_hub_stats(story->hub, story_take_stats, &sum);
    return sum;
}

#endif
