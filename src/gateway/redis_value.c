/* Values in the cache servers: get, set, delete; see redis.h. */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/redis_client.h"

enum { KEEP_BYTES = 1024 * 1024 /* of the buffer for a value on its way out */ };

/* What a reply to GET is worth. */
static enum ps_redis_outcome judge(struct ps_redis_request *request,
                                   const struct ps_redis_reply *reply, struct ps_envelope *value)
{
    struct ps_redis *redis = request->redis;
    if (reply == NULL || (reply->type != PS_REDIS_STRING && reply->type != PS_REDIS_NIL)) {
        return PS_REDIS_FAILED;
    }
    if (reply->type == PS_REDIS_NIL) {
        return PS_REDIS_MISS;
    }
    switch (ps_envelope_read(redis->codec, request->key, reply->text,
                             ps_clock_wall(ps_loop_clock(redis->loop)), value)) {
    case PS_ENVELOPE_FINE:
        return PS_REDIS_HIT;
    case PS_ENVELOPE_EXPIRED:
        return PS_REDIS_MISS;
    case PS_ENVELOPE_SHORT:
    case PS_ENVELOPE_FOREIGN:
    case PS_ENVELOPE_KEY:
    case PS_ENVELOPE_LARGE:
    case PS_ENVELOPE_CHECK:
    case PS_ENVELOPE_BODY:
    case PS_ENVELOPE_FAULTS:
        break;
    }
    return PS_REDIS_REJECTED;
}

static void count_outcome(struct ps_redis_node *node, enum ps_redis_outcome outcome)
{
    switch (outcome) {
    case PS_REDIS_HIT:
        ps_redis_count(&node->hits, 1);
        break;
    case PS_REDIS_MISS:
        ps_redis_count(&node->misses, 1);
        break;
    case PS_REDIS_REJECTED:
        ps_redis_count(&node->rejected, 1);
        break;
    case PS_REDIS_LATE:
    case PS_REDIS_FAILED:
        break; /* counted where it was noticed */
    }
}

static bool on_got(struct ps_redis_request *request, const struct ps_redis_reply *reply)
{
    struct ps_envelope value = {.body = {NULL, 0}};
    struct ps_redis_op *op = request->op;
    if (!op->told) {
        enum ps_redis_outcome outcome = judge(request, reply, &value);
        count_outcome(ps_redis_link_node(request->link), outcome);
        op->told = true;
        op->on_value(op->ctx, outcome, outcome == PS_REDIS_HIT ? &value : NULL);
    }
    return false;
}

int ps_redis_get(struct ps_redis_op **out, struct ps_redis *redis,
                 const uint8_t key[PS_REDIS_KEY_BYTES], ps_redis_value_fn *on_value, void *ctx)
{
    char text[PS_REDIS_KEY_TEXT];
    struct ps_str words[] = {PS_STR("GET"), ps_redis_key_text(redis->hub, key, text)};
    struct ps_redis_request *request = NULL;
    struct ps_redis_link *link = ps_redis_route(redis, key, words[1]);
    if (link == NULL || !ps_redis_link_is_usable(link)) {
        return PS_EBUSY;
    }
    struct ps_redis_op *op = ps_redis_op_new(redis, ctx, 0);
    if (op == NULL) {
        return PS_ENOMEM;
    }
    op->on_value = on_value;
    op->open = 1;
    ps_time deadline = ps_redis_instant(redis->loop) + redis->hub->opts.timeout;
    int err = ps_redis_request_new(&request, redis, words, 2, deadline, on_got);
    if (err == PS_OK) {
        memcpy(request->key, key, PS_REDIS_KEY_BYTES);
        request->op = op;
        err = ps_redis_request_put(request, link);
    }
    if (err != PS_OK) {
        ps_redis_request_free(request);
        ps_redis_op_release(op);
        return err;
    }
    ps_redis_count(&ps_redis_link_node(link)->gets, 1);
    *out = op;
    return PS_OK;
}

static bool on_stored(struct ps_redis_request *request, const struct ps_redis_reply *reply)
{
    struct ps_redis_node *node = ps_redis_link_node(request->link);
    bool fine = reply != NULL && ps_redis_reply_is(reply, PS_STR("OK"));
    ps_redis_count(fine ? &node->sets : &node->set_failures, 1);
    return false;
}

int ps_redis_set(struct ps_redis *redis, const uint8_t key[PS_REDIS_KEY_BYTES],
                 const struct ps_envelope *value)
{
    char text[PS_REDIS_KEY_TEXT];
    char ttl[24];
    struct ps_str name = ps_redis_key_text(redis->hub, key, text);
    struct ps_redis_link *link = ps_redis_route(redis, key, name);
    ps_span left = value->stored + value->ttl - ps_clock_wall(ps_loop_clock(redis->loop));
    if (left < PS_MILLISECOND) {
        return PS_EINVAL;
    }
    if (link == NULL || !ps_redis_link_is_usable(link)) {
        return PS_EBUSY; /* before the work of packing it */
    }
    if (redis->value.cap > KEEP_BYTES) {
        ps_buf_fini(&redis->value);
    }
    ps_buf_clear(&redis->value);
    int err = ps_envelope_write(redis->codec, key, value, &redis->value);
    if (err != PS_OK) {
        return err;
    }
    int len = snprintf(ttl, sizeof ttl, "%lld", (long long)(left / PS_MILLISECOND));
    struct ps_str words[] = {
        PS_STR("SET"), name, ps_buf_str(&redis->value), PS_STR("PX"), {ttl, (size_t)len}};
    return ps_redis_put_alone(redis, link, words, 5, on_stored);
}

static bool on_deleted(struct ps_redis_request *request, const struct ps_redis_reply *reply)
{
    (void)request;
    (void)reply;
    return false;
}

int ps_redis_delete(struct ps_redis *redis, const uint8_t key[PS_REDIS_KEY_BYTES])
{
    char text[PS_REDIS_KEY_TEXT];
    struct ps_str words[] = {PS_STR("UNLINK"), ps_redis_key_text(redis->hub, key, text)};
    return ps_redis_put_alone(redis, ps_redis_route(redis, key, words[1]), words, 2, on_deleted);
}
