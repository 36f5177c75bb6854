/* trace - one line of a published request trace, read strictly.
 *
 *   azure      CSV    t_s,context_tokens,generated_tokens      (Azure LLM inference trace 2023)
 *   mooncake   JSONL  {"timestamp":ms,"input_length":n,"output_length":n,"hash_ids":[..]}
 *                     one id per 512-token block of the prompt; equal ids are equal blocks
 *   servegen   CSV    t_s,total_rps,client...                  (rates, not requests)
 *
 * Which one it is says the first line. Numbers are bounded, because they become memory and time.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_TRACE_H
#define PS_LOAD_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"

#define PS_TRACE_BLOCK_TOKENS 512u      /* tokens that one Mooncake hash id stands for */
#define PS_TRACE_BLOCKS_MAX 8192u       /* ids of one request: prompts of 4 Mi tokens */
#define PS_TRACE_TOKENS_MAX (1u << 22)  /* tokens of one prompt or answer */
#define PS_TRACE_RATE_MAX 1e6           /* requests a second */

enum ps_trace_format { PS_TRACE_AZURE, PS_TRACE_MOONCAKE, PS_TRACE_SERVEGEN };

/* "azure", "mooncake", "servegen". */
const char *ps_trace_format_text(enum ps_trace_format format);

/* What a line says. What a format doesn't have is 0. */
struct ps_trace_row {
    ps_span at; /* from the start of the trace */
    uint32_t prompt_tokens;
    uint32_t output_tokens;
    double rate; /* servegen: requests a second from `at` on */
    size_t block_count;
    uint64_t blocks[PS_TRACE_BLOCKS_MAX]; /* the first block_count are valid */
};

/* Tells the format from the first line of a file; *header tells whether that line is a header and not
 * yet a row. PS_OK, or PS_EPARSE when it is none of them. */
PS_MUST_CHECK int ps_trace_detect(struct ps_str first_line, enum ps_trace_format *format,
                                  int *header);

/* Reads one line. PS_OK; PS_EPARSE, and *reason says in words what is wrong with it (static); PS_ENOMEM.
 * The row's content is undefined after a failure. */
PS_MUST_CHECK int ps_trace_parse(enum ps_trace_format format, struct ps_str line,
                                 struct ps_trace_row *row, const char **reason);

#endif
