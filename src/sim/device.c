#include "sim/device.h"

#include <stdbool.h>

#include "base/check.h"

/* What is left of the share behind the parts that are not cache. PS_OK or PS_ELIMIT. */
static int take_fixed(const struct ps_sim_opts *opts, uint64_t *share)
{
    /* one by one: the sum of three large options could wrap */
    const uint64_t fixed[] = {opts->context, opts->weights, opts->activations};
    for (size_t i = 0; i < PS_ARRAY_LEN(fixed); i++) {
        if (fixed[i] > *share) {
            return PS_ELIMIT;
        }
        *share -= fixed[i];
    }
    return PS_OK;
}

/* A cache of a given size, or of what the share leaves. */
static int size_cache(const struct ps_sim_opts *opts, uint64_t share, uint64_t *blocks)
{
    uint64_t block = opts->kv_bytes_per_token * PS_SIM_BLOCK_TOKENS;
    if (opts->kv_tokens > 0) {
        uint64_t count = (opts->kv_tokens + PS_SIM_BLOCK_TOKENS - 1) / PS_SIM_BLOCK_TOKENS;
        if (block > 0 && count > share / block) {
            return PS_ELIMIT;
        }
        *blocks = count;
        return PS_OK;
    }
    if (block == 0 || share < block) {
        return PS_ELIMIT;
    }
    *blocks = share / block;
    return PS_OK;
}

int ps_sim_device_init(struct ps_sim_device *device, const struct ps_sim_opts *opts,
                       uint64_t *blocks)
{
    bool all = opts->kv_tokens > 0; /* the share is only for caches that fill it */
    uint64_t share =
        all ? opts->memory : (uint64_t)((double)opts->memory * opts->gpu_memory_utilization);
    uint64_t count = 0;
    int err = take_fixed(opts, &share);
    err = err == PS_OK ? size_cache(opts, share, &count) : err;
    if (err != PS_OK) {
        return err;
    }
    *device = (struct ps_sim_device){
        .memory = opts->memory,
        .context = opts->context,
        .weights = opts->weights,
        .activations = opts->activations,
        .kv_cache = count * PS_SIM_BLOCK_TOKENS * opts->kv_bytes_per_token,
    };
    *blocks = count;
    return PS_OK;
}

struct ps_sim_usage ps_sim_device_usage(const struct ps_sim_device *device)
{
    struct ps_sim_usage usage = {
        .context = device->context,
        .weights = device->weights,
        .activations = device->activations,
        .kv_cache = device->kv_cache,
        .transient = device->active,
        .leaked = device->leaked,
        .cached = device->pools - device->active - device->leaked,
    };
    for (size_t i = 0; i < PS_SIM_SEGMENTS; i++) {
        const struct ps_sim_segment *segment = &device->segments[i];
        if (segment->asked == 0) {
            usage.cached += segment->bytes;
        } else {
            usage.transient += segment->asked;
            usage.fragmentation += segment->bytes - segment->asked;
        }
    }
    usage.reserved = usage.weights + usage.activations + usage.kv_cache + usage.transient +
                     usage.fragmentation + usage.leaked + usage.cached;
    usage.used = usage.context + usage.reserved;
    usage.free = device->memory - usage.used;
    return usage;
}

/* The smallest unused segment that is large enough, or NULL. */
static struct ps_sim_segment *find_cached(struct ps_sim_device *device, uint64_t bytes)
{
    struct ps_sim_segment *best = NULL;
    for (size_t i = 0; i < PS_SIM_SEGMENTS; i++) {
        struct ps_sim_segment *segment = &device->segments[i];
        if (segment->asked == 0 && segment->bytes >= bytes &&
            (best == NULL || segment->bytes < best->bytes)) {
            best = segment;
        }
    }
    return best;
}

/* A fresh segment from the device's free memory, or NULL. */
static struct ps_sim_segment *reserve(struct ps_sim_device *device, uint64_t bytes)
{
    if (bytes > device->memory) {
        return NULL;
    }
    bytes = (bytes + PS_SIM_SEGMENT_BYTES - 1) / PS_SIM_SEGMENT_BYTES * PS_SIM_SEGMENT_BYTES;
    if (bytes > ps_sim_device_usage(device).free) {
        return NULL;
    }
    for (size_t i = 0; i < PS_SIM_SEGMENTS; i++) {
        if (device->segments[i].bytes == 0) {
            device->segments[i].bytes = bytes;
            return &device->segments[i];
        }
    }
    return NULL;
}

int ps_sim_device_take(struct ps_sim_device *device, uint64_t bytes, size_t *handle)
{
    PS_CHECK(bytes > 0);
    struct ps_sim_segment *segment = find_cached(device, bytes);
    if (segment == NULL) {
        segment = reserve(device, bytes);
    }
    if (segment == NULL && ps_sim_device_empty_cache(device) > 0) {
        device->retries++;
        segment = reserve(device, bytes);
    }
    if (segment == NULL) {
        device->out_of_memory++;
        return PS_ELIMIT;
    }
    segment->asked = bytes;
    *handle = (size_t)(segment - device->segments);
    return PS_OK;
}

void ps_sim_device_give(struct ps_sim_device *device, size_t handle)
{
    PS_CHECK(handle < PS_SIM_SEGMENTS && device->segments[handle].asked > 0);
    device->segments[handle].asked = 0;
}

uint64_t ps_sim_device_empty_cache(struct ps_sim_device *device)
{
    uint64_t given = 0;
    for (size_t i = 0; i < PS_SIM_SEGMENTS; i++) {
        if (device->segments[i].asked == 0) {
            given += device->segments[i].bytes;
            device->segments[i].bytes = 0;
        }
    }
    return given;
}
