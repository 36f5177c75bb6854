#include "daemon/site.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/caches.h"
#include "gateway/traffic.h"
#include "io/tls.h"

static int make_tokens(struct ps_site *site)
{
    const struct ps_option_list *list = &site->config->admin.tokens;
    const struct ps_token_opts *opts = list->items;
    site->tokens = calloc(list->count + 1, sizeof *site->tokens);
    if (site->tokens == NULL) {
        return PS_ENOMEM;
    }
    for (size_t i = 0; i < list->count; i++) {
        struct ps_site_token *token = &site->tokens[site->token_count++];
        token->role = (enum ps_role)opts[i].role;
        SHA256((const unsigned char *)opts[i].token, strlen(opts[i].token), token->digest);
    }
    return PS_OK;
}

static int make_tls(struct ps_site *site, char *reason, size_t size)
{
    const struct ps_tls_opts *opts = &site->config->tls;
    struct ps_tls_error error;
    if (opts->certificate == NULL) {
        return PS_OK;
    }
    int err = ps_tls_new_server(&site->tls, opts->certificate, opts->key_file, &error);
    if (err == PS_ETLS) {
        snprintf(reason, size, "tls: %s", error.text);
        return PS_EINVAL;
    }
    return err;
}

static int make_gateway(struct ps_site *site, const struct ps_site *previous, struct ps_budget *budget,
                        struct ps_metrics *metrics, struct ps_caches *caches, ps_time now, char *reason,
                        size_t size)
{
    const struct ps_config *config = site->config;
    bool local = ps_config_is_loopback(&config->listen);
    struct ps_gateway_opts opts = {
        .routes = &config->routes,
        .upstreams = &config->upstreams,
        .models = &config->models,
        .tenants = &config->tenants,
        .trusted_proxies = &config->trusted_proxies,
        .cors_origins = &config->cors.origins,
        .loopback_only = local && config->tenants.count == 0 && !config->tenants_open,
        .max_body = config->max_body,
        .budget = budget,
    };
    if (caches != NULL) {
        ps_caches_lend(caches, &opts);
    }
    const struct ps_gateway *before = previous == NULL ? NULL : previous->gateway;
    int err = ps_gateway_new(&site->gateway, &opts, before, now, reason, size);
    err = err != PS_OK ? err : ps_traffic_bind(site->gateway, metrics);
    if (err == PS_OK) {
        ps_gateway_begin(site->gateway, now); /* nothing of the site can fail after this */
    }
    return err;
}

int ps_site_new_take(struct ps_site **out, struct ps_config *config, const struct ps_site *previous,
                     struct ps_budget *budget, struct ps_metrics *metrics, struct ps_caches *caches,
                     ps_time now, char *reason, size_t size)
{
    struct ps_site *site = calloc(1, sizeof *site);
    snprintf(reason, size, "out of memory");
    if (site == NULL) {
        ps_config_free(config);
        return PS_ENOMEM;
    }
    atomic_init(&site->refs, 1);
    site->config = config;
    site->split = config->admin.listen.count > 0;
    int err = make_tokens(site);
    err = err != PS_OK ? err : make_tls(site, reason, size);
    err = err != PS_OK ? err : make_gateway(site, previous, budget, metrics, caches, now, reason, size);
    if (err != PS_OK) {
        ps_site_unref(site);
        return err;
    }
    *out = site;
    return PS_OK;
}

struct ps_site *ps_site_ref(struct ps_site *site)
{
    atomic_fetch_add(&site->refs, 1);
    return site;
}

void ps_site_unref(struct ps_site *site)
{
    if (site != NULL && atomic_fetch_sub(&site->refs, 1) == 1) {
        ps_gateway_unref(site->gateway);
        ps_tls_unref(site->tls);
        free(site->tokens);
        ps_config_free(site->config);
        free(site);
    }
}

void ps_site_digest(struct ps_str token, unsigned char digest[32])
{
    SHA256((const unsigned char *)token.ptr, token.len, digest);
}

/* Its place in the configuration; token_count when it is none of ours. All are compared, whichever fits. */
static size_t find_token(const struct ps_site *site, const unsigned char digest[32])
{
    struct ps_str given = {(const char *)digest, 32};
    size_t place = site->token_count;
    for (size_t i = 0; i < site->token_count; i++) {
        struct ps_str ours = {(const char *)site->tokens[i].digest, sizeof site->tokens[i].digest};
        if (ps_str_eq_constant_time(ours, given)) {
            place = i;
        }
    }
    return place;
}

enum ps_role ps_site_role(const struct ps_site *site, const unsigned char digest[32])
{
    size_t place = find_token(site, digest);
    return place == site->token_count ? PS_ROLE_NONE : site->tokens[place].role;
}

const char *ps_site_token_name(const struct ps_site *site, const unsigned char digest[32])
{
    const struct ps_token_opts *opts = site->config->admin.tokens.items;
    size_t place = find_token(site, digest);
    return place == site->token_count ? NULL : opts[place].name;
}

void ps_site_server_opts(const struct ps_site *site, struct ps_server_opts *opts)
{
    const struct ps_config *config = site->config;
    ps_server_opts_init(opts);
    opts->limits.max_head_bytes = (uint32_t)config->max_head;
    opts->limits.max_headers = (uint32_t)config->max_headers;
    opts->max_body = 0; /* counted where the route is known */
    opts->max_connections = (uint32_t)config->max_connections;
    opts->head_timeout = config->head_timeout;
    opts->body_timeout = config->body_timeout;
    opts->keep_alive_timeout = config->keep_alive_timeout;
    opts->send_timeout = config->send_timeout;
    opts->budget = site->gateway->budget;
}
