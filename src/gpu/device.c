/* device - see device.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gpu/device.h"

#include <stdlib.h>

#include "gpu/attribution.h"

const char *const ps_device_sight_names[] = {"", "", "pid_namespace", "not_in_proc", NULL};

const struct ps_device_row ps_device_rows[PS_DEVICE_FIELDS] = {
#define PS_DEVICE_ROW(NAME, name, unit, text) {name, unit, text},
    PS_DEVICE_TABLE(PS_DEVICE_ROW)
#undef PS_DEVICE_ROW
};

int ps_device_snapshot_new(struct ps_device_snapshot **out, size_t devices, size_t processes)
{
    if (devices > PS_DEVICES_MAX || processes > PS_DEVICE_PROCESSES_MAX) {
        return PS_ELIMIT;
    }
    struct ps_device_snapshot *snapshot =
        calloc(1, sizeof *snapshot + devices * sizeof(struct ps_device) +
                      processes * sizeof(struct ps_device_process));
    if (snapshot == NULL) {
        return PS_ENOMEM;
    }
    atomic_init(&snapshot->refs, 1);
    snapshot->devices = (struct ps_device *)(void *)(snapshot + 1);
    snapshot->device_count = devices;
    snapshot->processes = (struct ps_device_process *)(void *)(snapshot->devices + devices);
    snapshot->process_count = processes;
    *out = snapshot;
    return PS_OK;
}

struct ps_device_snapshot *ps_device_snapshot_ref(struct ps_device_snapshot *snapshot)
{
    atomic_fetch_add_explicit(&snapshot->refs, 1, memory_order_relaxed);
    return snapshot;
}

void ps_device_snapshot_unref(struct ps_device_snapshot *snapshot)
{
    if (snapshot != NULL &&
        atomic_fetch_sub_explicit(&snapshot->refs, 1, memory_order_acq_rel) == 1) {
        ps_attribution_unref(snapshot->attribution);
        free(snapshot);
    }
}

struct ps_device_reading ps_device_utilization(const struct ps_device *device)
{
    struct ps_device_reading used = device->readings[PS_DEVICE_MEMORY_USED];
    struct ps_device_reading total = device->readings[PS_DEVICE_MEMORY_TOTAL];
    if (!used.known || !total.known || total.value <= 0) {
        return (struct ps_device_reading){0};
    }
    return ps_device_known(100 * used.value / total.value);
}

struct ps_device_account ps_device_account(const struct ps_device_snapshot *snapshot, size_t at)
{
    const struct ps_device *device = &snapshot->devices[at];
    struct ps_device_reading used = device->readings[PS_DEVICE_MEMORY_USED];
    struct ps_device_account account = {.known = used.known && device->processes_known &&
                                                 snapshot->processes_left_out == 0};
    for (size_t i = 0; i < snapshot->process_count; i++) {
        const struct ps_device_process *process = &snapshot->processes[i];
        if (process->device == at) {
            account.processes++;
            account.without_size += process->memory.known ? 0 : 1;
            account.held += process->memory.known ? process->memory.value : 0;
        }
    }
    double rest = used.value - account.held;
    account.unexplained = account.known && rest > 0 ? rest : 0;
    account.overlap = account.known && rest < 0 ? -rest : 0;
    return account;
}

struct ps_device_reading ps_device_unexplained(const struct ps_device_snapshot *snapshot, size_t at)
{
    struct ps_device_account account = ps_device_account(snapshot, at);
    return account.known && account.without_size == 0 ? ps_device_known(account.unexplained)
                                                      : (struct ps_device_reading){0};
}

static void add_xids(struct ps_device_xids *xids, uint32_t code, uint64_t count, ps_time last)
{
    size_t i = 0;
    while (i < xids->count && xids->kinds[i].code != code) {
        i++;
    }
    if (i == PS_DEVICE_XID_KINDS) {
        return;
    }
    struct ps_device_xid *kind = &xids->kinds[i];
    xids->count = i < xids->count ? xids->count : i + 1;
    kind->code = code;
    kind->count += count;
    kind->last = last > kind->last ? last : kind->last;
}

void ps_device_add_xid(struct ps_device_xids *xids, uint32_t code, ps_time now)
{
    xids->total++;
    add_xids(xids, code, 1, now);
}

void ps_device_merge_xids(struct ps_device_xids *xids, const struct ps_device_xids *before)
{
    xids->total += before->total;
    for (size_t i = 0; i < before->count; i++) {
        const struct ps_device_xid *kind = &before->kinds[i];
        add_xids(xids, kind->code, kind->count, kind->last);
    }
}

size_t ps_device_place(const struct ps_device_snapshot *snapshot,
                       const struct ps_device_process *process)
{
    return snapshot->attribution == NULL || process->sight != PS_DEVICE_SEEN
               ? SIZE_MAX
               : ps_attribution_place(snapshot->attribution, process->pid, process->started);
}

void ps_device_add_users(const struct ps_device_process *processes, size_t process_count,
                         struct ps_attribution_user *users, size_t *count, size_t most)
{
    for (size_t i = 0; i < process_count && *count < most; i++) {
        if (processes[i].sight == PS_DEVICE_SEEN) {
            users[(*count)++] =
                (struct ps_attribution_user){processes[i].pid, processes[i].started};
        }
    }
}
