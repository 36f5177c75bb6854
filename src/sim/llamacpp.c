/* llamacpp - the simulated server as llama-server of llama.cpp: /completion, slots, and the router.
 *
 * The stream of /completion has no [DONE]: its last event says stop: true. /metrics is 501 unless
 * it was switched on. A slot is a place in the batch; erasing one frees cached cells, never device
 * memory, which is reserved at start. With --router models are loaded when they are asked for and
 * unloaded by POST /models/unload.
 *
 * Formats: llama.cpp's tools/server/README.md.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/writer.h"
#include "sim/call.h"
#include "sim/engines.h"
#include "sim/json.h"
#include "sim/openai.h"
#include "sim/page.h"
#include "sim/state.h"

/* --- /completion ------------------------------------------------------------------------------ */

static double per_second(uint64_t tokens, ps_span span)
{
    return span <= 0 ? 0 : (double)tokens / ps_span_seconds(span);
}

static int put_timings(struct ps_buf *out, const struct ps_sim_piece *piece)
{
    const struct ps_sim_timing *timing = &piece->timing;
    uint64_t prompt = piece->tokens.prompt - piece->tokens.cached;
    uint64_t made = piece->tokens.completion;
    return ps_buf_printf(out,
                         ",\"timings\":{\"cache_n\":%" PRIu64 ",\"prompt_n\":%" PRIu64
                         ",\"prompt_ms\":%.3f,\"prompt_per_second\":%.3f,\"predicted_n\":%" PRIu64
                         ",\"predicted_ms\":%.3f,\"predicted_per_second\":%.3f}}",
                         piece->tokens.cached, prompt, ps_span_seconds(timing->prompt) * 1e3,
                         per_second(prompt, timing->prompt), made,
                         ps_span_seconds(timing->decode) * 1e3, per_second(made, timing->decode));
}

static int put_last(struct ps_buf *out, const struct ps_sim_answer *answer,
                    const struct ps_sim_piece *piece)
{
    bool stopped = strcmp(piece->finish, "stop") == 0;
    int err =
        ps_buf_printf(out,
                      "\",\"tokens\":[],\"id_slot\":0,\"stop\":true,\"model\":\"%s\","
                      "\"tokens_predicted\":%" PRIu64 ",\"tokens_evaluated\":%" PRIu64
                      ",\"has_new_line\":false,\"truncated\":false,\"stop_type\":\"%s\","
                      "\"stopping_word\":\"\",\"tokens_cached\":%" PRIu64,
                      answer->model, piece->tokens.completion, piece->tokens.prompt,
                      stopped ? "eos" : "limit", piece->tokens.prompt + piece->tokens.completion);
    return PS_THEN(err, put_timings(out, piece));
}

static int put_chunk(struct ps_buf *out, const struct ps_sim_answer *answer,
                     const struct ps_sim_piece *piece)
{
    int err =
        ps_buf_printf(out, "data: {\"index\":%zu,\"simulated\":true,\"content\":\"", piece->index);
    err = PS_THEN(err, ps_buf_append_str(out, piece->text));
    if (piece->finish == NULL) {
        err = PS_THEN(err, ps_buf_printf(out,
                                         "\",\"tokens\":[],\"stop\":false,\"id_slot\":0,"
                                         "\"tokens_predicted\":%" PRIu64
                                         ",\"tokens_evaluated\":%" PRIu64 "}",
                                         piece->tokens.completion, piece->tokens.prompt));
    } else {
        err = PS_THEN(err, put_last(out, answer, piece));
    }
    return PS_THEN(err, ps_buf_append_str(out, PS_STR("\n\n")));
}

static int put_choice(struct ps_buf *out, const struct ps_sim_answer *answer,
                      const struct ps_sim_piece *piece)
{
    bool many = answer->request->count > 1;
    const char *before = many && piece->index == 0 ? "[" : piece->index > 0 ? "," : "";
    int err = ps_buf_printf(out, "%s{\"index\":%zu,\"simulated\":true,\"content\":\"", before,
                            piece->index);
    err = PS_THEN(err, ps_buf_append_str(out, piece->text));
    return PS_THEN(err, put_last(out, answer, piece));
}

static int put_end(struct ps_buf *out, const struct ps_sim_answer *answer,
                   const struct ps_sim_tokens *tokens)
{
    (void)tokens;
    return answer->request->count > 1 ? ps_buf_append_str(out, PS_STR("]")) : PS_OK;
}

static const struct ps_sim_dialect native = {
    .stream_type = "text/event-stream",
    .chunk = put_chunk,
    .choice = put_choice,
    .end = put_end,
};

/* n_predict is a number of tokens only when it is above 0: -1 is as many as it likes. */
static json_t *translate(const struct ps_sim_ask *ask, const json_t *given)
{
    const json_t *most = json_object_get(given, "n_predict");
    json_t *plain = json_pack("{s:s}", "model", ask->desk->opts->models[0]);
    int failed = ps_sim_json_copy(plain, "prompt", given, "prompt") |
                 ps_sim_json_copy(plain, "model", given, "model") |
                 ps_sim_json_copy(plain, "stream", given, "stream");
    if (!json_is_integer(most) || json_integer_value(most) > 0) {
        failed |= ps_sim_json_copy(plain, "max_tokens", given, "n_predict");
    }
    if (json_integer_value(json_object_get(given, "seed")) >= 0) {
        failed |= ps_sim_json_copy(plain, "seed", given, "seed");
    }
    if (json_array_size(json_object_get(given, "stop")) > 0) {
        failed |= ps_sim_json_copy(plain, "stop", given, "stop");
    }
    if (failed != 0) {
        json_decref(plain);
        return NULL;
    }
    return plain;
}

static void answer_completion(const struct ps_sim_ask *ask)
{
    json_t *given = ps_sim_ask_object(ask, false);
    if (given != NULL) {
        ps_sim_call_start(ask, PS_SIM_NATIVE, &native, translate(ask, given), NULL);
        json_decref(given);
    }
}

static void answer_tokenize(const struct ps_sim_ask *ask)
{
    json_t *given = ps_sim_ask_object(ask, false);
    if (given == NULL) {
        return;
    }
    json_t *list = json_array();
    struct ps_str text = ps_str_from(ps_sim_json_text(given, "content", ""));
    for (; text.len > 0; text = ps_str_skip(text, PS_SIM_TOKEN_BYTES)) {
        uint64_t id = ps_str_hash(ps_str_first(text, PS_SIM_TOKEN_BYTES), 7) % 128000;
        (void)json_array_append_new(list, json_integer((json_int_t)id));
    }
    json_decref(given);
    ps_sim_ask_tree(ask, 200, json_pack("{s:o}", "tokens", list));
}

/* --- slots ------------------------------------------------------------------------------------ */

static void answer_slots(const struct ps_sim_ask *ask)
{
    const struct ps_sim_desk *desk = ask->desk;
    size_t running = ps_sim_engine_stats(desk->engine)->running;
    size_t at = 0;
    struct ps_str value;
    if (running >= desk->opts->max_num_seqs &&
        ps_sim_ask_query(ask, PS_STR("fail_on_no_slot"), &at, &value)) {
        ps_sim_ask_refuse_with(ask, 503, "unavailable_error", "no slot available");
        return;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < desk->opts->max_num_seqs && i < 256; i++) {
        (void)json_array_append_new(list,
                                    json_pack("{s:I,s:I,s:b,s:b}", "id", (json_int_t)i, "n_ctx",
                                              (json_int_t)ps_sim_engine_max_model_len(desk->engine),
                                              "is_processing", i < running, "simulated", 1));
    }
    ps_sim_ask_tree(ask, 200, list);
}

static void answer_slot(const struct ps_sim_ask *ask)
{
    struct ps_sim_desk *desk = ask->desk;
    uint64_t id = 0;
    size_t at = 0;
    struct ps_str action = PS_STR("");
    (void)ps_sim_ask_query(ask, PS_STR("action"), &at, &action);
    if (ps_str_to_u64(ask->names[0], &id) != PS_OK || id >= desk->opts->max_num_seqs ||
        !ps_str_eq(action, PS_STR("erase"))) {
        ps_sim_ask_refuse_with(ask, 400, "invalid_request_error",
                               "Invalid slot, or an action other than erase.");
        return;
    }
    json_int_t cached = ps_sim_blocks_cached(ps_sim_engine_blocks(desk->engine));
    bool done =
        desk->opts->lie != PS_SIM_LIE_BUSY && ps_sim_engine_reset_prefix_cache(desk->engine);
    if (!done) {
        ps_sim_ask_refuse_with(ask, 400, "invalid_request_error", "The slot is processing.");
        return;
    }
    ps_sim_ask_tree(ask, 200,
                    json_pack("{s:I,s:I}", "id_slot", (json_int_t)id, "n_erased",
                              cached * PS_SIM_BLOCK_TOKENS));
}

/* --- the router ------------------------------------------------------------------------------- */

static bool has_router(const struct ps_sim_opts *opts)
{
    return opts->router;
}

static const char *status_of(const struct ps_sim_desk *desk, size_t slot)
{
    if (!ps_sim_memory_holds(&desk->memory, slot, PS_SIM_ALL_PARTS)) {
        return "unloaded";
    }
    return desk->memory.slots[slot].ready > ps_sim_desk_now(desk) ? "loading" : "loaded";
}

static void answer_models(const struct ps_sim_ask *ask)
{
    const struct ps_sim_desk *desk = ask->desk;
    json_t *list = json_array();
    for (size_t i = 0; i < desk->opts->model_count; i++) {
        (void)json_array_append_new(
            list, json_pack("{s:s,s:s,s:s,s:I,s:b,s:{s:s}}", "id", desk->opts->models[i], "object",
                            "model", "owned_by", "llamacpp", "created",
                            (json_int_t)(ps_sim_desk_wall(desk) / PS_SECOND), "in_cache", 1,
                            "status", "value", status_of(desk, ps_sim_desk_slot(desk, i))));
    }
    ps_sim_ask_tree(ask, 200, json_pack("{s:s,s:o}", "object", "list", "data", list));
}

/* The model that the body names; model_count when the request was refused. */
static size_t read_model(const struct ps_sim_ask *ask)
{
    const struct ps_sim_opts *opts = ask->desk->opts;
    json_t *given = ps_sim_ask_object(ask, false);
    size_t i = 0;
    if (given == NULL) {
        return opts->model_count;
    }
    while (i < opts->model_count &&
           strcmp(opts->models[i], ps_sim_json_text(given, "model", "")) != 0) {
        i++;
    }
    json_decref(given);
    if (i == opts->model_count) {
        ps_sim_ask_refuse_with(ask, 404, "not_found_error", "model is not found");
    }
    return i;
}

static void answer_success(const struct ps_sim_ask *ask)
{
    ps_sim_ask_tree(ask, 200, json_pack("{s:b}", "success", 1));
}

static void answer_load(const struct ps_sim_ask *ask)
{
    struct ps_sim_desk *desk = ask->desk;
    size_t model = read_model(ask);
    if (model == desk->opts->model_count) {
        return;
    }
    if (ps_sim_memory_load(&desk->memory, model, ps_sim_desk_now(desk)) != PS_OK) {
        ps_sim_ask_refuse_with(ask, 500, "server_error", "out of memory (simulated)");
        return;
    }
    answer_success(ask);
}

static void answer_unload(const struct ps_sim_ask *ask)
{
    struct ps_sim_desk *desk = ask->desk;
    size_t model = read_model(ask);
    if (model == desk->opts->model_count) {
        return;
    }
    if (desk->opts->lie == PS_SIM_LIE_BUSY || desk->memory.slots[model].users > 0) {
        ps_sim_ask_refuse_with(ask, 400, "invalid_request_error", "model is busy");
        return;
    }
    ps_sim_desk_release(desk, model, PS_SIM_ALL_PARTS);
    answer_success(ask);
}

/* --- identity and metrics --------------------------------------------------------------------- */

static void answer_health(const struct ps_sim_ask *ask)
{
    ps_sim_ask_tree(ask, 200, json_pack("{s:s}", "status", "ok"));
}

static void answer_props(const struct ps_sim_ask *ask)
{
    const struct ps_sim_desk *desk = ask->desk;
    bool sleeping = !ps_sim_memory_holds(&desk->memory, 0, PS_SIM_ALL_PARTS);
    json_int_t len = (json_int_t)ps_sim_engine_max_model_len(desk->engine);
    ps_sim_ask_tree(ask, 200,
                    json_pack("{s:{s:I},s:I,s:s,s:s,s:s,s:b}", "default_generation_settings",
                              "n_ctx", len, "total_slots", (json_int_t)desk->opts->max_num_seqs,
                              "model_path", desk->opts->models[0], "chat_template", "",
                              "build_info", desk->opts->version, "is_sleeping", (int)sleeping));
}

static void answer_metrics(const struct ps_sim_ask *ask)
{
    if (ask->desk->opts->metrics) {
        ps_sim_ask_metrics(ask);
    } else {
        ps_sim_ask_refuse_with(ask, 501, "not_supported_error",
                               "This server does not support metrics endpoint. Start it with "
                               "--metrics.");
    }
}

static int write_metrics(struct ps_buf *out, struct ps_sim_desk *desk)
{
    struct ps_sim_page page = {.out = out, .labels = ""};
    const struct ps_sim_stats *stats = ps_sim_engine_stats(desk->engine);
    double steps = (double)stats->step_tokens.count;
    ps_sim_page_single(&page, "llamacpp:prompt_tokens_total", "counter", "Prompt tokens.",
                       (double)stats->computed_prompt_tokens);
    ps_sim_page_single(&page, "llamacpp:tokens_predicted_total", "counter", "Generated tokens.",
                       (double)stats->generated_tokens);
    ps_sim_page_single(&page, "llamacpp:n_decode_total", "counter", "Steps.", steps);
    ps_sim_page_single(&page, "llamacpp:n_busy_slots_per_decode", "gauge",
                       "Slots at work in a step.",
                       steps == 0 ? 0 : (double)stats->generated_tokens / steps);
    ps_sim_page_single(&page, "llamacpp:n_tokens_max", "counter", "Largest context that was seen.",
                       (double)ps_sim_engine_max_model_len(desk->engine) *
                           ps_sim_page_cache_usage(desk));
    ps_sim_page_single(&page, "llamacpp:requests_processing", "gauge", "Requests that run.",
                       (double)stats->running);
    ps_sim_page_single(&page, "llamacpp:requests_deferred", "gauge", "Requests that wait.",
                       (double)(stats->waiting + stats->delayed));
    ps_sim_page_own(&page, desk);
    return page.err;
}

/* --- the personality -------------------------------------------------------------------------- */

static int put_refusal(struct ps_buf *out, const struct ps_sim_refusal *refusal)
{
    const char *type = refusal->status == 404  ? "not_found_error"
                       : refusal->status < 500 ? "invalid_request_error"
                                               : refusal->type;
    return ps_sim_json_dump(out, json_pack("{s:{s:i,s:s,s:s}}", "error", "code", refusal->status,
                                           "message", refusal->text, "type", type));
}

/* clang-format off */
static const struct ps_sim_default defaults[] = {
    {"weights", "5GiB"},
    {"activations", "512MiB"},
    {"kv_tokens", "16384"},
    {"max_num_seqs", "4"},
    {NULL, NULL},
};

static const struct ps_sim_route rows[] = {
    {PS_H1_METHOD_POST, PS_STR_INIT("/completion"), answer_completion, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/completions"), answer_completion, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/tokenize"), answer_tokenize, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/v1/chat/completions"), ps_sim_openai_chat, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/chat/completions"), ps_sim_openai_chat, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/v1/completions"), ps_sim_openai_completion, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/v1/embeddings"), ps_sim_openai_embedding, true, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/v1/models"), answer_models, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/models"), answer_models, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/models/load"), answer_load, false, has_router},
    {PS_H1_METHOD_POST, PS_STR_INIT("/models/unload"), answer_unload, false, has_router},
    {PS_H1_METHOD_GET, PS_STR_INIT("/health"), answer_health, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/v1/health"), answer_health, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/props"), answer_props, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/slots"), answer_slots, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/slots/{}"), answer_slot, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/metrics"), answer_metrics, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/sim/state"), ps_sim_state_answer, false, NULL},
};
/* clang-format on */

const struct ps_sim_personality ps_sim_llamacpp = {
    .name = "llamacpp",
    .routes = {.rows = rows, .count = PS_ARRAY_LEN(rows)},
    .defaults = defaults,
    .any_model = true,
    .absent = PS_SIM_ABSENT_LOADS,
    .owner = "llamacpp",
    .refusal = put_refusal,
    .metrics = write_metrics,
};

/* The same with --router: each model has memory of its own and comes when it is asked for. */
const struct ps_sim_personality ps_sim_llamacpp_router = {
    .name = "llamacpp",
    .routes = {.rows = rows, .count = PS_ARRAY_LEN(rows)},
    .defaults = defaults,
    .own_slots = true,
    .starts_empty = true,
    .absent = PS_SIM_ABSENT_LOADS,
    .owner = "llamacpp",
    .refusal = put_refusal,
    .metrics = write_metrics,
};
