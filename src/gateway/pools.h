/* pools - one worker's connections to all endpoints.
 *
 * A pool is opened when an endpoint is first used and again when its name has other addresses.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_POOLS_H
#define PS_GATEWAY_POOLS_H

#include <stddef.h>
#include <stdint.h>

#include "gateway/backend.h"
#include "gateway/gateway.h"

struct ps_client_pool;
struct ps_loop;

struct ps_pools_slot {
    struct ps_client_pool *pool;
    struct ps_endpoint *endpoint; /* reference */
    uint32_t generation;          /* of the addresses */
    size_t address;               /* which of them */
};

/* Zero-initialise, set the loop. */
struct ps_pools {
    struct ps_loop *loop;
    struct ps_pools_slot *slots; /* by endpoint id */
    size_t count;
};

/* Closes everything idle and forgets it; calls under way go on. */
void ps_pools_fini(struct ps_pools *pools);

/* The pool for an endpoint of a gateway's backend; NULL: it has no address, or there is no memory. */
struct ps_client_pool *ps_pools_get(struct ps_pools *pools, const struct ps_gateway *gateway,
                                    const struct ps_backend *backend, struct ps_endpoint *endpoint);

/* The endpoint's address can't be reached: the next call tries its next one. */
void ps_pools_rotate(struct ps_pools *pools, const struct ps_endpoint *endpoint);

#endif
