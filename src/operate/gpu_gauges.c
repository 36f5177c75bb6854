/* gpu_gauges - the figures of devices, servers and cleanups on the page of metrics.
 *
 * Devices and servers come and go: each has a slot with its series, which show nothing while it is
 * not seen. What is not known has no sample.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "gateway/gateway.h"
#include "operate/gpu.h"
#include "operate/gpu_room.h"

enum { SLOTS = 256, GAUGES = 10, KEY = 320 };

/* clang-format off */
#define DEVICE_LABELS .labels = {"source", "uuid", "index"}
#define OWNER_LABELS .labels = {"source", "uuid", "index", "upstream", "endpoint", "engine"}
#define SERVER_LABELS .labels = {"upstream", "endpoint", "engine"}

enum family {
    DEVICE_TOTAL, DEVICE_USED, DEVICE_FREE, DEVICE_BUSY, DEVICE_POWER, DEVICE_TEMPERATURE, DEVICE_FRAGMENTATION,
    DEVICE_RESERVED, DEVICE_UNEXPLAINED, OWNER_MEMORY,
    SERVER_EFFECTIVE, SERVER_RUNNING, SERVER_WAITING, SERVER_KV, SERVER_PREFIX, SERVER_UP, SERVER_LEVEL, SERVER_UNTIL,
    WHOLE_USED, WHOLE_EFFECTIVE, WHOLE_LEVEL, WHOLE_UNTIL, BOUND_REQUESTS, BOUND_TOKENS,
    RUNS, STEPS, FREED
};

const struct ps_metric_family ps_gpu_metric_families[] = {
    {.name = "penstock_gpu_memory_total_bytes", .type = PS_METRIC_GAUGE, .unit = "bytes", DEVICE_LABELS,
     .help = "Memory of the device"},
    {.name = "penstock_gpu_memory_used_bytes", .type = PS_METRIC_GAUGE, .unit = "bytes", DEVICE_LABELS,
     .help = "Memory of the device that is allocated"},
    {.name = "penstock_gpu_memory_free_bytes", .type = PS_METRIC_GAUGE, .unit = "bytes", DEVICE_LABELS,
     .help = "Memory of the device that is not"},
    {.name = "penstock_gpu_busy_ratio", .type = PS_METRIC_GAUGE, .unit = "ratio", DEVICE_LABELS,
     .help = "Time in which at least one kernel ran"},
    {.name = "penstock_gpu_power_watts", .type = PS_METRIC_GAUGE, .unit = "watts", DEVICE_LABELS,
     .help = "Power drawn by the device"},
    {.name = "penstock_gpu_temperature_celsius", .type = PS_METRIC_GAUGE, .unit = "celsius", DEVICE_LABELS,
     .help = "Temperature of the chip"},
    {.name = "penstock_gpu_fragmentation_ratio", .type = PS_METRIC_GAUGE, .unit = "ratio", DEVICE_LABELS,
     .help = "Memory that an allocator holds and nobody uses, of what it holds"},
    {.name = "penstock_gpu_memory_reserved_bytes", .type = PS_METRIC_GAUGE, .unit = "bytes", DEVICE_LABELS,
     .help = "Memory of the device that its driver and firmware keep"},
    {.name = "penstock_gpu_memory_unexplained_bytes", .type = PS_METRIC_GAUGE, .unit = "bytes", DEVICE_LABELS,
     .help = "Memory in use that no listed process has"},
    {.name = "penstock_gpu_process_memory_bytes", .type = PS_METRIC_GAUGE, .unit = "bytes", OWNER_LABELS,
     .help = "Memory of all processes that work for an endpoint; upstream and endpoint are empty for those of which "
             "nobody knows whose they are"},
    {.name = "penstock_gpu_server_effective_ratio", .type = PS_METRIC_GAUGE, .unit = "ratio", SERVER_LABELS,
     .help = "How full it is: the cache of an engine that preallocates, otherwise its devices"},
    {.name = "penstock_gpu_server_running", .type = PS_METRIC_GAUGE, SERVER_LABELS,
     .help = "Requests that the server says it works on"},
    {.name = "penstock_gpu_server_waiting", .type = PS_METRIC_GAUGE, SERVER_LABELS,
     .help = "Requests that wait inside the server for room"},
    {.name = "penstock_gpu_server_kv_ratio", .type = PS_METRIC_GAUGE, .unit = "ratio", SERVER_LABELS,
     .help = "Share of the key-value cache that living requests hold"},
    {.name = "penstock_gpu_server_prefix_hit_ratio", .type = PS_METRIC_GAUGE, .unit = "ratio", SERVER_LABELS,
     .help = "Tokens found in the prefix cache, of those looked up"},
    {.name = "penstock_gpu_server_fresh", .type = PS_METRIC_GAUGE, SERVER_LABELS,
     .help = "1 while the server tells how it is, 0 when its figures are old"},
    {.name = "penstock_gpu_server_level", .type = PS_METRIC_GAUGE, SERVER_LABELS,
     .help = "Pressure: 0 low, 1 medium, 2 high, 3 critical"},
    {.name = "penstock_gpu_server_to_critical_seconds", .type = PS_METRIC_GAUGE, .unit = "seconds", SERVER_LABELS,
     .help = "Time until its memory runs out if things go on as they are; none: not in sight"},
    {.name = "penstock_gpu_used_ratio", .type = PS_METRIC_GAUGE, .unit = "ratio",
     .help = "Memory in use of the device under the highest pressure, which /api/gpu/profile is about"},
    {.name = "penstock_gpu_effective_ratio", .type = PS_METRIC_GAUGE, .unit = "ratio",
     .help = "How full that is for requests: the cache of an engine that preallocates, otherwise the device"},
    {.name = "penstock_gpu_level", .type = PS_METRIC_GAUGE,
     .help = "Its pressure: 0 low, 1 medium, 2 high, 3 critical"},
    {.name = "penstock_gpu_to_critical_seconds", .type = PS_METRIC_GAUGE, .unit = "seconds",
     .help = "Time until its memory runs out if things go on as they are; none: not in sight"},
    {.name = "penstock_gpu_upstream_bound_requests", .type = PS_METRIC_GAUGE, .labels = {"upstream"},
     .help = "Requests that the upstream's gate lets in at a time for its memory's sake; none: no such bound"},
    {.name = "penstock_gpu_upstream_bound_tokens", .type = PS_METRIC_GAUGE, .unit = "tokens", .labels = {"upstream"},
     .help = "Tokens that these may have reserved; none: no such bound"},
    {.name = "penstock_gpu_cleanup_runs_total", .type = PS_METRIC_COUNTER, .labels = {"outcome"},
     .help = "Cleanups that ended, dry runs among them"},
    {.name = "penstock_gpu_cleanup_steps_total", .type = PS_METRIC_COUNTER, .labels = {"verdict"},
     .help = "Calls of cleanups; not_freed: answered with success, and less than half of the memory was free"},
    {.name = "penstock_gpu_cleanup_freed_bytes_total", .type = PS_METRIC_COUNTER, .unit = "bytes",
     .help = "Device memory that was measured to be free after the calls"},
    {0},
};
/* clang-format on */

static const struct {
    enum family family;
    enum ps_device_field field;
    double scale;
} device_rows[] = {
    {DEVICE_TOTAL, PS_DEVICE_MEMORY_TOTAL, 1},
    {DEVICE_USED, PS_DEVICE_MEMORY_USED, 1},
    {DEVICE_FREE, PS_DEVICE_MEMORY_FREE, 1},
    {DEVICE_BUSY, PS_DEVICE_BUSY, 0.01},
    {DEVICE_POWER, PS_DEVICE_POWER, 1},
    {DEVICE_TEMPERATURE, PS_DEVICE_TEMPERATURE, 1},
    {DEVICE_FRAGMENTATION, PS_DEVICE_FRAGMENTATION, 0.01},
    {DEVICE_RESERVED, PS_DEVICE_MEMORY_RESERVED, 1},
};

static const struct {
    enum family family;
    enum ps_vitals_field field;
} server_rows[] = {
    {SERVER_RUNNING, PS_VITALS_RUNNING},
    {SERVER_WAITING, PS_VITALS_WAITING},
    {SERVER_KV, PS_VITALS_KV_USE},
    {SERVER_PREFIX, PS_VITALS_PREFIX_HIT_RATE},
};

/* A device or a server. */
struct slot {
    char key[KEY];
    struct ps_gauge *gauges[GAUGES];
    size_t count;
    double sum; /* this second's, where several add up; if known */
    bool known;
    bool seen;
};

struct counter {
    struct ps_gpu_gauges *gauges;
    enum family family;
    unsigned row;
    struct ps_metric_handle *handle;
};

struct ps_gpu_gauges {
    struct ps_gpu *gpu;
    struct slot slots[SLOTS];
    size_t count;
    struct counter runs[PS_OPTIMIZER_ENDED + 1];
    struct counter steps[PS_OPTIMIZER_STOPPED + 1];
    struct counter freed;
};

/* --- counters --------------------------------------------------------------------------------- */

static double read_counter(void *context)
{
    const struct counter *counter = context;
    struct ps_optimizer_stats stats;
    ps_optimizer_stats(counter->gauges->gpu->optimizer, &stats);
    return counter->family == RUNS    ? (double)stats.runs[counter->row]
           : counter->family == STEPS ? (double)stats.steps[counter->row]
                                      : stats.freed;
}

static int watch(struct ps_gpu_gauges *gauges, struct counter *counter, enum family family,
                 unsigned row, const char *label)
{
    const struct ps_metric_labels *labels = label == NULL ? NULL : PS_LABELS(ps_str_from(label));
    *counter = (struct counter){gauges, family, row, NULL};
    return ps_metric_watch(gauges->gpu->metrics, &ps_gpu_metric_families[family], labels,
                           read_counter, counter, &counter->handle);
}

static int watch_all(struct ps_gpu_gauges *gauges)
{
    int err = watch(gauges, &gauges->freed, FREED, 0, NULL);
    for (unsigned i = PS_OPTIMIZER_TARGET_MET; i <= PS_OPTIMIZER_ENDED && err == PS_OK; i++) {
        err = watch(gauges, &gauges->runs[i], RUNS, i, ps_optimizer_outcome_names[i]);
    }
    for (unsigned i = PS_OPTIMIZER_DRY; i <= PS_OPTIMIZER_STOPPED && err == PS_OK; i++) {
        err = watch(gauges, &gauges->steps[i], STEPS, i, ps_optimizer_verdict_names[i]);
    }
    return err;
}

static void unwatch(struct counter *counter)
{
    if (counter->handle != NULL) {
        ps_metric_unwatch(counter->gauges->gpu->metrics, counter->handle, counter);
    }
}

int ps_gpu_gauges_new(struct ps_gpu_gauges **out, struct ps_gpu *gpu)
{
    struct ps_gpu_gauges *gauges = calloc(1, sizeof *gauges);
    if (gauges == NULL) {
        return PS_ENOMEM;
    }
    gauges->gpu = gpu;
    int err = ps_metrics_declare(gpu->metrics, ps_gpu_metric_families, NULL);
    err = err != PS_OK ? err : watch_all(gauges);
    if (err != PS_OK) {
        ps_gpu_gauges_free(gauges);
        return err;
    }
    *out = gauges;
    return PS_OK;
}

void ps_gpu_gauges_free(struct ps_gpu_gauges *gauges)
{
    if (gauges == NULL) {
        return;
    }
    unwatch(&gauges->freed);
    for (size_t i = 0; i < PS_ARRAY_LEN(gauges->runs); i++) {
        unwatch(&gauges->runs[i]);
    }
    for (size_t i = 0; i < PS_ARRAY_LEN(gauges->steps); i++) {
        unwatch(&gauges->steps[i]);
    }
    for (size_t i = 0; i < gauges->count; i++) {
        for (size_t j = 0; j < gauges->slots[i].count; j++) {
            ps_metric_put(gauges->gpu->metrics, &gauges->slots[i].gauges[j]->handle);
        }
    }
    free(gauges);
}

/* --- devices and servers -----------------------------------------------------------------------
 */

/* Of these nothing is shown in a second in which nothing was added. */
static bool is_sum(const struct slot *slot)
{
    return strncmp(slot->key, "owner\n", 6) == 0;
}

/* The slot of a key, with a series for each of the families; NULL when there is no room. */
static struct slot *slot_of(struct ps_gpu_gauges *gauges, const char *key,
                            const struct ps_metric_labels *labels, const enum family *families,
                            size_t count)
{
    for (size_t i = 0; i < gauges->count; i++) {
        if (strcmp(gauges->slots[i].key, key) == 0) {
            gauges->slots[i].seen = true;
            return &gauges->slots[i];
        }
    }
    if (gauges->count == SLOTS) {
        return NULL;
    }
    struct slot *slot = &gauges->slots[gauges->count++];
    snprintf(slot->key, sizeof slot->key, "%s", key);
    slot->seen = true;
    for (size_t i = 0; i < count; i++) {
        if (ps_metric_gauge(gauges->gpu->metrics, &ps_gpu_metric_families[families[i]], labels,
                            &slot->gauges[i]) != PS_OK) {
            break;
        }
        slot->count++;
    }
    return slot;
}

static void set(struct slot *slot, size_t i, struct ps_device_reading reading, double scale)
{
    if (i < slot->count) {
        ps_gauge_set(slot->gauges[i], reading.known ? reading.value * scale : NAN);
    }
}

static void show_device(struct ps_gpu_gauges *gauges, const char *source,
                        const struct ps_device_snapshot *snapshot, size_t at)
{
    const struct ps_device *device = &snapshot->devices[at];
    enum family families[PS_ARRAY_LEN(device_rows) + 1];
    char key[KEY];
    char index[16];
    for (size_t i = 0; i < PS_ARRAY_LEN(device_rows); i++) {
        families[i] = device_rows[i].family;
    }
    families[PS_ARRAY_LEN(device_rows)] = DEVICE_UNEXPLAINED;
    snprintf(index, sizeof index, "%u", device->index);
    snprintf(key, sizeof key, "device\n%.150s\n%s\n%s", source, device->uuid, index);
    struct slot *slot = slot_of(
        gauges, key, PS_LABELS(ps_str_from(source), ps_str_from(device->uuid), ps_str_from(index)),
        families, PS_ARRAY_LEN(families));
    for (size_t i = 0; slot != NULL && i < PS_ARRAY_LEN(device_rows); i++) {
        set(slot, i, device->readings[device_rows[i].field], device_rows[i].scale);
    }
    if (slot != NULL) {
        set(slot, PS_ARRAY_LEN(device_rows), ps_device_unexplained(snapshot, at), 1);
    }
}

/* The memory of one endpoint's processes on a card; a process without a size adds nothing. */
static void add_process(struct ps_gpu_gauges *gauges, const char *source,
                        const struct ps_device_snapshot *snapshot,
                        const struct ps_device_process *process)
{
    static const enum family families[] = {OWNER_MEMORY};
    const struct ps_device *device = &snapshot->devices[process->device];
    struct ps_gpu_owner owner =
        ps_gpu_attribution_owner(gauges->gpu->attribution, snapshot, process);
    const char *upstream = owner.backend == NULL ? "" : owner.backend->name;
    const char *endpoint = owner.endpoint == NULL ? "" : owner.endpoint->text;
    const char *engine = ps_gpu_attribution_engine(&owner);
    char key[KEY];
    char index[16];
    snprintf(index, sizeof index, "%u", device->index);
    snprintf(key, sizeof key, "owner\n%.20s\n%.95s\n%s\n%.60s\n%.80s\n%s", source, device->uuid,
             index, upstream, endpoint, engine);
    struct slot *slot =
        slot_of(gauges, key,
                PS_LABELS(ps_str_from(source), ps_str_from(device->uuid), ps_str_from(index),
                          ps_str_from(upstream), ps_str_from(endpoint), ps_str_from(engine)),
                families, PS_ARRAY_LEN(families));
    if (slot != NULL && process->memory.known) {
        slot->sum = slot->known ? slot->sum + process->memory.value : process->memory.value;
        slot->known = true;
        set(slot, 0, ps_device_known(slot->sum), 1);
    }
}

static void show_processes(struct ps_gpu_gauges *gauges, const char *source,
                           const struct ps_device_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->process_count; i++) {
        add_process(gauges, source, snapshot, &snapshot->processes[i]);
    }
}

static void show_snapshot(struct ps_gpu_gauges *gauges, const char *source,
                          const struct ps_device_snapshot *snapshot)
{
    for (size_t i = 0; snapshot != NULL && i < snapshot->device_count; i++) {
        show_device(gauges, source, snapshot, i);
    }
}

static struct ps_device_reading level_of(bool foreseen, const struct ps_gpu_view *view)
{
    return (struct ps_device_reading){foreseen ? view->level : 0, foreseen};
}

static struct ps_device_reading until_of(bool foreseen, const struct ps_gpu_view *view)
{
    bool known = foreseen && isfinite(view->answer.until);
    return (struct ps_device_reading){known ? view->answer.until : 0, known};
}

static void show_server(struct ps_gpu_gauges *gauges, const struct ps_scrape_view *view,
                        const struct ps_optimizer_target *target)
{
    static const enum family families[] = {SERVER_RUNNING, SERVER_WAITING,   SERVER_KV,
                                           SERVER_PREFIX,  SERVER_EFFECTIVE, SERVER_UP,
                                           SERVER_LEVEL,   SERVER_UNTIL};
    struct ps_gpu_view outlook;
    bool foreseen =
        target->fresh && ps_gpu_outlook_read(gauges->gpu->outlook, target->id, &outlook);
    char key[KEY];
    snprintf(key, sizeof key, "server\n%.100s\n%.200s", view->name, view->endpoint);
    struct slot *slot = slot_of(gauges, key,
                                PS_LABELS(ps_str_from(view->name), ps_str_from(view->endpoint),
                                          ps_str_from(ps_adapters[view->adapter].name)),
                                families, PS_ARRAY_LEN(families));
    if (slot == NULL) {
        return;
    }
    struct ps_device_reading unknown = {0};
    for (size_t i = 0; i < PS_ARRAY_LEN(server_rows); i++) {
        set(slot, i, target->fresh ? target->vitals->readings[server_rows[i].field] : unknown, 1);
    }
    set(slot, 4, target->fresh ? target->effective : unknown, 0.01);
    set(slot, 5, ps_device_known(target->fresh ? 1 : 0), 1);
    set(slot, 6, level_of(foreseen, &outlook), 1);
    set(slot, 7, until_of(foreseen, &outlook), 1);
}

static void show_whole(struct ps_gpu_gauges *gauges, ps_time now,
                       const struct ps_optimizer_target *targets, size_t count)
{
    static const enum family families[] = {WHOLE_USED, WHOLE_EFFECTIVE, WHOLE_LEVEL, WHOLE_UNTIL};
    struct ps_gpu_headline headline;
    ps_gpu_headline(gauges->gpu, now, targets, count, &headline);
    struct slot *slot = slot_of(gauges, "whole", NULL, families, PS_ARRAY_LEN(families));
    if (slot != NULL) {
        set(slot, 0, headline.used, 0.01);
        set(slot, 1, headline.effective, 0.01);
        set(slot, 2, level_of(headline.foreseen, &headline.view), 1);
        set(slot, 3, until_of(headline.foreseen, &headline.view), 1);
    }
}

static void show_spot(struct ps_gpu_gauges *gauges, const struct ps_scrape_view *view,
                      const struct ps_optimizer_target *targets, size_t count)
{
    if (view->state == PS_SCRAPE_FRESH) {
        show_snapshot(gauges, view->is_upstream ? view->endpoint : view->name,
                      view->result->devices);
    }
    for (size_t i = 0; i < count; i++) {
        if (targets[i].id == view->id) {
            show_server(gauges, view, &targets[i]);
        }
    }
}

static struct ps_device_reading bound(uint64_t most)
{
    return (struct ps_device_reading){(double)most, most > 0};
}

static void show_bound(struct ps_gpu_gauges *gauges, const struct ps_scrape_view *view)
{
    static const enum family families[] = {BOUND_REQUESTS, BOUND_TOKENS};
    struct ps_gpu *gpu = gauges->gpu;
    char key[KEY];
    if (view->backend == NULL || gpu->in_flight != PS_THROTTLE_AUTO) {
        return;
    }
    struct ps_throttle_bound in_force = ps_gpu_gates_bound(gpu, view->backend->gate);
    snprintf(key, sizeof key, "bound\n%.200s", view->name);
    struct slot *slot =
        slot_of(gauges, key, PS_LABELS(ps_str_from(view->name)), families, PS_ARRAY_LEN(families));
    if (slot != NULL) {
        set(slot, 0, bound(in_force.requests), 1);
        set(slot, 1, bound(in_force.tokens), 1);
    }
}

void ps_gpu_gauges_update(struct ps_gpu_gauges *gauges, const struct ps_optimizer_target *targets,
                          size_t count)
{
    struct ps_gpu *gpu = gauges->gpu;
    ps_time now = ps_loop_now(gpu->loop);
    for (size_t i = 0; i < gauges->count; i++) {
        gauges->slots[i].seen = false;
        gauges->slots[i].known = false;
    }
    show_whole(gauges, now, targets, count);
    for (size_t i = 0; i < gpu->driver_count; i++) {
        if (gpu->views[i].state == PS_SAMPLER_FRESH) {
            show_snapshot(gauges, gpu->driver_names[i], gpu->views[i].snapshot);
            show_processes(gauges, gpu->driver_names[i], gpu->views[i].snapshot);
        }
    }
    for (size_t i = 0; i < ps_scrape_count(gpu->scrape); i++) {
        struct ps_scrape_view view;
        ps_scrape_read(gpu->scrape, i, now, &view);
        show_spot(gauges, &view, targets, count);
        show_bound(gauges, &view);
    }
    for (size_t i = 0; i < gauges->count; i++) {
        bool shown =
            gauges->slots[i].seen && (gauges->slots[i].known || !is_sum(&gauges->slots[i]));
        for (size_t j = 0; !shown && j < gauges->slots[i].count; j++) {
            ps_gauge_set(gauges->slots[i].gauges[j], NAN);
        }
    }
}
