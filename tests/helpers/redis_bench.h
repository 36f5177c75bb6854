/* redis_bench - a client of the second tier beside two scripted servers, on a clock moved by hand.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_TESTS_REDIS_BENCH_H
#define PS_TESTS_REDIS_BENCH_H

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "gateway/redis.h"
#include "gateway/redis_feed.h"
#include "io/stream.h"
#include "turns.h"

enum { BENCH_NODES = 2 };

static const uint8_t bench_key[PS_REDIS_KEY_BYTES] = {1, 2, 3};

struct bench {
    struct ps_clock clock;
    struct turns turns;
    struct ps_redis_opts opts;
    struct ps_redis_node_opts nodes[BENCH_NODES];
    char urls[BENCH_NODES][40];
    int listening[BENCH_NODES];
    uint16_t ports[BENCH_NODES];
    struct raw far[BENCH_NODES]; /* the latest accepted connection of each */
    struct ps_redis_hub *hub;
    struct ps_redis *redis;
    struct ps_redis_feed *feed;
    struct ps_redis_op *op;
    char log[512]; /* H hit, m miss, l late, r rejected, f failed; + up, - down; others by the case
                    */
    char reason[256];   /* of the last change */
    struct ps_buf body; /* of the last hit */
    int node;           /* that a helper looks at */
    const char *want;
};

static inline void bench_note(struct bench *bench, char what)
{
    size_t len = strlen(bench->log);
    PS_CHECK(len < sizeof bench->log - 1);
    bench->log[len] = what;
    bench->log[len + 1] = '\0';
}

static inline void bench_on_change(void *ctx, const char *node, bool up, const char *reason)
{
    struct bench *bench = ctx;
    (void)node;
    snprintf(bench->reason, sizeof bench->reason, "%s", reason);
    bench_note(bench, up ? '+' : '-');
}

static inline void bench_on_value(void *ctx, enum ps_redis_outcome outcome,
                                  const struct ps_envelope *value)
{
    struct bench *bench = ctx;
    PS_CHECK((value != NULL) == (outcome == PS_REDIS_HIT));
    bench->op = NULL;
    if (value != NULL) {
        ps_buf_clear(&bench->body);
        PS_CHECK(ps_buf_append_str(&bench->body, value->body) == PS_OK);
    }
    bench_note(bench, "Hmlrf"[outcome]);
}

static inline void bench_rest(struct bench *bench)
{
    turns_rest(&bench->turns);
}

static inline void bench_pass(struct bench *bench, ps_span span)
{
    ps_clock_advance(&bench->clock, span);
    bench_rest(bench);
}

static inline int bench_setup(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    ps_clock_init_manual(&bench->clock, PS_HOUR, 1000000 * PS_SECOND);
    PS_CHECK(ps_option_init(ps_redis_options, &bench->opts) == PS_OK);
    bench->body = ps_buf_make(64u << 20);
    for (int i = 0; i < BENCH_NODES; i++) {
        struct ps_address at;
        PS_CHECK(ps_address_parse(PS_STR("127.0.0.1:0"), &at) == PS_OK);
        PS_CHECK(ps_listen(&at, &bench->listening[i]) == PS_OK);
        at.len = sizeof at.storage;
        getsockname(bench->listening[i], (struct sockaddr *)&at.storage, &at.len);
        bench->ports[i] = ps_address_port(&at);
        snprintf(bench->urls[i], sizeof bench->urls[i], "redis://127.0.0.1:%u", bench->ports[i]);
        bench->nodes[i] = (struct ps_redis_node_opts){.url = bench->urls[i], .weight = 1};
        raw_init(&bench->far[i], -1);
        bench->turns.raws[i] = &bench->far[i];
    }
    *state = bench;
    return ps_loop_new(&bench->turns.loop, &bench->clock);
}

/* Opens hub and client with the first `count` nodes and the options as they are now. */
static inline void bench_open(struct bench *bench, size_t count)
{
    char reason[256];
    const struct ps_redis_observer observer = {bench_on_change, bench};
    struct ps_redis_opts opts = bench->opts;
    opts.nodes = (struct ps_option_list){.items = bench->nodes, .count = count};
    int err = ps_redis_hub_new(&bench->hub, &opts, &observer, reason, sizeof reason);
    PS_CHECK(err == PS_OK);
    PS_CHECK(ps_redis_new(&bench->redis, bench->turns.loop, bench->hub) == PS_OK);
}

static inline int bench_teardown(void **state)
{
    struct bench *bench = *state;
    ps_redis_feed_free(bench->feed);
    ps_redis_free(bench->redis);
    ps_redis_hub_unref(bench->hub);
    ps_loop_free(bench->turns.loop);
    for (int i = 0; i < BENCH_NODES; i++) {
        raw_close(&bench->far[i]);
        if (bench->listening[i] >= 0) {
            close(bench->listening[i]);
        }
    }
    ps_option_fini(ps_redis_options, &bench->opts);
    ps_buf_fini(&bench->body);
    free(bench);
    return 0;
}

/* --- the far ends ----------------------------------------------------------------------------- */

static inline bool bench_is_connected(void *ctx)
{
    struct bench *bench = ctx;
    struct raw *far = &bench->far[bench->node];
    if (far->fd < 0) {
        int on = 1; /* what is sent in two parts shall come at once all the same */
        far->fd = accept4(bench->listening[bench->node], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        setsockopt(far->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    return far->fd >= 0;
}

static inline bool bench_is_heard(void *ctx)
{
    struct bench *bench = ctx;
    return raw_has(&bench->far[bench->node], bench->want);
}

/* Waits for words from the client, then forgets what came. */
static inline void bench_expect(struct bench *bench, int node, const char *text)
{
    bench->node = node;
    bench->want = text;
    if (!turns_until(&bench->turns, bench_is_heard, bench)) {
        fail_msg("node %d did not hear %s but %.*s", node, text,
                 PS_STR_ARG(ps_buf_str(&bench->far[node].got)));
    }
    ps_buf_clear(&bench->far[node].got);
}

static inline void bench_answer(struct bench *bench, int node, const char *text)
{
    raw_write(&bench->far[node], text);
    bench_rest(bench);
}

/* Takes the next connection of a node, in the place of the one before. */
static inline void bench_accept(struct bench *bench, int node)
{
    raw_close(&bench->far[node]);
    raw_init(&bench->far[node], -1);
    bench->node = node;
    if (!turns_until(&bench->turns, bench_is_connected, bench)) {
        fail_msg("node %d was not connected to", node);
    }
}

/* ... and makes it ready, the first question for the number of keys included. */
static inline void bench_welcome(struct bench *bench, int node)
{
    bench_accept(bench, node);
    bench_expect(bench, node, "PING\r\n");
    raw_write(&bench->far[node], "+PONG\r\n");
    bench_expect(bench, node, "DBSIZE\r\n");
    bench_answer(bench, node, ":3\r\n");
}

static inline void bench_get(struct bench *bench)
{
    assert_int_equal(ps_redis_get(&bench->op, bench->redis, bench_key, bench_on_value, bench),
                     PS_OK);
}

static inline void bench_assert_log(struct bench *bench, const char *log)
{
    assert_string_equal(bench->log, log);
    bench->log[0] = '\0';
}

/* The reply to GET that holds a good value. */
static inline void bench_answer_value(struct bench *bench, int node, const uint8_t *key,
                                      const char *body)
{
    static const struct ps_envelope_opts opts = {.max_body = 1 << 20};
    struct ps_envelope_codec *codec = NULL;
    struct ps_buf bytes = ps_buf_make(1u << 20);
    struct ps_envelope value = {
        .body = ps_str_from(body), .stored = ps_clock_wall(&bench->clock), .ttl = PS_MINUTE};
    char head[32];
    PS_CHECK(ps_envelope_codec_new(&codec, &opts) == PS_OK);
    PS_CHECK(ps_envelope_write(codec, key, &value, &bytes) == PS_OK);
    int len = snprintf(head, sizeof head, "$%zu\r\n", bytes.len);
    PS_CHECK(send(bench->far[node].fd, head, (size_t)len, MSG_NOSIGNAL) == len);
    PS_CHECK(ps_buf_append(&bytes, "\r\n", 2) == PS_OK);
    PS_CHECK(send(bench->far[node].fd, bytes.data, bytes.len, MSG_NOSIGNAL) == (ssize_t)bytes.len);
    ps_buf_fini(&bytes);
    ps_envelope_codec_free(codec);
    bench_rest(bench);
}

static inline void bench_take_stats(void *ctx, const struct ps_redis_node_stats *stats)
{
    struct ps_redis_node_stats *all = ctx;
    while (all->node != NULL) {
        all++;
    }
    *all = *stats;
}

/* Figures of the nodes, in order; the histogram is gone. */
static inline void bench_stats(struct bench *bench,
                               struct ps_redis_node_stats stats[BENCH_NODES + 1])
{
    memset(stats, 0, (BENCH_NODES + 1) * sizeof *stats);
    ps_redis_hub_stats(bench->hub, bench_take_stats, stats);
}

#endif
