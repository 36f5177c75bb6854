/* The log of invalidations in the cache servers; see redis.h. */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/redis_client.h"

enum { PAGE = 256 };

/* --- one node, or each ------------------------------------------------------------------------ */

static void conclude(struct ps_redis_op *op)
{
    if (!op->told) {
        op->told = true;
        op->on_end(op->ctx, op->done, op->failed);
    }
}

/* The request's part is over. Told before the last one is released, which frees the operation. */
static void part_done(struct ps_redis_op *op, bool fine)
{
    op->done += fine;
    op->failed += !fine;
    if (op->open == 1) {
        conclude(op);
    }
}

static void on_nothing(struct ps_task *task)
{
    struct ps_redis_op *op = PS_CONTAINER_OF(task, struct ps_redis_op, task);
    conclude(op);
    ps_redis_op_release(op);
}

/* Puts a request of these words to every node that has the log. What can't be put has failed. */
static void put_to_all(struct ps_redis_op *op, const struct ps_redis_request *model,
                       const struct ps_str *words, size_t count)
{
    struct ps_redis *redis = op->redis;
    static const uint8_t no_key[PS_REDIS_KEY_BYTES];
    ps_time deadline = ps_redis_instant(redis->loop) + redis->hub->opts.breaker.stall;
    struct ps_redis_link *owner =
        redis->hub->cluster ? ps_redis_route(redis, no_key, ps_str_from(redis->hub->log_key))
                            : NULL;
    struct ps_redis_link **links = redis->hub->cluster ? &owner : redis->of_view;
    size_t link_count = redis->hub->cluster ? 1 : redis->view->owners;
    op->open = 1; /* this function's */
    for (size_t i = 0; i < link_count; i++) {
        struct ps_redis_request *request = NULL;
        int err = ps_redis_request_new(&request, redis, words, count, deadline, model->finish);
        if (err == PS_OK) {
            request->op = op;
            request->since = model->since;
            err = ps_redis_request_put(request, links[i]);
        }
        if (err == PS_OK) {
            op->open++;
        } else {
            ps_redis_request_free(request);
            op->failed++;
        }
    }
    if (op->open == 1) {
        op->task.on_turn = on_nothing;
        ps_loop_defer(redis->loop, &op->task);
    } else {
        ps_redis_op_release(op);
    }
}

/* --- appending -------------------------------------------------------------------------------- */

static bool on_nobody(struct ps_redis_request *request, const struct ps_redis_reply *reply)
{
    (void)request;
    (void)reply;
    return false;
}

static void put_after(struct ps_redis_request *before, const struct ps_str *words, size_t count)
{
    PS_IGNORE(ps_redis_put_alone(before->redis, before->link, words, count, on_nobody));
}

/* Only now is it there for those who wake up. Old records go, and the log itself when it is not
 * used. */
static void wake_and_trim(struct ps_redis_request *request)
{
    const struct ps_redis_hub *hub = request->redis->hub;
    struct ps_str key = ps_str_from(hub->log_key);
    char oldest[32];
    char rank[32];
    char keep[32];
    char when[32]; /* what was appended may be old: those who wake read from there */
    ps_time now = ps_clock_wall(ps_loop_clock(request->redis->loop));
    int when_len =
        snprintf(when, sizeof when, "%lld", (long long)(request->since / PS_MILLISECOND));
    int oldest_len = snprintf(oldest, sizeof oldest, "(%lld",
                              (long long)((now - hub->opts.purge_keep) / PS_MILLISECOND));
    int rank_len =
        snprintf(rank, sizeof rank, "-%llu", (unsigned long long)hub->opts.purge_max + 1);
    int keep_len =
        snprintf(keep, sizeof keep, "%lld", (long long)(hub->opts.purge_keep / PS_MILLISECOND));
    put_after(
        request,
        (struct ps_str[]){PS_STR("PUBLISH"), ps_str_from(hub->channel), {when, (size_t)when_len}},
        3);
    put_after(request,
              (struct ps_str[]){
                  PS_STR("ZREMRANGEBYSCORE"), key, PS_STR("-inf"), {oldest, (size_t)oldest_len}},
              4);
    put_after(
        request,
        (struct ps_str[]){PS_STR("ZREMRANGEBYRANK"), key, PS_STR("0"), {rank, (size_t)rank_len}},
        4);
    put_after(request, (struct ps_str[]){PS_STR("PEXPIRE"), key, {keep, (size_t)keep_len}}, 3);
}

static bool on_appended(struct ps_redis_request *request, const struct ps_redis_reply *reply)
{
    bool fine = reply != NULL && reply->type == PS_REDIS_INTEGER;
    if (fine) {
        wake_and_trim(request);
    }
    part_done(request->op, fine);
    return false;
}

int ps_redis_log_append(struct ps_redis_op **out, struct ps_redis *redis, struct ps_str record,
                        ps_time when, ps_redis_log_fn *on_end, void *ctx)
{
    char score[32];
    if (record.len == 0 || record.len > PS_REDIS_RECORD_MAX || when < 0) {
        return PS_EINVAL;
    }
    struct ps_redis_op *op = ps_redis_op_new(redis, ctx, 0);
    if (op == NULL) {
        return PS_ENOMEM;
    }
    op->on_end = on_end;
    int len = snprintf(score, sizeof score, "%lld", (long long)(when / PS_MILLISECOND));
    struct ps_str words[] = {
        PS_STR("ZADD"), ps_str_from(redis->hub->log_key), {score, (size_t)len}, record};
    const struct ps_redis_request model = {.finish = on_appended, .since = when};
    *out = op;
    put_to_all(op, &model, words, 4);
    return PS_OK;
}

/* --- reading ---------------------------------------------------------------------------------- */

static int page_words(struct ps_redis_request *request, const struct ps_redis_hub *hub,
                      char from[32], char offset[32], struct ps_str words[8])
{
    int from_len = snprintf(from, 32, "%lld", (long long)(request->since / PS_MILLISECOND));
    int offset_len = snprintf(offset, 32, "%zu", request->offset);
    const struct ps_str all[] = {PS_STR("ZRANGEBYSCORE"),      ps_str_from(hub->log_key),
                                 {from, (size_t)from_len},     PS_STR("+inf"),
                                 PS_STR("WITHSCORES"),         PS_STR("LIMIT"),
                                 {offset, (size_t)offset_len}, PS_STR("256")};
    _Static_assert(PAGE == 256, "said above");
    memcpy(words, all, sizeof all);
    return (int)(sizeof all / sizeof *all);
}

/* The instant of a record; false: it is not a number that we wrote. */
static bool read_score(const struct ps_redis_reply *reply, ps_time *when)
{
    double ms;
    if (reply->type != PS_REDIS_STRING || ps_str_to_double(reply->text, &ms) != PS_OK || ms < 0 ||
        ms > 9e12) {
        return false;
    }
    *when = (ps_time)ms * PS_MILLISECOND;
    return true;
}

/* Hands the records of a page out and moves on. Returns how many there were, or SIZE_MAX: no page.
 */
static size_t take_page(struct ps_redis_request *request, const struct ps_redis_reply *reply)
{
    struct ps_redis_op *op = request->op;
    if (reply == NULL || reply->type != PS_REDIS_ARRAY || reply->count % 2 != 0) {
        return SIZE_MAX;
    }
    for (size_t i = 0; i + 1 < reply->count && !op->told; i += 2) {
        const struct ps_redis_reply *record = reply->items[i];
        ps_time when;
        if (!read_score(reply->items[i + 1], &when)) {
            continue;
        }
        request->offset =
            when == request->since / PS_MILLISECOND * PS_MILLISECOND ? request->offset + 1 : 1;
        request->since = when;
        if (record->type == PS_REDIS_STRING && record->text.len <= PS_REDIS_RECORD_MAX) {
            op->on_record(op->ctx, record->text, when);
        }
    }
    return reply->count / 2;
}

/* The next page begins behind the last record, by instant and by place among those of the same
 * instant: what is trimmed at the beginning meanwhile moves nothing. */
static bool on_page(struct ps_redis_request *request, const struct ps_redis_reply *reply)
{
    struct ps_redis *redis = request->redis;
    char from[32];
    char offset[32];
    struct ps_str words[8];
    size_t count = take_page(request, reply);
    bool more = count == PAGE && !request->op->told;
    if (more && request->pages++ <= 2 * redis->hub->opts.purge_max / PAGE) {
        size_t word_count = (size_t)page_words(request, redis->hub, from, offset, words);
        request->command.deadline = ps_redis_instant(redis->loop) + redis->hub->opts.breaker.stall;
        if (ps_redis_request_reword(request, words, word_count) == PS_OK &&
            ps_redis_request_put(request, request->link) == PS_OK) {
            return true;
        }
    }
    part_done(request->op, count < PAGE);
    return false;
}

int ps_redis_log_read(struct ps_redis_op **out, struct ps_redis *redis, ps_time since,
                      ps_redis_record_fn *on_record, ps_redis_log_fn *on_end, void *ctx)
{
    char from[32];
    char offset[32];
    struct ps_str words[8];
    struct ps_redis_request model = {.finish = on_page, .since = since > 0 ? since : 0};
    struct ps_redis_op *op = ps_redis_op_new(redis, ctx, 0);
    if (op == NULL) {
        return PS_ENOMEM;
    }
    op->on_record = on_record;
    op->on_end = on_end;
    *out = op;
    put_to_all(op, &model, words, (size_t)page_words(&model, redis->hub, from, offset, words));
    return PS_OK;
}
