/* redis_client - inside of redis: one thread's client, its requests and how they find their node.
 *
 * A request is one command and what it is for. It may wander: MOVED and ASK send it on. An
 * operation is what the caller waits for: a lookup has one request, the log of independent nodes
 * one for each.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_REDIS_CLIENT_H
#define PS_GATEWAY_REDIS_CLIENT_H

#include "base/rng.h"
#include "gateway/redis_hub.h"
#include "gateway/redis_link.h"
#include "gateway/redis_reply.h"
#include "io/loop.h"

struct ps_redis {
    struct ps_loop *loop;
    struct ps_redis_hub *hub;
    struct ps_redis_view *view;
    struct ps_redis_link **of_view; /* link of each node of the view; NULL: out of memory then */
    struct ps_redis_link **links;   /* all of them, nodes that were only redirected to included */
    size_t link_count;
    struct ps_envelope_codec *codec;
    struct ps_buf value; /* one on its way out */
    struct ps_timer tick;
    struct ps_task sync; /* takes another view */
    struct ps_list ops;
    bool wants_map;
    ps_time wants_map_since;
    bool ending;
};

struct ps_redis_request;

/* The request is over: the reply, which is no redirection, or NULL. It is freed afterwards unless
 * the function put it again and returns true. */
typedef bool ps_redis_finish_fn(struct ps_redis_request *request,
                                const struct ps_redis_reply *reply);

struct ps_redis_request {
    struct ps_redis_command command;
    struct ps_redis *redis;
    struct ps_redis_link *link; /* where it was put last */
    struct ps_redis_op *op;     /* or NULL: nobody waits */
    ps_redis_finish_fn *finish;
    uint8_t key[PS_REDIS_KEY_BYTES];
    unsigned redirects;
    unsigned pages; /* of the log */
    ps_time since;
    size_t offset;
};

struct ps_redis_op {
    struct ps_list link; /* in redis->ops */
    struct ps_redis *redis;
    ps_redis_value_fn *on_value;
    ps_redis_record_fn *on_record;
    ps_redis_log_fn *on_end;
    void *ctx;
    size_t open; /* requests */
    size_t done;
    size_t failed;
    bool told;           /* or canceled: nobody listens any more */
    struct ps_task task; /* the end, when nothing could be put */
    char record[];
};

/* Makes a request of these words with its deadline. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_redis_request_new(struct ps_redis_request **out, struct ps_redis *redis,
                                       const struct ps_str *words, size_t count, ps_time deadline,
                                       ps_redis_finish_fn *finish);

/* Gives the request other words. PS_OK or PS_ENOMEM (it has none then). */
PS_MUST_CHECK int ps_redis_request_reword(struct ps_redis_request *request,
                                          const struct ps_str *words, size_t count);
void ps_redis_request_free(
    struct ps_redis_request *request); /* one that is not put; NULL is fine */

/* Puts it to a link (NULL: PS_EBUSY). On failure it is the caller's still. */
PS_MUST_CHECK int ps_redis_request_put(struct ps_redis_request *request,
                                       struct ps_redis_link *link);

/* Makes and puts a request that nobody waits for. As ps_redis_request_put(); nothing is left on
 * failure. */
PS_MUST_CHECK int ps_redis_put_alone(struct ps_redis *redis, struct ps_redis_link *link,
                                     const struct ps_str *words, size_t count,
                                     ps_redis_finish_fn *finish);

/* The link of the node that has a key, or NULL: it is not known. */
struct ps_redis_link *ps_redis_route(struct ps_redis *redis, const uint8_t key[PS_REDIS_KEY_BYTES],
                                     struct ps_str text);

/* A fresh operation with `room` bytes behind it, or NULL. */
struct ps_redis_op *ps_redis_op_new(struct ps_redis *redis, void *ctx, size_t room);

/* One request of it is over; frees it with the last. */
void ps_redis_op_release(struct ps_redis_op *op);

#endif
