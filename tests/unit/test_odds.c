/* test_odds - probabilities are learned, calibrated, and judged.
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
#include "foresee/odds.h"

static const double none[2] = {0, 0};

/* What is said of 20,000 draws whose odds are known; every second an outcome. */
static void play(struct ps_odds *odds, double weight, bool useful, uint64_t seed)
{
    struct ps_rng rng = ps_rng_make(seed);
    for (int i = 0; i < 20000; i++) {
        double x = 4 * ps_rng_unit(&rng) - 2;
        double inputs[] = {1, useful ? x : ps_rng_unit(&rng)};
        bool came = ps_rng_unit(&rng) < 1 / (1 + exp(-(weight * x - 1)));
        double said = ps_odds_say(odds, inputs, NULL, NULL);
        ps_odds_learn(odds, i * PS_SECOND, inputs, said, came);
    }
}

static void learns_the_odds_that_there_are(void **state)
{
    (void)state;
    struct ps_odds odds;
    ps_odds_init(&odds, none, 2, 1, 1);
    play(&odds, 2, true, 1);
    double inputs[] = {1, 1};
    double low = 0;
    double high = 0;
    double p = ps_odds_say(&odds, inputs, &low, &high);
    assert_true(fabs(p - 0.731) < 0.04);
    assert_true(low < p && p < high && high - low < 0.1);
}

static void says_that_it_has_skill_and_is_calibrated(void **state)
{
    (void)state;
    struct ps_odds odds;
    ps_odds_init(&odds, none, 2, 1, 1);
    play(&odds, 2, true, 2);
    struct ps_odds_check check = ps_odds_check(&odds, 20000 * PS_SECOND);
    assert_true(check.skill > 0.3);
    assert_true(check.worst < 0.05 && check.mean_gap < 0.03);
    assert_true(fabs(check.samples - 20000) < 0.5);
}

static void says_that_it_has_none(void **state)
{
    (void)state;
    struct ps_odds odds;
    ps_odds_init(&odds, none, 2, 1, 1);
    play(&odds, 2, false, 3);
    assert_true(ps_odds_check(&odds, 20000 * PS_SECOND).skill < 0.01);
}

static void a_day_is_all_it_remembers_of_its_skill(void **state)
{
    (void)state;
    struct ps_odds odds;
    ps_odds_init(&odds, none, 2, 1, 1);
    assert_true(isnan(ps_odds_check(&odds, 0).skill));
    ps_odds_learn(&odds, 0, none, 0.5, true);
    ps_odds_learn(&odds, 5 * PS_HOUR, none, 0.5, false);
    assert_true(ps_odds_check(&odds, 23 * PS_HOUR).samples == 2);
    assert_true(ps_odds_check(&odds, 24 * PS_HOUR).samples == 1);
    assert_true(ps_odds_check(&odds, 40 * PS_HOUR).samples == 0);
    ps_odds_learn(&odds, 24 * PS_HOUR, none, 0.5, false); /* takes the place of hour 0 */
    assert_true(ps_odds_check(&odds, 24 * PS_HOUR).samples == 2);
}

static void few_samples_leave_a_wide_interval(void **state)
{
    (void)state;
    struct ps_odds odds;
    ps_odds_init(&odds, none, 2, 0.5, 10);
    double inputs[] = {1, 1};
    double low = 0;
    double high = 0;
    ps_odds_say(&odds, inputs, &low, &high);
    double before = high - low;
    for (int i = 0; i < 50; i++) {
        ps_odds_learn(&odds, i * PS_SECOND, inputs, 0.5, i % 2 == 0);
    }
    ps_odds_say(&odds, inputs, &low, &high);
    assert_true(before > 0.7 && high - low < before / 1.5);
}

/* A step of the extended Kalman filter, element by element. */
static void learn_directly(double (*spread)[3], double *weight, const double *inputs, bool came)
{
    double along[3] = {0};
    double sum = 0;
    for (size_t i = 0; i < 3; i++) {
        sum += weight[i] * inputs[i];
        for (size_t j = 0; j < 3; j++) {
            along[i] += spread[i][j] * inputs[j];
        }
    }
    double p = 1 / (1 + exp(-sum));
    double news = fmax(p * (1 - p), 0.02);
    double total = along[0] * inputs[0] + along[1] * inputs[1] + along[2] * inputs[2] + 60 / news;
    for (size_t i = 0; i < 3; i++) {
        weight[i] += along[i] * ((came ? 1 : 0) - p) / (news * total);
        for (size_t j = 0; j < 3; j++) {
            spread[i][j] -= along[i] * along[j] / total - (i == j ? 3e-6 : 0);
        }
    }
}

static void learns_what_the_formula_says(void **state)
{
    (void)state;
    static const double nothing[3] = {0};
    double spread[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
    double weight[3] = {0};
    struct ps_odds odds;
    struct ps_rng rng = ps_rng_make(7);
    ps_odds_init(&odds, nothing, 3, 1, 60);
    for (int i = 0; i < 5000; i++) {
        double inputs[3] = {1, 4 * ps_rng_unit(&rng) - 2, ps_rng_unit(&rng)};
        bool came = ps_rng_unit(&rng) < 0.3 + 0.1 * inputs[1];
        learn_directly(spread, weight, inputs, came);
        ps_odds_learn(&odds, i * PS_SECOND, inputs, 0.5, came);
    }
    for (size_t i = 0; i < 3; i++) {
        assert_true(fabs(odds.weight[i] - weight[i]) <= 1e-9);
        for (size_t j = 0; j < 3; j++) {
            assert_true(fabs(odds.spread[i][j] - spread[i][j]) <= 1e-9);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learns_the_odds_that_there_are),
        cmocka_unit_test(says_that_it_has_skill_and_is_calibrated),
        cmocka_unit_test(says_that_it_has_none),
        cmocka_unit_test(a_day_is_all_it_remembers_of_its_skill),
        cmocka_unit_test(few_samples_leave_a_wide_interval),
        cmocka_unit_test(learns_what_the_formula_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
