/* a1111 - the simulated server as AUTOMATIC1111's web UI with --api: txt2img, and a checkpoint that
 * can be put away.
 *
 * A request for pictures holds its answer until they are made. The checkpoint comes back by itself
 * when pictures are wanted. GET /sdapi/v1/memory tells what the allocator holds and what of it is
 * in use.
 *
 * Formats: the web UI's modules/api/api.py and models.py.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/writer.h"
#include "sim/call.h"
#include "sim/embed.h"
#include "sim/engines.h"
#include "sim/json.h"
#include "sim/png.h"
#include "sim/state.h"

#define LARGEST_PICTURE ((size_t)64 << 20)

struct a1111 {
    size_t checkpoint; /* the one that is in use, of opts->models */
    /* the most that was seen whenever somebody looked */
    uint64_t peak_allocated, peak_reserved, peak_inactive;
};

/* --- pictures --------------------------------------------------------------------------------- */

static int put_picture(struct ps_buf *out, const struct ps_sim_request *request, size_t index)
{
    struct ps_buf file = ps_buf_make(LARGEST_PICTURE);
    int err = ps_sim_png(&file, request->width, request->height, request->picture_seed + index);
    err = PS_THEN(err, ps_buf_append_str(out, index == 0 ? PS_STR("\"") : PS_STR(",\"")));
    err = PS_THEN(err, ps_sim_base64(out, file.data, file.len));
    ps_buf_fini(&file);
    return PS_THEN(err, ps_buf_append_str(out, PS_STR("\"")));
}

/* "info" is JSON inside a text. */
static int put_info(struct ps_buf *out, const struct ps_sim_answer *answer)
{
    char *parameters = json_dumps(answer->given, JSON_COMPACT);
    int err = parameters == NULL ? PS_ENOMEM : PS_OK;
    err = PS_THEN(err, ps_buf_append_str(out, PS_STR("],\"parameters\":")));
    err = PS_THEN(err, ps_buf_append_str(out, ps_str_from(parameters)));
    free(parameters);
    return PS_THEN(err, ps_buf_printf(out,
                                      ",\"info\":\"{\\\"seed\\\":%" PRIu64
                                      ",\\\"sd_model_name\\\":\\\"%s\\\",\\\"simulated\\\":true}\","
                                      "\"simulated\":true}",
                                      answer->request->picture_seed >> 11, answer->model));
}

static int put_pictures(struct ps_buf *out, const struct ps_sim_answer *answer)
{
    int err = ps_buf_append_str(out, PS_STR("{\"images\":["));
    for (size_t i = 0; i < answer->request->pictures && err == PS_OK; i++) {
        err = put_picture(out, answer->request, i);
    }
    return PS_THEN(err, put_info(out, answer));
}

static const struct ps_sim_dialect pictures = {.pictures = put_pictures};

/* A member that is a number, or what it is without. */
static json_int_t number_of(const json_t *object, const char *name, json_int_t otherwise)
{
    const json_t *value = json_object_get(object, name);
    return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

/* A seed of -1 is a fresh one: here one that counts up. */
static json_t *translate(const struct ps_sim_ask *ask, const json_t *given)
{
    const struct a1111 *own = ask->desk->own;
    json_int_t seed = number_of(given, "seed", -1);
    json_int_t count = number_of(given, "batch_size", 1);
    json_int_t times = number_of(given, "n_iter", 1);
    bool sound = count > 0 && times > 0 && count <= 100 && times <= 100;
    return json_pack("{s:s,s:s,s:o,s:I,s:I,s:I}", "model", ask->desk->opts->models[own->checkpoint],
                     "prompt", ps_sim_json_text(given, "prompt", " "), "size",
                     ps_sim_json_format("%lldx%lld", (long long)number_of(given, "width", 512),
                                        (long long)number_of(given, "height", 512)),
                     "n", sound ? count * times : 0, "steps", number_of(given, "steps", 20), "seed",
                     seed == -1 ? (json_int_t)ask->desk->count : seed);
}

static void answer_pictures(const struct ps_sim_ask *ask)
{
    json_t *given = ps_sim_ask_object(ask, false);
    if (given == NULL) {
        return;
    }
    const char *prompt = ps_sim_json_text(given, "prompt", "");
    if (prompt[0] == '\0') {
        (void)json_object_set_new(given, "prompt",
                                  json_string(" ")); /* an empty prompt is allowed */
    }
    ps_sim_call_start(ask, PS_SIM_IMAGE, &pictures, translate(ask, given), given);
    json_decref(given);
}

static void answer_progress(const struct ps_sim_ask *ask)
{
    const struct ps_sim_image *image = ps_sim_engine_image(ask->desk->engine);
    double share = image == NULL ? 0 : (double)image->made / (double)image->steps;
    json_int_t jobs = (json_int_t)ps_sim_engine_stats(ask->desk->engine)->images_queued;
    ps_sim_ask_tree(ask, 200,
                    json_pack("{s:f,s:f,s:{s:b,s:b,s:s,s:I,s:I,s:I},s:n,s:n}", "progress", share,
                              "eta_relative", 0.0, "state", "skipped", 0, "interrupted", 0, "job",
                              image == NULL ? "" : "scripts_txt2img", "job_count", jobs,
                              "sampling_step", (json_int_t)(image == NULL ? 0 : image->made),
                              "sampling_steps", (json_int_t)(image == NULL ? 0 : image->steps),
                              "current_image", "textinfo"));
}

static void answer_interrupt(const struct ps_sim_ask *ask)
{
    ps_sim_desk_abort(ask->desk);
    ps_sim_ask_tree(ask, 200, json_object());
}

/* --- the checkpoint --------------------------------------------------------------------------- */

static void answer_unload(const struct ps_sim_ask *ask)
{
    struct ps_sim_desk *desk = ask->desk;
    const struct a1111 *own = desk->own;
    bool busy = desk->opts->lie == PS_SIM_LIE_BUSY || ps_sim_engine_load(desk->engine) > 0;
    if (busy) {
        ps_sim_ask_refuse_with(ask, 400, "", "pictures are being made");
        return;
    }
    ps_sim_desk_release(desk, own->checkpoint, PS_SIM_ALL_PARTS);
    if (desk->opts->lie == PS_SIM_LIE_NONE) {
        (void)ps_sim_device_empty_cache(ps_sim_engine_own_device(desk->engine));
    }
    ps_sim_ask_tree(ask, 200, json_object());
}

static void load(const struct ps_sim_ask *ask)
{
    struct ps_sim_desk *desk = ask->desk;
    const struct a1111 *own = desk->own;
    if (ps_sim_memory_load(&desk->memory, own->checkpoint, ps_sim_desk_now(desk)) != PS_OK) {
        ps_sim_ask_refuse_with(ask, 500, "", "CUDA out of memory (simulated).");
        return;
    }
    ps_sim_ask_tree(ask, 200, json_object());
}

static void answer_models(const struct ps_sim_ask *ask)
{
    json_t *list = json_array();
    for (size_t i = 0; i < ask->desk->opts->model_count; i++) {
        const char *name = ask->desk->opts->models[i];
        (void)json_array_append_new(list,
                                    json_pack("{s:s,s:s,s:n,s:n,s:o,s:n,s:b}", "title", name,
                                              "model_name", name, "hash", "sha256", "filename",
                                              ps_sim_json_format("/models/%s.safetensors", name),
                                              "config", "simulated", 1));
    }
    ps_sim_ask_tree(ask, 200, list);
}

static void answer_options(const struct ps_sim_ask *ask)
{
    const struct a1111 *own = ask->desk->own;
    ps_sim_ask_tree(ask, 200,
                    json_pack("{s:s,s:b}", "sd_model_checkpoint",
                              ask->desk->opts->models[own->checkpoint], "sd_checkpoint_keep_in_cpu",
                              1));
}

/* {"sd_model_checkpoint": name} takes another checkpoint; the old one goes as the new one comes. */
static void answer_options_change(const struct ps_sim_ask *ask)
{
    struct a1111 *own = ask->desk->own;
    const struct ps_sim_opts *opts = ask->desk->opts;
    json_t *given = ps_sim_ask_object(ask, false);
    if (given == NULL) {
        return;
    }
    const char *name =
        ps_sim_json_text(given, "sd_model_checkpoint", opts->models[own->checkpoint]);
    size_t i = 0;
    while (i < opts->model_count && strcmp(opts->models[i], name) != 0) {
        i++;
    }
    if (i == opts->model_count) {
        ps_sim_ask_refuse_with(ask, 400, "", "model '%.100s' not found", name);
    } else if (i != own->checkpoint && ps_sim_engine_load(ask->desk->engine) > 0) {
        ps_sim_ask_refuse_with(ask, 400, "", "pictures are being made");
    } else {
        if (i != own->checkpoint) {
            ps_sim_desk_release(ask->desk, own->checkpoint, PS_SIM_ALL_PARTS);
            own->checkpoint = i;
        }
        load(ask);
    }
    json_decref(given);
}

/* --- the machine ------------------------------------------------------------------------------ */

static json_t *stat_pair(uint64_t now, uint64_t *peak)
{
    *peak = now > *peak ? now : *peak;
    return json_pack("{s:I,s:I}", "current", (json_int_t)now, "peak", (json_int_t)*peak);
}

static int write_memory(struct ps_buf *out, struct ps_sim_desk *desk)
{
    struct a1111 *own = desk->own;
    const struct ps_sim_device *device = ps_sim_engine_device(desk->engine);
    struct ps_sim_usage usage = ps_sim_device_usage(device);
    uint64_t allocated = usage.reserved - usage.cached - usage.fragmentation;
    json_int_t ram = (json_int_t)64 << 30;
    json_t *cuda =
        json_pack("{s:{s:I,s:I,s:I},s:o,s:o,s:o,s:o,s:{s:I,s:I}}", "system", "free",
                  (json_int_t)usage.free, "used", (json_int_t)usage.used, "total",
                  (json_int_t)device->memory, "active", stat_pair(allocated, &own->peak_allocated),
                  "allocated", stat_pair(allocated, &own->peak_allocated), "reserved",
                  stat_pair(usage.reserved, &own->peak_reserved), "inactive",
                  stat_pair(usage.fragmentation, &own->peak_inactive), "events", "retries",
                  (json_int_t)device->retries, "oom", (json_int_t)device->out_of_memory);
    return ps_sim_json_dump(out, json_pack("{s:{s:I,s:I,s:I},s:o}", "ram", "free", ram / 2, "used",
                                           ram / 2, "total", ram, "cuda", cuda));
}

static void answer_memory(const struct ps_sim_ask *ask)
{
    ps_buf_clear(&ask->desk->scratch);
    int err = ps_sim_desk_metrics(ask->desk, &ask->desk->scratch);
    ps_sim_ask_scratch(ask, err, PS_STR("application/json"));
}

static void answer_ping(const struct ps_sim_ask *ask)
{
    ps_sim_ask_tree(ask, 200, json_object());
}

static void answer_sysinfo(const struct ps_sim_ask *ask)
{
    ps_sim_ask_tree(ask, 200, json_pack("{s:s}", "Version", ask->desk->opts->version));
}

/* --- the personality -------------------------------------------------------------------------- */

static int put_refusal(struct ps_buf *out, const struct ps_sim_refusal *refusal)
{
    return ps_sim_json_dump(out, json_pack("{s:s,s:s,s:s}", "detail", refusal->text, "error",
                                           refusal->status < 500 ? "HTTPException" : "RuntimeError",
                                           "errors", refusal->text));
}

static int start(struct ps_sim_desk *desk)
{
    desk->own = calloc(1, sizeof(struct a1111));
    if (desk->own == NULL) {
        return PS_ENOMEM;
    }
    return ps_sim_memory_load(&desk->memory, 0,
                              desk->started - PS_HOUR); /* it has been there for long */
}

static void stop(struct ps_sim_desk *desk)
{
    free(desk->own);
}

/* clang-format off */
static const struct ps_sim_default defaults[] = {
    {"weights", "4GiB"},
    {"activations", "512MiB"},
    {"kv_tokens", "16"},
    {"kv_bytes_per_token", "0"},
    {NULL, NULL},
};

static const struct ps_sim_route routes[] = {
    {PS_H1_METHOD_POST, PS_STR_INIT("/sdapi/v1/txt2img"), answer_pictures, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/sdapi/v1/img2img"), answer_pictures, true, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/sdapi/v1/progress"), answer_progress, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/sdapi/v1/interrupt"), answer_interrupt, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/sdapi/v1/memory"), answer_memory, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/sdapi/v1/options"), answer_options, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/sdapi/v1/options"), answer_options_change, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/sdapi/v1/sd-models"), answer_models, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/sdapi/v1/unload-checkpoint"), answer_unload, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/sdapi/v1/reload-checkpoint"), load, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/internal/ping"), answer_ping, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/internal/sysinfo"), answer_sysinfo, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/sim/state"), ps_sim_state_answer, false, NULL},
};
/* clang-format on */

const struct ps_sim_personality ps_sim_a1111 = {
    .name = "a1111",
    .routes = {.rows = routes, .count = PS_ARRAY_LEN(routes)},
    .defaults = defaults,
    .own_slots = true,
    .starts_empty = true,
    .absent = PS_SIM_ABSENT_LOADS,
    .owner = "a1111",
    .refusal = put_refusal,
    .metrics = write_memory,
    .start = start,
    .stop = stop,
};
