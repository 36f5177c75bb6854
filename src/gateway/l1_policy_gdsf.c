/* Policies that order by a number: GDSF, the default, and LFU-DA for comparison.
 *
 * Greedy-Dual-Size-Frequency (Cherkasova 1998): priority = L + uses * cost / size; the lowest
 * leaves, and L becomes its priority, so that what is not asked for is overtaken in time. What is
 * our own:
 *
 *   - the cost is upstream time, so what remains is what saves the most GPU-seconds per byte;
 *   - uses are remembered past eviction, by a sketch that sees every look-up;
 *   - what was asked for once only counts half: most of it never comes again;
 *   - the value is rounded to three bits behind its first (as in CAMP, Ghandeharizadeh et al.
 * 2014), which loses nothing and makes it constant time: within one rounded value the oldest has
 * the lowest priority, because L never falls, so each value is a plain queue; only the heads of
 *     BUCKETS queues compete, in a tournament of nine rounds.
 *
 * LFU-DA (Arlitt et al. 2000) is the same with priority = L + uses and no memory.
 *
 * L is a double that grows by about one value each time that the content turns over; its 52 bits
 * outlast any uptime.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/l1_policy.h"
#include "gateway/sketch.h"

enum {
    BUCKETS = 512,
    STEP_BITS = 3,     /* of the value, behind its first bit */
    EXPONENT_MIN = -44 /* buckets cover values from 2^-44 to 2^20 GPU-seconds a byte */
};

#define SECONDS_MIN 1e-4 /* what an answer costs whose cost is not known */

struct gdsf {
    struct ps_policy policy;
    bool plain; /* LFU-DA */
    double floor;
    struct ps_sketch sketch; /* not for LFU-DA */
    struct ps_slot_list lists[BUCKETS];
    double heads[BUCKETS];     /* priority of the oldest of each list; INFINITY = empty */
    uint16_t winners[BUCKETS]; /* [1] is the bucket with the lowest head; [n] the better of
                                  [2n] and [2n + 1], which are buckets from BUCKETS on */
};

static unsigned contender(const struct gdsf *gdsf, unsigned node)
{
    return node < BUCKETS ? gdsf->winners[node] : node - BUCKETS;
}

static int make_any(struct ps_policy **out, const struct ps_policy_opts *opts, bool plain)
{
    struct gdsf *gdsf = calloc(1, sizeof *gdsf);
    if (gdsf == NULL) {
        return PS_ENOMEM;
    }
    if (!plain && ps_sketch_init(&gdsf->sketch, opts->entries) != PS_OK) {
        free(gdsf);
        return PS_ENOMEM;
    }
    gdsf->plain = plain;
    for (unsigned i = BUCKETS - 1; i >= 1; i--) {
        gdsf->winners[i] = (uint16_t)contender(gdsf, 2 * i);
    }
    for (unsigned i = 0; i < BUCKETS; i++) {
        gdsf->heads[i] = INFINITY;
    }
    gdsf->policy.bytes = sizeof *gdsf + ps_sketch_bytes(&gdsf->sketch);
    *out = &gdsf->policy;
    return PS_OK;
}

static int gdsf_make(struct ps_policy **out, const struct ps_policy_opts *opts)
{
    return make_any(out, opts, false);
}

static int lfuda_make(struct ps_policy **out, const struct ps_policy_opts *opts)
{
    return make_any(out, opts, true);
}

static void gdsf_free(struct ps_policy *policy)
{
    ps_sketch_fini(&((struct gdsf *)policy)->sketch);
    free(policy);
}

/* ---------------------------------------------------------------- the tournament */

static void play(struct gdsf *gdsf, unsigned bucket)
{
    for (unsigned node = (BUCKETS + bucket) / 2; node >= 1; node /= 2) {
        unsigned a = contender(gdsf, 2 * node);
        unsigned b = contender(gdsf, 2 * node + 1);
        gdsf->winners[node] = (uint16_t)(gdsf->heads[a] <= gdsf->heads[b] ? a : b);
    }
}

static void head_changed(struct gdsf *gdsf, unsigned bucket)
{
    uint32_t oldest = gdsf->lists[bucket].oldest;
    double head =
        oldest == PS_SLOT_NONE ? INFINITY : ps_slots_at(gdsf->policy.slots, oldest)->priority;
    if (head != gdsf->heads[bucket]) {
        gdsf->heads[bucket] = head;
        play(gdsf, bucket);
    }
}

/* ---------------------------------------------------------------- values */

static unsigned bucket_of_value(double value)
{
    int exponent = 0;
    double part = frexp(value, &exponent); /* 0.5 <= part < 1 */
    int step = (int)((part - 0.5) * (2 << STEP_BITS));
    int bucket = ((exponent - EXPONENT_MIN) << STEP_BITS) + step;
    return (unsigned)(bucket < 0 ? 0 : bucket < BUCKETS ? bucket : BUCKETS - 1);
}

/* The same for all slots of a bucket, or its queue would not be in order. */
static double value_of_bucket(unsigned bucket)
{
    unsigned step = bucket & ((1u << STEP_BITS) - 1);
    double part = 0.5 + (double)step / (2 << STEP_BITS);
    return ldexp(part, (int)(bucket >> STEP_BITS) + EXPONENT_MIN);
}

static double gdsf_value(const struct ps_slot *slot)
{
    double cost = slot->entry->seconds > SECONDS_MIN ? (double)slot->entry->seconds : SECONDS_MIN;
    double uses = slot->uses <= 1 ? 0.5 : slot->uses;
    return uses * cost / (double)(ps_entry_bytes(slot->entry) + PS_SLOT_BYTES);
}

static void rank(struct gdsf *gdsf, uint32_t id)
{
    struct ps_slot *slot = ps_slots_at(gdsf->policy.slots, id);
    unsigned bucket = gdsf->plain ? slot->uses : bucket_of_value(gdsf_value(slot));
    slot->bucket = (uint16_t)bucket;
    slot->priority = gdsf->floor + (gdsf->plain ? slot->uses : value_of_bucket(bucket));
    ps_slot_list_push(&gdsf->lists[bucket], gdsf->policy.slots, id);
    head_changed(gdsf, bucket);
}

/* ---------------------------------------------------------------- the interface */

static void on_lookup(struct ps_policy *policy, const struct ps_key *key)
{
    ps_sketch_add(&((struct gdsf *)policy)->sketch, key);
}

static void on_remove(struct ps_policy *policy, uint32_t id)
{
    struct gdsf *gdsf = (struct gdsf *)policy;
    unsigned bucket = ps_slots_at(policy->slots, id)->bucket;
    ps_slot_list_remove(&gdsf->lists[bucket], policy->slots, id);
    head_changed(gdsf, bucket);
}

static void on_insert(struct ps_policy *policy, uint32_t id)
{
    struct gdsf *gdsf = (struct gdsf *)policy;
    struct ps_slot *slot = ps_slots_at(policy->slots, id);
    unsigned uses = gdsf->plain ? 1 : ps_sketch_estimate(&gdsf->sketch, &slot->key);
    uses = uses > slot->uses ? uses : slot->uses;
    slot->uses = (uint8_t)(uses > 0 ? uses : 1);
    rank(gdsf, id);
}

static void on_hit(struct ps_policy *policy, uint32_t id)
{
    struct ps_slot *slot = ps_slots_at(policy->slots, id);
    slot->uses += slot->uses < UINT8_MAX;
    on_remove(policy, id);
    rank((struct gdsf *)policy, id);
}

static uint32_t victim(struct ps_policy *policy)
{
    struct gdsf *gdsf = (struct gdsf *)policy;
    unsigned bucket = gdsf->winners[1];
    uint32_t id = gdsf->lists[bucket].oldest;
    if (id != PS_SLOT_NONE) {
        gdsf->floor = ps_slots_at(policy->slots, id)->priority;
        on_remove(policy, id);
    }
    return id;
}

const struct ps_policy_ops ps_policy_gdsf = {
    .make = gdsf_make,
    .free = gdsf_free,
    .on_lookup = on_lookup,
    .on_hit = on_hit,
    .on_insert = on_insert,
    .on_remove = on_remove,
    .victim = victim,
};

const struct ps_policy_ops ps_policy_lfuda = {
    .make = lfuda_make,
    .free = gdsf_free,
    .on_hit = on_hit,
    .on_insert = on_insert,
    .on_remove = on_remove,
    .victim = victim,
};
