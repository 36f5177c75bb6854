#include "gateway/gateway.h"

#include <stdio.h>
#include <stdlib.h>

#include "io/tls.h"

static struct ps_backend *backend_called(const struct ps_gateway *gateway, const char *name)
{
    for (size_t i = 0; gateway != NULL && i < gateway->backend_count; i++) {
        if (ps_str_eq(ps_str_from(gateway->backends[i]->name), ps_str_from(name))) {
            return gateway->backends[i];
        }
    }
    return NULL;
}

static bool uses_tls(const struct ps_backend *backend)
{
    for (size_t i = 0; i < backend->count; i++) {
        if (backend->endpoints[i]->url.tls) {
            return true;
        }
    }
    return false;
}

static int make_tls(struct ps_gateway *gateway, size_t i, char *reason, size_t size)
{
    const struct ps_backend *backend = gateway->backends[i];
    struct ps_tls_error error;
    if (!uses_tls(backend)) {
        return PS_OK;
    }
    int err = ps_tls_new_client(&gateway->tls[i], backend->tls.ca_file, backend->tls.verify, &error);
    if (err == PS_ETLS) {
        snprintf(reason, size, "upstream %s: %s", backend->name, error.text);
        return PS_EINVAL;
    }
    return err;
}

static int make_backends(struct ps_gateway *gateway, const struct ps_option_list *upstreams,
                         const struct ps_gateway *previous, ps_time now, char *reason, size_t size)
{
    const struct ps_upstream_opts *opts = upstreams->items;
    gateway->backends = calloc(upstreams->count + 1, sizeof(struct ps_backend *));
    gateway->tls = calloc(upstreams->count + 1, sizeof(struct ps_tls *));
    if (gateway->backends == NULL || gateway->tls == NULL) {
        return PS_ENOMEM;
    }
    for (size_t i = 0; i < upstreams->count; i++) {
        struct ps_backend *before = backend_called(previous, opts[i].name);
        int err = ps_backend_new(&gateway->backends[i], &opts[i], i, before, now, reason, size);
        if (err != PS_OK) {
            return err;
        }
        gateway->backend_count++;
        err = make_tls(gateway, i, reason, size);
        if (err != PS_OK) {
            return err;
        }
    }
    return PS_OK;
}

static int parse_trusted(struct ps_gateway *gateway, const struct ps_option_strings *texts, char *reason,
                         size_t size)
{
    gateway->trusted = calloc(texts->count + 1, sizeof *gateway->trusted);
    if (gateway->trusted == NULL) {
        return PS_ENOMEM;
    }
    for (size_t i = 0; i < texts->count; i++) {
        if (ps_network_parse(ps_str_from(texts->items[i]), &gateway->trusted[i]) != PS_OK) {
            snprintf(reason, size, "trusted_proxies: '%s' is not an address or network", texts->items[i]);
            return PS_EINVAL;
        }
        gateway->trusted_count++;
    }
    return PS_OK;
}

static int copy_origins(struct ps_gateway *gateway, const struct ps_option_strings *origins)
{
    gateway->cors_origins.items = calloc(origins->count + 1, sizeof(char *));
    if (gateway->cors_origins.items == NULL) {
        return PS_ENOMEM;
    }
    for (size_t i = 0; i < origins->count; i++) {
        gateway->cors_origins.items[i] = ps_str_dup(ps_str_from(origins->items[i]));
        if (gateway->cors_origins.items[i] == NULL) {
            return PS_ENOMEM;
        }
        gateway->cors_origins.count++;
    }
    return PS_OK;
}

static int fill(struct ps_gateway *gateway, const struct ps_gateway_opts *opts,
                const struct ps_gateway *previous, ps_time now, char *reason, size_t size)
{
    int err = make_backends(gateway, opts->upstreams, previous, now, reason, size);
    if (err == PS_OK && opts->upstreams->count > 0) {
        err = ps_route_table_new(&gateway->routes, opts->routes, opts->upstreams, opts->models, reason, size);
    }
    if (err == PS_OK && opts->tenants->count > 0) {
        err = ps_tenants_new(&gateway->tenants, opts->tenants, previous == NULL ? NULL : previous->tenants,
                             opts->budget, reason, size);
    }
    err = err != PS_OK ? err : parse_trusted(gateway, opts->trusted_proxies, reason, size);
    return err != PS_OK ? err : copy_origins(gateway, opts->cors_origins);
}

int ps_gateway_new(struct ps_gateway **out, const struct ps_gateway_opts *opts,
                   const struct ps_gateway *previous, ps_time now, char *reason, size_t size)
{
    struct ps_gateway *gateway = calloc(1, sizeof *gateway);
    if (gateway == NULL) {
        return PS_ENOMEM;
    }
    atomic_init(&gateway->refs, 1);
    gateway->loopback_only = opts->loopback_only;
    gateway->max_body = opts->max_body;
    gateway->budget = opts->budget;
    gateway->tiers = opts->tiers;
    gateway->flights = opts->flights;
    gateway->tally = opts->tally;
    int err = fill(gateway, opts, previous, now, reason, size);
    if (err != PS_OK) {
        ps_gateway_unref(gateway);
        return err;
    }
    *out = gateway;
    return PS_OK;
}

void ps_gateway_begin(struct ps_gateway *gateway, ps_time now)
{
    for (size_t i = 0; i < gateway->backend_count; i++) {
        ps_backend_begin(gateway->backends[i], now);
    }
}

struct ps_gateway *ps_gateway_ref(struct ps_gateway *gateway)
{
    atomic_fetch_add(&gateway->refs, 1);
    return gateway;
}

void ps_gateway_unref(struct ps_gateway *gateway)
{
    if (gateway == NULL || atomic_fetch_sub(&gateway->refs, 1) != 1) {
        return;
    }
    if (gateway->metrics != NULL) {
        gateway->free_metrics(gateway->metrics);
    }
    ps_route_table_free(gateway->routes);
    for (size_t i = 0; i < gateway->backend_count; i++) {
        ps_backend_unref(gateway->backends[i]);
        ps_tls_unref(gateway->tls[i]);
    }
    free(gateway->backends);
    free(gateway->tls);
    ps_tenants_unref(gateway->tenants);
    free(gateway->trusted);
    for (size_t i = 0; i < gateway->cors_origins.count; i++) {
        free(gateway->cors_origins.items[i]);
    }
    free(gateway->cors_origins.items);
    free(gateway);
}

bool ps_gateway_trusts(const struct ps_gateway *gateway, const struct ps_address *peer)
{
    for (size_t i = 0; i < gateway->trusted_count; i++) {
        if (ps_network_holds(&gateway->trusted[i], peer)) {
            return true;
        }
    }
    return false;
}

bool ps_gateway_allows_origin(const struct ps_gateway *gateway, struct ps_str origin)
{
    for (size_t i = 0; i < gateway->cors_origins.count; i++) {
        struct ps_str allowed = ps_str_from(gateway->cors_origins.items[i]);
        if (ps_str_eq(allowed, PS_STR("*")) || ps_str_ieq(allowed, origin)) {
            return true;
        }
    }
    return false;
}

bool ps_host_is_loopback(struct ps_str host)
{
    struct ps_address address;
    if (host.len > 0 && host.ptr[0] == '[') {
        host = ps_str_skip(ps_str_first(host, ps_str_find(host, ']')), 1);
    } else {
        host = ps_str_first(host, ps_str_find(host, ':'));
    }
    if (ps_str_ieq(host, PS_STR("localhost")) ||
        (host.len > 10 && ps_str_ieq(ps_str_skip(host, host.len - 10), PS_STR(".localhost")))) {
        return true; /* RFC 6761: these names never leave the machine */
    }
    return ps_address_parse_host(host, 0, &address) == PS_OK && ps_address_is_loopback(&address);
}

struct ps_str ps_origin_host(struct ps_str origin)
{
    static const struct ps_str schemes[] = {PS_STR_INIT("http://"), PS_STR_INIT("https://")};
    for (size_t i = 0; i < 2; i++) {
        if (ps_str_istarts_with(origin, schemes[i])) {
            return ps_str_skip(origin, schemes[i].len);
        }
    }
    return PS_STR("");
}
