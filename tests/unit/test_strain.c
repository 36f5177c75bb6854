/* test_strain - the simulated servers under load are what prediction and pressure are measured by.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../helpers/strain.h"

#define RUN 3600

static struct strain *strain_or_fail(enum strain_kind kind, enum workload_shape shape,
                                     uint64_t seed)
{
    struct strain *strain = strain_new(kind, shape, seed, RUN);
    assert_non_null(strain);
    return strain;
}

/* An unmanaged server has to be in trouble: otherwise there is nothing to foresee. */
static void is_full_on_average_and_runs_out(void **state)
{
    (void)state;
    for (int i = 0; i < STRAIN_KINDS * WORKLOAD_SHAPES; i++) {
        struct strain *strain = strain_or_fail((enum strain_kind)(i / WORKLOAD_SHAPES),
                                               (enum workload_shape)(i % WORKLOAD_SHAPES), 1);
        double effective = 0;
        int events = 0;
        for (int t = 0; t < RUN; t++) {
            struct strain_sample sample;
            strain_next(strain, &sample);
            effective += sample.effective;
            events += sample.event;
        }
        assert_true(effective / RUN >= 0.85);
        assert_true(events > 0 && events < RUN / 3);
        strain_free(strain);
    }
}

static void is_the_same_for_the_same_seed(void **state)
{
    (void)state;
    struct strain *one = strain_or_fail(STRAIN_BLOCKS, WORKLOAD_BURST, 7);
    struct strain *two = strain_or_fail(STRAIN_BLOCKS, WORKLOAD_BURST, 7);
    struct strain *other = strain_or_fail(STRAIN_BLOCKS, WORKLOAD_BURST, 8);
    bool differs = false;
    for (int t = 0; t < 300; t++) {
        struct strain_sample a;
        struct strain_sample b;
        struct strain_sample c;
        strain_next(one, &a);
        (void)strain_until_event(one); /* looking changes nothing */
        strain_next(two, &b);
        strain_next(other, &c);
        assert_true(a.pool_bytes == b.pool_bytes && a.flight_tokens == b.flight_tokens);
        differs = differs || a.pool_bytes != c.pool_bytes;
    }
    assert_true(differs);
    strain_free(one);
    strain_free(two);
    strain_free(other);
}

/* What nothing else changes comes when it was said to. */
static void foresees_the_end_of_a_leak(void **state)
{
    (void)state;
    struct strain *strain = strain_or_fail(STRAIN_HEAP, WORKLOAD_LEAK, 3);
    double said = NAN;
    struct strain_sample sample = {.at = 0};
    for (int t = 0; t < RUN && !sample.event; t++) {
        strain_next(strain, &sample);
        double until = strain_until_event(strain);
        if (isnan(said) && until < 30) {
            said = sample.at + until;
        }
    }
    assert_true(sample.event);
    assert_true(fabs(sample.at - said) < 30);
    strain_free(strain);
}

static void figures_are_absent_where_a_server_has_none(void **state)
{
    (void)state;
    struct strain *strain = strain_or_fail(STRAIN_BLOCKS, WORKLOAD_STEP, 1);
    struct strain_sample sample;
    strain_next(strain, &sample);
    assert_true(isnan(sample.reserved_bytes) && isnan(sample.allocated_bytes));
    assert_true(sample.device_bytes > 0.89 * sample.device_total);
    strain_free(strain);
    strain = strain_or_fail(STRAIN_HEAP, WORKLOAD_STEP, 1);
    strain_next(strain, &sample);
    assert_true(isnan(sample.pool_bytes) && sample.allocated_bytes <= sample.reserved_bytes);
    strain_free(strain);
}

/* A gateway counts by cells; what it makes of them is near to what there is. */
static void the_gateway_sees_who_is_in_flight(void **state)
{
    (void)state;
    struct strain *strain = strain_or_fail(STRAIN_BLOCKS, WORKLOAD_STEP, 3);
    double ended = 0;
    double finished = 0;
    for (int t = 0; t < 300; t++) {
        struct strain_sample sample;
        strain_next(strain, &sample);
        finished += sample.finished;
        assert_true(ps_survival_requests(&sample.crowd) == sample.running + sample.waiting);
        assert_true(fabs(ps_survival_held(&sample.crowd) / sample.flight_tokens - 1) < 0.05);
        ended = 0;
        for (int i = 0; i < PS_SURVIVAL_CELLS; i++) {
            ended += sample.crowd.ended[i];
        }
    }
    assert_true(ended == finished && ended > 0);
    double chance = strain_chance(strain, 20, 4, 1);
    assert_true(chance >= 0 && chance <= 1);
    strain_free(strain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_full_on_average_and_runs_out),
        cmocka_unit_test(is_the_same_for_the_same_seed),
        cmocka_unit_test(foresees_the_end_of_a_leak),
        cmocka_unit_test(figures_are_absent_where_a_server_has_none),
        cmocka_unit_test(the_gateway_sees_who_is_in_flight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
