#include "lib/gpu_read.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

#define MIB 1048576.0

/* --- members ---------------------------------------------------------------------------------- */

static double number(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* Megabytes are written with as many digits as make bytes exact. */
static double bytes(const json_t *object, const char *name)
{
    return round(number(object, name) * MIB);
}

static void text(char *out, size_t size, const json_t *object, const char *name)
{
    const char *value = json_string_value(json_object_get(object, name));
    snprintf(out, size, "%s", value == NULL ? "" : value);
}

#define TEXT(field, object, name) text(field, sizeof(field), object, name)

static bool truth(const json_t *object, const char *name)
{
    return json_is_true(json_object_get(object, name));
}

static json_t *parse(struct ps_str json)
{
    return json_loadb(json.ptr, json.len, 0, NULL);
}

/* --- names ------------------------------------------------------------------------------------ */

static const char *const levels[] = {"unknown", "low", "medium", "high", "critical"};
static const char *const outcomes[] = {"unknown", "target_met", "exhausted",
                                       "no_rung", "planned",    "ended"};

static size_t find(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 1; i < count && name != NULL; i++) {
        if (strcmp(names[i], name) == 0) {
            return i;
        }
    }
    return 0;
}

static enum ps_gpu_level level_of(const json_t *profile)
{
    const char *name = json_string_value(json_object_get(profile, "pressure_level"));
    return (enum ps_gpu_level)find(levels, PS_ARRAY_LEN(levels), name);
}

const char *ps_gpu_level_name(enum ps_gpu_level level)
{
    return levels[(unsigned)level < PS_ARRAY_LEN(levels) ? level : 0];
}

const char *ps_gpu_outcome_name(enum ps_gpu_outcome outcome)
{
    return outcomes[(unsigned)outcome < PS_ARRAY_LEN(outcomes) ? outcome : 0];
}

/* --- the profile ------------------------------------------------------------------------------ */

static void fill_profile(const json_t *root, const json_t *profile, struct ps_gpu_profile *out)
{
    const json_t *index = json_object_get(profile, "index");
    *out = (struct ps_gpu_profile){
        .total_bytes = bytes(profile, "total_mb"),
        .used_bytes = bytes(profile, "used_mb"),
        .free_bytes = bytes(profile, "free_mb"),
        .reserved_bytes = bytes(profile, "reserved_mb"),
        .utilization_percent = number(profile, "utilization_percent"),
        .fragmentation_percent = number(profile, "fragmentation_percent"),
        .effective_percent = number(profile, "effective_percent"),
        .level = level_of(profile),
        .index = json_is_number(index) ? (int64_t)json_number_value(index) : -1,
        .simulated = truth(profile, "simulated"),
        .devices = json_array_size(json_object_get(root, "devices")),
        .servers = json_array_size(json_object_get(root, "engines")),
    };
    TEXT(out->basis, profile, "basis");
    TEXT(out->uuid, profile, "uuid");
    TEXT(out->source, profile, "source");
    TEXT(out->server, profile, "server");
}

int ps_gpu_read_profile(struct ps_str json, struct ps_gpu_profile *out)
{
    json_t *root = parse(json);
    const json_t *profile = json_object_get(root, "profile");
    int err = root == NULL ? PS_ENOMEM : profile == NULL ? PS_ENOTFOUND : PS_OK;
    if (err == PS_OK) {
        fill_profile(root, profile, out);
    }
    json_decref(root);
    return err;
}

/* --- the prediction --------------------------------------------------------------------------- */

static void fill_prediction(const json_t *root, const json_t *one, struct ps_gpu_prediction *out)
{
    const json_t *profile = json_object_get(root, "profile");
    const json_t *interval = json_object_get(one, "confidence_interval");
    bool known = json_array_size(interval) == 2;
    *out = (struct ps_gpu_prediction){
        .needed = truth(one, "cleanup_needed"),
        .probability = number(one, "probability"),
        .low = known ? json_number_value(json_array_get(interval, 0)) : NAN,
        .high = known ? json_number_value(json_array_get(interval, 1)) : NAN,
        .seconds_to_critical = number(one, "seconds_to_critical"),
        .level = level_of(profile),
    };
    TEXT(out->basis, one, "basis");
    TEXT(out->server, profile, "server");
}

int ps_gpu_read_prediction(struct ps_str json, struct ps_gpu_prediction *out)
{
    json_t *root = parse(json);
    const json_t *one = json_object_get(root, "prediction");
    int err = root == NULL ? PS_ENOMEM : one == NULL ? PS_ENOTFOUND : PS_OK;
    if (err == PS_OK) {
        fill_prediction(root, one, out);
    }
    json_decref(root);
    return err;
}

/* --- cleanups --------------------------------------------------------------------------------- */

static void fill_step(const json_t *one, struct ps_gpu_step *out)
{
    *out = (struct ps_gpu_step){.expected_bytes = bytes(one, "expected_mb"),
                                .freed_bytes = bytes(one, "freed_mb")};
    TEXT(out->server, one, "server");
    TEXT(out->rung, one, "rung");
    TEXT(out->model, one, "model");
    TEXT(out->verdict, one, "verdict");
    TEXT(out->reason, one, "reason");
}

/* What was planned only was not freed. */
static double sum_freed(const struct ps_gpu_cleanup *cleanup)
{
    double sum = NAN;
    for (size_t i = 0; i < cleanup->step_count; i++) {
        const struct ps_gpu_step *step = &cleanup->steps[i];
        if (!isnan(step->freed_bytes) && strcmp(step->verdict, "dry_run") != 0) {
            sum = (isnan(sum) ? 0 : sum) + step->freed_bytes;
        }
    }
    return sum;
}

static void fill_cleanup(const json_t *run, struct ps_gpu_cleanup *out)
{
    const json_t *steps = json_object_get(run, "steps");
    const char *outcome = json_string_value(json_object_get(run, "outcome"));
    *out = (struct ps_gpu_cleanup){
        .outcome = (enum ps_gpu_outcome)find(outcomes, PS_ARRAY_LEN(outcomes), outcome),
        .dry_run = truth(run, "dry_run"),
        .target_percent = number(run, "target_percent"),
        .percent_before = number(run, "percent_before"),
        .percent_after = number(run, "percent_after"),
    };
    TEXT(out->reason, run, "reason");
    for (size_t i = 0; i < json_array_size(steps) && i < PS_GPU_STEPS; i++) {
        fill_step(json_array_get(steps, i), &out->steps[out->step_count++]);
    }
    out->freed_bytes = sum_freed(out);
}

int ps_gpu_read_cleanup(struct ps_str json, struct ps_gpu_cleanup *out)
{
    json_t *root = parse(json);
    if (root == NULL) {
        return PS_ENOMEM;
    }
    fill_cleanup(json_object_get(root, "cleanup"), out);
    json_decref(root);
    return PS_OK;
}

char *ps_gpu_write_order(const struct ps_gpu_order *order)
{
    json_t *root = json_pack("{sb}", "dry_run", (int)order->dry_run);
    if (order->level != NULL) {
        json_object_set_new(root, "level", json_string(order->level));
    }
    if (order->target_percent != 0) {
        json_object_set_new(root, "target_percent", json_real(order->target_percent));
    }
    char *text = root == NULL ? NULL : json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}

/* --- recommendations -------------------------------------------------------------------------- */

int ps_gpu_read_recommendations(struct ps_str json, char **out)
{
    json_t *root = parse(json);
    const json_t *list = json_object_get(root, "recommendations");
    char *text = list == NULL ? NULL : json_dumps(list, JSON_COMPACT | JSON_REAL_PRECISION(14));
    json_decref(root);
    if (text == NULL) {
        return PS_ENOMEM;
    }
    *out = text;
    return PS_OK;
}
