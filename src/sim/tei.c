/* tei - the simulated server as Text Embeddings Inference: /embed, /rerank, /predict, no memory
 * calls.
 *
 * Nothing is generated: every input is a text that is read. Scores come from the same vectors as
 * embeddings, so that a text which shares words with the query ranks before one that does not. More
 * inputs than max_batch are 422 on /embed and 413 where a body is too large. A full queue is 429.
 *
 * Formats: TEI's docs/openapi.json and router/src/http/server.rs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/writer.h"
#include "sim/call.h"
#include "sim/embed.h"
#include "sim/engines.h"
#include "sim/json.h"
#include "sim/openai.h"
#include "sim/page.h"
#include "sim/state.h"

/* --- writing ---------------------------------------------------------------------------------- */

static int put_embeddings(struct ps_buf *out, const struct ps_sim_answer *answer,
                          const struct ps_sim_tokens *tokens, const struct ps_sim_timing *timing)
{
    (void)tokens;
    (void)timing;
    const struct ps_sim_request *request = answer->request;
    int err = ps_buf_append_str(out, PS_STR("["));
    for (size_t i = 0; i < request->count && err == PS_OK; i++) {
        err = i == 0 ? PS_OK : ps_buf_append_str(out, PS_STR(","));
        err = PS_THEN(err, ps_sim_embed_json(out, request->prompts[i].vector, request->dimensions));
    }
    return PS_THEN(err, ps_buf_append_str(out, PS_STR("]")));
}

static const struct ps_sim_dialect embed = {.vectors = put_embeddings};

/* From 0 to 1: how near two texts are. */
static double score_of(const struct ps_sim_request *request, size_t a, size_t b)
{
    double sum = 0;
    for (size_t i = 0; i < request->dimensions; i++) {
        sum += 1e-14 * request->prompts[a].vector[i] * request->prompts[b].vector[i];
    }
    return 0.5 + sum / 2;
}

struct rank {
    size_t index;
    double score;
};

static int compare_ranks(const void *a, const void *b)
{
    const struct rank *x = a;
    const struct rank *y = b;
    if (x->score != y->score) {
        return x->score > y->score ? -1 : 1;
    }
    return x->index < y->index ? -1 : 1;
}

static int put_rank(struct ps_buf *out, const struct ps_sim_answer *answer, const struct rank *rank,
                    bool first)
{
    bool raw = ps_sim_json_flag(answer->given, "raw_scores", false);
    double score = raw ? log(rank->score / (1 - rank->score + 1e-9)) : rank->score;
    int err =
        ps_buf_printf(out, "%s{\"index\":%zu,\"score\":%.7f", first ? "" : ",", rank->index, score);
    const json_t *text = json_array_get(json_object_get(answer->given, "texts"), rank->index);
    if (ps_sim_json_flag(answer->given, "return_text", false)) {
        err = PS_THEN(err, ps_buf_append_str(out, PS_STR(",\"text\":\"")));
        err = PS_THEN(err, ps_buf_append_json(out, ps_str_from(json_string_value(text))));
        err = PS_THEN(err, ps_buf_append_str(out, PS_STR("\"")));
    }
    return PS_THEN(err, ps_buf_append_str(out, PS_STR("}")));
}

/* The first prompt is the query, the others are the texts. */
static int put_ranks(struct ps_buf *out, const struct ps_sim_answer *answer,
                     const struct ps_sim_tokens *tokens, const struct ps_sim_timing *timing)
{
    (void)tokens;
    (void)timing;
    size_t count = answer->request->count - 1;
    struct rank *ranks = calloc(count, sizeof *ranks);
    if (ranks == NULL) {
        return PS_ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        ranks[i] = (struct rank){i, score_of(answer->request, 0, i + 1)};
    }
    qsort(ranks, count, sizeof *ranks, compare_ranks);
    int err = ps_buf_append_str(out, PS_STR("["));
    for (size_t i = 0; i < count && err == PS_OK; i++) {
        err = put_rank(out, answer, &ranks[i], i == 0);
    }
    free(ranks);
    return PS_THEN(err, ps_buf_append_str(out, PS_STR("]")));
}

static const struct ps_sim_dialect rerank = {.vectors = put_ranks};

/* Two labels for every text; a function of the text. */
static int put_labels(struct ps_buf *out, const struct ps_sim_prompt *prompt)
{
    double yes = (double)(prompt->seed % 10000) / 10000;
    bool first = yes >= 0.5;
    return ps_buf_printf(out,
                         "[{\"score\":%.4f,\"label\":\"%s\"},{\"score\":%.4f,\"label\":\"%s\"}]",
                         first ? yes : 1 - yes, first ? "LABEL_1" : "LABEL_0",
                         first ? 1 - yes : yes, first ? "LABEL_0" : "LABEL_1");
}

static int put_predictions(struct ps_buf *out, const struct ps_sim_answer *answer,
                           const struct ps_sim_tokens *tokens, const struct ps_sim_timing *timing)
{
    (void)tokens;
    (void)timing;
    const struct ps_sim_request *request = answer->request;
    bool many = json_is_array(json_object_get(answer->given, "inputs"));
    int err = many ? ps_buf_append_str(out, PS_STR("[")) : PS_OK;
    for (size_t i = 0; i < request->count && err == PS_OK; i++) {
        err = i == 0 ? PS_OK : ps_buf_append_str(out, PS_STR(","));
        err = PS_THEN(err, put_labels(out, &request->prompts[i]));
    }
    return many ? PS_THEN(err, ps_buf_append_str(out, PS_STR("]"))) : err;
}

static const struct ps_sim_dialect predict = {.vectors = put_predictions};

/* --- routes ----------------------------------------------------------------------------------- */

/* Are there not too many inputs? Otherwise it is refused. */
static bool fits_batch(const struct ps_sim_ask *ask, size_t count)
{
    uint64_t most = ask->desk->opts->max_batch;
    if (most == 0 || count <= most) {
        return true;
    }
    ps_sim_ask_refuse_with(ask, 422, "Validation",
                           "batch size %zu > maximum allowed batch size %" PRIu64, count, most);
    return false;
}

static void start(const struct ps_sim_ask *ask, const struct ps_sim_dialect *dialect, json_t *given,
                  json_t *input)
{
    json_t *plain = json_pack("{s:s,s:o}", "model", ask->desk->opts->models[0], "input", input);
    (void)ps_sim_json_copy(plain, "dimensions", given, "dimensions");
    ps_sim_call_start(ask, PS_SIM_EMBEDDING, dialect, plain, given);
}

/* "inputs": a text, or a list of them. */
static void read_inputs(const struct ps_sim_ask *ask, const struct ps_sim_dialect *dialect)
{
    json_t *given = ps_sim_ask_object(ask, false);
    if (given == NULL) {
        return;
    }
    json_t *inputs = json_object_get(given, "inputs");
    bool many = json_is_array(inputs);
    if (!json_is_string(inputs) && (!many || json_array_size(inputs) == 0)) {
        ps_sim_ask_refuse_with(ask, 422, "Empty", "inputs must be a text or a list of texts");
    } else if (fits_batch(ask, many ? json_array_size(inputs) : 1)) {
        start(ask, dialect, given, json_incref(inputs));
    }
    json_decref(given);
}

static void answer_embed(const struct ps_sim_ask *ask)
{
    read_inputs(ask, &embed);
}

static void answer_predict(const struct ps_sim_ask *ask)
{
    read_inputs(ask, &predict);
}

static bool is_texts(const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!json_is_string(json_array_get(list, i))) {
            return false;
        }
    }
    return json_array_size(list) > 0;
}

static void answer_rerank(const struct ps_sim_ask *ask)
{
    json_t *given = ps_sim_ask_object(ask, false);
    if (given == NULL) {
        return;
    }
    json_t *texts = json_object_get(given, "texts");
    if (!json_is_string(json_object_get(given, "query")) || !is_texts(texts)) {
        ps_sim_ask_refuse_with(ask, 422, "Empty", "query must be a text and texts a list of texts");
    } else if (fits_batch(ask, json_array_size(texts))) {
        json_t *input = json_pack("[O]", json_object_get(given, "query"));
        if (json_array_extend(input, texts) != 0) {
            json_decref(input);
            input = NULL;
        }
        start(ask, &rerank, given, input);
    }
    json_decref(given);
}

static void answer_openai(const struct ps_sim_ask *ask)
{
    json_t *given = ps_sim_ask_object(ask, false);
    if (given == NULL) {
        return;
    }
    const json_t *input = json_object_get(given, "input");
    if (fits_batch(ask, json_is_array(input) ? json_array_size(input) : 1)) {
        ps_sim_call_start(ask, PS_SIM_EMBEDDING, &ps_sim_openai, json_incref(given), NULL);
    }
    json_decref(given);
}

static void answer_health(const struct ps_sim_ask *ask)
{
    ps_sim_ask_respond(ask, 200, PS_STR(""), PS_STR(""));
}

static void answer_info(const struct ps_sim_ask *ask)
{
    const struct ps_sim_desk *desk = ask->desk;
    json_int_t len = (json_int_t)ps_sim_engine_max_model_len(desk->engine);
    ps_sim_ask_tree(
        ask, 200,
        json_pack("{s:s,s:n,s:s,s:{s:{s:s}},s:I,s:I,s:I,s:n,s:I,s:b,s:i,s:s}", "model_id",
                  desk->opts->models[0], "model_sha", "model_dtype", "float16", "model_type",
                  "embedding", "pooling", "cls", "max_concurrent_requests",
                  (json_int_t)desk->opts->max_queue, "max_input_length", len, "max_batch_tokens",
                  (json_int_t)desk->opts->max_num_batched_tokens, "max_batch_requests",
                  "max_client_batch_size", (json_int_t)desk->opts->max_batch, "auto_truncate", 0,
                  "tokenization_workers", 1, "version", desk->opts->version));
}

static int write_metrics(struct ps_buf *out, struct ps_sim_desk *desk)
{
    struct ps_sim_page page = {.out = out, .labels = ""};
    const struct ps_sim_stats *stats = ps_sim_engine_stats(desk->engine);
    ps_sim_page_single(&page, "te_queue_size", "gauge", "Requests that wait.",
                       (double)(stats->waiting + stats->delayed));
    ps_sim_page_single(&page, "te_request_count", "counter", "Requests let in.",
                       (double)desk->metrics.requests);
    ps_sim_page_single(&page, "te_request_success", "counter", "Inputs that were answered.",
                       (double)(desk->metrics.stopped + desk->metrics.length));
    ps_sim_page_single(&page, "te_request_failure", "counter", "Requests that were not.",
                       (double)desk->metrics.failed);
    ps_sim_page_histogram(&page, "te_batch_next_size", "Inputs of a batch.", &stats->step_seqs);
    ps_sim_page_histogram(&page, "te_batch_next_tokens", "Tokens of a batch.", &stats->step_tokens);
    ps_sim_page_histogram(&page, "te_request_queue_duration", "Arrival to first step.",
                          &desk->metrics.queue);
    ps_sim_page_histogram(&page, "te_request_duration", "Arrival to answer.",
                          &desk->metrics.end_to_end);
    ps_sim_page_histogram(&page, "te_request_inference_duration", "First step to answer.",
                          &desk->metrics.compute);
    ps_sim_page_own(&page, desk);
    return page.err;
}

/* --- the personality -------------------------------------------------------------------------- */

static int put_refusal(struct ps_buf *out, const struct ps_sim_refusal *refusal)
{
    const char *type = refusal->status == 429  ? "overloaded"
                       : refusal->status < 500 ? "Validation"
                                               : "Backend";
    return ps_sim_json_dump(out,
                            json_pack("{s:s,s:s}", "error", refusal->text, "error_type", type));
}

/* clang-format off */
static const struct ps_sim_default defaults[] = {
    {"weights", "1300MiB"},
    {"activations", "256MiB"},
    {"kv_tokens", "262144"},
    {"kv_bytes_per_token", "0"},
    {"max_model_len", "512"},
    {"max_num_batched_tokens", "16384"},
    {"max_queue", "512"},
    {"max_batch", "32"},
    {"max_body", "2MB"},
    {NULL, NULL},
};

static const struct ps_sim_route routes[] = {
    {PS_H1_METHOD_POST, PS_STR_INIT("/"), answer_embed, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/embed"), answer_embed, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/rerank"), answer_rerank, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/predict"), answer_predict, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/v1/embeddings"), answer_openai, true, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/health"), answer_health, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/ping"), answer_health, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/info"), answer_info, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/metrics"), ps_sim_ask_metrics, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/sim/state"), ps_sim_state_answer, false, NULL},
};
/* clang-format on */

const struct ps_sim_personality ps_sim_tei = {
    .name = "tei",
    .routes = {.rows = routes, .count = PS_ARRAY_LEN(routes)},
    .defaults = defaults,
    .any_model = true,
    .full_status = 429,
    .owner = "tei",
    .refusal = put_refusal,
    .metrics = write_metrics,
};
