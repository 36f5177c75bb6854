/* amdgpu_clients - see amdgpu_clients.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gpu/amdgpu_clients.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/amdgpu.h"
#include "gpu/file.h"
#include "gpu/owner.h"

#define TEXT_MAX    4096
#define CLIENTS_MAX 64 /* of one process */
#define KIB         UINT64_C(1024)

/* --- one descriptor --------------------------------------------------------------------------- */

/* The value of a line "name:\tvalue"; empty when there is none. */
static struct ps_str value_of(struct ps_str text, struct ps_str name)
{
    struct ps_str line;
    while (ps_str_split(&text, '\n', &line)) {
        if (ps_str_starts_with(line, name)) {
            return ps_str_trim(ps_str_skip(line, name.len));
        }
    }
    return (struct ps_str){"", 0};
}

/* "1234 KiB", "7 MiB" or bytes without a unit. */
static bool parse_bytes(struct ps_str text, uint64_t *out)
{
    size_t gap = ps_str_find(text, ' ');
    struct ps_str unit = ps_str_trim(ps_str_skip(text, gap));
    uint64_t factor = unit.len == 0                    ? 1
                      : ps_str_eq(unit, PS_STR("KiB")) ? KIB
                      : ps_str_eq(unit, PS_STR("MiB")) ? KIB * KIB
                                                       : 0;
    uint64_t number;
    if (factor == 0 || ps_str_to_u64(ps_str_first(text, gap), &number) != PS_OK ||
        number > UINT64_MAX / factor) {
        return false;
    }
    *out = number * factor;
    return true;
}

bool ps_amdgpu_parse_client(struct ps_str text, struct ps_amdgpu_client *out)
{
    struct ps_amdgpu_client client = {0};
    struct ps_str bus = value_of(text, PS_STR("drm-pdev:"));
    if (!ps_str_eq(value_of(text, PS_STR("drm-driver:")), PS_STR("amdgpu")) || bus.len == 0 ||
        bus.len >= sizeof client.bus || memchr(bus.ptr, '\0', bus.len) != NULL ||
        ps_str_to_u64(value_of(text, PS_STR("drm-client-id:")), &client.id) != PS_OK ||
        !parse_bytes(value_of(text, PS_STR("drm-memory-vram:")), &client.bytes)) {
        return false;
    }
    memcpy(client.bus, bus.ptr, bus.len);
    *out = client;
    return true;
}

/* --- one process ------------------------------------------------------------------------------ */

struct scan {
    struct ps_amdgpu_clients *clients;
    const char *root;
    const char (*buses)[32];
    size_t bus_count;
    uint64_t seen[CLIENTS_MAX]; /* of this process */
    size_t seen_count;
    size_t first; /* of this process in the list */
};

static bool is_new(struct scan *scan, uint64_t id)
{
    for (size_t i = 0; i < scan->seen_count; i++) {
        if (scan->seen[i] == id) {
            return false;
        }
    }
    if (scan->seen_count < CLIENTS_MAX) {
        scan->seen[scan->seen_count++] = id;
    }
    return true;
}

static size_t place_of(const struct scan *scan, const char *bus)
{
    size_t i = 0;
    while (i < scan->bus_count && strcmp(scan->buses[i], bus) != 0) {
        i++;
    }
    return i;
}

static void add(struct scan *scan, uint32_t pid, size_t device, uint64_t bytes)
{
    struct ps_amdgpu_clients *clients = scan->clients;
    for (size_t i = scan->first; i < clients->count; i++) {
        if (clients->processes[i].device == device) {
            clients->processes[i].memory.value += (double)bytes;
            return;
        }
    }
    struct ps_device_process *grown =
        clients->count == PS_DEVICE_PROCESSES_MAX
            ? NULL
            : realloc(clients->processes, (clients->count + 1) * sizeof *clients->processes);
    if (grown == NULL) {
        clients->left_out++;
        return;
    }
    clients->processes = grown;
    grown[clients->count++] = (struct ps_device_process){
        .pid = pid, .device = (uint32_t)device, .memory = ps_device_known((double)bytes)};
}

static void read_descriptor(struct scan *scan, uint32_t pid, const char *name)
{
    char path[64 + NAME_MAX];
    char text[TEXT_MAX];
    struct ps_str all;
    struct ps_amdgpu_client client;
    (void)snprintf(path, sizeof path, "proc/%u/fdinfo/%s", pid, name);
    if (ps_file_read(scan->root, path, text, sizeof text, &all) == PS_OK &&
        ps_amdgpu_parse_client(all, &client) && is_new(scan, client.id)) {
        size_t device = place_of(scan, client.bus);
        if (device < scan->bus_count) {
            add(scan, pid, device, client.bytes);
        }
    }
}

static void name_owner(struct scan *scan, uint32_t pid)
{
    struct ps_amdgpu_clients *clients = scan->clients;
    struct ps_owner owner;
    if (clients->count == scan->first || ps_owner_read(scan->root, pid, &owner) != PS_OK) {
        return;
    }
    for (size_t i = scan->first; i < clients->count; i++) {
        clients->processes[i].sight = PS_DEVICE_SEEN;
        clients->processes[i].started = owner.started;
        memcpy(clients->processes[i].name, owner.name, sizeof clients->processes[i].name);
        memcpy(clients->processes[i].container, owner.container,
               sizeof clients->processes[i].container);
    }
}

static DIR *open_folder(const char *root, const char *path)
{
    char whole[PATH_MAX];
    int len = snprintf(whole, sizeof whole, "%s/%s", root, path);
    return len > 0 && (size_t)len < sizeof whole ? opendir(whole) : NULL;
}

static void read_process(struct scan *scan, uint32_t pid)
{
    char path[64];
    (void)snprintf(path, sizeof path, "proc/%u/fdinfo", pid);
    DIR *folder = open_folder(scan->root, path);
    if (folder == NULL) {
        scan->clients->all = scan->clients->all && errno != EACCES;
        return;
    }
    scan->seen_count = 0;
    scan->first = scan->clients->count;
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        if (entry->d_name[0] != '.') {
            read_descriptor(scan, pid, entry->d_name);
        }
    }
    (void)closedir(folder);
    name_owner(scan, pid);
}

void ps_amdgpu_clients_read(struct ps_amdgpu_clients *clients, const char *root,
                            const char (*buses)[32], size_t count)
{
    struct scan scan = {.clients = clients, .root = root, .buses = buses, .bus_count = count};
    free(clients->processes);
    *clients = (struct ps_amdgpu_clients){.all = true};
    DIR *folder = open_folder(root, "proc");
    clients->all = folder != NULL;
    for (struct dirent *entry = folder == NULL ? NULL : readdir(folder); entry != NULL;
         entry = readdir(folder)) {
        uint64_t pid;
        if (ps_str_to_u64(ps_str_from(entry->d_name), &pid) == PS_OK && pid < UINT32_MAX) {
            read_process(&scan, (uint32_t)pid);
        }
    }
    if (folder != NULL) {
        (void)closedir(folder);
    }
}
