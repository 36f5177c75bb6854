/* test_demand - how long answers get, by what was seen.
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
#include "foresee/demand.h"

static struct ps_demand demand;

static double expected(uint64_t prompt, uint64_t done, double ahead)
{
    struct ps_demand_request request = {prompt, done};
    double sum = 0;
    ps_demand_expect(&demand, &request, &ahead, 1, &sum);
    return sum;
}

static void an_empty_book_expects_half(void **state)
{
    (void)state;
    ps_demand_init(&demand);
    assert_true(fabs(expected(100, 0, 10) - 55) < 1e-3);
}

static void knows_that_long_prompts_get_short_answers_where_they_do(void **state)
{
    (void)state;
    ps_demand_init(&demand);
    for (int i = 0; i < 500; i++) {
        ps_demand_ended(&demand, 1000, 400);
        ps_demand_ended(&demand, 4000, 50);
    }
    assert_true(expected(1000, 100, 200) > 0.98 * 1300);
    assert_true(expected(1000, 100, 400) < 0.02 * 1500);
    assert_true(expected(4000, 10, 100) < 0.02 * 4110);
    assert_true(expected(4000, 10, 20) > 0.95 * 4030);
}

/* More time never makes a request that holds the same more likely to be there. */
static void goes_on_less_likely_the_longer_it_takes(void **state)
{
    (void)state;
    struct ps_rng rng = ps_rng_make(3);
    ps_demand_init(&demand);
    for (int i = 0; i < 3000; i++) {
        ps_demand_ended(&demand, 1 + ps_rng_below(&rng, 8000), 1 + ps_rng_below(&rng, 2000));
    }
    for (int i = 0; i < 200; i++) {
        uint64_t prompt = 1 + ps_rng_below(&rng, 8000);
        uint64_t done = ps_rng_below(&rng, 1500);
        double before = 1;
        for (double ahead = 0; ahead < 3000; ahead += 37) {
            double held = (double)(prompt + done) + ahead;
            double share = expected(prompt, done, ahead) / held;
            assert_true(share >= 0 && share <= before + 1e-6);
            before = share;
        }
    }
}

static void any_number_has_its_page(void **state)
{
    (void)state;
    static const uint64_t odd[] = {0, 1, 2, UINT32_MAX, UINT64_MAX};
    ps_demand_init(&demand);
    for (size_t i = 0; i < 25; i++) {
        ps_demand_ended(&demand, odd[i / 5], odd[i % 5]);
        assert_true(isfinite(expected(odd[i / 5], odd[i % 5], 100)));
    }
}

/* The formula as it is meant, in doubles: each page leans on the wider one. */
static double longer_than(const struct ps_demand_page *page, double length)
{
    double octave = floor(log2(fmax(length, 1)));
    double place = fmin((octave + fmax(length, 1) / exp2(octave) - 1) * 8, PS_DEMAND_ANSWERS);
    size_t edge = (size_t)fmin(place, PS_DEMAND_ANSWERS - 1);
    return (double)page->longer[edge] +
           ((double)page->longer[edge + 1] - (double)page->longer[edge]) * (place - (double)edge);
}

static size_t page_of(double prompt, double steps, double most)
{
    double octave = floor(log2(fmax(prompt, 1)));
    return (size_t)fmin((octave + fmax(prompt, 1) / exp2(octave) - 1) * steps, most - 1);
}

static double directly(uint64_t prompt, uint64_t done, double ahead)
{
    double now = (double)done;
    double then = now + ahead;
    const struct ps_demand_page *octave = &demand.octave[page_of((double)prompt, 1, PS_DEMAND_OCTAVES)];
    const struct ps_demand_page *quarter = &demand.quarter[page_of((double)prompt, 4, PS_DEMAND_PROMPTS)];
    double goes_on = (longer_than(&demand.all, then) + 0.5) / (longer_than(&demand.all, now) + 1);
    goes_on = (longer_than(octave, then) + 2 * goes_on) / (longer_than(octave, now) + 2);
    goes_on = (longer_than(quarter, then) + 2 * goes_on) / (longer_than(quarter, now) + 2);
    return goes_on * ((double)prompt + then);
}

static void expects_for_all_requests_what_the_formula_says_of_each(void **state)
{
    (void)state;
    static const double ahead[] = {1 / 0.03, 2 / 0.03, 3 / 0.03, 5 / 0.03, 7 / 0.03, 10 / 0.03, 1e6};
    enum { STEPS = sizeof ahead / sizeof ahead[0] };
    struct ps_rng rng = ps_rng_make(11);
    ps_demand_init(&demand);
    for (int round = 0; round < 200; round++) {
        double sums[STEPS] = {0};
        double direct[STEPS] = {0};
        for (int i = 0; i < 35; i++) {
            uint64_t prompt = ps_rng_below(&rng, UINT64_C(1) << ps_rng_below(&rng, 16));
            uint64_t done = ps_rng_below(&rng, UINT64_C(1) << ps_rng_below(&rng, 20));
            struct ps_demand_request request = {prompt, done};
            ps_demand_expect(&demand, &request, ahead, STEPS, sums);
            for (size_t k = 0; k < STEPS; k++) {
                direct[k] += directly(prompt, done, ahead[k]);
            }
            ps_demand_ended(&demand, prompt, done);
        }
        for (size_t k = 0; k < STEPS; k++) {
            assert_true(fabs(sums[k] - direct[k]) <= 1e-5 * direct[k]);
        }
    }
}

static void what_is_old_fades(void **state)
{
    (void)state;
    ps_demand_init(&demand);
    for (int i = 0; i < 100000; i++) {
        ps_demand_ended(&demand, 500, i < 50000 ? 1000 : 20);
    }
    assert_true(expected(500, 10, 300) < 0.25 * 810);
    assert_true((double)demand.all.longer[0] <= 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_book_expects_half),
        cmocka_unit_test(knows_that_long_prompts_get_short_answers_where_they_do),
        cmocka_unit_test(goes_on_less_likely_the_longer_it_takes),
        cmocka_unit_test(any_number_has_its_page),
        cmocka_unit_test(expects_for_all_requests_what_the_formula_says_of_each),
        cmocka_unit_test(what_is_old_fades),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
