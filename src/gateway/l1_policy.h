/* l1_policy - who has to leave when a shard is full: one small interface, several answers.
 *
 *      gdsf     what saves the most GPU time per byte stays (the default)
 *      lru      the longest unused leaves
 *      s3fifo   three queues: new ones must prove themselves; a list remembers who left early
 *      sieve    one queue and a hand that spares what was used since it last came by
 *      lfuda    the least often used leaves, and what was once popular ages
 *
 * A policy orders slots and never looks at time or at content. All calls take constant time (s3fifo
 * and sieve: on average).
 *
 * Thread: owned by whoever holds the lock of the shard.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_L1_POLICY_H
#define PS_GATEWAY_L1_POLICY_H

#include <stdint.h>

#include "base/err.h"
#include "gateway/l1_slots.h"

enum ps_policy_kind {
    PS_POLICY_GDSF,
    PS_POLICY_LRU,
    PS_POLICY_S3FIFO,
    PS_POLICY_SIEVE,
    PS_POLICY_LFUDA,
    PS_POLICY_COUNT
};

/* "gdsf", "lru", "s3fifo", "sieve", "lfuda", NULL: for options of type ENUM. */
extern const char *const ps_policy_names[];

/* What a policy may know of its shard. */
struct ps_policy_opts {
    struct ps_slots *slots; /* borrowed */
    uint64_t bytes;         /* that the entries may take */
    uint64_t entries;       /* about so many will fit */
};

struct ps_policy;

struct ps_policy_ops {
    int (*make)(struct ps_policy **out, const struct ps_policy_opts *opts);
    void (*free)(struct ps_policy *policy);
    void (*on_lookup)(struct ps_policy *policy, const struct ps_key *key);
    void (*on_hit)(struct ps_policy *policy, uint32_t id);
    void (*on_insert)(struct ps_policy *policy, uint32_t id);
    void (*on_remove)(struct ps_policy *policy, uint32_t id);
    uint32_t (*victim)(struct ps_policy *policy);
};

/* The first member of every policy. */
struct ps_policy {
    const struct ps_policy_ops *ops;
    struct ps_slots *slots;
    size_t bytes; /* of memory that the policy takes beside the slots */
};

extern const struct ps_policy_ops ps_policy_gdsf, ps_policy_lru, ps_policy_s3fifo, ps_policy_sieve,
    ps_policy_lfuda;

/* PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_policy_new(struct ps_policy **out, enum ps_policy_kind kind,
                                const struct ps_policy_opts *opts);

/* NULL is fine. */
void ps_policy_free(struct ps_policy *policy);

/* Somebody asks for the key, which may be there or not. */
static inline void ps_policy_on_lookup(struct ps_policy *policy, const struct ps_key *key)
{
    if (policy->ops->on_lookup != NULL) {
        policy->ops->on_lookup(policy, key);
    }
}

/* It was there. */
static inline void ps_policy_on_hit(struct ps_policy *policy, uint32_t id)
{
    policy->ops->on_hit(policy, id);
}

/* A slot is new; its key and entry are set. */
static inline void ps_policy_on_insert(struct ps_policy *policy, uint32_t id)
{
    policy->ops->on_insert(policy, id);
}

/* A slot leaves for a reason of its own; its entry is still set. */
static inline void ps_policy_on_remove(struct ps_policy *policy, uint32_t id)
{
    policy->ops->on_remove(policy, id);
}

/* Chooses who leaves, and forgets it like on_remove. PS_SLOT_NONE when there is nobody. */
static inline uint32_t ps_policy_victim(struct ps_policy *policy)
{
    return policy->ops->victim(policy);
}

/* --- for the policies: a list through the slots, newest first */

struct ps_slot_list {
    uint32_t newest, oldest;
    uint64_t bytes; /* of the entries on it */
};

void ps_slot_list_push(struct ps_slot_list *list, const struct ps_slots *slots, uint32_t id);
void ps_slot_list_remove(struct ps_slot_list *list, const struct ps_slots *slots, uint32_t id);

#endif
