/* test_regress - weights that were used to make a series are found in it.
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
#include "foresee/regress.h"

static void finds_the_weights_of_two_outputs(void **state)
{
    (void)state;
    struct ps_regress regress;
    struct ps_rng rng = ps_rng_make(1);
    ps_regress_init(&regress, 3, 2, 10, 1);
    for (int i = 0; i < 400; i++) {
        double inputs[] = {1, ps_rng_unit(&rng), ps_rng_unit(&rng)};
        double outputs[] = {2 + 3 * inputs[1] - inputs[2], -1 * inputs[1]};
        ps_regress_learn(&regress, inputs, outputs);
    }
    double inputs[] = {1, 0.5, 0.25};
    assert_true(fabs(ps_regress_predict(&regress, 0, inputs) - 3.25) < 0.01);
    assert_true(fabs(ps_regress_predict(&regress, 1, inputs) + 0.5) < 0.01);
}

static void forgets_what_is_old(void **state)
{
    (void)state;
    struct ps_regress regress;
    ps_regress_init(&regress, 1, 1, 10, 0.95);
    double input = 1;
    for (int i = 0; i < 400; i++) {
        double output = i < 200 ? 1 : 5;
        ps_regress_learn(&regress, &input, &output);
    }
    assert_true(fabs(ps_regress_predict(&regress, 0, &input) - 5) < 0.01);
}

/* An input that stands still says nothing for ever; what is not known of its weight must not
 * overflow. */
static void stays_finite_when_an_input_stands_still(void **state)
{
    (void)state;
    struct ps_regress regress;
    struct ps_rng rng = ps_rng_make(2);
    ps_regress_init(&regress, 3, 1, 1, 0.99);
    for (int i = 0; i < 100000; i++) {
        double inputs[] = {1, ps_rng_unit(&rng), 0};
        double output = inputs[1];
        ps_regress_learn(&regress, inputs, &output);
    }
    double inputs[] = {1, 0.5, 1};
    assert_true(fabs(ps_regress_predict(&regress, 0, inputs) - 0.5) < 0.01);
    assert_true(isfinite(regress.spread[2][2]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_weights_of_two_outputs),
        cmocka_unit_test(forgets_what_is_old),
        cmocka_unit_test(stays_finite_when_an_input_stands_still),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
