#include "daemon/peers.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/rng.h"
#include "base/str.h"
#include "io/address.h"

enum { SHARDS = 64, BUCKETS = 64, KEY_MAX = 8 };

/* IPv4: 4 bytes; IPv6: the first 8. */
struct key {
    unsigned char len; /* 0 = not counted */
    unsigned char bytes[KEY_MAX];
};

struct peer {
    struct peer *next;
    struct key key;
    uint32_t connections;
};

struct shard {
    pthread_mutex_t mutex;
    struct peer *buckets[BUCKETS];
};

struct ps_peers {
    _Atomic uint32_t max;
    _Atomic size_t count;
    uint64_t seed;
    size_t ready; /* shards with a mutex */
    struct shard shards[SHARDS];
};

static uint64_t random_seed(void)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed) {
        struct ps_rng rng = ps_rng_make((uint64_t)ps_clock_now(&ps_clock_real));
        seed = ps_rng_next(&rng);
    }
    return seed;
}

int ps_peers_new(struct ps_peers **out, uint32_t max_per_address)
{
    struct ps_peers *peers = calloc(1, sizeof *peers);
    if (peers == NULL) {
        return PS_ENOMEM;
    }
    atomic_init(&peers->max, max_per_address);
    peers->seed = random_seed();
    for (; peers->ready < SHARDS; peers->ready++) {
        if (pthread_mutex_init(&peers->shards[peers->ready].mutex, NULL) != 0) {
            ps_peers_free(peers);
            return PS_ENOMEM;
        }
    }
    *out = peers;
    return PS_OK;
}

static void shard_fini(struct shard *shard)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        while (shard->buckets[i] != NULL) {
            struct peer *peer = shard->buckets[i];
            shard->buckets[i] = peer->next;
            free(peer);
        }
    }
    pthread_mutex_destroy(&shard->mutex);
}

void ps_peers_free(struct ps_peers *peers)
{
    if (peers == NULL) {
        return;
    }
    for (size_t i = 0; i < peers->ready; i++) {
        shard_fini(&peers->shards[i]);
    }
    free(peers);
}

void ps_peers_set_max(struct ps_peers *peers, uint32_t max_per_address)
{
    atomic_store(&peers->max, max_per_address);
}

static struct key key_of(const struct ps_address *address)
{
    struct key key = {.len = 0};
    if (address->storage.ss_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, &address->storage, sizeof v4);
        key.len = 4;
        memcpy(key.bytes, &v4.sin_addr, 4);
    } else if (address->storage.ss_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, &address->storage, sizeof v6);
        bool mapped = IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr);
        key.len = mapped ? 4 : 8;
        memcpy(key.bytes, v6.sin6_addr.s6_addr + (mapped ? 12 : 0), key.len);
    }
    return key;
}

/* The chain in which the key is, and its shard. */
static struct peer **bucket_of(struct ps_peers *peers, const struct key *key, struct shard **shard)
{
    uint64_t hash = ps_str_hash((struct ps_str){(const char *)key->bytes, key->len}, peers->seed);
    *shard = &peers->shards[hash % SHARDS];
    return &(*shard)->buckets[hash / SHARDS % BUCKETS];
}

/* Where the key hangs in its chain, or the end of the chain. */
static struct peer **find(struct peer **link, const struct key *key)
{
    while (*link != NULL && ((*link)->key.len != key->len ||
                             memcmp((*link)->key.bytes, key->bytes, key->len) != 0)) {
        link = &(*link)->next;
    }
    return link;
}

static struct peer *add(struct ps_peers *peers, struct peer **end, const struct key *key)
{
    struct peer *peer = calloc(1, sizeof *peer);
    if (peer != NULL) {
        peer->key = *key;
        *end = peer;
        atomic_fetch_add(&peers->count, 1);
    }
    return peer;
}

bool ps_peers_enter(struct ps_peers *peers, const struct ps_address *peer)
{
    uint32_t max = atomic_load_explicit(&peers->max, memory_order_relaxed);
    if (max == 0) {
        return true;
    }
    struct key key = key_of(peer);
    if (key.len == 0) {
        return true;
    }
    struct shard *shard;
    struct peer **bucket = bucket_of(peers, &key, &shard);
    pthread_mutex_lock(&shard->mutex);
    struct peer **link = find(bucket, &key);
    struct peer *found = *link != NULL ? *link : add(peers, link, &key);
    bool enters = found != NULL && found->connections < max;
    if (enters) {
        found->connections++;
    }
    pthread_mutex_unlock(&shard->mutex);
    return enters;
}

void ps_peers_leave(struct ps_peers *peers, const struct ps_address *peer)
{
    struct key key = key_of(peer);
    if (key.len == 0 || atomic_load_explicit(&peers->count, memory_order_relaxed) == 0) {
        return;
    }
    struct shard *shard;
    struct peer **bucket = bucket_of(peers, &key, &shard);
    pthread_mutex_lock(&shard->mutex);
    struct peer **link = find(bucket, &key);
    struct peer *found = *link;
    if (found != NULL && --found->connections == 0) {
        *link = found->next;
        free(found);
        atomic_fetch_sub(&peers->count, 1);
    }
    pthread_mutex_unlock(&shard->mutex);
}

size_t ps_peers_count(struct ps_peers *peers)
{
    return atomic_load(&peers->count);
}
