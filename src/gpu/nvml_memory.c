/* nvml_memory - the memory of a card, whichever of its three forms the library tells.
 *
 *      _v2      total, free, used, reserved      whether used holds reserved differs between
 * drivers plain    total, free, used                used holds reserved neither  total 0 or "not
 * supported"       CPU and GPU share the host's memory
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>

#include "gpu/file.h"
#include "gpu/nvml_card.h"

#define SLACK        (UINT64_C(1) << 20) /* sums that are told in MiB may be off by one */
#define STEP_BYTES   (64.0 * (1 << 20))  /* a change of this size is worth a list of processes */
#define MEMINFO_MAX  8192
#define MEMINFO_UNIT 1024

struct memory {
    uint64_t total, free, used, reserved;
    bool reserved_known;
};

/* The comments of the published headers contradict each other, so the sum decides. */
static void take_reserved_out(struct memory *memory)
{
    uint64_t sum = memory->free + memory->used;
    uint64_t off = sum > memory->total ? sum - memory->total : memory->total - sum;
    if (off <= SLACK && memory->reserved <= memory->used) {
        memory->used -= memory->reserved;
    }
}

static bool read_v2(struct ps_nvml_card *card, struct memory *out)
{
    struct ps_nvml_memory_v2 memory = {.version = PS_NVML_VERSION(struct ps_nvml_memory_v2, 2)};
    if (!PS_NVML_CARD_CALL(card, MEMORY_V2, card->handle, &memory)) {
        return false;
    }
    *out = (struct memory){memory.total, memory.free, memory.used, memory.reserved,
                           !ps_nvml_is_blank(memory.reserved)};
    if (out->reserved_known) {
        take_reserved_out(out);
    }
    return true;
}

static bool read_v1(struct ps_nvml_card *card, struct memory *out)
{
    struct ps_nvml_memory_v1 memory = {0};
    if (!PS_NVML_CARD_CALL(card, MEMORY_V1, card->handle, &memory)) {
        return false;
    }
    *out = (struct memory){memory.total, memory.free, memory.used, 0, false};
    return true;
}

/* A line of /proc/meminfo: "MemTotal:       16384 kB". */
static bool find_line(struct ps_str text, struct ps_str name, uint64_t *bytes)
{
    struct ps_str line;
    while (ps_str_split(&text, '\n', &line)) {
        if (ps_str_starts_with(line, name)) {
            struct ps_str rest = ps_str_trim(ps_str_skip(line, name.len));
            rest = ps_str_first(rest, ps_str_find(rest, ' '));
            if (ps_str_to_u64(rest, bytes) != PS_OK || *bytes > UINT64_MAX / MEMINFO_UNIT) {
                return false;
            }
            *bytes *= MEMINFO_UNIT;
            return true;
        }
    }
    return false;
}

static bool read_host(struct ps_nvml_card *card, struct memory *out)
{
    char text[MEMINFO_MAX];
    struct ps_str all;
    struct memory memory = {0};
    if (ps_file_read(card->root, "proc/meminfo", text, sizeof text, &all) != PS_OK ||
        !find_line(all, PS_STR("MemTotal:"), &memory.total) ||
        !find_line(all, PS_STR("MemAvailable:"), &memory.free) || memory.free > memory.total) {
        return false;
    }
    memory.used = memory.total - memory.free;
    *out = memory;
    return true;
}

static bool is_sane(const struct memory *memory)
{
    return !ps_nvml_is_blank(memory->total) && memory->total > 0 && memory->used <= memory->total &&
           memory->free <= memory->total;
}

/* The driver has a card and no memory of it: that is what unified memory looks like. A call that
 * failed for another reason says nothing of the kind. */
static bool has_none(const struct ps_nvml_card *card, bool told, const struct memory *memory)
{
    return card->card == NULL && (told ? memory->total == 0 : card->no_memory);
}

static void put(struct ps_nvml_card *card, enum ps_device_field field, bool known, uint64_t bytes)
{
    card->device.readings[field] =
        known ? ps_device_known((double)bytes) : (struct ps_device_reading){0};
}

void ps_nvml_card_read_memory(struct ps_nvml_card *card)
{
    struct memory memory = {0};
    bool told = read_v2(card, &memory) || read_v1(card, &memory);
    card->device.unified = has_none(card, told, &memory);
    if (card->device.unified) {
        told = read_host(card, &memory);
    }
    bool known = told && is_sane(&memory);
    put(card, PS_DEVICE_MEMORY_TOTAL, known, memory.total);
    put(card, PS_DEVICE_MEMORY_USED, known, memory.used);
    put(card, PS_DEVICE_MEMORY_FREE, known, memory.free);
    put(card, PS_DEVICE_MEMORY_RESERVED, known && memory.reserved_known, memory.reserved);
    card->memory_moved = known && fabs((double)memory.used - card->memory_listed) >= STEP_BYTES;
}
