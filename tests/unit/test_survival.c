/* test_survival - what requests in flight will hold, by a life table of answers.
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
#include "foresee/survival.h"

enum { CROWD = 4000, SPEED = 33 };

/* A crowd of requests that write SPEED tokens a sample; whoever ends is replaced. */
struct crowd {
    struct ps_rng rng;
    double done[CROWD], length[CROWD];
    struct ps_survival_count count;
};

static double new_length(struct crowd *crowd)
{
    return 1 + ps_rng_exponential(&crowd->rng, 600);
}

/* At any time since the last sample. */
static void begin(struct crowd *crowd, size_t i)
{
    crowd->length[i] = new_length(crowd);
    crowd->done[i] = fmin(SPEED * ps_rng_unit(&crowd->rng), crowd->length[i]);
    for (unsigned k = 0; k < ps_survival_cell((uint64_t)crowd->done[i]); k++) {
        crowd->count.passed[k]++;
    }
}

static void make(struct crowd *crowd)
{
    *crowd = (struct crowd){.rng = ps_rng_make(7)};
    for (size_t i = 0; i < CROWD; i++) {
        begin(crowd, i);
    }
}

static void count_up(struct crowd *crowd)
{
    for (unsigned i = 0; i < PS_SURVIVAL_CELLS; i++) {
        crowd->count.requests[i] = 0;
        crowd->count.prompts[i] = 0;
    }
    for (size_t i = 0; i < CROWD; i++) {
        unsigned cell = ps_survival_cell((uint64_t)crowd->done[i]);
        crowd->count.requests[cell]++;
        crowd->count.prompts[cell] += 500;
    }
}

static void play(struct crowd *crowd)
{
    for (size_t i = 0; i < CROWD; i++) {
        double then = fmin(crowd->done[i] + SPEED, crowd->length[i]);
        unsigned from = ps_survival_cell((uint64_t)crowd->done[i]);
        unsigned to = ps_survival_cell((uint64_t)then);
        for (unsigned k = from; k < to; k++) {
            crowd->count.passed[k]++;
        }
        crowd->done[i] = then;
        if (then >= crowd->length[i]) {
            crowd->count.ended[to]++;
            begin(crowd, i);
        }
    }
    count_up(crowd);
}

static void cells_are_half_octaves(void **state)
{
    (void)state;
    for (unsigned i = 0; i < PS_SURVIVAL_CELLS; i++) {
        uint64_t edge = ps_survival_edge(i);
        assert_int_equal(ps_survival_cell(edge), i);
        if (i > 0) {
            assert_int_equal(ps_survival_cell(edge - 1), i - 1);
        }
    }
    assert_int_equal(ps_survival_cell(UINT64_MAX), PS_SURVIVAL_CELLS - 1);
    assert_true(ps_survival_edge(PS_SURVIVAL_CELLS) == UINT64_MAX);
}

static void nothing_is_expected_before_anything_was_seen(void **state)
{
    (void)state;
    struct ps_survival survival;
    struct ps_survival_count count = {.requests = {3}, .prompts = {600}};
    unsigned ahead = 10;
    double out = -1;
    ps_survival_init(&survival);
    ps_survival_push(&survival, &count);
    assert_false(ps_survival_expect(&survival, &count, &ahead, 1, &out));
    assert_true(fabs(ps_survival_held(&count) - 624) < 1e-9);
    double mean = ps_survival_mean(&survival);
    assert_true(mean > 100 && mean < 1000);
}

/* Exponential lengths: whoever is there is as likely to go on as anybody, so the truth is known. */
static void learns_how_fast_and_how_long_answers_are_written(void **state)
{
    (void)state;
    static struct crowd crowd;
    static struct ps_survival survival;
    const unsigned ahead[] = {2, 10, 30};
    make(&crowd);
    ps_survival_init(&survival);
    for (int t = 0; t < 150; t++) {
        play(&crowd);
        ps_survival_push(&survival, &crowd.count);
    }
    assert_true(fabs(survival.speed / SPEED - 1) < 0.08);
    assert_true(fabs(ps_survival_mean(&survival) / 601 - 1) < 0.08);
    double out[3];
    assert_true(ps_survival_expect(&survival, &crowd.count, ahead, 3, out));
    for (int k = 0; k < 3; k++) {
        double more = SPEED * (double)ahead[k];
        double truth = 0;
        for (size_t i = 0; i < CROWD; i++) {
            truth += (500 + crowd.done[i] + more) * exp(-more / 600);
        }
        assert_true(fabs(out[k] / truth - 1) < 0.08);
    }
}

static void counters_that_fell_begin_anew(void **state)
{
    (void)state;
    static struct crowd crowd;
    static struct ps_survival survival;
    make(&crowd);
    ps_survival_init(&survival);
    for (int t = 0; t < 60; t++) {
        play(&crowd);
        ps_survival_push(&survival, &crowd.count);
    }
    crowd.count = (struct ps_survival_count){.requests = {0}};
    play(&crowd);
    ps_survival_push(&survival, &crowd.count);
    assert_true(isfinite(survival.speed) && survival.speed > 0 && survival.speed < 3 * SPEED);
    for (unsigned i = 0; i < PS_SURVIVAL_CELLS; i++) {
        assert_true(survival.passed[i] >= 0 && survival.ended[i] >= 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_are_half_octaves),
        cmocka_unit_test(nothing_is_expected_before_anything_was_seen),
        cmocka_unit_test(learns_how_fast_and_how_long_answers_are_written),
        cmocka_unit_test(counters_that_fell_begin_anew),
    };
    return cmocka_run_group_tests_name("survival", tests, NULL, NULL);
}
