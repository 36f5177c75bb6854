/* tier_shared - inside of tier: what its two files share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_TIER_SHARED_H
#define PS_GATEWAY_TIER_SHARED_H

#include <stdatomic.h>

#include "gateway/tier.h"

struct ps_tiers {
    /* constant */
    struct ps_l1 *l1;
    struct ps_redis_hub *hub; /* or NULL */
    ps_span max_age;          /* no value in L2 is used longer, as none in L1 */
    ps_span l2_age;           /* the same, and no longer than records are kept */
    size_t max_value;
    uint64_t purge_max; /* records that the servers keep at most */

    /* shared, atomic */
    _Atomic bool reading;  /* L1 misses until the log was read */
    _Atomic bool has_read; /* L2 may be believed */
    _Atomic uint64_t fetches;
    _Atomic uint64_t hits;
    _Atomic uint64_t refused;
    _Atomic uint64_t purged;
    _Atomic uint64_t rejected;
    _Atomic uint64_t stores;
    _Atomic uint64_t records;
    _Atomic uint64_t log_reads;
    _Atomic uint64_t saved; /* nanoseconds */
};

static inline void ps_tiers_count(_Atomic uint64_t *counter, uint64_t by)
{
    atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

#endif
