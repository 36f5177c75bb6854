/* test_hist - the histogram against sorted samples.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/hist.h"
#include "base/rng.h"

#define SAMPLES 20000

static struct ps_hist hist;
static struct ps_hist other;
static int64_t samples[SAMPLES];

static int clear(void **state)
{
    (void)state;
    ps_hist_clear(&hist);
    ps_hist_clear(&other);
    return 0;
}

static void says_nothing_when_it_is_empty(void **state)
{
    (void)state;
    assert_true(isnan(ps_hist_percentile(&hist, 0.5)));
    assert_true(isnan(ps_hist_mean(&hist)));
    assert_true(ps_hist_is_sane(&hist));
}

static void is_exact_below_512(void **state)
{
    (void)state;
    for (int64_t i = 0; i < 512; i++) {
        ps_hist_clear(&hist);
        ps_hist_record(&hist, 0);
        ps_hist_record(&hist, i);
        ps_hist_record(&hist, 1 << 20);
        assert_true(ps_hist_percentile(&hist, 2.0 / 3) == (double)i);
    }
}

static void keeps_the_edges_of_every_power_of_two(void **state)
{
    (void)state;
    for (unsigned power = 0; power < 63; power++) {
        for (int64_t off = -1; off <= 1; off++) {
            int64_t value = (INT64_C(1) << power) + off;
            ps_hist_clear(&hist);
            ps_hist_record(&hist, 0);
            ps_hist_record(&hist, value);
            ps_hist_record(&hist, INT64_MAX);
            double got = ps_hist_percentile(&hist, 0.6);
            assert_true(fabs(got - (double)value) <= (double)value / 512);
            assert_true(ps_hist_is_sane(&hist));
        }
    }
}

static void counts_negative_values_as_zero(void **state)
{
    (void)state;
    ps_hist_record(&hist, -5);
    assert_int_equal(hist.min, 0);
    assert_int_equal(hist.max, 0);
    assert_true(ps_hist_percentile(&hist, 1) == 0);
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void is_within_one_in_512_of_the_sorted_samples(void **state)
{
    static const double shares[] = {0.01, 0.1, 0.5, 0.9, 0.95, 0.99, 0.999, 1};
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct ps_rng rng = ps_rng_make(seed);
        ps_hist_clear(&hist);
        for (size_t i = 0; i < SAMPLES; i++) {
            samples[i] = (int64_t)ps_rng_exponential(&rng, pow(10, 2 + (double)seed));
            ps_hist_record(&hist, samples[i]);
        }
        qsort(samples, SAMPLES, sizeof *samples, by_value);
        for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
            double truth = (double)samples[(size_t)ceil(shares[i] * SAMPLES) - 1];
            assert_true(fabs(ps_hist_percentile(&hist, shares[i]) - truth) <= truth / 512);
        }
        assert_true(ps_hist_is_sane(&hist));
    }
}

static void merging_is_the_same_as_recording_into_one(void **state)
{
    static struct ps_hist both;
    (void)state;
    ps_hist_clear(&both);
    struct ps_rng rng = ps_rng_make(7);
    for (size_t i = 0; i < SAMPLES; i++) {
        int64_t value = (int64_t)ps_rng_below(&rng, 1u << 30);
        ps_hist_record(i % 3 == 0 ? &hist : &other, value);
        ps_hist_record(&both, value);
    }
    ps_hist_merge(&hist, &other);
    assert_int_equal(hist.count, both.count);
    assert_int_equal(hist.min, both.min);
    assert_int_equal(hist.max, both.max);
    assert_true(ps_hist_percentile(&hist, 0.99) == ps_hist_percentile(&both, 0.99));
    assert_true(fabs(ps_hist_mean(&hist) - ps_hist_mean(&both)) < 1e-3);
    assert_true(ps_hist_is_sane(&hist));
    ps_hist_clear(&other);
    ps_hist_merge(&hist, &other);
    assert_int_equal(hist.min, both.min);
}

static void is_not_sane_when_a_step_was_lost(void **state)
{
    (void)state;
    ps_hist_record(&hist, 1000);
    hist.count = 2;
    assert_false(ps_hist_is_sane(&hist));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(says_nothing_when_it_is_empty, clear),
        cmocka_unit_test_setup(is_exact_below_512, clear),
        cmocka_unit_test_setup(keeps_the_edges_of_every_power_of_two, clear),
        cmocka_unit_test_setup(counts_negative_values_as_zero, clear),
        cmocka_unit_test_setup(is_within_one_in_512_of_the_sorted_samples, clear),
        cmocka_unit_test_setup(merging_is_the_same_as_recording_into_one, clear),
        cmocka_unit_test_setup(is_not_sane_when_a_step_was_lost, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
