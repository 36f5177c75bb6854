#include "sim/request.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim/embed.h"
#include "sim/json.h"
#include "sim/png.h"
#include "sim/words.h"

#define SHORTEST_ANSWER 16 /* tokens of an answer without max_tokens: 16 to 271 */
#define ANSWER_SPREAD   256
#define MOST_N          128
#define MOST_STOPS      16
#define MOST_PICTURES   10
#define DEFAULT_STEPS   30
#define MOST_STEPS      1000

/* What all the readers below need. */
struct reader {
    const json_t *root;
    const struct ps_sim_opts *opts;
    uint64_t max_model_len;
    struct ps_sim_request *out;
    struct ps_sim_refusal *refusal;
    uint64_t chain_seed;
    uint64_t answer_seed;
    uint64_t max_tokens;
    bool has_max_tokens;
    uint64_t n;
};

static int refuse(struct reader *r, const char *param, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int refuse(struct reader *r, const char *param, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    *r->refusal = (struct ps_sim_refusal){.status = 400, .type = "BadRequestError", .param = param};
    vsnprintf(r->refusal->text, sizeof r->refusal->text, format, args);
    va_end(args);
    return PS_EINVAL;
}

static struct ps_str text_of(const json_t *string)
{
    return (struct ps_str){json_string_value(string), json_string_length(string)};
}

/* A field that is absent or null is not there. */
static const json_t *field(const struct reader *r, const char *name)
{
    const json_t *value = json_object_get(r->root, name);
    return value == NULL || json_is_null(value) ? NULL : value;
}

static int read_count(struct reader *r, const char *name, uint64_t min, uint64_t max, uint64_t *out)
{
    const json_t *value = field(r, name);
    if (value == NULL) {
        return PS_OK;
    }
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 0 || (uint64_t)number < min || (uint64_t)number > max) {
        return refuse(r, name, "%s must be a whole number from %" PRIu64 " to %" PRIu64 ".", name,
                      min, max);
    }
    *out = (uint64_t)number;
    return PS_OK;
}

static int read_flag(struct reader *r, const json_t *object, const char *name, bool *out)
{
    const json_t *value = json_object_get(object, name);
    if (value == NULL || json_is_null(value)) {
        return PS_OK;
    }
    if (!json_is_boolean(value)) {
        return refuse(r, name, "%s must be true or false.", name);
    }
    *out = json_is_true(value);
    return PS_OK;
}

static int read_model(struct reader *r, bool required)
{
    const json_t *model = field(r, "model");
    if (model == NULL && !required) {
        return PS_OK;
    }
    if (!json_is_string(model)) {
        return refuse(r, "model", "model must be a string.");
    }
    for (size_t i = 0; i < r->opts->model_count; i++) {
        if (ps_str_eq(text_of(model), ps_str_from(r->opts->models[i]))) {
            r->out->model = i;
            return PS_OK;
        }
    }
    (void)refuse(r, "model", "The model `%.200s` does not exist.", json_string_value(model));
    r->refusal->status = 404;
    r->refusal->type = "NotFoundError";
    return PS_EINVAL;
}

/* Prompts of different salts (and models) share no cached block, as with vLLM's cache_salt. */
static int read_seeds(struct reader *r)
{
    const json_t *salt = field(r, "cache_salt");
    const json_t *seed = field(r, "seed");
    if (salt != NULL && !json_is_string(salt)) {
        return refuse(r, "cache_salt", "cache_salt must be a string.");
    }
    if (seed != NULL && !json_is_integer(seed)) {
        return refuse(r, "seed", "seed must be a whole number.");
    }
    r->chain_seed = ps_str_hash(salt == NULL ? PS_STR("") : text_of(salt), r->out->model);
    r->answer_seed = r->opts->seed * 0x9e3779b97f4a7c15u + (uint64_t)json_integer_value(seed);
    return PS_OK;
}

/* --- prompts ---------------------------------------------------------------------------------- */

static int make_prompts(struct reader *r, size_t count)
{
    r->out->prompts = calloc(count, sizeof *r->out->prompts);
    if (r->out->prompts == NULL) {
        return PS_ENOMEM;
    }
    r->out->count = count;
    for (size_t i = 0; i < count; i++) {
        r->out->prompts[i].chain = ps_sim_chain_make(r->chain_seed);
    }
    return PS_OK;
}

/* A list of token numbers: each stands for one token of four bytes. */
static int add_tokens(struct reader *r, const json_t *list, struct ps_sim_chain *chain)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *token = json_array_get(list, i);
        json_int_t id = json_integer_value(token);
        if (!json_is_integer(token) || id < 0 || id > INT32_MAX) {
            return refuse(r, "prompt", "A list of tokens must hold token numbers only.");
        }
        char bytes[PS_SIM_TOKEN_BYTES];
        for (size_t b = 0; b < sizeof bytes; b++) {
            bytes[b] = (char)(id >> (8 * b) & 0xff);
        }
        int err = ps_sim_chain_add(chain, (struct ps_str){bytes, sizeof bytes});
        if (err != PS_OK) {
            return err;
        }
    }
    return PS_OK;
}

static int add_prompt(struct reader *r, const char *name, const json_t *prompt,
                      struct ps_sim_prompt *out)
{
    int err = PS_OK;
    if (json_is_string(prompt)) {
        err = ps_sim_chain_add(&out->chain, text_of(prompt));
    } else if (json_is_array(prompt)) {
        err = add_tokens(r, prompt, &out->chain);
    } else {
        return refuse(r, name, "%s must be a string, a list of tokens, or a list of these.", name);
    }
    if (err == PS_OK && out->chain.bytes == 0) {
        return refuse(r, name, "%s must not be empty.", name);
    }
    return err;
}

static bool is_list_of_prompts(const json_t *value)
{
    return json_is_array(value) && json_array_size(value) > 0 &&
           !json_is_integer(json_array_get(value, 0));
}

/* The field `name`: one prompt or many, each n times. */
static int read_prompts(struct reader *r, const char *name)
{
    const json_t *value = field(r, name);
    if (value == NULL) {
        return refuse(r, name, "%s is required.", name);
    }
    bool many = is_list_of_prompts(value);
    size_t count = many ? json_array_size(value) : 1;
    if (count * r->n > PS_SIM_MOST_CHOICES) {
        return refuse(r, name, "At most %u answers in one request.", PS_SIM_MOST_CHOICES);
    }
    int err = make_prompts(r, count * r->n);
    for (size_t i = 0; i < count * r->n && err == PS_OK; i++) {
        const json_t *prompt = many ? json_array_get(value, i / r->n) : value;
        err = add_prompt(r, name, prompt, &r->out->prompts[i]);
    }
    return err;
}

static int add_parts(struct reader *r, const json_t *parts, struct ps_sim_chain *chain)
{
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(parts, i);
        const json_t *text = json_object_get(part, "text");
        if (!json_is_object(part) || (text != NULL && !json_is_string(text))) {
            return refuse(r, "messages", "Each part of content must be an object with a type.");
        }
        int err = text == NULL ? PS_OK : ps_sim_chain_add(chain, text_of(text));
        if (err != PS_OK) {
            return err;
        }
    }
    return PS_OK;
}

static int add_role(struct ps_sim_chain *chain, struct ps_str role)
{
    int err = ps_sim_chain_add(chain, PS_STR("<|"));
    err = err == PS_OK ? ps_sim_chain_add(chain, role) : err;
    return err == PS_OK ? ps_sim_chain_add(chain, PS_STR("|>\n")) : err;
}

static int add_message(struct reader *r, const json_t *message, struct ps_sim_chain *chain)
{
    const json_t *role = json_object_get(message, "role");
    const json_t *content = json_object_get(message, "content");
    if (!json_is_string(role)) {
        return refuse(r, "messages", "Each message must be an object with a role.");
    }
    int err = add_role(chain, text_of(role));
    if (err != PS_OK) {
        return err;
    }
    if (json_is_string(content)) {
        err = ps_sim_chain_add(chain, text_of(content));
    } else if (json_is_array(content)) {
        err = add_parts(r, content, chain);
    } else if (content != NULL && !json_is_null(content)) {
        return refuse(r, "messages", "content must be a string or a list of parts.");
    }
    return err == PS_OK ? ps_sim_chain_add(chain, PS_STR("\n")) : err;
}

/* The conversation as one text, as a chat template would write it. It ends where the answer
 * begins, so that the next turn of the conversation begins with this text and this answer. */
static int add_conversation(struct reader *r, const json_t *messages, struct ps_sim_chain *chain)
{
    int err = PS_OK;
    for (size_t i = 0; i < json_array_size(messages) && err == PS_OK; i++) {
        err = add_message(r, json_array_get(messages, i), chain);
    }
    return err == PS_OK ? add_role(chain, PS_STR("assistant")) : err;
}

static int read_messages(struct reader *r)
{
    const json_t *messages = field(r, "messages");
    if (!json_is_array(messages) || json_array_size(messages) == 0) {
        return refuse(r, "messages", "messages must be a list with at least one message.");
    }
    int err = make_prompts(r, r->n);
    for (size_t i = 0; i < r->n && err == PS_OK; i++) {
        err = add_conversation(r, messages, &r->out->prompts[i].chain);
    }
    return err;
}

/* --- answers ---------------------------------------------------------------------------------- */

static uint64_t natural_length(const struct ps_sim_prompt *prompt)
{
    return SHORTEST_ANSWER + (prompt->seed >> 32) % ANSWER_SPREAD;
}

static int choose_length(struct reader *r, struct ps_sim_prompt *prompt)
{
    uint64_t tokens = ps_sim_chain_tokens(&prompt->chain);
    uint64_t asked = r->has_max_tokens ? r->max_tokens : 1;
    if (tokens >= r->max_model_len || tokens + asked > r->max_model_len) {
        return refuse(r, r->out->kind == PS_SIM_CHAT ? "messages" : "prompt",
                      "This model's maximum context length is %" PRIu64
                      " tokens. However, you requested"
                      " %" PRIu64 " tokens (%" PRIu64 " in the prompt, %" PRIu64 " in the answer)."
                      " Please reduce the length of the prompt or the answer.",
                      r->max_model_len, tokens + asked, tokens, asked);
    }
    prompt->want = asked;
    if (!r->has_max_tokens) {
        uint64_t natural = natural_length(prompt);
        uint64_t room = r->max_model_len - tokens;
        prompt->stopped = natural <= room;
        prompt->want = natural < room ? natural : room;
    }
    prompt->text_bytes = prompt->want * PS_SIM_TOKEN_BYTES;
    return PS_OK;
}

/* Where the first of the stop texts begins in the answer, and how many tokens that needs. The
 * text is known before it is generated; nothing has to be held back later. */
static int apply_stops(struct ps_sim_prompt *prompt, const struct ps_str *stops, size_t count)
{
    size_t len = prompt->want * PS_SIM_TOKEN_BYTES;
    char *text = malloc(len);
    if (text == NULL) {
        return PS_ENOMEM;
    }
    struct ps_sim_words words = ps_sim_words_make(prompt->seed);
    for (size_t i = 0; i < len; i += PS_SIM_TOKEN_BYTES) {
        ps_sim_words_next(&words, text + i);
    }
    for (size_t i = 0; i < count; i++) {
        const char *found = memmem(text, len, stops[i].ptr, stops[i].len);
        uint64_t at = found == NULL ? len : (uint64_t)(found - text);
        if (at < prompt->text_bytes) {
            prompt->text_bytes = at;
            prompt->want = (at + stops[i].len + PS_SIM_TOKEN_BYTES - 1) / PS_SIM_TOKEN_BYTES;
            prompt->stopped = true;
        }
    }
    free(text);
    return PS_OK;
}

static int read_stops(struct reader *r, struct ps_str *stops, size_t *count)
{
    const json_t *stop = field(r, "stop");
    *count = stop == NULL ? 0 : json_is_array(stop) ? json_array_size(stop) : 1;
    if (*count > MOST_STOPS) {
        return refuse(r, "stop", "At most %d stop texts.", MOST_STOPS);
    }
    for (size_t i = 0; i < *count; i++) {
        const json_t *text = json_is_array(stop) ? json_array_get(stop, i) : stop;
        if (!json_is_string(text) || json_string_length(text) == 0) {
            return refuse(r, "stop", "stop must be a text that is not empty, or a list of them.");
        }
        stops[i] = text_of(text);
    }
    return PS_OK;
}

static int plan_answers(struct reader *r)
{
    struct ps_str stops[MOST_STOPS];
    size_t stop_count = 0;
    int err = read_stops(r, stops, &stop_count);
    for (size_t i = 0; i < r->out->count && err == PS_OK; i++) {
        struct ps_sim_prompt *prompt = &r->out->prompts[i];
        prompt->seed = ps_sim_chain_hash(&prompt->chain) ^ (r->answer_seed + i % r->n);
        err = choose_length(r, prompt);
        if (err == PS_OK && stop_count > 0) {
            err = apply_stops(prompt, stops, stop_count);
        }
    }
    return err;
}

static int read_max_tokens(struct reader *r)
{
    static const char *const names[] = {"max_completion_tokens", "max_tokens"};
    for (size_t i = 0; i < 2; i++) {
        if (field(r, names[i]) != NULL && (r->out->kind == PS_SIM_CHAT || i == 1)) {
            r->has_max_tokens = true;
            return read_count(r, names[i], 1, INT32_MAX, &r->max_tokens);
        }
    }
    if (r->out->kind == PS_SIM_COMPLETION) { /* the default of the completions route */
        r->has_max_tokens = true;
        r->max_tokens = 16;
    }
    return PS_OK;
}

static int read_streaming(struct reader *r)
{
    const json_t *options = field(r, "stream_options");
    int err = read_flag(r, r->root, "stream", &r->out->stream);
    if (err != PS_OK || options == NULL) {
        return err;
    }
    if (!json_is_object(options)) {
        return refuse(r, "stream_options", "stream_options must be an object.");
    }
    if (!r->out->stream) {
        return refuse(r, "stream_options", "stream_options are only for stream=true.");
    }
    return read_flag(r, options, "include_usage", &r->out->include_usage);
}

static int read_generation(struct reader *r)
{
    int err = read_model(r, true);
    err = err == PS_OK ? read_seeds(r) : err;
    err = err == PS_OK ? read_count(r, "n", 1, MOST_N, &r->n) : err;
    err = err == PS_OK ? read_max_tokens(r) : err;
    err = err == PS_OK ? read_streaming(r) : err;
    if (err == PS_OK) {
        err = r->out->kind == PS_SIM_CHAT ? read_messages(r) : read_prompts(r, "prompt");
    }
    return err == PS_OK ? plan_answers(r) : err;
}

/* --- embeddings and images -------------------------------------------------------------------- */

static int read_encoding(struct reader *r)
{
    const json_t *format = field(r, "encoding_format");
    if (format == NULL) {
        return PS_OK;
    }
    struct ps_str name = json_is_string(format) ? text_of(format) : PS_STR("");
    r->out->base64 = ps_str_eq(name, PS_STR("base64"));
    if (!r->out->base64 && !ps_str_eq(name, PS_STR("float"))) {
        return refuse(r, "encoding_format", "encoding_format must be float or base64.");
    }
    return PS_OK;
}

/* A list of tokens has no text; the hash of its numbers serves. */
static struct ps_str text_to_embed(const json_t *input, const struct ps_sim_prompt *prompt)
{
    if (json_is_string(input)) {
        return text_of(input);
    }
    return (struct ps_str){(const char *)&prompt->seed, sizeof prompt->seed};
}

static int embed_inputs(struct reader *r)
{
    const json_t *value = field(r, "input");
    bool many = is_list_of_prompts(value);
    for (size_t i = 0; i < r->out->count; i++) {
        struct ps_sim_prompt *prompt = &r->out->prompts[i];
        uint64_t tokens = ps_sim_chain_tokens(&prompt->chain);
        if (tokens > r->max_model_len) {
            return refuse(r, "input",
                          "This model's maximum context length is %" PRIu64 " tokens. However, you"
                          " requested %" PRIu64 " tokens in the input. Please reduce its length.",
                          r->max_model_len, tokens);
        }
        prompt->vector = malloc(r->out->dimensions * sizeof *prompt->vector);
        if (prompt->vector == NULL) {
            return PS_ENOMEM;
        }
        const json_t *input = many ? json_array_get(value, i) : value;
        prompt->seed = ps_sim_chain_hash(&prompt->chain);
        ps_sim_embed(text_to_embed(input, prompt), r->opts->seed, prompt->vector,
                     r->out->dimensions);
    }
    return PS_OK;
}

static int read_embedding(struct reader *r)
{
    uint64_t dimensions = r->opts->embedding_dimensions;
    int err = read_model(r, true);
    err = err == PS_OK ? read_seeds(r) : err;
    err = err == PS_OK ? read_encoding(r) : err;
    err = err == PS_OK ? read_count(r, "dimensions", 1, r->opts->embedding_dimensions, &dimensions)
                       : err;
    r->out->dimensions = dimensions;
    err = err == PS_OK ? read_prompts(r, "input") : err;
    return err == PS_OK ? embed_inputs(r) : err;
}

static int read_size(struct reader *r)
{
    const json_t *size = field(r, "size");
    struct ps_str rest = PS_STR("1024x1024");
    struct ps_str side[2] = {{NULL, 0}, {NULL, 0}};
    uint64_t pixels[2] = {0, 0};
    if (size != NULL) {
        rest = json_is_string(size) ? text_of(size) : PS_STR("");
    }
    bool good = ps_str_split(&rest, 'x', &side[0]) && ps_str_split(&rest, 'x', &side[1]);
    for (size_t i = 0; i < 2 && good; i++) {
        good = ps_str_to_u64(side[i], &pixels[i]) == PS_OK && pixels[i] >= 16 &&
               pixels[i] <= PS_SIM_LONGEST_SIDE;
    }
    if (!good || rest.ptr != NULL) {
        return refuse(r, "size", "size must be WIDTHxHEIGHT, each from 16 to %u.",
                      PS_SIM_LONGEST_SIDE);
    }
    r->out->width = (uint32_t)pixels[0];
    r->out->height = (uint32_t)pixels[1];
    return PS_OK;
}

static int read_format(struct reader *r)
{
    const json_t *format = field(r, "response_format");
    if (format != NULL && !ps_str_eq(text_of(format), PS_STR("b64_json"))) {
        return refuse(r, "response_format", "response_format must be b64_json.");
    }
    return PS_OK;
}

static int read_image(struct reader *r)
{
    const json_t *prompt = field(r, "prompt");
    if (!json_is_string(prompt) || json_string_length(prompt) == 0) {
        return refuse(r, "prompt", "prompt must be a string that is not empty.");
    }
    r->out->steps = DEFAULT_STEPS;
    int err = read_model(r, false);
    err = err == PS_OK ? read_seeds(r) : err;
    err = err == PS_OK ? read_count(r, "n", 1, MOST_PICTURES, &r->n) : err;
    err = err == PS_OK ? read_count(r, "steps", 1, MOST_STEPS, &r->out->steps) : err;
    err = err == PS_OK ? read_count(r, "num_inference_steps", 1, MOST_STEPS, &r->out->steps) : err;
    err = err == PS_OK ? read_size(r) : err;
    err = err == PS_OK ? read_format(r) : err;
    r->out->pictures = r->n;
    r->out->picture_seed = ps_str_hash(text_of(prompt), r->answer_seed);
    return err;
}

/* --- the whole -------------------------------------------------------------------------------- */

static int read_request(struct reader *r)
{
    if (!json_is_object(r->root)) {
        return refuse(r, NULL, "The body must be a JSON object.");
    }
    switch (r->out->kind) {
    case PS_SIM_CHAT:
    case PS_SIM_COMPLETION:
    case PS_SIM_NATIVE:
        return read_generation(r);
    case PS_SIM_EMBEDDING:
        return read_embedding(r);
    case PS_SIM_IMAGE:
        return read_image(r);
    }
    return PS_EINVAL;
}

int ps_sim_request_read(enum ps_sim_kind kind, const json_t *root, const struct ps_sim_opts *opts,
                        uint64_t max_model_len, struct ps_sim_request *out,
                        struct ps_sim_refusal *refusal)
{
    struct ps_sim_request request = {.kind = kind};
    struct reader r = {
        .root = root,
        .opts = opts,
        .max_model_len = max_model_len,
        .out = &request,
        .refusal = refusal,
        .n = 1,
    };
    int err = read_request(&r);
    if (err != PS_OK) {
        ps_sim_request_fini(&request);
        return err;
    }
    *out = request;
    return PS_OK;
}

int ps_sim_request_parse(enum ps_sim_kind kind, struct ps_str body, const struct ps_sim_opts *opts,
                         uint64_t max_model_len, struct ps_sim_request *out,
                         struct ps_sim_refusal *refusal)
{
    struct ps_sim_json_error error;
    json_t *root = NULL;
    int err = ps_sim_json_parse(body, &root, &error);
    if (err == PS_EPARSE) {
        struct reader r = {.refusal = refusal};
        return refuse(&r, NULL, "JSON decode error at byte %zu: %s.", error.offset, error.text);
    }
    err = err == PS_OK ? ps_sim_request_read(kind, root, opts, max_model_len, out, refusal) : err;
    json_decref(root);
    return err;
}

void ps_sim_request_fini(struct ps_sim_request *request)
{
    for (size_t i = 0; i < request->count; i++) {
        ps_sim_chain_fini(&request->prompts[i].chain);
        free(request->prompts[i].vector);
    }
    free(request->prompts);
    request->prompts = NULL;
    request->count = 0;
}
