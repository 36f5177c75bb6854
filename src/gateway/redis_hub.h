/* redis_hub - inside of redis: the nodes and the map that all threads share.
 *
 * A view says which nodes there are and which has a key. It never changes; a cluster's new map
 * makes a new view, and each thread takes it when it sees that the generation is another.
 *
 * Thread: any, unless it says otherwise.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_REDIS_HUB_H
#define PS_GATEWAY_REDIS_HUB_H

#include <pthread.h>
#include <stdatomic.h>

#include "gateway/redis.h"
#include "gateway/redis_slots.h"
#include "gateway/ring.h"
#include "io/address.h"

struct ps_tls;

#define PS_REDIS_NODES_MAX 2048                   /* known at a time */
#define PS_REDIS_REFRESH   (100 * PS_MILLISECOND) /* at most one question for the map in this time \
                                                   */

/* One server. Counted. */
struct ps_redis_node {
    /* constant */
    char *name;  /* canonical, or as configured */
    char *where; /* host:port, or the path of a Unix socket */
    bool local;  /* a Unix socket */
    uint64_t weight;

    /* shared, atomic */
    _Atomic uint32_t refs;
    struct ps_redis_breaker breaker;
    _Atomic uint32_t next_address; /* of those that its name has; moves when one fails */
    _Atomic ps_time beat_at;       /* when it is asked next how it is */
    _Atomic uint64_t keys;         /* 1 + what it said; 0 = unknown */
    _Atomic uint64_t operations;
    _Atomic uint64_t gets;
    _Atomic uint64_t hits;
    _Atomic uint64_t misses;
    _Atomic uint64_t late;
    _Atomic uint64_t rejected;
    _Atomic uint64_t sets;
    _Atomic uint64_t set_failures;
    _Atomic uint64_t errors;
    _Atomic uint64_t redirects;
    _Atomic uint64_t bytes_in;
    _Atomic uint64_t bytes_out;
    _Atomic uint64_t connections;

    /* shared, under the mutex, which is held for one value or one copy */
    pthread_mutex_t lock;
    struct ps_hist *latency;
};

void ps_redis_node_unref(struct ps_redis_node *node); /* NULL is fine */
struct ps_redis_node *ps_redis_node_ref(struct ps_redis_node *node);
void ps_redis_node_record(struct ps_redis_node *node, ps_span latency);

static inline void ps_redis_count(_Atomic uint64_t *counter, uint64_t by)
{
    atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

/* Which nodes there are. The owners come first; behind them those that only know the way. */
struct ps_redis_view {
    _Atomic uint32_t refs;
    uint64_t generation;
    size_t count;
    size_t owners; /* nodes that have keys */
    struct ps_redis_node **nodes;
    struct ps_ring *ring;                 /* independent nodes */
    uint16_t slot_owners[PS_REDIS_SLOTS]; /* cluster; PS_REDIS_NOBODY */
};

struct ps_redis_hub {
    /* constant */
    bool cluster;
    bool use_tls;
    struct ps_tls *tls;
    char *server_name;
    char *username;
    char *password;
    char *prefix;
    char *sign_key;
    char *log_key;
    char *channel;
    struct ps_redis_opts opts; /* only its numbers */
    struct ps_redis_observer observer;

    /* shared, atomic */
    _Atomic uint32_t refs;
    _Atomic uint64_t generation;   /* of the view */
    _Atomic ps_time refresh_at;    /* no question for the map before this */
    _Atomic ps_time refreshed_at;  /* when the last map came */
    _Atomic uint32_t refresh_turn; /* who is asked next */

    /* shared, under the mutex, which is held for a few pointers */
    pthread_mutex_t lock;
    struct ps_redis_view *view;
    struct ps_redis_node **nodes; /* all that are known */
    size_t node_count;
};

/* The current view, with a reference for the caller. */
struct ps_redis_view *ps_redis_hub_view(struct ps_redis_hub *hub);
void ps_redis_view_unref(struct ps_redis_view *view);

/* The index of the node that has a slot or key, or SIZE_MAX. `key` is the cache's, `text` its name
 * in the server. */
size_t ps_redis_view_find(const struct ps_redis_view *view, const uint8_t key[PS_REDIS_KEY_BYTES],
                          struct ps_str text);

/* The name of a cache key in the server: prefix, version, 64 hex digits. A view of `text`. */
#define PS_REDIS_KEY_TEXT 280
struct ps_str ps_redis_key_text(const struct ps_redis_hub *hub,
                                const uint8_t key[PS_REDIS_KEY_BYTES],
                                char text[PS_REDIS_KEY_TEXT]);

/* The node of this canonical name, known or new, with a reference. PS_OK, PS_ELIMIT or PS_ENOMEM.
 */
PS_MUST_CHECK int ps_redis_hub_node(struct ps_redis_hub *hub, const char *name,
                                    struct ps_redis_node **out);

/* Makes the view of a cluster's map. PS_OK, PS_ELIMIT or PS_ENOMEM: the old one stays. */
PS_MUST_CHECK int ps_redis_hub_set_map(struct ps_redis_hub *hub, const struct ps_redis_map *map,
                                       ps_time now);

/* For the setup. An empty view with room for so many nodes; PS_OK or PS_ENOMEM. The view becomes
 * the current one, and nodes that nobody holds any more are forgotten. The other two: under the
 * mutex, or before anybody else knows the hub; PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_redis_view_new(struct ps_redis_view **out, size_t room);
void ps_redis_hub_swap_view(struct ps_redis_hub *hub, struct ps_redis_view *view);
struct ps_redis_node *ps_redis_hub_find(struct ps_redis_hub *hub, const char *name);
PS_MUST_CHECK int ps_redis_hub_add(struct ps_redis_hub *hub, const char *name, const char *where,
                                   bool local, uint64_t weight, struct ps_redis_node **out);

/* Tells the observer. */
void ps_redis_hub_tell(struct ps_redis_hub *hub, const struct ps_redis_node *node, bool up,
                       const char *reason);

#endif
