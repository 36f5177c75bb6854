/* test_sse - events come whole, bytes come back unchanged, and a large event does not stop a
 * stream.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "http/sse.h"

static void assert_text(struct ps_str got, const char *want)
{
    assert_int_equal(got.len, strlen(want));
    assert_memory_equal(got.ptr, want, got.len);
}

static void add(struct ps_buf *buf, struct ps_str text)
{
    PS_CHECK(ps_buf_append_str(buf, text) == PS_OK);
}

static void events_in_one_input_are_views(void **state)
{
    (void)state;
    struct ps_sse sse;
    struct ps_sse_event event;
    struct ps_str stream =
        PS_STR("data: {\"a\":1}\n\nevent: done\ndata:[DONE]\n\n: hello\n\ndata: x");
    struct ps_str input = stream;
    ps_sse_init(&sse, 100);
    assert_int_equal(ps_sse_next(&sse, &input, &event), PS_SSE_EVENT);
    assert_text(event.raw, "data: {\"a\":1}\n\n");
    assert_text(event.data, "{\"a\":1}");
    assert_text(event.event, "");
    assert_ptr_equal(event.raw.ptr, stream.ptr);
    assert_int_equal(ps_sse_next(&sse, &input, &event), PS_SSE_EVENT);
    assert_text(event.event, "done");
    assert_text(event.data, "[DONE]");
    assert_int_equal(ps_sse_next(&sse, &input, &event), PS_SSE_EVENT);
    assert_text(event.raw, ": hello\n\n");
    assert_false(event.has_data);
    assert_null(sse.held.data);
    assert_int_equal(ps_sse_next(&sse, &input, &event), PS_SSE_MORE);
    assert_text(ps_sse_rest(&sse), "data: x");
    input = PS_STR("y\n\nz");
    assert_int_equal(ps_sse_next(&sse, &input, &event), PS_SSE_EVENT);
    assert_text(event.raw, "data: xy\n\n");
    assert_text(event.data, "xy");
    assert_text(ps_sse_rest(&sse), "");
    ps_sse_fini(&sse);
}

static void several_data_lines_are_joined(void **state)
{
    (void)state;
    struct ps_sse sse;
    struct ps_sse_event event;
    struct ps_str input = PS_STR("data: a\ndata\ndata:  b\nid: 1\nretry: 2\ndatax: no\ndata:c\n\n");
    ps_sse_init(&sse, 100);
    assert_int_equal(ps_sse_next(&sse, &input, &event), PS_SSE_EVENT);
    assert_text(event.data, "a\n\n b\nc");
    ps_sse_fini(&sse);
}

static void all_line_ends_and_the_mark_are_known(void **state)
{
    (void)state;
    const char *const streams[] = {
        "data: a\n\n",   "data: a\r\n\r\n", "data: a\r\r",
        "data: a\r\n\n", "data: a\n\r\n",   "\357\273\277data: a\n\n",
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(streams); i++) {
        struct ps_sse sse;
        struct ps_sse_event event;
        struct ps_str input = ps_str_from(streams[i]);
        ps_sse_init(&sse, 100);
        assert_int_equal(ps_sse_next(&sse, &input, &event), PS_SSE_EVENT);
        assert_text(event.raw, streams[i]);
        assert_text(event.data, "a");
        assert_int_equal(input.len, 0);
        ps_sse_fini(&sse);
    }
}

static void the_mark_counts_only_at_the_start(void **state)
{
    (void)state;
    struct ps_sse sse;
    struct ps_sse_event event;
    struct ps_str input = PS_STR("data: a\n\n\xef\xbb\xbf"
                                 "data: b\n\n");
    ps_sse_init(&sse, 100);
    assert_int_equal(ps_sse_next(&sse, &input, &event), PS_SSE_EVENT);
    assert_int_equal(ps_sse_next(&sse, &input, &event), PS_SSE_EVENT);
    assert_false(event.has_data);
    ps_sse_fini(&sse);
}

static void a_line_feed_that_comes_late_belongs_to_its_cr(void **state)
{
    (void)state;
    struct ps_sse sse;
    struct ps_sse_event event;
    struct ps_str input = PS_STR("data: a\r\n\r");
    ps_sse_init(&sse, 100);
    assert_int_equal(ps_sse_next(&sse, &input, &event), PS_SSE_EVENT);
    assert_text(event.data, "a");
    input = PS_STR("\ndata: b\r\n\r\n");
    assert_int_equal(ps_sse_next(&sse, &input, &event), PS_SSE_EVENT);
    assert_text(event.raw, "\ndata: b\r\n\r\n");
    assert_text(event.data, "b");
    ps_sse_fini(&sse);
}

/* All events of a stream, as text; the raw bytes must be the stream. */
static void read_all(struct ps_buf *events, struct ps_str stream, size_t cut, size_t bound)
{
    struct ps_sse sse;
    struct ps_sse_event event;
    struct ps_buf raw = ps_buf_make(1u << 16);
    ps_sse_init(&sse, bound);
    for (size_t at = 0; at < stream.len;) {
        size_t len = cut == 0 ? 1 : at < cut ? cut : stream.len - at;
        len = len < stream.len - at ? len : stream.len - at;
        char *copy = malloc(len);
        assert_non_null(copy);
        memcpy(copy, stream.ptr + at, len);
        struct ps_str input = {copy, len};
        enum ps_sse_result result;
        while ((result = ps_sse_next(&sse, &input, &event)) != PS_SSE_MORE) {
            add(&raw, event.raw);
            if (result == PS_SSE_EVENT && event.has_data) {
                add(events, event.event);
                add(events, PS_STR("|"));
                add(events, event.data);
                add(events, PS_STR("|"));
            }
        }
        free(copy);
        at += len;
    }
    add(&raw, ps_sse_rest(&sse));
    assert_true(ps_str_eq(ps_buf_str(&raw), stream));
    ps_buf_fini(&raw);
    ps_sse_fini(&sse);
}

static void every_cut_gives_the_same_events(void **state)
{
    (void)state;
    const struct ps_str streams[] = {
        PS_STR(
            "data: 1\n\ndata: 2\r\n\r\ndata: 3\r\rdata: 4\ndata: 5\r\ndata: 6\rdata\n\r\ndata: 7"),
        PS_STR("\xef\xbb\xbf"
               "event: x\r\n: c\r\ndata: {\"choices\":[]}\r\n\r\n\r\n\n\rdata:\n\n"),
        PS_STR("data: {\"a\":\"long enough for the sixteen byte steps\"}\n\ndata: [DONE]\n\n"),
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(streams); i++) {
        struct ps_buf whole = ps_buf_make(1u << 16);
        read_all(&whole, streams[i], streams[i].len, 1000);
        assert_true(whole.len > 0);
        for (size_t cut = 0; cut < streams[i].len; cut++) {
            struct ps_buf pieces = ps_buf_make(1u << 16);
            read_all(&pieces, streams[i], cut, 1000);
            assert_true(ps_str_eq(ps_buf_str(&whole), ps_buf_str(&pieces)));
            ps_buf_fini(&pieces);
        }
        ps_buf_fini(&whole);
    }
}

static void an_event_over_the_bound_passes_and_the_next_is_seen(void **state)
{
    (void)state;
    struct ps_sse sse;
    struct ps_sse_event event;
    ps_sse_init(&sse, 10);
    struct ps_str input = PS_STR("data: 789");
    assert_int_equal(ps_sse_next(&sse, &input, &event), PS_SSE_MORE);
    input = PS_STR("0123");
    assert_int_equal(ps_sse_next(&sse, &input, &event), PS_SSE_PASS);
    assert_text(event.raw, "data: 789");
    assert_false(event.last);
    assert_int_equal(ps_sse_next(&sse, &input, &event), PS_SSE_PASS);
    assert_text(event.raw, "0123");
    assert_false(event.last);
    assert_int_equal(ps_sse_next(&sse, &input, &event), PS_SSE_MORE);
    input = PS_STR("4\n\ndata: next\n\n");
    assert_int_equal(ps_sse_next(&sse, &input, &event), PS_SSE_PASS);
    assert_text(event.raw, "4\n\n");
    assert_true(event.last);
    assert_int_equal(ps_sse_next(&sse, &input, &event), PS_SSE_EVENT);
    assert_text(event.data, "next");
    ps_sse_fini(&sse);
}

static void a_bound_of_any_size_loses_no_byte(void **state)
{
    (void)state;
    struct ps_str stream =
        PS_STR("data: 12345\r\n\r\ndata: 1\n\nevent: x\rdata: 123456789\r\rdata:");
    for (size_t bound = 0; bound < stream.len; bound++) {
        for (size_t cut = 0; cut < stream.len; cut++) {
            struct ps_buf events = ps_buf_make(1u << 16);
            read_all(&events, stream, cut, bound);
            ps_buf_fini(&events);
        }
    }
}

static void a_large_buffer_is_given_back(void **state)
{
    (void)state;
    struct ps_sse sse;
    struct ps_sse_event event;
    static char large[20000];
    memset(large, 'x', sizeof large);
    memcpy(large, "data: ", 6);
    ps_sse_init(&sse, 1u << 20);
    struct ps_str input = {large, sizeof large};
    assert_int_equal(ps_sse_next(&sse, &input, &event), PS_SSE_MORE);
    input = PS_STR("\n\n");
    assert_int_equal(ps_sse_next(&sse, &input, &event), PS_SSE_EVENT);
    assert_int_equal(event.data.len, sizeof large - 6);
    assert_int_equal(ps_sse_next(&sse, &input, &event), PS_SSE_MORE);
    assert_null(sse.held.data);
    ps_sse_fini(&sse);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_in_one_input_are_views),
        cmocka_unit_test(several_data_lines_are_joined),
        cmocka_unit_test(all_line_ends_and_the_mark_are_known),
        cmocka_unit_test(the_mark_counts_only_at_the_start),
        cmocka_unit_test(a_line_feed_that_comes_late_belongs_to_its_cr),
        cmocka_unit_test(every_cut_gives_the_same_events),
        cmocka_unit_test(an_event_over_the_bound_passes_and_the_next_is_seen),
        cmocka_unit_test(a_bound_of_any_size_loses_no_byte),
        cmocka_unit_test(a_large_buffer_is_given_back),
    };
    return cmocka_run_group_tests_name("sse", tests, NULL, NULL);
}
