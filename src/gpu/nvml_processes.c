/* nvml_processes - who uses a card: three lists, in one of three layouts, made into one.
 *
 * A process that computes and draws stands in two lists with the same memory: it is one process
 * here. The function with _v3 in its name fills 24 bytes a process, but 32 in drivers R530 and
 * early R535; those have nvmlDeviceGetConfComputeMemSizeInfo and lack
 * nvmlDeviceGetRunningProcessDetailList.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "gpu/nvml_card.h"
#include "gpu/owner.h"

#define FIRST_ROOM 32
#define MOST_ROOM  PS_DEVICE_PROCESSES_MAX
#define TRIES      4 /* the list may grow while we ask */

struct list {
    enum ps_nvml_kind kind;
    enum ps_device_use use;
};

static const struct list lists[] = {
    {PS_NVML_KIND_COMPUTE, PS_DEVICE_COMPUTE},
    {PS_NVML_KIND_GRAPHICS, PS_DEVICE_GRAPHICS},
    {PS_NVML_KIND_MPS, PS_DEVICE_MPS},
};

static size_t entry_size(const struct ps_nvml_library *library, enum ps_nvml_kind kind)
{
    switch (library->found[kind]) {
    case 0:
        return library->long_processes ? sizeof(struct ps_nvml_process_v3)
                                       : sizeof(struct ps_nvml_process_v2);
    case 1:
        return sizeof(struct ps_nvml_process_v2);
    default:
        return sizeof(struct ps_nvml_process_v1);
    }
}

static int call(struct ps_nvml_card *card, enum ps_nvml_kind kind, uint32_t *count, void *entries)
{
    switch (kind) {
    case PS_NVML_KIND_COMPUTE:
        return PS_NVML_CALL(card->library, COMPUTE, card->handle, count, entries);
    case PS_NVML_KIND_GRAPHICS:
        return PS_NVML_CALL(card->library, GRAPHICS, card->handle, count, entries);
    default:
        return PS_NVML_CALL(card->library, MPS, card->handle, count, entries);
    }
}

/* Asks with more room until all fits; *entries is to be freed in any case. */
static bool ask(struct ps_nvml_card *card, enum ps_nvml_kind kind, void **entries, uint32_t *count)
{
    size_t size = entry_size(card->library, kind);
    uint32_t room = FIRST_ROOM;
    for (int i = 0; i < TRIES && room <= MOST_ROOM; i++) {
        free(*entries);
        /* A layout that is longer than we think must not write past the end. */
        *entries = calloc(room, sizeof(struct ps_nvml_process_v3));
        if (*entries == NULL || size == 0) {
            return false;
        }
        *count = room;
        int code = call(card, kind, count, *entries);
        if (code != PS_NVML_INSUFFICIENT_SIZE) {
            return ps_nvml_card_judge(card, kind, code) && *count <= room;
        }
        room = *count > room ? *count + FIRST_ROOM : 2 * room;
    }
    return false;
}

/* All layouts begin alike. */
static void read_entry(const void *entries, size_t size, size_t i, struct ps_nvml_process_v1 *out)
{
    memcpy(out, (const char *)entries + i * size, sizeof *out);
}

static struct ps_device_process *find_or_add(struct ps_nvml_card *card, uint32_t pid)
{
    for (size_t i = 0; i < card->process_count; i++) {
        if (card->processes[i].pid == pid) {
            return &card->processes[i];
        }
    }
    if (card->process_count == PS_DEVICE_PROCESSES_MAX) {
        return NULL;
    }
    struct ps_device_process *grown =
        realloc(card->processes, (card->process_count + 1) * sizeof *card->processes);
    if (grown == NULL) {
        return NULL;
    }
    card->processes = grown;
    struct ps_device_process *process = &grown[card->process_count++];
    *process = (struct ps_device_process){.pid = pid};
    return process;
}

static void add(struct ps_nvml_card *card, const struct ps_nvml_process_v1 *entry,
                enum ps_device_use use)
{
    struct ps_device_process *process = find_or_add(card, entry->pid);
    if (process == NULL) {
        card->processes_left_out++;
        return;
    }
    process->use |= use;
    double bytes = (double)entry->memory;
    if (!ps_nvml_is_blank(entry->memory) &&
        (!process->memory.known || process->memory.value < bytes)) {
        process->memory = ps_device_known(bytes);
    }
}

/* True when the list was told, be it empty. */
static bool add_list(struct ps_nvml_card *card, const struct list *list)
{
    void *entries = NULL;
    uint32_t count = 0;
    bool told =
        (card->unsupported >> list->kind & 1) == 0 && ask(card, list->kind, &entries, &count);
    for (uint32_t i = 0; told && i < count; i++) {
        struct ps_nvml_process_v1 entry;
        read_entry(entries, entry_size(card->library, list->kind), i, &entry);
        add(card, &entry, list->use);
    }
    free(entries);
    return told;
}

static void name_owners(struct ps_nvml_card *card)
{
    bool sees_host = ps_owner_sees_host(card->root);
    for (size_t i = 0; i < card->process_count; i++) {
        struct ps_device_process *process = &card->processes[i];
        struct ps_owner owner;
        process->sight = sees_host ? PS_DEVICE_GONE : PS_DEVICE_FOREIGN;
        if (sees_host && ps_owner_read(card->root, process->pid, &owner) == PS_OK) {
            process->sight = PS_DEVICE_SEEN;
            process->started = owner.started;
            memcpy(process->name, owner.name, sizeof process->name);
            memcpy(process->container, owner.container, sizeof process->container);
        }
    }
}

void ps_nvml_card_read_processes(struct ps_nvml_card *card)
{
    free(card->processes);
    card->processes = NULL;
    card->process_count = 0;
    card->processes_left_out = 0;
    card->device.processes_known = false;
    for (size_t i = 0; i < PS_ARRAY_LEN(lists); i++) {
        card->device.processes_known = add_list(card, &lists[i]) || card->device.processes_known;
    }
    name_owners(card);
    card->memory_listed = card->device.readings[PS_DEVICE_MEMORY_USED].value;
    card->memory_moved = false;
}
