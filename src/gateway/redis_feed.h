/* redis_feed - hears that somebody appended to the log of invalidations.
 *
 *      connect -> SUBSCRIBE -> confirmed: on_reconnected -> message: on_purge_wake -> ...
 *                                  ^                                               |
 *                                  '---- again, later each time <---- on_lost <----'
 *
 * It listens to every independent node, or in a cluster to the node that has the log. What was
 * published while it did not listen is not told: after on_reconnected the owner reads the log
 * (ps_redis_log_read), and until then it can't trust what it remembers. A node that stands still is
 * found out by a PING each half second.
 *
 * A cluster's map is followed, not asked for: that is what clients (redis.h) do.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_REDIS_FEED_H
#define PS_GATEWAY_REDIS_FEED_H

#include <stdbool.h>

#include "base/clock.h"
#include "base/err.h"

struct ps_loop;
struct ps_redis_feed;
struct ps_redis_hub;

/* They must not free the feed. `node` is valid during the call. All must be there. */
struct ps_redis_feed_ops {
    /* Something was appended; `when` is the instant of the record (PS_MILLISECOND exact), or 0 when
     * the message does not say. */
    void (*on_purge_wake)(void *ctx, const char *node, ps_time when);
    void (*on_reconnected)(void *ctx, const char *node); /* the first time too */
    void (*on_lost)(void *ctx, const char *node);        /* only after on_reconnected */
};

/* Begins to listen. The ops live on; a reference to the hub is taken. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_redis_feed_new(struct ps_redis_feed **out, struct ps_loop *loop,
                                    struct ps_redis_hub *hub, const struct ps_redis_feed_ops *ops,
                                    void *ctx);

/* Ends it; nothing is told. NULL is fine. */
void ps_redis_feed_free(struct ps_redis_feed *feed);

/* Does it listen to every node that it should? */
bool ps_redis_feed_is_listening(const struct ps_redis_feed *feed);

#endif
