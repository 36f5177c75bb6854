/* usage - tokens read from answers and from events of streams; prices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "gateway/price.h"
#include "gateway/usage.h"

static struct ps_usage read_cut(enum ps_dialect dialect, const char *body, size_t step)
{
    struct ps_usage usage = {0};
    struct ps_usage_reader reader;
    ps_usage_reader_init(&reader, dialect, &usage);
    struct ps_str rest = ps_str_from(body);
    while (rest.len > 0) {
        struct ps_str piece = ps_str_first(rest, step);
        char *copy = malloc(piece.len);
        assert_non_null(copy);
        memcpy(copy, piece.ptr, piece.len);
        ps_usage_reader_feed(&reader, (struct ps_str){copy, piece.len});
        free(copy);
        rest = ps_str_skip(rest, piece.len);
    }
    ps_usage_reader_fini(&reader);
    return usage;
}

/* Reads the body whole and in every cut; all must agree. */
static struct ps_usage read_as(enum ps_dialect dialect, const char *body)
{
    struct ps_usage whole = read_cut(dialect, body, SIZE_MAX);
    for (size_t step = 1; step < 30; step++) {
        struct ps_usage usage = read_cut(dialect, body, step);
        assert_memory_equal(&usage, &whole, sizeof whole);
    }
    return whole;
}

static struct ps_usage read_body(const char *body)
{
    return read_as(PS_DIALECT_OPENAI, body);
}

static void an_answer_tells_its_usage(void **state)
{
    (void)state;
    struct ps_usage usage =
        read_body("{\"id\":\"x\",\"choices\":[{\"message\":{\"content\":\"\\\"usage\\\":{} } \"},"
                  "\"usage\":{\"prompt_tokens\":99}}],"
                  "\"usage\" : {\"prompt_tokens\":9,\"completion_tokens\":12,\"total_tokens\":21,"
                  "\"prompt_tokens_details\":{\"cached_tokens\":4,\"audio_tokens\":0},"
                  "\"completion_tokens_details\":{\"cached_tokens\":1}}}");
    assert_true(ps_usage_is_known(&usage));
    assert_int_equal(usage.prompt_tokens, 9);
    assert_int_equal(usage.completion_tokens, 12);
    assert_int_equal(usage.total_tokens, 21);
    assert_int_equal(usage.cached_tokens, 4);
    assert_false(usage.malformed);
}

static void embeddings_have_no_completion(void **state)
{
    (void)state;
    struct ps_usage usage =
        read_body("{\"object\":\"list\",\"data\":[{\"embedding\":[0.1,-2e-3,{}]}],"
                  "\"usage\":{\"prompt_tokens\":8,\"total_tokens\":8}}");
    assert_int_equal(usage.prompt_tokens, 8);
    assert_false(usage.has_completion);
    ps_usage_estimate(&usage, 100, 1000, 4);
    assert_false(usage.estimated);
    assert_int_equal(usage.completion_tokens, 0);
}

static void other_dialects_are_understood(void **state)
{
    (void)state;
    struct ps_usage usage =
        read_body("{\"type\":\"response.completed\",\"response\":{\"output\":[],"
                  "\"usage\":{\"input_tokens\":5,\"output_tokens\":6,"
                  "\"input_tokens_details\":{\"cached_tokens\":2}}}}");
    assert_int_equal(usage.prompt_tokens, 5);
    assert_int_equal(usage.completion_tokens, 6);
    assert_int_equal(usage.total_tokens, 11);
    assert_int_equal(usage.cached_tokens, 2);
    usage = read_body("{\"message\":{\"usage\":{\"input_tokens\":5,\"cache_read_input_tokens\":7,"
                      "\"cache_creation_input_tokens\":null,\"output_tokens\":1}}}");
    assert_int_equal(usage.prompt_tokens, 12);
    assert_int_equal(usage.cached_tokens, 7);
}

static void numbers_that_can_not_be_are_ignored_and_flagged(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{\"usage\":{\"prompt_tokens\":-3}}",
        "{\"usage\":{\"prompt_tokens\":1.5}}",
        "{\"usage\":{\"prompt_tokens\":1e3}}",
        "{\"usage\":{\"prompt_tokens\":9007199254740993}}",
        "{\"usage\":{\"prompt_tokens\":99999999999999999999999}}",
        "{\"usage\":{\"prompt_tokens\":\"3\"}}",
        "{\"usage\":{\"prompt_tokens\":[3]}}",
        "{\"usage\":{\"prompt_tokens\" 3}}",
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        struct ps_usage usage = read_body(bad[i]);
        assert_true(usage.malformed);
        assert_false(ps_usage_is_known(&usage));
        assert_int_equal(usage.total_tokens, 0);
    }
}

static void what_is_no_usage_is_not_read(void **state)
{
    (void)state;
    static const char *const none[] = {
        "",
        "[{\"usage\":{\"prompt_tokens\":3}}]",
        "}}{\"usage\":{\"prompt_tokens\":3}}",
        "{\"usage\":null}",
        "{\"usage\":[{\"prompt_tokens\":3}]}",
        "{\"x\":{\"usage\":{\"prompt_tokens\":3}}}",
        "{\"x\":\"usage\",\"y\":{\"prompt_tokens\":3}}",
        "{\"usage\":{\"prompt_tokens\":3",
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(none); i++) {
        struct ps_usage usage = read_body(none[i]);
        assert_false(ps_usage_is_known(&usage));
    }
}

static void a_huge_usage_object_is_given_up(void **state)
{
    (void)state;
    struct ps_usage usage = {0};
    struct ps_usage_reader reader;
    ps_usage_reader_init(&reader, PS_DIALECT_OPENAI, &usage);
    ps_usage_reader_feed(&reader, PS_STR("{\"usage\":{\"a\":\""));
    char piece[1000];
    memset(piece, 'x', sizeof piece);
    for (int i = 0; i < 1000; i++) {
        ps_usage_reader_feed(&reader, (struct ps_str){piece, sizeof piece});
        assert_true(reader.object.cap <= PS_USAGE_OBJECT_MAX);
    }
    ps_usage_reader_feed(&reader, PS_STR("\",\"prompt_tokens\":3}}"));
    ps_usage_reader_fini(&reader);
    assert_true(usage.malformed);
    assert_false(ps_usage_is_known(&usage));
}

static void the_usage_event_is_recognised(void **state)
{
    (void)state;
    struct ps_usage usage = {0};
    struct ps_usage_event event =
        ps_usage_read_event(&usage, PS_DIALECT_OPENAI,
                            PS_STR("{\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{\"}}],"
                                   "\"usage\":null}"));
    assert_false(event.has_usage);
    event = ps_usage_read_event(&usage, PS_DIALECT_OPENAI,
                                PS_STR("{\"choices\":[ ],\"usage\":{\"prompt_tokens\":2,"
                                       "\"completion_tokens\":1}}"));
    assert_true(event.has_usage && event.only_usage);
    assert_int_equal(usage.total_tokens, 3);
    assert_int_equal(usage.events, 1);
    event = ps_usage_read_event(&usage, PS_DIALECT_OPENAI, PS_STR(" [DONE]"));
    assert_true(event.done);
    assert_int_equal(usage.events, 1);
}

static void usage_beside_a_choice_is_not_hidden(void **state)
{
    (void)state;
    struct ps_usage usage = {0};
    struct ps_usage_event event =
        ps_usage_read_event(&usage, PS_DIALECT_OPENAI,
                            PS_STR("{\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":7},"
                                   "\"choices\":[{\"index\":0,\"delta\":{}}]}"));
    assert_true(event.has_usage);
    assert_false(event.only_usage);
    assert_int_equal(usage.completion_tokens, 7);
}

static void later_events_replace_earlier_ones(void **state)
{
    (void)state;
    struct ps_usage usage = {0};
    (void)ps_usage_read_event(&usage, PS_DIALECT_OPENAI,
                              PS_STR("{\"message\":{\"usage\":{\"input_tokens\":10,"
                                     "\"output_tokens\":1}}}"));
    (void)ps_usage_read_event(&usage, PS_DIALECT_OPENAI,
                              PS_STR("{\"usage\":{\"output_tokens\":40}}"));
    assert_int_equal(usage.prompt_tokens, 10);
    assert_int_equal(usage.completion_tokens, 40);
    assert_int_equal(usage.total_tokens, 50);
}

static void a_stream_without_usage_is_estimated_by_its_events(void **state)
{
    (void)state;
    struct ps_usage usage = {0};
    for (int i = 0; i < 17; i++) {
        (void)ps_usage_read_event(&usage, PS_DIALECT_OPENAI,
                                  PS_STR("{\"choices\":[{\"delta\":{\"content\":\"a\"}}]}"));
    }
    ps_usage_estimate(&usage, 30, 0, 4);
    assert_true(usage.estimated);
    assert_int_equal(usage.prompt_tokens, 30);
    assert_int_equal(usage.completion_tokens, 17);
    assert_int_equal(usage.total_tokens, 47);
    struct ps_usage body = {0};
    ps_usage_estimate(&body, 30, 400, 4);
    assert_int_equal(body.completion_tokens, 100);
}

static void prices_are_exact_in_nano_dollars(void **state)
{
    (void)state;
    struct ps_price_opts opts = {0.15, 0.6, 0.075};
    struct ps_price price = ps_price_make(&opts);
    assert_true(ps_price_is_known(&price));
    assert_int_equal(ps_price_cost(&price, 1000000, 0), 150000000);
    assert_int_equal(ps_price_cost(&price, 1, 1), 750);
    struct ps_usage usage = {.prompt_tokens = 10, .cached_tokens = 4, .completion_tokens = 2};
    assert_int_equal(ps_price_usage(&price, &usage), 6 * 150 + 4 * 75 + 2 * 600);
    struct ps_price_opts cheap = {0.0005, 0, -1};
    price = ps_price_make(&cheap);
    assert_int_equal(ps_price_cost(&price, 1, 0), 1); /* rounded up */
    struct ps_price_opts dear = {1e6, 1e6, -1};
    price = ps_price_make(&dear);
    assert_true(ps_price_cost(&price, UINT64_MAX, UINT64_MAX) == INT64_MAX);
}

static void figures_of_each_dialect_are_found(void **state)
{
    (void)state;
    static const struct {
        enum ps_dialect dialect;
        const char *body;
        uint64_t prompt, completion, cached;
    } cases[] = {
        {PS_DIALECT_OLLAMA,
         "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\\\"eval_count\\\":"
         "9\"},\"done\":true,"
         "\"prompt_eval_count\":26,\"prompt_eval_duration\":342546000,\"eval_count\" : 282 "
         ",\"eval_duration\":1}",
         26, 282, 0},
        {PS_DIALECT_LLAMACPP,
         "{\"content\":\"x\",\"tokens_predicted\":5,\"tokens_evaluated\":12,\"timings\":{\"cache_"
         "n\":8,\"prompt_n\":4,"
         "\"prompt_ms\":1.5,\"predicted_n\":5}}",
         12, 5, 8},
        {PS_DIALECT_OPENAI,
         "{\"choices\":[{\"delta\":{}}],\"created\":1,\"timings\":{\"cache_n\":236,\"prompt_n\":1,"
         "\"predicted_n\":35,"
         "\"predicted_ms\":661.06}}",
         237, 35, 236},
        {PS_DIALECT_GENERATE,
         "{\"generated_text\":\"a\",\"details\":{\"finish_reason\":\"length\",\"generated_tokens\":"
         "20,\"seed\":null,"
         "\"input_length\":7,\"prefill\":[{\"id\":1,\"generated_tokens\":3}]}}",
         7, 20, 0},
        {PS_DIALECT_GENERATE,
         "{\"text\":\"a\",\"meta_info\":{\"id\":\"x\",\"finish_reason\":{\"type\":\"length\","
         "\"length\":16},"
         "\"prompt_tokens\":6,\"completion_tokens\":16,\"cached_tokens\":2,\"e2e_latency\":0.25}}",
         6, 16, 2},
        {PS_DIALECT_GENERATE,
         "[{\"text\":\"a\",\"meta_info\":{\"prompt_tokens\":6,\"completion_tokens\":16}},"
         "{\"text\":\"b\",\"meta_info\":{\"prompt_tokens\":3,\"completion_tokens\":4}}]",
         9, 20, 0},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        struct ps_usage usage = read_as(cases[i].dialect, cases[i].body);
        assert_int_equal(usage.prompt_tokens, cases[i].prompt);
        assert_int_equal(usage.completion_tokens, cases[i].completion);
        assert_int_equal(usage.cached_tokens, cases[i].cached);
        assert_int_equal(usage.total_tokens, cases[i].prompt + cases[i].completion);
        assert_false(usage.malformed);
    }
}

static void figures_that_can_not_be_are_ignored_in_each_dialect(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "-3",  "1.5",  "1e3", "9007199254740993", "99999999999999999999999999999", "\"3\"",
        "[3]", "true", "5x"};
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        char body[256];
        snprintf(body, sizeof body, "{\"eval_count\":%s}", bad[i]);
        struct ps_usage usage = read_as(PS_DIALECT_OLLAMA, body);
        assert_false(ps_usage_is_known(&usage));
        assert_true(usage.malformed || bad[i][0] == '[');
        snprintf(body, sizeof body,
                 "{\"meta_info\":{\"prompt_tokens\":%s,\"completion_tokens\":4}}", bad[i]);
        usage = read_as(PS_DIALECT_GENERATE, body);
        assert_false(usage.has_prompt);
        assert_int_equal(usage.completion_tokens, 4);
    }
    struct ps_usage none = read_as(PS_DIALECT_OLLAMA, "{\"eval_count\":null}");
    assert_false(none.malformed || ps_usage_is_known(&none));
    none = read_as(PS_DIALECT_OPENAI, "{\"eval_count\":3,\"meta_info\":{\"prompt_tokens\":3}}");
    assert_false(ps_usage_is_known(&none));
}

static void what_grows_in_every_event_counts_once(void **state)
{
    (void)state;
    struct ps_usage usage = {0};
    for (int i = 1; i <= 9; i++) {
        char event[128];
        snprintf(event, sizeof event,
                 "{\"text\":\"a\",\"meta_info\":{\"prompt_tokens\":7,\"completion_tokens\":%d}}",
                 i);
        assert_true(ps_usage_read_event(&usage, PS_DIALECT_GENERATE, ps_str_from(event)).has_usage);
    }
    assert_int_equal(usage.prompt_tokens, 7);
    assert_int_equal(usage.completion_tokens, 9);
    usage = (struct ps_usage){0};
    for (int i = 1; i <= 3; i++) {
        char event[160];
        snprintf(event, sizeof event,
                 "{\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":{\"prompt_tokens\":7,"
                 "\"completion_tokens\":%d,\"total_tokens\":%d}}",
                 i, i + 7);
        assert_false(ps_usage_read_event(&usage, PS_DIALECT_OPENAI, ps_str_from(event)).only_usage);
    }
    assert_int_equal(usage.completion_tokens, 3);
    assert_int_equal(usage.total_tokens, 10);
    /* With the last choice. */
    struct ps_usage_event last =
        ps_usage_read_event(&usage, PS_DIALECT_OPENAI,
                            PS_STR("{\"choices\":[{\"index\":0,\"delta\":{}}],\"usage\":{\"prompt_"
                                   "tokens\":7,\"completion_tokens\":4}}"));
    assert_true(last.has_usage && !last.only_usage);
    assert_int_equal(usage.completion_tokens, 4);
}

static void a_prompt_that_was_cached_whole_is_estimated(void **state)
{
    (void)state;
    struct ps_usage usage = read_as(PS_DIALECT_OLLAMA, "{\"done\":true,\"eval_count\":5}");
    ps_usage_estimate(&usage, 11, 400, 4);
    assert_true(usage.estimated);
    assert_int_equal(usage.prompt_tokens, 11);
    assert_int_equal(usage.completion_tokens, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_of_each_dialect_are_found),
        cmocka_unit_test(figures_that_can_not_be_are_ignored_in_each_dialect),
        cmocka_unit_test(what_grows_in_every_event_counts_once),
        cmocka_unit_test(a_prompt_that_was_cached_whole_is_estimated),
        cmocka_unit_test(an_answer_tells_its_usage),
        cmocka_unit_test(embeddings_have_no_completion),
        cmocka_unit_test(other_dialects_are_understood),
        cmocka_unit_test(numbers_that_can_not_be_are_ignored_and_flagged),
        cmocka_unit_test(what_is_no_usage_is_not_read),
        cmocka_unit_test(a_huge_usage_object_is_given_up),
        cmocka_unit_test(the_usage_event_is_recognised),
        cmocka_unit_test(usage_beside_a_choice_is_not_hidden),
        cmocka_unit_test(later_events_replace_earlier_ones),
        cmocka_unit_test(a_stream_without_usage_is_estimated_by_its_events),
        cmocka_unit_test(prices_are_exact_in_nano_dollars),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
