/* cache_engine - the library's own thread: a loop with a worker's side of the tiers and the keeper.
 *
 *      a program's threads                     the engine's thread
 *      fetch       --- letter, waits --------> ps_tier_fetch() .. on_entry: wakes the caller
 *      send        --- letter ---------------> ps_tier_send()
 *      invalidate  --- letter, may wait -----> ps_tier_keeper_invalidate() .. on_done
 *
 * L1 is asked by whoever calls; only what concerns the servers comes here.
 *
 * Thread: any, but for new and free.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LIB_CACHE_ENGINE_H
#define PS_LIB_CACHE_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "gateway/tier.h"

struct ps_cache_engine;

/* Starts the thread, with all signals blocked. PS_OK, PS_ENOMEM or PS_EIO. */
PS_MUST_CHECK int ps_cache_engine_new(struct ps_cache_engine **out, struct ps_tiers *tiers);

/* Ends it. Nobody may be inside any more. NULL is fine. */
void ps_cache_engine_free(struct ps_cache_engine *engine);

/* What L2 has, as ps_tier_fetch(); NULL: a miss. */
struct ps_entry *ps_cache_engine_fetch(struct ps_cache_engine *engine, const struct ps_key *key);

/* Sends an entry to L2 (a reference is taken), unless too much is on its way already. */
void ps_cache_engine_send(struct ps_cache_engine *engine, const struct ps_key *key,
                          struct ps_entry *entry);

/* How many servers took an invalidation. */
struct ps_cache_engine_told {
    size_t done, failed;
};

/* An invalidation that is remembered before its letter is sent. PS_OK or PS_ENOMEM. */
struct ps_cache_engine_purge;
PS_MUST_CHECK int ps_cache_engine_purge_new(struct ps_cache_engine_purge **out,
                                            struct ps_cache_engine *engine,
                                            const struct ps_purge *purge);
void ps_cache_engine_purge_free(struct ps_cache_engine_purge *purge); /* one that was not sent */

/* Sends it and forgets it; with told (not NULL) it waits for the servers first. PS_OK, or as
 * ps_tier_keeper_invalidate(). */
PS_MUST_CHECK int ps_cache_engine_invalidate_take(struct ps_cache_engine_purge *purge,
                                                  struct ps_cache_engine_told *told);

#endif
