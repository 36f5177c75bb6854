/* gpu_view - see gpu_view.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/gpu_view.h"

#include <stdio.h>
#include <string.h>

#include "gpu/attribution.h"
#include "gpu/nvml_library.h"

#define MIB      1048576.0
#define CELL     40
#define LISTENS_SHOWN 3
#define ID_SHOWN 12 /* digits of a container's id, as docker ps shows them */

struct cell {
    char text[CELL];
};

/* A number with its unit, or a dash. */
static struct cell cell_of(struct ps_device_reading reading, double unit, const char *name)
{
    struct cell cell = {"-"};
    if (reading.known) {
        (void)snprintf(cell.text, sizeof cell.text, "%.0f%s", reading.value / unit, name);
    }
    return cell;
}

/* Two of them: "8192/24576 MiB". */
static struct cell pair_of(struct ps_device_reading a, struct ps_device_reading b, double unit,
                           const char *name)
{
    struct cell cell = {"-"};
    if (a.known && b.known) {
        (void)snprintf(cell.text, sizeof cell.text, "%.0f/%.0f%s", a.value / unit, b.value / unit,
                       name);
    } else if (a.known) {
        cell = cell_of(a, unit, name);
    }
    return cell;
}

/* "0", and of an instance "0:3". */
static struct cell id_of(const struct ps_device *device)
{
    struct cell cell;
    bool whole = device->parent == PS_DEVICE_NONE;
    (void)snprintf(cell.text, sizeof cell.text, whole ? "%u" : "%u:%u", device->index,
                   device->instance);
    return cell;
}

static const char *remark_of(const struct ps_device *device)
{
    return device->lost ? "LOST" : device->unified ? "unified" : device->partitioned ? "MIG" : "";
}

static int put_device(const struct ps_device_snapshot *snapshot, size_t at, struct ps_buf *out)
{
    const struct ps_device *device = &snapshot->devices[at];
    const struct ps_device_reading *readings = device->readings;
    return ps_buf_printf(
        out, "%-5s %-28.28s %-18s %6s %6s %12s %6s %s\n", id_of(device).text,
        device->name[0] == '\0' ? "-" : device->name,
        pair_of(readings[PS_DEVICE_MEMORY_USED], readings[PS_DEVICE_MEMORY_TOTAL], MIB, " MiB")
            .text,
        cell_of(ps_device_utilization(device), 1, " %").text,
        cell_of(readings[PS_DEVICE_BUSY], 1, " %").text,
        pair_of(readings[PS_DEVICE_POWER], readings[PS_DEVICE_POWER_LIMIT], 1, " W").text,
        cell_of(readings[PS_DEVICE_TEMPERATURE], 1, " C").text, remark_of(device));
}

/* Where it listens, or those above it do. */
static int put_listens(const struct ps_device_snapshot *snapshot,
                       const struct ps_device_process *process, struct ps_buf *out)
{
    struct ps_attribution_address address;
    char text[PS_ATTRIBUTION_TEXT];
    size_t place = ps_device_place(snapshot, process);
    int err = PS_OK;
    for (size_t i = 0; err == PS_OK && place != SIZE_MAX && i < LISTENS_SHOWN &&
                       ps_attribution_listens(snapshot->attribution, place, i, &address);
         i++) {
        err = ps_buf_printf(out, "%s%s", i == 0 ? ", behind " : " ",
                            ps_attribution_text(&address, text));
    }
    return err;
}

static int put_process(const struct ps_device_snapshot *snapshot,
                       const struct ps_device_process *process, struct ps_buf *out)
{
    int err = ps_buf_printf(
        out, "%-5s %-28.28s %-18s pid %u%s%.*s", id_of(&snapshot->devices[process->device]).text,
        process->name[0] == '\0' ? "-" : process->name, cell_of(process->memory, MIB, " MiB").text,
        process->pid, process->container[0] == '\0' ? "" : " in ", ID_SHOWN, process->container);
    err = err == PS_OK ? put_listens(snapshot, process, out) : err;
    if (err == PS_OK && process->sight == PS_DEVICE_FOREIGN) {
        err = ps_buf_printf(out, ", of another pid namespace: not seen from here");
    }
    return err == PS_OK ? ps_buf_printf(out, "\n") : err;
}

/* What no process explains, and what is reserved. */
static int put_rest(const struct ps_device_snapshot *snapshot, size_t at, struct ps_buf *out)
{
    struct ps_device_account account = ps_device_account(snapshot, at);
    struct ps_device_reading rest = {account.unexplained, account.known};
    struct ps_device_reading reserved = snapshot->devices[at].readings[PS_DEVICE_MEMORY_RESERVED];
    int err = PS_OK;
    if (rest.known && rest.value >= MIB) {
        err = ps_buf_printf(out, "%-5s %-28s %-18s%s\n", id_of(&snapshot->devices[at]).text,
                            "driver, or not to be seen", cell_of(rest, MIB, " MiB").text,
                            account.without_size > 0 ? " at most: some have no size" : "");
    }
    if (err == PS_OK && reserved.known && reserved.value >= MIB) {
        err = ps_buf_printf(out, "%-5s %-28s %-18s\n", id_of(&snapshot->devices[at]).text,
                            "reserved (not in use)", cell_of(reserved, MIB, " MiB").text);
    }
    return err;
}

static int put_snapshot(const struct ps_device_snapshot *snapshot, struct ps_buf *out)
{
    int err = ps_buf_printf(out, "%-5s %-28s %-18s %6s %6s %12s %6s\n", "GPU", "NAME", "MEMORY", "",
                            "BUSY", "POWER", "TEMP");
    for (size_t i = 0; err == PS_OK && i < snapshot->device_count; i++) {
        err = put_device(snapshot, i, out);
    }
    for (size_t i = 0; err == PS_OK && i < snapshot->process_count; i++) {
        err =
            i > 0 ? PS_OK : ps_buf_printf(out, "\n%-5s %-28s %-18s\n", "GPU", "PROCESS", "MEMORY");
        err = err == PS_OK ? put_process(snapshot, &snapshot->processes[i], out) : err;
    }
    for (size_t i = 0; err == PS_OK && snapshot->process_count > 0 && i < snapshot->device_count;
         i++) {
        err = put_rest(snapshot, i, out);
    }
    return err;
}

static int put_state(const struct ps_profile_source *source, struct ps_buf *out)
{
    const struct ps_sampler_view *view = &source->view;
    const struct ps_device_snapshot *snapshot = view->snapshot;
    int err = ps_buf_printf(out, "source %s", source->name);
    if (err == PS_OK && snapshot != NULL && snapshot->driver[0] != '\0') {
        err = ps_buf_printf(out, ", driver %s", snapshot->driver);
    }
    if (err == PS_OK && snapshot != NULL && snapshot->simulated) {
        err = ps_buf_printf(out, ", simulated: nothing here was measured");
    }
    if (err == PS_OK && view->state != PS_SAMPLER_FRESH) {
        err = ps_buf_printf(out, ", %s", ps_sampler_state_names[view->state]);
    }
    if (err == PS_OK && view->state == PS_SAMPLER_HUNG) {
        err = ps_buf_printf(out, " in %s for %.1f s", view->call, ps_span_seconds(view->call_took));
    }
    if (err == PS_OK && snapshot != NULL && view->state != PS_SAMPLER_FRESH) {
        err = ps_buf_printf(out, ", these figures are %.1f s old", ps_span_seconds(view->age));
    }
    if (err == PS_OK && view->why[0] != '\0') {
        err = ps_buf_printf(out, ": %s", view->why);
    }
    return err == PS_OK ? ps_buf_printf(out, "\n") : err;
}

int ps_gpu_view_write(const struct ps_profile_source *sources, size_t count, struct ps_buf *out)
{
    int err = PS_OK;
    for (size_t i = 0; err == PS_OK && i < count; i++) {
        if (sources[i].view.snapshot != NULL) {
            err = put_snapshot(sources[i].view.snapshot, out);
            err = err == PS_OK ? ps_buf_printf(out, "\n") : err;
        }
        err = err == PS_OK ? put_state(&sources[i], out) : err;
    }
    return err;
}

int ps_gpu_view_write_calls(const struct ps_toll_book *book, struct ps_buf *out)
{
    int err = ps_buf_printf(out, "\n%-42s %7s %10s %10s %6s  %s\n", "CALL", "CALLS", "MEAN us",
                            "LONGEST us", "ERRORS", "LAST ERROR");
    for (size_t i = 0; err == PS_OK && i < book->count; i++) {
        struct ps_toll toll;
        ps_toll_read(book, i, &toll);
        if (toll.calls > 0) {
            err = ps_buf_printf(out, "%-42s %7llu %10.1f %10.1f %6llu  %s\n", toll.name,
                                (unsigned long long)toll.calls,
                                (double)toll.total / (double)toll.calls / 1e3,
                                (double)toll.longest / 1e3, (unsigned long long)toll.errors,
                                toll.last_error == 0 ? "" : ps_nvml_code_text(toll.last_error));
        }
    }
    return err;
}
