#include "sim/usage.h"

#include <assert.h>

#include "base/check.h"

/* The device's bytes by kind; the kinds up to and with "free" add up to the total. */
struct kind {
    const char *name;
    size_t offset;
};

static const struct kind kinds[] = {
    {"context", offsetof(struct ps_sim_usage, context)},
    {"weights", offsetof(struct ps_sim_usage, weights)},
    {"activations", offsetof(struct ps_sim_usage, activations)},
    {"kv_cache", offsetof(struct ps_sim_usage, kv_cache)},
    {"transient", offsetof(struct ps_sim_usage, transient)},
    {"fragmentation", offsetof(struct ps_sim_usage, fragmentation)},
    {"leaked", offsetof(struct ps_sim_usage, leaked)},
    {"cached", offsetof(struct ps_sim_usage, cached)},
    {"free", offsetof(struct ps_sim_usage, free)},
    {"used", offsetof(struct ps_sim_usage, used)},
    {"reserved", offsetof(struct ps_sim_usage, reserved)},
};

static_assert(PS_ARRAY_LEN(kinds) == PS_SIM_USAGE_KINDS, "the header says how many there are");

const char *ps_sim_usage_name(size_t kind)
{
    return kinds[kind].name;
}

uint64_t ps_sim_usage_bytes(const struct ps_sim_usage *usage, size_t kind)
{
    return *(const uint64_t *)(const void *)((const char *)usage + kinds[kind].offset);
}
