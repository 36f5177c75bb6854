#include "gateway/redis_hub.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "io/tls.h"

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

int ps_redis_view_new(struct ps_redis_view **out, size_t room)
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

struct ps_str ps_redis_key_text(const struct ps_redis_hub *hub,
                                const uint8_t key[PS_REDIS_KEY_BYTES], char text[PS_REDIS_KEY_TEXT])
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

void ps_redis_hub_swap_view(struct ps_redis_hub *hub, struct ps_redis_view *view)
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

struct ps_redis_node *ps_redis_hub_find(struct ps_redis_hub *hub, const char *name)
{
    for (size_t i = 0; i < hub->node_count; i++) {
        if (strcmp(hub->nodes[i]->name, name) == 0) {
            return hub->nodes[i];
        }
    }
    return NULL;
}

int ps_redis_hub_add(struct ps_redis_hub *hub, const char *name, const char *where, bool local,
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
    struct ps_redis_node *node = ps_redis_hub_find(hub, name);
    if (node == NULL) {
        err = ps_redis_hub_add(hub, name, name, false, 1, &node);
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
    int err = ps_redis_view_new(&view, map->count + old->count);
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
        ps_redis_hub_swap_view(hub, view);
    }
    atomic_store(&hub->refreshed_at, now);
    return PS_OK;
}

/* --- life ------------------------------------------------------------------------------------- */

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
                        void (*on_node)(void *ctx, const struct ps_redis_node_stats *stats),
                        void *ctx)
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

void ps_redis_hub_assigned(struct ps_redis_hub *hub, const uint8_t key[PS_REDIS_KEY_BYTES],
                           char *name, size_t size)
{
    char text[PS_REDIS_KEY_TEXT];
    struct ps_redis_view *view = ps_redis_hub_view(hub);
    size_t index = ps_redis_view_find(view, key, ps_redis_key_text(hub, key, text));
    snprintf(name, size, "%s", index == SIZE_MAX ? "" : view->nodes[index]->name);
    ps_redis_view_unref(view);
}
