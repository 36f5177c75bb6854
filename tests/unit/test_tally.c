/* test_tally - what is counted, what adds up, what is the generator's fault.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "load/tally.h"

static struct ps_tally *tally;

static int begin(void **state)
{
    (void)state;
    tally = calloc(1, sizeof *tally);
    return tally == NULL;
}

static int end(void **state)
{
    (void)state;
    free(tally);
    return 0;
}

static struct ps_session_result success(ps_time intended, ps_span lag, ps_span took)
{
    return (struct ps_session_result){.status = 200,
                                      .intended = intended,
                                      .sent = intended + lag,
                                      .first_byte = intended + lag + took / 2,
                                      .end = intended + lag + took,
                                      .bytes = 10,
                                      .detail = ""};
}

static void latency_counts_from_both_times(void **state)
{
    (void)state;
    const struct ps_session_result result = success(PS_SECOND, 5 * PS_MILLISECOND, 20 * PS_MILLISECOND);
    ps_tally_add(tally, &result, NULL);
    assert_int_equal(tally->corrected.max, 25 * PS_MILLISECOND);
    assert_int_equal(tally->latency.max, 20 * PS_MILLISECOND);
    assert_int_equal(tally->first_byte.max, 10 * PS_MILLISECOND);
    assert_int_equal(tally->bytes_received, 10);
    assert_int_equal(tally->good, 1);
}

static void a_good_request_keeps_all_objectives(void **state)
{
    (void)state;
    const struct ps_objectives objectives = {
        .ttft = 100 * PS_MILLISECOND, .per_token = 10 * PS_MILLISECOND, .latency = PS_SECOND};
    struct ps_session_result result = success(0, 0, 500 * PS_MILLISECOND);
    ps_tally_add(tally, &result, &objectives); /* no text: only the latency counts */
    assert_int_equal(tally->good, 1);
    result.texts = result.output_tokens = 11;
    result.first_text = 100 * PS_MILLISECOND;
    result.last_text = 200 * PS_MILLISECOND;
    ps_tally_add(tally, &result, &objectives);
    assert_int_equal(tally->good, 2);
    result.first_text++;
    ps_tally_add(tally, &result, &objectives);
    assert_int_equal(tally->good, 2);
    result.first_text--;
    result.last_text += PS_MILLISECOND;
    ps_tally_add(tally, &result, &objectives);
    assert_int_equal(tally->good, 2);
    result = success(0, 0, PS_SECOND + 1);
    ps_tally_add(tally, &result, &objectives);
    assert_int_equal(tally->good, 2);
    assert_int_equal(tally->succeeded, 5);
}

static void what_was_broken_off_on_purpose_is_neither(void **state)
{
    (void)state;
    struct ps_session_result result = success(0, 0, PS_SECOND);
    result.cancelled = true;
    ps_tally_add(tally, &result, NULL);
    assert_int_equal(tally->cancelled, 1);
    assert_int_equal(tally->succeeded + tally->failed, 0);
    assert_int_equal(tally->corrected.count, 0);
    assert_true(isnan(ps_tally_error_percent(tally)));
}

static void send_many(unsigned punctual, unsigned late)
{
    for (unsigned i = 0; i < punctual + late; i++) {
        ps_tally_sent(tally, 0, i < punctual ? PS_TALLY_LATE : PS_TALLY_LATE + 1, PS_TALLY_LATE, 1);
    }
}

static void one_late_send_in_a_hundred_is_not_the_generators_limit(void **state)
{
    (void)state;
    send_many(198, 2);
    assert_false(ps_tally_is_limited(tally));
    send_many(0, 1);
    assert_true(ps_tally_is_limited(tally));
    assert_int_equal(tally->lag.max, PS_TALLY_LATE + 1);
}

static void one_skipped_request_is_the_generators_limit(void **state)
{
    (void)state;
    send_many(1000, 0);
    tally->skipped++;
    assert_true(ps_tally_is_limited(tally));
}

static void add_drawn(struct ps_tally *to, struct ps_rng *rng)
{
    struct ps_session_result result =
        success((ps_time)ps_rng_below(rng, 1000000000), (ps_span)ps_rng_below(rng, 1000000),
                (ps_span)ps_rng_below(rng, 1000000000));
    result.failure = ps_rng_below(rng, 4) == 0 ? PS_FAILURE_STATUS : PS_FAILURE_NONE;
    result.status = result.failure == PS_FAILURE_STATUS ? 503 : 200;
    result.detail = "no";
    result.texts = result.output_tokens = ps_rng_below(rng, 5);
    result.first_text = result.first_byte;
    result.last_text = result.end;
    ps_tally_sent(to, result.intended, result.sent, PS_TALLY_LATE, 7);
    ps_tally_add(to, &result, NULL);
}

/* Parts that were counted apart and merged are the whole, bit by bit. */
static void tallies_add_up(void **state)
{
    struct ps_tally *parts[3];
    struct ps_tally *sum = calloc(1, sizeof *sum);
    struct ps_rng rng = ps_rng_make(9);
    (void)state;
    for (int i = 0; i < 3; i++) {
        parts[i] = calloc(1, sizeof *parts[i]);
    }
    for (int i = 0; i < 3000; i++) {
        struct ps_rng same = rng;
        add_drawn(tally, &rng);
        add_drawn(parts[i % 3], &same);
    }
    ps_tally_stop(tally, 4, 0, 5 * PS_SECOND);
    ps_tally_stop(parts[2], 4, 0, 5 * PS_SECOND);
    for (int i = 0; i < 3; i++) {
        ps_tally_merge(sum, parts[i]);
    }
    sum->corrected.sum = tally->corrected.sum; /* sums of floating point numbers depend on their order */
    sum->latency.sum = tally->latency.sum;
    sum->first_byte.sum = tally->first_byte.sum;
    sum->ttft_corrected.sum = tally->ttft_corrected.sum;
    sum->ttft.sum = tally->ttft.sum;
    sum->token_gap.sum = tally->token_gap.sum;
    sum->lag.sum = tally->lag.sum;
    assert_memory_equal(sum, tally, sizeof *sum);
    ps_tally_clear(sum);
    memset(tally, 0, sizeof *tally);
    assert_memory_equal(sum, tally, sizeof *sum);
    for (int i = 0; i < 3; i++) {
        free(parts[i]);
    }
    free(sum);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(latency_counts_from_both_times, begin, end),
        cmocka_unit_test_setup_teardown(a_good_request_keeps_all_objectives, begin, end),
        cmocka_unit_test_setup_teardown(what_was_broken_off_on_purpose_is_neither, begin, end),
        cmocka_unit_test_setup_teardown(one_late_send_in_a_hundred_is_not_the_generators_limit, begin, end),
        cmocka_unit_test_setup_teardown(one_skipped_request_is_the_generators_limit, begin, end),
        cmocka_unit_test_setup_teardown(tallies_add_up, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
