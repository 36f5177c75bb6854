/* tunnel - two streams joined after an Upgrade: bytes both ways, with back-pressure.
 *
 * When one side closes, what it sent is still delivered; then the other side is closed.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_TUNNEL_H
#define PS_GATEWAY_TUNNEL_H

#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"

struct ps_loop;
struct ps_stream;
struct ps_tunnel;

/* Joins the two streams and owns them from now on, also when it fails. It ends by itself after `idle`
 * without a byte in either direction (0 = never); then, or when a side closes, on_end runs once with the
 * bytes that went each way, and the tunnel is gone. `list` is a list of all tunnels of the loop (for
 * ps_tunnel_free_all). PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_tunnel_new(struct ps_loop *loop, struct ps_stream *client, struct ps_stream *upstream,
                                ps_span idle, struct ps_list *list,
                                void (*on_end)(void *ctx, uint64_t from_client, uint64_t from_upstream),
                                void *ctx);

/* Ends all tunnels of a list at once; on_end runs for each. */
void ps_tunnel_free_all(struct ps_list *list);

#endif
