/* test_schedule - when requests are due: rates, ramps, spreads, changes; all by seed, nothing sleeps.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "load/schedule.h"

static struct ps_schedule schedule;

static void begin_spread(enum ps_spread spread, double burstiness, uint64_t seed, size_t count,
                         const struct ps_phase *phases)
{
    struct ps_schedule_opts opts = {.phase_count = count, .spread = spread, .burstiness = burstiness, .seed = seed};
    memcpy(opts.phases, phases, count * sizeof *phases);
    assert_int_equal(ps_schedule_check(&opts), PS_OK);
    ps_schedule_init(&schedule, &opts);
}

static void begin(size_t count, const struct ps_phase *phases)
{
    begin_spread(PS_SPREAD_EVEN, 0, 1, count, phases);
}

/* Requests that are due in [from, to) seconds, from the start. Walks the rest. */
static size_t count_between(double from, double to)
{
    size_t count = 0;
    ps_span at;
    while (ps_schedule_next(&schedule, &at)) {
        double seconds = ps_span_seconds(at);
        count += seconds >= from && seconds < to ? 1 : 0;
    }
    return count;
}

static void an_even_rate_is_even(void **state)
{
    (void)state;
    ps_span at = -1;
    begin(1, (struct ps_phase[]){{200, 200, 3 * PS_SECOND}});
    for (int i = 0; i < 600; i++) {
        assert_true(ps_schedule_next(&schedule, &at));
        assert_in_range(at + 10, i * 5 * PS_MILLISECOND, i * 5 * PS_MILLISECOND + 20);
    }
    assert_false(ps_schedule_next(&schedule, &at));
}

static void a_ramp_sends_the_area_below_it(void **state)
{
    (void)state;
    begin(1, (struct ps_phase[]){{10, 50, 10 * PS_SECOND}});
    assert_in_range(count_between(0, 10), 299, 301);
    begin(1, (struct ps_phase[]){{10, 50, 10 * PS_SECOND}});
    assert_in_range(count_between(0, 5), 99, 101);
    begin(1, (struct ps_phase[]){{50, 0, 10 * PS_SECOND}});
    assert_in_range(count_between(5, 10), 61, 64); /* 62.5 */
    begin(1, (struct ps_phase[]){{0, 100, 10 * PS_SECOND}});
    assert_in_range(count_between(0, 1), 5, 6);
}

static void phases_follow_each_other_without_a_gap(void **state)
{
    (void)state;
    const struct ps_phase phases[] = {{20, 20, 30 * PS_SECOND}, {100, 100, 10 * PS_SECOND}, {0, 0, 5 * PS_SECOND},
                                      {20, 20, 20 * PS_SECOND}};
    begin(4, phases);
    assert_in_range(count_between(0, 30), 600, 600);
    begin(4, phases);
    assert_in_range(count_between(30, 40), 1000, 1000);
    begin(4, phases);
    assert_in_range(count_between(40, 45), 0, 0);
    begin(4, phases);
    assert_in_range(count_between(45, 65), 400, 400);
}

/* Mean and variance of the gaps of a long run of rate 1000. */
static void gaps(enum ps_spread spread, double burstiness, double *mean, double *variance)
{
    enum { N = 200000 };
    double sum = 0, squares = 0;
    ps_span last = 0, at;
    begin_spread(spread, burstiness, 7, 1, (struct ps_phase[]){{1000, 1000, 0}});
    for (int i = 0; i < N; i++) {
        assert_true(ps_schedule_next(&schedule, &at));
        assert_true(at >= last);
        double gap = (double)(at - last) / 1e6; /* of mean 1 */
        sum += gap;
        squares += gap * gap;
        last = at;
    }
    *mean = sum / N;
    *variance = squares / N - *mean * *mean;
}

static void poisson_gaps_have_their_mean_and_variance(void **state)
{
    double mean, variance;
    (void)state;
    gaps(PS_SPREAD_POISSON, 0, &mean, &variance);
    assert_float_equal(mean, 1, 0.01);
    assert_float_equal(variance, 1, 0.03);
}

static void gamma_gaps_are_as_bursty_as_asked(void **state)
{
    static const double shapes[] = {0.25, 0.5, 1, 4, 16};
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        double mean, variance;
        gaps(PS_SPREAD_GAMMA, shapes[i], &mean, &variance);
        assert_float_equal(mean, 1, 0.02);
        assert_float_equal(variance * shapes[i], 1, 0.05);
    }
}

/* Poisson counts in tenths of a second have a variance as large as their mean, wherever the rate stands. */
static void a_drawn_ramp_is_poisson_everywhere(void **state)
{
    enum { CELLS = 2000 };
    static double counts[CELLS];
    double chi = 0;
    ps_span at;
    (void)state;
    memset(counts, 0, sizeof counts);
    begin_spread(PS_SPREAD_POISSON, 0, 3, 1, (struct ps_phase[]){{100, 1900, 200 * PS_SECOND}});
    while (ps_schedule_next(&schedule, &at)) {
        counts[at / (PS_SECOND / 10)]++;
    }
    for (int i = 0; i < CELLS; i++) {
        double expected = (100 + 1800 * (i + 0.5) / CELLS) / 10;
        chi += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    /* Chi square with 2000 degrees of freedom: 2000 +- 4 * sqrt(4000). */
    assert_true(fabs(chi - CELLS) < 4 * sqrt(2 * CELLS));
}

static void the_same_seed_gives_the_same_times(void **state)
{
    ps_span first[100], at;
    (void)state;
    const struct ps_phase phase = {50, 80, 60 * PS_SECOND};
    begin_spread(PS_SPREAD_GAMMA, 0.3, 42, 1, &phase);
    for (int i = 0; i < 100; i++) {
        assert_true(ps_schedule_next(&schedule, &first[i]));
    }
    begin_spread(PS_SPREAD_GAMMA, 0.3, 42, 1, &phase);
    for (int i = 0; i < 100; i++) {
        assert_true(ps_schedule_next(&schedule, &at));
        assert_int_equal(at, first[i]);
    }
    begin_spread(PS_SPREAD_GAMMA, 0.3, 43, 1, &phase);
    assert_true(ps_schedule_next(&schedule, &at));
    assert_int_not_equal(at, first[0]);
}

static void a_change_shifts_nothing_before_it_and_opens_no_gap(void **state)
{
    (void)state;
    ps_span at, last = 0;
    begin(1, (struct ps_phase[]){{100, 100, 0}});
    for (int i = 0; i < 150; i++) { /* up to 1.49 s */
        assert_true(ps_schedule_next(&schedule, &last));
    }
    ps_schedule_change(&schedule, 2 * PS_SECOND, &(struct ps_phase){1000, 1000, PS_SECOND});
    size_t before = 0, behind = 0;
    while (ps_schedule_next(&schedule, &at)) {
        assert_in_range(at - last, at <= 2 * PS_SECOND ? 9999990 : 999990, 10000010);
        before += at < 2 * PS_SECOND - 100 ? 1 : 0;
        behind += at >= 2 * PS_SECOND - 100 ? 1 : 0;
        last = at;
    }
    assert_int_equal(before, 50);
    assert_in_range(behind, 1000, 1001);
}

static void a_change_wakes_what_was_silent(void **state)
{
    (void)state;
    ps_span at;
    begin(2, (struct ps_phase[]){{10, 10, PS_SECOND}, {0, 0, 0}});
    assert_in_range(count_between(0, 1), 10, 10);
    ps_schedule_change(&schedule, 7 * PS_SECOND, &(struct ps_phase){5, 5, 0});
    assert_true(ps_schedule_next(&schedule, &at));
    assert_in_range(at, 7 * PS_SECOND, 7 * PS_SECOND + PS_SECOND / 5 + 10);
}

/* Two who walk the same schedule and hear of a change at the same instant agree, wherever each stands. */
static void those_who_walk_together_agree_after_changes(void **state)
{
    struct ps_schedule other;
    ps_span a = 0, b = 0;
    (void)state;
    const struct ps_phase next[] = {{300, 300, 0}, {20, 20, 0}, {0, 0, 0}, {500, 500, 0}};
    begin_spread(PS_SPREAD_POISSON, 0, 5, 1, (struct ps_phase[]){{100, 100, 0}});
    other = schedule;
    for (size_t i = 0; i < 4; i++) {
        ps_span from = (ps_span)(i + 1) * PS_SECOND;
        /* One of them looked further ahead and comes back to its place. */
        struct ps_schedule_place place = schedule.place;
        while (ps_schedule_next(&schedule, &a) && a < from) {
            place = schedule.place;
        }
        schedule.place = place;
        ps_schedule_change(&schedule, from, &next[i]);
        ps_schedule_change(&other, from, &next[i]);
    }
    /* The other walks all of it only now. */
    while (ps_schedule_next(&other, &b) && b < 4 * PS_SECOND) {
    }
    for (int i = 0; i < 1000; i++) {
        assert_true(ps_schedule_next(&schedule, &a));
        assert_true(a - b < 10 && b - a < 10);
        assert_true(ps_schedule_next(&other, &b));
    }
}

static void many_changes_never_run_out_of_room(void **state)
{
    ps_span at = 0, now = 0;
    (void)state;
    begin(1, (struct ps_phase[]){{100, 100, 0}});
    for (int i = 0; i < 1000; i++) {
        now += PS_SECOND;
        struct ps_schedule_place place;
        do {
            place = schedule.place;
            assert_true(ps_schedule_next(&schedule, &at));
        } while (at < now);
        schedule.place = place;
        ps_schedule_change(&schedule, now + 50 * PS_MILLISECOND, &(struct ps_phase){100, 100, 0});
        assert_in_range(schedule.opts.phase_count, 1, 3);
    }
}

static void what_is_expected_is_the_area(void **state)
{
    (void)state;
    begin(3, (struct ps_phase[]){{10, 10, 2 * PS_SECOND}, {10, 30, 2 * PS_SECOND}, {5, 5, 0}});
    assert_float_equal(ps_schedule_expected(&schedule, 0, 2 * PS_SECOND), 20, 1e-9);
    assert_float_equal(ps_schedule_expected(&schedule, PS_SECOND, 3 * PS_SECOND), 25, 1e-9);
    assert_float_equal(ps_schedule_expected(&schedule, 3 * PS_SECOND, 5 * PS_SECOND), 30, 1e-9);
    ps_schedule_skip(&schedule, 4 * PS_SECOND);
    assert_float_equal(ps_schedule_expected(&schedule, 4 * PS_SECOND, 5 * PS_SECOND), 5, 1e-9);
}

static void what_can_not_be_is_refused(void **state)
{
    (void)state;
    const struct ps_schedule_opts bad[] = {
        {.phase_count = 0},
        {.phase_count = 1, .phases = {{0, 0, PS_SECOND}}},
        {.phase_count = 1, .phases = {{-1, 5, PS_SECOND}}},
        {.phase_count = 1, .phases = {{NAN, 5, PS_SECOND}}},
        {.phase_count = 1, .phases = {{5, 2e6, PS_SECOND}}},
        {.phase_count = 1, .phases = {{5, 6, 0}}},
        {.phase_count = 2, .phases = {{5, 5, 0}, {5, 5, PS_SECOND}}},
        {.phase_count = 1, .phases = {{5, 5, -1}}},
        {.phase_count = 1, .phases = {{5, 5, PS_SECOND}}, .burstiness = -1},
        {.phase_count = PS_SCHEDULE_PHASES_MAX + 1, .phases = {{5, 5, PS_SECOND}}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(ps_schedule_check(&bad[i]), PS_EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_even_rate_is_even),
        cmocka_unit_test(a_ramp_sends_the_area_below_it),
        cmocka_unit_test(phases_follow_each_other_without_a_gap),
        cmocka_unit_test(poisson_gaps_have_their_mean_and_variance),
        cmocka_unit_test(gamma_gaps_are_as_bursty_as_asked),
        cmocka_unit_test(a_drawn_ramp_is_poisson_everywhere),
        cmocka_unit_test(the_same_seed_gives_the_same_times),
        cmocka_unit_test(a_change_shifts_nothing_before_it_and_opens_no_gap),
        cmocka_unit_test(a_change_wakes_what_was_silent),
        cmocka_unit_test(those_who_walk_together_agree_after_changes),
        cmocka_unit_test(many_changes_never_run_out_of_room),
        cmocka_unit_test(what_is_expected_is_the_area),
        cmocka_unit_test(what_can_not_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
