/* test_pacer - intended times, limits, lateness; time is moved by hand.
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

static void begin(double speed, uint64_t limit, ps_span duration)
{
    struct ps_pacer_opts opts = {speed, limit, duration};
    ps_pacer_init(&pacer, &opts, START);
}

static void a_request_is_due_at_its_recorded_time_and_not_before(void **state)
{
    ps_time intended = 0;
    (void)state;
    begin(1, 0, 0);
    assert_true(ps_pacer_offer(&pacer, 3 * PS_SECOND));
    assert_false(ps_pacer_due(&pacer, START + 3 * PS_SECOND - 1, &intended));
    assert_true(ps_pacer_due(&pacer, START + 3 * PS_SECOND, &intended));
    assert_int_equal(intended, START + 3 * PS_SECOND);
}

static void speed_divides_recorded_time(void **state)
{
    (void)state;
    begin(4, 0, 0);
    assert_true(ps_pacer_offer(&pacer, 10 * PS_SECOND));
    assert_int_equal(pacer.next, START + 2500 * PS_MILLISECOND);
    begin(0.5, 0, 0);
    assert_true(ps_pacer_offer(&pacer, 10 * PS_SECOND));
    assert_int_equal(pacer.next, START + 20 * PS_SECOND);
}

static void a_late_send_keeps_its_intended_time(void **state)
{
    ps_time intended = 0;
    (void)state;
    begin(1, 0, 0);
    assert_true(ps_pacer_offer(&pacer, PS_SECOND));
    assert_true(ps_pacer_due(&pacer, START + 2 * PS_SECOND, &intended));
    assert_int_equal(intended, START + PS_SECOND);
    ps_pacer_sent(&pacer, START + 2 * PS_SECOND);
    assert_int_equal(pacer.lag.max, PS_SECOND);
    assert_int_equal(pacer.late, 1);
}

static void sending_late_does_not_move_the_requests_behind(void **state)
{
    ps_time intended = 0;
    (void)state;
    begin(1, 0, 0);
    for (int i = 0; i < 5; i++) {
        assert_true(ps_pacer_offer(&pacer, i * PS_SECOND));
        assert_true(ps_pacer_due(&pacer, START + 10 * PS_SECOND, &intended));
        assert_int_equal(intended, START + i * PS_SECOND);
        ps_pacer_sent(&pacer, START + 10 * PS_SECOND);
    }
}

static void the_limit_ends_the_run(void **state)
{
    (void)state;
    begin(1, 2, 0);
    assert_true(ps_pacer_offer(&pacer, 0));
    ps_pacer_sent(&pacer, START);
    assert_false(ps_pacer_is_full(&pacer));
    assert_true(ps_pacer_offer(&pacer, 0));
    ps_pacer_sent(&pacer, START);
    assert_true(ps_pacer_is_full(&pacer));
    assert_false(ps_pacer_offer(&pacer, 0));
    assert_int_equal(pacer.sent, 2);
}

static void the_duration_is_of_the_run_and_not_of_the_trace(void **state)
{
    (void)state;
    begin(10, 0, 2 * PS_SECOND);
    assert_true(ps_pacer_offer(&pacer, 19 * PS_SECOND));
    ps_pacer_sent(&pacer, START + 1900 * PS_MILLISECOND);
    assert_false(ps_pacer_offer(&pacer, 20 * PS_SECOND));
    assert_int_equal(pacer.next, PS_NEVER);
}

static void send_many(unsigned punctual, unsigned late)
{
    for (unsigned i = 0; i < punctual + late; i++) {
        ps_span lag = i < punctual ? PS_PACER_LATE : PS_PACER_LATE + 1;
        assert_true(ps_pacer_offer(&pacer, 0));
        ps_pacer_sent(&pacer, START + lag);
    }
}

static void one_late_send_in_a_hundred_is_not_the_generators_limit(void **state)
{
    (void)state;
    begin(1, 0, 0);
    send_many(198, 2);
    assert_false(ps_pacer_is_limited(&pacer));
    send_many(0, 1);
    assert_true(ps_pacer_is_limited(&pacer));
}

static void one_skipped_request_is_the_generators_limit(void **state)
{
    (void)state;
    begin(1, 0, 0);
    send_many(1000, 0);
    assert_true(ps_pacer_offer(&pacer, 0));
    ps_pacer_skipped(&pacer);
    assert_true(ps_pacer_is_limited(&pacer));
    assert_int_equal(pacer.sent, 1000);
}

static void times_too_far_away_end_the_run_instead_of_overflowing(void **state)
{
    (void)state;
    begin(1e-6, 0, 0);
    assert_false(ps_pacer_offer(&pacer, 1000000 * PS_SECOND));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_due_at_its_recorded_time_and_not_before),
        cmocka_unit_test(speed_divides_recorded_time),
        cmocka_unit_test(a_late_send_keeps_its_intended_time),
        cmocka_unit_test(sending_late_does_not_move_the_requests_behind),
        cmocka_unit_test(the_limit_ends_the_run),
        cmocka_unit_test(the_duration_is_of_the_run_and_not_of_the_trace),
        cmocka_unit_test(one_late_send_in_a_hundred_is_not_the_generators_limit),
        cmocka_unit_test(one_skipped_request_is_the_generators_limit),
        cmocka_unit_test(times_too_far_away_end_the_run_instead_of_overflowing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
