#include "gateway/redis_feed.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/rng.h"
#include "gateway/redis_hub.h"
#include "gateway/redis_reply.h"
#include "gateway/redis_wire.h"
#include "io/loop.h"

#define TICK    (50 * PS_MILLISECOND)
#define PING    (500 * PS_MILLISECOND)
#define BACKOFF (100 * PS_MILLISECOND) /* the first time; doubles */

#define WHEN_MAX_MS UINT64_C(9000000000000) /* it fits in a ps_time */

/* What listens to one node. */
struct ear {
    struct ps_list link;
    struct ps_redis_feed *feed;
    struct ps_redis_node *node;
    struct ps_redis_wire *wire; /* or NULL: waits until retry_at */
    ps_time retry_at;
    unsigned failures; /* in a row */
    bool listening;
    ps_time pinged_at; /* 0 = no PING is under way */
    ps_time ping_at;
    bool wanted; /* while the view is compared */
};

struct ps_redis_feed {
    struct ps_loop *loop;
    struct ps_redis_hub *hub;
    const struct ps_redis_feed_ops *ops;
    void *ctx;
    struct ps_list ears;
    size_t nodes; /* that should be listened to */
    uint64_t generation;
    struct ps_timer tick;
    struct ps_rng rng;
};

/* --- one ear ---------------------------------------------------------------------------------- */

static ps_span retry_after(struct ear *ear)
{
    ps_span most = ear->feed->hub->opts.breaker.backoff_max;
    ps_span span = BACKOFF;
    for (unsigned i = 1; i < ear->failures && span < most; i++) {
        span *= 2;
    }
    span = span < most ? span : most;
    return span - span / 4 + (ps_span)ps_rng_below(&ear->feed->rng, (uint64_t)span / 2 + 1);
}

static void deafen(struct ear *ear)
{
    struct ps_redis_feed *feed = ear->feed;
    bool heard = ear->listening;
    ear->failures = heard ? 1 : ear->failures < 32 ? ear->failures + 1 : 32;
    ear->retry_at = ps_loop_now(feed->loop) + retry_after(ear);
    ear->listening = false;
    ear->pinged_at = 0;
    ps_redis_wire_free(ear->wire);
    ear->wire = NULL;
    if (heard) {
        feed->ops->on_lost(feed->ctx, ear->node->name);
    }
}

static int say(struct ear *ear, const struct ps_str *words, size_t count)
{
    struct ps_str command;
    int err = ps_redis_command(&command, words, count);
    if (err == PS_OK) {
        err = ps_redis_wire_write(ear->wire, &command, 1);
        ps_redis_command_free(command);
    }
    return err;
}

static void on_ready(void *ctx)
{
    struct ear *ear = ctx;
    struct ps_str words[] = {PS_STR("SUBSCRIBE"), ps_str_from(ear->feed->hub->channel)};
    ear->pinged_at = ps_loop_now(ear->feed->loop); /* its confirmation has the same patience */
    if (say(ear, words, 2) != PS_OK) {
        deafen(ear);
    }
}

/* Is it [kind, our channel, ...]? */
static bool is_about_us(const struct ear *ear, const struct ps_redis_reply *reply,
                        struct ps_str kind)
{
    const struct ps_redis_reply *word = ps_redis_reply_item(reply, 0, PS_REDIS_STRING);
    const struct ps_redis_reply *channel = ps_redis_reply_item(reply, 1, PS_REDIS_STRING);
    return word != NULL && channel != NULL && ps_str_eq(word->text, kind) &&
           ps_str_eq(channel->text, ps_str_from(ear->feed->hub->channel));
}

/* The instant that a message names, as redis_log.c writes it. */
static ps_time read_when(const struct ps_redis_reply *message)
{
    const struct ps_redis_reply *text = ps_redis_reply_item(message, 2, PS_REDIS_STRING);
    uint64_t ms = 0;
    bool fine = text != NULL && ps_str_to_u64(text->text, &ms) == PS_OK && ms <= WHEN_MAX_MS;
    return fine ? (ps_time)ms * PS_MILLISECOND : 0;
}

static void on_reply(void *ctx, const struct ps_redis_reply *reply)
{
    struct ear *ear = ctx;
    struct ps_redis_feed *feed = ear->feed;
    const struct ps_redis_reply *word = ps_redis_reply_item(reply, 0, PS_REDIS_STRING);
    ear->pinged_at = 0;
    if (is_about_us(ear, reply, PS_STR("message")) && ear->listening) {
        feed->ops->on_purge_wake(feed->ctx, ear->node->name, read_when(reply));
    } else if (is_about_us(ear, reply, PS_STR("subscribe")) && !ear->listening) {
        ear->listening = true;
        ear->failures = 0;
        ear->ping_at = ps_loop_now(feed->loop) + PING;
        ps_redis_breaker_hurry(&ear->node->breaker, ps_loop_now(feed->loop));
        feed->ops->on_reconnected(feed->ctx, ear->node->name);
    } else if (!ear->listening || word == NULL || !ps_str_eq(word->text, PS_STR("pong"))) {
        deafen(ear); /* refused, or out of its mind */
    }
}

static void on_down(void *ctx, int err, const char *reason)
{
    (void)err;
    (void)reason; /* the clients tell of the node's state */
    deafen(ctx);
}

static const struct ps_redis_wire_ops wire_ops = {on_ready, on_reply, on_down};

static void look_after(struct ear *ear, ps_time now)
{
    struct ps_redis_feed *feed = ear->feed;
    if (ear->wire == NULL && now >= ear->retry_at) {
        if (ps_redis_wire_new(&ear->wire, feed->loop, feed->hub, ear->node, &wire_ops, ear) !=
            PS_OK) {
            deafen(ear);
        }
    } else if (ear->pinged_at != 0 && now - ear->pinged_at >= feed->hub->opts.breaker.stall) {
        deafen(ear);
    } else if (ear->listening && ear->pinged_at == 0 && now >= ear->ping_at) {
        ear->ping_at = now + PING;
        ear->pinged_at = now;
        if (say(ear, (struct ps_str[]){PS_STR("PING")}, 1) != PS_OK) {
            deafen(ear);
        }
    }
}

/* --- which nodes ------------------------------------------------------------------------------ */

static void ear_free(struct ear *ear)
{
    ps_list_remove(&ear->link);
    ps_redis_wire_free(ear->wire);
    ps_redis_node_unref(ear->node);
    free(ear);
}

static struct ear *find_ear(struct ps_redis_feed *feed, const struct ps_redis_node *node)
{
    PS_LIST_FOREACH (at, &feed->ears) {
        struct ear *ear = PS_CONTAINER_OF(at, struct ear, link);
        if (ear->node == node) {
            return ear;
        }
    }
    return NULL;
}

static bool want_ear(struct ps_redis_feed *feed, struct ps_redis_node *node)
{
    struct ear *ear = find_ear(feed, node);
    if (ear == NULL) {
        ear = calloc(1, sizeof *ear);
        if (ear == NULL) {
            return false;
        }
        ear->feed = feed;
        ear->node = ps_redis_node_ref(node);
        ps_list_push(&feed->ears, &ear->link);
    }
    ear->wanted = true;
    return true;
}

/* Those that are not wanted any more are lost as others are. */
static void drop_unwanted(struct ps_redis_feed *feed)
{
    struct ps_list *at = feed->ears.next;
    while (at != &feed->ears) {
        struct ear *ear = PS_CONTAINER_OF(at, struct ear, link);
        at = at->next;
        if (!ear->wanted) {
            deafen(ear);
            ear_free(ear);
        } else {
            ear->wanted = false;
        }
    }
}

static void follow_view(struct ps_redis_feed *feed)
{
    static const uint8_t no_key[PS_REDIS_KEY_BYTES];
    struct ps_redis_hub *hub = feed->hub;
    struct ps_redis_view *view = ps_redis_hub_view(hub);
    size_t owner =
        hub->cluster ? ps_redis_view_find(view, no_key, ps_str_from(hub->log_key)) : SIZE_MAX;
    bool all = true;
    feed->nodes = 0;
    for (size_t i = 0; i < view->owners; i++) {
        if (!hub->cluster || i == owner) {
            feed->nodes++;
            all = want_ear(feed, view->nodes[i]) && all;
        }
    }
    if (all) {
        feed->generation = view->generation; /* otherwise again at the next tick */
    }
    drop_unwanted(feed);
    ps_redis_view_unref(view);
}

static void on_tick(struct ps_timer *timer, ps_time now)
{
    struct ps_redis_feed *feed = PS_CONTAINER_OF(timer, struct ps_redis_feed, tick);
    PS_IGNORE(ps_timer_set(feed->loop, timer, now + TICK)); /* it just left its place in the heap */
    if (atomic_load(&feed->hub->generation) != feed->generation) {
        follow_view(feed);
    }
    PS_LIST_FOREACH (at, &feed->ears) {
        look_after(PS_CONTAINER_OF(at, struct ear, link), now);
    }
}

/* --- life ------------------------------------------------------------------------------------- */

int ps_redis_feed_new(struct ps_redis_feed **out, struct ps_loop *loop, struct ps_redis_hub *hub,
                      const struct ps_redis_feed_ops *ops, void *ctx)
{
    struct ps_redis_feed *feed = calloc(1, sizeof *feed);
    if (feed == NULL) {
        return PS_ENOMEM;
    }
    *feed =
        (struct ps_redis_feed){.loop = loop, .hub = ps_redis_hub_ref(hub), .ops = ops, .ctx = ctx};
    feed->tick.on_time = on_tick;
    feed->rng = ps_rng_make((uint64_t)(uintptr_t)feed ^ (uint64_t)ps_loop_now(loop));
    ps_list_init(&feed->ears);
    if (ps_timer_set(loop, &feed->tick, ps_loop_now(loop)) != PS_OK) {
        ps_redis_feed_free(feed);
        return PS_ENOMEM;
    }
    *out = feed;
    return PS_OK;
}

void ps_redis_feed_free(struct ps_redis_feed *feed)
{
    if (feed == NULL) {
        return;
    }
    ps_timer_clear(feed->loop, &feed->tick);
    while (!ps_list_is_empty(&feed->ears)) {
        ear_free(PS_LIST_FIRST(&feed->ears, struct ear, link));
    }
    ps_redis_hub_unref(feed->hub);
    free(feed);
}

bool ps_redis_feed_is_listening(const struct ps_redis_feed *feed)
{
    size_t listening = 0;
    PS_LIST_FOREACH (at, &feed->ears) {
        listening += PS_CONTAINER_OF(at, struct ear, link)->listening;
    }
    return listening > 0 && listening == feed->nodes;
}
