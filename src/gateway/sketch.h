/* sketch - how often a key was asked for of late, in two bytes a key, roughly.
 *
 * A count-min sketch with conservative update (Cormode and Muthukrishnan 2005; Estan and Varghese
 * 2003): four counters of four bits per key, all in one line of the processor's cache; the smallest
 * is the estimate. It never says less than the truth up to 15, but for ageing: counters are halved
 * one word at a time, so that no single look-up pays for all of them.
 *
 * It remembers keys that are not in the cache, or not any more: that is its purpose.
 *
 * Thread: owned by whoever holds the lock of its shard.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_SKETCH_H
#define PS_GATEWAY_SKETCH_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "gateway/key.h"

#define PS_SKETCH_MAX 15 /* counters end here */

/* The fields are private. */
struct ps_sketch {
    uint64_t *words;
    uint64_t blocks; /* of eight words; a power of two */
    uint64_t sweep;  /* the next word to be halved */
    uint32_t since;  /* look-ups since the last halving */
};

/* Makes a sketch for a cache of about `entries` entries: 16 bytes for each. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_sketch_init(struct ps_sketch *sketch, uint64_t entries);
void ps_sketch_fini(struct ps_sketch *sketch);

/* Bytes that it owns. */
size_t ps_sketch_bytes(const struct ps_sketch *sketch);

/* Counts one more request for the key. */
void ps_sketch_add(struct ps_sketch *sketch, const struct ps_key *key);

/* 0..PS_SKETCH_MAX. */
unsigned ps_sketch_estimate(const struct ps_sketch *sketch, const struct ps_key *key);

#endif
