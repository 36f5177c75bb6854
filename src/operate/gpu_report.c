/* gpu_report - /api/gpu/report and one cleanup as JSON: what was done, and what is advised.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "operate/gpu.h"
#include "operate/gpu_batch.h"
#include "operate/gpu_json_private.h"
#include "operate/gpu_opts.h"
#include "operate/gpu_room.h"

/* --- cleanups --------------------------------------------------------------------------------- */

static void add_time(json_t *object, const char *name, const struct ps_gpu *gpu, ps_time at)
{
    json_object_set_new(object, name,
                        json_real((double)(ps_gpu_wall(gpu, at) / PS_MILLISECOND) / 1e3));
}

static void add_measured(json_t *one, const struct ps_optimizer_step *step)
{
    ps_gpu_json_real(one, "expected_mb", step->expected, PS_GPU_MIB);
    ps_gpu_json_real(one, "used_before_mb", step->before, PS_GPU_MIB);
    ps_gpu_json_real(one, "used_after_mb", step->after, PS_GPU_MIB);
    if (step->before.known && step->after.known) {
        json_object_set_new(one, "freed_mb",
                            json_real((step->before.value - step->after.value) / PS_GPU_MIB));
    }
    ps_gpu_json_real(one, "kv_use_before", step->kv_before, 1);
    ps_gpu_json_real(one, "kv_use_after", step->kv_after, 1);
    if (step->showable) {
        json_object_set_new(one, "shown_by_server", json_boolean(step->shown));
    }
    ps_gpu_json_text(one, "server_state", ps_vitals_state_names[step->state]);
    if (step->late.known) {
        ps_gpu_json_real(one, "freed_late_mb", step->late, PS_GPU_MIB);
        ps_gpu_json_seconds(one, "late_seconds", step->late_at - step->answered);
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
    ps_gpu_json_text(one, "model", step->model);
    ps_gpu_json_text(one, "reason", step->why);
    if (hook->needs != NULL) {
        json_object_set_new(one, "needs", json_string(hook->needs));
    }
    json_object_set_new(one, "simulated", json_boolean(step->simulated));
    if (step->status != 0) {
        json_object_set_new(one, "status", json_integer(step->status));
    }
    add_measured(one, step);
    if (step->answered != 0 && step->ended >= step->answered) {
        ps_gpu_json_seconds(one, "answered_after_seconds", step->answered - step->began);
        ps_gpu_json_seconds(one, "verdict_after_seconds", step->ended - step->answered);
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
    ps_gpu_json_text(one, "reason", run->why);
    json_object_set_new(one, "asked_by", json_string(run->manual ? run->who : "auto"));
    json_object_set_new(one, "mode", json_string(ps_optimizer_mode_names[run->mode]));
    if (run->level != NULL) {
        json_object_set_new(one, "level", json_string(run->level));
    }
    add_time(one, "began", gpu, run->began);
    if (run->ended != 0) {
        add_time(one, "ended", gpu, run->ended);
    }
    ps_gpu_json_real(one, "percent_before", run->percent_before, 1);
    ps_gpu_json_real(one, "percent_after", run->percent_after, 1);
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
                            json_pack("{sf}", "freed_mb", step->expected.value / PS_GPU_MIB));
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
json_t *ps_gpu_json_advice(const struct ps_gpu *gpu)
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

int ps_gpu_write_cleanup(struct ps_gpu *gpu, const struct ps_optimizer_run *run, struct ps_buf *out)
{
    json_t *answer = json_pack("{so}", "cleanup", run_json(gpu, run));
    int err = ps_gpu_json_dump(answer, out);
    json_decref(answer);
    return err;
}

int ps_gpu_write_report(struct ps_gpu *gpu, struct ps_buf *out)
{
    bool known = false;
    json_t *profile = ps_gpu_json_profile(gpu, &known);
    json_t *root = json_object();
    json_object_set(root, "profile", json_object_get(profile, "profile"));
    json_object_set(root, "prediction", json_object_get(profile, "prediction"));
    json_object_set_new(root, "mode",
                        json_string(ps_optimizer_mode_names[ps_optimizer_mode(gpu->optimizer)]));
    json_t *cleanups = runs_json(gpu);
    json_object_set_new(root, "since", json_real(since(gpu, cleanups)));
    json_object_set_new(root, "cleanups", cleanups);
    json_object_set_new(root, "batch", ps_gpu_batch_json(gpu->batch));
    json_object_set_new(root, "recommendations", ps_gpu_json_advice(gpu));
    json_decref(profile);
    return ps_gpu_json_write(root, known || json_array_size(cleanups) > 0, out);
}
