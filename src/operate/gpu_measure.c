/* gpu_measure - puts together what drivers, servers and exporters say, for each server.
 *
 * A server that tells of its devices is measured by them. For another the drivers are asked when it
 * runs on this machine, or an exporter that has the same host.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "gateway/gateway.h"
#include "operate/gpu_room.h"

/* The memory of a group of devices. */
struct group {
    bool known;
    double used, total;
    ps_time taken;
    size_t users; /* processes that hold much of it */
    bool users_known;
};

#define SOON 10.0 /* seconds */

static const struct group nothing = {.taken = PS_NEVER};

static bool much(const struct ps_device_process *process)
{
    return process->memory.known && process->memory.value > 64.0 * 1048576;
}

/* MIG instances are parts of a card that is counted already. */
static void add_snapshot(struct group *group, const struct ps_device_snapshot *snapshot)
{
    group->users_known = true;
    for (size_t i = 0; i < snapshot->device_count; i++) {
        const struct ps_device *device = &snapshot->devices[i];
        struct ps_device_reading used = device->readings[PS_DEVICE_MEMORY_USED];
        struct ps_device_reading total = device->readings[PS_DEVICE_MEMORY_TOTAL];
        group->users_known = group->users_known && device->processes_known;
        if (device->parent == PS_DEVICE_NONE && used.known && total.known) {
            group->known = true;
            group->used += used.value;
            group->total += total.value;
        }
    }
    for (size_t i = 0; i < snapshot->process_count; i++) {
        group->users += much(&snapshot->processes[i]) ? 1 : 0;
    }
    group->taken = snapshot->taken < group->taken ? snapshot->taken : group->taken;
}

static void look_at_drivers(struct ps_gpu *gpu, ps_time now, struct group *local)
{
    *local = nothing;
    for (size_t i = 0; i < gpu->driver_count; i++) {
        struct ps_sampler_view *view = &gpu->views[i];
        ps_sampler_look(gpu->drivers[i], now, view);
        if (view->snapshot != NULL && view->state == PS_SAMPLER_FRESH) {
            add_snapshot(local, view->snapshot);
        }
    }
}

void ps_gpu_forget(struct ps_gpu *gpu)
{
    for (size_t i = 0; i < gpu->held_count; i++) {
        ps_scrape_result_unref(gpu->held[i]);
    }
    free(gpu->held);
    gpu->held = NULL;
    gpu->held_count = 0;
    for (size_t i = 0; i < gpu->driver_count; i++) {
        ps_device_snapshot_unref(gpu->views[i].snapshot);
        gpu->views[i].snapshot = NULL;
    }
}

static bool is_exporter(enum ps_adapter_id adapter)
{
    return adapter == PS_ADAPTER_DCGM || adapter == PS_ADAPTER_REMOTE;
}

/* The exporter of the same host, if one is configured. */
static struct group exporter_group(const struct ps_gpu *gpu, struct ps_str host, ps_time now)
{
    struct group group = nothing;
    for (size_t i = 0; i < ps_scrape_count(gpu->scrape); i++) {
        struct ps_scrape_view view;
        ps_scrape_read(gpu->scrape, i, now, &view);
        if (is_exporter(view.adapter) && view.state == PS_SCRAPE_FRESH &&
            view.result->devices != NULL && ps_str_ieq(view.host, host)) {
            add_snapshot(&group, view.result->devices);
        }
    }
    return group;
}

static struct group own_group(const struct ps_scrape_result *result)
{
    struct ps_device_reading used = ps_vitals_device_used(&result->vitals);
    struct ps_device_reading total = ps_vitals_device_total(&result->vitals);
    return (struct group){.known = used.known && total.known,
                          .used = used.value,
                          .total = total.value,
                          .taken = result->taken,
                          .users = 1,
                          .users_known = result->vitals.simulated}; /* a device to itself */
}

static struct group group_of(const struct ps_gpu *gpu, const struct ps_scrape_view *view,
                             const struct group *local, ps_time now)
{
    struct group group = own_group(view->result);
    if (group.known) {
        return group;
    }
    group = exporter_group(gpu, view->host, now);
    bool here = ps_host_is_loopback(view->host) || ps_str_eq(view->host, PS_STR("::1"));
    return group.known || !here ? group : *local;
}

static void set_fullness(struct ps_optimizer_target *target, const struct group *group)
{
    struct ps_device_reading cache = target->vitals->readings[PS_VITALS_KV_USE];
    if (group->known && group->total > 0) {
        target->used = ps_device_known(group->used);
        target->utilization = ps_device_known(100 * group->used / group->total);
        target->taken = group->taken < target->taken ? group->taken : target->taken;
        target->alone = group->users_known && group->users <= 1;
    }
    bool by_cache = ps_adapters[target->adapter].preallocates;
    target->effective = !by_cache     ? target->utilization
                        : cache.known ? ps_device_known(100 * cache.value)
                                      : (struct ps_device_reading){0};
}

const char *ps_gpu_basis(const struct ps_optimizer_target *target)
{
    if (!target->effective.known) {
        return NULL;
    }
    return ps_adapters[target->adapter].preallocates ? "kv_cache" : "device";
}

/* Where the path of the forecast is in ten seconds: a cleanup takes about as long as that. */
static void set_soon(const struct ps_gpu *gpu, struct ps_optimizer_target *target)
{
    struct ps_gpu_view view;
    if (target->effective.known && ps_gpu_outlook_read(gpu->outlook, target->id, &view) &&
        isfinite(view.answer.until)) {
        double part = view.answer.until > SOON ? SOON / view.answer.until : 1;
        double left = 100 - target->effective.value;
        target->soon = ps_device_known(target->effective.value + fmax(left, 0) * part);
    }
}

static void fill_target(const struct ps_gpu *gpu, const struct ps_scrape_view *view,
                        const struct group *local, ps_time now, struct ps_optimizer_target *target)
{
    bool told;
    struct group group = group_of(gpu, view, local, now);
    *target = (struct ps_optimizer_target){.id = view->id,
                                           .adapter = view->adapter,
                                           .instance = view->instance,
                                           .vitals = &view->result->vitals,
                                           .taken = view->result->taken,
                                           .fresh = view->state == PS_SCRAPE_FRESH};
    snprintf(target->name, sizeof target->name, "%.40s %.80s", view->name, view->endpoint);
    target->busy = ps_vitals_is_busy(target->vitals, &told) || view->in_flight > 0;
    ps_gpu_means_look(gpu->means, view->endpoint, target);
    set_fullness(target, &group);
    set_soon(gpu, target);
}

size_t ps_gpu_measure(void *ctx, ps_time now, struct ps_optimizer_target *targets, size_t most)
{
    struct ps_gpu *gpu = ctx;
    struct group local;
    size_t count = 0;
    size_t all = ps_scrape_count(gpu->scrape);
    ps_gpu_forget(gpu);
    look_at_drivers(gpu, now, &local);
    gpu->held = calloc(all + 1, sizeof(struct ps_scrape_result *));
    for (size_t i = 0; i < all && gpu->held != NULL && count < most; i++) {
        struct ps_scrape_view view;
        ps_scrape_read(gpu->scrape, i, now, &view);
        if (view.result != NULL && !is_exporter(view.adapter)) {
            gpu->held[gpu->held_count++] = ps_scrape_result_ref(view.result);
            fill_target(gpu, &view, &local, now, &targets[count++]);
        }
    }
    return count;
}
