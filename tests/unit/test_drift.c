/* test_drift - a leak is found, and what wobbles, warms up or is collected is none.
 *
 * Hours in virtual time: latency that goes up and down in waves, memory that warms up, is collected now and then (a
 * sawtooth) and wobbles.
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
#include "load/drift.h"

/* What grows over a run, as shares of what is there at its begin. */
struct world {
    int seconds;
    double leak, slower, errors, descriptors;
    double likeness; /* of the waves, from second to second */
};

static double normal(struct ps_rng *rng)
{
    return sqrt(-2 * log(1 - ps_rng_unit(rng))) * cos(2 * acos(-1) * ps_rng_unit(rng));
}

static double wave(struct ps_rng *rng, double last, double likeness)
{
    return likeness * last + sqrt(1 - likeness * likeness) * normal(rng);
}

static struct ps_hist hist;

static void latencies(struct ps_rng *rng, double level, double errors, struct ps_second *row)
{
    ps_hist_clear(&hist);
    for (int i = 0; i < 30; i++) {
        bool fails = ps_rng_unit(rng) < errors;
        row->failed += fails;
        row->succeeded += !fails;
        double ms = level * exp(0.3 * normal(rng)) * (ps_rng_unit(rng) < 0.01 ? 5 : 1);
        if (!fails) {
            ps_hist_record(&hist, (int64_t)(ms * 1e6));
        }
    }
    row->corrected = &hist;
}

static void live(const struct world *world, unsigned seed, struct ps_drift_result *results)
{
    struct ps_rng rng = ps_rng_make(seed * 31 + 7);
    struct ps_drift *drift = calloc(1, sizeof *drift);
    assert_non_null(drift);
    double slow = 0;
    double wobble = 0;
    double files = 0;
    double garbage = 0;
    double period = world->seconds * (0.002 + 0.008 * ps_rng_unit(&rng));
    for (int t = 0; t < world->seconds; t++) {
        double gone = (double)t / world->seconds;
        double warm = 1 - exp(-gone / 0.03);
        slow = wave(&rng, slow, world->likeness);
        wobble = wave(&rng, wobble, world->likeness);
        files = wave(&rng, files, world->likeness);
        garbage += (0.7 + 0.6 * ps_rng_unit(&rng)) / period;
        garbage = garbage > 1 ? 0 : garbage;
        struct ps_second row = {.at = t + 1, .span = 1, .sent = 30};
        latencies(&rng, 20 * exp(0.1 * slow) * (1 + 0.5 * (1 - warm) + world->slower * gone),
                  0.0003 + world->errors * gone, &row);
        row.target_memory_bytes =
            500e6 * (1 + 0.1 * warm + 0.0005 * wobble + 0.03 * garbage + world->leak * gone);
        row.target_descriptors = floor(60 + 10 * warm + 2 * files + world->descriptors * gone);
        ps_drift_push(drift, &row);
    }
    ps_drift_judge(drift, results);
    free(drift);
}

static unsigned count(const struct world *world, unsigned runs, enum ps_drift_signal signal, unsigned *other)
{
    unsigned found = 0;
    *other = 0;
    for (unsigned seed = 1; seed <= runs; seed++) {
        struct ps_drift_result results[PS_DRIFT_SIGNALS];
        live(world, seed, results);
        for (int i = 0; i < PS_DRIFT_SIGNALS; i++) {
            found += i == (int)signal && results[i].drifts;
            *other += i != (int)signal && results[i].drifts;
        }
    }
    return found;
}

static void a_hundred_steady_runs_have_at_most_one_alarm(void **state)
{
    (void)state;
    unsigned other = 0;
    const struct world steady[] = {{.seconds = 900, .likeness = 0.9}, {.seconds = 180, .likeness = 0.7},
                                   {.seconds = 600, .likeness = 0.98}};
    for (size_t i = 0; i < sizeof steady / sizeof *steady; i++) {
        unsigned alarms = count(&steady[i], 100, PS_DRIFT_MEMORY, &other);
        assert_true(alarms + other <= 1);
    }
}

static void a_leak_of_one_percent_is_found(void **state)
{
    (void)state;
    unsigned other = 0;
    const struct world leaks = {.seconds = 900, .likeness = 0.9, .leak = 0.01};
    assert_true(count(&leaks, 40, PS_DRIFT_MEMORY, &other) >= 36);
    assert_true(other <= 1);
}

static void a_leak_is_as_large_as_it_is_told(void **state)
{
    (void)state;
    const struct world leaks = {.seconds = 900, .likeness = 0.5, .leak = 0.02};
    struct ps_drift_result results[PS_DRIFT_SIGNALS];
    live(&leaks, 3, results);
    const struct ps_drift_result *memory = &results[PS_DRIFT_MEMORY];
    double truth = 0.02 * 500e6 / 900 * 3600;
    assert_true(memory->drifts);
    assert_true(memory->low_per_hour < truth && truth < memory->high_per_hour);
    assert_true(fabs(memory->slope_per_hour / truth - 1) < 0.15);
    assert_true(fabs(memory->percent_per_hour - 8 / 1.1) < 1.2);
}

static void other_drifts_are_found_too(void **state)
{
    (void)state;
    unsigned other = 0;
    const struct world slower = {.seconds = 900, .likeness = 0.5, .slower = 0.3};
    assert_true(count(&slower, 20, PS_DRIFT_P50, &other) >= 18);
    const struct world errs = {.seconds = 900, .likeness = 0.5, .errors = 0.05};
    assert_true(count(&errs, 20, PS_DRIFT_ERRORS, &other) >= 18);
    const struct world leaks = {.seconds = 900, .likeness = 0.5, .descriptors = 30};
    assert_true(count(&leaks, 20, PS_DRIFT_DESCRIPTORS, &other) >= 18);
}

/* What rises while it warms up and then stays. */
static void a_slow_start_is_no_drift(void **state)
{
    (void)state;
    struct ps_drift *drift = calloc(1, sizeof *drift);
    assert_non_null(drift);
    struct ps_rng rng = ps_rng_make(2);
    for (int t = 0; t < 1800; t++) {
        struct ps_second row = {.at = t + 1, .span = 1, .target_descriptors = NAN};
        row.target_memory_bytes = 1e9 * (1 + 0.2 * fmin(t / 600.0, 1) + 0.0005 * normal(&rng));
        ps_drift_push(drift, &row);
    }
    struct ps_drift_result results[PS_DRIFT_SIGNALS];
    ps_drift_judge(drift, results);
    assert_true(results[PS_DRIFT_MEMORY].points > PS_DRIFT_LEAST && !results[PS_DRIFT_MEMORY].drifts);
    assert_int_equal(results[PS_DRIFT_DESCRIPTORS].points, 0);
    assert_true(isnan(results[PS_DRIFT_DESCRIPTORS].p));
    free(drift);
}

/* Half an hour, an interruption in which the target began anew with more memory, half an hour. */
static void an_interruption_is_no_step(void **state)
{
    (void)state;
    for (int leaks = 0; leaks <= 1; leaks++) {
        struct ps_drift *drift = calloc(1, sizeof *drift);
        assert_non_null(drift);
        struct ps_rng rng = ps_rng_make(9);
        for (int t = 0; t < 3600; t++) {
            if (t == 1800) {
                ps_drift_part(drift);
            }
            struct ps_second row = {.at = t + (t < 1800 ? 1 : 5000), .span = 1, .target_descriptors = 50};
            double level = t < 1800 ? 1 : 1.3;
            row.target_memory_bytes = 1e9 * (level + 0.001 * normal(&rng) + leaks * 0.02 * (t % 1800) / 1800.0);
            ps_drift_push(drift, &row);
        }
        struct ps_drift_result results[PS_DRIFT_SIGNALS];
        ps_drift_judge(drift, results);
        assert_int_equal(results[PS_DRIFT_MEMORY].drifts, leaks);
        free(drift);
    }
}

/* Ten days in the memory of a minute. */
static void any_length_fits(void **state)
{
    (void)state;
    struct ps_drift *drift = calloc(1, sizeof *drift);
    assert_non_null(drift);
    for (int t = 0; t < 864000; t++) {
        struct ps_second row = {.at = t + 1, .span = 1, .target_descriptors = NAN, .target_memory_bytes = 1e9 + 1e4 * t};
        ps_drift_push(drift, &row);
    }
    struct ps_drift_result results[PS_DRIFT_SIGNALS];
    ps_drift_judge(drift, results);
    assert_true(results[PS_DRIFT_MEMORY].drifts);
    assert_true(fabs(results[PS_DRIFT_MEMORY].slope_per_hour / 3.6e7 - 1) < 1e-6);
    double at[PS_DRIFT_POINTS];
    double values[PS_DRIFT_POINTS];
    size_t points = ps_drift_points(drift, PS_DRIFT_MEMORY, at, values);
    assert_true(points >= 30 && points <= PS_DRIFT_POINTS && at[points - 1] > 800000);
    free(drift);
}

static void too_little_is_no_verdict(void **state)
{
    (void)state;
    struct ps_drift *drift = calloc(1, sizeof *drift);
    assert_non_null(drift);
    struct ps_drift_result results[PS_DRIFT_SIGNALS];
    for (int t = 0; t < 12; t++) {
        ps_drift_judge(drift, results);
        assert_false(results[PS_DRIFT_MEMORY].drifts);
        struct ps_second row = {.at = t + 1, .span = 1, .target_memory_bytes = 1e9 * (t + 1)};
        ps_drift_push(drift, &row);
    }
    free(drift);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hundred_steady_runs_have_at_most_one_alarm),
        cmocka_unit_test(a_leak_of_one_percent_is_found),
        cmocka_unit_test(a_leak_is_as_large_as_it_is_told),
        cmocka_unit_test(other_drifts_are_found_too),
        cmocka_unit_test(a_slow_start_is_no_drift),
        cmocka_unit_test(an_interruption_is_no_step),
        cmocka_unit_test(any_length_fits),
        cmocka_unit_test(too_little_is_no_verdict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
