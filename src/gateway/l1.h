/* l1 - answers in memory, shared by all workers.
 *
 * Keys are spread over shards; a shard has a lock that is held for a look-up, a few links and at
 * most a handful of evictions, never for input, output, a match of patterns or the freeing of an
 * entry. What a get returns is a counted reference: the entry lives as long as somebody sends it.
 *
 *      key -> shard -> slots (l1_slots.h) -> entry (entry.h)
 *                  \-> policy (l1_policy.h): who leaves when the shard's bytes are used up
 *      purge log (purge.h): what is invalid although it is there
 *
 * Bytes are bounded, everything counted: keys, slots, entries, the policy's memory.
 *
 * Thread: any. All instants are wall-clock nanoseconds (see entry.h).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_L1_H
#define PS_GATEWAY_L1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/option.h"
#include "gateway/entry.h"
#include "gateway/key.h"
#include "gateway/l1_policy.h"
#include "gateway/purge.h"

#define PS_L1_SHARDS_MAX 64

/* The section `cache.l1`. */
struct ps_l1_opts {
    uint64_t size;       /* bytes in all */
    uint64_t max_entry;  /* bytes of one entry; larger ones are not stored */
    uint64_t shards;     /* a power of two, at most PS_L1_SHARDS_MAX; 0 = by size */
    uint64_t mean_entry; /* the policy's memory is laid out for entries of so many bytes */
    uint64_t max_purges; /* records of the purge log */
    ps_span max_age;     /* no entry is used longer than that after it was asked for */
    int policy;          /* enum ps_policy_kind */
};

extern const struct ps_option ps_l1_options[];

struct ps_l1;

/* PS_OK, PS_EINVAL (shards, or a size without room for one entry a shard) or PS_ENOMEM. */
PS_MUST_CHECK int ps_l1_new(struct ps_l1 **out, const struct ps_l1_opts *opts);

/* NULL is fine. Entries that somebody still holds stay alive. */
void ps_l1_free(struct ps_l1 *l1);

enum ps_l1_answer {
    PS_L1_MISS,
    PS_L1_HIT,     /* fresh: send it */
    PS_L1_STALE,   /* send it, and ask anew in the background (stale-while-revalidate) */
    PS_L1_FALLBACK /* ask; send it only when that fails (stale-if-error). Counted as a miss */
};

/* Looks a key up. Unless it is a miss, *out is a reference of the caller's: ps_entry_unref(). */
enum ps_l1_answer ps_l1_get(struct ps_l1 *l1, const struct ps_key *key, ps_time now,
                            struct ps_entry **out);

/* The same for a second look at the same request (before a flight begins, say): neither statistics
 * nor the policy hear of it. */
enum ps_l1_answer ps_l1_peek(struct ps_l1 *l1, const struct ps_key *key, ps_time now,
                             struct ps_entry **out);

/* Stores an entry (the cache takes a reference of its own), in place of an earlier one. PS_OK;
 * PS_ELIMIT: larger than max_entry or a shard; PS_ECANCELED: it was purged since it was asked for
 * (entry->born); PS_ENOMEM. */
PS_MUST_CHECK int ps_l1_put(struct ps_l1 *l1, const struct ps_key *key, struct ps_entry *entry);

/* Was it purged since it was asked for? For an entry that is not (yet) in the cache. */
bool ps_l1_is_purged(struct ps_l1 *l1, const struct ps_key *key, struct ps_entry *entry);

/* Takes one entry out. Was it there? Flights are not concerned: for that purge the key. */
bool ps_l1_drop(struct ps_l1 *l1, const struct ps_key *key);

/* From now on nothing that matches and was asked for before purge->at is returned or stored. PS_OK
 * or as ps_purge_log_add(). */
PS_MUST_CHECK int ps_l1_invalidate(struct ps_l1 *l1, const struct ps_purge *purge, ps_time now);

/* Looks at up to `max` slots, going on where the last sweep ended, and takes out what is invalid or
 * too old: for a slow tick. Returns how many it took out. */
size_t ps_l1_sweep(struct ps_l1 *l1, ps_time now, size_t max);

struct ps_l1_stats {
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
void ps_l1_read(struct ps_l1 *l1, struct ps_l1_stats *out);

size_t ps_l1_shards(const struct ps_l1 *l1);

/* One shard, 0..shards - 1. */
void ps_l1_read_shard(struct ps_l1 *l1, size_t shard, struct ps_l1_stats *out);

/* For tests: links, counts and bytes agree. */
bool ps_l1_is_sane(struct ps_l1 *l1);

#endif
