#include "gateway/member.h"

#include <assert.h>
#include <stddef.h>

#include "base/check.h"

/* clang-format off */
static const struct ps_member openai[] = {
    {PS_STR_INIT("model"), PS_MEMBER_MODEL, true},
    {PS_STR_INIT("stream"), PS_MEMBER_STREAM, true},
    {PS_STR_INIT("stream_options"), PS_MEMBER_STREAM_OPTIONS, true},
    {PS_STR_INIT("messages"), PS_MEMBER_MESSAGES, false},
    {PS_STR_INIT("prompt"), PS_MEMBER_PROMPT, false},
    {PS_STR_INIT("input"), PS_MEMBER_PROMPT, false},
    {PS_STR_INIT("instructions"), PS_MEMBER_INSTRUCTIONS, false},
    {PS_STR_INIT("system"), PS_MEMBER_INSTRUCTIONS, false}, /* Anthropic */
    {PS_STR_INIT("tools"), PS_MEMBER_TOOLS, false},
    {PS_STR_INIT("max_tokens"), PS_MEMBER_MAX_TOKENS, false},
    {PS_STR_INIT("max_completion_tokens"), PS_MEMBER_MAX_TOKENS, false},
    {PS_STR_INIT("max_output_tokens"), PS_MEMBER_MAX_TOKENS, false},
    {PS_STR_INIT("n"), PS_MEMBER_N, false},
    {PS_STR_INIT("temperature"), PS_MEMBER_TEMPERATURE, false},
    {PS_STR_INIT("seed"), PS_MEMBER_SEED, false},
    {PS_STR_INIT("store"), PS_MEMBER_STORE, false},
    {PS_STR_INIT("size"), PS_MEMBER_SIZE, false},
    {PS_STR_INIT("width"), PS_MEMBER_WIDTH, false},
    {PS_STR_INIT("height"), PS_MEMBER_HEIGHT, false},
    {PS_STR_INIT("steps"), PS_MEMBER_STEPS, false},
    {PS_STR_INIT("num_inference_steps"), PS_MEMBER_STEPS, false},
    {PS_STR_INIT("query"), PS_MEMBER_PROMPT, false}, /* rerank */
    {PS_STR_INIT("documents"), PS_MEMBER_PROMPT, false},
    {PS_STR_INIT("text_1"), PS_MEMBER_PROMPT, false}, /* score */
    {PS_STR_INIT("text_2"), PS_MEMBER_PROMPT, false},
};

static const struct ps_member ollama[] = {
    {PS_STR_INIT("model"), PS_MEMBER_MODEL, true},
    {PS_STR_INIT("stream"), PS_MEMBER_STREAM, true},
    {PS_STR_INIT("keep_alive"), PS_MEMBER_KEEP, true},
    {PS_STR_INIT("messages"), PS_MEMBER_MESSAGES, true}, /* whether they are there says what a call is */
    {PS_STR_INIT("prompt"), PS_MEMBER_PROMPT, true},
    {PS_STR_INIT("suffix"), PS_MEMBER_INSTRUCTIONS, false},
    {PS_STR_INIT("input"), PS_MEMBER_PROMPT, false},
    {PS_STR_INIT("system"), PS_MEMBER_INSTRUCTIONS, false},
    {PS_STR_INIT("template"), PS_MEMBER_INSTRUCTIONS, false},
    {PS_STR_INIT("tools"), PS_MEMBER_TOOLS, false},
    {PS_STR_INIT("images"), PS_MEMBER_MEDIA, false},
    {PS_STR_INIT("options"), PS_MEMBER_PARAMETERS, false},
};
static const struct ps_member ollama_inner[] = {
    {PS_STR_INIT("num_predict"), PS_MEMBER_MAX_TOKENS, false},
    {PS_STR_INIT("temperature"), PS_MEMBER_TEMPERATURE, false},
    {PS_STR_INIT("seed"), PS_MEMBER_SEED, false},
};

static const struct ps_member kserve[] = {
    {PS_STR_INIT("stream"), PS_MEMBER_STREAM, true},
    {PS_STR_INIT("text_input"), PS_MEMBER_PROMPT, false},
    {PS_STR_INIT("prompt"), PS_MEMBER_PROMPT, false},
    {PS_STR_INIT("max_tokens"), PS_MEMBER_MAX_TOKENS, false},
    {PS_STR_INIT("temperature"), PS_MEMBER_TEMPERATURE, false},
    {PS_STR_INIT("random_seed"), PS_MEMBER_SEED, false},
    {PS_STR_INIT("seed"), PS_MEMBER_SEED, false},
    {PS_STR_INIT("inputs"), PS_MEMBER_TENSORS, false},
    {PS_STR_INIT("parameters"), PS_MEMBER_PARAMETERS, false},
};
static const struct ps_member kserve_inner[] = {
    {PS_STR_INIT("max_tokens"), PS_MEMBER_MAX_TOKENS, false},
    {PS_STR_INIT("temperature"), PS_MEMBER_TEMPERATURE, false},
    {PS_STR_INIT("seed"), PS_MEMBER_SEED, false},
};

static const struct ps_member generate[] = {
    {PS_STR_INIT("stream"), PS_MEMBER_STREAM, true},
    {PS_STR_INIT("inputs"), PS_MEMBER_PROMPT, false}, /* TGI */
    {PS_STR_INIT("text"), PS_MEMBER_PROMPT, false},   /* SGLang */
    {PS_STR_INIT("input_ids"), PS_MEMBER_PROMPT, false},
    {PS_STR_INIT("image_data"), PS_MEMBER_MEDIA, false},
    {PS_STR_INIT("parameters"), PS_MEMBER_PARAMETERS, false},
    {PS_STR_INIT("sampling_params"), PS_MEMBER_PARAMETERS, false},
};
static const struct ps_member generate_inner[] = {
    {PS_STR_INIT("max_new_tokens"), PS_MEMBER_MAX_TOKENS, false},
    {PS_STR_INIT("temperature"), PS_MEMBER_TEMPERATURE, false},
    {PS_STR_INIT("seed"), PS_MEMBER_SEED, false},
    {PS_STR_INIT("sampling_seed"), PS_MEMBER_SEED, false},
    {PS_STR_INIT("n"), PS_MEMBER_N, false},
};

static const struct ps_member tei[] = {
    {PS_STR_INIT("model"), PS_MEMBER_MODEL, true},
    {PS_STR_INIT("inputs"), PS_MEMBER_PROMPT, false},
    {PS_STR_INIT("input"), PS_MEMBER_PROMPT, false},
    {PS_STR_INIT("query"), PS_MEMBER_PROMPT, false},
    {PS_STR_INIT("texts"), PS_MEMBER_PROMPT, false},
    {PS_STR_INIT("documents"), PS_MEMBER_PROMPT, false}, /* /rerank of vLLM */
};

static const struct ps_member llamacpp[] = {
    {PS_STR_INIT("model"), PS_MEMBER_MODEL, true},
    {PS_STR_INIT("stream"), PS_MEMBER_STREAM, true},
    {PS_STR_INIT("prompt"), PS_MEMBER_PROMPT, false},
    {PS_STR_INIT("input_prefix"), PS_MEMBER_INSTRUCTIONS, false},
    {PS_STR_INIT("input_suffix"), PS_MEMBER_INSTRUCTIONS, false},
    {PS_STR_INIT("content"), PS_MEMBER_PROMPT, false},
    {PS_STR_INIT("input"), PS_MEMBER_PROMPT, false},
    {PS_STR_INIT("query"), PS_MEMBER_PROMPT, false},
    {PS_STR_INIT("documents"), PS_MEMBER_PROMPT, false},
    {PS_STR_INIT("image_data"), PS_MEMBER_MEDIA, false},
    {PS_STR_INIT("n_predict"), PS_MEMBER_MAX_TOKENS, false},
    {PS_STR_INIT("max_tokens"), PS_MEMBER_MAX_TOKENS, false},
    {PS_STR_INIT("temperature"), PS_MEMBER_TEMPERATURE, false},
    {PS_STR_INIT("seed"), PS_MEMBER_SEED, false},
};

static const struct ps_member comfyui[] = {
    {PS_STR_INIT("prompt"), PS_MEMBER_GRAPH, false},
    {PS_STR_INIT("client_id"), PS_MEMBER_CLIENT, false},
    {PS_STR_INIT("delete"), PS_MEMBER_JOBS, false},
    {PS_STR_INIT("prompt_id"), PS_MEMBER_JOBS, false},
};
static const struct ps_member comfyui_inner[] = {
    {PS_STR_INIT("text"), PS_MEMBER_PROMPT, false},
    {PS_STR_INIT("width"), PS_MEMBER_WIDTH, false},
    {PS_STR_INIT("height"), PS_MEMBER_HEIGHT, false},
    {PS_STR_INIT("steps"), PS_MEMBER_STEPS, false},
    {PS_STR_INIT("batch_size"), PS_MEMBER_BATCH, false},
    {PS_STR_INIT("seed"), PS_MEMBER_SEED, false},
    {PS_STR_INIT("noise_seed"), PS_MEMBER_SEED, false},
    {PS_STR_INIT("image"), PS_MEMBER_FILE, false},
};

static const struct ps_member a1111[] = {
    {PS_STR_INIT("prompt"), PS_MEMBER_PROMPT, false},
    {PS_STR_INIT("negative_prompt"), PS_MEMBER_PROMPT, false},
    {PS_STR_INIT("width"), PS_MEMBER_WIDTH, false},
    {PS_STR_INIT("height"), PS_MEMBER_HEIGHT, false},
    {PS_STR_INIT("steps"), PS_MEMBER_STEPS, false},
    {PS_STR_INIT("n_iter"), PS_MEMBER_N, false},
    {PS_STR_INIT("batch_size"), PS_MEMBER_BATCH, false},
    {PS_STR_INIT("seed"), PS_MEMBER_SEED, false},
    {PS_STR_INIT("init_images"), PS_MEMBER_MEDIA, false},
    {PS_STR_INIT("mask"), PS_MEMBER_MEDIA, false},
    {PS_STR_INIT("override_settings"), PS_MEMBER_PARAMETERS, true},
};
static const struct ps_member a1111_inner[] = {
    {PS_STR_INIT("sd_model_checkpoint"), PS_MEMBER_MODEL, true},
};
/* clang-format on */

#define LIST(rows)               \
    {                            \
        rows, PS_ARRAY_LEN(rows) \
    }
#define NOTHING \
    {           \
        NULL, 0 \
    }

static const struct {
    struct {
        const struct ps_member *rows;
        size_t count;
    } lists[2]; /* at the top, inside the parameters */
} grammars[PS_DIALECT_COUNT] = {
    [PS_DIALECT_OPENAI] = {{LIST(openai), NOTHING}},
    [PS_DIALECT_ANTHROPIC] = {{LIST(openai), NOTHING}},
    [PS_DIALECT_OLLAMA] = {{LIST(ollama), LIST(ollama_inner)}},
    [PS_DIALECT_KSERVE] = {{LIST(kserve), LIST(kserve_inner)}},
    [PS_DIALECT_GENERATE] = {{LIST(generate), LIST(generate_inner)}},
    [PS_DIALECT_TEI] = {{LIST(tei), NOTHING}},
    [PS_DIALECT_LLAMACPP] = {{LIST(llamacpp), NOTHING}},
    [PS_DIALECT_COMFYUI] = {{LIST(comfyui), LIST(comfyui_inner)}},
    [PS_DIALECT_A1111] = {{LIST(a1111), LIST(a1111_inner)}},
};

static_assert(PS_ARRAY_LEN(openai) <= 32, "one bit per member");

const struct ps_member *ps_member_find(enum ps_dialect dialect, bool inner, struct ps_str name,
                                       uint32_t *bit)
{
    const struct ps_member *rows = grammars[dialect].lists[inner].rows;
    size_t count = grammars[dialect].lists[inner].count;
    for (size_t i = 0; i < count; i++) {
        /* Some servers read names in any case of letters: guard these as well. */
        if (rows[i].guarded ? ps_str_ieq(rows[i].name, name) : ps_str_eq(rows[i].name, name)) {
            *bit = 1u << i;
            return &rows[i];
        }
    }
    return NULL;
}
