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
#include "load/protocol.h"

#define PS_PROMPT_TOKEN_BYTES 4u

/* Appends the prompt of an entry: PS_PROMPT_TOKEN_BYTES * prompt_tokens bytes, letters and spaces
 * only. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_prompt_text(const struct ps_plan_entry *entry, struct ps_buf *out);

/* What a request says besides its prompt. */
struct ps_prompt_opts {
    const char *model;
    /* Instead of it, for requests to one of several: the n-th is asked for a n-th as often as the
     * first. The list ends with NULL; which it is depends on the entry alone. NULL = none. */
    const char *const *models;
    bool ignore_eos; /* adds vLLM's "ignore_eos": the answer is as long as recorded, not shorter */
    enum ps_protocol protocol;
};

/* Pictures (comfyui): 512 x 512, one step for each PS_PROMPT_STEP_TOKENS tokens of the recorded answer,
 * 1 to PS_PROMPT_STEPS_MAX; the prompt is cut to what a text encoder reads. A trace of chats says when
 * and how much, not which pictures: this is assumed. */
#define PS_PROMPT_STEP_TOKENS    32u
#define PS_PROMPT_STEPS_MAX      20u
#define PS_PROMPT_PICTURE_TOKENS 75u
/* Clients of a ComfyUI server have ids: requests take turns among so many. */
#define PS_PROMPT_CLIENTS 32u

/* Appends the body of a request: a chat, streamed, with its counts at the end; an embedding; or a
 * graph that makes a picture. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_prompt_body(const struct ps_plan_entry *entry,
                                 const struct ps_prompt_opts *opts, struct ps_buf *out);

#endif
