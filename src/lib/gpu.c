/* The GPU optimizer of penstock.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/gpu_batch.h"
#include "lib/gpu_engine.h"
#include "lib/gpu_read.h"
#include "lib/instance.h"
#include "lib/process.h"
#include "lib/settings.h"
#include "operate/gpu_opts.h"
#include "penstock/penstock.h"

#define TEXT_LIMIT ((size_t)16 * 1024 * 1024)

#define LIMIT_USUAL  PS_MINUTE
#define LIMIT_MAX_MS INT64_C(86400000)

struct ps_gpu_optimizer {
    /* constant */
    struct ps_gpu_engine *engine;
    double target_percent;
    unsigned generation; /* of the process that made it */
};

/* --- life ------------------------------------------------------------------------------------- */

/* What the library reads of a configuration. */
struct settings {
    struct ps_gpu_opts gpu;
};

/* clang-format off */
static const struct ps_option settings_options[] = {
    PS_OPTION_ROW(settings, gpu, SECTION, NULL, "memory of GPUs", .table = ps_gpu_options),
    {0},
};
/* clang-format on */

static void check_settings(const void *settings, ps_settings_tell_fn *tell, void *ctx)
{
    ps_gpu_check_opts(&((const struct settings *)settings)->gpu, tell, ctx);
}

static int start(struct ps_gpu_optimizer *optimizer, const struct ps_gpu_opts *opts)
{
    char reason[256];
    optimizer->generation = ps_process_generation();
    optimizer->target_percent = opts->target_percent;
    int err = ps_gpu_engine_new(&optimizer->engine, opts, reason, sizeof reason);
    return err == PS_OK       ? PS_OK
           : err == PS_ENOMEM ? ps_process_no_memory()
                              : ps_process_fail(err, "%s", reason);
}

/* Takes the settings over, which were read or not. */
static int make(struct ps_gpu_optimizer **out, struct settings *settings, int err)
{
    struct ps_gpu_optimizer *optimizer = NULL;
    if (err != PS_OK) {
        return err;
    }
    optimizer = calloc(1, sizeof *optimizer);
    err = optimizer == NULL ? ps_process_no_memory() : start(optimizer, &settings->gpu);
    ps_option_fini(settings_options, settings);
    if (err != PS_OK) {
        ps_gpu_optimizer_free(optimizer);
        return err;
    }
    *out = optimizer;
    return PS_OK;
}

int ps_gpu_optimizer_new(struct ps_gpu_optimizer **out, const char *file)
{
    struct settings settings;
    return make(out, &settings,
                ps_settings_load(settings_options, &settings, file, check_settings));
}

int ps_gpu_optimizer_new_text(struct ps_gpu_optimizer **out, const char *text, size_t len)
{
    struct settings settings;
    struct ps_str all = {text, len};
    return make(out, &settings,
                ps_settings_parse(settings_options, &settings, all, check_settings));
}

void ps_gpu_optimizer_free(struct ps_gpu_optimizer *optimizer)
{
    if (optimizer != NULL && ps_process_is(optimizer->generation)) {
        ps_gpu_engine_free(optimizer->engine);
        free(optimizer);
    }
}

/* --- the default ------------------------------------------------------------------------------ */

static int make_default(void **out, const char *file)
{
    struct ps_gpu_optimizer *optimizer = NULL;
    int err = ps_gpu_optimizer_new(&optimizer, file);
    if (err == PS_OK) {
        *out = optimizer;
    }
    return err;
}

static void end_default(void *optimizer)
{
    ps_gpu_optimizer_free(optimizer);
}

struct ps_gpu_optimizer *ps_gpu_optimizer_default(void)
{
    static struct ps_instance instance = {.make = make_default, .end = end_default};
    return ps_instance_get(&instance);
}

/* --- reading ---------------------------------------------------------------------------------- */

/* Is it this process's? */
static int check(const struct ps_gpu_optimizer *optimizer)
{
    return ps_process_is(optimizer->generation)
               ? PS_OK
               : ps_process_fail(PS_ECLOSED, "the optimizer was made before fork()");
}

/* What the room writes, in a buffer of the caller's. */
static int ask(struct ps_gpu_optimizer *optimizer, ps_gpu_engine_write_fn *write,
               struct ps_buf *out)
{
    char reason[400];
    *out = ps_buf_make(TEXT_LIMIT);
    int err = check(optimizer);
    if (err != PS_OK) {
        return err;
    }
    err = ps_gpu_engine_write(optimizer->engine, write, out, reason, sizeof reason);
    return err == PS_OK          ? PS_OK
           : err == PS_ENOTFOUND ? ps_process_fail(err, "%s", reason)
                                 : ps_process_no_memory();
}

static int fail_unknown(int err, const char *sentence)
{
    return err == PS_OK          ? PS_OK
           : err == PS_ENOTFOUND ? ps_process_fail(err, "%s", sentence)
                                 : ps_process_no_memory();
}

int ps_gpu_optimizer_profile(struct ps_gpu_optimizer *optimizer, struct ps_gpu_profile *out)
{
    struct ps_buf json;
    int err = ask(optimizer, ps_gpu_write_profile, &json);
    if (err == PS_OK) {
        err = fail_unknown(ps_gpu_read_profile(ps_buf_str(&json), out),
                           "no server of gpu.sources tells how full it is, and no driver or "
                           "exporter tells of its device");
    }
    ps_buf_fini(&json);
    return err;
}

int ps_gpu_optimizer_predict_cleanup_need(struct ps_gpu_optimizer *optimizer,
                                          struct ps_gpu_prediction *out)
{
    struct ps_buf json;
    int err = ask(optimizer, ps_gpu_write_profile, &json);
    if (err == PS_OK) {
        err = fail_unknown(ps_gpu_read_prediction(ps_buf_str(&json), out),
                           "nobody tells now how full a device or server is: nothing can be "
                           "foreseen");
    }
    ps_buf_fini(&json);
    return err;
}

/* Without the end of the line. */
static int give_text(struct ps_buf *json, char **out)
{
    struct ps_str text = ps_str_trim(ps_buf_str(json));
    char *copy = ps_str_dup(text);
    if (copy == NULL) {
        return ps_process_no_memory();
    }
    *out = copy;
    return PS_OK;
}

int ps_gpu_optimizer_profile_json(struct ps_gpu_optimizer *optimizer, char **json)
{
    struct ps_buf text;
    int err = ask(optimizer, ps_gpu_write_profile, &text);
    err = err != PS_OK ? err : give_text(&text, json);
    ps_buf_fini(&text);
    return err;
}

int ps_gpu_optimizer_report(struct ps_gpu_optimizer *optimizer, char **json)
{
    struct ps_buf text;
    int err = ask(optimizer, ps_gpu_write_report, &text);
    err = err != PS_OK ? err : give_text(&text, json);
    ps_buf_fini(&text);
    return err;
}

int ps_gpu_optimizer_recommendations(struct ps_gpu_optimizer *optimizer, char **json)
{
    struct ps_buf text;
    int err = ask(optimizer, ps_gpu_write_report, &text);
    if (err == PS_OK) {
        err = fail_unknown(ps_gpu_read_recommendations(ps_buf_str(&text), json), "");
    }
    ps_buf_fini(&text);
    return err;
}

/* --- cleanups --------------------------------------------------------------------------------- */

static int check_order(const struct ps_gpu_order *order)
{
    double target = order->target_percent;
    if (order->level != NULL && ps_gpu_rung(ps_str_from(order->level)) == PS_RUNG_COUNT) {
        return ps_process_fail(PS_EINVAL, "'%.32s' is no rung", order->level);
    }
    if (target != 0 && !(target >= 1 && target <= 100)) {
        return ps_process_fail(PS_EINVAL, "target_percent is 1 to 100, or 0");
    }
    if (order->limit_ms < 0 || order->limit_ms > LIMIT_MAX_MS) {
        return ps_process_fail(PS_EINVAL, "limit_ms is at most a day, and not negative");
    }
    return PS_OK;
}

static int fail_cleanup(int err, const char *reason)
{
    return err == PS_ENOMEM || err == PS_ELIMIT ? ps_process_no_memory()
                                                : ps_process_fail(err, "%s", reason);
}

static int clean(struct ps_gpu_optimizer *optimizer, const struct ps_gpu_order *order,
                 const char *json, struct ps_gpu_cleanup *out)
{
    char reason[400] = "";
    struct ps_buf text = ps_buf_make(TEXT_LIMIT);
    ps_span limit = order->limit_ms == 0 ? LIMIT_USUAL : order->limit_ms * PS_MILLISECOND;
    int err = ps_gpu_engine_clean(optimizer->engine, ps_str_from(json), limit, &text, reason,
                                  sizeof reason);
    err = err == PS_OK ? ps_gpu_read_cleanup(ps_buf_str(&text), out) : err;
    ps_buf_fini(&text);
    return err == PS_OK ? PS_OK : fail_cleanup(err, reason);
}

int ps_gpu_optimizer_aggressive_cleanup(struct ps_gpu_optimizer *optimizer,
                                        const struct ps_gpu_order *order,
                                        struct ps_gpu_cleanup *out)
{
    static const struct ps_gpu_order usual;
    order = order == NULL ? &usual : order;
    int err = check(optimizer);
    err = err != PS_OK ? err : check_order(order);
    if (err != PS_OK) {
        return err;
    }
    char *json = ps_gpu_write_order(order);
    err = json == NULL ? ps_process_no_memory() : clean(optimizer, order, json, out);
    free(json);
    return err;
}

/* --- batches ---------------------------------------------------------------------------------- */

int ps_gpu_optimizer_observe_batch(struct ps_gpu_optimizer *optimizer,
                                   const struct ps_gpu_batch_seen *seen)
{
    int err = check(optimizer);
    err = err != PS_OK ? err : ps_gpu_batch_check(seen);
    if (err != PS_OK) {
        return err;
    }
    err = ps_gpu_batch_tell(optimizer->engine, seen);
    return err == PS_OK ? PS_OK : ps_process_no_memory();
}

/* What the device of the profile has left below the target. */
static int find_room(struct ps_gpu_optimizer *optimizer, double *bytes)
{
    struct ps_gpu_profile profile;
    int err = ps_gpu_optimizer_profile(optimizer, &profile);
    bool known = err == PS_OK && !isnan(profile.total_bytes) && !isnan(profile.used_bytes);
    *bytes =
        known ? fmax(profile.total_bytes * optimizer->target_percent / 100 - profile.used_bytes, 0)
              : INFINITY;
    return err == PS_ENOTFOUND ? PS_OK : err;
}

int ps_gpu_optimizer_optimize_batch_size(struct ps_gpu_optimizer *optimizer,
                                         const struct ps_gpu_batch_goal *goal,
                                         struct ps_gpu_batch_advice *out)
{
    double bytes = goal->free_bytes;
    int err = check(optimizer);
    err = err != PS_OK ? err : ps_gpu_batch_check_goal(goal);
    if (err == PS_OK && bytes == 0) {
        err = find_room(optimizer, &bytes);
    }
    if (err != PS_OK) {
        return err;
    }
    err = ps_gpu_batch_best(optimizer->engine, goal, bytes, out);
    return err == PS_OK ? PS_OK
                        : ps_process_fail(err, "no batch of %s was observed yet", goal->model);
}
