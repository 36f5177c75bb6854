/*
 * fuzz_request - the body parser and its edits.
 *
 * Input: any bytes. Whole and cut reading must agree; an edited body must be a good body again
 * whose second reading says what the edit wanted.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "gateway/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int parse(struct ps_request_parser **out, struct ps_str body, size_t step)
{
    int err = ps_request_parser_new(out, ps_dialect_find(PS_STR("/v1/chat/completions")), NULL);
    PS_CHECK(err == PS_OK);
    while (err == PS_OK && body.len > 0) {
        struct ps_str piece = ps_str_first(body, step);
        char *copy = malloc(piece.len);
        PS_CHECK(copy != NULL);
        memcpy(copy, piece.ptr, piece.len);
        err = ps_request_parser_feed(*out, (struct ps_str){copy, piece.len});
        free(copy);
        body = ps_str_skip(body, piece.len);
    }
    return err == PS_OK ? ps_request_parser_end(*out) : err;
}

static void append(struct ps_buf *out, const char *bytes, size_t len)
{
    PS_CHECK(ps_buf_append(out, bytes, len) == PS_OK);
}

static void check_edits(const struct ps_request *request, struct ps_str body)
{
    struct ps_request_edits edits;
    ps_request_edits_make(request, true, PS_STR("an\"other"), &edits);
    struct ps_buf out = ps_buf_make(body.len + 4096);
    size_t at = 0;
    for (size_t i = 0; i < edits.count; i++) {
        const struct ps_request_edit *edit = &edits.items[i];
        PS_CHECK(edit->offset >= at && edit->offset + edit->remove <= body.len);
        append(&out, body.ptr + at, (size_t)edit->offset - at);
        append(&out, edit->insert.ptr, edit->insert.len);
        at = (size_t)(edit->offset + edit->remove);
    }
    append(&out, body.ptr + at, body.len - at);
    PS_CHECK((int64_t)out.len == (int64_t)body.len + edits.growth);
    struct ps_request_parser *again = NULL;
    PS_CHECK(parse(&again, ps_buf_str(&out), SIZE_MAX) == PS_OK);
    const struct ps_request *edited = ps_request_parser_get(again);
    PS_CHECK(request->model_span.end == 0 || strcmp(edited->model, "an\"other") == 0);
    PS_CHECK(!request->stream || request->options_invalid || edited->include_usage);
    PS_CHECK(edited->stream == request->stream && edited->max_tokens == request->max_tokens);
    ps_request_parser_free(again);
    ps_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ps_str body = {(const char *)data, size};
    struct ps_request_parser *whole = NULL;
    struct ps_request_parser *cut = NULL;
    int err = parse(&whole, body, SIZE_MAX);
    int err_cut = parse(&cut, body, 1 + size % 5);
    PS_CHECK(err == err_cut);
    if (err == PS_OK) {
        const struct ps_request *request = ps_request_parser_get(whole);
        PS_CHECK(memcmp(request, ps_request_parser_get(cut), sizeof *request) == 0);
        PS_CHECK(ps_request_estimate(request, 4.0, 100) >= 1);
        check_edits(request, body);
    } else {
        PS_CHECK(ps_request_parser_error(whole).offset <= size);
        PS_CHECK(ps_request_parser_error(cut).offset <= size);
    }
    ps_request_parser_free(whole);
    ps_request_parser_free(cut);
    return 0;
}
