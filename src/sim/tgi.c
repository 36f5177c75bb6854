/* tgi - the simulated server as Text Generation Inference: /generate, /generate_stream, no memory
 * calls.
 *
 * Every token is an event of its own, the last one holds the whole text. A full queue is 429.
 *
 * Formats: TGI's docs/openapi.json and router/src/server.rs.
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
#include "sim/words.h"

/* --- writing ---------------------------------------------------------------------------------- */

static const char *reason_of(const struct ps_sim_piece *piece)
{
    return strcmp(piece->finish, "stop") == 0 ? "eos_token" : "length";
}

static uint64_t token_id(struct ps_str text)
{
    return ps_str_hash(text, 7) % 128000;
}

static int put_token(struct ps_buf *out, struct ps_str text)
{
    int err = ps_buf_printf(out, "{\"id\":%" PRIu64 ",\"text\":\"", token_id(text));
    err = PS_THEN(err, ps_buf_append_str(out, text));
    return PS_THEN(err, ps_buf_append_str(out, PS_STR("\",\"logprob\":-0.5,\"special\":false}")));
}

static int put_chunk(struct ps_buf *out, const struct ps_sim_answer *answer,
                     const struct ps_sim_piece *piece)
{
    (void)answer;
    int err = ps_buf_printf(
        out, "data:{\"index\":%" PRIu64 ",\"simulated\":true,\"token\":", piece->tokens.completion);
    err = PS_THEN(err, put_token(out, piece->text));
    if (piece->finish == NULL) {
        return PS_THEN(
            err, ps_buf_append_str(out, PS_STR(",\"generated_text\":null,\"details\":null}\n\n")));
    }
    err = PS_THEN(err, ps_buf_append_str(out, PS_STR(",\"generated_text\":\"")));
    err = PS_THEN(err, ps_sim_words_write(out, piece->prompt->seed, piece->shown));
    return PS_THEN(
        err, ps_buf_printf(out,
                           "\",\"details\":{\"finish_reason\":\"%s\",\"generated_tokens\":%" PRIu64
                           ",\"seed\":null,\"input_length\":%" PRIu64 "}}\n\n",
                           reason_of(piece), piece->tokens.completion, piece->tokens.prompt));
}

static int put_tokens(struct ps_buf *out, struct ps_str text)
{
    int err = PS_OK;
    for (bool first = true; text.len > 0 && err == PS_OK; first = false) {
        err = first ? PS_OK : ps_buf_append_str(out, PS_STR(","));
        err = PS_THEN(err, put_token(out, ps_str_first(text, PS_SIM_TOKEN_BYTES)));
        text = ps_str_skip(text, PS_SIM_TOKEN_BYTES);
    }
    return err;
}

static int put_details(struct ps_buf *out, const struct ps_sim_piece *piece)
{
    int err = ps_buf_printf(out,
                            ",\"details\":{\"finish_reason\":\"%s\",\"generated_tokens\":%" PRIu64
                            ",\"seed\":null,\"prefill\":[],\"tokens\":[",
                            reason_of(piece), piece->tokens.completion);
    err = PS_THEN(err, put_tokens(out, piece->text));
    return PS_THEN(err, ps_buf_append_str(out, PS_STR("]}")));
}

static int put_choice(struct ps_buf *out, const struct ps_sim_answer *answer,
                      const struct ps_sim_piece *piece)
{
    const json_t *parameters = json_object_get(answer->given, "parameters");
    int err = ps_buf_append_str(out, PS_STR("{\"simulated\":true,\"generated_text\":\""));
    err = PS_THEN(err, ps_buf_append_str(out, piece->text));
    err = PS_THEN(err, ps_buf_append_str(out, PS_STR("\"")));
    if (ps_sim_json_flag(parameters, "details", false)) {
        err = PS_THEN(err, put_details(out, piece));
    }
    return PS_THEN(err, ps_buf_append_str(out, PS_STR("}")));
}

static const struct ps_sim_dialect native = {
    .stream_type = "text/event-stream",
    .each_token = true,
    .chunk = put_chunk,
    .choice = put_choice,
};

/* --- routes ----------------------------------------------------------------------------------- */

static json_t *translate(const struct ps_sim_ask *ask, const json_t *given, bool stream)
{
    const json_t *parameters = json_object_get(given, "parameters");
    json_t *plain = json_pack("{s:s,s:b,s:i}", "model", ask->desk->opts->models[0], "stream",
                              (int)stream, "max_tokens", 100);
    int failed = ps_sim_json_copy(plain, "prompt", given, "inputs") |
                 ps_sim_json_copy(plain, "max_tokens", parameters, "max_new_tokens") |
                 ps_sim_json_copy(plain, "seed", parameters, "seed") |
                 (json_array_size(json_object_get(parameters, "stop")) > 0
                      ? ps_sim_json_copy(plain, "stop", parameters, "stop")
                      : 0);
    if (failed != 0) {
        json_decref(plain);
        return NULL;
    }
    return plain;
}

static void generate(const struct ps_sim_ask *ask, json_t *given, bool stream)
{
    if (json_is_string(json_object_get(given, "inputs"))) {
        ps_sim_call_start(ask, PS_SIM_NATIVE, &native, translate(ask, given, stream), given);
    } else {
        ps_sim_ask_refuse_with(ask, 422, "validation", "inputs must be a string.");
    }
    json_decref(given);
}

static void answer_generate(const struct ps_sim_ask *ask)
{
    json_t *given = ps_sim_ask_object(ask, false);
    if (given != NULL) {
        generate(ask, given, false);
    }
}

static void answer_stream(const struct ps_sim_ask *ask)
{
    json_t *given = ps_sim_ask_object(ask, false);
    if (given != NULL) {
        generate(ask, given, true);
    }
}

/* POST / : as "stream" says. */
static void answer_either(const struct ps_sim_ask *ask)
{
    json_t *given = ps_sim_ask_object(ask, false);
    if (given != NULL) {
        generate(ask, given, ps_sim_json_flag(given, "stream", false));
    }
}

static void answer_health(const struct ps_sim_ask *ask)
{
    ps_sim_ask_respond(ask, 200, PS_STR(""), PS_STR(""));
}

static void answer_info(const struct ps_sim_ask *ask)
{
    const struct ps_sim_desk *desk = ask->desk;
    json_int_t len = (json_int_t)ps_sim_engine_max_model_len(desk->engine);
    ps_sim_ask_tree(ask, 200,
                    json_pack("{s:s,s:n,s:I,s:I,s:I,s:i,s:i,s:i,s:i,s:s,s:s}", "model_id",
                              desk->opts->models[0], "model_sha", "max_concurrent_requests",
                              (json_int_t)desk->opts->max_queue, "max_input_tokens", len - 1,
                              "max_total_tokens", len, "max_best_of", 1, "max_stop_sequences", 4,
                              "validation_workers", 1, "max_client_batch_size", 4, "router",
                              "text-generation-router", "version", desk->opts->version));
}

static int write_metrics(struct ps_buf *out, struct ps_sim_desk *desk)
{
    struct ps_sim_page page = {.out = out, .labels = ""};
    const struct ps_sim_stats *stats = ps_sim_engine_stats(desk->engine);
    const struct ps_sim_blocks *blocks = ps_sim_engine_blocks(desk->engine);
    double used = ps_sim_blocks_count(blocks) - ps_sim_blocks_idle(blocks);
    ps_sim_page_single(&page, "tgi_queue_size", "gauge", "Requests that wait.",
                       (double)(stats->waiting + stats->delayed));
    ps_sim_page_single(&page, "tgi_batch_current_size", "gauge", "Requests in the batch.",
                       (double)stats->running);
    ps_sim_page_single(&page, "tgi_batch_current_max_tokens", "gauge", "Tokens of the batch.",
                       used * PS_SIM_BLOCK_TOKENS);
    ps_sim_page_histogram(&page, "tgi_batch_next_size", "Requests in a step.", &stats->step_seqs);
    ps_sim_page_single(&page, "tgi_request_count", "counter", "Requests let in.",
                       (double)desk->metrics.requests);
    ps_sim_page_single(&page, "tgi_request_success", "counter", "Requests that were answered.",
                       (double)(desk->metrics.stopped + desk->metrics.length));
    ps_sim_page_single(&page, "tgi_request_failure", "counter", "Requests that were not.",
                       (double)desk->metrics.failed);
    ps_sim_page_histogram(&page, "tgi_request_queue_duration", "Arrival to first step.",
                          &desk->metrics.queue);
    ps_sim_page_histogram(&page, "tgi_request_duration", "Arrival to last token.",
                          &desk->metrics.end_to_end);
    ps_sim_page_histogram(&page, "tgi_request_mean_time_per_token_duration", "Token to token.",
                          &desk->metrics.inter_token);
    ps_sim_page_histogram(&page, "tgi_request_input_length", "Prompt tokens.",
                          &desk->metrics.prompt_tokens);
    ps_sim_page_histogram(&page, "tgi_request_generated_tokens", "Generated tokens.",
                          &desk->metrics.generation_tokens);
    ps_sim_page_own(&page, desk);
    return page.err;
}

/* --- the personality -------------------------------------------------------------------------- */

static int put_refusal(struct ps_buf *out, const struct ps_sim_refusal *refusal)
{
    const char *type = refusal->status == 429  ? "overloaded"
                       : refusal->status < 500 ? "validation"
                                               : "generation";
    return ps_sim_json_dump(out,
                            json_pack("{s:s,s:s}", "error", refusal->text, "error_type", type));
}

/* clang-format off */
static const struct ps_sim_default defaults[] = {
    {"max_queue", "128"},
    {NULL, NULL},
};

static const struct ps_sim_route routes[] = {
    {PS_H1_METHOD_POST, PS_STR_INIT("/"), answer_either, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/generate"), answer_generate, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/generate_stream"), answer_stream, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/v1/chat/completions"), ps_sim_openai_chat, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/v1/completions"), ps_sim_openai_completion, true, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/v1/models"), ps_sim_openai_models, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/health"), answer_health, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/ping"), answer_health, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/info"), answer_info, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/metrics"), ps_sim_ask_metrics, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/sim/state"), ps_sim_state_answer, false, NULL},
};
/* clang-format on */

const struct ps_sim_personality ps_sim_tgi = {
    .name = "tgi",
    .routes = {.rows = routes, .count = PS_ARRAY_LEN(routes)},
    .defaults = defaults,
    .any_model = true,
    .full_status = 429,
    .owner = "tgi",
    .refusal = put_refusal,
    .metrics = write_metrics,
};
