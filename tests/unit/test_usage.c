/* usage - tokens read from answers and from events of streams; prices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "gateway/price.h"
#include "gateway/usage.h"

static struct ps_usage read_cut(const char *body, size_t step)
{
    struct ps_usage usage = {0};
    struct ps_usage_reader reader;
    ps_usage_reader_init(&reader, PS_DIALECT_OPENAI, &usage);
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
static struct ps_usage read_body(const char *body)
{
    struct ps_usage whole = read_cut(body, SIZE_MAX);
    for (size_t step = 1; step < 30; step++) {
        struct ps_usage usage = read_cut(body, step);
        assert_memory_equal(&usage, &whole, sizeof whole);
    }
    return whole;
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
    struct ps_usage_event event = ps_usage_read_event(&usage, PS_DIALECT_OPENAI, PS_STR("{\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{\"}}],"
                       "\"usage\":null}"));
    assert_false(event.has_usage);
    event = ps_usage_read_event(&usage, PS_DIALECT_OPENAI, PS_STR("{\"choices\":[ ],\"usage\":{\"prompt_tokens\":2,"
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
    struct ps_usage_event event = ps_usage_read_event(&usage, PS_DIALECT_OPENAI, PS_STR("{\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":7},"
                       "\"choices\":[{\"index\":0,\"delta\":{}}]}"));
    assert_true(event.has_usage);
    assert_false(event.only_usage);
    assert_int_equal(usage.completion_tokens, 7);
}

static void later_events_replace_earlier_ones(void **state)
{
    (void)state;
    struct ps_usage usage = {0};
    (void)ps_usage_read_event(&usage, PS_DIALECT_OPENAI, PS_STR("{\"message\":{\"usage\":{\"input_tokens\":10,"
                                             "\"output_tokens\":1}}}"));
    (void)ps_usage_read_event(&usage, PS_DIALECT_OPENAI, PS_STR("{\"usage\":{\"output_tokens\":40}}"));
    assert_int_equal(usage.prompt_tokens, 10);
    assert_int_equal(usage.completion_tokens, 40);
    assert_int_equal(usage.total_tokens, 50);
}

static void a_stream_without_usage_is_estimated_by_its_events(void **state)
{
    (void)state;
    struct ps_usage usage = {0};
    for (int i = 0; i < 17; i++) {
        (void)ps_usage_read_event(&usage, PS_DIALECT_OPENAI, PS_STR("{\"choices\":[{\"delta\":{\"content\":\"a\"}}]}"));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
