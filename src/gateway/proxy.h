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
#include "gateway/usage.h"
#include "io/address.h"

struct ps_exchange;
struct ps_gateway;
struct ps_loop;
struct ps_proxy;

/* What is known of a request when it has ended; views are valid during the call. */
struct ps_record {
    ps_time wall;         /* when it began, nanoseconds since 1970 */
    ps_span duration;     /* first byte of the request to last byte of the answer */
    ps_span first_byte;   /* to the first byte of the answer's body; -1 = there was none */
    ps_span queued;       /* at the gate; -1 = it never came there */
    int status;           /* as sent; 499 = the client left before an answer */
    bool complete;        /* the answer was sent to its end */
    struct ps_str method, path, request_id, model;
    const char *route, *upstream, *endpoint, *tenant; /* or NULL */
    const char *error;    /* what went wrong upstream, or NULL */
    const struct ps_address *peer;
    uint64_t bytes_in, bytes_out; /* of bodies */
    unsigned attempts;
    bool has_usage;
    struct ps_usage usage;
};

struct ps_proxy_opts {
    struct ps_loop *loop;
    unsigned shard;   /* of the metrics */
    uint64_t id_seed; /* for request ids and choices; unpredictable */
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
