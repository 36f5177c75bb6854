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

static int write_chat(const struct ps_plan_entry *entry, const struct ps_prompt_opts *opts,
                      struct ps_buf *out)
{
    int err = ps_buf_append_str(out, PS_STR("\",\"messages\":[{\"role\":\"user\",\"content\":\""));
    if (err == PS_OK) {
        err = ps_prompt_text(entry, out);
    }
    if (err == PS_OK) {
        err = ps_buf_printf(out,
                            "\"}],\"max_tokens\":%u,\"stream\":true,"
                            "\"stream_options\":{\"include_usage\":true}%s}",
                            entry->max_tokens, opts->ignore_eos ? ",\"ignore_eos\":true" : "");
    }
    return err;
}

static int write_embedding(const struct ps_plan_entry *entry, struct ps_buf *out)
{
    int err = ps_buf_append_str(out, PS_STR("\",\"input\":\""));
    if (err == PS_OK) {
        err = ps_prompt_text(entry, out);
    }
    return err == PS_OK ? ps_buf_append_str(out, PS_STR("\"}")) : err;
}

int ps_prompt_body(const struct ps_plan_entry *entry, const struct ps_prompt_opts *opts,
                   struct ps_buf *out)
{
    int err = ps_buf_append_str(out, PS_STR("{\"model\":\""));
    if (err == PS_OK) {
        err = ps_buf_append_json(out, ps_str_from(opts->model));
    }
    if (err != PS_OK) {
        return err;
    }
    return entry->kind == PS_PLAN_CHAT ? write_chat(entry, opts, out) : write_embedding(entry, out);
}
