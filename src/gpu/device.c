/* device - see device.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gpu/device.h"

#include <stdlib.h>

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

struct ps_device_reading ps_device_unexplained(const struct ps_device_snapshot *snapshot, size_t at)
{
    struct ps_device_reading used = snapshot->devices[at].readings[PS_DEVICE_MEMORY_USED];
    if (!used.known || !snapshot->devices[at].processes_known || snapshot->processes_left_out > 0) {
        return (struct ps_device_reading){0};
    }
    double rest = used.value;
    for (size_t i = 0; i < snapshot->process_count; i++) {
        const struct ps_device_process *process = &snapshot->processes[i];
        if (process->device == at) {
            if (!process->memory.known) {
                return (struct ps_device_reading){0};
            }
            rest -= process->memory.value;
        }
    }
    return ps_device_known(rest > 0 ? rest : 0);
}

void ps_device_add_xid(struct ps_device_xids *xids, uint32_t code, ps_time now)
{
    size_t i = 0;
    while (i < xids->count && xids->kinds[i].code != code) {
        i++;
    }
    xids->total++;
    if (i == PS_DEVICE_XID_KINDS) {
        return;
    }
    xids->count = i < xids->count ? xids->count : i + 1;
    xids->kinds[i].code = code;
    xids->kinds[i].count++;
    xids->kinds[i].last = now;
}
