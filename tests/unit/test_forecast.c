/* test_forecast - paths, intervals and the time to a limit.
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
#include "foresee/forecast.h"

static double normal(struct ps_rng *rng)
{
    return sqrt(-2 * log(1 - ps_rng_unit(rng))) * cos(2 * 3.14159265358979 * ps_rng_unit(rng));
}

static struct ps_forecast forecast;

static struct ps_forecast_opts steps(void)
{
    return (struct ps_forecast_opts){.step = {1, 5, 10, 30, 60}, .steps = 5, .unit = 100};
}

static void says_nothing_before_it_knows_something(void **state)
{
    (void)state;
    struct ps_forecast_opts opts = steps();
    ps_forecast_init(&forecast, &opts);
    assert_true(isnan(ps_forecast_at(&forecast, 0).mean));
    assert_true(isnan(ps_forecast_chance(&forecast, 100, 5)));
    assert_true(isinf(ps_forecast_until(&forecast, 100, false)));
    assert_null(ps_forecast_view(&forecast));
}

static void a_ramp_meets_its_limit_when_it_does(void **state)
{
    (void)state;
    struct ps_forecast_opts opts = steps();
    ps_forecast_init(&forecast, &opts);
    struct ps_rng rng = ps_rng_make(1);
    for (int t = 0; t <= 300; t++) {
        ps_forecast_push(&forecast, 0.25 * t + 0.2 * normal(&rng), NULL, NULL);
    }
    double until = ps_forecast_until(&forecast, 85, false); /* it is 75 now: 40 samples */
    assert_true(fabs(until - 40) < 6);
    assert_true(ps_forecast_until(&forecast, 70, false) == 0);
    assert_true(isinf(ps_forecast_until(&forecast, 200, false)));
    assert_true(ps_forecast_until(&forecast, 85, true) <= until + 1);
}

/* The first hour is for learning. */
static void four_of_five_values_lie_in_the_interval(void **state)
{
    (void)state;
    struct ps_forecast_opts opts = steps();
    for (uint64_t seed = 1; seed <= 3; seed++) {
        static struct ps_forecast_point said[16384];
        static double value[16384];
        ps_forecast_init(&forecast, &opts);
        struct ps_rng rng = ps_rng_make(seed);
        double x = 0;
        for (int t = 0; t < 14000; t++) {
            x = 0.9 * x + normal(&rng) * (seed == 3 && t > 8000 ? 3 : 1);
            value[t] = 50 + x;
            ps_forecast_push(&forecast, value[t], NULL, NULL);
            said[t] = ps_forecast_at(&forecast, 1);
        }
        double inside = 0;
        for (int t = 3600; t < 13990; t++) {
            inside += value[t + 5] >= said[t].low && value[t + 5] <= said[t].high;
        }
        assert_true(fabs(inside / 10390 - 0.8) < 0.02);
    }
}

static void a_season_is_seen_coming(void **state)
{
    (void)state;
    static double season[200];
    struct ps_forecast_opts opts = steps();
    opts.season = season;
    opts.season_length = 200;
    ps_forecast_init(&forecast, &opts);
    double error = 0;
    for (int t = 0; t < 4000; t++) {
        double value = t % 200 < 100 ? 20 : 80; /* a step that only the season knows */
        ps_forecast_push(&forecast, value, NULL, NULL);
        if (t > 2000) {
            error += fabs(ps_forecast_at(&forecast, 2).mean - ((t + 10) % 200 < 100 ? 20 : 80));
        }
    }
    assert_true(error / 2000 < 1.5); /* the last value would be wrong by 6 on average */
}

static void the_chance_is_how_often_it_happens(void **state)
{
    (void)state;
    struct ps_forecast_opts opts = steps();
    ps_forecast_init(&forecast, &opts);
    struct ps_rng rng = ps_rng_make(5);
    for (int t = 0; t < 2000; t++) {
        ps_forecast_push(&forecast, 50 + normal(&rng), NULL, NULL);
    }
    assert_true(fabs(ps_forecast_chance(&forecast, 50, 1) - 0.5) < 0.12);
    assert_true(ps_forecast_chance(&forecast, 60, 5) < 0.02);
    assert_true(ps_forecast_chance(&forecast, 40, 5) > 0.98);
}

static void a_gap_is_not_learned_across(void **state)
{
    (void)state;
    struct ps_forecast_opts opts = steps();
    ps_forecast_init(&forecast, &opts);
    for (int t = 0; t < 1000; t++) {
        ps_forecast_push(&forecast, t % 50 == 0 ? NAN : 50, NULL, NULL);
    }
    assert_int_equal(forecast.errors, 0); /* never 60 samples in a row */
    assert_true(ps_forecast_at(&forecast, 0).mean == 50);
}

static void other_inputs_are_used_when_they_tell(void **state)
{
    (void)state;
    struct ps_forecast_opts opts = steps();
    opts.others = 1;
    ps_forecast_init(&forecast, &opts);
    struct ps_rng rng = ps_rng_make(6);
    double tells = 0;
    double error = 0;
    static double ring[16];
    for (int t = 0; t < 4000; t++) {
        double value = ring[t % 5]; /* what was told five samples ago */
        tells = ps_rng_unit(&rng);
        ring[t % 5] = 100 * tells;
        if (t > 3000) {
            error += fabs(value - ring[5 + (t % 5)]);
        }
        ps_forecast_push(&forecast, value, &tells, NULL);
        ring[5 + (t % 5)] = ps_forecast_at(&forecast, 1).mean;
    }
    assert_true(error / 1000 < 5); /* 25 without */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_nothing_before_it_knows_something),
        cmocka_unit_test(a_ramp_meets_its_limit_when_it_does),
        cmocka_unit_test(four_of_five_values_lie_in_the_interval),
        cmocka_unit_test(a_season_is_seen_coming),
        cmocka_unit_test(the_chance_is_how_often_it_happens),
        cmocka_unit_test(a_gap_is_not_learned_across),
        cmocka_unit_test(other_inputs_are_used_when_they_tell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
