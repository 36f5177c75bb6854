/* gpu_json - /api/gpu/profile as JSON.
 *
 * The devices are written by gpu/profile, as `penstock gpu --json` does; what the daemon knows
 * beyond that is added. What is not known is absent.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "operate/gpu.h"
#include "operate/gpu_batch.h"
#include "operate/gpu_json_private.h"
#include "operate/gpu_opts.h"
#include "operate/gpu_room.h"

#define TEXT_LIMIT ((size_t)8 * 1024 * 1024)

void ps_gpu_json_real(json_t *object, const char *name, struct ps_device_reading reading,
                      double unit)
{
    if (reading.known) {
        json_object_set_new(object, name, json_real(reading.value / unit));
    }
}

void ps_gpu_json_text(json_t *object, const char *name, const char *text)
{
    if (text[0] != '\0') {
        json_object_set_new(object, name, json_string(text));
    }
}

void ps_gpu_json_seconds(json_t *object, const char *name, ps_span span)
{
    json_object_set_new(object, name, json_real(ps_span_seconds(span)));
}

int ps_gpu_json_dump(json_t *json, struct ps_buf *out)
{
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(14));
    int err = text == NULL ? PS_ENOMEM : ps_buf_append_str(out, ps_str_from(text));
    err = err != PS_OK ? err : ps_buf_append_str(out, PS_STR("\n"));
    free(text);
    return err;
}

int ps_gpu_json_write(json_t *root, bool known, struct ps_buf *out)
{
    int err = root == NULL ? PS_ENOMEM : known ? ps_gpu_json_dump(root, out) : PS_ENOTFOUND;
    json_decref(root);
    return err;
}

/* --- devices ---------------------------------------------------------------------------------- */

/* Devices that a server or exporter told of carry its address. */
static void add_endpoints(json_t *root, struct ps_gpu *gpu, ps_time now)
{
    json_t *list = json_object_get(root, "devices");
    size_t at = 0;
    for (size_t i = 0; i < gpu->driver_count; i++) {
        at += gpu->views[i].snapshot == NULL ? 0 : gpu->views[i].snapshot->device_count;
    }
    for (size_t i = 0; i < ps_scrape_count(gpu->scrape); i++) {
        struct ps_scrape_view view;
        ps_scrape_read(gpu->scrape, i, now, &view);
        size_t count = view.result == NULL || view.result->devices == NULL
                           ? 0
                           : view.result->devices->device_count;
        for (; count > 0; count--) {
            json_object_set_new(json_array_get(list, at++), "endpoint", json_string(view.endpoint));
        }
    }
}

/* Whose the processes are that this machine's drivers tell of: they come first in the list. */
static void add_owners(json_t *root, struct ps_gpu *gpu)
{
    json_t *list = json_object_get(root, "processes");
    size_t at = 0;
    for (size_t i = 0; i < gpu->driver_count; i++) {
        const struct ps_device_snapshot *snapshot = gpu->views[i].snapshot;
        for (size_t j = 0; snapshot != NULL && j < snapshot->process_count; j++) {
            struct ps_gpu_owner owner =
                ps_gpu_attribution_owner(gpu->attribution, snapshot, &snapshot->processes[j]);
            ps_gpu_attribution_add(gpu->attribution, gpu->scrape, &owner,
                                   json_array_get(list, at++));
        }
    }
}

static json_t *devices_json(struct ps_gpu *gpu, ps_time now)
{
    struct ps_profile_source *sources = calloc(PS_OPTIMIZER_TARGETS, sizeof *sources);
    struct ps_buf text = ps_buf_make(TEXT_LIMIT);
    json_t *json = NULL;
    if (sources != NULL) {
        size_t count = ps_gpu_list_sources(gpu, now, sources, PS_OPTIMIZER_TARGETS);
        if (ps_profile_write(sources, count, &text) == PS_OK) {
            json = json_loadb(text.data, text.len, 0, NULL);
            add_endpoints(json, gpu, now);
            add_owners(json, gpu);
        }
    }
    free(sources);
    ps_buf_fini(&text);
    return json;
}

/* --- servers ---------------------------------------------------------------------------------- */

static json_t *models_json(const struct ps_vitals *vitals)
{
    json_t *list = json_array();
    for (size_t i = 0; i < vitals->model_count; i++) {
        const struct ps_vitals_model *model = &vitals->models[i];
        json_t *one = json_pack("{ss}", "name", model->name);
        if (model->listed) {
            json_object_set_new(one, "loaded", json_boolean(model->loaded));
        }
        ps_gpu_json_real(one, "memory_mb", model->bytes, PS_GPU_MIB);
        json_array_append_new(list, one);
    }
    return list;
}

static void add_vitals(json_t *one, const struct ps_scrape_result *result)
{
    const struct ps_vitals *vitals = &result->vitals;
    for (size_t i = 0; i < PS_VITALS_FIELDS; i++) {
        ps_gpu_json_real(one, ps_vitals_rows[i].name, vitals->readings[i], 1);
    }
    ps_gpu_json_text(one, "server_state", ps_vitals_state_names[vitals->state]);
    json_object_set_new(one, "models", models_json(vitals));
    ps_gpu_json_seconds(one, "took_seconds", result->took);
}

/* What it rests on. What was not known is absent. */
static json_t *evidence_json(const struct ps_gpu_view *view)
{
    const struct ps_gpu_evidence *evidence = &view->evidence;
    json_t *one = json_pack("{sf}", "held_percent", evidence->held_percent);
    if (evidence->from_gateway) {
        json_object_set_new(one, "capacity_tokens", json_real(round(evidence->capacity)));
        json_object_set_new(one, "in_flight_tokens", json_real(round(evidence->flight)));
        json_object_set_new(one, "waiting_tokens", json_real(round(evidence->inside)));
        json_object_set_new(one, "queued_tokens", json_real(round(evidence->queued)));
        json_object_set_new(one, "arrived_tokens", json_real(round(evidence->arrived)));
    }
    if (isfinite(view->answer.skill)) {
        json_object_set_new(one, "brier_skill", json_real(view->answer.skill));
    }
    return one;
}

static json_t *prediction_json(const struct ps_gpu_view *view)
{
    const struct ps_cleanup_answer *answer = &view->answer;
    json_t *one = json_pack("{sb ss}", "cleanup_needed", (int)answer->needed, "basis",
                            answer->basis == PS_CLEANUP_BY_LEVEL ? "level" : "forecast");
    if (isfinite(answer->probability)) {
        json_object_set_new(one, "probability", json_real(answer->probability));
        json_object_set_new(one, "confidence_interval",
                            json_pack("[ff]", answer->low, answer->high));
    }
    if (isfinite(answer->until)) {
        json_object_set_new(one, "seconds_to_critical", json_real(answer->until));
    }
    json_object_set_new(one, "evidence", evidence_json(view));
    return one;
}

static void add_target(json_t *one, const struct ps_gpu *gpu,
                       const struct ps_optimizer_target *target)
{
    struct ps_gpu_view view;
    if (target->fresh && ps_gpu_outlook_read(gpu->outlook, target->id, &view)) {
        json_object_set_new(one, "pressure_level", json_string(ps_pressure_levels[view.level]));
        json_object_set_new(one, "prediction", prediction_json(&view));
    }
    ps_gpu_json_real(one, "effective_percent", target->effective, 1);
    if (ps_gpu_basis(target) != NULL) {
        json_object_set_new(one, "basis", json_string(ps_gpu_basis(target)));
    }
    ps_gpu_json_real(one, "device_used_mb", target->used, PS_GPU_MIB);
    json_object_set_new(one, "busy", json_boolean(target->busy));
}

static json_t *engine_json(const struct ps_gpu *gpu, const struct ps_scrape_view *view,
                           const struct ps_optimizer_target *targets, size_t count)
{
    json_t *one =
        json_pack("{ss ss ss ss sb}", view->is_upstream ? "upstream" : "name", view->name,
                  "endpoint", view->endpoint, "engine", ps_adapters[view->adapter].name, "state",
                  ps_scrape_state_names[view->state], "simulated", (int)view->simulated);
    ps_gpu_json_text(one, "why", view->why);
    if (view->is_upstream) {
        json_object_set_new(one, "in_flight", json_integer((json_int_t)view->in_flight));
    }
    if (view->result == NULL) {
        return one;
    }
    ps_gpu_json_seconds(one, "age_seconds", view->age);
    add_vitals(one, view->result);
    for (size_t i = 0; i < count; i++) {
        if (targets[i].id == view->id) {
            add_target(one, gpu, &targets[i]);
        }
    }
    return one;
}

static json_t *engines_json(struct ps_gpu *gpu, ps_time now,
                            const struct ps_optimizer_target *targets, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < ps_scrape_count(gpu->scrape); i++) {
        struct ps_scrape_view view;
        ps_scrape_read(gpu->scrape, i, now, &view);
        json_array_append_new(list, engine_json(gpu, &view, targets, count));
    }
    return list;
}

/* --- the profile ------------------------------------------------------------------------------ */

static double share_of(const json_t *device)
{
    const json_t *share = json_object_get(device, "utilization_percent");
    return share == NULL ? -1 : json_number_value(share);
}

/* The fullest device that this server told of, or NULL: it told of none. */
static const json_t *device_of(const json_t *root, const char *endpoint)
{
    const json_t *most = NULL;
    json_t *list = json_object_get(root, "devices");
    json_t *device;
    size_t i;
    json_array_foreach(list, i, device)
    {
        const char *owner = json_string_value(json_object_get(device, "endpoint"));
        if (owner != NULL && strcmp(owner, endpoint) == 0 &&
            (most == NULL || share_of(device) > share_of(most))) {
            most = device;
        }
    }
    return most;
}

/* The fields of `profile`, from one of `devices`. */
static json_t *pick_device(const json_t *device)
{
    static const char *const names[] = {"total_mb",
                                        "used_mb",
                                        "free_mb",
                                        "reserved_mb",
                                        "utilization_percent",
                                        "fragmentation_percent",
                                        "source",
                                        "simulated",
                                        "index",
                                        "uuid",
                                        "endpoint"};
    json_t *one = json_object();
    for (size_t i = 0; i < PS_ARRAY_LEN(names); i++) {
        json_t *value = json_object_get(device, names[i]);
        if (value != NULL) {
            json_object_set(one, names[i], value);
        }
    }
    return one;
}

/* The level of what is shown, and what is foreseen for it. */
static void add_view(json_t *root, json_t *profile, const struct ps_gpu_view *view)
{
    json_object_set_new(profile, "pressure_level", json_string(ps_pressure_levels[view->level]));
    json_object_set_new(root, "prediction", prediction_json(view));
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text == NULL ? "" : text;
}

/* A device that no server is known on counts by itself. */
static void add_plain(json_t *root, const struct ps_gpu *gpu)
{
    json_t *profile = json_object_get(root, "profile");
    json_t *percent = json_object_get(profile, "utilization_percent");
    uint32_t index = (uint32_t)json_number_value(json_object_get(profile, "index"));
    struct ps_gpu_view view;
    if (percent == NULL) {
        return;
    }
    json_object_set(profile, "effective_percent", percent);
    json_object_set_new(profile, "basis", json_string("device"));
    if (ps_gpu_plain_read(gpu->plain, text_of(profile, "source"), text_of(profile, "uuid"), index,
                          &view)) {
        add_view(root, profile, &view);
    }
}

/* The server under the highest pressure decides which device is shown. */
static void add_effective(json_t *root, const struct ps_gpu *gpu,
                          const struct ps_optimizer_target *targets, size_t count)
{
    const struct ps_optimizer_target *most = ps_gpu_most_pressed(gpu->outlook, targets, count);
    struct ps_gpu_view view;
    if (most == NULL) {
        add_plain(root, gpu);
        return;
    }
    const char *endpoint = strrchr(most->name, ' ') + 1;
    const json_t *device = device_of(root, endpoint);
    json_t *profile = json_object_get(root, "profile");
    if (device != NULL) {
        profile = pick_device(device);
        json_object_set_new(root, "profile", profile);
    } else if (profile == NULL) {
        profile =
            json_pack("{ss sb}", "source", "engine", "simulated", (int)most->vitals->simulated);
        json_object_set_new(root, "profile", profile);
    }
    ps_gpu_json_real(profile, "effective_percent", most->effective, 1);
    json_object_set_new(profile, "basis", json_string(ps_gpu_basis(most)));
    json_object_set_new(profile, "server", json_string(most->name));
    if (ps_gpu_outlook_read(gpu->outlook, most->id, &view)) {
        add_view(root, profile, &view);
    }
}

/* NULL: out of memory. *known: is there anything in it? */
json_t *ps_gpu_json_profile(struct ps_gpu *gpu, bool *known)
{
    ps_time now = ps_loop_now(gpu->loop);
    struct ps_optimizer_target *targets = calloc(PS_OPTIMIZER_TARGETS, sizeof *targets);
    if (targets == NULL) {
        return NULL;
    }
    size_t count = ps_gpu_measure(gpu, now, targets, PS_OPTIMIZER_TARGETS);
    json_t *root = devices_json(gpu, now);
    if (root != NULL) {
        add_effective(root, gpu, targets, count);
        json_object_set_new(root, "engines", engines_json(gpu, now, targets, count));
    }
    *known = count > 0 || json_object_get(root, "profile") != NULL;
    free(targets);
    return root;
}
/* --- the answer ---------------------------------------------------------------------------------
 */

int ps_gpu_write_profile(struct ps_gpu *gpu, struct ps_buf *out)
{
    bool known = false;
    json_t *root = ps_gpu_json_profile(gpu, &known);
    if (root != NULL) {
        json_object_set_new(root, "batch", ps_gpu_batch_json(gpu->batch));
        json_object_set_new(root, "recommendations", ps_gpu_json_advice(gpu));
    }
    return ps_gpu_json_write(root, known, out);
}
