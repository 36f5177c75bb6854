#include "gateway/l1_policy.h"

#include <stdlib.h>

const char *const ps_policy_names[] = {"gdsf", "lru", "s3fifo", "sieve", "lfuda", NULL};

static const struct ps_policy_ops *const policies[PS_POLICY_COUNT] = {
    [PS_POLICY_GDSF] = &ps_policy_gdsf,     [PS_POLICY_LRU] = &ps_policy_lru,
    [PS_POLICY_S3FIFO] = &ps_policy_s3fifo, [PS_POLICY_SIEVE] = &ps_policy_sieve,
    [PS_POLICY_LFUDA] = &ps_policy_lfuda,
};

int ps_policy_new(struct ps_policy **out, enum ps_policy_kind kind,
                  const struct ps_policy_opts *opts)
{
    struct ps_policy *policy = NULL;
    int err = policies[kind]->make(&policy, opts);
    if (err != PS_OK) {
        return err;
    }
    policy->ops = policies[kind];
    policy->slots = opts->slots;
    *out = policy;
    return PS_OK;
}

void ps_policy_free(struct ps_policy *policy)
{
    if (policy != NULL) {
        policy->ops->free(policy);
    }
}

void ps_slot_list_push(struct ps_slot_list *list, const struct ps_slots *slots, uint32_t id)
{
    struct ps_slot *slot = ps_slots_at(slots, id);
    slot->prev = PS_SLOT_NONE;
    slot->next = list->newest;
    if (list->newest != PS_SLOT_NONE) {
        ps_slots_at(slots, list->newest)->prev = id;
    } else {
        list->oldest = id;
    }
    list->newest = id;
    list->bytes += ps_entry_bytes(slot->entry);
}

void ps_slot_list_remove(struct ps_slot_list *list, const struct ps_slots *slots, uint32_t id)
{
    struct ps_slot *slot = ps_slots_at(slots, id);
    if (slot->prev != PS_SLOT_NONE) {
        ps_slots_at(slots, slot->prev)->next = slot->next;
    } else {
        list->newest = slot->next;
    }
    if (slot->next != PS_SLOT_NONE) {
        ps_slots_at(slots, slot->next)->prev = slot->prev;
    } else {
        list->oldest = slot->prev;
    }
    list->bytes -= ps_entry_bytes(slot->entry);
}
