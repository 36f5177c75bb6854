#include "gateway/proxy.h"

#include <stdlib.h>

#include "gateway/tier.h"
#include "gateway/transfer.h"
#include "gateway/tunnel.h"

enum { KEYS_REMEMBERED = 8192, REQUESTS_REMEMBERED = 1024 };

struct ps_proxy {
    struct ps_lane lane;
};

/* What the lane needs to remember answers. */
static int open_cache(struct ps_lane *lane)
{
    if (lane->gateway->tiers == NULL) {
        return PS_OK;
    }
    int err = ps_keyer_new(&lane->keyer, KEYS_REMEMBERED);
    err = err != PS_OK ? err : ps_request_memo_new(&lane->memo, REQUESTS_REMEMBERED);
    return err != PS_OK ? err : ps_tier_new(&lane->tier, lane->gateway->tiers, lane->loop);
}

int ps_proxy_new(struct ps_proxy **out, const struct ps_proxy_opts *opts, struct ps_gateway *gateway)
{
    struct ps_proxy *proxy = calloc(1, sizeof *proxy);
    if (proxy == NULL) {
        return PS_ENOMEM;
    }
    struct ps_lane *lane = &proxy->lane;
    lane->loop = opts->loop;
    lane->shard = opts->shard;
    lane->finished = opts->finished;
    lane->on_done = opts->on_done;
    lane->ctx = opts->ctx;
    lane->rng = ps_rng_make(opts->id_seed);
    lane->pools.loop = opts->loop;
    ps_list_init(&lane->transfers);
    ps_list_init(&lane->tunnels);
    int err = ps_mailbox_new(&lane->mailbox, opts->loop, proxy);
    if (err != PS_OK) {
        free(proxy);
        return err;
    }
    lane->desk = (struct ps_flight_desk){lane->loop, lane->mailbox};
    lane->gateway = ps_gateway_ref(gateway);
    err = open_cache(lane);
    if (err != PS_OK) {
        ps_proxy_free(proxy);
        return err;
    }
    *out = proxy;
    return PS_OK;
}

void ps_proxy_free(struct ps_proxy *proxy)
{
    if (proxy == NULL) {
        return;
    }
    ps_pools_fini(&proxy->lane.pools);
    ps_mailbox_free(proxy->lane.mailbox);
    ps_tier_free(proxy->lane.tier);
    ps_keyer_free(proxy->lane.keyer);
    ps_request_memo_free(proxy->lane.memo);
    ps_gateway_unref(proxy->lane.gateway);
    free(proxy);
}

void ps_proxy_set_gateway(struct ps_proxy *proxy, struct ps_gateway *gateway)
{
    struct ps_gateway *before = proxy->lane.gateway;
    proxy->lane.gateway = ps_gateway_ref(gateway);
    /* Idle connections go: time limits, authorities or the endpoint itself may have changed. */
    ps_pools_fini(&proxy->lane.pools);
    ps_gateway_unref(before);
}

void ps_proxy_handle(struct ps_proxy *proxy, struct ps_exchange *exchange)
{
    ps_transfer_begin(&proxy->lane, exchange);
}

size_t ps_proxy_active(const struct ps_proxy *proxy)
{
    return proxy->lane.active;
}

void ps_proxy_abort_all(struct ps_proxy *proxy)
{
    ps_tunnel_free_all(&proxy->lane.tunnels);
    struct ps_list *node = proxy->lane.transfers.next;
    while (node != &proxy->lane.transfers) {
        struct ps_transfer *transfer = PS_CONTAINER_OF(node, struct ps_transfer, link);
        node = node->next;
        if (!transfer->zombie && transfer->pilot != NULL && transfer->pilot->flight != NULL) {
            ps_transfer_finish(transfer, 503, false, PS_OUTCOME_NONE);
        } else if (!transfer->zombie && transfer->exchange != NULL) {
            struct ps_exchange *exchange = transfer->exchange;
            transfer->error = "shut down";
            ps_exchange_handle(exchange, NULL, NULL);
            ps_transfer_finish(transfer, transfer->started ? transfer->status : 503, false, PS_OUTCOME_NONE);
            ps_exchange_reset(exchange);
        }
    }
}
