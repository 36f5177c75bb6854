/* device - the memory of a simulated GPU, byte by byte.
 *
 * Like a vLLM server it takes the weights, the room for the largest step and the whole key-value
 * cache at start. What is left serves transient allocations (images) through a caching allocator as
 * PyTorch has it: segments that were freed stay reserved and are used again, a request may get
 * a larger segment than it asked for (the difference is fragmentation), and only when the device is
 * full are the unused segments given back before it is out of memory.
 *
 * What requests take while they run (work_bytes_per_token) is kept by a pool of their model's: it
 * grows when it has to and shrinks only when the model leaves.
 *
 *      | context | weights | activations | key-value cache | pools | segments | free |
 *                       pools: in use, leaked, cached; segments: in use, lost around it, cached
 *
 * Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_DEVICE_H
#define PS_SIM_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "sim/options.h"

#define PS_SIM_SEGMENTS      64u
#define PS_SIM_SEGMENT_BYTES ((uint64_t)2 << 20) /* segments are multiples of this */

struct ps_sim_segment {
    uint64_t bytes; /* 0: this place is unused */
    uint64_t asked; /* 0: reserved, but not in use */
};

struct ps_sim_device {
    uint64_t memory;
    uint64_t context;
    uint64_t weights; /* these three: moved by sim/memory */
    uint64_t activations;
    uint64_t kv_cache;
    uint64_t pools;  /* what the allocators of the models keep; moved by sim/memory, as the next */
    uint64_t active; /* of this, in use by requests */
    uint64_t leaked; /* and lost by them */
    struct ps_sim_segment segments[PS_SIM_SEGMENTS];
    uint64_t retries;       /* how often unused segments had to be given back */
    uint64_t out_of_memory; /* how often that did not help */
};

/* Where the bytes are; the sum of all but used and reserved is the memory. */
struct ps_sim_usage {
    uint64_t context, weights, activations, kv_cache;
    uint64_t transient;     /* asked for and in use */
    uint64_t fragmentation; /* reserved around what is in use, of use to nobody */
    uint64_t leaked;        /* left behind by requests that have ended */
    uint64_t cached;        /* reserved and not in use */
    uint64_t free;
    uint64_t used;     /* memory - free: what a driver shows */
    uint64_t reserved; /* used - context: what the allocator holds */
};

/* Loads the weights and reserves the rest. *blocks gets the number of cache blocks: those of
 * kv_tokens, or as many as fit into gpu_memory_utilization. PS_OK, or PS_ELIMIT when they (or not a
 * single one) don't fit. */
PS_MUST_CHECK int ps_sim_device_init(struct ps_sim_device *device, const struct ps_sim_opts *opts,
                                     uint64_t *blocks);

/* Allocates; *handle names the segment. PS_OK, or PS_ELIMIT: out of memory, counted. */
PS_MUST_CHECK int ps_sim_device_take(struct ps_sim_device *device, uint64_t bytes, size_t *handle);

/* Frees; the segment stays reserved. */
void ps_sim_device_give(struct ps_sim_device *device, size_t handle);

/* Gives unused segments back to the device; returns the bytes. */
uint64_t ps_sim_device_empty_cache(struct ps_sim_device *device);

struct ps_sim_usage ps_sim_device_usage(const struct ps_sim_device *device);

#endif
