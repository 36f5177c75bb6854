#include "gateway/proxy.h"

#include <stdlib.h>

#include "gateway/transfer.h"
#include "gateway/tunnel.h"

int ps_proxy_new(struct ps_proxy **out, const struct ps_proxy_opts *opts, struct ps_gateway *gateway)
{
    struct ps_proxy *proxy = calloc(1, sizeof *proxy);
    if (proxy == NULL) {
        return PS_ENOMEM;
    }
    proxy->loop = opts->loop;
    proxy->opts = *opts;
    proxy->rng = ps_rng_make(opts->id_seed);
    ps_list_init(&proxy->transfers);
    ps_list_init(&proxy->tunnels);
    int err = ps_mailbox_new(&proxy->mailbox, opts->loop, proxy);
    if (err != PS_OK) {
        free(proxy);
        return err;
    }
    proxy->gateway = ps_gateway_ref(gateway);
    *out = proxy;
    return PS_OK;
}

static void drop_pool(struct ps_proxy_pool *slot)
{
    ps_pool_free(slot->pool);
    ps_endpoint_unref(slot->endpoint);
    *slot = (struct ps_proxy_pool){.pool = NULL};
}

void ps_proxy_free(struct ps_proxy *proxy)
{
    if (proxy == NULL) {
        return;
    }
    for (size_t i = 0; i < proxy->pool_count; i++) {
        drop_pool(&proxy->pools[i]);
    }
    free(proxy->pools);
    ps_mailbox_free(proxy->mailbox);
    ps_gateway_unref(proxy->gateway);
    free(proxy);
}

void ps_proxy_set_gateway(struct ps_proxy *proxy, struct ps_gateway *gateway)
{
    struct ps_gateway *before = proxy->gateway;
    proxy->gateway = ps_gateway_ref(gateway);
    /* Idle connections go: time limits, authorities or the endpoint itself may have changed. */
    for (size_t i = 0; i < proxy->pool_count; i++) {
        drop_pool(&proxy->pools[i]);
    }
    ps_gateway_unref(before);
}

void ps_proxy_handle(struct ps_proxy *proxy, struct ps_exchange *exchange)
{
    ps_transfer_begin(proxy, exchange);
}

size_t ps_proxy_active(const struct ps_proxy *proxy)
{
    return proxy->active;
}

void ps_proxy_abort_all(struct ps_proxy *proxy)
{
    ps_tunnel_free_all(&proxy->tunnels);
    struct ps_list *node = proxy->transfers.next;
    while (node != &proxy->transfers) {
        struct ps_transfer *transfer = PS_CONTAINER_OF(node, struct ps_transfer, link);
        node = node->next;
        if (!transfer->zombie && transfer->exchange != NULL) {
            struct ps_exchange *exchange = transfer->exchange;
            transfer->exchange = NULL;
            transfer->error = "shut down";
            ps_exchange_reset(exchange);
            ps_transfer_finish(transfer, transfer->started ? transfer->status : 503, false, PS_OUTCOME_NONE);
        }
    }
}

/* --- pools ------------------------------------------------------------------------------------ */

static struct ps_proxy_pool *slot_of(struct ps_proxy *proxy, uint32_t id)
{
    if (id >= proxy->pool_count) {
        size_t count = (size_t)id + 8;
        struct ps_proxy_pool *pools = realloc(proxy->pools, count * sizeof *pools);
        if (pools == NULL) {
            return NULL;
        }
        for (size_t i = proxy->pool_count; i < count; i++) {
            pools[i] = (struct ps_proxy_pool){.pool = NULL};
        }
        proxy->pools = pools;
        proxy->pool_count = count;
    }
    return &proxy->pools[id];
}

static int open_pool(struct ps_proxy *proxy, struct ps_proxy_pool *slot, const struct ps_transfer *transfer,
                     struct ps_endpoint *endpoint)
{
    const struct ps_backend *backend = transfer->backend;
    struct ps_addresses *addresses = ps_endpoint_addresses(endpoint);
    if (addresses == NULL || addresses->count == 0) {
        ps_addresses_unref(addresses);
        return PS_ERESOLVE;
    }
    struct ps_pool_opts opts;
    ps_pool_opts_init(&opts);
    opts.address = addresses->items[slot->address % addresses->count];
    opts.tls = endpoint->url.tls ? transfer->gateway->tls[backend->index] : NULL;
    char *host = ps_str_dup(endpoint->url.host);
    opts.server_name = backend->tls.server_name != NULL ? backend->tls.server_name : host;
    opts.max_idle = (uint32_t)backend->max_idle;
    opts.connect_timeout = backend->timeouts.connect;
    opts.head_timeout = backend->timeouts.first_byte;
    opts.idle_timeout = backend->timeouts.idle;
    opts.send_timeout = backend->timeouts.send;
    opts.budget = transfer->gateway->budget;
    uint32_t generation = addresses->generation;
    ps_addresses_unref(addresses);
    int err = host == NULL ? PS_ENOMEM : ps_pool_new(&slot->pool, proxy->loop, &opts);
    free(host);
    if (err == PS_OK) {
        slot->endpoint = ps_endpoint_ref(endpoint);
        slot->generation = generation;
    }
    return err;
}

struct ps_client_pool *ps_proxy_pool_of(struct ps_proxy *proxy, const struct ps_transfer *transfer,
                                        struct ps_endpoint *endpoint)
{
    struct ps_proxy_pool *slot = slot_of(proxy, endpoint->id);
    if (slot == NULL) {
        return NULL;
    }
    if (slot->pool != NULL && slot->generation != atomic_load(&endpoint->generation)) {
        drop_pool(slot); /* the name has other addresses now */
    }
    if (slot->pool == NULL && open_pool(proxy, slot, transfer, endpoint) != PS_OK) {
        return NULL;
    }
    return slot->pool;
}

void ps_proxy_rotate(struct ps_proxy *proxy, struct ps_endpoint *endpoint)
{
    struct ps_proxy_pool *slot = slot_of(proxy, endpoint->id);
    if (slot != NULL && slot->pool != NULL) {
        size_t next = slot->address + 1;
        drop_pool(slot);
        slot->address = next;
    }
}
