#include "gateway/tier_own.h"

#include <stdlib.h>

static struct ps_tier_own_record **place(struct ps_tier_own *own, uint64_t number)
{
    return &own->ring[number % PS_TIER_OWN_MAX];
}

static void drop_first(struct ps_tier_own *own)
{
    free(*place(own, own->first));
    own->first++;
}

void ps_tier_own_fini(struct ps_tier_own *own)
{
    while (own->first < own->next) {
        drop_first(own);
    }
}

static void make_room(struct ps_tier_own *own, ps_time forget)
{
    while (own->first < own->next && (*place(own, own->first))->at < forget) {
        drop_first(own);
    }
    own->floor = own->floor < forget ? 0 : own->floor;
    if (own->next - own->first == PS_TIER_OWN_MAX) {
        const struct ps_tier_own_record *oldest = *place(own, own->first);
        if (!oldest->everywhere && oldest->at > own->floor) {
            own->floor = oldest->at;
        }
        drop_first(own);
    }
}

int ps_tier_own_add(struct ps_tier_own *own, struct ps_str bytes, ps_time at, ps_time forget)
{
    struct ps_tier_own_record *record = malloc(sizeof *record + bytes.len);
    if (record == NULL) {
        return PS_ENOMEM;
    }
    *record = (struct ps_tier_own_record){.at = at, .len = (uint32_t)bytes.len};
    memcpy(record->bytes, bytes.ptr, bytes.len);
    make_room(own, forget);
    *place(own, own->next++) = record;
    return PS_OK;
}

void ps_tier_own_drop_last(struct ps_tier_own *own)
{
    free(*place(own, --own->next));
}

struct ps_tier_own_record *ps_tier_own_at(const struct ps_tier_own *own, uint64_t number)
{
    bool there = number >= own->first && number < own->next;
    return there ? own->ring[number % PS_TIER_OWN_MAX] : NULL;
}
