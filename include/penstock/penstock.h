/* penstock - Penstock's engine rooms for C programs. So far there is the cache.
 *
 *      #include <penstock/penstock.h>          cc program.c $(pkg-config --cflags --libs penstock)
 *
 * A function that can fail returns PS_OK or a negative code (penstock/err.h); ps_strerror() is its
 * sentence, ps_last_error() the particular one. What comes back through a pointer is left alone on
 * failure. Arguments are borrowed until the call returns. Texts are terminated; what may hold any
 * byte comes with its length. NULL is fine wherever something is freed or released.
 *
 * Thread: everything may be called from any thread, on the same object too, but for freeing what
 * another thread still uses. No function is for signal handlers.
 *
 * fork(): a child gets nothing of what its parent made: all of that answers PS_ECLOSED there, and
 * freeing it does nothing. The child makes its own; ps_cache_default() is new in it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PENSTOCK_PENSTOCK_H
#define PENSTOCK_PENSTOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "penstock/err.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifndef PS_API
#define PS_API __attribute__((visibility("default")))
#endif

/* --- all of it -------------------------------------------------------------------------------- */

/* "0.1.0". */
PS_API const char *ps_version(void);

/* A short sentence for a code, in English; static. */
PS_API const char *ps_strerror(int err);

/* What went wrong in the last call of this thread that failed, with its place in the configuration
 * where there is one; "" when nothing more is known. Valid until the thread's next failing call. */
PS_API const char *ps_last_error(void);

/* Frees what the *_default() functions made; they would make it anew. At the end of a program, or
 * before its library is unloaded. */
PS_API void ps_shutdown(void);

/* --- the cache -------------------------------------------------------------------------------- */

/* Values that were expensive, kept in memory (L1) and, when the configuration names servers, in
 * Redis or Valkey (L2), which all programs and gateways with the same `prefix` share.
 *
 *      key, tenant --> 256-bit hash --> L1: this process, bounded in bytes, keeps what saves most
 *                                        `-> L2: the node that has the hash; 2 ms, or it is a miss
 *
 * With servers there is one thread of the library's own; it has all signals blocked. */
struct ps_cache;

/* The program's cache: made by the first call from the section `cache` of the file that the
 * variable PENSTOCK_CONFIG names, which may be the gateway's own file; without the variable it is
 * L1 alone with its defaults. Freed by ps_shutdown(), by nobody else. NULL: ps_last_error(). */
PS_API struct ps_cache *ps_cache_default(void);

/* One more, from a file (NULL = defaults), or from the text of one. PS_OK, PS_ENOMEM, PS_EIO (no
 * thread, no loop), or PS_EINVAL: ps_last_error() says where the mistake is. Nothing is waited for:
 * L2 is used as soon as it answers, see ps_cache_stats.l2_ready. */
PS_API int ps_cache_new(struct ps_cache **out, const char *file);
PS_API int ps_cache_new_text(struct ps_cache **out, const char *text, size_t len);

/* Views that are still held stay valid. */
PS_API void ps_cache_free(struct ps_cache *cache);

/* What a value is stored under. Two tenants never share a value; NULL and "" are no tenant. */
struct ps_cache_key {
    const void *bytes;
    size_t len;
    const char *tenant; /* at most 256 bytes */
};

/* The key of a text, without a tenant. */
static inline struct ps_cache_key ps_cache_key_text(const char *text)
{
    struct ps_cache_key key = {text, 0, NULL};
    while (text[key.len] != '\0') {
        key.len++;
    }
    return key;
}

/* What is known of a value. Zero-initialise; every field may stay so. */
struct ps_cache_about {
    const char *route; /* names that patterns are matched against; at most 256 bytes each */
    const char *model;
    const char *const *tags; /* at most 16 */
    size_t tags_count;
    int64_t ttl_ms;   /* how long it is good; 0 = as long as `cache.l1.max_age` lets it */
    int64_t stale_ms; /* how long after that it is still returned, marked as stale */
    double seconds;   /* what it took to make, and what a hit saves. It counts as asked for so long
                         ago: what was invalidated meanwhile is not stored */
    uint64_t reserved[4];
};

/* Stores a copy of the value, in place of an earlier one; about may be NULL. In L1 when it returns;
 * L2 follows. PS_OK; PS_ELIMIT: larger than `cache.l1.max_entry`, it is in L2 at most;
 * PS_ECANCELED: invalidated while it was made; PS_EINVAL: a name that is too long, a negative
 * number; PS_ENOMEM; PS_ECLOSED. */
PS_API int ps_cache_set(struct ps_cache *cache, const struct ps_cache_key *key, const void *value,
                        size_t len, const struct ps_cache_about *about);

/* A stored value. It stays as it is until it is released, whatever happens to the cache. */
struct ps_cache_view {
    const void *data;
    size_t len;
    double age; /* seconds since it was stored */
    bool stale; /* see ps_cache_about.stale_ms: use it, and make a new one */
    bool l2;    /* it came from a server */
    void *held; /* the library's */
};

/* Looks a key up. PS_OK: *out must be released. PS_ENOTFOUND: it is not there, not good any more,
 * or L2 did not answer in time; a call takes no longer than `cache.redis.timeout` and what it takes
 * to wake two threads (once a first byte came in time, as long as bytes keep coming, at most
 * `cache.redis.breaker.stall`). PS_EINVAL, PS_ENOMEM, PS_ECLOSED. */
PS_API int ps_cache_get(struct ps_cache *cache, const struct ps_cache_key *key,
                        struct ps_cache_view *out);

/* Gives a view back and clears it; a second time does nothing. */
PS_API void ps_cache_release(struct ps_cache_view *view);

/* How many servers know of an invalidation. */
struct ps_cache_told {
    size_t done;
    size_t failed; /* they are away, and are told when they are back */
};

/* Makes invalid what was stored until now and matches, in every process that shares the servers:
 * `*` is any run of bytes, `?` one, `\` takes the next one as it is. The pattern is matched against
 * `route/model/tenant/tag`, once for each tag, and against each of the four alone. With a tenant
 * (not NULL) only that one's values. Of this process nothing invalid is returned any more when the
 * call returns. With told (not NULL) it waits until every server has answered or was given up, at
 * most `cache.redis.breaker.stall` and some. PS_OK; PS_ELIMIT: too many are under way, the servers
 * are told later; PS_EINVAL: an empty pattern, or one of more than 512 bytes; PS_ENOMEM (then
 * nothing was invalidated), PS_ECLOSED. */
PS_API int ps_cache_invalidate_pattern(struct ps_cache *cache, const char *pattern,
                                       const char *tenant, struct ps_cache_told *told);

/* The same for one key. */
PS_API int ps_cache_invalidate(struct ps_cache *cache, const struct ps_cache_key *key,
                               struct ps_cache_told *told);

struct ps_cache_stats {
    uint64_t lookups;
    uint64_t l1_hits;
    uint64_t l2_hits;
    double hit_rate_percent;  /* of both; -1 before the first look-up */
    double gpu_seconds_saved; /* the sum of `seconds` over all hits */

    uint64_t entries; /* L1 */
    uint64_t bytes;   /* everything counted; at most bytes_max */
    uint64_t bytes_max;
    uint64_t stored;
    uint64_t evicted; /* made room for others */
    uint64_t expired;
    uint64_t invalidated;
    uint64_t refused; /* not stored */

    size_t l2_nodes; /* 0 = there is only L1 */
    bool l2_ready;   /* all nodes are heard, and what was invalidated before is known */
    uint64_t l2_lookups;
    uint64_t l2_errors; /* error replies, lost connections, values that were not believed */
    uint64_t l2_late;   /* no reply in time */
    double l2_p50_ms;   /* of replies; 0 before the first */
    double l2_p99_ms;
    double imbalance_percent; /* how far a node's share is from its weight at most */
    uint64_t reserved[8];
};

/* PS_OK or PS_ECLOSED. */
PS_API int ps_cache_stats(struct ps_cache *cache, struct ps_cache_stats *out);

#define PS_CACHE_HEX 65 /* bytes of a hash as text, terminator included */

/* What a key is everywhere: the SHA-256 of "penstock library key 1" and a zero byte, the tenant's
 * length in 4 bytes (little-endian) and the tenant, the key's length in 8 and the key. PS_OK,
 * PS_EINVAL (a tenant that is too long) or PS_ENOMEM. */
PS_API int ps_cache_key_hash(const struct ps_cache_key *key, char out[PS_CACHE_HEX]);

#define PS_CACHE_NODE_NAME 256

/* Writes the name of the node that has a key now, cut to size. PS_OK; PS_ENOTFOUND: there is only
 * L1, or a cluster whose map is not known yet; PS_EINVAL, PS_ENOMEM, PS_ECLOSED. */
PS_API int ps_cache_assigned_node(struct ps_cache *cache, const struct ps_cache_key *key,
                                  char *name, size_t size);

/* One server. */
struct ps_cache_node {
    char name[PS_CACHE_NODE_NAME];
    bool up;
    uint64_t weight;
    uint64_t slots; /* of the table that says where keys are, or of the cluster's 16,384 */
    double share_percent;
    int64_t keys; /* in its database; -1 = not known */
    uint64_t operations;
    uint64_t hits;
    uint64_t bytes_in, bytes_out;
    uint64_t reserved[4];
};

/* Fills up to `max` nodes and tells in *count how many there are, also when that is more. PS_OK or
 * PS_ECLOSED. */
PS_API int ps_cache_node_distribution(struct ps_cache *cache, struct ps_cache_node *nodes,
                                      size_t max, size_t *count);

#ifdef __cplusplus
}
#endif

#endif
