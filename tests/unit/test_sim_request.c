/* What clients may ask for, and what is answered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <zlib.h>

#include "sim/answer.h"
#include "sim/embed.h"
#include "sim/png.h"
#include "sim/request.h"
#include "sim/words.h"

static struct ps_sim_opts opts;

static int setup(void **state)
{
    (void)state;
    ps_sim_opts_init(&opts);
    return 0;
}

static int parse(enum ps_sim_kind kind, const char *body, struct ps_sim_request *out,
                 struct ps_sim_refusal *refusal)
{
    *out = (struct ps_sim_request){0};
    *refusal = (struct ps_sim_refusal){0};
    return ps_sim_request_parse(kind, ps_str_from(body), &opts, 1000, out, refusal);
}

static void accept(enum ps_sim_kind kind, const char *body, struct ps_sim_request *out)
{
    struct ps_sim_refusal refusal;
    if (parse(kind, body, out, &refusal) != PS_OK) {
        fail_msg("%s: %s", body, refusal.text);
    }
}

static void chat_counts_four_bytes_as_a_token(void **state)
{
    (void)state;
    struct ps_sim_request r;
    accept(PS_SIM_CHAT,
           "{\"model\":\"sim\",\"max_tokens\":7,\"messages\":[{\"role\":\"user\",\"content\":"
           "\"12345\"}]}",
           &r);
    assert_int_equal(r.count, 1);
    /* "<|user|>\n12345\n<|assistant|>\n" */
    assert_int_equal(ps_sim_chain_tokens(&r.prompts[0].chain), (9 + 5 + 1 + 14 + 3) / 4);
    assert_int_equal(r.prompts[0].want, 7);
    assert_false(r.prompts[0].stopped);
    assert_false(r.stream);
    ps_sim_request_fini(&r);
}

static void newer_field_name_wins(void **state)
{
    (void)state;
    struct ps_sim_request r;
    accept(PS_SIM_CHAT,
           "{\"model\":\"sim\",\"max_tokens\":7,\"max_completion_tokens\":9,\"stream\":true,"
           "\"stream_options\":{\"include_usage\":true},"
           "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hi\"}]}]}",
           &r);
    assert_int_equal(r.prompts[0].want, 9);
    assert_true(r.stream && r.include_usage);
    ps_sim_request_fini(&r);
}

static void same_prompt_gets_the_same_answer(void **state)
{
    (void)state;
    const char *body =
        "{\"model\":\"sim\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}";
    struct ps_sim_request a;
    struct ps_sim_request b;
    accept(PS_SIM_CHAT, body, &a);
    accept(PS_SIM_CHAT, body, &b);
    assert_int_equal(a.prompts[0].seed, b.prompts[0].seed);
    assert_int_equal(a.prompts[0].want, b.prompts[0].want);
    assert_true(a.prompts[0].stopped);
    ps_sim_request_fini(&b);
    opts.seed = 1;
    accept(PS_SIM_CHAT, body, &b);
    assert_int_not_equal(a.prompts[0].seed, b.prompts[0].seed);
    ps_sim_request_fini(&a);
    ps_sim_request_fini(&b);
}

static void list_of_prompts_and_n_make_that_many_answers(void **state)
{
    (void)state;
    struct ps_sim_request r;
    accept(PS_SIM_COMPLETION, "{\"model\":\"sim\",\"n\":2,\"prompt\":[\"one\",[1,2,3],\"three\"]}",
           &r);
    assert_int_equal(r.count, 6);
    assert_int_equal(r.prompts[2].chain.bytes, 12);
    assert_int_equal(r.prompts[0].want, 16);
    assert_int_not_equal(r.prompts[0].seed, r.prompts[1].seed);
    ps_sim_request_fini(&r);
    accept(PS_SIM_COMPLETION, "{\"model\":\"sim\",\"prompt\":[5,6]}", &r);
    assert_int_equal(r.count, 1);
    assert_int_equal(ps_sim_chain_tokens(&r.prompts[0].chain), 2);
    ps_sim_request_fini(&r);
}

static void stop_text_ends_the_answer_before_it(void **state)
{
    (void)state;
    struct ps_sim_request r;
    accept(PS_SIM_COMPLETION,
           "{\"model\":\"sim\",\"prompt\":\"p\",\"max_tokens\":200,\"stop\":[\"zz\",\".\"]}", &r);
    const struct ps_sim_prompt *prompt = &r.prompts[0];
    assert_true(prompt->stopped);
    assert_true(prompt->text_bytes < 4 * prompt->want && prompt->want < 200);
    struct ps_sim_words words = ps_sim_words_make(prompt->seed);
    char text[800];
    for (size_t i = 0; i < sizeof text; i += 4) {
        ps_sim_words_next(&words, text + i);
    }
    assert_int_equal(text[prompt->text_bytes], '.');
    assert_null(memchr(text, '.', prompt->text_bytes));
    ps_sim_request_fini(&r);
}

static void bad_requests_are_refused_in_words(void **state)
{
    (void)state;
    static const struct {
        enum ps_sim_kind kind;
        const char *body;
        int status;
        const char *says;
    } cases[] = {
        {PS_SIM_CHAT, "", 400, "JSON"},
        {PS_SIM_CHAT, "{\"model\":\"sim\"", 400, "byte"},
        {PS_SIM_CHAT, "{\"model\":\"sim\"} x", 400, "JSON"},
        {PS_SIM_CHAT, "{\"model\":\"sim\",\"model\":\"sim\"}", 400, "duplicate"},
        {PS_SIM_CHAT, "[]", 400, "object"},
        {PS_SIM_CHAT, "{}", 400, "model"},
        {PS_SIM_CHAT, "{\"model\":\"other\",\"messages\":[]}", 404, "`other`"},
        {PS_SIM_CHAT, "{\"model\":\"sim\"}", 400, "messages"},
        {PS_SIM_CHAT, "{\"model\":\"sim\",\"messages\":[]}", 400, "messages"},
        {PS_SIM_CHAT, "{\"model\":\"sim\",\"messages\":[{}]}", 400, "role"},
        {PS_SIM_CHAT, "{\"model\":\"sim\",\"messages\":[{\"role\":\"user\",\"content\":5}]}", 400,
         "content"},
        {PS_SIM_CHAT, "{\"model\":\"sim\",\"messages\":[{\"role\":\"user\",\"content\":[5]}]}", 400,
         "part"},
        {PS_SIM_COMPLETION, "{\"model\":\"sim\"}", 400, "prompt"},
        {PS_SIM_COMPLETION, "{\"model\":\"sim\",\"prompt\":\"\"}", 400, "empty"},
        {PS_SIM_COMPLETION, "{\"model\":\"sim\",\"prompt\":[]}", 400, "empty"},
        {PS_SIM_COMPLETION, "{\"model\":\"sim\",\"prompt\":[1,\"x\"]}", 400, "token"},
        {PS_SIM_COMPLETION, "{\"model\":\"sim\",\"prompt\":\"x\",\"max_tokens\":0}", 400,
         "max_tokens"},
        {PS_SIM_COMPLETION, "{\"model\":\"sim\",\"prompt\":\"x\",\"max_tokens\":1000}", 400,
         "maximum context length is 1000"},
        {PS_SIM_COMPLETION, "{\"model\":\"sim\",\"prompt\":\"x\",\"n\":129}", 400, "n must"},
        {PS_SIM_COMPLETION, "{\"model\":\"sim\",\"prompt\":\"x\",\"stream\":1}", 400, "stream"},
        {PS_SIM_COMPLETION, "{\"model\":\"sim\",\"prompt\":\"x\",\"stream_options\":{}}", 400,
         "stream=true"},
        {PS_SIM_COMPLETION, "{\"model\":\"sim\",\"prompt\":\"x\",\"stop\":\"\"}", 400, "stop"},
        {PS_SIM_EMBEDDING, "{\"model\":\"sim\"}", 400, "input"},
        {PS_SIM_EMBEDDING, "{\"model\":\"sim\",\"input\":\"x\",\"dimensions\":769}", 400,
         "dimensions"},
        {PS_SIM_EMBEDDING, "{\"model\":\"sim\",\"input\":\"x\",\"encoding_format\":\"hex\"}", 400,
         "base64"},
        {PS_SIM_IMAGE, "{\"model\":\"sim\"}", 400, "prompt"},
        {PS_SIM_IMAGE, "{\"prompt\":\"x\",\"size\":\"big\"}", 400, "size"},
        {PS_SIM_IMAGE, "{\"prompt\":\"x\",\"size\":\"64x64x64\"}", 400, "size"},
        {PS_SIM_IMAGE, "{\"prompt\":\"x\",\"size\":\"64x99999\"}", 400, "size"},
        {PS_SIM_IMAGE, "{\"prompt\":\"x\",\"response_format\":\"url\"}", 400, "b64_json"},
        {PS_SIM_IMAGE, "{\"prompt\":\"x\",\"steps\":0}", 400, "steps"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ps_sim_request r;
        struct ps_sim_refusal refusal;
        assert_int_equal(parse(cases[i].kind, cases[i].body, &r, &refusal), PS_EINVAL);
        assert_int_equal(refusal.status, cases[i].status);
        if (strstr(refusal.text, cases[i].says) == NULL) {
            fail_msg("%s: %s", cases[i].body, refusal.text);
        }
        struct ps_buf out = ps_buf_make(4096);
        assert_int_equal(ps_sim_answer_error(&out, &refusal), PS_OK);
        json_t *json = json_loadb(out.data, out.len, 0, NULL);
        assert_non_null(json);
        assert_true(json_is_true(json_object_get(json, "simulated")));
        assert_int_equal(
            json_integer_value(json_object_get(json_object_get(json, "error"), "code")),
            cases[i].status);
        json_decref(json);
        ps_buf_fini(&out);
    }
}

static void prompt_that_is_too_long_is_refused(void **state)
{
    (void)state;
    char body[5000];
    struct ps_sim_request r;
    struct ps_sim_refusal refusal;
    memset(body, 'x', sizeof body);
    memcpy(body, "{\"model\":\"sim\",\"prompt\":\"", 25);
    memcpy(body + sizeof body - 3, "\"}", 3);
    assert_int_equal(parse(PS_SIM_COMPLETION, body, &r, &refusal), PS_EINVAL);
    assert_non_null(strstr(refusal.text, "1000 tokens"));
}

static double dot(const int32_t *a, const int32_t *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += 1e-14 * a[i] * b[i];
    }
    return sum;
}

static void embeddings_are_unit_vectors_nearer_for_shared_words(void **state)
{
    (void)state;
    int32_t a[256];
    int32_t b[256];
    int32_t c[256];
    ps_sim_embed(PS_STR("the river runs under the old bridge"), 0, a, 256);
    ps_sim_embed(PS_STR("the river runs under the new bridge"), 0, b, 256);
    ps_sim_embed(PS_STR("quarterly figures were published"), 0, c, 256);
    assert_true(fabs(dot(a, a, 256) - 1) < 1e-4);
    assert_true(dot(a, b, 256) > 0.6);
    assert_true(fabs(dot(a, c, 256)) < 0.4);
    ps_sim_embed(PS_STR(""), 0, c, 256);
    assert_true(fabs(dot(c, c, 256) - 1) < 1e-4);
}

static void both_encodings_hold_the_same_numbers(void **state)
{
    (void)state;
    struct ps_sim_request r;
    struct ps_sim_answer answer = {.kind = PS_SIM_EMBEDDING, .id = "i", .model = "sim"};
    struct ps_buf out = ps_buf_make(1 << 20);
    accept(PS_SIM_EMBEDDING, "{\"model\":\"sim\",\"input\":[\"a b\",\"c\"],\"dimensions\":8}", &r);
    assert_int_equal(ps_sim_answer_embeddings(&out, &answer, &r, 2), PS_OK);
    json_t *json = json_loadb(out.data, out.len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    json_t *numbers =
        json_object_get(json_array_get(json_object_get(json, "data"), 1), "embedding");
    assert_int_equal(json_array_size(numbers), 8);
    for (size_t i = 0; i < 8; i++) {
        double value = json_number_value(json_array_get(numbers, i));
        assert_true(fabs(value - 1e-7 * r.prompts[1].vector[i]) < 1e-12);
    }
    json_decref(json);
    ps_buf_clear(&out);
    int32_t half[1] = {5000000};
    assert_int_equal(ps_sim_embed_base64(&out, half, 1), PS_OK);
    assert_true(ps_str_eq(ps_buf_str(&out), PS_STR("\"AAAAPw==\""))); /* 0.5f is 0x3f000000 */
    ps_buf_fini(&out);
    ps_sim_request_fini(&r);
}

static void token_lists_embed_by_their_numbers(void **state)
{
    (void)state;
    struct ps_sim_request r;
    accept(PS_SIM_EMBEDDING, "{\"model\":\"sim\",\"input\":[[1,2],[1,3],[1,2]]}", &r);
    assert_int_equal(r.count, 3);
    assert_memory_equal(r.prompts[0].vector, r.prompts[2].vector, r.dimensions * sizeof(int32_t));
    assert_memory_not_equal(r.prompts[0].vector, r.prompts[1].vector,
                            r.dimensions * sizeof(int32_t));
    ps_sim_request_fini(&r);
}

static uint32_t get_u32(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void picture_has_the_size_that_was_asked_for(void **state)
{
    (void)state;
    static const uint32_t sizes[][2] = {{16, 16}, {33, 65}, {1024, 512}, {1, 1}, {8192, 40}};
    for (size_t i = 0; i < 5; i++) {
        struct ps_buf out = ps_buf_make(1 << 24);
        assert_int_equal(ps_sim_png(&out, sizes[i][0], sizes[i][1], i), PS_OK);
        const unsigned char *at = (const unsigned char *)out.data + 8;
        const unsigned char *end = (const unsigned char *)out.data + out.len;
        uLongf lines = 0;
        while (at < end) {
            uint32_t len = get_u32(at);
            assert_int_equal(get_u32(at + 8 + len), crc32(0, at + 4, len + 4));
            if (memcmp(at + 4, "IHDR", 4) == 0) {
                assert_int_equal(get_u32(at + 8), sizes[i][0]);
                assert_int_equal(get_u32(at + 12), sizes[i][1]);
            } else if (memcmp(at + 4, "IDAT", 4) == 0) {
                unsigned char *raw = malloc(1 << 24);
                assert_non_null(raw);
                lines = 1 << 24;
                assert_int_equal(uncompress(raw, &lines, at + 8, len), Z_OK);
                free(raw);
            }
            at += 12 + len;
        }
        assert_ptr_equal(at, end);
        assert_int_equal(lines, ((sizes[i][0] + 1) / 2 + 1) * sizes[i][1]);
        ps_buf_fini(&out);
    }
}

static void answers_and_chunks_are_valid_json_marked_simulated(void **state)
{
    (void)state;
    struct ps_sim_tokens tokens = {.prompt = 3, .cached = 1, .completion = 2};
    for (enum ps_sim_kind kind = PS_SIM_CHAT; kind <= PS_SIM_COMPLETION; kind++) {
        struct ps_sim_answer answer = {.kind = kind, .id = "x-1", .model = "a/b", .created = 5};
        struct ps_buf out = ps_buf_make(1 << 16);
        assert_int_equal(ps_sim_answer_begin(&out, &answer), PS_OK);
        assert_int_equal(ps_sim_answer_choice(&out, &answer, 0, PS_STR("hello"), "stop"), PS_OK);
        assert_int_equal(ps_sim_answer_choice(&out, &answer, 1, PS_STR("there"), "length"), PS_OK);
        assert_int_equal(ps_sim_answer_end(&out, &tokens), PS_OK);
        json_t *json = json_loadb(out.data, out.len, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(json);
        assert_true(json_is_true(json_object_get(json, "simulated")));
        assert_int_equal(json_array_size(json_object_get(json, "choices")), 2);
        json_decref(json);
        ps_buf_clear(&out);
        assert_int_equal(ps_sim_answer_chunk(&out, &answer, 0, true, PS_STR("hi"), NULL), PS_OK);
        assert_memory_equal(out.data, "data: {", 7);
        assert_memory_equal(out.data + out.len - 2, "\n\n", 2);
        json = json_loadb(out.data + 6, out.len - 6, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(json);
        assert_true(json_is_true(json_object_get(json, "simulated")));
        json_decref(json);
        ps_buf_clear(&out);
        assert_int_equal(ps_sim_answer_usage_chunk(&out, &answer, &tokens), PS_OK);
        json = json_loadb(out.data + 6, out.len - 6, JSON_REJECT_DUPLICATES, NULL);
        assert_int_equal(
            json_integer_value(json_object_get(json_object_get(json, "usage"), "total_tokens")), 5);
        json_decref(json);
        ps_buf_fini(&out);
    }
}

static void words_are_plain_text_and_repeatable(void **state)
{
    (void)state;
    struct ps_sim_words a = ps_sim_words_make(9);
    struct ps_sim_words b = ps_sim_words_make(9);
    for (int i = 0; i < 10000; i++) {
        char x[4];
        char y[4];
        ps_sim_words_next(&a, x);
        ps_sim_words_next(&b, y);
        assert_memory_equal(x, y, 4);
        for (int k = 0; k < 4; k++) {
            assert_true(x[k] >= ' ' && x[k] <= 'z' && x[k] != '"' && x[k] != '\\');
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(chat_counts_four_bytes_as_a_token, setup),
        cmocka_unit_test_setup(newer_field_name_wins, setup),
        cmocka_unit_test_setup(same_prompt_gets_the_same_answer, setup),
        cmocka_unit_test_setup(list_of_prompts_and_n_make_that_many_answers, setup),
        cmocka_unit_test_setup(stop_text_ends_the_answer_before_it, setup),
        cmocka_unit_test_setup(bad_requests_are_refused_in_words, setup),
        cmocka_unit_test_setup(prompt_that_is_too_long_is_refused, setup),
        cmocka_unit_test_setup(embeddings_are_unit_vectors_nearer_for_shared_words, setup),
        cmocka_unit_test_setup(both_encodings_hold_the_same_numbers, setup),
        cmocka_unit_test_setup(token_lists_embed_by_their_numbers, setup),
        cmocka_unit_test_setup(picture_has_the_size_that_was_asked_for, setup),
        cmocka_unit_test_setup(answers_and_chunks_are_valid_json_marked_simulated, setup),
        cmocka_unit_test_setup(words_are_plain_text_and_repeatable, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
