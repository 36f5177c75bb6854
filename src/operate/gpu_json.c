/* gpu_json - /api/gpu/profile, /api/gpu/report and /api/gpu/cleanup as JSON.
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
#include "operate/gpu_opts.h"
#include "operate/gpu_room.h"

#define MIB        1048576.0
#define TEXT_LIMIT ((size_t)8 * 1024 * 1024)

static void add_real(json_t *object, const char *name, struct ps_device_reading reading,
                     double unit)
{
    if (reading.known) {
        json_object_set_new(object, name, json_real(reading.value / unit));
    }
}

static void add_text(json_t *object, const char *name, const char *text)
{
    if (text[0] != '\0') {
        json_object_set_new(object, name, json_string(text));
    }
}

static void add_seconds(json_t *object, const char *name, ps_span span)
{
    json_object_set_new(object, name, json_real(ps_span_seconds(span)));
}

static int dump(json_t *json, struct ps_buf *out)
{
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(14));
    int err = text == NULL ? PS_ENOMEM : ps_buf_append_str(out, ps_str_from(text));
    err = err != PS_OK ? err : ps_buf_append_str(out, PS_STR("\n"));
    free(text);
    return err;
}

/* --- devices ---------------------------------------------------------------------------------- */

/* What is known of devices, from whom. Names are those of sources; snapshots are borrowed. */
static size_t list_sources(struct ps_gpu *gpu, ps_time now, struct ps_profile_source *sources,
                           size_t most)
{
    size_t count = 0;
    for (size_t i = 0; i < gpu->driver_count && count < most; i++) {
        sources[count++] = (struct ps_profile_source){.name = gpu->driver_names[i],
                                                      .view = gpu->views[i],
                                                      .calls = ps_sampler_book(gpu->drivers[i])};
    }
    for (size_t i = 0; i < ps_scrape_count(gpu->scrape) && count < most; i++) {
        struct ps_scrape_view view;
        ps_scrape_read(gpu->scrape, i, now, &view);
        if (view.result != NULL && view.result->devices != NULL) {
            struct ps_profile_source *source = &sources[count++];
            *source = (struct ps_profile_source){.name = view.name};
            source->view.state =
                view.state == PS_SCRAPE_FRESH ? PS_SAMPLER_FRESH : PS_SAMPLER_STALE;
            source->view.snapshot = view.result->devices;
            source->view.age = view.age;
            snprintf(source->view.why, sizeof source->view.why, "%s", view.why);
        }
    }
    return count;
}

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
        size_t count = list_sources(gpu, now, sources, PS_OPTIMIZER_TARGETS);
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
        add_real(one, "memory_mb", model->bytes, MIB);
        json_array_append_new(list, one);
    }
    return list;
}

static void add_vitals(json_t *one, const struct ps_scrape_result *result)
{
    const struct ps_vitals *vitals = &result->vitals;
    for (size_t i = 0; i < PS_VITALS_FIELDS; i++) {
        add_real(one, ps_vitals_rows[i].name, vitals->readings[i], 1);
    }
    add_text(one, "server_state", ps_vitals_state_names[vitals->state]);
    json_object_set_new(one, "models", models_json(vitals));
    add_seconds(one, "took_seconds", result->took);
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
    add_real(one, "effective_percent", target->effective, 1);
    if (ps_gpu_basis(target) != NULL) {
        json_object_set_new(one, "basis", json_string(ps_gpu_basis(target)));
    }
    add_real(one, "device_used_mb", target->used, MIB);
    json_object_set_new(one, "busy", json_boolean(target->busy));
}

static json_t *engine_json(const struct ps_gpu *gpu, const struct ps_scrape_view *view,
                           const struct ps_optimizer_target *targets, size_t count)
{
    json_t *one =
        json_pack("{ss ss ss ss sb}", view->is_upstream ? "upstream" : "name", view->name,
                  "endpoint", view->endpoint, "engine", ps_adapters[view->adapter].name, "state",
                  ps_scrape_state_names[view->state], "simulated", (int)view->simulated);
    add_text(one, "why", view->why);
    if (view->is_upstream) {
        json_object_set_new(one, "in_flight", json_integer((json_int_t)view->in_flight));
    }
    if (view->result == NULL) {
        return one;
    }
    add_seconds(one, "age_seconds", view->age);
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

static const struct ps_optimizer_target *fullest(const struct ps_optimizer_target *targets,
                                                 size_t count)
{
    const struct ps_optimizer_target *most = NULL;
    for (size_t i = 0; i < count; i++) {
        if (targets[i].fresh && targets[i].effective.known &&
            (most == NULL || targets[i].effective.value > most->effective.value)) {
            most = &targets[i];
        }
    }
    return most;
}

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

/* The fullest server decides which device is shown. */
static void add_effective(json_t *root, const struct ps_gpu *gpu,
                          const struct ps_optimizer_target *targets, size_t count)
{
    const struct ps_optimizer_target *most = fullest(targets, count);
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
    add_real(profile, "effective_percent", most->effective, 1);
    json_object_set_new(profile, "basis", json_string(ps_gpu_basis(most)));
    json_object_set_new(profile, "server", json_string(most->name));
    if (ps_gpu_outlook_read(gpu->outlook, most->id, &view)) {
        add_view(root, profile, &view);
    }
}

/* NULL: out of memory. *known: is there anything in it? */
static json_t *profile_json(struct ps_gpu *gpu, bool *known)
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

/* --- cleanups --------------------------------------------------------------------------------- */

static void add_time(json_t *object, const char *name, const struct ps_gpu *gpu, ps_time at)
{
    json_object_set_new(object, name,
                        json_real((double)(ps_gpu_wall(gpu, at) / PS_MILLISECOND) / 1e3));
}

static void add_measured(json_t *one, const struct ps_optimizer_step *step)
{
    add_real(one, "expected_mb", step->expected, MIB);
    add_real(one, "used_before_mb", step->before, MIB);
    add_real(one, "used_after_mb", step->after, MIB);
    if (step->before.known && step->after.known) {
        json_object_set_new(one, "freed_mb",
                            json_real((step->before.value - step->after.value) / MIB));
    }
    add_real(one, "kv_use_before", step->kv_before, 1);
    add_real(one, "kv_use_after", step->kv_after, 1);
    if (step->showable) {
        json_object_set_new(one, "shown_by_server", json_boolean(step->shown));
    }
    add_text(one, "server_state", ps_vitals_state_names[step->state]);
    if (step->late.known) {
        add_real(one, "freed_late_mb", step->late, MIB);
        add_seconds(one, "late_seconds", step->late_at - step->answered);
    }
}

static json_t *step_json(const struct ps_optimizer_step *step)
{
    const struct ps_hook *hook = step->hook;
    json_t *one =
        json_pack("{ss ss ss ss ss ss}", "server", step->target, "rung", ps_rung_names[hook->rung],
                  "call", hook->path, "frees", ps_hook_frees_names[hook->frees], "verdict",
                  ps_optimizer_verdict_names[step->verdict], "cost", hook->cost);
    json_object_set_new(one, "verified_against",
                        json_string(hook->verified == NULL ? "mock only" : hook->verified));
    add_text(one, "model", step->model);
    add_text(one, "reason", step->why);
    if (hook->needs != NULL) {
        json_object_set_new(one, "needs", json_string(hook->needs));
    }
    json_object_set_new(one, "simulated", json_boolean(step->simulated));
    if (step->status != 0) {
        json_object_set_new(one, "status", json_integer(step->status));
    }
    add_measured(one, step);
    if (step->answered != 0 && step->ended >= step->answered) {
        add_seconds(one, "answered_after_seconds", step->answered - step->began);
        add_seconds(one, "verdict_after_seconds", step->ended - step->answered);
    }
    return one;
}

static json_t *run_json(const struct ps_gpu *gpu, const struct ps_optimizer_run *run)
{
    json_t *steps = json_array();
    for (size_t i = 0; i < run->step_count; i++) {
        json_array_append_new(steps, step_json(&run->steps[i]));
    }
    json_t *one =
        json_pack("{sI sb sb sf ss so}", "id", (json_int_t)run->number, "asked", (int)run->manual,
                  "dry_run", (int)run->dry_run, "target_percent", run->target_percent, "outcome",
                  ps_optimizer_outcome_names[run->outcome], "steps", steps);
    add_text(one, "reason", run->why);
    json_object_set_new(one, "asked_by", json_string(run->manual ? run->who : "auto"));
    json_object_set_new(one, "mode", json_string(ps_optimizer_mode_names[run->mode]));
    if (run->level != NULL) {
        json_object_set_new(one, "level", json_string(run->level));
    }
    add_time(one, "began", gpu, run->began);
    if (run->ended != 0) {
        add_time(one, "ended", gpu, run->ended);
    }
    add_real(one, "percent_before", run->percent_before, 1);
    add_real(one, "percent_after", run->percent_after, 1);
    return one;
}

static json_t *runs_json(const struct ps_gpu *gpu)
{
    json_t *list = json_array();
    const struct ps_optimizer_run *run;
    size_t count = 0;
    for (; (run = ps_optimizer_run(gpu->optimizer, count)) != NULL; count++) {
        json_array_append_new(list, run_json(gpu, run));
    }
    size_t past = gpu->past_known ? gpu->past_count : 0;
    for (size_t i = 0; i < past && count < PS_OPTIMIZER_RUNS; i++, count++) {
        json_array_append_new(list, run_json(gpu, &gpu->past[i].run));
    }
    return list;
}

/* From when on the list has all: the start, or the oldest of it where that is earlier or older ones
 * were left out. */
static double since(const struct ps_gpu *gpu, const json_t *cleanups)
{
    double start = (double)(gpu->since / PS_MILLISECOND) / 1e3;
    size_t count = json_array_size(cleanups);
    const json_t *oldest = count == 0 ? NULL : json_array_get(cleanups, count - 1);
    double began = json_number_value(json_object_get(oldest, "began"));
    return oldest != NULL && (began < start || count == PS_OPTIMIZER_RUNS) ? began : start;
}

/* --- recommendations -------------------------------------------------------------------------- */

static json_t *recommendation(const struct ps_optimizer_run *run, const char *id,
                              const char *severity, const char *text)
{
    char evidence[96];
    snprintf(evidence, sizeof evidence, "cleanup %llu", (unsigned long long)run->number);
    return json_pack("{ss ss ss ss}", "id", id, "severity", severity, "text", text, "evidence",
                     evidence);
}

static json_t *plan_advice(const struct ps_optimizer_run *run, const struct ps_optimizer_step *step)
{
    char text[512];
    char action[128];
    snprintf(text, sizeof text, "%.120s: %s would free %s; %s", step->target,
             ps_rung_names[step->hook->rung], ps_hook_frees_names[step->hook->frees],
             step->hook->cost);
    snprintf(action, sizeof action, "POST /api/gpu/cleanup {\"level\":\"%s\"}",
             ps_rung_names[step->hook->rung]);
    json_t *one = recommendation(run, "cleanup", "warning", text);
    json_object_set_new(one, "action", json_string(action));
    if (step->expected.known) {
        json_object_set_new(one, "expected_effect",
                            json_pack("{sf}", "freed_mb", step->expected.value / MIB));
    }
    return one;
}

static json_t *lie_advice(const struct ps_optimizer_run *run, const struct ps_optimizer_step *step)
{
    char text[512];
    snprintf(text, sizeof text, "%.120s: %s %.200s", step->target, ps_rung_names[step->hook->rung],
             step->why);
    return recommendation(run, step->late.known ? "frees_late" : "does_not_free", "warning", text);
}

static void add_advice(json_t *list, const struct ps_optimizer_run *run)
{
    for (size_t i = 0; i < run->step_count; i++) {
        const struct ps_optimizer_step *step = &run->steps[i];
        if (step->verdict == PS_OPTIMIZER_SHORT) {
            json_array_append_new(list, lie_advice(run, step));
        } else if (step->verdict == PS_OPTIMIZER_DRY) {
            json_array_append_new(list, plan_advice(run, step));
        }
    }
    if (run->outcome == PS_OPTIMIZER_NO_RUNG) {
        json_array_append_new(list, recommendation(run, "no_rung", "warning", run->why));
    }
}

/* From the latest run: what is older may not be true any more. */
static json_t *advice_json(const struct ps_gpu *gpu)
{
    json_t *list = json_array();
    const struct ps_optimizer_run *run = ps_optimizer_run(gpu->optimizer, 0);
    if (run != NULL) {
        add_advice(list, run);
    }
    ps_gpu_batch_advise(gpu->batch, list);
    return list;
}

/* --- answers ---------------------------------------------------------------------------------- */

static int write_known(json_t *root, bool known, struct ps_buf *out)
{
    int err = root == NULL ? PS_ENOMEM : known ? dump(root, out) : PS_ENOTFOUND;
    json_decref(root);
    return err;
}

int ps_gpu_write_profile(struct ps_gpu *gpu, struct ps_buf *out)
{
    bool known = false;
    json_t *root = profile_json(gpu, &known);
    if (root != NULL) {
        json_object_set_new(root, "batch", ps_gpu_batch_json(gpu->batch));
        json_object_set_new(root, "recommendations", advice_json(gpu));
    }
    return write_known(root, known, out);
}

int ps_gpu_write_report(struct ps_gpu *gpu, struct ps_buf *out)
{
    bool known = false;
    json_t *profile = profile_json(gpu, &known);
    json_t *root = json_object();
    json_object_set(root, "profile", json_object_get(profile, "profile"));
    json_object_set(root, "prediction", json_object_get(profile, "prediction"));
    json_object_set_new(root, "mode",
                        json_string(ps_optimizer_mode_names[ps_optimizer_mode(gpu->optimizer)]));
    json_t *cleanups = runs_json(gpu);
    json_object_set_new(root, "since", json_real(since(gpu, cleanups)));
    json_object_set_new(root, "cleanups", cleanups);
    json_object_set_new(root, "batch", ps_gpu_batch_json(gpu->batch));
    json_object_set_new(root, "recommendations", advice_json(gpu));
    json_decref(profile);
    return write_known(root, known || json_array_size(cleanups) > 0, out);
}

/* --- orders ----------------------------------------------------------------------------------- */

static int refuse(char *reason, size_t size, const char *text)
{
    snprintf(reason, size, "%s", text);
    return PS_EINVAL;
}

/* A level stands for its rung and all cheaper ones; `wake` for itself. */
static int read_level(const json_t *value, struct ps_optimizer_order *order, char *reason,
                      size_t size)
{
    enum ps_rung rung =
        json_is_string(value) ? ps_gpu_rung(ps_str_from(json_string_value(value))) : PS_RUNG_COUNT;
    if (rung == PS_RUNG_COUNT) {
        return refuse(reason, size,
                      "\"level\" is one of prefix_cache, host_cache, kv_limit, unload, sleep, "
                      "deep_sleep, checkpoint, restart and wake");
    }
    order->level = ps_rung_names[rung];
    order->rungs = rung == PS_RUNG_WAKE ? 1u << rung : (2u << rung) - 1;
    return PS_OK;
}

static int read_order(json_t *root, struct ps_optimizer_order *order, char *reason, size_t size)
{
    const char *name;
    json_t *value;
    int err = PS_OK;
    json_object_foreach(root, name, value)
    {
        if (strcmp(name, "level") == 0) {
            err = read_level(value, order, reason, size);
        } else if (strcmp(name, "dry_run") == 0 && json_is_boolean(value)) {
            order->dry_run = json_is_true(value);
        } else if (strcmp(name, "target_percent") == 0 && json_is_number(value) &&
                   json_number_value(value) >= 1 && json_number_value(value) <= 100) {
            order->target_percent = json_number_value(value);
        } else {
            err = refuse(reason, size,
                         "it has \"level\", \"dry_run\" (true or false) and \"target_percent\" "
                         "(1 to 100), or \"mode\" alone");
        }
        if (err != PS_OK) {
            return err;
        }
    }
    return PS_OK;
}

static int set_mode(struct ps_gpu *gpu, json_t *root, struct ps_buf *out, char *reason, size_t size)
{
    const char *name = json_string_value(json_object_get(root, "mode"));
    int mode = 0;
    while (name != NULL && ps_optimizer_mode_names[mode] != NULL &&
           strcmp(ps_optimizer_mode_names[mode], name) != 0) {
        mode++;
    }
    if (name == NULL || ps_optimizer_mode_names[mode] == NULL || json_object_size(root) != 1) {
        return refuse(reason, size, "\"mode\" stands alone and is off, advise or auto");
    }
    ps_optimizer_set_mode(gpu->optimizer, (enum ps_optimizer_mode)mode, ps_loop_now(gpu->loop));
    json_t *answer = json_pack("{ss}", "mode", name);
    int err = dump(answer, out);
    json_decref(answer);
    return err;
}

int ps_gpu_write_cleanup(struct ps_gpu *gpu, const struct ps_optimizer_run *run, struct ps_buf *out)
{
    json_t *answer = json_pack("{so}", "cleanup", run_json(gpu, run));
    int err = dump(answer, out);
    json_decref(answer);
    return err;
}

static int begin(struct ps_gpu *gpu, json_t *root, const char *who, struct ps_buf *out, bool *done,
                 char *reason, size_t size)
{
    struct ps_optimizer_order order = {.who = who};
    uint64_t number;
    ps_time now = ps_loop_now(gpu->loop);
    int err = read_order(root, &order, reason, size);
    if (err != PS_OK) {
        return err;
    }
    err = ps_optimizer_order(gpu->optimizer, &order, now, &number);
    if (err != PS_OK) {
        snprintf(reason, size, "%s",
                 err == PS_EBUSY ? "a cleanup is under way"
                                 : "the optimizer is switched off (gpu.mode)");
        return err;
    }
    PS_IGNORE(ps_timer_set(gpu->loop, &gpu->timer, ps_optimizer_step(gpu->optimizer, now)));
    ps_gpu_record(gpu);
    const struct ps_optimizer_run *run = ps_optimizer_find(gpu->optimizer, number);
    *done = run->outcome != PS_OPTIMIZER_RUNNING;
    return ps_gpu_write_cleanup(gpu, run, out);
}

int ps_gpu_cleanup(struct ps_gpu *gpu, struct ps_str json, const char *who, struct ps_buf *out,
                   bool *done, char *reason, size_t size)
{
    json_t *root = json_loadb(json.ptr, json.len, JSON_REJECT_DUPLICATES, NULL);
    *done = true;
    int err = PS_OK;
    if (!json_is_object(root)) {
        err = refuse(reason, size, "the body is not a JSON object");
    } else if (json_object_get(root, "mode") != NULL) {
        err = set_mode(gpu, root, out, reason, size);
    } else {
        err = begin(gpu, root, who, out, done, reason, size);
    }
    json_decref(root);
    return err;
}
