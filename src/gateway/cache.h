/* cache - L1: answers in memory, shared by all workers.
 *
 * Keys are spread over shards; a shard has a lock that is held for a look-up, a few links and at
 * most a handful of evictions, never for input, output, a match of patterns or the freeing of an
 * entry. What a get returns is a counted reference: the entry lives as long as somebody sends it.
 *
 *      key -> shard -> slots (cache_slots.h) -> entry (entry.h)
 *                  \-> policy (cache_policy.h): who leaves when the shard's bytes are used up
 *      purge log (purge.h): what is invalid although it is there
 *
 * Bytes are bounded, everything counted: keys, slots, entries, the policy's memory.
 *
 * Thread: any. All instants are wall-clock nanoseconds (see entry.h).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_CACHE_H
#define PS_GATEWAY_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/option.h"
#include "gateway/cache_policy.h"
#include "gateway/entry.h"
#include "gateway/key.h"
#include "gateway/purge.h"
#include "observe/metric.h"

#define PS_CACHE_SHARDS_MAX 64

/* The section `cache.l1`. */
struct ps_cache_opts {
    uint64_t size;       /* bytes in all */
    uint64_t max_entry;  /* bytes of one entry; larger ones are not stored */
    uint64_t shards;     /* a power of two, at most PS_CACHE_SHARDS_MAX; 0 = by size */
    uint64_t mean_entry; /* the policy's memory is laid out for entries of so many bytes */
    uint64_t max_purges; /* records of the purge log */
    ps_span max_age;     /* no entry is used longer than that after it was asked for */
    int policy;          /* enum ps_policy_kind */
};

extern const struct ps_option ps_cache_options[];
extern const struct ps_metric_family ps_cache_metric_families[];

struct ps_cache;

/* PS_OK, PS_EINVAL (shards, or a size without room for one entry a shard) or PS_ENOMEM. */
PS_MUST_CHECK int ps_cache_new(struct ps_cache **out, const struct ps_cache_opts *opts);

/* NULL is fine. Entries that somebody still holds stay alive. */
void ps_cache_free(struct ps_cache *cache);

enum ps_cache_answer {
    PS_CACHE_MISS,
    PS_CACHE_HIT,     /* fresh: send it */
    PS_CACHE_STALE,   /* send it, and ask anew in the background (stale-while-revalidate) */
    PS_CACHE_FALLBACK /* ask; send it only when that fails (stale-if-error). Counted as a miss */
};

/* Looks a key up. Unless it is a miss, *out is a reference of the caller's: ps_entry_unref(). */
enum ps_cache_answer ps_cache_get(struct ps_cache *cache, const struct ps_key *key, ps_time now,
                                  struct ps_entry **out);

/* The same for a second look at the same request (before a flight begins, say): neither statistics
 * nor the policy hear of it. */
enum ps_cache_answer ps_cache_peek(struct ps_cache *cache, const struct ps_key *key, ps_time now,
                                   struct ps_entry **out);

/* Stores an entry (the cache takes a reference of its own), in place of an earlier one. PS_OK;
 * PS_ELIMIT: larger than max_entry or a shard; PS_ECANCELED: it was purged since it was asked for
 * (entry->born); PS_ENOMEM. */
PS_MUST_CHECK int ps_cache_put(struct ps_cache *cache, const struct ps_key *key,
                               struct ps_entry *entry);

/* Takes one entry out. Was it there? Flights are not concerned: for that purge the key. */
bool ps_cache_drop(struct ps_cache *cache, const struct ps_key *key);

/* From now on nothing that matches and was asked for before purge->at is returned or stored. PS_OK
 * or as ps_purge_log_add(). */
PS_MUST_CHECK int ps_cache_invalidate(struct ps_cache *cache, const struct ps_purge *purge,
                                      ps_time now);

/* Looks at up to `max` slots, going on where the last sweep ended, and takes out what is invalid or
 * too old: for a slow tick. Returns how many it took out. */
size_t ps_cache_sweep(struct ps_cache *cache, ps_time now, size_t max);

struct ps_cache_stats {
    uint64_t hits; /* fresh or stale */
    uint64_t stale_hits;
    uint64_t misses;
    uint64_t entries;
    uint64_t bytes;       /* in use, everything counted */
    uint64_t fixed_bytes; /* of these, what does not depend on the entries */
    uint64_t size;        /* the bound */
    uint64_t stored;
    uint64_t evictions;       /* made room for others */
    uint64_t expired;         /* taken out because of age */
    uint64_t purged;          /* taken out because of a purge */
    uint64_t refused;         /* not stored: too large or purged */
    double gpu_seconds_saved; /* upstream time of the entries that hits returned */
};

/* The sum of all shards. */
void ps_cache_read(struct ps_cache *cache, struct ps_cache_stats *out);

size_t ps_cache_shards(const struct ps_cache *cache);

/* One shard, 0..shards - 1. */
void ps_cache_read_shard(struct ps_cache *cache, size_t shard, struct ps_cache_stats *out);

/* For tests: links, counts and bytes agree. */
bool ps_cache_is_sane(struct ps_cache *cache);

#endif
