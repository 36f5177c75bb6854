/* usage - how many tokens an answer really took, read from the answer as it passes.
 *
 * Nothing is buffered but a usage object itself: a scanner follows strings and brackets and looks
 * at the members at the top and inside the objects that a dialect puts its figures in.
 *
 *      OpenAI        "usage": {...} at the end of a body; in a stream with empty "choices" in a
 * last event, with the last choice, in every event, below "response" (Responses API) or "message"
 * (Anthropic), or never; llama.cpp adds "timings" Ollama        prompt_eval_count, eval_count at
 * the top of the last line or of the body llama.cpp     tokens_evaluated, tokens_predicted at the
 * top; timings.{cache_n,prompt_n,predicted_n} TGI details.{generated_tokens,input_length}; headers
 * x-prompt-tokens, x-generated-tokens SGLang
 * meta_info.{prompt_tokens,completion_tokens,cached_tokens}, in every event TEI           header
 * x-compute-tokens Triton        nothing: estimated
 *
 * Names understood in "usage": prompt_tokens | input_tokens, completion_tokens | output_tokens,
 * total_tokens, {prompt,input}_tokens_details.cached_tokens, cache_read_input_tokens and
 * cache_creation_input_tokens (these two stand beside input_tokens and are added to the prompt). A
 * later report replaces an earlier one field by field: what grows in every event counts once.
 * Several answers in one array are added up. Numbers that are negative, not whole, or above 2^53
 * are ignored and flagged.
 *
 * Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_USAGE_H
#define PS_GATEWAY_USAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"
#include "gateway/dialect.h"

#define PS_USAGE_TOKENS_MAX ((uint64_t)1 << 53)
#define PS_USAGE_OBJECT_MAX 4096 /* bytes of a usage object; larger ones are ignored, flagged */

struct ps_h1_head;

struct ps_usage {
    uint64_t prompt_tokens;
    uint64_t completion_tokens;
    uint64_t total_tokens;  /* as reported, else the sum */
    uint64_t cached_tokens; /* part of prompt_tokens */
    uint64_t fresh_tokens;  /* of a prompt whose cached part is reported apart */
    bool has_prompt;
    bool has_completion;
    bool has_total; /* was reported */
    bool has_cached;
    bool has_fresh;
    bool estimated;  /* by ps_usage_estimate() */
    bool malformed;  /* something was ignored */
    uint64_t events; /* stream events with content so far: about one token each */
};

/* Did the upstream report anything? */
static inline bool ps_usage_is_known(const struct ps_usage *usage)
{
    return usage->has_prompt || usage->has_completion || usage->has_total;
}

/* Fills what was not reported: the prompt by `input_tokens` (the request's estimate), the
 * completion by the events of a stream, or by bytes of the answer's body where there was no stream.
 */
void ps_usage_estimate(struct ps_usage *usage, uint64_t input_tokens, uint64_t answer_bytes,
                       double bytes_per_token);

/* What one event of a stream is. */
struct ps_usage_event {
    bool has_usage;  /* it carries usage that was read */
    bool only_usage; /* and nothing else: "choices" is there and empty. Hide it from those who did
                        not ask */
    bool done;       /* it is the terminal event [DONE] */
};

/* Reads the data of one event into *usage (zeroed before the first). Cheap for events without
 * usage. */
struct ps_usage_event ps_usage_read_event(struct ps_usage *usage, enum ps_dialect dialect,
                                          struct ps_str data);

/* Reads what the head of an answer tells, where a dialect puts figures there. */
void ps_usage_read_head(struct ps_usage *usage, enum ps_dialect dialect,
                        const struct ps_h1_head *head);

/* Reads an answer's JSON body piece by piece. Embedded; the fields are private. */
struct ps_usage_reader {
    struct ps_usage *usage; /* borrowed */
    struct ps_buf object;   /* the usage object so far */
    uint64_t number;        /* the figure so far */
    uint32_t depth;         /* open containers */
    uint32_t capture_depth; /* around the usage object */
    uint8_t dialect;        /* enum ps_dialect */
    uint8_t box;            /* the object with figures that is open at depth 2 */
    uint8_t figure;         /* what the number will be; 0 = nothing */
    uint8_t digits;         /* of it; more than there can be: it is none */
    uint8_t base;           /* 1 inside an array of answers */
    uint8_t key_len;
    char key[24];       /* the last member name, cut */
    bool in_string;     /* between quotes */
    bool escaped;       /* behind a backslash */
    bool name_next;     /* the next string is a member's name */
    bool in_name;       /* the string is one */
    bool value_next;    /* behind the colon of that name */
    bool below;         /* inside an object at the top whose members are looked at */
    bool capturing;     /* inside the usage object */
    bool too_large;     /* and it is larger than the bound */
    bool choices_open;  /* behind the '[' of choices, nothing else seen yet */
    bool choices_empty; /* "choices": [] was seen */
    bool given_up;      /* not an object */
    bool found;         /* usage was read */
};

/* Prepares for a body; *usage is filled by and by. Allocates nothing. */
void ps_usage_reader_init(struct ps_usage_reader *reader, enum ps_dialect dialect,
                          struct ps_usage *usage);
void ps_usage_reader_fini(struct ps_usage_reader *reader);

/* Reads the next bytes. Never fails: what can't be understood is not counted. */
void ps_usage_reader_feed(struct ps_usage_reader *reader, struct ps_str bytes);

#endif
