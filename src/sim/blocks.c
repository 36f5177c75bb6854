#include "sim/blocks.h"

#include <stdlib.h>

#include "base/check.h"

struct block {
    uint64_t hash; /* valid when known */
    uint32_t refs;
    uint32_t next, prev; /* idle list; valid when refs == 0 */
    uint32_t chain;      /* next of the same bucket */
    bool known;
};

struct ps_sim_blocks {
    struct block *blocks;
    uint32_t *buckets; /* first block of each chain */
    uint32_t mask;
    uint32_t count;
    uint32_t first, last; /* idle list */
    uint32_t idle;
    uint32_t cached;
};

static void push_idle(struct ps_sim_blocks *b, uint32_t id)
{
    b->blocks[id].next = PS_SIM_NO_BLOCK;
    b->blocks[id].prev = b->last;
    if (b->last == PS_SIM_NO_BLOCK) {
        b->first = id;
    } else {
        b->blocks[b->last].next = id;
    }
    b->last = id;
    b->idle++;
}

static void remove_idle(struct ps_sim_blocks *b, uint32_t id)
{
    const struct block *block = &b->blocks[id];
    if (block->prev == PS_SIM_NO_BLOCK) {
        b->first = block->next;
    } else {
        b->blocks[block->prev].next = block->next;
    }
    if (block->next == PS_SIM_NO_BLOCK) {
        b->last = block->prev;
    } else {
        b->blocks[block->next].prev = block->prev;
    }
    b->idle--;
}

static void forget(struct ps_sim_blocks *b, uint32_t id)
{
    struct block *block = &b->blocks[id];
    if (!block->known) {
        return;
    }
    uint32_t *at = &b->buckets[block->hash & b->mask];
    while (*at != id) {
        at = &b->blocks[*at].chain;
    }
    *at = block->chain;
    block->known = false;
    b->cached--;
}

int ps_sim_blocks_new(struct ps_sim_blocks **out, uint64_t count)
{
    if (count == 0 || count > PS_SIM_MOST_BLOCKS) {
        return PS_ELIMIT;
    }
    uint32_t buckets = 1;
    while (buckets < count) {
        buckets *= 2;
    }
    struct ps_sim_blocks *b = calloc(1, sizeof *b);
    if (b == NULL) {
        return PS_ENOMEM;
    }
    b->blocks = calloc(count, sizeof *b->blocks);
    b->buckets = malloc(buckets * sizeof *b->buckets);
    if (b->blocks == NULL || b->buckets == NULL) {
        ps_sim_blocks_free(b);
        return PS_ENOMEM;
    }
    for (uint32_t i = 0; i < buckets; i++) {
        b->buckets[i] = PS_SIM_NO_BLOCK;
    }
    b->mask = buckets - 1;
    b->count = (uint32_t)count;
    b->first = b->last = PS_SIM_NO_BLOCK;
    for (uint32_t i = 0; i < b->count; i++) {
        push_idle(b, i);
    }
    *out = b;
    return PS_OK;
}

void ps_sim_blocks_free(struct ps_sim_blocks *b)
{
    if (b != NULL) {
        free(b->blocks);
        free(b->buckets);
        free(b);
    }
}

uint32_t ps_sim_blocks_count(const struct ps_sim_blocks *b)
{
    return b->count;
}

uint32_t ps_sim_blocks_idle(const struct ps_sim_blocks *b)
{
    return b->idle;
}

uint32_t ps_sim_blocks_cached(const struct ps_sim_blocks *b)
{
    return b->cached;
}

uint32_t ps_sim_blocks_find(const struct ps_sim_blocks *b, uint64_t hash)
{
    uint32_t id = b->buckets[hash & b->mask];
    while (id != PS_SIM_NO_BLOCK && b->blocks[id].hash != hash) {
        id = b->blocks[id].chain;
    }
    return id;
}

void ps_sim_blocks_ref(struct ps_sim_blocks *b, uint32_t id)
{
    PS_CHECK(id < b->count);
    if (b->blocks[id].refs++ == 0) {
        remove_idle(b, id);
    }
}

uint32_t ps_sim_blocks_take(struct ps_sim_blocks *b)
{
    uint32_t id = b->first;
    if (id != PS_SIM_NO_BLOCK) {
        forget(b, id);
        ps_sim_blocks_ref(b, id);
    }
    return id;
}

void ps_sim_blocks_unref(struct ps_sim_blocks *b, uint32_t id)
{
    PS_CHECK(id < b->count && b->blocks[id].refs > 0);
    if (--b->blocks[id].refs == 0) {
        push_idle(b, id);
    }
}

void ps_sim_blocks_publish(struct ps_sim_blocks *b, uint32_t id, uint64_t hash)
{
    struct block *block = &b->blocks[id];
    if (block->known || ps_sim_blocks_find(b, hash) != PS_SIM_NO_BLOCK) {
        return;
    }
    block->hash = hash;
    block->known = true;
    block->chain = b->buckets[hash & b->mask];
    b->buckets[hash & b->mask] = id;
    b->cached++;
}

bool ps_sim_blocks_reset(struct ps_sim_blocks *b)
{
    if (b->idle != b->count) {
        return false;
    }
    for (uint32_t i = 0; i < b->count; i++) {
        forget(b, i);
    }
    return true;
}

static bool idle_list_is_sane(const struct ps_sim_blocks *b)
{
    uint32_t seen = 0;
    uint32_t before = PS_SIM_NO_BLOCK;
    for (uint32_t id = b->first; id != PS_SIM_NO_BLOCK; id = b->blocks[id].next) {
        if (++seen > b->count || b->blocks[id].refs != 0 || b->blocks[id].prev != before) {
            return false;
        }
        before = id;
    }
    return before == b->last && seen == b->idle;
}

bool ps_sim_blocks_is_sane(const struct ps_sim_blocks *b)
{
    uint32_t known = 0;
    uint32_t idle = 0;
    for (uint32_t i = 0; i < b->count; i++) {
        known += b->blocks[i].known;
        idle += b->blocks[i].refs == 0;
        if (b->blocks[i].known && ps_sim_blocks_find(b, b->blocks[i].hash) != i) {
            return false;
        }
    }
    return known == b->cached && idle == b->idle && idle_list_is_sane(b);
}
