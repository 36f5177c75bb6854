/* answer - the JSON that an OpenAI-compatible server sends, with "simulated": true in each.
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_ANSWER_H
#define PS_SIM_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "sim/request.h"

#define PS_SIM_ID_TEXT 96

/* What every part of one answer repeats. Text is borrowed and needs no JSON escapes. */
struct ps_sim_answer {
    enum ps_sim_kind kind;
    const char *id;
    const char *model;
    int64_t created; /* seconds since 1970 */
};

struct ps_sim_tokens {
    uint64_t prompt;
    uint64_t cached; /* of the prompt */
    uint64_t completion;
};

/* A piece of a stream: one event with its empty line. begin: the first piece of this choice;
 * finish: "stop" or "length" for the last piece, or NULL. The text is printable ASCII without
 * quotes and backslashes. All functions: PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_sim_answer_chunk(struct ps_buf *out, const struct ps_sim_answer *answer,
                                      size_t index, bool begin, struct ps_str text,
                                      const char *finish);

/* The piece with the usage and without choices. */
PS_MUST_CHECK int ps_sim_answer_usage_chunk(struct ps_buf *out, const struct ps_sim_answer *answer,
                                            const struct ps_sim_tokens *tokens);

/* A whole answer: begin, one choice after the other, end. */
PS_MUST_CHECK int ps_sim_answer_begin(struct ps_buf *out, const struct ps_sim_answer *answer);
PS_MUST_CHECK int ps_sim_answer_choice(struct ps_buf *out, const struct ps_sim_answer *answer,
                                       size_t index, struct ps_str text, const char *finish);
PS_MUST_CHECK int ps_sim_answer_end(struct ps_buf *out, const struct ps_sim_tokens *tokens);

/* The whole answer to an embedding request. */
PS_MUST_CHECK int ps_sim_answer_embeddings(struct ps_buf *out, const struct ps_sim_answer *answer,
                                           const struct ps_sim_request *request, uint64_t tokens);

/* The whole answer to an image request; makes the pictures. */
PS_MUST_CHECK int ps_sim_answer_images(struct ps_buf *out, const struct ps_sim_answer *answer,
                                       const struct ps_sim_request *request);

/* An error in OpenAI's shape. param may be NULL. */
PS_MUST_CHECK int ps_sim_answer_error(struct ps_buf *out, const struct ps_sim_refusal *refusal);

#endif
