/* prompt - see prompt.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/prompt.h"

#include <string.h>

#include "base/rng.h"

#define WORDS 64u

/* 64 words of three letters and a space. */
static const char words[WORDS * PS_PROMPT_TOKEN_BYTES + 1] =
    "air and arm art ask bay bed big box boy bus buy can car cat cup "
    "cut day dog dry ear eat egg end eye far few fit fly for fox fun "
    "get gun hat her hot how ice ink job joy key lab law leg let lot "
    "low man map may net new oak oil old one our out own pen pot red ";

/* Writes `tokens` words; ten of them come from one number. */
static char *write_words(char *to, uint64_t seed, uint32_t tokens)
{
    struct ps_rng rng = ps_rng_make(seed);
    uint64_t bits = 0;
    for (uint32_t i = 0; i < tokens; i++) {
        bits = i % 10 == 0 ? ps_rng_next(&rng) : bits >> 6;
        memcpy(to, words + PS_PROMPT_TOKEN_BYTES * (bits % WORDS), PS_PROMPT_TOKEN_BYTES);
        to += PS_PROMPT_TOKEN_BYTES;
    }
    return to;
}

int ps_prompt_text(const struct ps_plan_entry *entry, struct ps_buf *out)
{
    size_t bytes = (size_t)entry->prompt_tokens * PS_PROMPT_TOKEN_BYTES;
    int err = ps_buf_reserve(out, bytes);
    if (err != PS_OK) {
        return err;
    }
    char *to = out->data + out->len;
    uint32_t left = entry->prompt_tokens;
    for (size_t i = 0; i < entry->block_count && left > 0; i++) {
        uint32_t tokens = left < PS_TRACE_BLOCK_TOKENS ? left : PS_TRACE_BLOCK_TOKENS;
        /* Ids count from 0 and seeds are random: spread, they don't meet. */
        to = write_words(to, entry->blocks[i] * 0xd1342543de82ef95u + 1, tokens);
        left -= tokens;
    }
    (void)write_words(to, entry->text_seed, left);
    out->len += bytes;
    return PS_OK;
}

/* ------------------------------------------------------------------------------------- bodies */

typedef int body_fn(const struct ps_plan_entry *entry, const struct ps_prompt_opts *opts, struct ps_buf *out);

/* By Zipf's law, as requests for files, words and models tend to be spread. */
static const char *choose_model(const struct ps_plan_entry *entry, const struct ps_prompt_opts *opts)
{
    struct ps_rng rng = ps_rng_make(entry->text_seed ^ 0x6d6f64656cu);
    double sum = 0;
    size_t n = 0;
    for (size_t i = 0; opts->models != NULL && opts->models[i] != NULL; i++) {
        sum += 1.0 / (double)(i + 1);
    }
    double left = ps_rng_unit(&rng) * sum;
    if (sum == 0) {
        return opts->model;
    }
    while ((left -= 1.0 / (double)(n + 1)) > 0 && opts->models[n + 1] != NULL) {
        n++;
    }
    return opts->models[n];
}

static int write_model(const struct ps_plan_entry *entry, const struct ps_prompt_opts *opts,
                       struct ps_buf *out)
{
    int err = ps_buf_append_str(out, PS_STR("{\"model\":\""));
    return err != PS_OK ? err : ps_buf_append_json(out, ps_str_from(choose_model(entry, opts)));
}

static int write_message(const struct ps_plan_entry *entry, const struct ps_prompt_opts *opts,
                         struct ps_buf *out)
{
    int err = write_model(entry, opts, out);
    err = err != PS_OK ? err : ps_buf_append_str(out, PS_STR("\",\"messages\":[{\"role\":\"user\",\"content\":\""));
    return err != PS_OK ? err : ps_prompt_text(entry, out);
}

static int write_openai_chat(const struct ps_plan_entry *entry, const struct ps_prompt_opts *opts,
                             struct ps_buf *out)
{
    int err = write_message(entry, opts, out);
    return err != PS_OK ? err
                        : ps_buf_printf(out,
                                        "\"}],\"max_tokens\":%u,\"stream\":true,"
                                        "\"stream_options\":{\"include_usage\":true}%s}",
                                        entry->max_tokens,
                                        opts->ignore_eos ? ",\"ignore_eos\":true" : "");
}

/* Ollama streams unless it is told not to. */
static int write_ollama_chat(const struct ps_plan_entry *entry, const struct ps_prompt_opts *opts,
                             struct ps_buf *out)
{
    int err = write_message(entry, opts, out);
    return err != PS_OK ? err
                        : ps_buf_printf(out, "\"}],\"options\":{\"num_predict\":%u}}", entry->max_tokens);
}

/* OpenAI's and Ollama's are the same. */
static int write_embedding(const struct ps_plan_entry *entry, const struct ps_prompt_opts *opts,
                           struct ps_buf *out)
{
    int err = write_model(entry, opts, out);
    err = err != PS_OK ? err : ps_buf_append_str(out, PS_STR("\",\"input\":\""));
    err = err != PS_OK ? err : ps_prompt_text(entry, out);
    return err != PS_OK ? err : ps_buf_append_str(out, PS_STR("\"}"));
}

static uint32_t steps_of(const struct ps_plan_entry *entry)
{
    uint32_t steps = 1 + entry->max_tokens / PS_PROMPT_STEP_TOKENS;
    return steps < PS_PROMPT_STEPS_MAX ? steps : PS_PROMPT_STEPS_MAX;
}

/* The smallest graph from a checkpoint to a saved picture. Nodes are named by numbers, an input is a
 * value or [node, output]. */
static int write_graph(const struct ps_plan_entry *entry, const struct ps_prompt_opts *opts,
                       struct ps_buf *out)
{
    struct ps_plan_entry text = *entry;
    text.prompt_tokens = entry->prompt_tokens < PS_PROMPT_PICTURE_TOKENS ? entry->prompt_tokens
                                                                         : PS_PROMPT_PICTURE_TOKENS;
    int err = ps_buf_printf(out,
                            "{\"client_id\":\"replay-%u\",\"prompt\":{\"1\":{\"class_type\":"
                            "\"CheckpointLoaderSimple\",\"inputs\":{\"ckpt_name\":\"",
                            (unsigned)(entry->number % PS_PROMPT_CLIENTS));
    err = err != PS_OK ? err : ps_buf_append_json(out, ps_str_from(choose_model(entry, opts)));
    err = err != PS_OK ? err
                       : ps_buf_append_str(out, PS_STR("\"}},\"2\":{\"class_type\":\"CLIPTextEncode\","
                                                       "\"inputs\":{\"clip\":[\"1\",1],\"text\":\""));
    err = err != PS_OK ? err : ps_prompt_text(&text, out);
    return err != PS_OK
               ? err
               : ps_buf_printf(
                     out,
                     "\"}},\"3\":{\"class_type\":\"CLIPTextEncode\",\"inputs\":{\"clip\":[\"1\",1],"
                     "\"text\":\"\"}},\"4\":{\"class_type\":\"EmptyLatentImage\",\"inputs\":{"
                     "\"width\":512,\"height\":512,\"batch_size\":1}},"
                     "\"5\":{\"class_type\":\"KSampler\",\"inputs\":{\"seed\":%llu,\"steps\":%u,\"cfg\":7,"
                     "\"sampler_name\":\"euler\",\"scheduler\":\"normal\",\"denoise\":1,"
                     "\"model\":[\"1\",0],\"positive\":[\"2\",0],\"negative\":[\"3\",0],"
                     "\"latent_image\":[\"4\",0]}},"
                     "\"6\":{\"class_type\":\"VAEDecode\",\"inputs\":{\"samples\":[\"5\",0],"
                     "\"vae\":[\"1\",2]}},\"7\":{\"class_type\":\"SaveImage\",\"inputs\":{"
                     "\"images\":[\"6\",0],\"filename_prefix\":\"replay\"}}}}",
                     (unsigned long long)(entry->text_seed >> 12), steps_of(entry));
}

int ps_prompt_body(const struct ps_plan_entry *entry, const struct ps_prompt_opts *opts,
                   struct ps_buf *out)
{
    static body_fn *const chats[PS_PROTOCOL_COUNT] = {
        [PS_PROTOCOL_OPENAI] = write_openai_chat,
        [PS_PROTOCOL_OLLAMA] = write_ollama_chat,
        [PS_PROTOCOL_COMFYUI] = write_graph,
    };
    body_fn *write = entry->kind == PS_PLAN_CHAT ? chats[opts->protocol] : write_embedding;
    return write(entry, opts, out);
}
