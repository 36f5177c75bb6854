/* vllm - the simulated server as vLLM: OpenAI's routes, sleep mode, metrics under vllm: names.
 *
 * As in vLLM 0.9 to 0.14 (vllm/entrypoints): what sleeps refuses inference with 503, sleeping
 * aborts what runs, level 1 keeps the weights in the host's memory and level 2 does not, and the
 * answer to a call is never proof of anything.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "sim/engines.h"
#include "sim/openai.h"
#include "sim/page.h"
#include "sim/state.h"

/* --- identity --------------------------------------------------------------------------------- */

static void answer_health(const struct ps_sim_ask *ask)
{
    ps_sim_ask_json(ask, PS_STR("{\"status\":\"ok\",\"simulated\":true}"));
}

static void answer_version(const struct ps_sim_ask *ask)
{
    ps_sim_ask_tree(
        ask, 200,
        json_pack("{s:s,s:s}", "version", ask->desk->opts->version, "engine", "penstock sim"));
}

/* --- memory ----------------------------------------------------------------------------------- */

struct vllm {
    bool sleeping;
    int level;
};

static bool has_dev_mode(const struct ps_sim_opts *opts)
{
    return opts->dev_mode;
}

static void say_away(const struct ps_sim_desk *desk, size_t slot, struct ps_sim_refusal *refusal)
{
    (void)desk;
    (void)slot;
    *refusal = (struct ps_sim_refusal){.status = 503,
                                       .type = "ServiceUnavailableError",
                                       .text = "The model is sleeping. Wake it up first."};
}

static bool refuse_as_busy(const struct ps_sim_ask *ask)
{
    if (ask->desk->opts->lie != PS_SIM_LIE_BUSY) {
        return false;
    }
    ps_sim_ask_refuse_with(ask, 400, "BadRequestError",
                           "The engine is busy: requests are running or waiting.");
    return true;
}

/* The level of the query, 1 unless it says; 0: it is wrong, and the request is answered. */
static int read_level(const struct ps_sim_ask *ask)
{
    size_t at = 0;
    struct ps_str text;
    uint64_t level = 1;
    if (ps_sim_ask_query(ask, PS_STR("level"), &at, &text) &&
        (ps_str_to_u64(text, &level) != PS_OK || level < 1 || level > 2)) {
        ps_sim_ask_refuse_with(ask, 400, "BadRequestError", "level must be 1 or 2.");
        return 0;
    }
    return (int)level;
}

static void answer_sleep(const struct ps_sim_ask *ask)
{
    struct ps_sim_desk *desk = ask->desk;
    struct vllm *own = desk->own;
    int level = read_level(ask);
    if (level == 0 || refuse_as_busy(ask)) {
        return;
    }
    if (!desk->opts->sleep_mode) {
        /* the allocator has no pools that it could unmap: nothing happens, and it is called a
         * success */
        ps_sim_ask_respond(ask, 200, PS_STR(""), PS_STR(""));
        return;
    }
    size_t at = 0;
    struct ps_str mode = PS_STR("abort");
    (void)ps_sim_ask_query(ask, PS_STR("mode"), &at, &mode);
    if (ps_str_eq(mode, PS_STR("abort"))) {
        ps_sim_desk_abort(desk);
    } else if (ps_sim_engine_load(desk->engine) > 0) {
        ps_sim_ask_refuse_with(ask, 400, "BadRequestError",
                               "Requests are running; mode=abort would end them.");
        return;
    }
    own->sleeping = true;
    own->level = level;
    ps_sim_desk_release(desk, 0, PS_SIM_WEIGHTS | PS_SIM_KV_CACHE);
    ps_sim_ask_respond(ask, 200, PS_STR(""), PS_STR(""));
}

/* The parts that the tags of the query name, all without tags; 0: one is unknown, and the request
 * is answered. */
static unsigned read_tags(const struct ps_sim_ask *ask)
{
    unsigned parts = 0;
    size_t at = 0;
    struct ps_str tag;
    while (ps_sim_ask_query(ask, PS_STR("tags"), &at, &tag)) {
        if (ps_str_eq(tag, PS_STR("weights"))) {
            parts |= PS_SIM_WEIGHTS;
        } else if (ps_str_eq(tag, PS_STR("kv_cache"))) {
            parts |= PS_SIM_KV_CACHE;
        } else {
            ps_sim_ask_refuse_with(ask, 400, "BadRequestError", "Unknown tag %.*s.",
                                   (int)(tag.len < 50 ? tag.len : 50), tag.ptr);
            return 0;
        }
    }
    return parts == 0 ? PS_SIM_ALL_PARTS : parts;
}

static void answer_wake_up(const struct ps_sim_ask *ask)
{
    struct ps_sim_desk *desk = ask->desk;
    struct vllm *own = desk->own;
    unsigned parts = read_tags(ask);
    if (parts == 0) {
        return;
    }
    if (own->sleeping) {
        enum ps_sim_source from = own->level == 1 ? PS_SIM_FROM_HOST : PS_SIM_FROM_DISK;
        ps_time now = ps_sim_desk_now(desk);
        if (ps_sim_memory_restore(&desk->memory, 0, parts, from, now) != PS_OK) {
            ps_sim_ask_refuse_with(ask, 500, "InternalServerError",
                                   "CUDA out of memory (simulated) while waking up.");
            return;
        }
        own->sleeping = !ps_sim_memory_holds(&desk->memory, 0, PS_SIM_ALL_PARTS);
    }
    ps_sim_ask_respond(ask, 200, PS_STR(""), PS_STR(""));
}

static void answer_is_sleeping(const struct ps_sim_ask *ask)
{
    const struct vllm *own = ask->desk->own;
    ps_sim_ask_tree(ask, 200, json_pack("{s:b}", "is_sleeping", (int)own->sleeping));
}

static void answer_reset_prefix(const struct ps_sim_ask *ask)
{
    bool busy = ask->desk->opts->lie == PS_SIM_LIE_BUSY;
    bool done = !busy && ps_sim_engine_reset_prefix_cache(ask->desk->engine);
    ps_sim_ask_tree(ask, 200, json_pack("{s:b}", "success", (int)done));
}

/* The caches of pictures and encoders, of which the simulation has none. */
static void answer_reset_other(const struct ps_sim_ask *ask)
{
    ps_sim_ask_respond(ask, 200, PS_STR(""), PS_STR(""));
}

/* --- metrics ---------------------------------------------------------------------------------- */

static void write_gauges(struct ps_sim_page *page, const struct ps_sim_desk *desk)
{
    const struct ps_sim_stats *stats = ps_sim_engine_stats(desk->engine);
    ps_sim_page_single(page, "vllm:num_requests_running", "gauge", "Sequences in the batch.",
                       (double)stats->running);
    ps_sim_page_single(page, "vllm:num_requests_waiting", "gauge", "Sequences that wait.",
                       (double)(stats->waiting + stats->delayed));
    ps_sim_page_head(page, "vllm:num_requests_waiting_by_reason", "gauge",
                     "Sequences that wait, by reason.");
    ps_sim_page_value(page, "vllm:num_requests_waiting_by_reason", "reason=\"capacity\",",
                      (double)stats->waiting);
    ps_sim_page_value(page, "vllm:num_requests_waiting_by_reason", "reason=\"deferred\",",
                      (double)stats->delayed);
    ps_sim_page_single(page, "vllm:kv_cache_usage_perc", "gauge",
                       "Share of the cache blocks in use, 0 to 1.", ps_sim_page_cache_usage(desk));
    ps_sim_page_single(page, "vllm:gpu_cache_usage_perc", "gauge",
                       "Old name of vllm:kv_cache_usage_perc.", ps_sim_page_cache_usage(desk));
}

static void write_counters(struct ps_sim_page *page, const struct ps_sim_engine *engine)
{
    const struct ps_sim_stats *stats = ps_sim_engine_stats(engine);
    ps_sim_page_single(page, "vllm:prompt_tokens_total", "counter", "Prompt tokens.",
                       (double)stats->prompt_tokens);
    ps_sim_page_single(page, "vllm:generation_tokens_total", "counter", "Generated tokens.",
                       (double)stats->generated_tokens);
    ps_sim_page_single(page, "vllm:prefix_cache_queries_total", "counter",
                       "Prompt tokens looked up in the cache.", (double)stats->prefix_queries);
    ps_sim_page_single(page, "vllm:prefix_cache_hits_total", "counter",
                       "Prompt tokens found in the cache.", (double)stats->prefix_hits);
    ps_sim_page_single(page, "vllm:num_preemptions_total", "counter",
                       "Sequences that lost their cache blocks.", (double)stats->preemptions);
}

static void write_requests(struct ps_sim_page *page, const struct ps_sim_metrics *metrics)
{
    const char *name = "vllm:request_success_total";
    ps_sim_page_head(page, name, "counter", "Finished sequences.");
    ps_sim_page_value(page, name, "finished_reason=\"stop\",", (double)metrics->stopped);
    ps_sim_page_value(page, name, "finished_reason=\"length\",", (double)metrics->length);
    ps_sim_page_value(page, name, "finished_reason=\"abort\",", (double)metrics->aborted);
    ps_sim_page_histogram(page, "vllm:time_to_first_token_seconds", "Arrival to first token.",
                          &metrics->first_token);
    ps_sim_page_histogram(page, "vllm:inter_token_latency_seconds", "Token to token.",
                          &metrics->inter_token);
    ps_sim_page_histogram(page, "vllm:time_per_output_token_seconds", "Old name of the above.",
                          &metrics->inter_token);
    ps_sim_page_histogram(page, "vllm:e2e_request_latency_seconds", "Arrival to last token.",
                          &metrics->end_to_end);
    ps_sim_page_histogram(page, "vllm:request_queue_time_seconds", "Arrival to first step.",
                          &metrics->queue);
    ps_sim_page_histogram(page, "vllm:request_prompt_tokens", "Prompt tokens of a request.",
                          &metrics->prompt_tokens);
    ps_sim_page_histogram(page, "vllm:request_generation_tokens", "Generated tokens of a request.",
                          &metrics->generation_tokens);
}

static void write_config(struct ps_sim_page *page, const struct ps_sim_engine *engine,
                         const struct ps_sim_opts *opts)
{
    char labels[200];
    (void)snprintf(labels, sizeof labels,
                   "block_size=\"%u\",num_gpu_blocks=\"%" PRIu32 "\",gpu_memory_utilization=\"%g\","
                   "enable_prefix_caching=\"%s\",",
                   PS_SIM_BLOCK_TOKENS, ps_sim_blocks_count(ps_sim_engine_blocks(engine)),
                   opts->gpu_memory_utilization, opts->prefix_caching ? "True" : "False");
    ps_sim_page_head(page, "vllm:cache_config_info", "gauge", "How the cache is laid out.");
    ps_sim_page_value(page, "vllm:cache_config_info", labels, 1);
}

static void write_sleep(struct ps_sim_page *page, const struct ps_sim_desk *desk)
{
    const struct vllm *own = desk->own;
    const char *name = "vllm:engine_sleep_state";
    ps_sim_page_head(page, name, "gauge", "1 for the state that the engine says it is in.");
    ps_sim_page_value(page, name, "sleep_state=\"awake\",", !own->sleeping);
    ps_sim_page_value(page, name, "sleep_state=\"weights_offloaded\",",
                      own->sleeping && own->level == 1);
    ps_sim_page_value(page, name, "sleep_state=\"discard_all\",", own->sleeping && own->level == 2);
}

static int write_metrics(struct ps_buf *out, struct ps_sim_desk *desk)
{
    char labels[300];
    struct ps_sim_page page = {.out = out, .labels = labels};
    (void)snprintf(labels, sizeof labels, "engine=\"0\",model_name=\"%s\",", desk->opts->models[0]);
    write_gauges(&page, desk);
    write_counters(&page, desk->engine);
    write_requests(&page, &desk->metrics);
    ps_sim_page_histogram(&page, "vllm:iteration_tokens_total", "Tokens in a step.",
                          &ps_sim_engine_stats(desk->engine)->step_tokens);
    write_config(&page, desk->engine, desk->opts);
    write_sleep(&page, desk);
    ps_sim_page_own(&page, desk);
    return page.err;
}

/* --- the personality -------------------------------------------------------------------------- */

static int start(struct ps_sim_desk *desk)
{
    desk->own = calloc(1, sizeof(struct vllm));
    return desk->own == NULL ? PS_ENOMEM : PS_OK;
}

static void stop(struct ps_sim_desk *desk)
{
    free(desk->own);
}

/* clang-format off */
static const struct ps_sim_route routes[] = {
    {PS_H1_METHOD_POST, PS_STR_INIT("/v1/chat/completions"), ps_sim_openai_chat, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/v1/completions"), ps_sim_openai_completion, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/v1/embeddings"), ps_sim_openai_embedding, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/v1/images/generations"), ps_sim_openai_image, true, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/v1/models"), ps_sim_openai_models, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/health"), answer_health, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/ping"), answer_health, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/version"), answer_version, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/metrics"), ps_sim_ask_metrics, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/sleep"), answer_sleep, false, has_dev_mode},
    {PS_H1_METHOD_POST, PS_STR_INIT("/wake_up"), answer_wake_up, false, has_dev_mode},
    {PS_H1_METHOD_GET, PS_STR_INIT("/is_sleeping"), answer_is_sleeping, false, has_dev_mode},
    {PS_H1_METHOD_POST, PS_STR_INIT("/reset_prefix_cache"), answer_reset_prefix, false, has_dev_mode},
    {PS_H1_METHOD_POST, PS_STR_INIT("/reset_mm_cache"), answer_reset_other, false, has_dev_mode},
    {PS_H1_METHOD_POST, PS_STR_INIT("/reset_encoder_cache"), answer_reset_other, false, has_dev_mode},
    {PS_H1_METHOD_GET, PS_STR_INIT("/sim/state"), ps_sim_state_answer, false, NULL},
};
/* clang-format on */

const struct ps_sim_personality ps_sim_vllm = {
    .name = "vllm",
    .routes = {.rows = routes, .count = PS_ARRAY_LEN(routes)},
    .absent = PS_SIM_ABSENT_FAILS,
    .owner = "vllm",
    .refusal = ps_sim_openai_refusal,
    .away = say_away,
    .metrics = write_metrics,
    .start = start,
    .stop = stop,
};
