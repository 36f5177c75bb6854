/* answer - the JSON that an OpenAI-compatible server sends, with "simulated": true in each.
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_ANSWER_H
#define PS_SIM_ANSWER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "sim/request.h"

#define PS_SIM_ID_TEXT 96

struct ps_sim_tokens {
    uint64_t prompt;
    uint64_t cached; /* of the prompt */
    uint64_t completion;
};

/* How long the parts of a request took so far. */
struct ps_sim_timing {
    ps_span total;
    ps_span load; /* of the model, for this request */
    ps_span queue;
    ps_span prompt;
    ps_span decode;
};

/* What every part of one answer repeats. Text is borrowed and needs no JSON escapes. */
struct ps_sim_answer {
    enum ps_sim_kind kind;
    const char *id;
    const char *model;
    int64_t created; /* seconds since 1970 */
    ps_time wall;    /* now, in nanoseconds since 1970 */
    const struct ps_sim_request *request;
    void *own;           /* the personality's; for what it counts */
    const json_t *given; /* what the client sent, where the answer repeats some of it; or NULL */
};

/* A part of one choice's answer: printable ASCII without quotes and backslashes. */
struct ps_sim_piece {
    size_t index;
    bool begin; /* the first piece of this choice */
    struct ps_str text;
    const char *finish; /* "stop", "length" or "abort" with the last piece, otherwise NULL */
    const struct ps_sim_prompt *prompt;
    struct ps_sim_tokens tokens; /* this piece included */
    uint64_t shown;              /* bytes of text up to the end of this piece */
    struct ps_sim_timing timing;
};

/* How one surface writes answers: a stream is chunks and a tail, a whole answer is begin, choices
 * and end, or vectors where nothing was generated, or pictures. What a surface does not have is
 * NULL. Each appends, and returns PS_OK, PS_ELIMIT or PS_ENOMEM. */
struct ps_sim_dialect {
    const char *stream_type; /* Content-Type of a stream */
    bool each_token;         /* every token is a chunk of its own */
    int (*chunk)(struct ps_buf *out, const struct ps_sim_answer *answer,
                 const struct ps_sim_piece *piece);
    int (*tail)(struct ps_buf *out, const struct ps_sim_answer *answer,
                const struct ps_sim_tokens *tokens);
    int (*begin)(struct ps_buf *out, const struct ps_sim_answer *answer);
    int (*choice)(struct ps_buf *out, const struct ps_sim_answer *answer,
                  const struct ps_sim_piece *piece);
    int (*end)(struct ps_buf *out, const struct ps_sim_answer *answer,
               const struct ps_sim_tokens *tokens);
    int (*vectors)(struct ps_buf *out, const struct ps_sim_answer *answer,
                   const struct ps_sim_tokens *tokens, const struct ps_sim_timing *timing);
    int (*pictures)(struct ps_buf *out, const struct ps_sim_answer *answer);
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
