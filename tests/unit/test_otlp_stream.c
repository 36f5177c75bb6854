/* test_otlp_stream - totals become steps, for numbers and for buckets.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "export/otlp_stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static int setup(void **state)
{
    return ps_otlp_streams_new((struct ps_otlp_streams **)state, 3);
}

static int teardown(void **state)
{
    ps_otlp_streams_free(*state);
    return 0;
}

static struct ps_otlp_stream *at(struct ps_otlp_streams *streams, uint64_t key, ps_time now)
{
    return ps_otlp_streams_at(streams, (struct ps_otlp_key){{key, key}}, now);
}

static void a_total_gives_what_is_new(void **state)
{
    struct ps_otlp_stream *stream = at(*state, 1, 0);
    assert_true(ps_otlp_stream_advance(stream, 100, 110));
    assert_true(ps_otlp_stream_step(stream, 5) == 5);
    assert_true(ps_otlp_stream_advance(stream, 100, 120));
    assert_true(ps_otlp_stream_step(stream, 7) == 2);
    assert_false(ps_otlp_stream_advance(stream, 100, 120)); /* once more */
    assert_false(ps_otlp_stream_advance(stream, 100, 119)); /* late */
    assert_true(ps_otlp_stream_advance(stream, 125, 130));  /* began anew: higher than before */
    assert_true(ps_otlp_stream_step(stream, 9) == 9);
    assert_true(ps_otlp_stream_advance(stream, 125, 140)); /* fell without a new start */
    assert_true(ps_otlp_stream_step(stream, 4) == 4);
    assert_true(ps_otlp_stream_advance(stream, 125, 0)); /* without a time */
    assert_true(ps_otlp_stream_step(stream, 6) == 2);
    assert_ptr_equal(at(*state, 1, 5), stream);
}

static void buckets_give_what_is_new(void **state)
{
    struct ps_otlp_stream *stream = at(*state, 1, 0);
    uint64_t first[] = {1, 2, 0}, second[] = {1, 5, 1}, anew[] = {1, 0, 2};
    struct ps_otlp_counts counts = {.sum = 3, .sides = {{0, 3, first}}};
    assert_true(ps_otlp_stream_advance(stream, 1, 2));
    assert_int_equal(ps_otlp_stream_step_counts(*state, stream, &counts), PS_OK);
    assert_int_equal(first[1], 2);
    counts = (struct ps_otlp_counts){.sum = 10, .sides = {{0, 3, second}}};
    assert_true(ps_otlp_stream_advance(stream, 1, 3));
    assert_int_equal(ps_otlp_stream_step_counts(*state, stream, &counts), PS_OK);
    assert_int_equal(second[0], 0);
    assert_int_equal(second[1], 3);
    assert_int_equal(second[2], 1);
    assert_true(counts.sum == 7);
    counts = (struct ps_otlp_counts){.sum = 4, .sides = {{0, 3, anew}}};
    assert_true(ps_otlp_stream_advance(stream, 1, 4));
    assert_int_equal(ps_otlp_stream_step_counts(*state, stream, &counts), PS_OK);
    assert_int_equal(anew[0], 1); /* a bucket fell: all of it is new */
    assert_int_equal(anew[2], 2);
    assert_true(counts.sum == 4);
}

/* From scale 3, buckets 7..10, to scale 1, where four of them are one: 7 >> 2 = 1, 8..10 >> 2 = 2.
 */
static void an_exponential_histogram_may_get_coarser(void **state)
{
    struct ps_otlp_stream *stream = at(*state, 1, 0);
    uint64_t fine[] = {1, 1, 0, 1}, below[] = {4}, coarse[] = {2, 1, 3}, less[] = {5};
    struct ps_otlp_counts counts = {
        .scale = 3, .zeros = 2, .sides = {{7, 4, fine}, {-3, 1, below}}};
    assert_true(ps_otlp_stream_advance(stream, 1, 2));
    assert_int_equal(ps_otlp_stream_step_counts(*state, stream, &counts), PS_OK);
    counts =
        (struct ps_otlp_counts){.scale = 1, .zeros = 2, .sides = {{1, 3, coarse}, {-1, 1, less}}};
    coarse[1] = 4;
    assert_true(ps_otlp_stream_advance(stream, 1, 3));
    assert_int_equal(ps_otlp_stream_step_counts(*state, stream, &counts), PS_OK);
    assert_int_equal(coarse[0], 1);
    assert_int_equal(coarse[1], 2);
    assert_int_equal(coarse[2], 3);
    assert_int_equal(less[0], 1);
    assert_int_equal(counts.zeros, 0);
}

static void memory_of_buckets_is_bounded(void **state)
{
    enum { COUNT = PS_OTLP_STREAM_BYTES / sizeof(uint64_t) - 10 };
    uint64_t *many = calloc(COUNT, sizeof *many);
    uint64_t few[20] = {0};
    struct ps_otlp_counts counts = {.sides = {{0, COUNT, many}}};
    assert_int_equal(ps_otlp_stream_step_counts(*state, at(*state, 1, 0), &counts), PS_OK);
    counts = (struct ps_otlp_counts){.sides = {{0, 20, few}}};
    assert_int_equal(ps_otlp_stream_step_counts(*state, at(*state, 2, 0), &counts), PS_ELIMIT);
    assert_int_equal(ps_otlp_stream_step_counts(*state, at(*state, 1, 0), &counts), PS_OK);
    assert_int_equal(ps_otlp_stream_step_counts(*state, at(*state, 2, 0), &counts), PS_OK);
    free(many);
}

static void who_was_silent_for_an_hour_makes_room(void **state)
{
    assert_non_null(at(*state, 1, 0));
    assert_non_null(at(*state, 2, 1));
    assert_non_null(at(*state, 3, 2));
    assert_non_null(at(*state, 1, PS_MINUTE));
    assert_null(at(*state, 4, PS_HOUR));
    assert_non_null(at(*state, 4, PS_HOUR + 1)); /* instead of 2 */
    assert_null(at(*state, 2, PS_HOUR + 1));
    assert_int_equal(ps_otlp_streams_count(*state), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_total_gives_what_is_new, setup, teardown),
        cmocka_unit_test_setup_teardown(buckets_give_what_is_new, setup, teardown),
        cmocka_unit_test_setup_teardown(an_exponential_histogram_may_get_coarser, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_of_buckets_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(who_was_silent_for_an_hour_makes_room, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
