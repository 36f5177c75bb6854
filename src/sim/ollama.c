/* ollama - the simulated server as Ollama: models come when they are asked for and go when nobody
 * wants them.
 *
 * Streams are lines of JSON and are the default; the last line has done: true and the durations. A
 * model that is unloaded leaves the device half a second to one and a half later (unload_delay), as
 * Ollama's own scheduler expects of the driver (server/sched.go). keep_alive is in real seconds,
 * whatever --speed is. There is no /metrics.
 *
 * Formats: Ollama's docs/api.md and server/routes.go.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/option.h"
#include "base/writer.h"
#include "sim/call.h"
#include "sim/embed.h"
#include "sim/engines.h"
#include "sim/json.h"
#include "sim/openai.h"
#include "sim/stamp.h"
#include "sim/state.h"

#define FOR_EVER PS_NEVER

struct ollama {
    ps_span keep[PS_SIM_MOST_SLOTS]; /* how long each model stays when it is idle */
};

/* --- names ------------------------------------------------------------------------------------ */

/* "llama" means "llama:latest". */
static bool is_same_model(const char *a, const char *b)
{
    static const char latest[] = ":latest";
    size_t len = strlen(a) < strlen(b) ? strlen(a) : strlen(b);
    if (strncmp(a, b, len) != 0) {
        return false;
    }
    const char *more = a[len] != '\0' ? a + len : b + len;
    return *more == '\0' || (strcmp(more, latest) == 0 && memchr(a, ':', len) == NULL);
}

/* The model's place, or model_count. */
static size_t find_model(const struct ps_sim_desk *desk, const char *name)
{
    size_t i = 0;
    while (i < desk->opts->model_count && !is_same_model(desk->opts->models[i], name)) {
        i++;
    }
    return i;
}

static void rename_model(const struct ps_sim_desk *desk, json_t *request)
{
    size_t model = find_model(desk, ps_sim_json_text(request, "model", ""));
    if (model < desk->opts->model_count) {
        /* a request that keeps the short name is refused as unknown: no harm */
        (void)json_object_set_new(request, "model", json_string(desk->opts->models[model]));
    }
}

/* The model that a request names; model_count when the request was refused. */
static size_t read_model(const struct ps_sim_ask *ask, const json_t *given)
{
    const char *name = ps_sim_json_text(given, "model", ps_sim_json_text(given, "name", ""));
    size_t model = find_model(ask->desk, name);
    if (name[0] == '\0') {
        ps_sim_ask_refuse_with(ask, 400, "", "model is required");
        return ask->desk->opts->model_count;
    }
    if (model == ask->desk->opts->model_count) {
        ps_sim_ask_refuse_with(ask, 404, "", "model '%.200s' not found", name);
    }
    return model;
}

static json_t *full_name(const char *name)
{
    return ps_sim_json_format("%s%s", name, strchr(name, ':') == NULL ? ":latest" : "");
}

static json_t *digest_of(const char *name)
{
    struct ps_str text = ps_str_from(name);
    return ps_sim_json_format("%016" PRIx64 "%016" PRIx64 "%016" PRIx64 "%016" PRIx64,
                              ps_str_hash(text, 1), ps_str_hash(text, 2), ps_str_hash(text, 3),
                              ps_str_hash(text, 4));
}

/* Four and a half bits for each of so many parameters. */
static json_t *details_of(const struct ps_sim_desk *desk)
{
    double billions = (double)desk->opts->weights * 8 / 4.5 / 1e9;
    return json_pack("{s:s,s:s,s:s,s:[s],s:o,s:s}", "parent_model", "", "format", "gguf", "family",
                     "sim", "families", "sim", "parameter_size",
                     ps_sim_json_format("%.1fB", billions), "quantization_level", "Q4_K_M");
}

/* --- how long a model stays ------------------------------------------------------------------- */

/* "5m", 300, 0, -1; false: it is none of these. */
static bool read_keep_alive(const json_t *value, ps_span *keep)
{
    if (json_is_number(value)) {
        double seconds = json_number_value(value);
        *keep = seconds < 0 || seconds > 1e8 ? FOR_EVER : (ps_span)(seconds * 1e9);
        return true;
    }
    const char *text = json_string_value(value);
    if (text != NULL && text[0] == '-') {
        *keep = FOR_EVER;
        return true;
    }
    return text != NULL && ps_option_parse_span(ps_str_from(text), keep) == PS_OK;
}

/* Remembers the request's wish, or the server's habit; false: it was refused. */
static bool keep_as_asked(const struct ps_sim_ask *ask, size_t model, const json_t *given)
{
    struct ollama *own = ask->desk->own;
    const json_t *value = json_object_get(given, "keep_alive");
    ps_span keep = ask->desk->opts->keep_alive;
    if (value != NULL && !json_is_null(value) && !read_keep_alive(value, &keep)) {
        ps_sim_ask_refuse_with(ask, 400, "",
                               "keep_alive must be a number of seconds or a duration");
        return false;
    }
    own->keep[model] = keep;
    return true;
}

static void on_idle(struct ps_sim_desk *desk, size_t slot, ps_time now)
{
    const struct ollama *own = desk->own;
    if (own->keep[slot] == 0) {
        ps_sim_desk_release(desk, slot, PS_SIM_ALL_PARTS);
        return;
    }
    desk->memory.slots[slot].expires =
        own->keep[slot] == FOR_EVER ? PS_NEVER : now + own->keep[slot];
}

/* --- writing ---------------------------------------------------------------------------------- */

static int put_head(struct ps_buf *out, const struct ps_sim_answer *answer)
{
    char stamp[PS_SIM_STAMP_TEXT];
    return ps_buf_printf(out, "{\"model\":\"%s\",\"created_at\":\"%s\",\"simulated\":true,",
                         answer->model, ps_sim_stamp(answer->wall, stamp));
}

static int put_text(struct ps_buf *out, const struct ps_sim_answer *answer, struct ps_str text)
{
    bool chat = answer->kind == PS_SIM_CHAT;
    int err =
        ps_buf_append_str(out, chat ? PS_STR("\"message\":{\"role\":\"assistant\",\"content\":\"")
                                    : PS_STR("\"response\":\""));
    err = PS_THEN(err, ps_buf_append_str(out, text));
    return PS_THEN(err, ps_buf_append_str(out, chat ? PS_STR("\"}") : PS_STR("\"")));
}

/* What the last line says. A context of token numbers is not kept: clients of it are few. */
static int put_done(struct ps_buf *out, const struct ps_sim_piece *piece)
{
    const struct ps_sim_timing *timing = &piece->timing;
    return ps_buf_printf(out,
                         ",\"done\":true,\"done_reason\":\"%s\",\"total_duration\":%" PRId64
                         ",\"load_duration\":%" PRId64 ",\"prompt_eval_count\":%" PRIu64
                         ",\"prompt_eval_duration\":%" PRId64 ",\"eval_count\":%" PRIu64
                         ",\"eval_duration\":%" PRId64 "}",
                         piece->finish, timing->total, timing->load, piece->tokens.prompt,
                         timing->prompt, piece->tokens.completion, timing->decode);
}

static int put_lines(struct ps_buf *out, const struct ps_sim_answer *answer,
                     const struct ps_sim_piece *piece)
{
    int err = PS_OK;
    if (piece->text.len > 0) {
        err = put_head(out, answer);
        err = PS_THEN(err, put_text(out, answer, piece->text));
        err = PS_THEN(err, ps_buf_append_str(out, PS_STR(",\"done\":false}\n")));
    }
    if (piece->finish != NULL) {
        err = PS_THEN(err, put_head(out, answer));
        err = PS_THEN(err, put_text(out, answer, PS_STR("")));
        err = PS_THEN(err, put_done(out, piece));
        err = PS_THEN(err, ps_buf_append_str(out, PS_STR("\n")));
    }
    return err;
}

static int put_whole(struct ps_buf *out, const struct ps_sim_answer *answer,
                     const struct ps_sim_piece *piece)
{
    int err = put_head(out, answer);
    err = PS_THEN(err, put_text(out, answer, piece->text));
    return PS_THEN(err, put_done(out, piece));
}

static const struct ps_sim_dialect native = {
    .stream_type = "application/x-ndjson",
    .chunk = put_lines,
    .choice = put_whole,
};

static int put_embeddings(struct ps_buf *out, const struct ps_sim_answer *answer,
                          const struct ps_sim_tokens *tokens, const struct ps_sim_timing *timing)
{
    const struct ps_sim_request *request = answer->request;
    int err =
        ps_buf_printf(out, "{\"model\":\"%s\",\"simulated\":true,\"embeddings\":[", answer->model);
    for (size_t i = 0; i < request->count && err == PS_OK; i++) {
        err = i == 0 ? PS_OK : ps_buf_append_str(out, PS_STR(","));
        err = PS_THEN(err, ps_sim_embed_json(out, request->prompts[i].vector, request->dimensions));
    }
    return PS_THEN(err, ps_buf_printf(out,
                                      "],\"total_duration\":%" PRId64 ",\"load_duration\":%" PRId64
                                      ",\"prompt_eval_count\":%" PRIu64 "}",
                                      timing->total, timing->load, tokens->prompt));
}

static const struct ps_sim_dialect embeddings = {.vectors = put_embeddings};

static int put_one_embedding(struct ps_buf *out, const struct ps_sim_answer *answer,
                             const struct ps_sim_tokens *tokens, const struct ps_sim_timing *timing)
{
    (void)tokens;
    (void)timing;
    int err = ps_buf_append_str(out, PS_STR("{\"embedding\":"));
    err = PS_THEN(err, ps_sim_embed_json(out, answer->request->prompts[0].vector,
                                         answer->request->dimensions));
    return PS_THEN(err, ps_buf_append_str(out, PS_STR(",\"simulated\":true}")));
}

static const struct ps_sim_dialect one_embedding = {.vectors = put_one_embedding};

/* A request without a prompt only loads the model; it has gone through the engine as a short text
 * that was read. */
static int put_loaded(struct ps_buf *out, const struct ps_sim_answer *answer,
                      const struct ps_sim_tokens *tokens, const struct ps_sim_timing *timing)
{
    (void)tokens;
    (void)timing;
    struct ps_sim_answer as = *answer;
    as.kind = json_object_get(answer->given, "messages") != NULL ? PS_SIM_CHAT : PS_SIM_NATIVE;
    int err = put_head(out, &as);
    err = PS_THEN(err, put_text(out, &as, PS_STR("")));
    return PS_THEN(err, ps_buf_append_str(out, PS_STR(",\"done\":true,\"done_reason\":\"load\"}")));
}

static const struct ps_sim_dialect loaded = {.vectors = put_loaded};

/* --- generate and chat ------------------------------------------------------------------------ */

/* num_predict is a number of tokens only when it is above 0: -1 is as many as it likes. */
static int copy_options(json_t *plain, const json_t *given)
{
    const json_t *options = json_object_get(given, "options");
    const json_t *most = json_object_get(options, "num_predict");
    int failed = ps_sim_json_copy(plain, "stop", options, "stop") |
                 ps_sim_json_copy(plain, "seed", options, "seed");
    if (!json_is_integer(most) || json_integer_value(most) > 0) {
        failed |= ps_sim_json_copy(plain, "max_tokens", options, "num_predict");
    }
    if (json_array_size(json_object_get(plain, "stop")) == 0 &&
        json_is_array(json_object_get(plain, "stop"))) {
        (void)json_object_del(plain, "stop");
    }
    return failed;
}

/* The request in the OpenAI form, or NULL: out of memory. */
static json_t *translate(const struct ps_sim_ask *ask, size_t model, const json_t *given,
                         const char *prompt)
{
    json_t *plain = json_pack("{s:s,s:b}", "model", ask->desk->opts->models[model], "stream",
                              (int)ps_sim_json_flag(given, "stream", true));
    if (plain == NULL || ps_sim_json_copy(plain, prompt, given, prompt) != 0 ||
        copy_options(plain, given) != 0) {
        json_decref(plain);
        return NULL;
    }
    return plain;
}

static void answer_unload(const struct ps_sim_ask *ask, size_t model, const json_t *given)
{
    struct ps_sim_desk *desk = ask->desk;
    char stamp[PS_SIM_STAMP_TEXT];
    if (desk->opts->lie == PS_SIM_LIE_BUSY) {
        ps_sim_ask_refuse_with(ask, 400, "", "the model is busy");
        return;
    }
    if (desk->memory.slots[model].users == 0) { /* otherwise it leaves when it is idle */
        ps_sim_desk_release(desk, model, PS_SIM_ALL_PARTS);
    }
    json_t *tree =
        json_pack("{s:s,s:s,s:b,s:s}", "model", desk->opts->models[model], "created_at",
                  ps_sim_stamp(ps_sim_desk_wall(desk), stamp), "done", 1, "done_reason", "unload");
    int failed =
        json_object_get(given, "messages") != NULL
            ? json_object_set_new(tree, "message",
                                  json_pack("{s:s,s:s}", "role", "assistant", "content", ""))
            : json_object_set_new(tree, "response", json_string(""));
    if (failed != 0) {
        json_decref(tree);
        tree = NULL;
    }
    ps_sim_ask_tree(ask, 200, tree);
}

static void load_model(const struct ps_sim_ask *ask, size_t model,
                       const struct ps_sim_dialect *dialect, json_t *given)
{
    json_t *plain = json_pack("{s:s,s:s,s:i}", "model", ask->desk->opts->models[model], "input",
                              "load", "dimensions", 1);
    ps_sim_call_start(ask, PS_SIM_EMBEDDING, dialect, plain, given);
}

static bool is_empty(const json_t *value)
{
    return value == NULL || json_is_null(value) ||
           (json_is_string(value) && json_string_length(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

/* Both routes: the text is in the member `prompt`, and without it the model is loaded or unloaded.
 */
static void generate(const struct ps_sim_ask *ask, enum ps_sim_kind kind, const char *prompt)
{
    json_t *given = ps_sim_ask_object(ask, false);
    if (given == NULL) {
        return;
    }
    size_t model = read_model(ask, given);
    const struct ollama *own = ask->desk->own;
    if (model == ask->desk->opts->model_count || !keep_as_asked(ask, model, given)) {
        json_decref(given);
        return;
    }
    if (!is_empty(json_object_get(given, prompt))) {
        ps_sim_call_start(ask, kind, &native, translate(ask, model, given, prompt), NULL);
    } else if (own->keep[model] == 0) {
        answer_unload(ask, model, given);
    } else {
        load_model(ask, model, &loaded, given);
    }
    json_decref(given);
}

static void answer_generate(const struct ps_sim_ask *ask)
{
    generate(ask, PS_SIM_NATIVE, "prompt");
}

static void answer_chat(const struct ps_sim_ask *ask)
{
    generate(ask, PS_SIM_CHAT, "messages");
}

/* --- embeddings ------------------------------------------------------------------------------- */

static int put_no_embeddings(struct ps_buf *out, const struct ps_sim_answer *answer,
                             const struct ps_sim_tokens *tokens, const struct ps_sim_timing *timing)
{
    (void)tokens;
    (void)timing;
    bool old = json_object_get(answer->given, "input") == NULL;
    return ps_buf_printf(out,
                         old ? "{\"embedding\":[],\"simulated\":true}"
                             : "{\"model\":\"%s\",\"embeddings\":[],\"simulated\":true}",
                         answer->model);
}

static const struct ps_sim_dialect no_embeddings = {.vectors = put_no_embeddings};

static void embed(const struct ps_sim_ask *ask, const struct ps_sim_dialect *dialect,
                  const char *input)
{
    json_t *given = ps_sim_ask_object(ask, false);
    if (given == NULL) {
        return;
    }
    size_t model = read_model(ask, given);
    if (model == ask->desk->opts->model_count || !keep_as_asked(ask, model, given)) {
        json_decref(given);
        return;
    }
    if (is_empty(json_object_get(given, input))) {
        load_model(ask, model, &no_embeddings, given);
        json_decref(given);
        return;
    }
    json_t *plain = json_pack("{s:s}", "model", ask->desk->opts->models[model]);
    if (ps_sim_json_copy(plain, "input", given, input) != 0 ||
        ps_sim_json_copy(plain, "dimensions", given, "dimensions") != 0) {
        json_decref(plain);
        plain = NULL;
    }
    ps_sim_call_start(ask, PS_SIM_EMBEDDING, dialect, plain, NULL);
    json_decref(given);
}

static void answer_embed(const struct ps_sim_ask *ask)
{
    embed(ask, &embeddings, "input");
}

static void answer_embeddings(const struct ps_sim_ask *ask)
{
    embed(ask, &one_embedding, "prompt");
}

/* --- what there is ---------------------------------------------------------------------------- */

static void answer_root(const struct ps_sim_ask *ask)
{
    ps_sim_ask_respond(ask, 200, PS_STR("text/plain; charset=utf-8"),
                       PS_STR("Ollama is running (simulated)"));
}

static void answer_version(const struct ps_sim_ask *ask)
{
    ps_sim_ask_tree(ask, 200, json_pack("{s:s}", "version", ask->desk->opts->version));
}

static json_t *describe(const struct ps_sim_desk *desk, size_t model)
{
    const char *name = desk->opts->models[model];
    return json_pack("{s:o,s:o,s:I,s:o,s:o}", "name", full_name(name), "model", full_name(name),
                     "size", (json_int_t)desk->opts->weights, "digest", digest_of(name), "details",
                     details_of(desk));
}

static void answer_tags(const struct ps_sim_ask *ask)
{
    const struct ps_sim_desk *desk = ask->desk;
    char stamp[PS_SIM_STAMP_TEXT];
    json_t *list = json_array();
    for (size_t i = 0; i < desk->opts->model_count; i++) {
        json_t *model = describe(desk, i);
        (void)json_object_set_new(model, "modified_at", json_string(ps_sim_stamp(0, stamp)));
        (void)json_array_append_new(list, model);
    }
    ps_sim_ask_tree(ask, 200, json_pack("{s:o}", "models", list));
}

static json_t *describe_running(const struct ps_sim_desk *desk, size_t model)
{
    const struct ps_sim_slot *slot = &desk->memory.slots[model];
    char stamp[PS_SIM_STAMP_TEXT];
    ps_time now = ps_sim_desk_now(desk);
    /* The date is set when a request ends and stays while the next one runs. Ollama writes one in
     * the far future for a model that stays. */
    ps_span left = slot->expires != PS_NEVER ? slot->expires - now
                   : slot->users > 0         ? desk->opts->keep_alive
                                             : 100 * 365 * 24 * PS_HOUR;
    uint64_t size = slot->bytes[PS_SIM_POOL];
    for (size_t i = 0; i < PS_SIM_PARTS; i++) {
        size += desk->memory.full[i];
    }
    json_t *tree = describe(desk, model);
    (void)json_object_set_new(tree, "size", json_integer((json_int_t)size));
    (void)json_object_set_new(tree, "size_vram", json_integer((json_int_t)size));
    (void)json_object_set_new(tree, "expires_at",
                              json_string(ps_sim_stamp(ps_sim_desk_wall(desk) + left, stamp)));
    (void)json_object_set_new(tree, "context_length",
                              json_integer((json_int_t)ps_sim_engine_max_model_len(desk->engine)));
    return tree;
}

static int write_ps(struct ps_buf *out, struct ps_sim_desk *desk)
{
    json_t *list = json_array();
    for (size_t i = 0; i < desk->memory.count; i++) {
        if (ps_sim_memory_holds(&desk->memory, i, PS_SIM_ALL_PARTS)) {
            (void)json_array_append_new(list, describe_running(desk, i));
        }
    }
    return ps_sim_json_dump(out, json_pack("{s:o}", "models", list));
}

/* What comes nearest to metrics, so it is what --metrics-lag holds back. */
static void answer_ps(const struct ps_sim_ask *ask)
{
    ps_buf_clear(&ask->desk->scratch);
    int err = ps_sim_desk_metrics(ask->desk, &ask->desk->scratch);
    ps_sim_ask_scratch(ask, err, PS_STR("application/json"));
}

static void answer_show(const struct ps_sim_ask *ask)
{
    json_t *given = ps_sim_ask_object(ask, false);
    if (given == NULL) {
        return;
    }
    size_t model = read_model(ask, given);
    json_decref(given);
    if (model == ask->desk->opts->model_count) {
        return;
    }
    json_int_t len = (json_int_t)ps_sim_engine_max_model_len(ask->desk->engine);
    ps_sim_ask_tree(
        ask, 200,
        json_pack("{s:s,s:s,s:s,s:o,s:{s:s,s:I,s:I},s:[s,s]}", "modelfile", "# a simulated model",
                  "parameters", "", "template", "{{ .Prompt }}", "details", details_of(ask->desk),
                  "model_info", "general.architecture", "sim", "sim.context_length", len,
                  "sim.embedding_length", (json_int_t)ask->desk->opts->embedding_dimensions,
                  "capabilities", "completion", "embedding"));
}

/* --- the personality -------------------------------------------------------------------------- */

static int put_refusal(struct ps_buf *out, const struct ps_sim_refusal *refusal)
{
    int err = ps_buf_append_str(out, PS_STR("{\"error\":\""));
    err = PS_THEN(err, ps_buf_append_json(out, ps_str_from(refusal->text)));
    return PS_THEN(err, ps_buf_append_str(out, PS_STR("\",\"simulated\":true}")));
}

static int start(struct ps_sim_desk *desk)
{
    struct ollama *own = calloc(1, sizeof *own);
    if (own == NULL) {
        return PS_ENOMEM;
    }
    for (size_t i = 0; i < PS_SIM_MOST_SLOTS; i++) {
        own->keep[i] = desk->opts->keep_alive;
    }
    desk->own = own;
    return PS_OK;
}

static void stop(struct ps_sim_desk *desk)
{
    free(desk->own);
}

/* clang-format off */
static const struct ps_sim_default defaults[] = {
    {"weights", "5GiB"},
    {"activations", "512MiB"},
    {"kv_tokens", "8192"},
    {"max_num_seqs", "1"},
    {"max_queue", "512"},
    {"unload_delay", "1s"},
    {NULL, NULL},
};

static const struct ps_sim_route routes[] = {
    {PS_H1_METHOD_GET, PS_STR_INIT("/"), answer_root, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/api/version"), answer_version, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/api/tags"), answer_tags, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/api/ps"), answer_ps, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/api/show"), answer_show, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/api/generate"), answer_generate, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/api/chat"), answer_chat, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/api/embed"), answer_embed, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/api/embeddings"), answer_embeddings, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/v1/chat/completions"), ps_sim_openai_chat, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/v1/completions"), ps_sim_openai_completion, true, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/v1/embeddings"), ps_sim_openai_embedding, true, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/v1/models"), ps_sim_openai_models, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/sim/state"), ps_sim_state_answer, false, NULL},
};
/* clang-format on */

const struct ps_sim_personality ps_sim_ollama = {
    .name = "ollama",
    .routes = {.rows = routes, .count = PS_ARRAY_LEN(routes)},
    .defaults = defaults,
    .own_slots = true,
    .starts_empty = true,
    .absent = PS_SIM_ABSENT_LOADS,
    .owner = "library",
    .refusal = put_refusal,
    .refusal_v1 = ps_sim_openai_refusal,
    .rename = rename_model,
    .metrics = write_ps,
    .start = start,
    .idle = on_idle,
    .stop = stop,
};
