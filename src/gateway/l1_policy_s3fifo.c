/* S3-FIFO (Yang et al., SOSP 2023): a small queue for what is new, a main queue for what was used
 * again, and a memory of keys that left the small one. Queues are measured in bytes. */
#include <stdlib.h>
#include <string.h>

#include "gateway/l1_policy.h"

enum { SMALL, MAIN };
enum { WAYS = 4, USES_MAX = 3 };

/* Who left the small queue, and when: "when" is how many bytes have left it so far. */
struct ghost {
    uint32_t print; /* of the key; 0 = empty */
    uint32_t when;
};

struct s3fifo {
    struct ps_policy policy;
    struct ps_slot_list queues[2];
    uint64_t bytes;       /* that all entries may take */
    uint64_t unit;        /* bytes in one step of the ghosts' clock */
    uint64_t left;        /* bytes that left the small queue */
    struct ghost *ghosts; /* sets of WAYS */
    uint64_t sets;        /* a power of two */
};

static int make(struct ps_policy **out, const struct ps_policy_opts *opts)
{
    struct s3fifo *s3 = calloc(1, sizeof *s3);
    uint64_t sets = 64;
    while (sets < UINT64_C(1) << 40 && sets * WAYS < opts->entries * 2) {
        sets *= 2;
    }
    struct ghost *ghosts = calloc(sets * WAYS, sizeof *ghosts);
    if (s3 == NULL || ghosts == NULL) {
        free(s3);
        free(ghosts);
        return PS_ENOMEM;
    }
    s3->bytes = opts->bytes;
    s3->unit = (opts->bytes >> 20) + 1;
    s3->ghosts = ghosts;
    s3->sets = sets;
    s3->policy.bytes = sizeof *s3 + sets * WAYS * sizeof *ghosts;
    *out = &s3->policy;
    return PS_OK;
}

static void s3_free(struct ps_policy *policy)
{
    free(((struct s3fifo *)policy)->ghosts);
    free(policy);
}

static struct ghost *set_of(struct s3fifo *s3, const struct ps_key *key, uint32_t *print)
{
    uint64_t hash;
    memcpy(&hash, key->bytes + 8, sizeof hash);
    memcpy(print, key->bytes + 16, sizeof *print);
    *print |= 1;
    return s3->ghosts + (hash & (s3->sets - 1)) * WAYS;
}

static uint32_t clock_of(const struct s3fifo *s3)
{
    return (uint32_t)(s3->left / s3->unit);
}

/* It is remembered while less than nine tenths of the cache has left after it. */
static bool is_remembered(const struct s3fifo *s3, const struct ghost *ghost)
{
    return ghost->print != 0 &&
           (uint64_t)(clock_of(s3) - ghost->when) * s3->unit < s3->bytes / 10 * 9;
}

static void remember(struct s3fifo *s3, uint32_t id)
{
    const struct ps_slot *slot = ps_slots_at(s3->policy.slots, id);
    uint32_t print;
    struct ghost *set = set_of(s3, &slot->key, &print);
    struct ghost *oldest = set;
    for (unsigned i = 0; i < WAYS; i++) {
        if (!is_remembered(s3, &set[i])) {
            oldest = &set[i];
            break;
        }
        oldest = clock_of(s3) - set[i].when > clock_of(s3) - oldest->when ? &set[i] : oldest;
    }
    s3->left += ps_entry_bytes(slot->entry);
    *oldest = (struct ghost){print, clock_of(s3)};
}

/* Was it remembered? It is not any more. */
static bool recall(struct s3fifo *s3, const struct ps_key *key)
{
    uint32_t print;
    struct ghost *set = set_of(s3, key, &print);
    for (unsigned i = 0; i < WAYS; i++) {
        if (set[i].print == print && is_remembered(s3, &set[i])) {
            set[i].print = 0;
            return true;
        }
    }
    return false;
}

static void push(struct s3fifo *s3, unsigned queue, uint32_t id)
{
    struct ps_slot *slot = ps_slots_at(s3->policy.slots, id);
    slot->bucket = (uint16_t)queue;
    slot->mark = 0;
    ps_slot_list_push(&s3->queues[queue], s3->policy.slots, id);
}

static void on_hit(struct ps_policy *policy, uint32_t id)
{
    struct ps_slot *slot = ps_slots_at(policy->slots, id);
    slot->mark += slot->mark < USES_MAX;
}

static void on_insert(struct ps_policy *policy, uint32_t id)
{
    struct s3fifo *s3 = (struct s3fifo *)policy;
    push(s3, recall(s3, &ps_slots_at(policy->slots, id)->key) ? MAIN : SMALL, id);
}

static void on_remove(struct ps_policy *policy, uint32_t id)
{
    struct s3fifo *s3 = (struct s3fifo *)policy;
    ps_slot_list_remove(&s3->queues[ps_slots_at(policy->slots, id)->bucket], policy->slots, id);
}

/* From the main queue: what was used goes round once more for each use. */
static uint32_t main_victim(struct s3fifo *s3)
{
    struct ps_slot_list *list = &s3->queues[MAIN];
    for (;;) {
        uint32_t id = list->oldest;
        if (id == PS_SLOT_NONE) {
            return id;
        }
        struct ps_slot *slot = ps_slots_at(s3->policy.slots, id);
        ps_slot_list_remove(list, s3->policy.slots, id);
        if (slot->mark == 0) {
            return id;
        }
        slot->mark--;
        ps_slot_list_push(list, s3->policy.slots, id);
    }
}

/* From the small queue: what was used twice moves to the main one. */
static uint32_t small_victim(struct s3fifo *s3)
{
    struct ps_slot_list *list = &s3->queues[SMALL];
    for (;;) {
        uint32_t id = list->oldest;
        if (id == PS_SLOT_NONE) {
            return id;
        }
        ps_slot_list_remove(list, s3->policy.slots, id);
        if (ps_slots_at(s3->policy.slots, id)->mark <= 1) {
            remember(s3, id);
            return id;
        }
        push(s3, MAIN, id);
        if (s3->queues[MAIN].bytes > s3->bytes / 10 * 9) {
            return main_victim(s3);
        }
    }
}

static uint32_t victim(struct ps_policy *policy)
{
    struct s3fifo *s3 = (struct s3fifo *)policy;
    bool small = s3->queues[SMALL].bytes > s3->bytes / 10 || s3->queues[MAIN].bytes == 0;
    uint32_t id = small ? small_victim(s3) : main_victim(s3);
    if (id == PS_SLOT_NONE) {
        id = small ? main_victim(s3) : small_victim(s3);
    }
    return id;
}

const struct ps_policy_ops ps_policy_s3fifo = {
    .make = make,
    .free = s3_free,
    .on_hit = on_hit,
    .on_insert = on_insert,
    .on_remove = on_remove,
    .victim = victim,
};
