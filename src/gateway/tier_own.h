/* tier_own - inside of tier: the invalidations that were made here, as they are in the log, to be
 * written again to cache servers that were away.
 *
 * A ring. When it is full the oldest leaves; if it may be missing somewhere, what is older than it
 * becomes invalid altogether there, which is more than was meant and never less.
 *
 * Thread: the keeper's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_TIER_OWN_H
#define PS_GATEWAY_TIER_OWN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"

#define PS_TIER_OWN_MAX 1024

struct ps_tier_own_record {
    ps_time at;
    bool everywhere; /* every server has it, or had it once */
    uint32_t len;
    char bytes[];
};

/* Zero-initialise. Records are numbered on and on: those from first to next - 1 are there. */
struct ps_tier_own {
    struct ps_tier_own_record *ring[PS_TIER_OWN_MAX];
    uint64_t first;
    uint64_t next;
    ps_time floor; /* everything at or before it; 0 = nothing */
};

void ps_tier_own_fini(struct ps_tier_own *own);

/* Adds a record as number own->next - 1; those from before `forget` leave. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_tier_own_add(struct ps_tier_own *own, struct ps_str bytes, ps_time at,
                                  ps_time forget);

/* Takes the newest back. */
void ps_tier_own_drop_last(struct ps_tier_own *own);

/* NULL: it left, or is not there yet. */
struct ps_tier_own_record *ps_tier_own_at(const struct ps_tier_own *own, uint64_t number);

#endif
