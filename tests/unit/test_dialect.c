/* dialect - calls known by their paths, requests described in each dialect, models renamed. */
#include "gateway/dialect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "gateway/request.h"

static void rows_are_sorted_and_found(void **state)
{
    (void)state;
    const struct ps_operation *before = NULL;
    bool patterns = false;
    for (size_t n = 0; ps_dialect_row(n) != NULL; n++) {
        const struct ps_operation *row = ps_dialect_row(n);
        patterns = patterns || ps_str_contains(row->path, PS_STR("*"));
        if (!patterns) {
            assert_true(before == NULL || strcmp(before->path.ptr, row->path.ptr) < 0);
            assert_ptr_equal(ps_dialect_find(row->path), row);
            before = row;
        }
    }
    assert_true(patterns);
}

static void patterns_match_whole_segments(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        const char *pattern; /* NULL = no call that is known */
    } cases[] = {
        {"/v2/models/m/infer", "/v2/models/*/infer"},
        {"/v2/models/m/versions/1/generate_stream", "/v2/models/*/versions/*/generate_stream"},
        {"/v2/models/m", "/v2/models/*"},
        {"/v2/models/m/", "/v2/models/*"},
        {"/v2/models//infer", NULL},
        {"/v2/models/m/infer/x", NULL},
        {"/v2/models/a/b/infer", NULL},
        {"/history/abc", "/history/*"},
        {"/api/history/abc", "/api/history/*"},
        {"/history/abc/def", NULL},
        {"/v2/repository/models/m/load", "/v2/repository/models/**"},
        {"/v2/repository/models", NULL},
        {"/api/chat/", "/api/chat"},
        {"/api/chats", NULL},
        {"/", NULL},
        {"", NULL},
        {"*", NULL},
        {"/x", NULL},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        const struct ps_operation *found = ps_dialect_find(ps_str_from(cases[i].path));
        if (cases[i].pattern == NULL) {
            assert_null(found);
        } else {
            assert_non_null(found);
            assert_true(ps_str_eq(found->path, ps_str_from(cases[i].pattern)));
        }
    }
}

/* Describes a body in every cut; the last description is returned and has to be freed. */
static struct ps_request_parser *parse(const char *path, const char *body)
{
    const struct ps_operation *operation = ps_dialect_find(ps_str_from(path));
    struct ps_request_parser *parser = NULL;
    struct ps_request first;
    assert_non_null(operation);
    for (size_t step = strlen(body) + 1; step > 0; step = step > 40 ? 40 : step - 1) {
        ps_request_parser_free(parser);
        assert_int_equal(ps_request_parser_new(&parser, operation, NULL), PS_OK);
        assert_int_equal(ps_request_parser_path(parser, ps_str_from(path)), PS_OK);
        struct ps_str rest = ps_str_from(body);
        while (rest.len > 0) {
            assert_int_equal(ps_request_parser_feed(parser, ps_str_first(rest, step)), PS_OK);
            rest = ps_str_skip(rest, step);
        }
        if (ps_request_parser_end(parser) != PS_OK) {
            fail_msg("%s: %s", body, ps_request_parser_error(parser).reason);
        }
        if (step > strlen(body)) {
            first = *ps_request_parser_get(parser);
        }
        assert_memory_equal(&first, ps_request_parser_get(parser), sizeof first);
    }
    return parser;
}

static void every_dialect_is_described(void **state)
{
    (void)state;
    static const struct {
        const char *path, *body, *model;
        bool stream;
        uint64_t max_tokens, n, inputs, input_bytes, media;
    } cases[] = {
        {"/api/generate", "{\"model\":\"llama3\",\"prompt\":\"abcd\"}", "llama3", true, 0, 1, 1, 4,
         0},
        {"/api/generate",
         "{\"model\":\"l\",\"prompt\":\"a\",\"stream\":false,\"options\":{\"num_predict\":7,"
         "\"seed\":1}}",
         "l", false, 7, 1, 1, 1, 0},
        {"/api/generate",
         "{\"model\":\"l\",\"prompt\":\"a\",\"stream\":null,\"options\":{\"num_predict\":-1}}", "l",
         true, 0, 1, 1, 1, 0},
        {"/api/chat",
         "{\"model\":\"l\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\",\"images\":["
         "\"aaaa\",\"bbbb\"]},"
         "{\"role\":\"user\",\"content\":\"you\"}]}",
         "l", true, 0, 1, 2, 8, 2},
        {"/api/embed", "{\"model\":\"e\",\"input\":[\"ab\",\"cd\"],\"truncate\":true}", "e", false,
         0, 1, 2, 4, 0},
        {"/v2/models/simple/infer",
         "{\"inputs\":[{\"name\":\"x\",\"shape\":[8,3],\"datatype\":\"FP32\",\"data\":[1,2,3]},"
         "{\"name\":\"t\",\"shape\":[8],\"datatype\":\"BYTES\",\"data\":[\"abc\"]}]}",
         "simple", false, 0, 1, 8, 3, 0},
        {"/v2/models/my%20model/versions/2/generate",
         "{\"text_input\":\"abcdef\",\"max_tokens\":9,\"parameters\":{\"temperature\":0}}",
         "my model", false, 9, 1, 1, 6, 0},
        {"/v2/models/m/generate_stream", "{\"text_input\":\"a\",\"stream\":false}", "m", true, 0, 1,
         1, 1, 0},
        {"/generate", "{\"inputs\":\"abc\",\"parameters\":{\"max_new_tokens\":20,\"seed\":3}}", "",
         false, 20, 1, 1, 3, 0},
        {"/generate_stream", "{\"inputs\":\"abc\"}", "", true, 0, 1, 1, 3, 0},
        {"/generate",
         "{\"text\":[\"ab\",\"c\"],\"stream\":true,\"sampling_params\":{\"max_new_tokens\":5,\"n\":"
         "2}}",
         "", true, 5, 2, 2, 3, 0},
        {"/embed", "{\"inputs\":[\"ab\",\"c\",\"d\"]}", "", false, 0, 1, 3, 4, 0},
        {"/rerank", "{\"query\":\"q\",\"texts\":[\"ab\",\"c\"]}", "", false, 0, 1, 3, 4, 0},
        {"/completion", "{\"prompt\":\"abc\",\"n_predict\":11,\"stream\":true}", "", true, 11, 1, 1,
         3, 0},
        {"/sdapi/v1/txt2img",
         "{\"prompt\":\"cat\",\"width\":512,\"height\":768,\"steps\":20,\"n_iter\":2,\"batch_"
         "size\":3,"
         "\"override_settings\":{\"sd_model_checkpoint\":\"xl\"}}",
         "xl", false, 0, 6, 1, 3, 0},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        struct ps_request_parser *parser = parse(cases[i].path, cases[i].body);
        const struct ps_request *request = ps_request_parser_get(parser);
        assert_string_equal(request->model, cases[i].model);
        assert_int_equal(request->stream, cases[i].stream);
        assert_int_equal(request->max_tokens, cases[i].max_tokens);
        assert_int_equal(request->n, cases[i].n);
        assert_int_equal(request->inputs, cases[i].inputs);
        assert_int_equal(request->input_bytes, cases[i].input_bytes);
        assert_int_equal(request->media, cases[i].media);
        ps_request_parser_free(parser);
    }
}

static void a_graph_tells_client_size_and_steps(void **state)
{
    (void)state;
    struct ps_request_parser *parser =
        parse("/prompt", "{\"client_id\":\"c1\",\"prompt\":{\"3\":{\"class_type\":\"KSampler\","
                         "\"inputs\":{\"seed\":5,\"steps\":20,"
                         "\"cfg\":8,\"model\":[\"4\",0]}},\"5\":{\"class_type\":"
                         "\"EmptyLatentImage\",\"inputs\":{\"width\":1024,"
                         "\"height\":512,\"batch_size\":2}},\"6\":{\"inputs\":{\"text\":\"a "
                         "cat\",\"clip\":[\"4\",1]}},"
                         "\"7\":{\"inputs\":{\"steps\":10}},\"8\":{\"class_type\":\"LoadImage\","
                         "\"inputs\":{\"image\":\"in.png\"}}}}");
    const struct ps_request *request = ps_request_parser_get(parser);
    struct ps_sticky_key client = ps_sticky_key(PS_STICKY_KEY_CLIENT, PS_STR("c1"));
    struct ps_sticky_key file = ps_sticky_key_file(PS_STR("input"), PS_STR(""), PS_STR("in.png"));
    assert_int_equal(request->client.a, client.a);
    assert_int_equal(request->file.a, file.a);
    assert_int_equal(request->image_width, 1024);
    assert_int_equal(request->image_height, 512);
    assert_int_equal(request->image_steps, 30);
    assert_int_equal(request->n, 2);
    assert_int_equal(request->input_bytes, 5);
    assert_true(request->has_seed);
    assert_int_equal(ps_request_weight(request, 7), 1024 * 512 / 65536 * 30 * 2 + 1);
    ps_request_parser_free(parser);
    parser = parse("/queue", "{\"delete\":[\"j1\",\"j2\"]}");
    struct ps_sticky_key job = ps_sticky_key(PS_STICKY_KEY_JOB, PS_STR("j1"));
    assert_int_equal(ps_request_parser_get(parser)->job.a, job.a);
    ps_request_parser_free(parser);
}

static void what_two_servers_could_read_differently_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *path, *body;
    } cases[] = {
        {"/api/chat", "{\"model\":\"a\",\"Model\":\"b\"}"},
        {"/api/generate", "{\"model\":\"a\",\"stream\":\"no\"}"},
        {"/api/generate", "{\"prompt\":\"a\",\"PROMPT\":\"b\"}"},
        {"/sdapi/v1/txt2img",
         "{\"override_settings\":{\"sd_model_checkpoint\":\"a\",\"sd_model_checkpoint\":\"b\"}}"},
        {"/sdapi/v1/txt2img", "{\"override_settings\":{},\"override_settings\":{}}"},
        {"/completion", "{\"prompt\":\"x\",\"stream\":1}"},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        struct ps_request_parser *parser = NULL;
        const struct ps_operation *operation = ps_dialect_find(ps_str_from(cases[i].path));
        assert_int_equal(ps_request_parser_new(&parser, operation, NULL), PS_OK);
        int err = ps_request_parser_feed(parser, ps_str_from(cases[i].body));
        err = err != PS_OK ? err : ps_request_parser_end(parser);
        assert_int_equal(err, PS_EPARSE);
        ps_request_parser_free(parser);
    }
    struct ps_request_parser *parser = NULL;
    const struct ps_operation *operation = ps_dialect_find(PS_STR("/v2/models/x/infer"));
    char path[1024] = "/v2/models/";
    memset(path + strlen(path), 'a', PS_REQUEST_MODEL_MAX + 1);
    assert_int_equal(ps_request_parser_new(&parser, operation, NULL), PS_OK);
    assert_int_equal(ps_request_parser_path(parser, ps_str_from(path)), PS_EPARSE);
    assert_int_equal(ps_request_parser_path(parser, PS_STR("/v2/models/a%0ab/infer")), PS_EPARSE);
    ps_request_parser_free(parser);
}

static void models_are_renamed_in_bodies_and_paths(void **state)
{
    (void)state;
    struct ps_request_edits edits;
    struct ps_request_parser *parser = parse("/api/chat", "{\"model\": \"a\",\"messages\":[]}");
    assert_true(ps_request_needs_edits(ps_request_parser_get(parser), PS_STR("big")));
    assert_false(ps_request_needs_edits(ps_request_parser_get(parser), PS_STR("")));
    ps_request_edits_make(ps_request_parser_get(parser), true, PS_STR("big"), &edits);
    assert_int_equal(edits.count, 1);
    assert_int_equal(edits.items[0].offset, 8);
    assert_int_equal(edits.items[0].remove, 5);
    assert_true(ps_str_eq(edits.items[0].insert, PS_STR(":\"big\"")));
    ps_request_parser_free(parser);
    parser = parse("/v2/models/a/generate", "{}");
    ps_request_edits_make(ps_request_parser_get(parser), true, PS_STR("b c/d"), &edits);
    assert_int_equal(edits.count, 0);
    assert_int_equal(edits.path.offset, strlen("/v2/models/"));
    assert_int_equal(edits.path.remove, 1);
    assert_true(ps_str_eq(edits.path.insert, PS_STR("b%20c%2Fd")));
    ps_request_parser_free(parser);
    parser = parse("/sdapi/v1/txt2img", "{\"override_settings\":{\"sd_model_checkpoint\":\"a\"}}");
    ps_request_edits_make(ps_request_parser_get(parser), true, PS_STR("b"), &edits);
    assert_int_equal(edits.count, 1);
    assert_int_equal(edits.items[0].remove, strlen(":\"a\""));
    ps_request_parser_free(parser);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_sorted_and_found),
        cmocka_unit_test(patterns_match_whole_segments),
        cmocka_unit_test(every_dialect_is_described),
        cmocka_unit_test(a_graph_tells_client_size_and_steps),
        cmocka_unit_test(what_two_servers_could_read_differently_is_refused),
        cmocka_unit_test(models_are_renamed_in_bodies_and_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
