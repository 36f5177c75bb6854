/*
 * fuzz_dialect - paths and bodies of every dialect, and the figures in their answers.
 *
 * Input: a path, a line end, then a body. Whole and cut reading must agree; an edited body must be
 * a good body again; the same bytes as an answer must give the same figures in every cut.
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
#include "gateway/usage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int parse(struct ps_request_parser **out, const struct ps_operation *operation,
                 struct ps_str path, struct ps_str body, size_t step)
{
    int err = ps_request_parser_new(out, operation, NULL);
    PS_CHECK(err == PS_OK);
    if ((operation->flags & PS_OPERATION_MODEL) != 0) {
        err = ps_request_parser_path(*out, path);
    }
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

static void check_edits(const struct ps_request *request, const struct ps_operation *operation,
                        struct ps_str path, struct ps_str body)
{
    struct ps_request_edits edits;
    struct ps_buf out = ps_buf_make(body.len + 4096);
    size_t at = 0;
    ps_request_edits_make(request, true, PS_STR("an\"other"), &edits);
    PS_CHECK(edits.path.offset + edits.path.remove <= path.len);
    for (size_t i = 0; i < edits.count; i++) {
        const struct ps_request_edit *edit = &edits.items[i];
        PS_CHECK(edit->offset >= at && edit->offset + edit->remove <= body.len);
        PS_CHECK(ps_buf_append(&out, body.ptr + at, (size_t)edit->offset - at) == PS_OK);
        PS_CHECK(ps_buf_append_str(&out, edit->insert) == PS_OK);
        at = (size_t)(edit->offset + edit->remove);
    }
    PS_CHECK(ps_buf_append(&out, body.ptr + at, body.len - at) == PS_OK);
    struct ps_request_parser *again = NULL;
    PS_CHECK(parse(&again, operation, path, ps_buf_str(&out), SIZE_MAX) == PS_OK);
    const struct ps_request *edited = ps_request_parser_get(again);
    PS_CHECK(request->path_model.end != 0 || request->model_span.end == 0 ||
             strcmp(edited->model, "an\"other") == 0);
    PS_CHECK(edited->stream == request->stream && edited->max_tokens == request->max_tokens);
    ps_request_parser_free(again);
    ps_buf_fini(&out);
}

static struct ps_usage read_answer(enum ps_dialect dialect, struct ps_str body, size_t step)
{
    struct ps_usage usage = {0};
    struct ps_usage_reader reader;
    ps_usage_reader_init(&reader, dialect, &usage);
    while (body.len > 0) {
        ps_usage_reader_feed(&reader, ps_str_first(body, step));
        body = ps_str_skip(body, step);
    }
    ps_usage_reader_fini(&reader);
    return usage;
}

static void check_answer(enum ps_dialect dialect, struct ps_str body, size_t step)
{
    struct ps_usage whole = read_answer(dialect, body, SIZE_MAX);
    struct ps_usage cut = read_answer(dialect, body, step);
    PS_CHECK(memcmp(&whole, &cut, sizeof whole) == 0);
    PS_CHECK(whole.prompt_tokens <= 3 * PS_USAGE_TOKENS_MAX &&
             whole.completion_tokens <= PS_USAGE_TOKENS_MAX);
    struct ps_usage event = {0};
    (void)ps_usage_read_event(&event, dialect, body);
    ps_usage_estimate(&event, UINT64_MAX, UINT64_MAX, 0.0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ps_str input = {(const char *)data, size};
    struct ps_str path = ps_str_first(input, ps_str_find(input, '\n'));
    struct ps_str body = ps_str_skip(input, path.len + 1);
    const struct ps_operation *operation = ps_dialect_find(path);
    (void)ps_dialect_is_admin(operation, PS_STR("GET"));
    if (operation == NULL) {
        return 0;
    }
    struct ps_request_parser *whole = NULL;
    struct ps_request_parser *cut = NULL;
    int err = parse(&whole, operation, path, body, SIZE_MAX);
    PS_CHECK(err == parse(&cut, operation, path, body, 1 + size % 5));
    if (err == PS_OK) {
        const struct ps_request *request = ps_request_parser_get(whole);
        PS_CHECK(memcmp(request, ps_request_parser_get(cut), sizeof *request) == 0);
        PS_CHECK(ps_request_weight(request, ps_request_estimate(request, 4.0, 100)) >= 1);
        check_edits(request, operation, path, body);
    }
    ps_request_parser_free(whole);
    ps_request_parser_free(cut);
    check_answer(operation->dialect, body, 1 + size % 7);
    return 0;
}
