/* memory - which models are on the device, how they leave it and come back, and how a server lies
 * about that.
 *
 * A slot is a model with its parts: weights, activations, key-value cache; and with a pool, from
 * which its requests take memory while they run. The pool grows and never shrinks: what was given
 * back is used again, what was leaked is not, and all of it goes with the model. Releasing a part is
 * what the server says at once and what the device shows when it is true: usually in the same
 * instant, after unload_delay where an engine takes its time, and as opts->lie wants it otherwise.
 * Restoring takes the bytes at once and says from when on the model can compute.
 *
 *      held --- release ---> not held, bytes leave now or when due --- restore ---> held from
 * `ready` on
 *
 * Pure: time is an argument and the caller keeps the timer.
 *
 * Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_MEMORY_H
#define PS_SIM_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/rng.h"
#include "sim/device.h"
#include "sim/options.h"

#define PS_SIM_MOST_SLOTS 32u
#define PS_SIM_PARTS      3u
#define PS_SIM_POOL       PS_SIM_PARTS /* what the model's allocator keeps for its requests */
#define PS_SIM_REGIONS    (PS_SIM_PARTS + 1)

enum ps_sim_part {
    PS_SIM_WEIGHTS = 1,
    PS_SIM_ACTIVATIONS = 2,
    PS_SIM_KV_CACHE = 4,
    PS_SIM_ALL_PARTS = 7
};

/* Where weights come from when they come back. */
enum ps_sim_source { PS_SIM_FROM_DISK, PS_SIM_FROM_HOST };

struct ps_sim_slot {
    unsigned held;                /* parts that the server says are there */
    uint64_t bytes[PS_SIM_REGIONS]; /* what is on the device */
    uint64_t then[PS_SIM_REGIONS];  /* and what will be left of it ... */
    ps_time due[PS_SIM_REGIONS];    /* ... at this instant, or PS_NEVER */
    uint64_t active;                /* of the pool: in use by requests */
    uint64_t leaked;                /* of the pool: lost by them */
    ps_time ready;                /* from when on the model can compute, once it is held */
    ps_time used;                 /* last time that somebody began or ended to use it */
    ps_time expires;              /* when it is released if nobody uses it; PS_NEVER */
    ps_span loaded_in;            /* how long the last restore takes */
    uint64_t loads;               /* how often it came from disk */
    size_t users;                 /* requests that need it now */
};

struct ps_sim_memory {
    struct ps_sim_device *device;
    const struct ps_sim_opts *opts;
    struct ps_rng rng; /* spreads unload_delay */
    struct ps_sim_slot slots[PS_SIM_MOST_SLOTS];
    size_t count;
    uint64_t full[PS_SIM_PARTS]; /* what the parts of one slot take */
    uint64_t releases;           /* calls that released something */
};

/* The device holds one model as ps_sim_device_init() left it. loaded: all slots are held, otherwise
 * none is. Device and options are borrowed. PS_OK, or PS_ELIMIT: they don't fit. */
PS_MUST_CHECK int ps_sim_memory_init(struct ps_sim_memory *memory, struct ps_sim_device *device,
                                     const struct ps_sim_opts *opts, size_t slots, bool loaded);

/* Does the server say that all of these parts are there? */
bool ps_sim_memory_holds(const struct ps_sim_memory *memory, size_t slot, unsigned parts);

/* Releases those of the parts that are held. */
void ps_sim_memory_release(struct ps_sim_memory *memory, size_t slot, unsigned parts, ps_time now);

/* Brings parts back; nothing happens to those that are held. PS_OK, or PS_ELIMIT when the device
 * has no room: nothing was changed then. */
PS_MUST_CHECK int ps_sim_memory_restore(struct ps_sim_memory *memory, size_t slot, unsigned parts,
                                        enum ps_sim_source source, ps_time now);

/* Brings a whole model from disk, as a server does that loads on demand: models that nobody uses
 * make room, the one that was used longest ago first, and the time that they take to leave is
 * added. PS_OK, or PS_ELIMIT: there is no room even so. */
PS_MUST_CHECK int ps_sim_memory_load(struct ps_sim_memory *memory, size_t slot, ps_time now);

/* A request takes memory from the model's pool. PS_OK, or PS_ELIMIT: the pool has to grow and the
 * device is full; counted. */
PS_MUST_CHECK int ps_sim_memory_take(struct ps_sim_memory *memory, size_t slot, uint64_t bytes);

/* It has ended; of the bytes, `leak` are lost (all of them at most). */
void ps_sim_memory_give(struct ps_sim_memory *memory, size_t slot, uint64_t bytes, uint64_t leak);

/* Bytes that the slot has on the device, whatever the server says. */
uint64_t ps_sim_memory_bytes(const struct ps_sim_memory *memory, size_t slot);

/* Is the slot to be released now because nobody used it for long? */
bool ps_sim_memory_is_expired(const struct ps_sim_memory *memory, size_t slot, ps_time now);

/* Lets the bytes go whose time has come. Returns when to call again, or PS_NEVER. */
ps_time ps_sim_memory_tick(struct ps_sim_memory *memory, ps_time now);

#endif
