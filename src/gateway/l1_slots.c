#include "gateway/l1_slots.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

static size_t pages_of(uint32_t max)
{
    return ((size_t)max + PS_SLOT_PER_SLAB - 1) / PS_SLOT_PER_SLAB;
}

static uint32_t *new_page(void)
{
    return calloc(PS_SLOT_PER_SLAB, sizeof(uint32_t));
}

int ps_slots_init(struct ps_slots *slots, uint32_t max)
{
    *slots = (struct ps_slots){.max = max, .buckets = 1};
    slots->slabs = calloc(pages_of(max), sizeof(struct ps_slot *));
    slots->index = calloc(pages_of(max), sizeof(uint32_t *));
    if (slots->slabs != NULL && slots->index != NULL) {
        slots->index[0] = new_page();
    }
    if (slots->slabs == NULL || slots->index == NULL || slots->index[0] == NULL) {
        ps_slots_fini(slots);
        return PS_ENOMEM;
    }
    return PS_OK;
}

void ps_slots_fini(struct ps_slots *slots)
{
    for (uint32_t id = 1; id <= slots->used; id++) {
        ps_entry_unref(ps_slots_at(slots, id)->entry);
    }
    for (size_t i = 0; i < pages_of(slots->max); i++) {
        free(slots->slabs == NULL ? NULL : slots->slabs[i]);
        free(slots->index == NULL ? NULL : slots->index[i]);
    }
    free(slots->slabs);
    free(slots->index);
    *slots = (struct ps_slots){0};
}

size_t ps_slots_fixed_bytes(const struct ps_slots *slots)
{
    return pages_of(slots->max) * 2 * sizeof(void *);
}

static uint32_t hash_of(const struct ps_key *key)
{
    uint32_t hash;
    memcpy(&hash, key->bytes, sizeof hash);
    return hash;
}

/* The smallest power of two that is not below n, less one. */
static uint32_t mask_for(uint32_t n)
{
    return n <= 1 ? 0 : UINT32_MAX >> __builtin_clz(n - 1);
}

static uint32_t *bucket_at(const struct ps_slots *slots, uint32_t bucket)
{
    return &slots->index[bucket / PS_SLOT_PER_SLAB][bucket % PS_SLOT_PER_SLAB];
}

static uint32_t *bucket_of(const struct ps_slots *slots, const struct ps_key *key)
{
    uint32_t mask = mask_for(slots->buckets);
    uint32_t bucket = hash_of(key) & mask;
    return bucket_at(slots, bucket < slots->buckets ? bucket : bucket & mask >> 1);
}

uint32_t ps_slots_find(const struct ps_slots *slots, const struct ps_key *key)
{
    uint32_t id = *bucket_of(slots, key);
    while (id != PS_SLOT_NONE) {
        const struct ps_slot *slot = ps_slots_at(slots, id);
        if (memcmp(slot->key.bytes, key->bytes, sizeof key->bytes) == 0) {
            break;
        }
        id = slot->chain;
    }
    return id;
}

/* Moves what belongs to the new last bucket out of the bucket that it was part of. */
static void split(struct ps_slots *slots)
{
    uint32_t fresh = slots->buckets++;
    uint32_t mask = mask_for(slots->buckets);
    uint32_t *to = bucket_at(slots, fresh);
    uint32_t *link = bucket_at(slots, fresh & mask >> 1);
    while (*link != PS_SLOT_NONE) {
        struct ps_slot *slot = ps_slots_at(slots, *link);
        uint32_t id = *link;
        if ((hash_of(&slot->key) & mask) == fresh) {
            *link = slot->chain;
            slot->chain = *to;
            *to = id;
        } else {
            link = &slot->chain;
        }
    }
}

/* One bucket for each slot. Without memory for a page the chains become longer, nothing more. */
static void grow_index(struct ps_slots *slots)
{
    uint32_t page = slots->buckets / PS_SLOT_PER_SLAB;
    if (slots->count < slots->buckets || slots->buckets >= slots->max) {
        return;
    }
    if (slots->index[page] == NULL) {
        slots->index[page] = new_page();
    }
    if (slots->index[page] != NULL) {
        split(slots);
    }
}

static int take_slot(struct ps_slots *slots, uint32_t *id)
{
    if (slots->free != PS_SLOT_NONE) {
        *id = slots->free;
        slots->free = ps_slots_at(slots, *id)->chain;
        return PS_OK;
    }
    if (slots->used == slots->max) {
        return PS_ELIMIT;
    }
    uint32_t slab = slots->used / PS_SLOT_PER_SLAB;
    if (slots->slabs[slab] == NULL) {
        slots->slabs[slab] = malloc(PS_SLOT_PER_SLAB * sizeof(struct ps_slot));
    }
    if (slots->slabs[slab] == NULL) {
        return PS_ENOMEM;
    }
    *id = ++slots->used;
    return PS_OK;
}

int ps_slots_add(struct ps_slots *slots, const struct ps_key *key, struct ps_entry *entry,
                 uint32_t *id)
{
    uint32_t taken = PS_SLOT_NONE;
    int err = take_slot(slots, &taken);
    if (err != PS_OK) {
        return err;
    }
    grow_index(slots);
    uint32_t *bucket = bucket_of(slots, key);
    *ps_slots_at(slots, taken) = (struct ps_slot){.key = *key, .entry = entry, .chain = *bucket};
    *bucket = taken;
    slots->count++;
    *id = taken;
    return PS_OK;
}

struct ps_entry *ps_slots_remove(struct ps_slots *slots, uint32_t id)
{
    struct ps_slot *slot = ps_slots_at(slots, id);
    struct ps_entry *entry = slot->entry;
    uint32_t *link = bucket_of(slots, &slot->key);
    while (*link != id) {
        PS_CHECK(*link != PS_SLOT_NONE);
        link = &ps_slots_at(slots, *link)->chain;
    }
    *link = slot->chain;
    slot->entry = NULL;
    slot->chain = slots->free;
    slots->free = id;
    slots->count--;
    return entry;
}
