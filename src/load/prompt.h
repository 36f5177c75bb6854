/* prompt - the text and the JSON of a planned request.
 *
 * Traces hold lengths, not text. The text made here is plain three-letter words: one word and the space
 * behind it stand for one token, so a prompt of n tokens is 4n bytes, which is what English averages
 * in common tokenizers. It is a function of the ids and seeds of the entry alone: equal block ids are
 * equal bytes, so what a prefix cache could share in the recorded system it can share here.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_PROMPT_H
#define PS_LOAD_PROMPT_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "load/plan.h"

#define PS_PROMPT_TOKEN_BYTES 4u

/* Appends the prompt of an entry: PS_PROMPT_TOKEN_BYTES * prompt_tokens bytes, letters and spaces
 * only. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_prompt_text(const struct ps_plan_entry *entry, struct ps_buf *out);

/* What a request says besides its prompt. */
struct ps_prompt_opts {
    const char *model;
    bool ignore_eos; /* adds vLLM's "ignore_eos": the answer is as long as recorded, not shorter */
};

/* Appends the body of a request: an OpenAI chat completion, streamed, with usage at the end; or an OpenAI
 * embedding. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_prompt_body(const struct ps_plan_entry *entry,
                                 const struct ps_prompt_opts *opts, struct ps_buf *out);

#endif
