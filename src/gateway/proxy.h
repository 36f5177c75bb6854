/* proxy - one worker's side of the gateway: takes exchanges, carries them to an upstream and back.
 *
 *      exchange -> route -> tenant -> (body) -> limits -> gate -> backend -> call -> stream back
 *                                                ^ wait         ^---- retry ----'
 *
 * What workers share (routes, gates, endpoints, tenants) is in the gateway snapshot; what is here belongs
 * to one loop: the requests under way and the pools of connections.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_PROXY_H
#define PS_GATEWAY_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "gateway/record.h"

struct ps_exchange;
struct ps_finished_ring;
struct ps_gateway;
struct ps_loop;
struct ps_proxy;

struct ps_proxy_opts {
    struct ps_loop *loop;
    unsigned shard;   /* of the metrics */
    uint64_t id_seed; /* for request ids and choices; unpredictable */
    struct ps_finished_ring *finished; /* calls that have ended are told there; or NULL */
    void (*on_done)(void *ctx, const struct ps_record *record); /* or NULL */
    void *ctx;
};

/* Creates a worker's proxy; takes a reference of the gateway. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_proxy_new(struct ps_proxy **out, const struct ps_proxy_opts *opts,
                               struct ps_gateway *gateway);

/* Frees a proxy that carries nothing any more (ps_proxy_active() is 0). NULL is fine. */
void ps_proxy_free(struct ps_proxy *proxy);

/* Requests from now on are treated by this snapshot (a reference is taken). */
void ps_proxy_set_gateway(struct ps_proxy *proxy, struct ps_gateway *gateway);

/* Takes over an exchange: from inside the server's on_request. */
void ps_proxy_handle(struct ps_proxy *proxy, struct ps_exchange *exchange);

/* Requests under way, tunnels included. */
size_t ps_proxy_active(const struct ps_proxy *proxy);

/* Ends everything under way at once (the deadline of a drain). */
void ps_proxy_abort_all(struct ps_proxy *proxy);

#endif
