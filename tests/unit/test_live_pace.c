/* test_live_pace - who has a second's frame when, however late the turns are.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "daemon/live_pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const ps_span one_frame = 15 * PS_MICROSECOND;

struct second {
    ps_span took;
    size_t longest;   /* turn, in frames */
    ps_span shortest; /* pause between two turns */
};

/* Sends a frame to `all`, with each turn this much later than it wanted to be. */
static struct second send_all(size_t all, ps_span late)
{
    ps_time begin = 5 * PS_SECOND;
    ps_time now = begin;
    struct ps_live_pace pace = ps_live_pace_begin(now, all);
    struct second second = {.shortest = PS_SECOND};
    for (;;) {
        size_t most = ps_live_pace_most(&pace);
        size_t count = most < all - pace.sent ? most : all - pace.sent;
        pace.sent += count;
        now += (ps_span)count * one_frame;
        second.longest = count > second.longest ? count : second.longest;
        if (pace.sent == all) {
            second.took = now - begin;
            return second;
        }
        ps_time next = ps_live_pace_next(&pace, now);
        second.shortest = next - now < second.shortest ? next - now : second.shortest;
        now = next + late;
    }
}

static void hundreds_have_it_at_once(void **state)
{
    (void)state;
    assert_int_equal(send_all(1, 0).longest, 1);
    assert_int_equal(send_all(256, 0).longest, 256);
}

static void thousands_have_it_a_few_at_a_time_within_half_a_second(void **state)
{
    (void)state;
    for (size_t all = 257; all <= 16000; all = all * 3 / 2) {
        struct second second = send_all(all, 0);
        assert_in_range(second.took, 490 * PS_MILLISECOND, 501 * PS_MILLISECOND);
        assert_in_range(second.longest, 1, 4);
        assert_true(second.shortest >= 50 * PS_MICROSECOND);
    }
}

static void late_turns_catch_up_and_are_no_longer(void **state)
{
    (void)state;
    struct second second = send_all(10000, 200 * PS_MICROSECOND); /* each waits for the core */
    assert_true(second.took < 900 * PS_MILLISECOND);
    assert_int_equal(second.longest, 4);
    struct ps_live_pace pace = ps_live_pace_begin(0, 10000);
    pace.sent = 1000; /* due at 50 ms; it is 300 */
    assert_int_equal(ps_live_pace_next(&pace, 300 * PS_MILLISECOND),
                     300 * PS_MILLISECOND + 50 * PS_MICROSECOND);
    pace.sent = 6000; /* due at 300 ms */
    assert_int_equal(ps_live_pace_next(&pace, 200 * PS_MILLISECOND), 300 * PS_MILLISECOND);
}

static void very_many_have_longer_turns(void **state)
{
    (void)state;
    struct ps_live_pace pace = ps_live_pace_begin(0, 1000000);
    assert_int_equal(ps_live_pace_most(&pace), 200);
    pace = ps_live_pace_begin(0, 0);
    assert_true(ps_live_pace_next(&pace, 7) > 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hundreds_have_it_at_once),
        cmocka_unit_test(thousands_have_it_a_few_at_a_time_within_half_a_second),
        cmocka_unit_test(late_turns_catch_up_and_are_no_longer),
        cmocka_unit_test(very_many_have_longer_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
