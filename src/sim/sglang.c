/* sglang - the simulated server as SGLang: /generate beside OpenAI's routes, memory by tags.
 *
 * Streams of /generate hold the whole text so far in each event. Releasing memory needs the memory
 * saver and an idle engine: the real server asserts that, which is a 500 here. Tags: weights,
 * kv_cache, cuda_graph.
 *
 * Formats: SGLang's python/sglang/srt/entrypoints/http_server.py and managers/io_struct.py.
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
#include "sim/engines.h"
#include "sim/json.h"
#include "sim/openai.h"
#include "sim/page.h"
#include "sim/state.h"
#include "sim/words.h"

/* --- /generate -------------------------------------------------------------------------------- */

static int put_finish(struct ps_buf *out, const struct ps_sim_piece *piece)
{
    if (piece->finish == NULL) {
        return ps_buf_append_str(out, PS_STR("null"));
    }
    if (strcmp(piece->finish, "length") == 0) {
        return ps_buf_printf(out, "{\"type\":\"length\",\"length\":%" PRIu64 "}",
                             piece->tokens.completion);
    }
    return ps_buf_printf(out, "{\"type\":\"%s\"}", piece->finish);
}

static int put_meta(struct ps_buf *out, const struct ps_sim_answer *answer,
                    const struct ps_sim_piece *piece)
{
    int err = ps_buf_printf(out,
                            "\",\"output_ids\":[],\"simulated\":true,\"meta_info\":{\"id\":\"%s\","
                            "\"finish_reason\":",
                            answer->id);
    err = PS_THEN(err, put_finish(out, piece));
    return PS_THEN(err,
                   ps_buf_printf(out,
                                 ",\"prompt_tokens\":%" PRIu64 ",\"completion_tokens\":%" PRIu64
                                 ",\"cached_tokens\":%" PRIu64
                                 ",\"weight_version\":\"default\",\"e2e_latency\":%g}}",
                                 piece->tokens.prompt, piece->tokens.completion,
                                 piece->tokens.cached, ps_span_seconds(piece->timing.total)));
}

static int put_chunk(struct ps_buf *out, const struct ps_sim_answer *answer,
                     const struct ps_sim_piece *piece)
{
    int err = ps_buf_append_str(out, PS_STR("data: {\"text\":\""));
    err = PS_THEN(err, ps_sim_words_write(out, piece->prompt->seed, piece->shown));
    err = PS_THEN(err, put_meta(out, answer, piece));
    return PS_THEN(err, ps_buf_append_str(out, PS_STR("\n\n")));
}

static int put_tail(struct ps_buf *out, const struct ps_sim_answer *answer,
                    const struct ps_sim_tokens *tokens)
{
    (void)answer;
    (void)tokens;
    return ps_buf_append_str(out, PS_STR("data: [DONE]\n\n"));
}

/* A list of texts is answered by a list, and so are several answers to one. */
static bool is_list(const struct ps_sim_answer *answer)
{
    return answer->request->count > 1 || json_is_array(json_object_get(answer->given, "text")) ||
           json_is_array(json_array_get(json_object_get(answer->given, "input_ids"), 0));
}

static int put_begin(struct ps_buf *out, const struct ps_sim_answer *answer)
{
    return is_list(answer) ? ps_buf_append_str(out, PS_STR("[")) : PS_OK;
}

static int put_choice(struct ps_buf *out, const struct ps_sim_answer *answer,
                      const struct ps_sim_piece *piece)
{
    int err = ps_buf_append_str(out, piece->index == 0 ? PS_STR("{\"text\":\"")
                                                       : PS_STR(",{\"text\":\""));
    err = PS_THEN(err, ps_buf_append_str(out, piece->text));
    return PS_THEN(err, put_meta(out, answer, piece));
}

static int put_end(struct ps_buf *out, const struct ps_sim_answer *answer,
                   const struct ps_sim_tokens *tokens)
{
    (void)tokens;
    return is_list(answer) ? ps_buf_append_str(out, PS_STR("]")) : PS_OK;
}

static const struct ps_sim_dialect native = {
    .stream_type = "text/event-stream; charset=utf-8",
    .chunk = put_chunk,
    .tail = put_tail,
    .begin = put_begin,
    .choice = put_choice,
    .end = put_end,
};

static json_t *translate(const struct ps_sim_ask *ask, const json_t *given)
{
    const json_t *sampling = json_object_get(given, "sampling_params");
    bool text = json_object_get(given, "text") != NULL;
    json_t *plain = json_pack("{s:s,s:i}", "model", ask->desk->opts->models[0], "max_tokens", 128);
    int failed = ps_sim_json_copy(plain, "prompt", given, text ? "text" : "input_ids") |
                 ps_sim_json_copy(plain, "stream", given, "stream") |
                 ps_sim_json_copy(plain, "max_tokens", sampling, "max_new_tokens") |
                 ps_sim_json_copy(plain, "stop", sampling, "stop") |
                 ps_sim_json_copy(plain, "seed", sampling, "sampling_seed") |
                 ps_sim_json_copy(plain, "n", sampling, "n");
    if (failed != 0) {
        json_decref(plain);
        return NULL;
    }
    return plain;
}

static void answer_generate(const struct ps_sim_ask *ask)
{
    json_t *given = ps_sim_ask_object(ask, false);
    if (given != NULL) {
        ps_sim_call_start(ask, PS_SIM_NATIVE, &native, translate(ask, given), given);
        json_decref(given);
    }
}

/* --- memory ----------------------------------------------------------------------------------- */

static void say_away(const struct ps_sim_desk *desk, size_t slot, struct ps_sim_refusal *refusal)
{
    (void)desk;
    (void)slot;
    *refusal = (struct ps_sim_refusal){.status = 503,
                                       .type = "ServiceUnavailable",
                                       .text = "The memory of the model is released."};
}

static bool is_busy(const struct ps_sim_desk *desk)
{
    return desk->opts->lie == PS_SIM_LIE_BUSY || ps_sim_engine_load(desk->engine) > 0;
}

static void answer_flush(const struct ps_sim_ask *ask)
{
    bool done = !is_busy(ask->desk) && ps_sim_engine_reset_prefix_cache(ask->desk->engine);
    ps_sim_ask_respond(ask, done ? 200 : 400, PS_STR("text/plain; charset=utf-8"),
                       done ? PS_STR("Cache flushed (simulated).\n")
                            : PS_STR("The cache was not flushed: requests are running or waiting "
                                     "(simulated).\n"));
}

/* The parts that the tags name, all without tags; 0: refused. */
static unsigned read_tags(const struct ps_sim_ask *ask)
{
    json_t *given = ps_sim_ask_object(ask, true);
    if (given == NULL) {
        return 0;
    }
    const json_t *tags = json_object_get(given, "tags");
    unsigned parts = 0;
    bool known = true;
    for (size_t i = 0; i < json_array_size(tags) && known; i++) {
        const char *tag = json_string_value(json_array_get(tags, i));
        unsigned part = tag == NULL                      ? 0
                        : strcmp(tag, "weights") == 0    ? PS_SIM_WEIGHTS
                        : strcmp(tag, "kv_cache") == 0   ? PS_SIM_KV_CACHE
                        : strcmp(tag, "cuda_graph") == 0 ? PS_SIM_ACTIVATIONS
                                                         : 0;
        parts |= part;
        known = part != 0;
    }
    bool all = json_array_size(tags) == 0;
    json_decref(given);
    if (!known) {
        ps_sim_ask_refuse_with(ask, 400, "BadRequest", "Unknown memory tag.");
        return 0;
    }
    return all ? PS_SIM_ALL_PARTS : parts;
}

static bool may_move(const struct ps_sim_ask *ask)
{
    if (!ask->desk->opts->sleep_mode) {
        ps_sim_ask_refuse_with(ask, 400, "BadRequest",
                               "The memory saver is off (--enable-memory-saver).");
        return false;
    }
    return true;
}

static void answer_release(const struct ps_sim_ask *ask)
{
    unsigned parts = may_move(ask) ? read_tags(ask) : 0;
    if (parts == 0) {
        return;
    }
    if (ask->desk->opts->lie == PS_SIM_LIE_BUSY) {
        ps_sim_ask_refuse_with(ask, 400, "BadRequest", "The engine is busy.");
    } else if (is_busy(ask->desk)) {
        ps_sim_ask_refuse_with(ask, 500, "InternalServerError",
                               "AssertionError: release_memory_occupation while requests run.");
    } else {
        ps_sim_desk_release(ask->desk, 0, parts);
        ps_sim_ask_respond(ask, 200, PS_STR(""), PS_STR(""));
    }
}

static void answer_resume(const struct ps_sim_ask *ask)
{
    struct ps_sim_desk *desk = ask->desk;
    unsigned parts = may_move(ask) ? read_tags(ask) : 0;
    if (parts == 0) {
        return;
    }
    /* the saver keeps no copy: weights come from disk again */
    if (ps_sim_memory_restore(&desk->memory, 0, parts, PS_SIM_FROM_DISK, ps_sim_desk_now(desk)) !=
        PS_OK) {
        ps_sim_ask_refuse_with(ask, 500, "InternalServerError", "CUDA out of memory (simulated).");
        return;
    }
    ps_sim_ask_respond(ask, 200, PS_STR(""), PS_STR(""));
}

/* abort ends what runs; retract and in_place hold it until it is continued. */
static void answer_pause(const struct ps_sim_ask *ask)
{
    json_t *given = ps_sim_ask_object(ask, true);
    if (given == NULL) {
        return;
    }
    bool abort = strcmp(ps_sim_json_text(given, "mode", "abort"), "abort") == 0;
    json_decref(given);
    if (abort) {
        ps_sim_desk_abort(ask->desk);
    }
    ps_sim_engine_hold(ask->desk->engine, true);
    ps_sim_ask_tree(
        ask, 200,
        json_pack("{s:s,s:s}", "message", "Generation paused successfully.", "status", "ok"));
}

static void answer_continue(const struct ps_sim_ask *ask)
{
    ps_sim_engine_hold(ask->desk->engine, false);
    if (ps_sim_desk_wake(ask->desk) != PS_OK) {
        ps_sim_ask_refuse_with(ask, 503, "ServiceUnavailable", "Out of memory.");
        return;
    }
    ps_sim_ask_tree(
        ask, 200,
        json_pack("{s:s,s:s}", "message", "Generation continued successfully.", "status", "ok"));
}

/* A single request can't be named here: the simulation aborts all, or nothing. */
static void answer_abort(const struct ps_sim_ask *ask)
{
    json_t *given = ps_sim_ask_object(ask, true);
    if (given == NULL) {
        return;
    }
    if (ps_sim_json_flag(given, "abort_all", false)) {
        ps_sim_desk_abort(ask->desk);
    }
    json_decref(given);
    ps_sim_ask_respond(ask, 200, PS_STR(""), PS_STR(""));
}

/* --- identity --------------------------------------------------------------------------------- */

static void answer_health(const struct ps_sim_ask *ask)
{
    ps_sim_ask_respond(ask, 200, PS_STR(""), PS_STR(""));
}

static void answer_model_info(const struct ps_sim_ask *ask)
{
    const char *name = ask->desk->opts->models[0];
    ps_sim_ask_tree(
        ask, 200,
        json_pack("{s:s,s:s,s:b}", "model_path", name, "tokenizer_path", name, "is_generation", 1));
}

static void answer_server_info(const struct ps_sim_ask *ask)
{
    const struct ps_sim_desk *desk = ask->desk;
    json_int_t tokens =
        (json_int_t)ps_sim_blocks_count(ps_sim_engine_blocks(desk->engine)) * PS_SIM_BLOCK_TOKENS;
    ps_sim_ask_tree(ask, 200,
                    json_pack("{s:s,s:s,s:s,s:I,s:f,s:b,s:b,s:s,s:[{s:f}]}", "model_path",
                              desk->opts->models[0], "served_model_name", desk->opts->models[0],
                              "version", desk->opts->version, "max_total_num_tokens", tokens,
                              "mem_fraction_static", desk->opts->gpu_memory_utilization,
                              "enable_memory_saver", (int)desk->opts->sleep_mode, "enable_metrics",
                              (int)desk->opts->metrics, "status", "ready", "internal_states",
                              "last_gen_throughput", 0.0));
}

/* --- metrics ---------------------------------------------------------------------------------- */

static bool has_metrics(const struct ps_sim_opts *opts)
{
    return opts->metrics;
}

static int write_metrics(struct ps_buf *out, struct ps_sim_desk *desk)
{
    char labels[300];
    struct ps_sim_page page = {.out = out, .labels = labels};
    const struct ps_sim_stats *stats = ps_sim_engine_stats(desk->engine);
    const struct ps_sim_blocks *blocks = ps_sim_engine_blocks(desk->engine);
    double used = ps_sim_blocks_count(blocks) - ps_sim_blocks_idle(blocks);
    double hits =
        stats->prefix_queries == 0 ? 0 : (double)stats->prefix_hits / (double)stats->prefix_queries;
    (void)snprintf(labels, sizeof labels, "engine_type=\"unified\",model_name=\"%s\",",
                   desk->opts->models[0]);
    ps_sim_page_single(&page, "sglang:num_running_reqs", "gauge", "Requests that run.",
                       (double)stats->running);
    ps_sim_page_single(&page, "sglang:num_queue_reqs", "gauge", "Requests that wait.",
                       (double)(stats->waiting + stats->delayed));
    ps_sim_page_single(&page, "sglang:num_used_tokens", "gauge", "Tokens in the cache.",
                       used * PS_SIM_BLOCK_TOKENS);
    ps_sim_page_single(&page, "sglang:token_usage", "gauge", "Share of the cache in use.",
                       ps_sim_page_cache_usage(desk));
    ps_sim_page_single(&page, "sglang:cache_hit_rate", "gauge", "Share of prompt tokens found.",
                       hits);
    ps_sim_page_single(&page, "sglang:gen_throughput", "gauge", "Generated tokens per second.",
                       (double)stats->generated_tokens /
                           (1e-9 + ps_span_seconds(ps_sim_desk_now(desk) - desk->started)));
    ps_sim_page_single(&page, "sglang:num_grammar_queue_reqs", "gauge",
                       "Requests that wait for a grammar.", 0);
    ps_sim_page_single(&page, "sglang:prompt_tokens_total", "counter", "Prompt tokens.",
                       (double)stats->prompt_tokens);
    ps_sim_page_single(&page, "sglang:generation_tokens_total", "counter", "Generated tokens.",
                       (double)stats->generated_tokens);
    ps_sim_page_single(&page, "sglang:num_requests_total", "counter", "Requests let in.",
                       (double)desk->metrics.requests);
    ps_sim_page_histogram(&page, "sglang:time_to_first_token_seconds", "Arrival to first token.",
                          &desk->metrics.first_token);
    ps_sim_page_histogram(&page, "sglang:inter_token_latency_seconds", "Token to token.",
                          &desk->metrics.inter_token);
    ps_sim_page_histogram(&page, "sglang:e2e_request_latency_seconds", "Arrival to last token.",
                          &desk->metrics.end_to_end);
    ps_sim_page_own(&page, desk);
    return page.err;
}

/* --- the personality -------------------------------------------------------------------------- */

/* clang-format off */
static const struct ps_sim_route routes[] = {
    {PS_H1_METHOD_POST, PS_STR_INIT("/v1/chat/completions"), ps_sim_openai_chat, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/v1/completions"), ps_sim_openai_completion, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/v1/embeddings"), ps_sim_openai_embedding, true, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/v1/models"), ps_sim_openai_models, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/generate"), answer_generate, true, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/health"), answer_health, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/health_generate"), answer_health, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/get_model_info"), answer_model_info, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/model_info"), answer_model_info, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/get_server_info"), answer_server_info, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/server_info"), answer_server_info, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/metrics"), ps_sim_ask_metrics, false, has_metrics},
    {PS_H1_METHOD_GET, PS_STR_INIT("/flush_cache"), answer_flush, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/flush_cache"), answer_flush, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/release_memory_occupation"), answer_release, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/release_memory_occupation"), answer_release, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/resume_memory_occupation"), answer_resume, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/resume_memory_occupation"), answer_resume, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/pause_generation"), answer_pause, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/continue_generation"), answer_continue, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/abort_request"), answer_abort, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/sim/state"), ps_sim_state_answer, false, NULL},
};
/* clang-format on */

const struct ps_sim_personality ps_sim_sglang = {
    .name = "sglang",
    .routes = {.rows = routes, .count = PS_ARRAY_LEN(routes)},
    .any_model = true,
    .absent = PS_SIM_ABSENT_FAILS,
    .owner = "sglang",
    .refusal = ps_sim_openai_flat_refusal,
    .away = say_away,
    .metrics = write_metrics,
};
