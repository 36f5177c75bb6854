/*
 * fuzz_usage - the scanner for usage in answers and events.
 *
 * Input: any bytes. Whole and cut reading must agree, figures are bounded, an event is read like a
 * body.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "gateway/usage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ps_usage read_body(struct ps_str body, size_t step)
{
    struct ps_usage usage = {0};
    struct ps_usage_reader reader;
    ps_usage_reader_init(&reader, PS_DIALECT_OPENAI, &usage);
    while (body.len > 0) {
        struct ps_str piece = ps_str_first(body, step);
        char *copy = malloc(piece.len);
        PS_CHECK(copy != NULL);
        memcpy(copy, piece.ptr, piece.len);
        ps_usage_reader_feed(&reader, (struct ps_str){copy, piece.len});
        free(copy);
        body = ps_str_skip(body, piece.len);
    }
    ps_usage_reader_fini(&reader);
    return usage;
}

static bool same(const struct ps_usage *a, const struct ps_usage *b)
{
    return a->prompt_tokens == b->prompt_tokens && a->completion_tokens == b->completion_tokens &&
           a->total_tokens == b->total_tokens && a->cached_tokens == b->cached_tokens &&
           a->malformed == b->malformed;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ps_str body = {(const char *)data, size};
    struct ps_usage whole = read_body(body, SIZE_MAX);
    struct ps_usage cut = read_body(body, 1 + size % 7);
    PS_CHECK(same(&whole, &cut));
    PS_CHECK(whole.prompt_tokens <= 3 * PS_USAGE_TOKENS_MAX);
    PS_CHECK(whole.completion_tokens <= PS_USAGE_TOKENS_MAX);
    struct ps_usage event = {0};
    struct ps_usage_event kind = ps_usage_read_event(&event, PS_DIALECT_OPENAI, body);
    PS_CHECK(!kind.only_usage || kind.has_usage);
    PS_CHECK(!kind.has_usage || same(&event, &whole));
    ps_usage_estimate(&event, UINT64_MAX, UINT64_MAX, 0.0);
    return 0;
}
