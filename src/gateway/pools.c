#include "gateway/pools.h"

#include <stdlib.h>

#include "http/client.h"

static void drop_pool(struct ps_pools_slot *slot)
{
    ps_pool_free(slot->pool);
    ps_endpoint_unref(slot->endpoint);
    *slot = (struct ps_pools_slot){.pool = NULL};
}

void ps_pools_fini(struct ps_pools *pools)
{
    for (size_t i = 0; i < pools->count; i++) {
        drop_pool(&pools->slots[i]);
    }
    free(pools->slots);
    pools->slots = NULL;
    pools->count = 0;
}

static struct ps_pools_slot *slot_of(struct ps_pools *pools, uint32_t id)
{
    if (id >= pools->count) {
        size_t count = (size_t)id + 8;
        struct ps_pools_slot *slots = realloc(pools->slots, count * sizeof *slots);
        if (slots == NULL) {
            return NULL;
        }
        for (size_t i = pools->count; i < count; i++) {
            slots[i] = (struct ps_pools_slot){.pool = NULL};
        }
        pools->slots = slots;
        pools->count = count;
    }
    return &pools->slots[id];
}

static int open_pool(struct ps_loop *loop, struct ps_pools_slot *slot, const struct ps_gateway *gateway,
                     const struct ps_backend *backend, struct ps_endpoint *endpoint)
{
    struct ps_addresses *addresses = ps_endpoint_addresses(endpoint);
    if (addresses == NULL || addresses->count == 0) {
        ps_addresses_unref(addresses);
        return PS_ERESOLVE;
    }
    struct ps_pool_opts opts;
    ps_pool_opts_init(&opts);
    opts.address = addresses->items[slot->address % addresses->count];
    opts.tls = endpoint->url.tls ? gateway->tls[backend->index] : NULL;
    char *host = ps_str_dup(endpoint->url.host);
    opts.server_name = backend->tls.server_name != NULL ? backend->tls.server_name : host;
    opts.max_idle = (uint32_t)backend->max_idle;
    opts.connect_timeout = backend->timeouts.connect;
    opts.head_timeout = backend->timeouts.first_byte;
    opts.idle_timeout = backend->timeouts.idle;
    opts.send_timeout = backend->timeouts.send;
    opts.budget = gateway->budget;
    uint32_t generation = addresses->generation;
    ps_addresses_unref(addresses);
    int err = host == NULL ? PS_ENOMEM : ps_pool_new(&slot->pool, loop, &opts);
    free(host);
    if (err == PS_OK) {
        slot->endpoint = ps_endpoint_ref(endpoint);
        slot->generation = generation;
    }
    return err;
}

struct ps_client_pool *ps_pools_get(struct ps_pools *pools, const struct ps_gateway *gateway,
                                    const struct ps_backend *backend, struct ps_endpoint *endpoint)
{
    struct ps_pools_slot *slot = slot_of(pools, endpoint->id);
    if (slot == NULL) {
        return NULL;
    }
    if (slot->pool != NULL && slot->generation != atomic_load(&endpoint->generation)) {
        drop_pool(slot); /* the name has other addresses now */
    }
    if (slot->pool == NULL && open_pool(pools->loop, slot, gateway, backend, endpoint) != PS_OK) {
        return NULL;
    }
    return slot->pool;
}

void ps_pools_rotate(struct ps_pools *pools, const struct ps_endpoint *endpoint)
{
    struct ps_pools_slot *slot = slot_of(pools, endpoint->id);
    if (slot != NULL && slot->pool != NULL) {
        size_t next = slot->address + 1;
        drop_pool(slot);
        slot->address = next;
    }
}
