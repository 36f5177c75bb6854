#include "gateway/redis.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "gateway/redis_client.h"
#include "gateway/redis_wire.h"

enum { MAX_REDIRECTS = 5 };

#define TICK        (100 * PS_MILLISECOND)
#define BEAT        PS_SECOND              /* how often a node is asked how many keys it has */
#define MAP_AGE     (30 * PS_SECOND)       /* a map this old is asked for again */
#define MAP_AGE_ILL (500 * PS_MILLISECOND) /* while a master is down: a replica may take over */

/* --- requests --------------------------------------------------------------------------------- */

static void on_late(struct ps_redis_command *command);
static void on_done(struct ps_redis_command *command, const struct ps_redis_reply *reply, int err);

int ps_redis_request_new(struct ps_redis_request **out, struct ps_redis *redis,
                         const struct ps_str *words, size_t count, ps_time deadline,
                         ps_redis_finish_fn *finish)
{
    struct ps_redis_request *request = calloc(1, sizeof *request);
    if (request == NULL) {
        return PS_ENOMEM;
    }
    request->redis = redis;
    request->finish = finish;
    request->command.deadline = deadline;
    request->command.on_late = on_late;
    request->command.on_done = on_done;
    int err = ps_redis_request_reword(request, words, count);
    if (err != PS_OK) {
        free(request);
        return err;
    }
    *out = request;
    return PS_OK;
}

int ps_redis_request_reword(struct ps_redis_request *request, const struct ps_str *words,
                            size_t count)
{
    ps_redis_command_free(request->command.bytes);
    request->command.bytes = (struct ps_str){NULL, 0};
    return ps_redis_command(&request->command.bytes, words, count);
}

void ps_redis_request_free(struct ps_redis_request *request)
{
    if (request != NULL) {
        ps_redis_command_free(request->command.bytes);
        free(request);
    }
}

int ps_redis_request_put(struct ps_redis_request *request, struct ps_redis_link *link)
{
    request->link = link;
    return link == NULL ? PS_EBUSY : ps_redis_link_put(link, &request->command);
}

int ps_redis_put_alone(struct ps_redis *redis, struct ps_redis_link *link,
                       const struct ps_str *words, size_t count, ps_redis_finish_fn *finish)
{
    struct ps_redis_request *request = NULL;
    if (link == NULL || !ps_redis_link_is_usable(link)) {
        return PS_EBUSY;
    }
    int err = ps_redis_request_new(&request, redis, words, count, PS_NEVER, finish);
    err = err != PS_OK ? err : ps_redis_request_put(request, link);
    if (err != PS_OK) {
        ps_redis_request_free(request);
    }
    return err;
}

struct ps_redis_op *ps_redis_op_new(struct ps_redis *redis, void *ctx, size_t room)
{
    struct ps_redis_op *op = calloc(1, sizeof *op + room);
    if (op != NULL) {
        op->redis = redis;
        op->ctx = ctx;
        ps_list_push(&redis->ops, &op->link);
    }
    return op;
}

void ps_redis_op_release(struct ps_redis_op *op)
{
    if (--op->open == 0) {
        ps_task_clear(&op->task);
        ps_list_remove(&op->link);
        free(op);
    }
}

void ps_redis_cancel(struct ps_redis_op *op)
{
    if (op != NULL) {
        op->told = true;
    }
}

/* --- the cluster's map ------------------------------------------------------------------------ */

static void want_map(struct ps_redis *redis)
{
    if (redis->hub->cluster && !redis->wants_map) {
        redis->wants_map = true;
        redis->wants_map_since = ps_loop_now(redis->loop);
    }
}

static bool on_map(struct ps_redis_request *request, const struct ps_redis_reply *reply)
{
    struct ps_redis *redis = request->redis;
    struct ps_redis_map *map = NULL;
    struct ps_str host;
    uint16_t port;
    if (reply == NULL) {
        return false;
    }
    ps_redis_name_split(ps_str_from(ps_redis_link_node(request->link)->where), &host, &port);
    if (ps_redis_map_read(&map, reply, host) == PS_OK &&
        ps_redis_hub_set_map(redis->hub, map, ps_loop_now(redis->loop)) == PS_OK) {
        redis->wants_map = false;
        ps_loop_defer(redis->loop, &redis->sync);
    }
    ps_redis_map_free(map);
    return false;
}

/* Who is asked: each in turn, those that are connected first. */
static struct ps_redis_link *choose_guide(struct ps_redis *redis)
{
    uint32_t turn = atomic_fetch_add(&redis->hub->refresh_turn, 1);
    struct ps_redis_link *usable = NULL;
    for (size_t i = 0; i < redis->link_count; i++) {
        struct ps_redis_link *link = redis->links[(turn + i) % redis->link_count];
        if (ps_redis_link_is_usable(link)) {
            if (ps_redis_link_is_ready(link)) {
                return link;
            }
            usable = usable == NULL ? link : usable;
        }
    }
    return usable;
}

/* All threads together ask once in PS_REDIS_REFRESH. */
static void ask_for_map(struct ps_redis *redis)
{
    struct ps_redis_hub *hub = redis->hub;
    ps_time now = ps_loop_now(redis->loop);
    ps_time not_before = atomic_load(&hub->refresh_at);
    if (!redis->wants_map || now < not_before) {
        return;
    }
    if (atomic_load(&hub->refreshed_at) > redis->wants_map_since) {
        redis->wants_map = false; /* another thread did */
        return;
    }
    struct ps_redis_request *request = NULL;
    struct ps_str words[] = {PS_STR("CLUSTER"), PS_STR("SLOTS")};
    struct ps_redis_link *guide = choose_guide(redis);
    if (guide == NULL ||
        !atomic_compare_exchange_strong(&hub->refresh_at, &not_before, now + PS_REDIS_REFRESH)) {
        return;
    }
    int err = ps_redis_request_new(&request, redis, words, 2,
                                   ps_redis_instant(redis->loop) + hub->opts.breaker.stall, on_map);
    if (err == PS_OK && ps_redis_request_put(request, guide) != PS_OK) {
        ps_redis_request_free(request);
    }
}

/* --- links ------------------------------------------------------------------------------------ */

static void on_change(void *ctx, struct ps_redis_link *link, bool up)
{
    (void)link;
    (void)up;
    want_map(ctx);
}

static const struct ps_redis_link_ops link_ops = {on_change};

static struct ps_redis_link *find_link(const struct ps_redis *redis,
                                       const struct ps_redis_node *node)
{
    for (size_t i = 0; i < redis->link_count; i++) {
        if (ps_redis_link_node(redis->links[i]) == node) {
            return redis->links[i];
        }
    }
    return NULL;
}

/* The link to a node, or NULL when out of memory. */
static struct ps_redis_link *link_to(struct ps_redis *redis, struct ps_redis_node *node)
{
    struct ps_redis_link *link = find_link(redis, node);
    if (link != NULL) {
        return link;
    }
    void *grown = realloc(redis->links, (redis->link_count + 1) * sizeof(struct ps_redis_link *));
    if (grown == NULL) {
        return NULL;
    }
    redis->links = grown;
    if (ps_redis_link_new(&link, redis->loop, redis->hub, node, &link_ops, redis) != PS_OK) {
        return NULL;
    }
    redis->links[redis->link_count++] = link;
    return link;
}

static bool is_in_view(const struct ps_redis *redis, const struct ps_redis_link *link)
{
    for (size_t i = 0; i < redis->view->count; i++) {
        if (redis->of_view[i] == link) {
            return true;
        }
    }
    return false;
}

static void drop_strangers(struct ps_redis *redis)
{
    size_t kept = 0;
    for (size_t i = 0; i < redis->link_count; i++) {
        struct ps_redis_link *link = redis->links[i];
        redis->links[kept] = link;
        if (is_in_view(redis, link)) {
            kept++;
        } else {
            ps_redis_link_free(link); /* its requests fail, and put nothing: see on_done() */
        }
    }
    redis->link_count = kept;
}

/* Takes the hub's current view. Links of nodes that are in both go on. */
static int take_view(struct ps_redis *redis)
{
    struct ps_redis_view *view = ps_redis_hub_view(redis->hub);
    struct ps_redis_link **of_view = calloc(view->count, sizeof(struct ps_redis_link *));
    if (of_view == NULL) {
        ps_redis_view_unref(view);
        return PS_ENOMEM;
    }
    for (size_t i = 0; i < view->count; i++) {
        of_view[i] = link_to(redis, view->nodes[i]);
    }
    ps_redis_view_unref(redis->view);
    free(redis->of_view);
    redis->view = view;
    redis->of_view = of_view;
    drop_strangers(redis);
    for (size_t i = 0; i < view->owners; i++) {
        if (of_view[i] != NULL) {
            ps_redis_link_warm(of_view[i]);
        }
    }
    return PS_OK;
}

static bool view_is_old(const struct ps_redis *redis)
{
    return atomic_load(&redis->hub->generation) != redis->view->generation;
}

static void on_sync(struct ps_task *task)
{
    struct ps_redis *redis = PS_CONTAINER_OF(task, struct ps_redis, sync);
    if (view_is_old(redis)) {
        PS_IGNORE(take_view(redis)); /* again at the next tick */
    }
}

struct ps_redis_link *ps_redis_route(struct ps_redis *redis, const uint8_t key[PS_REDIS_KEY_BYTES],
                                     struct ps_str text)
{
    if (view_is_old(redis)) { /* taken later: a link may be in the middle of something */
        ps_loop_defer(redis->loop, &redis->sync);
    }
    size_t index = ps_redis_view_find(redis->view, key, text);
    if (index == SIZE_MAX) {
        want_map(redis);
        return NULL;
    }
    return redis->of_view[index];
}

/* --- replies ---------------------------------------------------------------------------------- */

static void on_late(struct ps_redis_command *command)
{
    struct ps_redis_request *request = PS_CONTAINER_OF(command, struct ps_redis_request, command);
    struct ps_redis_op *op = request->op;
    if (op == NULL || op->told) {
        return;
    }
    if (op->on_value != NULL) {
        ps_redis_count(&ps_redis_link_node(request->link)->late, 1);
        op->told = true;
        op->on_value(op->ctx, PS_REDIS_LATE, NULL);
    }
}

/* Sends the request on. False: it is over. */
static bool redirect(struct ps_redis_request *request, const struct ps_redis_move *move)
{
    struct ps_redis *redis = request->redis;
    struct ps_redis_node *node = NULL;
    ps_redis_count(&ps_redis_link_node(request->link)->redirects, 1);
    if (move->kind == PS_REDIS_MOVED) {
        want_map(redis);
    }
    bool unwanted =
        request->command.deadline != PS_NEVER && (request->op == NULL || request->op->told);
    if (unwanted || request->redirects++ == MAX_REDIRECTS ||
        ps_redis_hub_node(redis->hub, move->name, &node) != PS_OK) {
        return false;
    }
    struct ps_redis_link *link = link_to(redis, node);
    ps_redis_node_unref(node);
    if (link == NULL) {
        return false; /* the request keeps the link its error is counted at */
    }
    request->command.asking = move->kind == PS_REDIS_ASK;
    return ps_redis_request_put(request, link) == PS_OK;
}

/* Errors that say that the node as a whole is of no use now. */
static bool is_complaint(const struct ps_redis_reply *reply)
{
    return ps_redis_reply_is_error(reply, PS_STR("CLUSTERDOWN")) ||
           ps_redis_reply_is_error(reply, PS_STR("LOADING")) ||
           ps_redis_reply_is_error(reply, PS_STR("MASTERDOWN")) ||
           ps_redis_reply_is_error(reply, PS_STR("NOAUTH"));
}

static void note_error(struct ps_redis_request *request, const struct ps_redis_reply *reply)
{
    char reason[64];
    ps_redis_count(&ps_redis_link_node(request->link)->errors, 1);
    if (is_complaint(reply)) {
        size_t word = ps_str_find(reply->text, ' ');
        snprintf(reason, sizeof reason, "it answers %.*s", (int)(word < 32 ? word : 32),
                 reply->text.ptr);
        want_map(request->redis);
        ps_redis_link_complain(request->link, reason);
    }
}

/* True: the request was put again. */
static bool on_error_reply(struct ps_redis_request *request, const struct ps_redis_reply *reply)
{
    struct ps_redis *redis = request->redis;
    struct ps_str host;
    uint16_t port;
    if (redis->hub->cluster) {
        ps_redis_name_split(ps_str_from(ps_redis_link_node(request->link)->where), &host, &port);
        struct ps_redis_move move = ps_redis_read_move(reply->text, host);
        if (move.kind != PS_REDIS_NO_REDIRECT && redirect(request, &move)) {
            ask_for_map(redis);
            return true;
        }
        ask_for_map(redis);
    }
    note_error(request, reply);
    return false;
}

static void on_done(struct ps_redis_command *command, const struct ps_redis_reply *reply, int err)
{
    struct ps_redis_request *request = PS_CONTAINER_OF(command, struct ps_redis_request, command);
    struct ps_redis *redis = request->redis;
    bool error = reply != NULL && reply->type == PS_REDIS_ERROR;
    request->command.asking = false;
    if (error && on_error_reply(request, reply)) {
        return;
    }
    if (reply == NULL && err != PS_ECANCELED) {
        ps_redis_count(&ps_redis_link_node(request->link)->errors, 1);
    }
    if (redis->ending || !request->finish(request, reply)) {
        struct ps_redis_op *op = request->op;
        ps_redis_request_free(request);
        if (op != NULL) {
            ps_redis_op_release(op);
        }
    }
}

/* --- the tick --------------------------------------------------------------------------------- */

static bool on_beat(struct ps_redis_request *request, const struct ps_redis_reply *reply)
{
    if (reply != NULL && reply->type == PS_REDIS_INTEGER && reply->integer >= 0) {
        atomic_store(&ps_redis_link_node(request->link)->keys, 1 + (uint64_t)reply->integer);
    }
    return false;
}

/* One thread asks each node how many keys it has; an idle node that stands still is noticed by it.
 */
static void beat(struct ps_redis *redis, struct ps_redis_link *link, ps_time now)
{
    struct ps_redis_node *node = ps_redis_link_node(link);
    struct ps_str words[] = {PS_STR("DBSIZE")};
    ps_time due = atomic_load(&node->beat_at);
    if (now >= due && atomic_compare_exchange_strong(&node->beat_at, &due, now + BEAT)) {
        PS_IGNORE(ps_redis_put_alone(redis, link, words, 1, on_beat));
    }
}

static bool owner_is_down(const struct ps_redis *redis)
{
    for (size_t i = 0; i < redis->view->owners; i++) {
        if (redis->of_view[i] == NULL || !ps_redis_link_is_usable(redis->of_view[i])) {
            return true;
        }
    }
    return redis->view->owners == 0;
}

/* Nodes that have keys; the others only while nobody has, or somebody who has is down. */
static void look_after_links(struct ps_redis *redis, ps_time now)
{
    size_t count = owner_is_down(redis) ? redis->view->count : redis->view->owners;
    for (size_t i = 0; i < count; i++) {
        struct ps_redis_link *link = redis->of_view[i];
        if (link == NULL) {
            continue;
        }
        if (!ps_redis_link_is_usable(link)) {
            ps_redis_link_probe(link, now);
        } else if (i < redis->view->owners) {
            ps_redis_link_warm(link); /* another thread may have found it well again */
            beat(redis, link, now);
        }
    }
}

static void look_after_map(struct ps_redis *redis, ps_time now)
{
    if (!redis->hub->cluster) {
        return;
    }
    ps_span most = owner_is_down(redis) ? MAP_AGE_ILL : MAP_AGE;
    if (redis->view->owners == 0 || now - atomic_load(&redis->hub->refreshed_at) >= most) {
        want_map(redis);
    }
    ask_for_map(redis);
}

static void on_tick(struct ps_timer *timer, ps_time now)
{
    struct ps_redis *redis = PS_CONTAINER_OF(timer, struct ps_redis, tick);
    PS_IGNORE(
        ps_timer_set(redis->loop, timer, now + TICK)); /* it just left its place in the heap */
    if (view_is_old(redis)) {
        PS_IGNORE(take_view(redis));
    }
    look_after_links(redis, now);
    look_after_map(redis, now);
}

/* --- life ------------------------------------------------------------------------------------- */

static int start(struct ps_redis *redis)
{
    struct ps_redis_hub *hub = redis->hub;
    const struct ps_envelope_opts opts = {.max_body = hub->opts.max_value,
                                          .compress_above = hub->opts.compress_above,
                                          .secret = hub->sign_key};
    int err = ps_envelope_codec_new(&redis->codec, &opts);
    err = err != PS_OK ? err : take_view(redis);
    return err != PS_OK ? err : ps_timer_set(redis->loop, &redis->tick, ps_loop_now(redis->loop));
}

int ps_redis_new(struct ps_redis **out, struct ps_loop *loop, struct ps_redis_hub *hub)
{
    struct ps_redis *redis = calloc(1, sizeof *redis);
    if (redis == NULL) {
        return PS_ENOMEM;
    }
    redis->loop = loop;
    redis->hub = ps_redis_hub_ref(hub);
    redis->value = ps_buf_make((size_t)hub->opts.max_value + PS_ENVELOPE_OVERHEAD);
    redis->tick.on_time = on_tick;
    redis->sync.on_turn = on_sync;
    ps_list_init(&redis->ops);
    int err = start(redis);
    if (err != PS_OK) {
        ps_redis_free(redis);
        return err;
    }
    *out = redis;
    return PS_OK;
}

void ps_redis_free(struct ps_redis *redis)
{
    if (redis == NULL) {
        return;
    }
    redis->ending = true;
    ps_timer_clear(redis->loop, &redis->tick);
    ps_task_clear(&redis->sync);
    for (size_t i = 0; i < redis->link_count; i++) {
        ps_redis_link_free(redis->links[i]);
    }
    while (!ps_list_is_empty(&redis->ops)) { /* those whose end was only a task away */
        struct ps_redis_op *op = PS_LIST_FIRST(&redis->ops, struct ps_redis_op, link);
        op->open = 1;
        ps_redis_op_release(op);
    }
    ps_redis_view_unref(redis->view);
    ps_redis_hub_unref(redis->hub);
    ps_envelope_codec_free(redis->codec);
    ps_buf_fini(&redis->value);
    free(redis->of_view);
    free(redis->links);
    free(redis);
}
