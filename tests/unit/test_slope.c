/* test_slope - intervals hold what they promise, and likeness of neighbours is not proof.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "foresee/slope.h"

static double normal(struct ps_rng *rng)
{
    return sqrt(-2 * log(1 - ps_rng_unit(rng))) * cos(2 * acos(-1) * ps_rng_unit(rng));
}

/* Values from printed tables. */
static void distributions_are_those_of_the_tables(void **state)
{
    (void)state;
    assert_true(fabs(ps_slope_t_quantile(0.975, 1) - 12.7062) < 1e-3);
    assert_true(fabs(ps_slope_t_quantile(0.975, 10) - 2.22814) < 1e-4);
    assert_true(fabs(ps_slope_t_quantile(0.95, 30) - 1.69726) < 1e-4);
    assert_true(fabs(ps_slope_normal_quantile(0.975) - 1.959964) < 1e-5);
    assert_true(fabs(ps_slope_normal_quantile(0.001) + 3.090232) < 1e-5);
    assert_true(fabs(ps_slope_t_tail(2.22814, 10) - 0.025) < 1e-5);
    assert_true(fabs(ps_slope_t_tail(-1, 4) + ps_slope_t_tail(1, 4) - 1) < 1e-12);
}

static void wilson_knows_more_than_nothing_of_nothing_seen(void **state)
{
    (void)state;
    double low = 0;
    double high = 0;
    ps_slope_share(0, 100, 0.95, &low, &high);
    assert_true(low < 1e-9 && fabs(high - 0.0370) < 1e-3);
    ps_slope_share(10, 100, 0.95, &low, &high);
    assert_true(fabs(low - 0.0552) < 1e-3 && fabs(high - 0.1744) < 1e-3);
}

/* How often an interval of 95 % misses, of 1,000. */
static unsigned misses(double likeness, size_t count)
{
    unsigned missed = 0;
    double at[200];
    double values[200];
    for (uint64_t seed = 1; seed <= 1000; seed++) {
        struct ps_rng rng = ps_rng_make(seed);
        double wave = normal(&rng);
        for (size_t i = 0; i < count; i++) {
            wave = likeness * wave + sqrt(1 - likeness * likeness) * normal(&rng);
            at[i] = (double)i;
            values[i] = 3 + 0.02 * (double)i + wave;
        }
        struct ps_slope slope;
        assert_true(ps_slope_line(at, values, count, 0.95, &slope));
        missed += slope.low > 0.02 || slope.high < 0.02;
    }
    return missed;
}

static void intervals_of_lines_hold_what_they_promise(void **state)
{
    (void)state;
    assert_in_range(misses(0, 100), 20, 100);
    assert_in_range(misses(0.5, 200), 20, 120); /* without the correction it would be 250 */
}

static void a_mean_of_steps_is_the_change(void **state)
{
    (void)state;
    const double steps[] = {1, 3, 2, 2, 1, 3, 2, 2};
    struct ps_slope mean;
    assert_true(ps_slope_mean(steps, 8, 0.95, &mean));
    assert_true(fabs(mean.slope - 2) < 1e-12 && mean.low > 1.4 && mean.high < 2.6 && mean.p < 0.001);
    assert_false(ps_slope_mean(steps, 2, 0.95, &mean));
}

static unsigned alarms(double likeness, double slope, unsigned runs)
{
    unsigned alarm = 0;
    double at[100];
    double values[100];
    for (uint64_t seed = 1; seed <= runs; seed++) {
        struct ps_rng rng = ps_rng_make(seed * 77);
        double wave = normal(&rng);
        for (size_t i = 0; i < 100; i++) {
            wave = likeness * wave + sqrt(1 - likeness * likeness) * normal(&rng);
            at[i] = (double)i;
            values[i] = wave + slope * (double)i;
        }
        struct ps_slope result;
        assert_true(ps_slope_robust(at, values, NULL, 100, 0.95, &result));
        alarm += result.p < 0.01;
    }
    return alarm;
}

static void waves_are_no_trend(void **state)
{
    (void)state;
    assert_true(alarms(0, 0, 500) <= 10);
    assert_true(alarms(0.6, 0, 500) <= 15);
    assert_true(alarms(0.95, 0, 500) <= 25);
    assert_true(alarms(0, 0.02, 100) >= 98);
}

/* Two parts that each rise, the second from below: no pair is made across. */
static void parts_are_not_compared(void **state)
{
    (void)state;
    double at[40];
    double values[40];
    unsigned part[40];
    struct ps_rng rng = ps_rng_make(5);
    for (size_t i = 0; i < 40; i++) {
        at[i] = (double)i;
        part[i] = i >= 20;
        values[i] = (i < 20 ? 100 : 0) + (double)i + 0.1 * normal(&rng);
    }
    struct ps_slope slope;
    assert_true(ps_slope_robust(at, values, part, 40, 0.95, &slope));
    assert_true(fabs(slope.slope - 1) < 0.05 && slope.p < 0.001 && slope.low > 0.8 && slope.high < 1.2);
    assert_true(ps_slope_robust(at, values, NULL, 40, 0.95, &slope));
    assert_true(slope.slope < 0);
}

static void ties_prove_nothing(void **state)
{
    (void)state;
    double at[30];
    double values[30] = {0};
    for (size_t i = 0; i < 30; i++) {
        at[i] = (double)i;
    }
    struct ps_slope slope;
    assert_true(ps_slope_robust(at, values, NULL, 30, 0.95, &slope));
    assert_true(slope.p == 1 && slope.slope == 0);
    assert_false(ps_slope_robust(at, values, NULL, 7, 0.95, &slope));
    double one[8] = {2, 2, 2, 2, 2, 2, 2, 2};
    assert_false(ps_slope_line(one, values, 8, 0.95, &slope));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distributions_are_those_of_the_tables),
        cmocka_unit_test(wilson_knows_more_than_nothing_of_nothing_seen),
        cmocka_unit_test(intervals_of_lines_hold_what_they_promise),
        cmocka_unit_test(a_mean_of_steps_is_the_change),
        cmocka_unit_test(waves_are_no_trend),
        cmocka_unit_test(parts_are_not_compared),
        cmocka_unit_test(ties_prove_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
