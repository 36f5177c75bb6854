#include "sim/memory.h"

#include "base/check.h"

static uint64_t *device_field(struct ps_sim_device *device, size_t part)
{
    uint64_t *fields[PS_SIM_REGIONS] = {&device->weights, &device->activations, &device->kv_cache,
                                        &device->pools};
    return fields[part];
}

static void set_bytes(struct ps_sim_memory *memory, struct ps_sim_slot *slot, size_t part,
                      uint64_t bytes)
{
    uint64_t *field = device_field(memory->device, part);
    *field = *field - slot->bytes[part] + bytes;
    slot->bytes[part] = bytes;
    slot->due[part] = PS_NEVER;
}

/* The pool as its model leaves it: nothing is in use, and what stays is of use to nobody. */
static void drop_pool(struct ps_sim_memory *memory, struct ps_sim_slot *slot, uint64_t left)
{
    struct ps_sim_device *device = memory->device;
    device->active -= slot->active;
    device->leaked = device->leaked - slot->leaked + left;
    slot->active = 0;
    slot->leaked = left;
    set_bytes(memory, slot, PS_SIM_POOL, left);
}

static bool is_in(unsigned parts, size_t part)
{
    return (parts >> part & 1) != 0;
}

/* The bytes that the parts lack on the device. */
static uint64_t missing(const struct ps_sim_memory *memory, const struct ps_sim_slot *slot,
                        unsigned parts)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < PS_SIM_PARTS; i++) {
        sum += is_in(parts, i) ? memory->full[i] - slot->bytes[i] : 0;
    }
    return sum;
}

static void fill(struct ps_sim_memory *memory, struct ps_sim_slot *slot, unsigned parts)
{
    for (size_t i = 0; i < PS_SIM_PARTS; i++) {
        if (is_in(parts, i)) {
            set_bytes(memory, slot, i, memory->full[i]);
        }
    }
    if (slot->due[PS_SIM_POOL] != PS_NEVER) { /* a new process has a pool of its own */
        drop_pool(memory, slot, slot->then[PS_SIM_POOL]);
    }
    slot->held |= parts;
}

int ps_sim_memory_init(struct ps_sim_memory *memory, struct ps_sim_device *device,
                       const struct ps_sim_opts *opts, size_t slots, bool loaded)
{
    PS_CHECK(slots > 0 && slots <= PS_SIM_MOST_SLOTS);
    *memory = (struct ps_sim_memory){
        .device = device,
        .opts = opts,
        .rng = ps_rng_make(opts->seed ^ 0x6d656d6f7279u),
        .count = slots,
    };
    for (size_t i = 0; i < PS_SIM_PARTS; i++) {
        memory->full[i] = *device_field(device, i);
        *device_field(device, i) = 0;
    }
    for (size_t i = 0; i < slots; i++) {
        struct ps_sim_slot *slot = &memory->slots[i];
        *slot = (struct ps_sim_slot){.expires = PS_NEVER, .due = {PS_NEVER, PS_NEVER, PS_NEVER, PS_NEVER}};
        if (loaded && missing(memory, slot, PS_SIM_ALL_PARTS) > ps_sim_device_usage(device).free) {
            return PS_ELIMIT;
        }
        if (loaded) {
            fill(memory, slot, PS_SIM_ALL_PARTS);
        }
    }
    return PS_OK;
}

bool ps_sim_memory_holds(const struct ps_sim_memory *memory, size_t slot, unsigned parts)
{
    return (memory->slots[slot].held & parts) == parts;
}

/* --- leaving ---------------------------------------------------------------------------------- */

/* Somewhere from half of unload_delay to one and a half of it. */
static ps_span unload_span(struct ps_sim_memory *memory)
{
    double mean = (double)memory->opts->unload_delay / memory->opts->speed;
    return (ps_span)(mean * (0.5 + ps_rng_unit(&memory->rng)));
}

static void release_part(struct ps_sim_memory *memory, struct ps_sim_slot *slot, size_t part,
                         ps_time due)
{
    uint64_t left = 0;
    switch (memory->opts->lie) {
    case PS_SIM_LIE_KEEP:
        return;
    case PS_SIM_LIE_HALF:
        left = slot->bytes[part] / 2;
        break;
    case PS_SIM_LIE_NONE:
    case PS_SIM_LIE_LATE:
    case PS_SIM_LIE_BUSY:
        break;
    }
    slot->then[part] = left;
    slot->due[part] = due;
}

void ps_sim_memory_release(struct ps_sim_memory *memory, size_t slot, unsigned parts, ps_time now)
{
    struct ps_sim_slot *it = &memory->slots[slot];
    unsigned leaving = it->held & parts;
    ps_time due = now;
    if (leaving == 0) {
        return;
    }
    if (memory->opts->lie == PS_SIM_LIE_LATE) {
        due = now + memory->opts->lie_delay;
    } else if (memory->opts->unload_delay > 0) {
        due = now + unload_span(memory);
    }
    it->held &= ~leaving;
    it->expires = PS_NEVER;
    memory->releases++;
    for (size_t i = 0; i < PS_SIM_PARTS; i++) {
        if (is_in(leaving, i)) {
            release_part(memory, it, i, due);
        }
    }
    if (it->held == 0 && it->users == 0) {
        release_part(memory, it, PS_SIM_POOL, due);
    }
    (void)ps_sim_memory_tick(memory, now);
}

bool ps_sim_memory_is_expired(const struct ps_sim_memory *memory, size_t slot, ps_time now)
{
    const struct ps_sim_slot *it = &memory->slots[slot];
    return it->held != 0 && it->users == 0 && it->expires <= now;
}

/* What was released has left. */
static void leave(struct ps_sim_memory *memory, struct ps_sim_slot *slot, size_t region)
{
    if (region == PS_SIM_POOL) {
        drop_pool(memory, slot, slot->then[region]);
    } else {
        set_bytes(memory, slot, region, slot->then[region]);
    }
}

ps_time ps_sim_memory_tick(struct ps_sim_memory *memory, ps_time now)
{
    ps_time next = PS_NEVER;
    for (size_t s = 0; s < memory->count; s++) {
        struct ps_sim_slot *slot = &memory->slots[s];
        for (size_t i = 0; i < PS_SIM_REGIONS; i++) {
            if (slot->due[i] <= now) {
                leave(memory, slot, i);
            } else if (slot->due[i] < next) {
                next = slot->due[i];
            }
        }
        if (slot->held != 0 && slot->users == 0 && slot->expires < next) {
            next = slot->expires;
        }
    }
    return next;
}

/* --- coming back ------------------------------------------------------------------------------ */

static ps_span load_span(const struct ps_sim_memory *memory, unsigned parts,
                         enum ps_sim_source source)
{
    double rate = source == PS_SIM_FROM_DISK ? memory->opts->load_rate : memory->opts->wake_rate;
    double bytes = (parts & PS_SIM_WEIGHTS) != 0 ? (double)memory->full[0] : 0;
    double span = bytes / rate / memory->opts->speed * 1e9;
    return span > (double)PS_HOUR ? PS_HOUR : (ps_span)span;
}

int ps_sim_memory_restore(struct ps_sim_memory *memory, size_t slot, unsigned parts,
                          enum ps_sim_source source, ps_time now)
{
    struct ps_sim_slot *it = &memory->slots[slot];
    unsigned coming = parts & ~it->held;
    if (coming == 0) {
        return PS_OK;
    }
    if (missing(memory, it, coming) > ps_sim_device_usage(memory->device).free &&
        ps_sim_device_empty_cache(memory->device) > 0) {
        memory->device->retries++;
    }
    if (missing(memory, it, coming) > ps_sim_device_usage(memory->device).free) {
        memory->device->out_of_memory++;
        return PS_ELIMIT;
    }
    fill(memory, it, coming);
    it->loaded_in = load_span(memory, coming, source);
    it->ready = now + it->loaded_in;
    it->loads += source == PS_SIM_FROM_DISK && (coming & PS_SIM_WEIGHTS) != 0;
    return PS_OK;
}

/* The model that makes room next: nobody uses it, and nobody has for longest. NULL: none. */
static struct ps_sim_slot *find_victim(struct ps_sim_memory *memory, size_t besides)
{
    struct ps_sim_slot *best = NULL;
    for (size_t i = 0; i < memory->count; i++) {
        struct ps_sim_slot *slot = &memory->slots[i];
        if (i != besides && slot->held != 0 && slot->users == 0 &&
            (best == NULL || slot->used < best->used)) {
            best = slot;
        }
    }
    return best;
}

/* An honest server waits for what is on its way out before it loads: the bytes are taken as gone
 * now, and the wait is returned. */
static ps_span wait_for_pending(struct ps_sim_memory *memory, ps_time now)
{
    ps_time last = now;
    if (memory->opts->lie == PS_SIM_LIE_LATE) {
        return 0;
    }
    for (size_t s = 0; s < memory->count; s++) {
        struct ps_sim_slot *slot = &memory->slots[s];
        for (size_t i = 0; i < PS_SIM_REGIONS; i++) {
            if (slot->due[i] != PS_NEVER) {
                last = slot->due[i] > last ? slot->due[i] : last;
                leave(memory, slot, i);
            }
        }
    }
    return last - now;
}

int ps_sim_memory_load(struct ps_sim_memory *memory, size_t slot, ps_time now)
{
    struct ps_sim_slot *it = &memory->slots[slot];
    unsigned coming = PS_SIM_ALL_PARTS & ~it->held;
    ps_span wait = 0;
    while (missing(memory, it, coming) > ps_sim_device_usage(memory->device).free) {
        ps_span longer = wait_for_pending(memory, now);
        wait = longer > wait ? longer : wait;
        struct ps_sim_slot *victim = find_victim(memory, slot);
        if (missing(memory, it, coming) <= ps_sim_device_usage(memory->device).free ||
            victim == NULL) {
            break;
        }
        ps_sim_memory_release(memory, (size_t)(victim - memory->slots), PS_SIM_ALL_PARTS, now);
    }
    int err = ps_sim_memory_restore(memory, slot, coming, PS_SIM_FROM_DISK, now);
    if (err == PS_OK && coming != 0) {
        it->loaded_in += wait;
        it->ready += wait;
    }
    return err;
}

/* --- what requests take ----------------------------------------------------------------------- */

int ps_sim_memory_take(struct ps_sim_memory *memory, size_t slot, uint64_t bytes)
{
    struct ps_sim_slot *it = &memory->slots[slot];
    uint64_t unused = it->bytes[PS_SIM_POOL] - it->active - it->leaked;
    uint64_t more = bytes > unused ? bytes - unused : 0;
    if (more > ps_sim_device_usage(memory->device).free) {
        memory->device->out_of_memory++;
        return PS_ELIMIT;
    }
    set_bytes(memory, it, PS_SIM_POOL, it->bytes[PS_SIM_POOL] + more);
    it->active += bytes;
    memory->device->active += bytes;
    return PS_OK;
}

void ps_sim_memory_give(struct ps_sim_memory *memory, size_t slot, uint64_t bytes, uint64_t leak)
{
    struct ps_sim_slot *it = &memory->slots[slot];
    PS_CHECK(bytes <= it->active);
    uint64_t lost = leak < bytes ? leak : bytes;
    it->active -= bytes;
    it->leaked += lost;
    memory->device->active -= bytes;
    memory->device->leaked += lost;
}

uint64_t ps_sim_memory_bytes(const struct ps_sim_memory *memory, size_t slot)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < PS_SIM_REGIONS; i++) {
        sum += memory->slots[slot].bytes[i];
    }
    return sum;
}
