/* Options become a hub: URLs, names, TLS, secrets; see redis.h. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#include "base/check.h"
#include "gateway/redis_hub.h"
#include "io/tls.h"

enum { DEFAULT_PORT = 6379 };

/* Where a node is, of its URL: "host:port" in canonical form, or the path of a socket. */
struct place {
    char name[PS_REDIS_NAME_MAX];
    bool local;
    bool tls;
};

static bool skip_prefix(struct ps_str *text, struct ps_str prefix)
{
    bool has = ps_str_istarts_with(*text, prefix);
    *text = has ? ps_str_skip(*text, prefix.len) : *text;
    return has;
}

static int read_host_port(struct ps_str text, struct place *place)
{
    struct ps_str host = text;
    uint64_t port = DEFAULT_PORT;
    struct ps_str rest = {NULL, 0};
    if (text.len > 0 && text.ptr[0] == '[') {
        size_t close = ps_str_find(text, ']');
        host = ps_str_skip(ps_str_first(text, close), 1);
        rest = ps_str_skip(text, close + 1);
        if (close == text.len || ps_str_find(host, ':') == host.len) {
            return PS_EINVAL;
        }
    } else {
        size_t colon = ps_str_find(text, ':');
        host = ps_str_first(text, colon);
        rest = ps_str_skip(text, colon);
    }
    if (rest.len > 0 &&
        (rest.ptr[0] != ':' || ps_str_to_u64(ps_str_skip(rest, 1), &port) != PS_OK)) {
        return PS_EINVAL;
    }
    return ps_redis_name(host, port, place->name);
}

static int read_url(struct ps_str text, struct place *place)
{
    *place = (struct place){.local = false};
    if (skip_prefix(&text, PS_STR("unix://"))) {
        struct sockaddr_un un;
        place->local = true;
        if (text.len < 2 || text.ptr[0] != '/' || text.len >= sizeof un.sun_path) {
            return PS_EINVAL;
        }
        snprintf(place->name, sizeof place->name, "%.*s", PS_STR_ARG(text));
        return PS_OK;
    }
    place->tls = skip_prefix(&text, PS_STR("rediss://"));
    if (!place->tls) {
        skip_prefix(&text, PS_STR("redis://"));
    }
    if (ps_str_ends_with(text, PS_STR("/"))) {
        text = ps_str_first(text, text.len - 1);
    }
    return read_host_port(text, place);
}

static bool is_name(const char *name)
{
    size_t len = strlen(name);
    bool fine = len > 0 && len < PS_REDIS_NAME_MAX;
    for (size_t i = 0; fine && i < len; i++) {
        fine = name[i] > ' ' && name[i] != 0x7f;
    }
    return fine;
}

/* Adds a configured node. A cluster's has weight 0: it guides, and has keys only by the map. */
static int configure_node(struct ps_redis_hub *hub, struct ps_redis_view *view,
                          const struct ps_redis_node_opts *opts, char *reason, size_t size)
{
    struct place place;
    struct ps_redis_node *node = NULL;
    if (opts->url == NULL || read_url(ps_str_from(opts->url), &place) != PS_OK) {
        snprintf(reason, size,
                 "a node's url must be host:port, redis://host:port, rediss://host:port or "
                 "unix:///path; names and passwords are options of their own");
        return PS_EINVAL;
    }
    const char *name = opts->name != NULL && !hub->cluster ? opts->name : place.name;
    if (!is_name(name)) {
        snprintf(reason, size, "a node's name must have 1 to %d printable characters",
                 PS_REDIS_NAME_MAX - 1);
        return PS_EINVAL;
    }
    if (ps_redis_hub_find(hub, name) != NULL) {
        snprintf(reason, size, "the node %s is there twice", name);
        return PS_EINVAL;
    }
    if (hub->cluster && place.local) {
        snprintf(reason, size,
                 "a cluster is not reached by a Unix socket: its nodes name each other by address");
        return PS_EINVAL;
    }
    hub->use_tls = hub->use_tls || place.tls;
    int err = ps_redis_hub_add(hub, name, place.name, place.local, hub->cluster ? 0 : opts->weight,
                               &node);
    if (err == PS_OK) {
        view->nodes[view->count++] = ps_redis_node_ref(node);
    }
    return err;
}

static int make_ring(struct ps_redis_view *view)
{
    struct ps_ring_node nodes[PS_RING_NODES_MAX];
    for (size_t i = 0; i < view->count; i++) {
        nodes[i] = (struct ps_ring_node){.name = ps_str_from(view->nodes[i]->name),
                                         .weight = view->nodes[i]->weight};
    }
    view->owners = view->count;
    return ps_ring_new(&view->ring, nodes, view->count);
}

static int configure_nodes(struct ps_redis_hub *hub, const struct ps_option_list *list,
                           char *reason, size_t size)
{
    const struct ps_redis_node_opts *items = list->items;
    struct ps_redis_view *view = NULL;
    if (list->count == 0 || list->count > PS_RING_NODES_MAX) {
        snprintf(reason, size, "there must be 1 to %d nodes", PS_RING_NODES_MAX);
        return PS_EINVAL;
    }
    int err = ps_redis_view_new(&view, list->count);
    for (size_t i = 0; err == PS_OK && i < list->count; i++) {
        err = configure_node(hub, view, &items[i], reason, size);
    }
    if (err == PS_OK && !hub->cluster) {
        err = make_ring(view);
        if (err == PS_EINVAL) {
            snprintf(reason, size, "a node's weight must be 1 to %d", PS_RING_WEIGHT_MAX);
        }
    }
    if (err != PS_OK) {
        ps_redis_view_unref(view);
        return err;
    }
    ps_redis_hub_swap_view(hub, view);
    return PS_OK;
}

static int configure_tls(struct ps_redis_hub *hub, const struct ps_redis_tls_opts *opts,
                         char *reason, size_t size)
{
    struct ps_tls_error error = {.text = ""};
    hub->use_tls = hub->use_tls || opts->enabled;
    if (!hub->use_tls) {
        return PS_OK;
    }
    if ((opts->certificate_file == NULL) != (opts->key_file == NULL)) {
        snprintf(reason, size, "tls.certificate_file and tls.key_file belong together");
        return PS_EINVAL;
    }
    int err = ps_tls_new_client(&hub->tls, opts->ca_file, opts->verify, &error);
    if (err == PS_OK && opts->certificate_file != NULL) {
        err = ps_tls_use_certificate(hub->tls, opts->certificate_file, opts->key_file, &error);
    }
    if (err == PS_ETLS) {
        snprintf(reason, size, "%s", error.text);
        return PS_EINVAL;
    }
    return err;
}

static int copy_text(const char *text, char **out)
{
    if (text == NULL || text[0] == '\0') {
        return PS_OK;
    }
    *out = ps_str_dup(ps_str_from(text));
    return *out == NULL ? PS_ENOMEM : PS_OK;
}

/* The numbers, and copies of the texts. */
static int copy_opts(struct ps_redis_hub *hub, const struct ps_redis_opts *opts)
{
    char name[512];
    hub->opts = *opts;
    hub->opts.nodes = (struct ps_option_list){.count = 0};
    hub->opts.username = hub->opts.password = hub->opts.prefix = hub->opts.sign_key = NULL;
    hub->opts.tls = (struct ps_redis_tls_opts){.enabled = false};
    int err = copy_text(opts->username, &hub->username);
    err = err != PS_OK ? err : copy_text(opts->password, &hub->password);
    err = err != PS_OK ? err : copy_text(opts->sign_key, &hub->sign_key);
    err = err != PS_OK ? err : copy_text(opts->tls.server_name, &hub->server_name);
    const char *prefix = opts->prefix == NULL ? "" : opts->prefix;
    hub->prefix = ps_str_dup(ps_str_from(prefix));
    /* One slot for both, whatever the prefix; the number is the version of the records' place. */
    snprintf(name, sizeof name, "%s{purge}:log:1", prefix);
    err = err != PS_OK ? err : copy_text(name, &hub->log_key);
    snprintf(name, sizeof name, "%s{purge}:wake:1", prefix);
    err = err != PS_OK ? err : copy_text(name, &hub->channel);
    return err != PS_OK ? err : hub->prefix == NULL ? PS_ENOMEM : PS_OK;
}

static int check_opts(const struct ps_redis_opts *opts, char *reason, size_t size)
{
    struct ps_str prefix = ps_str_from(opts->prefix);
    if (prefix.len > 200 || ps_str_find(prefix, '{') < prefix.len ||
        ps_str_find(prefix, '}') < prefix.len) {
        snprintf(
            reason, size,
            "prefix must have at most 200 bytes and no { or }, which a cluster places keys by");
        return PS_EINVAL;
    }
    if (opts->cluster && opts->database != 0) {
        snprintf(reason, size, "a cluster has only database 0");
        return PS_EINVAL;
    }
    if (opts->username != NULL && opts->username[0] != '\0' && opts->password == NULL) {
        snprintf(reason, size, "username needs a password");
        return PS_EINVAL;
    }
    return PS_OK;
}

int ps_redis_hub_new(struct ps_redis_hub **out, const struct ps_redis_opts *opts,
                     const struct ps_redis_observer *observer, char *reason, size_t size)
{
    snprintf(reason, size, "%s", "");
    int err = check_opts(opts, reason, size);
    struct ps_redis_hub *hub = err == PS_OK ? calloc(1, sizeof *hub) : NULL;
    if (hub == NULL) {
        return err == PS_OK ? PS_ENOMEM : err;
    }
    atomic_init(&hub->refs, 1);
    pthread_mutex_init(&hub->lock, NULL);
    hub->observer = *observer;
    hub->cluster = opts->cluster;
    hub->nodes = calloc(PS_REDIS_NODES_MAX, sizeof(struct ps_redis_node *));
    err = hub->nodes == NULL ? PS_ENOMEM : copy_opts(hub, opts);
    err = err != PS_OK ? err : configure_nodes(hub, &opts->nodes, reason, size);
    err = err != PS_OK ? err : configure_tls(hub, &opts->tls, reason, size);
    hub->opts.breaker.backoff_max = opts->breaker.backoff_max > opts->breaker.backoff
                                        ? opts->breaker.backoff_max
                                        : opts->breaker.backoff;
    if (err != PS_OK) {
        ps_redis_hub_unref(hub);
        return err;
    }
    *out = hub;
    return PS_OK;
}
