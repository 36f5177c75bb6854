/*
 * fuzz_ndjson - the splitter of JSON lines.
 *
 * Input: any bytes. The lines of every cut are the same, none is longer than the bound, and joined
 * they are the input without line ends and without what was too long.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "http/ndjson.h"

enum { BOUND = 32 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void split(struct ps_str input, size_t step, struct ps_buf *out)
{
    struct ps_ndjson lines;
    struct ps_str line;
    ps_ndjson_init(&lines, BOUND);
    while (input.len > 0) {
        struct ps_str piece = ps_str_first(input, step);
        char *copy = malloc(piece.len);
        PS_CHECK(copy != NULL);
        memcpy(copy, piece.ptr, piece.len);
        struct ps_str rest = {copy, piece.len};
        while (ps_ndjson_next(&lines, &rest, &line)) {
            PS_CHECK(line.len > 0 && line.len <= BOUND && memchr(line.ptr, '\n', line.len) == NULL);
            PS_CHECK(ps_buf_append_str(out, line) == PS_OK && ps_buf_append(out, "\n", 1) == PS_OK);
        }
        PS_CHECK(rest.len == 0);
        free(copy);
        input = ps_str_skip(input, piece.len);
    }
    PS_CHECK(ps_ndjson_rest(&lines).len <= BOUND);
    PS_CHECK(ps_buf_append_str(out, ps_ndjson_rest(&lines)) == PS_OK);
    ps_ndjson_fini(&lines);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ps_str input = {(const char *)data, size};
    struct ps_buf whole = ps_buf_make(SIZE_MAX);
    struct ps_buf cut = ps_buf_make(SIZE_MAX);
    split(input, SIZE_MAX, &whole);
    split(input, 1 + size % 7, &cut);
    PS_CHECK(ps_str_eq(ps_buf_str(&whole), ps_buf_str(&cut)));
    ps_buf_fini(&whole);
    ps_buf_fini(&cut);
    return 0;
}
