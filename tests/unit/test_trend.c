/* test_trend - what is called a trend is one, and what is noise is not.
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
#include "foresee/trend.h"

static double normal(struct ps_rng *rng)
{
    return sqrt(-2 * log(1 - ps_rng_unit(rng))) * cos(2 * 3.14159265358979 * ps_rng_unit(rng));
}

static const struct ps_trend_opts latency = {
    .per = 5, .more_is_better = false, .least_change = 0.05};

/* A straight line with noise, a window long. */
static enum ps_trend_word word_of(double change, double noise, uint64_t seed,
                                  struct ps_trend *trend)
{
    struct ps_rng rng = ps_rng_make(seed);
    size_t samples = (PS_TREND_POINTS + 12) * 5;
    ps_trend_init(trend, &latency);
    for (size_t i = 0; i < samples; i++) {
        ps_trend_push(trend, 100 + change * (double)i / (double)samples + noise * normal(&rng));
    }
    return ps_trend_read(trend).word;
}

static void noise_is_stable(void **state)
{
    (void)state;
    struct ps_trend trend;
    unsigned wrong = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        wrong += word_of(0, 5, seed, &trend) != PS_TREND_STABLE;
    }
    assert_true(wrong <= 3);
}

static void a_slope_that_stands_out_has_its_word(void **state)
{
    (void)state;
    struct ps_trend trend;
    unsigned right = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        right += word_of(30, 3, seed, &trend) == PS_TREND_DEGRADING;
        right += word_of(-30, 3, seed, &trend) == PS_TREND_IMPROVING;
        right += word_of(2, 3, seed, &trend) == PS_TREND_STABLE; /* too little to matter */
    }
    assert_true(right >= 295);
}

static void the_slope_is_per_sample(void **state)
{
    (void)state;
    struct ps_trend trend;
    ps_trend_init(&trend, &latency);
    for (int i = 0; i < 500; i++) {
        ps_trend_push(&trend, 3.0 * i);
    }
    struct ps_trend_result result = ps_trend_read(&trend);
    assert_true(fabs(result.slope - 3) < 1e-9);
    assert_true(fabs(result.level - 3.0 * 497) < 1e-6); /* the median of the last five */
    assert_true(result.z > 5);
}

/* A fifth of the points are nonsense. */
static void spikes_are_no_trend(void **state)
{
    (void)state;
    struct ps_rng rng = ps_rng_make(4);
    struct ps_trend_opts opts = {.per = 1, .least_change = 0.05};
    struct ps_trend trend;
    ps_trend_init(&trend, &opts);
    for (int i = 0; i < 200; i++) {
        ps_trend_push(&trend, i % 5 == 0 ? 1e6 * ps_rng_unit(&rng) : 50 + 0.1 * i);
    }
    assert_true(fabs(ps_trend_read(&trend).slope - 0.1) < 0.05);
}

/* A random walk drifts, but neighbours that resemble each other prove little. */
static void likeness_of_neighbours_is_not_proof(void **state)
{
    (void)state;
    unsigned words = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct ps_rng rng = ps_rng_make(seed);
        struct ps_trend_opts opts = {.per = 1, .least_change = 0.05};
        struct ps_trend trend;
        ps_trend_init(&trend, &opts);
        double x = 0;
        for (int i = 0; i < 100; i++) {
            x = 0.7 * x + normal(&rng);
            ps_trend_push(&trend, 100 + 10 * x);
        }
        words += ps_trend_read(&trend).word != PS_TREND_STABLE;
    }
    assert_true(words <= 6);
}

static void what_is_not_finite_is_left_out(void **state)
{
    (void)state;
    struct ps_trend trend;
    struct ps_trend_opts opts = {.per = 1, .least_change = 0};
    ps_trend_init(&trend, &opts);
    assert_true(isnan(ps_trend_read(&trend).level));
    for (int i = 0; i < 40; i++) {
        ps_trend_push(&trend, i % 2 == 0 ? NAN : INFINITY);
    }
    assert_int_equal(ps_trend_read(&trend).points, 0);
    for (int i = 0; i < 40; i++) {
        ps_trend_push(&trend, 7);
    }
    assert_true(ps_trend_read(&trend).slope == 0 && ps_trend_read(&trend).word == PS_TREND_STABLE);
}

static void the_median_is_that_of_the_sorted_values(void **state)
{
    (void)state;
    assert_true(isnan(ps_trend_median(NULL, 0)));
    struct ps_rng rng = ps_rng_make(9);
    for (size_t count = 1; count < 40; count++) {
        double values[40];
        for (size_t i = 0; i < count; i++) {
            values[i] = (double)ps_rng_below(&rng, 10);
        }
        double median = ps_trend_median(values, count);
        size_t below = 0;
        size_t above = 0;
        for (size_t i = 0; i < count; i++) {
            below += values[i] < median;
            above += values[i] > median;
        }
        assert_true(below <= count / 2 && above <= count / 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(noise_is_stable),
        cmocka_unit_test(a_slope_that_stands_out_has_its_word),
        cmocka_unit_test(the_slope_is_per_sample),
        cmocka_unit_test(spikes_are_no_trend),
        cmocka_unit_test(likeness_of_neighbours_is_not_proof),
        cmocka_unit_test(what_is_not_finite_is_left_out),
        cmocka_unit_test(the_median_is_that_of_the_sorted_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
