/* request - descriptions of inference requests, byte offsets, edits and refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/check.h"
#include "gateway/request.h"

static const struct ps_operation *operation_of(enum ps_request_kind kind)
{
    for (size_t n = 0; ps_dialect_row(n) != NULL; n++) {
        const struct ps_operation *row = ps_dialect_row(n);
        if (row->dialect == PS_DIALECT_OPENAI && row->kind == kind &&
            ps_str_starts_with(row->path, PS_STR("/v1/"))) {
            return row;
        }
    }
    return ps_dialect_openai(PS_STR("/"));
}

/* Parses a body in pieces of `step` bytes; each piece in a block of its own size. */
static int parse(struct ps_request_parser **out, enum ps_request_kind kind, struct ps_str body,
                 size_t step)
{
    assert_int_equal(ps_request_parser_new(out, operation_of(kind), NULL), PS_OK);
    int err = PS_OK;
    while (err == PS_OK && body.len > 0) {
        struct ps_str piece = ps_str_first(body, step);
        char *copy = malloc(piece.len);
        assert_non_null(copy);
        memcpy(copy, piece.ptr, piece.len);
        err = ps_request_parser_feed(*out, (struct ps_str){copy, piece.len});
        free(copy);
        body = ps_str_skip(body, piece.len);
    }
    return err == PS_OK ? ps_request_parser_end(*out) : err;
}

static struct ps_request_parser *parse_ok(const char *body)
{
    struct ps_request_parser *parser = NULL;
    int err = parse(&parser, PS_REQUEST_CHAT, ps_str_from(body), SIZE_MAX);
    if (err != PS_OK) {
        fail_msg("%s: %s", body, ps_request_parser_error(parser).reason);
    }
    return parser;
}

static void expect_refusal(const char *body, uint64_t offset, const char *reason)
{
    for (size_t step = 1; step < 8; step++) {
        struct ps_request_parser *parser = NULL;
        assert_int_equal(parse(&parser, PS_REQUEST_CHAT, ps_str_from(body), step), PS_EPARSE);
        struct ps_request_error error = ps_request_parser_error(parser);
        if (strstr(error.reason, reason) == NULL || error.offset != offset) {
            fail_msg("%s: %s at %llu", body, error.reason, (unsigned long long)error.offset);
        }
        ps_request_parser_free(parser);
    }
}

/* Applies the edits as the proxy does. */
static void expect_edited(const char *body, bool want_usage, const char *target, const char *want)
{
    for (size_t step = 1; step < 70; step += 4) {
        struct ps_request_parser *parser = NULL;
        assert_int_equal(parse(&parser, PS_REQUEST_CHAT, ps_str_from(body), step), PS_OK);
        struct ps_request_edits edits;
        ps_request_edits_make(ps_request_parser_get(parser), want_usage, ps_str_from(target),
                              &edits);
        struct ps_buf out = ps_buf_make(1 << 16);
        size_t at = 0;
        for (size_t i = 0; i < edits.count; i++) {
            const struct ps_request_edit *edit = &edits.items[i];
            assert_true(edit->offset >= at);
            assert_int_equal(ps_buf_append(&out, body + at, (size_t)edit->offset - at), PS_OK);
            assert_int_equal(ps_buf_append_str(&out, edit->insert), PS_OK);
            at = (size_t)(edit->offset + edit->remove);
        }
        assert_int_equal(ps_buf_append(&out, body + at, strlen(body) - at), PS_OK);
        assert_int_equal((int64_t)out.len, (int64_t)strlen(body) + edits.growth);
        if (!ps_str_eq(ps_buf_str(&out), ps_str_from(want))) {
            fail_msg("%s\n gave %.*s", body, PS_STR_ARG(ps_buf_str(&out)));
        }
        ps_buf_fini(&out);
        ps_request_parser_free(parser);
    }
}

static void a_chat_is_described(void **state)
{
    (void)state;
    struct ps_request_parser *parser = parse_ok(
        "{\"model\":\"ll\\u0061ma\",\"messages\":[{\"role\":\"system\",\"content\":\"be brief\"},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hi\"},"
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:xxxxxxxxxxxxxxxxxxxxxx\"}}]}],"
        "\"stream\":true,\"max_tokens\":5,\"max_completion_tokens\":70,\"n\":2,\"temperature\":0,"
        "\"seed\":7}");
    const struct ps_request *request = ps_request_parser_get(parser);
    assert_string_equal(request->model, "llama");
    assert_true(request->stream);
    assert_int_equal(request->max_tokens, 70);
    assert_int_equal(request->n, 2);
    assert_true(request->has_temperature && request->temperature == 0.0);
    assert_true(request->has_seed);
    assert_int_equal(request->inputs, 2);
    assert_int_equal(request->media, 1);
    assert_int_equal(request->input_bytes, 8 + 4 + 2 + 9); /* with the two types */
    assert_true(request->prefix_hash != 0);
    assert_false(request->duplicate_members);
    assert_int_equal(ps_request_estimate(request, 4.0, 100), 6 + 1000 + 140);
    ps_request_parser_free(parser);
}

static void inputs_of_embeddings_are_counted(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        uint64_t inputs, ids, bytes;
    } cases[] = {
        {"{\"input\":\"abc\"}", 1, 0, 3}, {"{\"input\":[\"abc\",\"de\"]}", 2, 0, 5},
        {"{\"input\":[1,2,3]}", 1, 3, 0}, {"{\"input\":[[1,2],[3]]}", 2, 3, 0},
        {"{\"input\":[]}", 0, 0, 0},      {"{}", 0, 0, 0},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        struct ps_request_parser *parser = parse_ok(cases[i].body);
        const struct ps_request *request = ps_request_parser_get(parser);
        assert_int_equal(request->inputs, cases[i].inputs);
        assert_int_equal(request->input_ids, cases[i].ids);
        assert_int_equal(request->input_bytes, cases[i].bytes);
        ps_request_parser_free(parser);
    }
}

static void an_image_has_size_and_steps(void **state)
{
    (void)state;
    struct ps_request_parser *parser =
        parse_ok("{\"prompt\":\"a cat\",\"size\":\"1024x768\",\"num_inference_steps\":30,\"n\":4}");
    const struct ps_request *request = ps_request_parser_get(parser);
    assert_int_equal(request->image_width, 1024);
    assert_int_equal(request->image_height, 768);
    assert_int_equal(request->image_steps, 30);
    assert_int_equal(request->n, 4);
    ps_request_parser_free(parser);
}

static void the_description_does_not_depend_on_the_cuts(void **state)
{
    (void)state;
    const char *body = " {\"messages\":[{\"role\":\"user\",\"content\":\"a\\n\\u00e9b\"}] ,"
                       "\"model\" : \"m1\",\"max_tokens\":12 ,\"stream\":true} ";
    struct ps_request_parser *whole = parse_ok(body);
    for (size_t step = 1; step < 40; step++) {
        struct ps_request_parser *parser = NULL;
        assert_int_equal(parse(&parser, PS_REQUEST_CHAT, ps_str_from(body), step), PS_OK);
        assert_memory_equal(ps_request_parser_get(parser), ps_request_parser_get(whole),
                            sizeof(struct ps_request));
        ps_request_parser_free(parser);
    }
    ps_request_parser_free(whole);
}

static void equal_beginnings_have_equal_prefix_hashes(void **state)
{
    (void)state;
    char *text = malloc(5000);
    assert_non_null(text);
    uint64_t hashes[3];
    for (int i = 0; i < 3; i++) {
        char tail = (char)('a' + i);
        char head = i == 2 ? 'Y' : 'X';
        snprintf(text, 5000, "{\"model\":\"m\",\"prompt\":\"%c%03000d%c\"}", head, 0, tail);
        struct ps_request_parser *parser = parse_ok(text);
        hashes[i] = ps_request_parser_get(parser)->prefix_hash;
        ps_request_parser_free(parser);
    }
    assert_true(hashes[0] == hashes[1]);
    assert_true(hashes[0] != hashes[2]);
    free(text);
}

static void usage_is_asked_for_by_splicing(void **state)
{
    (void)state;
    expect_edited("{\"stream\":true}", true, "",
                  "{\"stream_options\":{\"include_usage\":true},\"stream\":true}");
    expect_edited(" { \"stream\" : true , \"stream_options\" : { } }", true, "",
                  " { \"stream\" : true , \"stream_options\" : {\"include_usage\":true } }");
    expect_edited("{\"stream_options\":{\"x\":[1]},\"stream\":true}", true, "",
                  "{\"stream_options\":{\"include_usage\":true,\"x\":[1]},\"stream\":true}");
    expect_edited("{\"stream_options\":{\"include_usage\" : false},\"stream\":true}", true, "",
                  "{\"stream_options\":{\"include_usage\":true},\"stream\":true}");
    expect_edited("{\"stream_options\": null,\"stream\":true}", true, "",
                  "{\"stream_options\":{\"include_usage\":true},\"stream\":true}");
}

static void what_asks_already_or_does_not_stream_is_left_alone(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{\"stream\":false}",
        "{\"stream\":true,\"stream_options\":{\"include_usage\":true}}",
        "{\"stream\":true,\"stream_options\":3}",
        "{\"stream\":true,\"stream_options\":[{}]}",
        "{\"stream\":true,\"stream_options\":{\"include_usage\":\"yes\"}}",
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(bodies); i++) {
        expect_edited(bodies[i], true, "", bodies[i]);
    }
}

static void a_model_is_renamed_in_place(void **state)
{
    (void)state;
    expect_edited("{\"a\":1,\"model\" :\t\"old\" ,\"stream\":true}", true, "new\"\\\n",
                  "{\"stream_options\":{\"include_usage\":true},\"a\":1,"
                  "\"model\":\"new\\\"\\\\\\u000a\" ,\"stream\":true}");
    expect_edited("{\"model\":\"same\"}", false, "same", "{\"model\":\"same\"}");
    expect_edited("{\"x\":{\"model\":\"inner\"},\"model\":\"o\"}", false, "new",
                  "{\"x\":{\"model\":\"inner\"},\"model\":\"new\"}");
    expect_edited("{\"model\":7}", false, "new", "{\"model\":7}");
}

static void malformed_bodies_are_refused_with_their_offset(void **state)
{
    (void)state;
    expect_refusal("", 0, "premature EOF");
    expect_refusal("{\"a\":1", 6, "premature EOF");
    expect_refusal("[]", 1, "must be a JSON object");
    expect_refusal("\"a\"", 3, "must be a JSON object");
    expect_refusal("{} {}", 4, "trailing garbage");
    expect_refusal("{} \"never ends", 14, "trailing garbage");
    expect_refusal("{}\"\\", 4, "trailing garbage");
    expect_refusal("{\"a\" 1}", 6, "colon");
    expect_refusal("{\"a\":1,}", 8, "object key");
    expect_refusal("{\"a\":tru3}", 8, "invalid string in json text");
}

static void what_upstreams_may_read_differently_is_refused(void **state)
{
    (void)state;
    expect_refusal("{\"model\":\"a\",\"model\":\"b\"}", 20, "given twice");
    expect_refusal("{\"model\":\"a\",\"Model\":\"b\"}", 20, "given twice");
    expect_refusal("{\"Stream\":true}", 9, "lower case");
    expect_refusal("{\"model\":\"a\",\"mod\\u0065l\":\"b\"}", 25, "given twice");
    expect_refusal("{\"stream\":true,\"stream\":false}", 23, "given twice");
    expect_refusal("{\"stream\":\"true\"}", 16, "stream must be");
    expect_refusal("{\"stream\":{}}", 11, "stream must be");
    expect_refusal("{\"model\":\"a\\u0000b\"}", 19, "control character");
}

static void other_members_given_twice_are_flagged(void **state)
{
    (void)state;
    struct ps_request_parser *parser = parse_ok("{\"seed\":1,\"x\":1,\"x\":2,\"seed\":2}");
    assert_true(ps_request_parser_get(parser)->duplicate_members);
    ps_request_parser_free(parser);
}

static void bad_utf8_is_refused(void **state)
{
    (void)state;
    struct ps_request_parser *parser = NULL;
    static const char body[] = "{\"a\":\"\xff\"}";
    assert_int_equal(parse(&parser, PS_REQUEST_CHAT, ps_str_from(body), 3), PS_EPARSE);
    assert_non_null(strstr(ps_request_parser_error(parser).reason, "UTF8"));
    ps_request_parser_free(parser);
}

static void depth_and_names_are_bounded(void **state)
{
    (void)state;
    struct ps_buf body = ps_buf_make(1 << 16);
    assert_int_equal(ps_buf_append_str(&body, PS_STR("{\"a\":")), PS_OK);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(ps_buf_append_str(&body, PS_STR("[")), PS_OK);
    }
    struct ps_request_parser *parser = NULL;
    assert_int_equal(parse(&parser, PS_REQUEST_CHAT, ps_buf_str(&body), 7), PS_EPARSE);
    assert_string_equal(ps_request_parser_error(parser).reason, "nested too deeply");
    ps_request_parser_free(parser);

    ps_buf_clear(&body);
    assert_int_equal(ps_buf_printf(&body, "{\"model\":\"%0300d\"}", 0), PS_OK);
    assert_int_equal(parse(&parser, PS_REQUEST_CHAT, ps_buf_str(&body), 7), PS_EPARSE);
    ps_request_parser_free(parser);
    ps_buf_fini(&body);
}

static void numbers_that_make_no_sense_are_as_good_as_absent(void **state)
{
    (void)state;
    struct ps_request_parser *parser =
        parse_ok("{\"max_tokens\":-5,\"n\":1e9,\"seed\":null,\"temperature\":\"hot\"}");
    const struct ps_request *request = ps_request_parser_get(parser);
    assert_int_equal(request->max_tokens, 0);
    assert_int_equal(request->n, 1);
    assert_false(request->has_seed);
    assert_false(request->has_temperature);
    ps_request_parser_free(parser);
    parser = parse_ok("{\"max_tokens\":18446744073709551615,\"n\":18446744073709551615}");
    assert_int_equal(ps_request_estimate(ps_request_parser_get(parser), 4.0, 1), 1ull << 53);
    ps_request_parser_free(parser);
}

static void a_cut_string_counts_against_the_budget(void **state)
{
    (void)state;
    struct ps_budget budget = {.limit = 64 * 1024};
    struct ps_request_parser *parser = NULL;
    assert_int_equal(ps_request_parser_new(&parser, operation_of(PS_REQUEST_CHAT), &budget), PS_OK);
    assert_int_equal(ps_request_parser_feed(parser, PS_STR("{\"prompt\":\"")), PS_OK);
    char piece[4096];
    memset(piece, 'x', sizeof piece);
    int err = PS_OK;
    for (int i = 0; i < 100 && err == PS_OK; i++) {
        err = ps_request_parser_feed(parser, (struct ps_str){piece, sizeof piece});
        assert_true(budget.used <= budget.limit);
    }
    assert_int_equal(err, PS_ELIMIT);
    assert_int_equal(ps_request_parser_feed(parser, PS_STR("\"}")), PS_ELIMIT);
    assert_int_equal(ps_request_parser_end(parser), PS_ELIMIT);
    ps_request_parser_free(parser);
    assert_int_equal(budget.used, 0);
}

static void a_large_prompt_may_come_in_small_pieces(void **state)
{
    (void)state;
    struct ps_buf body = ps_buf_make(1 << 20);
    assert_int_equal(ps_buf_append_str(&body, PS_STR("{\"prompt\":\"")), PS_OK);
    for (int i = 0; i < 100000; i++) {
        assert_int_equal(ps_buf_append_str(&body, PS_STR("a\\n\xc3\xa9")), PS_OK);
    }
    assert_int_equal(ps_buf_append_str(&body, PS_STR("\",\"model\":\"m\"}")), PS_OK);
    struct ps_request_parser *parser = NULL;
    assert_int_equal(parse(&parser, PS_REQUEST_COMPLETIONS, ps_buf_str(&body), 997), PS_OK);
    const struct ps_request *request = ps_request_parser_get(parser);
    assert_int_equal(request->input_bytes, 400000);
    assert_int_equal(request->model_span.end, body.len - 1);
    assert_string_equal(request->model, "m");
    ps_request_parser_free(parser);
    body.data[body.len - 3] = '\x01';
    assert_int_equal(parse(&parser, PS_REQUEST_COMPLETIONS, ps_buf_str(&body), 997), PS_EPARSE);
    assert_in_range(ps_request_parser_error(parser).offset, body.len - 4, body.len - 2);
    ps_request_parser_free(parser);
    ps_buf_fini(&body);
}

static void kinds_are_known_by_the_end_of_the_path(void **state)
{
    (void)state;
    assert_int_equal(ps_dialect_openai(PS_STR("/v1/chat/completions"))->kind, PS_REQUEST_CHAT);
    assert_int_equal(ps_dialect_openai(PS_STR("/openai/v1/completions"))->kind,
                     PS_REQUEST_COMPLETIONS);
    assert_int_equal(ps_dialect_openai(PS_STR("/v1/models"))->kind, PS_REQUEST_OTHER);
    assert_string_equal(ps_request_kind_text(PS_REQUEST_EMBEDDINGS), "embeddings");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chat_is_described),
        cmocka_unit_test(inputs_of_embeddings_are_counted),
        cmocka_unit_test(an_image_has_size_and_steps),
        cmocka_unit_test(the_description_does_not_depend_on_the_cuts),
        cmocka_unit_test(equal_beginnings_have_equal_prefix_hashes),
        cmocka_unit_test(usage_is_asked_for_by_splicing),
        cmocka_unit_test(what_asks_already_or_does_not_stream_is_left_alone),
        cmocka_unit_test(a_model_is_renamed_in_place),
        cmocka_unit_test(malformed_bodies_are_refused_with_their_offset),
        cmocka_unit_test(what_upstreams_may_read_differently_is_refused),
        cmocka_unit_test(other_members_given_twice_are_flagged),
        cmocka_unit_test(bad_utf8_is_refused),
        cmocka_unit_test(depth_and_names_are_bounded),
        cmocka_unit_test(numbers_that_make_no_sense_are_as_good_as_absent),
        cmocka_unit_test(a_cut_string_counts_against_the_budget),
        cmocka_unit_test(a_large_prompt_may_come_in_small_pieces),
        cmocka_unit_test(kinds_are_known_by_the_end_of_the_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
