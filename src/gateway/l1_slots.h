/* l1_slots - the entries of one shard by key: a table that grows one bucket at a time.
 *
 * Slots lie in slabs and are named by number, so that links between them take four bytes. The index
 * is linear hashing (Litwin 1980): a new slot splits one bucket, so no single put pays for all.
 * Keys are SHA-256, and any of their bits are a hash; they are compared as a whole.
 *
 *      index[bucket] -> slot -> slot (chain)        slabs: [slot 1..1024] [slot 1025..2048] ...
 *
 * One slot is one line of the processor's cache: 32 bytes of key and 32 of everything else.
 *
 * Thread: owned by whoever holds the lock of the shard.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_L1_SLOTS_H
#define PS_GATEWAY_L1_SLOTS_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "gateway/entry.h"
#include "gateway/key.h"

#define PS_SLOT_NONE     0u /* no slot has this number */
#define PS_SLOT_PER_SLAB 1024u

struct ps_slot {
    struct ps_key key;
    struct ps_entry *entry; /* the cache's reference; NULL = the slot is free */
    double priority;        /* the policy's own, as are the next five */
    uint32_t next, prev;    /* in the policy's list */
    uint16_t bucket;
    uint8_t uses; /* requests, this one included; ends at 255 */
    uint8_t mark;
    uint32_t chain; /* next slot of the index bucket, or of the free list */
};

static_assert(sizeof(struct ps_slot) == 64, "one line of the processor's cache");

/* What a slot and its place in the index take. */
#define PS_SLOT_BYTES (sizeof(struct ps_slot) + sizeof(uint32_t))

/* The fields are private, but count. */
struct ps_slots {
    struct ps_slot **slabs;
    uint32_t **index; /* pages of PS_SLOT_PER_SLAB buckets */
    uint32_t count;   /* slots in use */
    uint32_t used;    /* slots that were ever used */
    uint32_t max;
    uint32_t free;    /* list of slots that were given back */
    uint32_t buckets; /* in use; at least 1 */
};

/* Prepares for at most `max` slots. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_slots_init(struct ps_slots *slots, uint32_t max);

/* Drops the references to all entries and frees the memory. A zeroed table is fine. */
void ps_slots_fini(struct ps_slots *slots);

/* Bytes of the table itself, which do not depend on the entries. */
size_t ps_slots_fixed_bytes(const struct ps_slots *slots);

static inline struct ps_slot *ps_slots_at(const struct ps_slots *slots, uint32_t id)
{
    return &slots->slabs[(id - 1) / PS_SLOT_PER_SLAB][(id - 1) % PS_SLOT_PER_SLAB];
}

/* The slot of a key, or PS_SLOT_NONE. */
uint32_t ps_slots_find(const struct ps_slots *slots, const struct ps_key *key);

/* Adds a slot for a key that has none; `entry` (a reference) becomes the slot's. PS_OK, PS_ENOMEM
 * or PS_ELIMIT. */
PS_MUST_CHECK int ps_slots_add(struct ps_slots *slots, const struct ps_key *key,
                               struct ps_entry *entry, uint32_t *id);

/* Frees the slot. The reference to its entry becomes the caller's. */
struct ps_entry *ps_slots_remove(struct ps_slots *slots, uint32_t id);

#endif
