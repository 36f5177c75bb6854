/* gpu_profile_view - see gpu_profile_view.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/gpu_profile_view.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define CELL           64
#define PROCESSES_MOST 10
#define ADVICE_MOST    5

struct cell {
    char text[CELL];
};

static double number_of(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text == NULL ? "" : text;
}

static bool is_true(const json_t *object, const char *name)
{
    return json_is_true(json_object_get(object, name));
}

/* A number with its unit, or a dash. */
static struct cell cell_of(const json_t *object, const char *name, const char *unit)
{
    struct cell cell = {"-"};
    double value = number_of(object, name);
    if (!isnan(value)) {
        snprintf(cell.text, sizeof cell.text, "%.0f%s", value, unit);
    }
    return cell;
}

static struct cell memory_of(const json_t *device)
{
    struct cell cell = {"-"};
    double used = number_of(device, "used_mb");
    double total = number_of(device, "total_mb");
    if (!isnan(used) && !isnan(total)) {
        snprintf(cell.text, sizeof cell.text, "%.0f/%.0f MiB", used, total);
    } else if (!isnan(used)) {
        snprintf(cell.text, sizeof cell.text, "%.0f MiB", used);
    }
    return cell;
}

/* An address without what all of them begin with. */
static const char *short_of(const char *url)
{
    return strncmp(url, "http://", 7) == 0 ? url + 7 : url;
}

/* Who tells of it: the server, or the source. */
static const char *teller_of(const json_t *device)
{
    const char *endpoint = text_of(device, "endpoint");
    return endpoint[0] != '\0' ? short_of(endpoint) : text_of(device, "source");
}

static int put_device(const json_t *device, struct ps_buf *out)
{
    const char *name = text_of(device, "name");
    return ps_buf_printf(
        out, "%-4s %-21.21s %-16s %5s  %5s  %6s  %5s %s%.40s%s%s\n",
        cell_of(device, "index", "").text, teller_of(device), memory_of(device).text,
        cell_of(device, "utilization_percent", " %").text,
        cell_of(device, "busy_percent", " %").text, cell_of(device, "power_watts", " W").text,
        cell_of(device, "temperature_celsius", " C").text, name[0] == '\0' ? "" : " ", name,
        is_true(device, "simulated") ? " simulated" : "", is_true(device, "lost") ? " LOST" : "");
}

static int put_devices(const json_t *list, struct ps_buf *out)
{
    const json_t *device;
    size_t i;
    int err = json_array_size(list) == 0
                  ? PS_OK
                  : ps_buf_printf(out, "%-4s %-21s %-16s %5s  %5s  %6s  %5s\n", "GPU", "TOLD BY",
                                  "MEMORY", "", "BUSY", "POWER", "TEMP");
    json_array_foreach(list, i, device)
    {
        err = err != PS_OK ? err : put_device(device, out);
    }
    return err;
}

/* --- servers ---------------------------------------------------------------------------------- */

/* "79 % of memory"; "13 % of cache" for those that took the memory at start. */
static struct cell fullness_of(const json_t *engine)
{
    struct cell cell = {"-"};
    double percent = number_of(engine, "effective_percent");
    bool cache = strcmp(text_of(engine, "basis"), "kv_cache") == 0;
    if (!isnan(percent)) {
        snprintf(cell.text, sizeof cell.text, "%.0f %% of %s", percent, cache ? "cache" : "memory");
    }
    return cell;
}

/* "full in 34 s, cleanup needed (probability 0.80)". */
static struct cell outlook_of(const json_t *engine)
{
    struct cell cell = {""};
    const json_t *prediction = json_object_get(engine, "prediction");
    double until = number_of(prediction, "seconds_to_critical");
    double odds = number_of(prediction, "probability");
    size_t len = 0;
    if (!isnan(until)) {
        len += (size_t)snprintf(cell.text, CELL, "full in %.0f s", until);
    }
    if (is_true(prediction, "cleanup_needed")) {
        len +=
            (size_t)snprintf(cell.text + len, CELL - len, "%scleanup needed", len > 0 ? ", " : "");
    }
    if (!isnan(odds) && len < CELL) {
        snprintf(cell.text + len, CELL - len, "%sprobability %.2f", len > 0 ? ", " : "", odds);
    }
    return cell;
}

static int put_engine(const json_t *engine, struct ps_buf *out)
{
    const char *level = text_of(engine, "pressure_level");
    const char *state = text_of(engine, "state");
    bool fresh = strcmp(state, "fresh") == 0;
    char kind[CELL];
    snprintf(kind, sizeof kind, "%.16s%s", text_of(engine, "engine"),
             is_true(engine, "simulated") ? " (simulated)" : "");
    return ps_buf_printf(out, "%-22.40s %-20s %-14s  %-8.8s  %s%s%s%.80s\n",
                         short_of(text_of(engine, "endpoint")), kind, fullness_of(engine).text,
                         level[0] == '\0' ? "-" : level, outlook_of(engine).text,
                         fresh ? "" : state, fresh ? "" : " ", fresh ? "" : text_of(engine, "why"));
}

static int put_engines(const json_t *list, struct ps_buf *out)
{
    const json_t *engine;
    size_t i;
    int err = json_array_size(list) == 0
                  ? PS_OK
                  : ps_buf_printf(out, "\n%-22s %-20s %-14s  %-8s  %s\n", "SERVER", "ENGINE",
                                  "USED", "LEVEL", "OUTLOOK");
    json_array_foreach(list, i, engine)
    {
        err = err != PS_OK ? err : put_engine(engine, out);
    }
    return err;
}

/* --- the rest --------------------------------------------------------------------------------- */

static int put_processes(const json_t *list, struct ps_buf *out)
{
    const json_t *process;
    size_t i;
    int err = json_array_size(list) == 0
                  ? PS_OK
                  : ps_buf_printf(out, "\n%-4s %-26s %-16s\n", "GPU", "PROCESS", "MEMORY");
    json_array_foreach(list, i, process)
    {
        if (err == PS_OK && i < PROCESSES_MOST) {
            err = ps_buf_printf(out, "%-4s %-26.26s %-16s pid %s\n",
                                cell_of(process, "device", "").text, text_of(process, "name"),
                                cell_of(process, "used_mb", " MiB").text,
                                cell_of(process, "pid", "").text);
        }
    }
    return err;
}

static int put_advice(const json_t *list, struct ps_buf *out)
{
    const json_t *one;
    size_t i;
    int err = PS_OK;
    json_array_foreach(list, i, one)
    {
        if (err == PS_OK && i < ADVICE_MOST) {
            err = ps_buf_printf(out, "%s%.16s: %.300s\n", i == 0 ? "\n" : "",
                                text_of(one, "severity"), text_of(one, "text"));
        }
    }
    return err;
}

/* Is any of it simulated? Then the reader is told so, once for all. */
static int put_remark(const json_t *root, struct ps_buf *out)
{
    const json_t *one;
    size_t i;
    bool simulated = is_true(json_object_get(root, "profile"), "simulated");
    json_array_foreach(json_object_get(root, "engines"), i, one)
    {
        simulated = simulated || is_true(one, "simulated");
    }
    return simulated ? ps_buf_append_str(out, PS_STR("\nsimulated: not all of this was measured\n"))
                     : PS_OK;
}

int ps_gpu_profile_view_write(struct ps_str json, struct ps_buf *out)
{
    json_t *root = json_loadb(json.ptr, json.len, 0, NULL);
    bool profile = json_is_array(json_object_get(root, "devices")) ||
                   json_is_array(json_object_get(root, "engines"));
    int err = profile ? put_devices(json_object_get(root, "devices"), out) : PS_EPARSE;
    err = err != PS_OK ? err : put_engines(json_object_get(root, "engines"), out);
    err = err != PS_OK ? err : put_processes(json_object_get(root, "processes"), out);
    err = err != PS_OK ? err : put_advice(json_object_get(root, "recommendations"), out);
    err = err != PS_OK ? err : put_remark(root, out);
    json_decref(root);
    return err;
}
