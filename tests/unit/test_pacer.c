/* test_pacer - intended times; time is moved by hand.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "load/pacer.h"

#define START (100 * PS_SECOND)

static struct ps_pacer pacer;

static void begin(double speed, ps_span duration)
{
    struct ps_pacer_opts opts = {.speed = speed, .duration = duration};
    ps_pacer_init(&pacer, &opts, START);
}

static void a_request_is_due_at_its_recorded_time_and_not_before(void **state)
{
    ps_time intended = 0;
    (void)state;
    begin(1, 0);
    assert_true(ps_pacer_offer(&pacer, 3 * PS_SECOND));
    assert_false(ps_pacer_due(&pacer, START + 3 * PS_SECOND - 1, &intended));
    assert_true(ps_pacer_due(&pacer, START + 3 * PS_SECOND, &intended));
    assert_int_equal(intended, START + 3 * PS_SECOND);
}

static void speed_divides_recorded_time(void **state)
{
    (void)state;
    begin(4, 0);
    assert_true(ps_pacer_offer(&pacer, 10 * PS_SECOND));
    assert_int_equal(pacer.next, START + 2500 * PS_MILLISECOND);
    begin(0.5, 0);
    assert_true(ps_pacer_offer(&pacer, 10 * PS_SECOND));
    assert_int_equal(pacer.next, START + 20 * PS_SECOND);
}

static void a_late_send_keeps_its_intended_time(void **state)
{
    ps_time intended = 0;
    (void)state;
    begin(1, 0);
    assert_true(ps_pacer_offer(&pacer, PS_SECOND));
    assert_true(ps_pacer_due(&pacer, START + 2 * PS_SECOND, &intended));
    assert_int_equal(intended, START + PS_SECOND);
    ps_pacer_take(&pacer);
    assert_false(ps_pacer_due(&pacer, START + 2 * PS_SECOND, &intended));
}

static void sending_late_does_not_move_the_requests_behind(void **state)
{
    ps_time intended = 0;
    (void)state;
    begin(1, 0);
    for (int i = 0; i < 5; i++) {
        assert_true(ps_pacer_offer(&pacer, i * PS_SECOND));
        assert_true(ps_pacer_due(&pacer, START + 10 * PS_SECOND, &intended));
        assert_int_equal(intended, START + i * PS_SECOND);
        ps_pacer_take(&pacer);
    }
}

static void the_duration_is_of_the_run_and_not_of_the_trace(void **state)
{
    (void)state;
    begin(10, 2 * PS_SECOND);
    assert_true(ps_pacer_offer(&pacer, 19 * PS_SECOND));
    ps_pacer_take(&pacer);
    assert_false(ps_pacer_offer(&pacer, 20 * PS_SECOND));
    assert_int_equal(pacer.next, PS_NEVER);
}

static void times_too_far_away_end_the_run_instead_of_overflowing(void **state)
{
    (void)state;
    begin(1e-6, 0);
    assert_false(ps_pacer_offer(&pacer, 1000000 * PS_SECOND));
}

/* Requests of a steady trace, ten a second, that leave within these seconds of a run. */
static size_t count_between(double swell, int from, int to)
{
    size_t count = 0;
    const struct ps_pacer_opts opts = {.speed = 1, .swell = swell, .period = 60 * PS_SECOND};
    ps_pacer_init(&pacer, &opts, START);
    for (int i = 0; i < 1200; i++) {
        assert_true(ps_pacer_offer(&pacer, i * PS_SECOND / 10));
        ps_span at = pacer.next - START;
        count += at >= from * PS_SECOND && at < to * PS_SECOND ? 1 : 0;
    }
    return count;
}

static void a_swell_begins_low_and_is_highest_half_a_period_later(void **state)
{
    (void)state;
    assert_in_range(count_between(0, 0, 6), 59, 61);
    assert_in_range(count_between(0.9, 0, 6), 9, 11);      /* 9.5 by the integral */
    assert_in_range(count_between(0.9, 27, 33), 111, 115); /* 113.1 */
    assert_in_range(count_between(1, 0, 1), 0, 1);
}

static void a_swell_sends_as_many_in_a_whole_period(void **state)
{
    (void)state;
    assert_in_range(count_between(0.9, 0, 60), 599, 601);
    assert_in_range(count_between(1, 60, 120), 599, 601);
}

static void a_swell_never_turns_time_back(void **state)
{
    ps_time last = 0;
    (void)state;
    const struct ps_pacer_opts opts = {.speed = 3, .swell = 1, .period = 7 * PS_SECOND};
    ps_pacer_init(&pacer, &opts, START);
    for (int i = 0; i < 5000; i++) {
        assert_true(ps_pacer_offer(&pacer, i * PS_MILLISECOND * 7));
        assert_true(pacer.next >= last && pacer.next >= START);
        last = pacer.next;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_due_at_its_recorded_time_and_not_before),
        cmocka_unit_test(speed_divides_recorded_time),
        cmocka_unit_test(a_late_send_keeps_its_intended_time),
        cmocka_unit_test(sending_late_does_not_move_the_requests_behind),
        cmocka_unit_test(a_swell_begins_low_and_is_highest_half_a_period_later),
        cmocka_unit_test(a_swell_sends_as_many_in_a_whole_period),
        cmocka_unit_test(a_swell_never_turns_time_back),
        cmocka_unit_test(the_duration_is_of_the_run_and_not_of_the_trace),
        cmocka_unit_test(times_too_far_away_end_the_run_instead_of_overflowing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
