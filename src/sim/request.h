/* request - what a client of an OpenAI-compatible server asks for, checked.
 *
 * The JSON is strict (no duplicate keys, no trailing bytes) and answers come as vLLM would give
 * them: 400 with a sentence for what is malformed, missing or too long, 404 for a model that isn't
 * served. Fields that change nothing in a simulation are accepted and ignored.
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_REQUEST_H
#define PS_SIM_REQUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "sim/chain.h"
#include "sim/options.h"

#define PS_SIM_MOST_CHOICES 2048u /* prompts times n, or inputs of an embedding request */

/* PS_SIM_NATIVE is an engine's own route for one prompt, translated to the completions form:
 * without max_tokens it ends by itself. */
enum ps_sim_kind { PS_SIM_CHAT, PS_SIM_COMPLETION, PS_SIM_EMBEDDING, PS_SIM_IMAGE, PS_SIM_NATIVE };

/* What is wrong with a request. */
struct ps_sim_refusal {
    int status;
    const char *type;  /* "BadRequestError", "NotFoundError" */
    const char *param; /* the field, or NULL */
    char text[300];
};

/* One prompt, to be answered once. */
struct ps_sim_prompt {
    struct ps_sim_chain chain;
    uint64_t want;       /* tokens */
    uint64_t text_bytes; /* of the answer that are shown; fewer than 4 * want after a stop text */
    uint64_t seed;       /* of the answer, or of the vector */
    bool stopped;        /* ends by itself, not because it reached max_tokens */
    int32_t *vector;     /* embeddings: owned, `dimensions` components */
};

struct ps_sim_request {
    enum ps_sim_kind kind;
    size_t model;                  /* index into opts->models */
    struct ps_sim_prompt *prompts; /* owned */
    size_t count;
    bool stream;
    bool include_usage;
    bool base64; /* embeddings: encoding_format */
    size_t dimensions;
    uint32_t width, height; /* images */
    uint64_t steps;
    uint64_t pictures;
    uint64_t picture_seed;
};

/* Reads a body. The limits are the server's: max_model_len counts prompt and answer together.
 * PS_OK; PS_EINVAL with *refusal filled; PS_ENOMEM. On failure nothing is owned. */
PS_MUST_CHECK int ps_sim_request_parse(enum ps_sim_kind kind, struct ps_str body,
                                       const struct ps_sim_opts *opts, uint64_t max_model_len,
                                       struct ps_sim_request *out, struct ps_sim_refusal *refusal);

/* The same for a body that is a tree already. */
PS_MUST_CHECK int ps_sim_request_read(enum ps_sim_kind kind, const json_t *root,
                                      const struct ps_sim_opts *opts, uint64_t max_model_len,
                                      struct ps_sim_request *out, struct ps_sim_refusal *refusal);

/* Frees what the request owns; a zeroed one is fine. */
void ps_sim_request_fini(struct ps_sim_request *request);

#endif
