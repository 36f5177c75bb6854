/* trtllm - the simulated server as trtllm-serve of TensorRT-LLM: memory by tags, behind a
 * signature.
 *
 * The control calls exist with --enable-sleep-mode and TRTLLM_RUNTIME_CONTROL_API_KEY in the
 * environment; each is signed by the HMAC-SHA256 of its exact body (nothing, for a GET) in the
 * header x-trtllm-runtime-control-auth. States: running, parking, parked, waking, failed. Parking
 * lasts as long as the memory takes to leave, waking as long as the model takes to load.
 *
 * Formats: TensorRT-LLM's document "Runtime Memory Checkpointing".
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "http/server.h"
#include "sim/engines.h"
#include "sim/json.h"
#include "sim/openai.h"
#include "sim/page.h"
#include "sim/state.h"

#define AUTH_PREFIX "sha256="

/* --- signatures ------------------------------------------------------------------------------- */

static void write_hex(const unsigned char *bytes, size_t len, char *text)
{
    for (size_t i = 0; i < len; i++) {
        (void)snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    }
}

static bool is_signed(const struct ps_sim_ask *ask)
{
    const char *key = ask->desk->opts->control_key;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    char want[sizeof AUTH_PREFIX + 2 * EVP_MAX_MD_SIZE] = AUTH_PREFIX;
    const char *body = ask->body.len == 0 ? "" : ask->body.ptr;
    if (HMAC(EVP_sha256(), key, (int)strlen(key), (const unsigned char *)body, ask->body.len,
             digest, &size) == NULL) {
        return false;
    }
    write_hex(digest, size, want + sizeof AUTH_PREFIX - 1);
    struct ps_str given =
        ps_exchange_header(ask->exchange, PS_STR("x-trtllm-runtime-control-auth"));
    return ps_str_eq_constant_time(given, ps_str_from(want));
}

/* Is this control call allowed? Otherwise it is answered. */
static bool may_control(const struct ps_sim_ask *ask)
{
    if (!is_signed(ask)) {
        ps_sim_ask_refuse_with(ask, 401, "Unauthorized",
                               "The signature is missing or does not fit the body.");
        return false;
    }
    return true;
}

static bool has_control(const struct ps_sim_opts *opts)
{
    return opts->sleep_mode && opts->control_key != NULL && opts->control_key[0] != '\0';
}

/* --- memory ----------------------------------------------------------------------------------- */

static const struct tag {
    const char *name;
    unsigned parts;
} tags[] = {
    {"model", PS_SIM_WEIGHTS | PS_SIM_ACTIVATIONS},
    {"model_weights", PS_SIM_WEIGHTS},
    {"kv_cache", PS_SIM_KV_CACHE},
    {"activations", PS_SIM_ACTIVATIONS},
};

static const char *state_of(const struct ps_sim_desk *desk)
{
    const struct ps_sim_slot *slot = &desk->memory.slots[0];
    bool leaving = false;
    for (size_t i = 0; i < PS_SIM_PARTS; i++) {
        /* under a lie the server believes that all is gone */
        leaving = leaving || (slot->due[i] != PS_NEVER && desk->opts->lie == PS_SIM_LIE_NONE);
    }
    if (slot->held != PS_SIM_ALL_PARTS) {
        return leaving ? "parking" : "parked";
    }
    return slot->ready > ps_sim_desk_now(desk) ? "waking" : "running";
}

static unsigned parts_of(const char *name)
{
    for (size_t i = 0; name != NULL && i < PS_ARRAY_LEN(tags); i++) {
        if (strcmp(name, tags[i].name) == 0) {
            return tags[i].parts;
        }
    }
    return 0;
}

/* The parts that the body's tags name, all without tags; 0: refused. */
static unsigned read_tags(const struct ps_sim_ask *ask)
{
    json_t *given = ps_sim_ask_object(ask, true);
    if (given == NULL) {
        return 0;
    }
    const json_t *list = json_object_get(given, "tags");
    unsigned parts = 0;
    bool known = true;
    for (size_t i = 0; i < json_array_size(list) && known; i++) {
        unsigned part = parts_of(json_string_value(json_array_get(list, i)));
        parts |= part;
        known = part != 0;
    }
    bool all = json_array_size(list) == 0;
    json_decref(given);
    if (!known) {
        ps_sim_ask_refuse_with(ask, 400, "BadRequest", "Unknown tag.");
        return 0;
    }
    return all ? PS_SIM_ALL_PARTS : parts;
}

static bool is_in_transition(const struct ps_sim_ask *ask)
{
    const char *state = state_of(ask->desk);
    bool busy = ask->desk->opts->lie == PS_SIM_LIE_BUSY;
    if (busy || strcmp(state, "parking") == 0 || strcmp(state, "waking") == 0) {
        ps_sim_ask_refuse_with(ask, 409, "Conflict", "The engine is in transition (%s).",
                               busy ? "busy" : state);
        return true;
    }
    return false;
}

static void answer_success(const struct ps_sim_ask *ask)
{
    ps_sim_ask_tree(ask, 200, json_pack("{s:s}", "status", "success"));
}

/* It drains itself: what runs is ended. */
static void answer_release(const struct ps_sim_ask *ask)
{
    unsigned parts = may_control(ask) ? read_tags(ask) : 0;
    if (parts == 0 || is_in_transition(ask)) {
        return;
    }
    ps_sim_desk_abort(ask->desk);
    ps_sim_desk_release(ask->desk, 0, parts);
    answer_success(ask);
}

static void answer_resume(const struct ps_sim_ask *ask)
{
    struct ps_sim_desk *desk = ask->desk;
    unsigned parts = may_control(ask) ? read_tags(ask) : 0;
    if (parts == 0 || is_in_transition(ask)) {
        return;
    }
    if (ps_sim_memory_restore(&desk->memory, 0, parts, PS_SIM_FROM_HOST, ps_sim_desk_now(desk)) !=
        PS_OK) {
        ps_sim_ask_refuse_with(ask, 500, "InternalServerError",
                               "A worker is out of memory (simulated).");
        return;
    }
    answer_success(ask);
}

static void answer_status(const struct ps_sim_ask *ask)
{
    if (!may_control(ask)) {
        return;
    }
    const struct ps_sim_slot *slot = &ask->desk->memory.slots[0];
    json_t *parked = json_array();
    for (size_t i = 1; i < PS_ARRAY_LEN(tags); i++) {
        if ((slot->held & tags[i].parts) == 0) {
            (void)json_array_append_new(parked, json_string(tags[i].name));
        }
    }
    ps_sim_ask_tree(ask, 200,
                    json_pack("{s:s,s:o}", "state", state_of(ask->desk), "parked_tags", parked));
}

static void say_away(const struct ps_sim_desk *desk, size_t slot, struct ps_sim_refusal *refusal)
{
    (void)slot;
    *refusal = (struct ps_sim_refusal){.status = 503, .type = "ServiceUnavailable"};
    (void)snprintf(refusal->text, sizeof refusal->text, "The engine is not running: it is %s.",
                   state_of(desk));
}

/* --- identity and metrics --------------------------------------------------------------------- */

static void answer_health(const struct ps_sim_ask *ask)
{
    ps_sim_ask_respond(ask, 200, PS_STR(""), PS_STR(""));
}

static void answer_version(const struct ps_sim_ask *ask)
{
    ps_sim_ask_tree(ask, 200, json_pack("{s:s}", "version", ask->desk->opts->version));
}

/* GET /metrics of trtllm-serve: statistics of iterations as a list of objects, here of the last. */
static void answer_iterations(const struct ps_sim_ask *ask)
{
    const struct ps_sim_desk *desk = ask->desk;
    const struct ps_sim_stats *stats = ps_sim_engine_stats(desk->engine);
    const struct ps_sim_blocks *blocks = ps_sim_engine_blocks(desk->engine);
    json_int_t count = ps_sim_blocks_count(blocks);
    json_int_t idle = ps_sim_blocks_idle(blocks);
    struct ps_sim_usage usage = ps_sim_device_usage(ps_sim_engine_device(desk->engine));
    ps_sim_ask_tree(
        ask, 200,
        json_pack("[{s:I,s:I,s:I,s:I,s:{s:I,s:I,s:I},s:b}]", "iter", (json_int_t)stats->steps,
                  "numActiveRequests", (json_int_t)stats->running, "numQueuedRequests",
                  (json_int_t)(stats->waiting + stats->delayed), "gpuMemUsage",
                  (json_int_t)usage.used, "kvCacheStats", "maxNumBlocks", count, "freeNumBlocks",
                  idle, "usedNumBlocks", count - idle, "simulated", 1));
}

static int write_metrics(struct ps_buf *out, struct ps_sim_desk *desk)
{
    char labels[300];
    struct ps_sim_page page = {.out = out, .labels = labels};
    const struct ps_sim_stats *stats = ps_sim_engine_stats(desk->engine);
    const struct ps_sim_blocks *blocks = ps_sim_engine_blocks(desk->engine);
    struct ps_sim_usage usage = ps_sim_device_usage(ps_sim_engine_device(desk->engine));
    double idle = ps_sim_blocks_idle(blocks);
    (void)snprintf(labels, sizeof labels, "engine_type=\"pytorch\",model_name=\"%s\",",
                   desk->opts->models[0]);
    ps_sim_page_single(&page, "trtllm_kv_cache_utilization", "gauge",
                       "Share of the cache blocks in use.", ps_sim_page_cache_usage(desk));
    ps_sim_page_single(&page, "trtllm_kv_cache_free_blocks", "gauge", "Cache blocks to be had.",
                       idle);
    ps_sim_page_single(&page, "trtllm_kv_cache_used_blocks", "gauge", "Cache blocks in use.",
                       ps_sim_blocks_count(blocks) - idle);
    ps_sim_page_single(&page, "trtllm_num_requests_running", "gauge", "Requests that run.",
                       (double)stats->running);
    ps_sim_page_single(&page, "trtllm_num_requests_waiting", "gauge", "Requests that wait.",
                       (double)(stats->waiting + stats->delayed));
    ps_sim_page_single(&page, "trtllm_gpu_memory_usage_bytes", "gauge", "Device memory in use.",
                       (double)usage.used);
    ps_sim_page_single(&page, "trtllm_max_batch_size_runtime", "gauge", "Requests that fit a step.",
                       (double)desk->opts->max_num_seqs);
    ps_sim_page_single(&page, "trtllm_request_success_total", "counter", "Finished requests.",
                       (double)(desk->metrics.stopped + desk->metrics.length));
    ps_sim_page_histogram(&page, "trtllm_time_to_first_token_seconds", "Arrival to first token.",
                          &desk->metrics.first_token);
    ps_sim_page_histogram(&page, "trtllm_e2e_request_latency_seconds", "Arrival to last token.",
                          &desk->metrics.end_to_end);
    ps_sim_page_own(&page, desk);
    return page.err;
}

/* --- the personality -------------------------------------------------------------------------- */

/* clang-format off */
static const struct ps_sim_route routes[] = {
    {PS_H1_METHOD_POST, PS_STR_INIT("/v1/chat/completions"), ps_sim_openai_chat, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/v1/completions"), ps_sim_openai_completion, true, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/v1/models"), ps_sim_openai_models, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/health"), answer_health, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/version"), answer_version, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/metrics"), answer_iterations, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/prometheus/metrics"), ps_sim_ask_metrics, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/release_memory"), answer_release, false, has_control},
    {PS_H1_METHOD_POST, PS_STR_INIT("/resume_memory"), answer_resume, false, has_control},
    {PS_H1_METHOD_GET, PS_STR_INIT("/memory_status"), answer_status, false, has_control},
    {PS_H1_METHOD_GET, PS_STR_INIT("/sim/state"), ps_sim_state_answer, false, NULL},
};
/* clang-format on */

const struct ps_sim_personality ps_sim_trtllm = {
    .name = "trtllm",
    .routes = {.rows = routes, .count = PS_ARRAY_LEN(routes)},
    .any_model = true,
    .absent = PS_SIM_ABSENT_FAILS,
    .owner = "tensorrt_llm",
    .refusal = ps_sim_openai_flat_refusal,
    .away = say_away,
    .metrics = write_metrics,
};
