/* profile - see profile.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gpu/profile.h"

#include "base/check.h"
#include "base/writer.h"
#include "gpu/attribution.h"

#define MIB         1048576.0
#define LISTENS_MAX 8

/* A list or object in the making. */
struct writer {
    struct ps_writer out;
    bool begun; /* a member stands before the next one */
};

static void put(struct writer *writer, const char *text)
{
    ps_writer_text(&writer->out, text);
}

static void begin(struct writer *writer, char bracket)
{
    put(writer, writer->begun ? "," : "");
    put(writer, bracket == '{' ? "{" : "[");
    writer->begun = false;
}

static void end(struct writer *writer, char bracket)
{
    put(writer, bracket == '}' ? "}" : "]");
    writer->begun = true;
}

static void name(struct writer *writer, const char *text)
{
    put(writer, writer->begun ? ",\"" : "\"");
    put(writer, text);
    put(writer, "\":");
    writer->begun = false;
}

static void number(struct writer *writer, const char *key, double value)
{
    name(writer, key);
    ps_writer_printf(&writer->out, "%.12g", value);
    writer->begun = true;
}

static void reading(struct writer *writer, const char *key, struct ps_device_reading reading,
                    double unit)
{
    if (reading.known) {
        number(writer, key, reading.value / unit);
    }
}

static void text(struct writer *writer, const char *key, const char *value)
{
    if (value[0] == '\0') {
        return;
    }
    name(writer, key);
    ps_writer_string(&writer->out, ps_str_from(value));
    writer->begun = true;
}

static void truth(struct writer *writer, const char *key, bool value)
{
    name(writer, key);
    put(writer, value ? "true" : "false");
    writer->begun = true;
}

/* --- devices ---------------------------------------------------------------------------------- */

static void put_memory(struct writer *writer, const struct ps_device *device)
{
    const struct ps_device_reading *readings = device->readings;
    reading(writer, "total_mb", readings[PS_DEVICE_MEMORY_TOTAL], MIB);
    reading(writer, "used_mb", readings[PS_DEVICE_MEMORY_USED], MIB);
    reading(writer, "free_mb", readings[PS_DEVICE_MEMORY_FREE], MIB);
    reading(writer, "reserved_mb", readings[PS_DEVICE_MEMORY_RESERVED], MIB);
    reading(writer, "utilization_percent", ps_device_utilization(device), 1);
    reading(writer, "fragmentation_percent", readings[PS_DEVICE_FRAGMENTATION], 1);
}

static void put_xids(struct writer *writer, const struct ps_device_xids *xids)
{
    if (xids->count == 0) {
        return;
    }
    name(writer, "xid_kinds");
    begin(writer, '[');
    for (size_t i = 0; i < xids->count; i++) {
        begin(writer, '{');
        number(writer, "code", xids->kinds[i].code);
        number(writer, "count", (double)xids->kinds[i].count);
        end(writer, '}');
    }
    end(writer, ']');
}

static void put_place(struct writer *writer, const struct ps_device_snapshot *snapshot,
                      const struct ps_device *device)
{
    text(writer, "source", snapshot->source);
    truth(writer, "simulated", snapshot->simulated);
    number(writer, "index", device->index);
    text(writer, "uuid", device->uuid);
}

/* Whose it is. Where some have no size, the rest is at most what is left. */
static void put_account(struct writer *writer, const struct ps_device_snapshot *snapshot, size_t at)
{
    struct ps_device_account account = ps_device_account(snapshot, at);
    if (!account.known) {
        return;
    }
    number(writer, "processes_mb", account.held / MIB);
    if (account.without_size > 0) {
        number(writer, "processes_without_size", (double)account.without_size);
        number(writer, "unexplained_most_mb", account.unexplained / MIB);
    } else {
        number(writer, "unexplained_mb", account.unexplained / MIB);
    }
    if (account.overlap > 0) {
        number(writer, "overlap_mb", account.overlap / MIB);
    }
}

static void put_device(struct writer *writer, const struct ps_device_snapshot *snapshot, size_t at)
{
    const struct ps_device *device = &snapshot->devices[at];
    begin(writer, '{');
    put_place(writer, snapshot, device);
    text(writer, "name", device->name);
    text(writer, "bus", device->bus);
    if (device->parent != PS_DEVICE_NONE) {
        text(writer, "parent_uuid", snapshot->devices[device->parent].uuid);
        number(writer, "instance", device->instance);
    }
    truth(writer, "lost", device->lost);
    truth(writer, "unified", device->unified);
    truth(writer, "partitioned", device->partitioned);
    put_memory(writer, device);
    put_account(writer, snapshot, at);
    for (size_t field = PS_DEVICE_FRAGMENTATION + 1; field < PS_DEVICE_FIELDS; field++) {
        reading(writer, ps_device_rows[field].name, device->readings[field], 1);
    }
    put_xids(writer, &device->xids);
    end(writer, '}');
}

static void put_listens(struct writer *writer, const struct ps_device_snapshot *snapshot,
                        const struct ps_device_process *process)
{
    struct ps_attribution_address address;
    char shown[PS_ATTRIBUTION_TEXT];
    size_t place = ps_device_place(snapshot, process);
    if (place == SIZE_MAX || !ps_attribution_listens(snapshot->attribution, place, 0, &address)) {
        return;
    }
    name(writer, "listens");
    begin(writer, '[');
    for (size_t i = 0; i < LISTENS_MAX &&
                       ps_attribution_listens(snapshot->attribution, place, i, &address);
         i++) {
        put(writer, i > 0 ? "," : "");
        ps_writer_string(&writer->out, ps_str_from(ps_attribution_text(&address, shown)));
    }
    end(writer, ']');
}

static void put_process(struct writer *writer, const struct ps_device_snapshot *snapshot,
                        const struct ps_device_process *process)
{
    const struct ps_device *device = &snapshot->devices[process->device];
    begin(writer, '{');
    number(writer, "pid", process->pid);
    number(writer, "device", device->index);
    text(writer, "device_uuid", device->uuid);
    text(writer, "name", process->name);
    text(writer, "container", process->container);
    text(writer, "unseen", ps_device_sight_names[process->sight]);
    put_listens(writer, snapshot, process);
    reading(writer, "used_mb", process->memory, MIB);
    truth(writer, "compute", (process->use & (PS_DEVICE_COMPUTE | PS_DEVICE_MPS)) != 0);
    truth(writer, "graphics", (process->use & PS_DEVICE_GRAPHICS) != 0);
    truth(writer, "mps", (process->use & PS_DEVICE_MPS) != 0);
    end(writer, '}');
}

/* --- sources ---------------------------------------------------------------------------------- */

static void put_calls(struct writer *writer, const struct ps_toll_book *book)
{
    name(writer, "calls");
    begin(writer, '[');
    for (size_t i = 0; i < book->count; i++) {
        struct ps_toll toll;
        ps_toll_read(book, i, &toll);
        if (toll.calls > 0) {
            begin(writer, '{');
            text(writer, "name", toll.name);
            number(writer, "calls", (double)toll.calls);
            number(writer, "mean_us", (double)toll.total / (double)toll.calls / 1e3);
            number(writer, "max_us", (double)toll.longest / 1e3);
            number(writer, "over_budget", (double)toll.over_budget);
            number(writer, "errors", (double)toll.errors);
            number(writer, "last_error", toll.last_error);
            end(writer, '}');
        }
    }
    end(writer, ']');
}

static void put_cost(struct writer *writer, const struct ps_attribution *found)
{
    struct ps_attribution_cost cost = ps_attribution_cost(found);
    name(writer, "attribution");
    begin(writer, '{');
    number(writer, "processes_seen", (double)cost.seen);
    number(writer, "processes_read", (double)cost.read);
    number(writer, "took_us", (double)cost.took / 1e3);
    end(writer, '}');
}

static void put_source(struct writer *writer, const struct ps_profile_source *source)
{
    const struct ps_sampler_view *view = &source->view;
    begin(writer, '{');
    text(writer, "name", source->name);
    text(writer, "state", ps_sampler_state_names[view->state]);
    text(writer, "why", view->why);
    if (view->snapshot != NULL) {
        text(writer, "driver", view->snapshot->driver);
        number(writer, "age_seconds", ps_span_seconds(view->age));
        number(writer, "processes_left_out", (double)view->snapshot->processes_left_out);
    }
    if (view->state == PS_SAMPLER_HUNG) {
        text(writer, "call", view->call);
        number(writer, "call_seconds", ps_span_seconds(view->call_took));
    }
    if (view->snapshot != NULL && view->snapshot->attribution != NULL) {
        put_cost(writer, view->snapshot->attribution);
    }
    if (source->calls != NULL) {
        put_calls(writer, source->calls);
    }
    end(writer, '}');
}

/* --- the whole -------------------------------------------------------------------------------- */

size_t ps_profile_choose(const struct ps_profile_source *sources, size_t count,
                         const struct ps_device_snapshot **snapshot)
{
    double most = -2; /* unknown is -1 */
    size_t chosen = 0;
    *snapshot = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct ps_device_snapshot *one = sources[i].view.snapshot;
        for (size_t at = 0; one != NULL && at < one->device_count; at++) {
            struct ps_device_reading share = ps_device_utilization(&one->devices[at]);
            double value = share.known ? share.value : -1;
            if (value > most) {
                most = value;
                chosen = at;
                *snapshot = one;
            }
        }
    }
    return chosen;
}

static void put_lists(struct writer *writer, const struct ps_profile_source *sources, size_t count)
{
    name(writer, "devices");
    begin(writer, '[');
    for (size_t i = 0; i < count; i++) {
        const struct ps_device_snapshot *one = sources[i].view.snapshot;
        for (size_t at = 0; one != NULL && at < one->device_count; at++) {
            put_device(writer, one, at);
        }
    }
    end(writer, ']');
    name(writer, "processes");
    begin(writer, '[');
    for (size_t i = 0; i < count; i++) {
        const struct ps_device_snapshot *one = sources[i].view.snapshot;
        for (size_t at = 0; one != NULL && at < one->process_count; at++) {
            put_process(writer, one, &one->processes[at]);
        }
    }
    end(writer, ']');
}

int ps_profile_write(const struct ps_profile_source *sources, size_t count, struct ps_buf *out)
{
    struct writer writer = {.out = {out, PS_OK}};
    const struct ps_device_snapshot *snapshot;
    size_t chosen = ps_profile_choose(sources, count, &snapshot);
    begin(&writer, '{');
    if (snapshot != NULL) {
        name(&writer, "profile");
        begin(&writer, '{');
        put_memory(&writer, &snapshot->devices[chosen]);
        put_place(&writer, snapshot, &snapshot->devices[chosen]);
        end(&writer, '}');
    }
    put_lists(&writer, sources, count);
    name(&writer, "sources");
    begin(&writer, '[');
    for (size_t i = 0; i < count; i++) {
        put_source(&writer, &sources[i]);
    }
    end(&writer, ']');
    end(&writer, '}');
    return writer.out.err;
}
