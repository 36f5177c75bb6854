/* redis_wire - inside of redis: one connection to one node, from its name to its first reply.
 *
 *      look the name up -> connect -> TLS -> AUTH, SELECT, how are you? -> ready -> replies
 *
 * All of the opening has one deadline. A cluster's node is ready when it says that the cluster is
 * well; any other when it answers PING.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_REDIS_WIRE_H
#define PS_GATEWAY_REDIS_WIRE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"

struct ps_loop;
struct ps_redis_hub;
struct ps_redis_node;
struct ps_redis_reply;
struct ps_redis_wire;

struct ps_redis_wire_ops {
    void (*on_ready)(void *ctx);
    /* A reply, borrowed. */
    void (*on_reply)(void *ctx, const struct ps_redis_reply *reply);
    /* It could not be opened, or ended; nothing follows, the owner frees it. `reason` holds nothing
     * secret and is valid during the call. */
    void (*on_down)(void *ctx, int err, const char *reason);
};

/* Begins to open a connection. The ops live on; hub and node outlive it. PS_OK: on_ready or on_down
 * follows, never from inside this call. PS_ENOMEM. */
PS_MUST_CHECK int ps_redis_wire_new(struct ps_redis_wire **out, struct ps_loop *loop,
                                    struct ps_redis_hub *hub, struct ps_redis_node *node,
                                    const struct ps_redis_wire_ops *ops, void *ctx);

/* Closes; no callback comes any more. Fine from inside a callback. NULL is fine. */
void ps_redis_wire_free(struct ps_redis_wire *wire);

bool ps_redis_wire_is_ready(const struct ps_redis_wire *wire);

/* Sends, once it is ready. As ps_stream_write(). */
PS_MUST_CHECK int ps_redis_wire_write(struct ps_redis_wire *wire, const struct ps_str *parts,
                                      size_t count);

/* When the last byte came, and whether it was inside of a reply. */
ps_time ps_redis_wire_last_read(const struct ps_redis_wire *wire);
bool ps_redis_wire_is_inside(const struct ps_redis_wire *wire);

/* Formats a command of these words; free it with ps_redis_command_free(). PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_redis_command(struct ps_str *out, const struct ps_str *words, size_t count);
void ps_redis_command_free(struct ps_str command);

#endif
