/* triton - the simulated server as NVIDIA Triton: KServe v2, a repository of models, statistics.
 *
 * Tensors go in and out as JSON. Whatever goes in, each row of the batch gives a vector that
 * depends on that row alone, so merged and split requests can be compared. Loading and unloading
 * needs
 * --model-control-mode=explicit; a model that is unloaded is not ready at once, and its memory
 * leaves when its last request has. All models are loaded at start. Metrics are on the same port
 * and on that of
 * --metrics-listen.
 *
 * Formats: Triton's docs/protocol and src/http_server.cc.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/writer.h"
#include "http/server.h"
#include "sim/call.h"
#include "sim/embed.h"
#include "sim/engines.h"
#include "sim/json.h"
#include "sim/page.h"
#include "sim/state.h"
#include "sim/triton_tensor.h"

#define MOST_BATCH 128u /* sizes of which there are statistics; larger ones count as this */

struct model {
    bool leaving; /* unloaded as soon as nobody needs it */
    uint64_t requests, rows, failed;
    ps_time last; /* in nanoseconds since 1970 */
    ps_span queued, computed, total;
    struct {
        uint64_t count;
        ps_span computed;
    } batches[MOST_BATCH + 1];
};

struct triton {
    struct model models[PS_SIM_MOST_SLOTS];
};

/* --- models ----------------------------------------------------------------------------------- */

/* The model of the path, version 1 of it; model_count when the request was refused. */
static size_t find_model(const struct ps_sim_ask *ask)
{
    const struct ps_sim_opts *opts = ask->desk->opts;
    struct ps_str name = ask->names[0];
    struct ps_str version = ask->names[1];
    size_t i = 0;
    while (i < opts->model_count && !ps_str_eq(name, ps_str_from(opts->models[i]))) {
        i++;
    }
    if (i == opts->model_count || (version.len > 0 && !ps_str_eq(version, PS_STR("1")))) {
        ps_sim_ask_refuse_with(ask, 404, "", "Request for unknown model: '%.*s' is not found",
                               (int)(name.len < 100 ? name.len : 100), name.ptr);
        return opts->model_count;
    }
    return i;
}

static bool is_ready(const struct ps_sim_desk *desk, size_t model)
{
    const struct triton *own = desk->own;
    return ps_sim_memory_holds(&desk->memory, model, PS_SIM_ALL_PARTS) &&
           !own->models[model].leaving;
}

static void say_away(const struct ps_sim_desk *desk, size_t slot, struct ps_sim_refusal *refusal)
{
    *refusal = (struct ps_sim_refusal){.status = 503};
    (void)snprintf(refusal->text, sizeof refusal->text,
                   "Request for unknown model: '%.200s' has no available versions",
                   desk->opts->models[slot]);
}

/* The model of the path if it is ready; otherwise the request is refused. */
static size_t find_ready(const struct ps_sim_ask *ask)
{
    size_t model = find_model(ask);
    if (model < ask->desk->opts->model_count && !is_ready(ask->desk, model)) {
        struct ps_sim_refusal refusal;
        say_away(ask->desk, model, &refusal);
        ps_sim_ask_refuse(ask, &refusal);
        return ask->desk->opts->model_count;
    }
    return model;
}

static void on_idle(struct ps_sim_desk *desk, size_t slot, ps_time now)
{
    (void)now;
    struct triton *own = desk->own;
    if (own->models[slot].leaving) {
        own->models[slot].leaving = false;
        ps_sim_desk_release(desk, slot, PS_SIM_ALL_PARTS);
    }
}

/* --- infer ------------------------------------------------------------------------------------ */

static void count_batch(const struct ps_sim_answer *answer, const struct ps_sim_timing *timing)
{
    struct triton *own = answer->own;
    struct model *model = &own->models[answer->request->model];
    size_t rows = answer->request->count;
    size_t size = rows < MOST_BATCH ? rows : MOST_BATCH;
    model->requests++;
    model->rows += rows;
    model->last = answer->wall;
    model->queued += timing->queue;
    model->computed += timing->prompt + timing->decode;
    model->total += timing->total;
    model->batches[size].count++;
    model->batches[size].computed += timing->prompt + timing->decode;
}

static int put_output(struct ps_buf *out, const struct ps_sim_request *request, const char *name)
{
    int err = ps_buf_append_str(out, PS_STR("{\"name\":\""));
    err = PS_THEN(err, ps_buf_append_json(out, ps_str_from(name)));
    err = PS_THEN(err, ps_buf_printf(out, "\",\"datatype\":\"FP32\",\"shape\":[%zu,%zu],\"data\":[",
                                     request->count, request->dimensions));
    for (size_t i = 0; i < request->count && err == PS_OK; i++) {
        size_t at = out->len;
        err = ps_sim_embed_json(out, request->prompts[i].vector, request->dimensions);
        if (err == PS_OK) { /* the data are flat: rows have no brackets */
            out->data[at] = i == 0 ? ' ' : ',';
            out->len--;
        }
    }
    return PS_THEN(err, ps_buf_append_str(out, PS_STR("]}")));
}

static int put_outputs(struct ps_buf *out, const struct ps_sim_answer *answer)
{
    const json_t *wanted = json_object_get(answer->given, "outputs");
    int err = PS_OK;
    if (json_array_size(wanted) == 0) {
        return put_output(out, answer->request, "OUTPUT0");
    }
    for (size_t i = 0; i < json_array_size(wanted) && err == PS_OK; i++) {
        err = i == 0 ? PS_OK : ps_buf_append_str(out, PS_STR(","));
        err = PS_THEN(err,
                      put_output(out, answer->request,
                                 ps_sim_json_text(json_array_get(wanted, i), "name", "OUTPUT0")));
    }
    return err;
}

static int put_inference(struct ps_buf *out, const struct ps_sim_answer *answer,
                         const struct ps_sim_tokens *tokens, const struct ps_sim_timing *timing)
{
    (void)tokens;
    const char *id = ps_sim_json_text(answer->given, "id", NULL);
    count_batch(answer, timing);
    int err = ps_buf_append_str(out, PS_STR("{"));
    if (id != NULL) {
        err = PS_THEN(err, ps_buf_append_str(out, PS_STR("\"id\":\"")));
        err = PS_THEN(err, ps_buf_append_json(out, ps_str_from(id)));
        err = PS_THEN(err, ps_buf_append_str(out, PS_STR("\",")));
    }
    err = PS_THEN(err, ps_buf_printf(out,
                                     "\"model_name\":\"%s\",\"model_version\":\"1\","
                                     "\"parameters\":{\"simulated\":true},\"simulated\":true,"
                                     "\"outputs\":[",
                                     answer->model));
    err = PS_THEN(err, put_outputs(out, answer));
    return PS_THEN(err, ps_buf_append_str(out, PS_STR("]}")));
}

static const struct ps_sim_dialect infer = {.vectors = put_inference};

static void answer_infer(const struct ps_sim_ask *ask)
{
    size_t model = find_ready(ask);
    char reason[200] = "";
    json_t *rows = NULL;
    if (model == ask->desk->opts->model_count) {
        return;
    }
    if (ps_exchange_header(ask->exchange, PS_STR("inference-header-content-length")).ptr != NULL) {
        ps_sim_ask_refuse_with(ask, 400, "", "tensors in binary form are not simulated");
        return;
    }
    json_t *given = ps_sim_ask_object(ask, false);
    if (given == NULL) {
        return;
    }
    int err = ps_sim_triton_rows(given, ask->desk->opts->max_batch, &rows, reason, sizeof reason);
    if (err == PS_EINVAL) {
        struct triton *own = ask->desk->own;
        own->models[model].failed++;
        ps_sim_ask_refuse_with(ask, 400, "", "[request id: %.60s] %s for '%.100s'",
                               ps_sim_json_text(given, "id", "<id_unknown>"), reason,
                               ask->desk->opts->models[model]);
    } else {
        json_t *plain =
            json_pack("{s:s,s:o}", "model", ask->desk->opts->models[model], "input", rows);
        ps_sim_call_start(ask, PS_SIM_EMBEDDING, &infer, plain, given);
    }
    json_decref(given);
}

/* --- generate --------------------------------------------------------------------------------- */

static int put_text(struct ps_buf *out, const struct ps_sim_answer *answer,
                    const struct ps_sim_piece *piece)
{
    int err = ps_buf_printf(out,
                            "{\"model_name\":\"%s\",\"model_version\":\"1\",\"simulated\":true,"
                            "\"text_output\":\"",
                            answer->model);
    err = PS_THEN(err, ps_buf_append_str(out, piece->text));
    err = PS_THEN(err, ps_buf_append_str(out, PS_STR("\"}")));
    if (piece->finish != NULL) {
        count_batch(answer, &piece->timing);
    }
    return err;
}

static int put_event(struct ps_buf *out, const struct ps_sim_answer *answer,
                     const struct ps_sim_piece *piece)
{
    int err = ps_buf_append_str(out, PS_STR("data: "));
    err = PS_THEN(err, put_text(out, answer, piece));
    return PS_THEN(err, ps_buf_append_str(out, PS_STR("\n\n")));
}

static const struct ps_sim_dialect text = {
    .stream_type = "text/event-stream; charset=utf-8", .chunk = put_event, .choice = put_text};

static void generate(const struct ps_sim_ask *ask, bool stream)
{
    size_t model = find_ready(ask);
    json_t *given = model < ask->desk->opts->model_count ? ps_sim_ask_object(ask, false) : NULL;
    if (given == NULL) {
        return;
    }
    const json_t *parameters = json_object_get(given, "parameters");
    json_t *plain =
        json_pack("{s:s,s:b}", "model", ask->desk->opts->models[model], "stream", (int)stream);
    int failed = ps_sim_json_copy(plain, "prompt", given, "text_input") |
                 ps_sim_json_copy(plain, "max_tokens", parameters, "max_tokens") |
                 ps_sim_json_copy(plain, "max_tokens", given, "max_tokens") |
                 ps_sim_json_copy(plain, "seed", parameters, "seed");
    json_decref(given);
    if (failed != 0) {
        json_decref(plain);
        plain = NULL;
    }
    ps_sim_call_start(ask, PS_SIM_NATIVE, &text, plain, NULL);
}

static void answer_generate(const struct ps_sim_ask *ask)
{
    generate(ask, false);
}

static void answer_stream(const struct ps_sim_ask *ask)
{
    generate(ask, true);
}

/* --- identity --------------------------------------------------------------------------------- */

static void answer_server(const struct ps_sim_ask *ask)
{
    ps_sim_ask_tree(ask, 200,
                    json_pack("{s:s,s:s,s:[s,s,s,s]}", "name", "triton", "version",
                              ask->desk->opts->version, "extensions", "model_repository",
                              "model_configuration", "statistics", "generate"));
}

static void answer_health(const struct ps_sim_ask *ask)
{
    ps_sim_ask_respond(ask, 200, PS_STR(""), PS_STR(""));
}

static void answer_model(const struct ps_sim_ask *ask)
{
    size_t model = find_ready(ask);
    if (model < ask->desk->opts->model_count) {
        ps_sim_ask_tree(ask, 200,
                        json_pack("{s:s,s:[s],s:s,s:[{s:s,s:s,s:[i,i]}],s:[{s:s,s:s,s:[i,I]}]}",
                                  "name", ask->desk->opts->models[model], "versions", "1",
                                  "platform", "simulated", "inputs", "name", "INPUT0", "datatype",
                                  "BYTES", "shape", -1, 1, "outputs", "name", "OUTPUT0", "datatype",
                                  "FP32", "shape", -1,
                                  (json_int_t)ask->desk->opts->embedding_dimensions));
    }
}

static void answer_ready(const struct ps_sim_ask *ask)
{
    size_t model = find_model(ask);
    if (model < ask->desk->opts->model_count) {
        ps_sim_ask_respond(ask, is_ready(ask->desk, model) ? 200 : 400, PS_STR(""), PS_STR(""));
    }
}

static void answer_config(const struct ps_sim_ask *ask)
{
    size_t model = find_ready(ask);
    if (model < ask->desk->opts->model_count) {
        ps_sim_ask_tree(
            ask, 200,
            json_pack("{s:s,s:s,s:s,s:I,s:{s:[],s:i},s:[{s:s,s:s,s:[i]}],s:[{s:s,s:s,s:[I]}]}",
                      "name", ask->desk->opts->models[model], "platform", "", "backend",
                      "simulated", "max_batch_size", (json_int_t)ask->desk->opts->max_batch,
                      "dynamic_batching", "preferred_batch_size", "max_queue_delay_microseconds", 0,
                      "input", "name", "INPUT0", "data_type", "TYPE_STRING", "dims", 1, "output",
                      "name", "OUTPUT0", "data_type", "TYPE_FP32", "dims",
                      (json_int_t)ask->desk->opts->embedding_dimensions));
    }
}

/* --- statistics ------------------------------------------------------------------------------- */

static json_t *pair(uint64_t count, ps_span ns)
{
    return json_pack("{s:I,s:I}", "count", (json_int_t)count, "ns", (json_int_t)ns);
}

static json_t *batches_of(const struct model *model)
{
    json_t *list = json_array();
    for (size_t i = 1; i <= MOST_BATCH; i++) {
        uint64_t count = model->batches[i].count;
        if (count > 0) {
            (void)json_array_append_new(list,
                                        json_pack("{s:I,s:o,s:o,s:o}", "batch_size", (json_int_t)i,
                                                  "compute_input", pair(count, 0), "compute_infer",
                                                  pair(count, model->batches[i].computed),
                                                  "compute_output", pair(count, 0)));
        }
    }
    return list;
}

static json_t *stats_of(const struct ps_sim_desk *desk, size_t index)
{
    const struct triton *own = desk->own;
    const struct model *model = &own->models[index];
    uint64_t bytes = ps_sim_memory_bytes(&desk->memory, index);
    json_t *inference = json_pack(
        "{s:o,s:o,s:o,s:o,s:o,s:o}", "success", pair(model->requests, model->total), "fail",
        pair(model->failed, 0), "queue", pair(model->requests, model->queued), "compute_input",
        pair(model->requests, 0), "compute_infer", pair(model->requests, model->computed),
        "compute_output", pair(model->requests, 0));
    return json_pack("{s:s,s:s,s:I,s:I,s:I,s:o,s:o,s:[{s:s,s:I,s:I}]}", "name",
                     desk->opts->models[index], "version", "1", "last_inference",
                     (json_int_t)(model->last / PS_MILLISECOND), "inference_count",
                     (json_int_t)model->rows, "execution_count", (json_int_t)model->requests,
                     "inference_stats", inference, "batch_stats", batches_of(model), "memory_usage",
                     "type", "GPU", "id", (json_int_t)0, "byte_size", (json_int_t)bytes);
}

static void answer_stats(const struct ps_sim_ask *ask)
{
    size_t model = find_ready(ask);
    if (model < ask->desk->opts->model_count) {
        ps_sim_ask_tree(ask, 200, json_pack("{s:[o]}", "model_stats", stats_of(ask->desk, model)));
    }
}

static void answer_all_stats(const struct ps_sim_ask *ask)
{
    json_t *list = json_array();
    for (size_t i = 0; i < ask->desk->opts->model_count; i++) {
        if (is_ready(ask->desk, i)) {
            (void)json_array_append_new(list, stats_of(ask->desk, i));
        }
    }
    ps_sim_ask_tree(ask, 200, json_pack("{s:o}", "model_stats", list));
}

/* --- the repository --------------------------------------------------------------------------- */

static const char *state_of(const struct ps_sim_desk *desk, size_t model)
{
    const struct triton *own = desk->own;
    if (own->models[model].leaving) {
        return "UNLOADING";
    }
    if (!is_ready(desk, model)) {
        return "UNAVAILABLE";
    }
    return desk->memory.slots[model].ready > ps_sim_desk_now(desk) ? "LOADING" : "READY";
}

static void answer_index(const struct ps_sim_ask *ask)
{
    json_t *given = ps_sim_ask_object(ask, true);
    if (given == NULL) {
        return;
    }
    bool only_ready = ps_sim_json_flag(given, "ready", false);
    json_decref(given);
    json_t *list = json_array();
    for (size_t i = 0; i < ask->desk->opts->model_count; i++) {
        const char *state = state_of(ask->desk, i);
        bool away = strcmp(state, "UNAVAILABLE") == 0;
        if (!only_ready || strcmp(state, "READY") == 0) {
            (void)json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:s,s:b}", "name",
                                                        ask->desk->opts->models[i], "version", "1",
                                                        "state", state, "reason",
                                                        away ? "unloaded" : "", "simulated", 1));
        }
    }
    ps_sim_ask_tree(ask, 200, list);
}

static size_t find_controlled(const struct ps_sim_ask *ask)
{
    const struct ps_sim_opts *opts = ask->desk->opts;
    if (!opts->explicit_control) {
        ps_sim_ask_refuse_with(ask, 503, "", "explicit model load / unload is not allowed");
        return opts->model_count;
    }
    return find_model(ask);
}

static void answer_load(const struct ps_sim_ask *ask)
{
    struct ps_sim_desk *desk = ask->desk;
    struct triton *own = desk->own;
    size_t model = find_controlled(ask);
    if (model == desk->opts->model_count) {
        return;
    }
    if (ps_sim_memory_restore(&desk->memory, model, PS_SIM_ALL_PARTS, PS_SIM_FROM_DISK,
                              ps_sim_desk_now(desk)) != PS_OK) {
        ps_sim_ask_refuse_with(ask, 500, "", "failed to load '%.100s': out of memory (simulated)",
                               desk->opts->models[model]);
        return;
    }
    own->models[model].leaving = false;
    answer_health(ask);
}

static void answer_unload(const struct ps_sim_ask *ask)
{
    struct ps_sim_desk *desk = ask->desk;
    struct triton *own = desk->own;
    size_t model = find_controlled(ask);
    if (model == desk->opts->model_count) {
        return;
    }
    if (desk->opts->lie == PS_SIM_LIE_BUSY) {
        ps_sim_ask_refuse_with(ask, 400, "", "the model is busy");
        return;
    }
    if (desk->memory.slots[model].users > 0) {
        own->models[model].leaving = true;
    } else {
        ps_sim_desk_release(desk, model, PS_SIM_ALL_PARTS);
    }
    answer_health(ask);
}

/* --- metrics ---------------------------------------------------------------------------------- */

enum series { SUCCESS, FAILURE, COUNT, EXECUTIONS, PENDING, QUEUE, COMPUTE, TOTAL };

static double value_of(const struct ps_sim_desk *desk, size_t index, enum series series)
{
    const struct triton *own = desk->own;
    const struct model *model = &own->models[index];
    switch (series) {
    case SUCCESS:
    case EXECUTIONS:
        return (double)model->requests;
    case FAILURE:
        return (double)model->failed;
    case COUNT:
        return (double)model->rows;
    case PENDING:
        return (double)desk->memory.slots[index].users;
    case QUEUE:
        return (double)model->queued / 1e3;
    case COMPUTE:
        return (double)model->computed / 1e3;
    case TOTAL:
        return (double)model->total / 1e3;
    }
    return 0;
}

static void write_models(struct ps_sim_page *page, const struct ps_sim_desk *desk)
{
    static const struct {
        const char *name;
        const char *type;
        const char *help;
        enum series series;
    } rows[] = {
        {"nv_inference_request_success", "counter", "Requests answered.", SUCCESS},
        {"nv_inference_request_failure", "counter", "Requests that failed.", FAILURE},
        {"nv_inference_count", "counter", "Rows of all batches.", COUNT},
        {"nv_inference_exec_count", "counter", "Batches.", EXECUTIONS},
        {"nv_inference_pending_request_count", "gauge", "Requests that wait or run.", PENDING},
        {"nv_inference_queue_duration_us", "counter", "Time spent waiting.", QUEUE},
        {"nv_inference_compute_infer_duration_us", "counter", "Time spent computing.", COMPUTE},
        {"nv_inference_request_duration_us", "counter", "Time from end to end.", TOTAL},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        ps_sim_page_head(page, rows[i].name, rows[i].type, rows[i].help);
        for (size_t m = 0; m < desk->opts->model_count; m++) {
            char labels[300];
            (void)snprintf(labels, sizeof labels, "model=\"%s\",version=\"1\",",
                           desk->opts->models[m]);
            ps_sim_page_value(page, rows[i].name, labels, value_of(desk, m, rows[i].series));
        }
    }
}

static void write_gpu(struct ps_sim_page *page, const char *name, const char *help, double number)
{
    ps_sim_page_head(page, name, "gauge", help);
    ps_sim_page_value(page, name, "gpu_uuid=\"GPU-00000000-0000-0000-0000-73696d756c61\",", number);
}

static int write_metrics(struct ps_buf *out, struct ps_sim_desk *desk)
{
    struct ps_sim_page page = {.out = out, .labels = ""};
    struct ps_sim_usage usage = ps_sim_device_usage(ps_sim_engine_device(desk->engine));
    write_models(&page, desk);
    write_gpu(&page, "nv_gpu_utilization", "Is the device at work?",
              ps_sim_engine_load(desk->engine) > 0);
    write_gpu(&page, "nv_gpu_memory_total_bytes", "Device memory.", (double)desk->opts->memory);
    write_gpu(&page, "nv_gpu_memory_used_bytes", "Device memory in use.", (double)usage.used);
    ps_sim_page_own(&page, desk);
    return page.err;
}

/* --- the personality -------------------------------------------------------------------------- */

static int put_refusal(struct ps_buf *out, const struct ps_sim_refusal *refusal)
{
    return ps_sim_json_dump(out, json_pack("{s:s}", "error", refusal->text));
}

static int start(struct ps_sim_desk *desk)
{
    desk->own = calloc(1, sizeof(struct triton));
    return desk->own == NULL ? PS_ENOMEM : PS_OK;
}

static void stop(struct ps_sim_desk *desk)
{
    free(desk->own);
}

/* clang-format off */
static const struct ps_sim_default defaults[] = {
    {"weights", "1GiB"},
    {"activations", "256MiB"},
    {"kv_tokens", "262144"},
    {"kv_bytes_per_token", "0"},
    {"max_num_batched_tokens", "16384"},
    {"embedding_dimensions", "16"},
    {"max_batch", "8"},
    {NULL, NULL},
};

static const struct ps_sim_route routes[] = {
    {PS_H1_METHOD_GET, PS_STR_INIT("/v2"), answer_server, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/v2/health/live"), answer_health, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/v2/health/ready"), answer_health, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/v2/models/stats"), answer_all_stats, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/v2/models/{}"), answer_model, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/v2/models/{}/ready"), answer_ready, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/v2/models/{}/config"), answer_config, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/v2/models/{}/stats"), answer_stats, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/v2/models/{}/infer"), answer_infer, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/v2/models/{}/generate"), answer_generate, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/v2/models/{}/generate_stream"), answer_stream, true, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/v2/models/{}/versions/{}"), answer_model, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/v2/models/{}/versions/{}/ready"), answer_ready, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/v2/models/{}/versions/{}/config"), answer_config, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/v2/models/{}/versions/{}/stats"), answer_stats, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/v2/models/{}/versions/{}/infer"), answer_infer, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/v2/models/{}/versions/{}/generate"), answer_generate, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/v2/models/{}/versions/{}/generate_stream"), answer_stream, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/v2/repository/index"), answer_index, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/v2/repository/models/{}/load"), answer_load, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/v2/repository/models/{}/unload"), answer_unload, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/metrics"), ps_sim_ask_metrics, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/sim/state"), ps_sim_state_answer, false, NULL},
};
/* clang-format on */

const struct ps_sim_personality ps_sim_triton = {
    .name = "triton",
    .routes = {.rows = routes, .count = PS_ARRAY_LEN(routes)},
    .defaults = defaults,
    .own_slots = true,
    .absent = PS_SIM_ABSENT_FAILS,
    .owner = "triton",
    .refusal = put_refusal,
    .away = say_away,
    .metrics = write_metrics,
    .start = start,
    .idle = on_idle,
    .stop = stop,
};
