/* request - what the gateway knows about an inference request, read while its body arrives.
 *
 * One internal description for all dialects (dialect.h). Everything behind it (routing by model,
 * limits, admission, balancing, usage) reads this struct and never the JSON again. Bodies are
 * forwarded as they came; where something must change, the description knows the byte offsets, so
 * that an edit is a splice and the rest stays byte-identical.
 *
 *      {"model": "a", "stream": true, "messages": [...]}
 *       ^top    ^---^model                              edits are {offset, remove, insert}
 *
 * What the upstream could read differently from us is refused: `model`, `stream` or
 * `stream_options` given twice or in other than lower case (some servers ignore the case of
 * letters), a `stream` that is not a boolean.
 *
 * Thread: a parser is owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_REQUEST_H
#define PS_GATEWAY_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/chunk.h"
#include "base/err.h"
#include "base/str.h"
#include "gateway/dialect.h"
#include "gateway/sticky.h"

#define PS_REQUEST_MODEL_MAX  256  /* bytes of a model name; longer ones are refused */
#define PS_REQUEST_PREFIX_MAX 2048 /* bytes of prompt text that the prefix hash sees */
#define PS_REQUEST_DEPTH_MAX  128  /* nesting of the JSON; deeper is refused */
#define PS_REQUEST_EDITS_MAX  3

/* A place in the body where a member's value stands: from behind the key's closing quote to the end
 * of the value, colon included (so that an edit replaces `: "old"` by `:"new"`). end 0 = absent. */
struct ps_request_span {
    uint64_t start;
    uint64_t end;
};

struct ps_request {
    enum ps_dialect dialect;
    enum ps_request_kind kind;

    char model[PS_REQUEST_MODEL_MAX + 1]; /* terminated; no control characters inside */
    size_t model_len;                     /* 0 = absent */

    bool stream;        /* "stream": true */
    bool include_usage; /* the client asked for stream_options.include_usage */
    bool has_temperature;
    bool has_seed;
    bool store; /* "store": true */
    bool duplicate_members; /* a known top-level member was given twice (forwarded, never cached) */
    double temperature;

    uint64_t max_tokens; /* the most that may be written for each answer; 0 = absent */
    uint64_t n;          /* answers or images asked for; 1 when absent */

    uint64_t body_bytes;  /* of the JSON seen so far */
    uint64_t input_bytes; /* prompt text: messages, prompt, input, instructions, tools */
    uint64_t input_ids;   /* numbers given as prompt or input: token ids */
    uint64_t inputs; /* items of input or prompt, messages of a chat, first dimension of tensors */
    uint64_t media;  /* images, audio and files; their bytes are not text */

    uint64_t image_width; /* images: "size" or width and height; 0 = absent */
    uint64_t image_height;
    uint64_t image_steps; /* in a graph: of all its samplers; 0 = absent */

    /* Over the model and the first PS_REQUEST_PREFIX_MAX bytes of prompt text with roles; the same
     * on every gateway. 0 when there is no prompt text. Valid after ps_request_parser_end(). */
    uint64_t prefix_hash;

    /* Of ComfyUI's calls: who asks, which job, which uploaded file. Zero = absent. */
    struct ps_sticky_key client;
    struct ps_sticky_key job;
    struct ps_sticky_key file;

    /* For ps_request_edits(). */
    struct ps_request_span path_model;   /* the model in the path; end 0 = it is not there */
    uint64_t top;                        /* offset behind the '{' of the body */
    struct ps_request_span model_span;   /* value of model */
    struct ps_request_span options_span; /* value of stream_options */
    struct ps_request_span include_span; /* value of stream_options.include_usage */
    uint64_t options_inside;             /* behind the '{' of stream_options; 0 = no object */
    bool options_empty;                  /* that object has no member */
    bool options_invalid;                /* neither object nor null, or odd inside: left alone */
};

/* A change to the body: at `offset` drop `remove` bytes and put `insert` there. */
struct ps_request_edit {
    uint64_t offset;
    uint64_t remove;
    struct ps_str insert;
};

/* The edits of one request, sorted by offset, not overlapping. Self-contained: texts live in
 * `store`, so the struct must not be copied by assignment. */
struct ps_request_edits {
    struct ps_request_edit items[PS_REQUEST_EDITS_MAX];
    size_t count;
    int64_t growth;              /* how much longer the body becomes (may be negative) */
    struct ps_request_edit path; /* of the path; nothing when both lengths are 0 */
    char store[PS_REQUEST_MODEL_MAX * 6 + 16];
};

/* What makes the upstream count tokens in a stream (want_usage; nothing happens when the request
 * does not stream or asks already) and what renames the model (`target` of at most
 * PS_REQUEST_MODEL_MAX bytes; empty = keep). */
void ps_request_edits_make(const struct ps_request *request, bool want_usage, struct ps_str target,
                           struct ps_request_edits *out);

/* Does the body or the path have to change? */
bool ps_request_needs_edits(const struct ps_request *request, struct ps_str target);

/* Does the client's stream get usage that it did not ask for, so that it has to be hidden? */
bool ps_request_adds_usage(const struct ps_request *request);

/* Tokens that the request may take in all: prompt by bytes per token (> 0), and n times max_tokens
 * or, without that, `default_output`; embeddings have no output. At least 1. */
uint64_t ps_request_estimate(const struct ps_request *request, double bytes_per_token,
                             uint64_t default_output);

/* The prompt's part of the estimate. */
uint64_t ps_request_estimate_input(const struct ps_request *request, double bytes_per_token);

/* What the request weighs when endpoints are compared: work on images in units of 65,536 pixels for
 * one step (512x512 in 20 steps where it does not say), everything else its `tokens`. */
uint64_t ps_request_weight(const struct ps_request *request, uint64_t tokens);

/* Why a body was refused: for the answer 400. */
struct ps_request_error {
    uint64_t offset;    /* bytes from the start of the body to the offending token or its end */
    const char *reason; /* static, a short phrase */
};

struct ps_request_parser;

/* Creates a parser for a call's body. What the parser itself must hold (a string that is cut by the
 * edge of two feeds) counts against `budget` (NULL = no bound). PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_request_parser_new(struct ps_request_parser **out,
                                        const struct ps_operation *operation,
                                        struct ps_budget *budget);

/* NULL is fine. */
void ps_request_parser_free(struct ps_request_parser *parser);

/* Takes the model out of a path that has it (PS_OPERATION_MODEL). PS_OK; PS_EPARSE: see
 * ps_request_parser_error(). */
PS_MUST_CHECK int ps_request_parser_path(struct ps_request_parser *parser, struct ps_str path);

/* Reads the next bytes of the body; borrowed until it returns. PS_OK; PS_EPARSE: see
 * ps_request_parser_error(), stays so; PS_ELIMIT (budget) and PS_ENOMEM: give up likewise. */
PS_MUST_CHECK int ps_request_parser_feed(struct ps_request_parser *parser, struct ps_str bytes);

/* The body is complete. PS_OK, or as above (an empty or cut document is PS_EPARSE). */
PS_MUST_CHECK int ps_request_parser_end(struct ps_request_parser *parser);

/* What is known so far (it may lag behind the feeds); complete after a successful end. Valid as
 * long as the parser. */
const struct ps_request *ps_request_parser_get(const struct ps_request_parser *parser);

/* After PS_EPARSE. */
struct ps_request_error ps_request_parser_error(const struct ps_request_parser *parser);

#endif
