/* answer - what the gateway says itself: errors, in the shape that the client understands.
 *
 * OpenAI clients look for {"error":{"message","type","code"}}, Ollama's and Triton's for {"error":"text"};
 * which, the table of dialects says. Everybody else gets RFC 9457 application/problem+json. 429 and 503
 * always say when to come back.
 *
 * Thread: the exchange's loop.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_ANSWER_H
#define PS_GATEWAY_ANSWER_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/str.h"
#include "gateway/dialect.h"

struct ps_exchange;

struct ps_answer {
    int status;
    enum ps_error_shape shape;
    const char *type;   /* "invalid_request_error", "rate_limit_error", "server_error", ...; NULL = by status */
    const char *code;   /* machine-readable, or NULL */
    ps_span retry_after; /* 0 = none; rounded up to whole seconds */
    struct ps_str headers; /* more whole lines, or empty */
};

/* Answers with the sentence `message` (no secrets, escaped here) and ends the exchange. */
void ps_answer_error(struct ps_exchange *exchange, const struct ps_answer *answer, struct ps_str message);

/* The same, formatted, up to 512 bytes. */
void ps_answer_errorf(struct ps_exchange *exchange, const struct ps_answer *answer, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
