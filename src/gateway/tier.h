/* tier - both tiers of the cache as one: memory first (l1.h), then the cache servers (redis.h), and
 * invalidations that hold in both, here and on every other machine.
 *
 *      tiers: L1, the hub, what is known of the log      one for the process; any thread
 *        +-- tier: one for each worker's loop            fetch from the servers, store in both
 *        +-- keeper: one for the process, control's      invalidate, hear of others' invalidations,
 *                    loop                                read the log, sweep L1
 *
 * What makes an answer invalid is a record with a time (purge.h). It holds here before anybody else
 * is told, goes into the log of every cache server, and whoever listens reads it there. A value in
 * a cache server may be older than a record: it is matched against all of them when it comes, so
 * the log must have been read before the first one is believed.
 *
 *      feed lost -------------------------> L1 serves on; the log is asked for each second
 *      feed back: is_reading -------------> L1 misses, nothing is fetched
 *         the log was read ---------------> both serve
 *         it could not be, for CATCH_UP --> as if the feed were lost
 *      never yet read --------------------> L1 serves, nothing is fetched
 *
 * The keeper writes its own records again when a node comes back, which may have been away when
 * they were made, or have forgotten them. Gateways compare wall clocks: what they differ by is what
 * an invalidation may miss.
 *
 * Without nodes there is only L1, and the other functions do as little as that takes.
 *
 * Thread: tiers any; tier and keeper their loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_TIER_H
#define PS_GATEWAY_TIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/option.h"
#include "gateway/entry.h"
#include "gateway/key.h"
#include "gateway/l1.h"
#include "gateway/purge.h"
#include "gateway/redis.h"

struct ps_loop;

/* --- options ---------------------------------------------------------------------------------- */

/* The section `cache`. */
struct ps_cache_opts {
    struct ps_l1_opts l1;
    struct ps_redis_opts redis;
};

extern const struct ps_option ps_cache_options[];

/* --- what all threads share ------------------------------------------------------------------- */

struct ps_tiers;

struct ps_tiers_opts {
    const struct ps_l1_opts *l1;
    const struct ps_redis_opts *redis; /* NULL or without nodes: L1 alone */
    struct ps_redis_observer observer; /* of the nodes, see redis.h */
};

/* Opens nothing. The options are borrowed until it returns. PS_OK, PS_ENOMEM, or PS_EINVAL with a
 * sentence in reason. */
PS_MUST_CHECK int ps_tiers_new(struct ps_tiers **out, const struct ps_tiers_opts *opts,
                               char *reason, size_t size);

/* After the last tier and the keeper. NULL is fine. */
void ps_tiers_free(struct ps_tiers *tiers);

struct ps_l1 *ps_tiers_l1(const struct ps_tiers *tiers);

/* NULL when there is only L1. */
struct ps_redis_hub *ps_tiers_hub(const struct ps_tiers *tiers);

/* Look-up in L1 and second look, as ps_l1_get() and ps_l1_peek(); a miss that is not counted while
 * the log is read after a lost connection. */
enum ps_l1_answer ps_tiers_get(struct ps_tiers *tiers, const struct ps_key *key, ps_time now,
                               struct ps_entry **out);
enum ps_l1_answer ps_tiers_peek(struct ps_tiers *tiers, const struct ps_key *key, ps_time now,
                                struct ps_entry **out);

/* Is the log being read, so that everything is a miss? */
bool ps_tiers_is_reading(const struct ps_tiers *tiers);

/* May L2 be believed? That a node answers is another matter. */
bool ps_tiers_is_ready(const struct ps_tiers *tiers);

struct ps_tiers_stats {
    uint64_t fetches;  /* look-ups in L2, the refused ones too */
    uint64_t hits;     /* of these: an entry came that may be used */
    uint64_t refused;  /* a miss at once: the node is away, too much is under way, the log unread */
    uint64_t purged;   /* an entry came that an invalidation is newer than */
    uint64_t rejected; /* something came that is no entry, or one of another time */
    uint64_t stores;   /* values sent to L2 */
    uint64_t records;  /* invalidations of others that came through the log */
    uint64_t log_reads;
    double gpu_seconds_saved; /* upstream time of the entries that L2 had */
};

void ps_tiers_read(const struct ps_tiers *tiers, struct ps_tiers_stats *out);

/* --- control ---------------------------------------------------------------------------------- */

struct ps_tier_keeper;

/* Begins to listen and to sweep. At most one for a ps_tiers at a time. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_tier_keeper_new(struct ps_tier_keeper **out, struct ps_tiers *tiers,
                                     struct ps_loop *loop);

/* Ends it; what is under way is never told. NULL is fine. */
void ps_tier_keeper_free(struct ps_tier_keeper *keeper);

/* Does it hear of every invalidation that is made from now on? True without nodes. */
bool ps_tier_keeper_is_listening(const struct ps_tier_keeper *keeper);

/* Called once with the number of cache servers that have the record and that have not; they get it
 * when they are back. A cluster is one; without nodes it is 0, 0. */
typedef void ps_tier_invalidated_fn(void *ctx, size_t done, size_t failed);

/* Makes invalid what matches and was asked for at or before purge->at (a later one than now counts
 * as now): here before it returns, then everywhere. PS_OK: on_done (or NULL) follows, never from
 * inside. PS_EINVAL, PS_ENOMEM: nothing was invalidated. PS_ELIMIT: it holds here, and many others
 * are under way; it will be sent after them and on_done does not come. */
PS_MUST_CHECK int ps_tier_keeper_invalidate(struct ps_tier_keeper *keeper,
                                            const struct ps_purge *purge,
                                            ps_tier_invalidated_fn *on_done, void *ctx);

/* --- a worker --------------------------------------------------------------------------------- */

struct ps_tier;
struct ps_tier_op;

/* PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_tier_new(struct ps_tier **out, struct ps_tiers *tiers, struct ps_loop *loop);

/* Ends it; fetches under way are never answered. Not from inside on_entry. NULL is fine. */
void ps_tier_free(struct ps_tier *tier);

/* `entry` is a reference of the receiver's, already in L1 when it fits there, and at the worst
 * stale (ps_entry_freshness()); NULL = a miss. The operation is gone. The callback may begin and
 * cancel operations. */
typedef void ps_tier_entry_fn(void *ctx, struct ps_entry *entry);

/* Looks a key up in L2. PS_OK: on_entry follows once, within the timeout of redis.h, never from
 * inside. Anything else is a miss now: PS_EBUSY (no node to ask, or the log unread), PS_ELIMIT,
 * PS_ENOMEM. */
PS_MUST_CHECK int ps_tier_fetch(struct ps_tier_op **out, struct ps_tier *tier,
                                const struct ps_key *key, ps_tier_entry_fn *on_entry, void *ctx);

/* on_entry does not come any more. NULL is fine. */
void ps_tier_cancel(struct ps_tier_op *op);

/* Puts an entry into L1, then into L2 as well unless it was purged. The result is ps_l1_put()'s; an
 * entry that is too large for L1 (PS_ELIMIT) may still be in L2. How L2 took it is nobody's
 * business but the statistics'. */
PS_MUST_CHECK int ps_tier_store(struct ps_tier *tier, const struct ps_key *key,
                                struct ps_entry *entry);

/* The second half of it alone, for who did the first on another thread. */
void ps_tier_send(struct ps_tier *tier, const struct ps_key *key, struct ps_entry *entry);

#endif
