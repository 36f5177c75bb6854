#include "gateway/redis_hub.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#include "base/check.h"
#include "io/tls.h"

enum { DEFAULT_PORT = 6379 };

/* --- nodes ------------------------------------------------------------------------------------ */

struct ps_redis_node *ps_redis_node_ref(struct ps_redis_node *node)
{
    atomic_fetch_add(&node->refs, 1);
    return node;
}

void ps_redis_node_unref(struct ps_redis_node *node)
{
    if (node != NULL && atomic_fetch_sub(&node->refs, 1) == 1) {
        pthread_mutex_destroy(&node->lock);
        free(node->latency);
        free(node->name);
        free(node->where);
        free(node);
    }
}

void ps_redis_node_record(struct ps_redis_node *node, ps_span latency)
{
    pthread_mutex_lock(&node->lock);
    ps_hist_record(node->latency, latency);
    pthread_mutex_unlock(&node->lock);
}

static int node_new(struct ps_redis_node **out, const char *name, const char *where, bool local,
                    uint64_t weight)
{
    struct ps_redis_node *node = calloc(1, sizeof *node);
    if (node == NULL) {
        return PS_ENOMEM;
    }
    atomic_init(&node->refs, 1);
    pthread_mutex_init(&node->lock, NULL);
    node->local = local;
    node->weight = weight;
    node->name = ps_str_dup(ps_str_from(name));
    node->where = ps_str_dup(ps_str_from(where));
    node->latency = calloc(1, sizeof *node->latency);
    if (node->name == NULL || node->where == NULL || node->latency == NULL) {
        ps_redis_node_unref(node);
        return PS_ENOMEM;
    }
    *out = node;
    return PS_OK;
}

/* --- views ------------------------------------------------------------------------------------ */

void ps_redis_view_unref(struct ps_redis_view *view)
{
    if (view != NULL && atomic_fetch_sub(&view->refs, 1) == 1) {
        for (size_t i = 0; i < view->count; i++) {
            ps_redis_node_unref(view->nodes[i]);
        }
        free(view->nodes);
        ps_ring_free(view->ring);
        free(view);
    }
}

static int view_new(struct ps_redis_view **out, size_t room)
{
    struct ps_redis_view *view = calloc(1, sizeof *view);
    if (view == NULL) {
        return PS_ENOMEM;
    }
    atomic_init(&view->refs, 1);
    view->nodes = calloc(room, sizeof(struct ps_redis_node *));
    if (view->nodes == NULL) {
        free(view);
        return PS_ENOMEM;
    }
    for (size_t slot = 0; slot < PS_REDIS_SLOTS; slot++) {
        view->slot_owners[slot] = PS_REDIS_NOBODY;
    }
    *out = view;
    return PS_OK;
}

struct ps_redis_view *ps_redis_hub_view(struct ps_redis_hub *hub)
{
    pthread_mutex_lock(&hub->lock);
    struct ps_redis_view *view = hub->view;
    atomic_fetch_add(&view->refs, 1);
    pthread_mutex_unlock(&hub->lock);
    return view;
}

struct ps_str ps_redis_key_text(const struct ps_redis_hub *hub, const uint8_t key[PS_REDIS_KEY_BYTES],
                                char text[PS_REDIS_KEY_TEXT])
{
    static const char digits[] = "0123456789abcdef";
    size_t len = strlen(hub->prefix);
    memcpy(text, hub->prefix, len);
    text[len++] = '1';
    text[len++] = ':';
    for (size_t i = 0; i < PS_REDIS_KEY_BYTES; i++) {
        text[len++] = digits[key[i] >> 4];
        text[len++] = digits[key[i] & 15];
    }
    return (struct ps_str){text, len};
}

size_t ps_redis_view_find(const struct ps_redis_view *view, const uint8_t key[PS_REDIS_KEY_BYTES],
                          struct ps_str text)
{
    if (view->ring != NULL) {
        return ps_ring_find(view->ring, key);
    }
    uint16_t owner = view->slot_owners[ps_redis_slot(text)];
    return owner == PS_REDIS_NOBODY ? SIZE_MAX : owner;
}

/* Puts the view in the old one's place and forgets nodes that nobody holds any more. */
static void swap_view(struct ps_redis_hub *hub, struct ps_redis_view *view)
{
    pthread_mutex_lock(&hub->lock);
    struct ps_redis_view *old = hub->view;
    view->generation = old == NULL ? 1 : old->generation + 1;
    hub->view = view;
    atomic_store(&hub->generation, view->generation);
    pthread_mutex_unlock(&hub->lock);
    ps_redis_view_unref(old);
    pthread_mutex_lock(&hub->lock);
    size_t kept = 0;
    for (size_t i = 0; i < hub->node_count; i++) {
        if (atomic_load(&hub->nodes[i]->refs) == 1) {
            ps_redis_node_unref(hub->nodes[i]);
        } else {
            hub->nodes[kept++] = hub->nodes[i];
        }
    }
    hub->node_count = kept;
    pthread_mutex_unlock(&hub->lock);
}

/* Under the mutex, or before anybody else knows the hub. */
static struct ps_redis_node *find_node(struct ps_redis_hub *hub, const char *name)
{
    for (size_t i = 0; i < hub->node_count; i++) {
        if (strcmp(hub->nodes[i]->name, name) == 0) {
            return hub->nodes[i];
        }
    }
    return NULL;
}

static int add_node(struct ps_redis_hub *hub, const char *name, const char *where, bool local,
                    uint64_t weight, struct ps_redis_node **out)
{
    if (hub->node_count == PS_REDIS_NODES_MAX) {
        return PS_ELIMIT;
    }
    int err = node_new(out, name, where, local, weight);
    if (err == PS_OK) {
        hub->nodes[hub->node_count++] = *out;
    }
    return err;
}

int ps_redis_hub_node(struct ps_redis_hub *hub, const char *name, struct ps_redis_node **out)
{
    int err = PS_OK;
    pthread_mutex_lock(&hub->lock);
    struct ps_redis_node *node = find_node(hub, name);
    if (node == NULL) {
        err = add_node(hub, name, name, false, 1, &node);
    }
    if (err == PS_OK) {
        *out = ps_redis_node_ref(node);
    }
    pthread_mutex_unlock(&hub->lock);
    return err;
}

static bool has_node(const struct ps_redis_view *view, const struct ps_redis_node *node)
{
    for (size_t i = 0; i < view->count; i++) {
        if (view->nodes[i] == node) {
            return true;
        }
    }
    return false;
}

/* The nodes of the configuration stay known: they may have a name that always leads to somebody. */
static void add_guides(struct ps_redis_view *view, const struct ps_redis_view *old)
{
    for (size_t i = 0; i < old->count; i++) {
        if (old->nodes[i]->weight == 0 && !has_node(view, old->nodes[i])) {
            view->nodes[view->count++] = ps_redis_node_ref(old->nodes[i]);
        }
    }
}

int ps_redis_hub_set_map(struct ps_redis_hub *hub, const struct ps_redis_map *map, ps_time now)
{
    struct ps_redis_view *old = ps_redis_hub_view(hub);
    struct ps_redis_view *view = NULL;
    int err = view_new(&view, map->count + old->count);
    for (size_t i = 0; err == PS_OK && i < map->count; i++) {
        err = ps_redis_hub_node(hub, map->names[i], &view->nodes[i]);
        view->count += err == PS_OK ? 1 : 0;
    }
    if (err != PS_OK) {
        ps_redis_view_unref(view);
        ps_redis_view_unref(old);
        return err;
    }
    view->owners = view->count;
    memcpy(view->slot_owners, map->owners, sizeof view->slot_owners);
    add_guides(view, old);
    bool same = view->count == old->count && view->owners == old->owners &&
                memcmp(view->nodes, old->nodes, view->count * sizeof *view->nodes) == 0 &&
                memcmp(view->slot_owners, old->slot_owners, sizeof view->slot_owners) == 0;
    ps_redis_view_unref(old);
    if (same) {
        ps_redis_view_unref(view);
    } else {
        swap_view(hub, view);
    }
    atomic_store(&hub->refreshed_at, now);
    return PS_OK;
}

/* --- the configuration ------------------------------------------------------------------------ */

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
    if (rest.len > 0 && (rest.ptr[0] != ':' || ps_str_to_u64(ps_str_skip(rest, 1), &port) != PS_OK)) {
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
        snprintf(reason, size, "a node's url must be host:port, redis://host:port, rediss://host:port or "
                               "unix:///path; names and passwords are options of their own");
        return PS_EINVAL;
    }
    const char *name = opts->name != NULL && !hub->cluster ? opts->name : place.name;
    if (!is_name(name)) {
        snprintf(reason, size, "a node's name must have 1 to %d printable characters", PS_REDIS_NAME_MAX - 1);
        return PS_EINVAL;
    }
    if (find_node(hub, name) != NULL) {
        snprintf(reason, size, "the node %s is there twice", name);
        return PS_EINVAL;
    }
    if (hub->cluster && place.local) {
        snprintf(reason, size, "a cluster is not reached by a Unix socket: its nodes name each other by address");
        return PS_EINVAL;
    }
    hub->use_tls = hub->use_tls || place.tls;
    int err = add_node(hub, name, place.name, place.local, hub->cluster ? 0 : opts->weight, &node);
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

static int configure_nodes(struct ps_redis_hub *hub, const struct ps_option_list *list, char *reason,
                           size_t size)
{
    const struct ps_redis_node_opts *items = list->items;
    struct ps_redis_view *view = NULL;
    if (list->count == 0 || list->count > PS_RING_NODES_MAX) {
        snprintf(reason, size, "there must be 1 to %d nodes", PS_RING_NODES_MAX);
        return PS_EINVAL;
    }
    int err = view_new(&view, list->count);
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
    swap_view(hub, view);
    return PS_OK;
}

static int configure_tls(struct ps_redis_hub *hub, const struct ps_redis_tls_opts *opts, char *reason,
                         size_t size)
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
    if (prefix.len > 200 || ps_str_find(prefix, '{') < prefix.len || ps_str_find(prefix, '}') < prefix.len) {
        snprintf(reason, size, "prefix must have at most 200 bytes and no { or }, which a cluster places keys by");
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

struct ps_redis_hub *ps_redis_hub_ref(struct ps_redis_hub *hub)
{
    atomic_fetch_add(&hub->refs, 1);
    return hub;
}

/* A secret does not stay in memory that somebody else gets. */
static void free_secret(char *text)
{
    if (text != NULL) {
        explicit_bzero(text, strlen(text));
        free(text);
    }
}

void ps_redis_hub_unref(struct ps_redis_hub *hub)
{
    if (hub == NULL || atomic_fetch_sub(&hub->refs, 1) != 1) {
        return;
    }
    ps_redis_view_unref(hub->view);
    for (size_t i = 0; i < hub->node_count; i++) {
        ps_redis_node_unref(hub->nodes[i]);
    }
    pthread_mutex_destroy(&hub->lock);
    ps_tls_unref(hub->tls);
    free_secret(hub->password);
    free_secret(hub->sign_key);
    free(hub->nodes);
    free(hub->username);
    free(hub->server_name);
    free(hub->prefix);
    free(hub->log_key);
    free(hub->channel);
    free(hub);
}

void ps_redis_hub_tell(struct ps_redis_hub *hub, const struct ps_redis_node *node, bool up,
                       const char *reason)
{
    if (hub->observer.on_change != NULL) {
        hub->observer.on_change(hub->observer.ctx, node->name, up, reason);
    }
}

/* --- figures ---------------------------------------------------------------------------------- */

static uint64_t slots_of(const struct ps_redis_view *view, size_t index)
{
    if (view->ring != NULL) {
        return ps_ring_slots(view->ring, index);
    }
    uint64_t slots = 0;
    for (size_t slot = 0; slot < PS_REDIS_SLOTS; slot++) {
        slots += view->slot_owners[slot] == index;
    }
    return slots;
}

static struct ps_redis_node_stats stats_of(const struct ps_redis_view *view, size_t index)
{
    struct ps_redis_node *node = view->nodes[index];
    uint64_t keys = atomic_load(&node->keys);
    uint64_t slots = index < view->owners ? slots_of(view, index) : 0;
    double all = view->ring != NULL ? PS_RING_SLOTS : PS_REDIS_SLOTS;
    return (struct ps_redis_node_stats){
        .node = node->name,
        .state = ps_redis_breaker_state(&node->breaker),
        .weight = node->weight > 0 ? node->weight : 1,
        .slots = slots,
        .share_percent = 100.0 * (double)slots / all,
        .keys_known = keys > 0,
        .keys = keys > 0 ? keys - 1 : 0,
        .operations = atomic_load(&node->operations),
        .gets = atomic_load(&node->gets),
        .hits = atomic_load(&node->hits),
        .misses = atomic_load(&node->misses),
        .late = atomic_load(&node->late),
        .rejected = atomic_load(&node->rejected),
        .sets = atomic_load(&node->sets),
        .set_failures = atomic_load(&node->set_failures),
        .errors = atomic_load(&node->errors),
        .redirects = atomic_load(&node->redirects),
        .bytes_in = atomic_load(&node->bytes_in),
        .bytes_out = atomic_load(&node->bytes_out),
        .opened = atomic_load(&node->breaker.opened),
        .connections = atomic_load(&node->connections),
    };
}

void ps_redis_hub_stats(struct ps_redis_hub *hub,
                        void (*on_node)(void *ctx, const struct ps_redis_node_stats *stats), void *ctx)
{
    struct ps_redis_view *view = ps_redis_hub_view(hub);
    struct ps_hist *copy = malloc(sizeof *copy);
    size_t count = view->owners > 0 ? view->owners : view->count;
    for (size_t i = 0; copy != NULL && i < count; i++) {
        struct ps_redis_node_stats stats = stats_of(view, i);
        pthread_mutex_lock(&view->nodes[i]->lock);
        *copy = *view->nodes[i]->latency;
        pthread_mutex_unlock(&view->nodes[i]->lock);
        stats.latency = copy;
        on_node(ctx, &stats);
    }
    free(copy);
    ps_redis_view_unref(view);
}

double ps_redis_hub_imbalance_percent(const struct ps_redis_hub *hub)
{
    return hub->cluster ? 0.0 : ps_ring_imbalance_percent(hub->view->ring);
}

void ps_redis_hub_assigned(struct ps_redis_hub *hub, const uint8_t key[PS_REDIS_KEY_BYTES], char *name,
                           size_t size)
{
    char text[PS_REDIS_KEY_TEXT];
    struct ps_redis_view *view = ps_redis_hub_view(hub);
    size_t index = ps_redis_view_find(view, key, ps_redis_key_text(hub, key, text));
    snprintf(name, size, "%s", index == SIZE_MAX ? "" : view->nodes[index]->name);
    ps_redis_view_unref(view);
}
