/* test_batch_model - the best batch is found on servers that are known, and bounds mean what they
 * say.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../helpers/curve.h"
#include "base/rng.h"
#include "gpu/batch_model.h"

enum { TRIES = 32, IDLE = 5, RUNS = 25 };

static struct ps_batch_model model;

static struct ps_batch_goal any_goal(void)
{
    return (struct ps_batch_goal){.p95 = INFINITY, .turns = 1, .memory = INFINITY, .most = 0};
}

static struct ps_batch_goal goal_of(const struct curve *curve)
{
    return (struct ps_batch_goal){
        .p95 = curve->p95, .turns = 1, .memory = curve->device, .most = CURVE_MOST};
}

/* Returns how often it ran out of memory. */
static unsigned search(const struct curve *curve, struct ps_rng *rng)
{
    const struct ps_batch_goal goal = goal_of(curve);
    unsigned failures = 0;
    ps_batch_model_init(&model);
    for (int i = 0; i < IDLE && isfinite(curve->device); i++) { /* before the first batch */
        ps_memory_model_learn(&model.memory, 0, curve_run(curve, 0, rng).bytes);
    }
    for (int i = 0; i < TRIES; i++) {
        size_t size = ps_batch_model_next(&model, &goal);
        if (size == 0) {
            break;
        }
        struct curve_call call = curve_run(curve, size, rng);
        if (call.failed) {
            failures++;
            ps_memory_model_fail(&model.memory, size, curve->device);
            continue;
        }
        ps_batch_model_learn(&model, (i + 1) * PS_SECOND, size, call.seconds, 1);
        if (isfinite(curve->device)) {
            ps_memory_model_learn(&model.memory, size, call.bytes);
        }
    }
    return failures;
}

/* Mean share of the best throughput over the members of a kind, found within 32 batches. */
static double found(enum curve_kind kind, unsigned *failures_in_search, unsigned *failures_after)
{
    double sum = 0;
    *failures_in_search = 0;
    *failures_after = 0;
    for (unsigned run = 0; run < RUNS; run++) {
        struct curve curve = curve_make(kind, 5000 + run);
        struct ps_rng rng = ps_rng_make(run);
        const struct ps_batch_goal goal = goal_of(&curve);
        *failures_in_search += search(&curve, &rng);
        struct ps_batch_advice advice = ps_batch_model_advise(&model, &goal);
        assert_true(advice.size >= 1);
        assert_true(curve_p95(&curve, advice.size) <= 1.15 * curve.p95);
        double best = (double)curve_best(&curve) / curve_seconds(&curve, curve_best(&curve));
        sum += (double)advice.size / curve_seconds(&curve, advice.size) / best;
        for (int i = 0; i < 500; i++) {
            *failures_after += curve_run(&curve, advice.size, &rng).failed ? 1 : 0;
        }
    }
    return sum / RUNS;
}

static void within_32_batches_it_is_near_the_best_fixed_one(void **state)
{
    (void)state;
    unsigned in_search;
    unsigned after;
    for (int kind = 0; kind < CURVE_KINDS; kind++) {
        double share = found((enum curve_kind)kind, &in_search, &after);
        assert_true(share >= 0.95);
        assert_int_equal(after, 0);
        assert_true(in_search <= RUNS / 5);
    }
}

static void teach_line(double base, double each, size_t most)
{
    ps_batch_model_init(&model);
    for (int round = 0; round < 4; round++) {
        for (size_t n = 1; n <= most; n *= 2) {
            ps_batch_model_learn(&model, PS_SECOND, n, base + each * (double)n, 1);
        }
    }
}

static void too_few_samples_are_no_recommendation(void **state)
{
    (void)state;
    const struct ps_batch_goal goal = any_goal();
    ps_batch_model_init(&model);
    assert_int_equal(ps_batch_model_advise(&model, &goal).size, 0);
    assert_int_equal(ps_batch_model_advise(&model, &goal).limit, PS_BATCH_BY_SAMPLES);
    for (int i = 0; i < 100; i++) { /* many, but of one size */
        ps_batch_model_learn(&model, PS_SECOND, 4, 0.1, 1);
    }
    assert_int_equal(ps_batch_model_advise(&model, &goal).size, 0);
    ps_batch_model_learn(&model, PS_SECOND, 8, 0.12, 1);
    assert_true(ps_batch_model_advise(&model, &goal).size > 0);
}

static void what_limits_it_is_named(void **state)
{
    (void)state;
    struct ps_batch_goal goal = any_goal();
    teach_line(0.01, 0.0001, 64);
    assert_int_equal(ps_batch_model_advise(&model, &goal).limit, PS_BATCH_BY_SEEN);
    assert_in_range(ps_batch_model_advise(&model, &goal).size, 120, 128); /* twice 64, or as good */
    goal.most = 32;
    assert_int_equal(ps_batch_model_advise(&model, &goal).limit, PS_BATCH_BY_CONFIGURED);
    goal.p95 = 0.012;
    struct ps_batch_advice advice = ps_batch_model_advise(&model, &goal);
    assert_int_equal(advice.limit, PS_BATCH_BY_LATENCY);
    assert_true(advice.p95 <= 0.012 && advice.size >= 15 && advice.size <= 20);
    goal.turns = 2; /* a batch has to end before the next begins */
    assert_int_equal(ps_batch_model_advise(&model, &goal).size, 1);
}

static void a_size_beyond_which_nothing_is_gained_is_enough(void **state)
{
    (void)state;
    const struct ps_batch_goal goal = any_goal();
    ps_batch_model_init(&model);
    for (int round = 0; round < 4; round++) {
        for (size_t n = 1; n <= 256; n *= 2) { /* 32 at once; what comes beyond waits for them */
            double turns = n <= 32 ? 1 : (double)n / 32;
            ps_batch_model_learn(&model, PS_SECOND, n, 0.1 * turns, 1);
        }
    }
    struct ps_batch_advice advice = ps_batch_model_advise(&model, &goal);
    assert_int_equal(advice.limit, PS_BATCH_BY_THROUGHPUT);
    assert_int_equal(advice.size, 32);
}

static void stragglers_move_neither_curve_nor_bound(void **state)
{
    (void)state;
    const struct ps_batch_goal goal = any_goal();
    teach_line(0.01, 0.0001, 64);
    double before = ps_batch_model_look(&model, &goal, 32).p95;
    ps_batch_model_learn(&model, PS_SECOND, 32, 1.0, 1);
    double after = ps_batch_model_look(&model, &goal, 32).p95;
    assert_true(after < 1.1 * before);
}

/* Learned memory: c + m n, in any unit. */
static void teach_memory(double fixed, double each)
{
    for (size_t n = 1; n <= 64; n *= 2) {
        ps_memory_model_learn(&model.memory, n, fixed + each * (double)n);
    }
}

static void more_memory_never_lowers_it_and_less_never_raises_it(void **state)
{
    (void)state;
    struct ps_rng rng = ps_rng_make(11);
    for (int run = 0; run < 100; run++) {
        struct curve curve = curve_make((enum curve_kind)(run % CURVE_KINDS), (uint64_t)run);
        struct ps_batch_goal goal = goal_of(&curve);
        double fixed = 10 * ps_rng_unit(&rng);
        double each = 0.01 + 2 * ps_rng_unit(&rng);
        search(&curve, &rng);
        ps_memory_model_init(&model.memory);
        teach_memory(fixed, each * (0.99 + 0.02 * ps_rng_unit(&rng)));
        if (run % 5 == 0) {
            ps_memory_model_fail(&model.memory, 1 + ps_rng_below(&rng, 128), fixed + 20 * each);
        }
        size_t last = 0;
        for (double limit = 0; limit < fixed + 300 * each;
             limit += each * (0.2 + ps_rng_unit(&rng))) {
            goal.memory = limit;
            size_t size = ps_batch_model_advise(&model, &goal).size;
            assert_true(size >= last);
            last = size;
        }
    }
}

static void half_the_free_memory_lowers_it_where_memory_is_the_limit(void **state)
{
    (void)state;
    struct ps_rng rng = ps_rng_make(12);
    for (int run = 0; run < 100; run++) {
        struct ps_batch_goal goal = any_goal();
        double fixed = 10 * ps_rng_unit(&rng);
        double each = 0.1 + ps_rng_unit(&rng);
        teach_line(0.02, 0.0002, 64);
        teach_memory(fixed, each);
        double free = each * (8 + 80 * ps_rng_unit(&rng));
        goal.memory = fixed + free;
        struct ps_batch_advice before = ps_batch_model_advise(&model, &goal);
        goal.memory = fixed + free / 2;
        struct ps_batch_advice after = ps_batch_model_advise(&model, &goal);
        assert_int_equal(before.limit, PS_BATCH_BY_MEMORY);
        assert_true(before.memory <= fixed + free);
        assert_true(after.size < before.size);
        assert_int_equal(after.limit, PS_BATCH_BY_MEMORY);
    }
}

static void what_changed_is_followed(void **state)
{
    (void)state;
    const struct ps_batch_goal goal = any_goal();
    teach_line(0.01, 0.0001, 64);
    for (int hour = 1; hour <= 6; hour++) { /* twice as slow since */
        for (size_t n = 1; n <= 64; n *= 2) {
            for (int i = 0; i < 64; i++) {
                ps_batch_model_learn(&model, hour * PS_HOUR, n, 0.02 + 0.0002 * (double)n, 1);
            }
            ps_batch_model_refresh(&model); /* as whoever shows it does */
        }
    }
    double rate = ps_batch_model_look(&model, &goal, 64).rate;
    assert_true(rate > 0.9 * 64 / 0.0328 && rate < 1.1 * 64 / 0.0328);
}

static void nonsense_is_left_out(void **state)
{
    (void)state;
    ps_batch_model_init(&model);
    ps_batch_model_learn(&model, 0, 0, 1, 1);
    ps_batch_model_learn(&model, 0, PS_BATCH_MODEL_MOST + 1, 1, 1);
    ps_batch_model_learn(&model, 0, 1, NAN, 1);
    ps_batch_model_learn(&model, 0, 1, -1, 1);
    ps_batch_model_learn(&model, 0, 1, INFINITY, 1);
    ps_batch_model_learn(&model, 0, 1, 1, NAN);
    ps_memory_model_learn(&model.memory, 1, NAN);
    ps_memory_model_learn(&model.memory, 1, -5);
    assert_true(model.samples == 0 && model.memory.samples == 0);
    const struct ps_batch_goal goal = any_goal();
    assert_int_equal(ps_batch_model_next(&model, &goal), 1);
}

static void memory_is_a_line_and_its_bound_is_above_it(void **state)
{
    (void)state;
    struct ps_memory_model memory;
    struct ps_rng rng = ps_rng_make(3);
    ps_memory_model_init(&memory);
    assert_true(isnan(ps_memory_model_bound(&memory, 4)));
    assert_int_equal(ps_memory_model_fit(&memory, 100, 64), 64);
    ps_memory_model_learn(&memory, 1, 10);
    assert_true(isnan(ps_memory_model_expect(&memory, 4)));
    assert_true(ps_memory_model_bound(&memory, 4) >= 40);
    for (int i = 0; i < 200; i++) {
        size_t n = 1 + ps_rng_below(&rng, 32);
        ps_memory_model_learn(&memory, n, 8 + 2 * (double)n + 0.2 * (ps_rng_unit(&rng) - 0.5));
    }
    for (size_t n = 1; n <= 64; n++) {
        double truth = 8 + 2 * (double)n;
        assert_true(fabs(ps_memory_model_expect(&memory, n) / truth - 1) < 0.05);
        assert_true(ps_memory_model_bound(&memory, n) > truth);
        assert_true(ps_memory_model_bound(&memory, n) < 1.1 * truth);
    }
}

static void a_size_that_failed_needs_more_than_there_was(void **state)
{
    (void)state;
    struct ps_memory_model memory;
    ps_memory_model_init(&memory);
    for (size_t n = 1; n <= 8; n++) {
        ps_memory_model_learn(&memory, n, 10 + (double)n);
    }
    assert_true(ps_memory_model_fit(&memory, 40, 64) > 20);
    ps_memory_model_fail(&memory, 20, 40);
    assert_int_equal(ps_memory_model_fit(&memory, 40, 64), 19);
    assert_true(ps_memory_model_fit(&memory, 60, 64) > 30);
    ps_memory_model_learn(&memory, 24, 34); /* it did fit later */
    assert_true(ps_memory_model_fit(&memory, 40, 64) >= 24);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(within_32_batches_it_is_near_the_best_fixed_one),
        cmocka_unit_test(too_few_samples_are_no_recommendation),
        cmocka_unit_test(what_limits_it_is_named),
        cmocka_unit_test(a_size_beyond_which_nothing_is_gained_is_enough),
        cmocka_unit_test(stragglers_move_neither_curve_nor_bound),
        cmocka_unit_test(more_memory_never_lowers_it_and_less_never_raises_it),
        cmocka_unit_test(half_the_free_memory_lowers_it_where_memory_is_the_limit),
        cmocka_unit_test(what_changed_is_followed),
        cmocka_unit_test(nonsense_is_left_out),
        cmocka_unit_test(memory_is_a_line_and_its_bound_is_above_it),
        cmocka_unit_test(a_size_that_failed_needs_more_than_there_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
