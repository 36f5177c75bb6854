/* The policies that are one queue: LRU, and SIEVE (Zhang et al., NSDI 2024). */
#include <stdlib.h>

#include "gateway/l1_policy.h"

struct queue {
    struct ps_policy policy;
    struct ps_slot_list list;
    uint32_t hand; /* sieve: the next slot to be looked at; none = the oldest */
};

static int make(struct ps_policy **out, const struct ps_policy_opts *opts)
{
    (void)opts;
    struct queue *queue = calloc(1, sizeof *queue);
    if (queue == NULL) {
        return PS_ENOMEM;
    }
    queue->policy.bytes = sizeof *queue;
    *out = &queue->policy;
    return PS_OK;
}

static void queue_free(struct ps_policy *policy)
{
    free(policy);
}

static void on_insert(struct ps_policy *policy, uint32_t id)
{
    struct queue *queue = (struct queue *)policy;
    ps_slots_at(policy->slots, id)->mark = 0;
    ps_slot_list_push(&queue->list, policy->slots, id);
}

static void on_remove(struct ps_policy *policy, uint32_t id)
{
    struct queue *queue = (struct queue *)policy;
    if (queue->hand == id) {
        queue->hand = ps_slots_at(policy->slots, id)->prev;
    }
    ps_slot_list_remove(&queue->list, policy->slots, id);
}

static void lru_on_hit(struct ps_policy *policy, uint32_t id)
{
    struct queue *queue = (struct queue *)policy;
    ps_slot_list_remove(&queue->list, policy->slots, id);
    ps_slot_list_push(&queue->list, policy->slots, id);
}

static uint32_t lru_victim(struct ps_policy *policy)
{
    struct queue *queue = (struct queue *)policy;
    uint32_t id = queue->list.oldest;
    if (id != PS_SLOT_NONE) {
        on_remove(policy, id);
    }
    return id;
}

static void sieve_on_hit(struct ps_policy *policy, uint32_t id)
{
    ps_slots_at(policy->slots, id)->mark = 1;
}

/* The hand goes from the oldest to the newest and round again. */
static uint32_t sieve_victim(struct ps_policy *policy)
{
    struct queue *queue = (struct queue *)policy;
    uint32_t id = queue->hand != PS_SLOT_NONE ? queue->hand : queue->list.oldest;
    while (id != PS_SLOT_NONE && ps_slots_at(policy->slots, id)->mark != 0) {
        ps_slots_at(policy->slots, id)->mark = 0;
        id = ps_slots_at(policy->slots, id)->prev;
        id = id != PS_SLOT_NONE ? id : queue->list.oldest;
    }
    queue->hand = id;
    if (id != PS_SLOT_NONE) {
        on_remove(policy, id); /* moves the hand on */
    }
    return id;
}

const struct ps_policy_ops ps_policy_lru = {
    .make = make,
    .free = queue_free,
    .on_hit = lru_on_hit,
    .on_insert = on_insert,
    .on_remove = on_remove,
    .victim = lru_victim,
};

const struct ps_policy_ops ps_policy_sieve = {
    .make = make,
    .free = queue_free,
    .on_hit = sieve_on_hit,
    .on_insert = on_insert,
    .on_remove = on_remove,
    .victim = sieve_victim,
};
