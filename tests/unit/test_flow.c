/* test_flow - arrivals, and what they come to hold.
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
#include "foresee/flow.h"

/* A server where everything stays ten samples and a tenth leaves in each. */
static double play(struct ps_flow *flow, double own, double rate, int samples)
{
    for (int i = 0; i < samples; i++) {
        own += rate - own / 10;
        ps_flow_push(flow, own, 0, rate);
    }
    return own;
}

static void knows_what_a_rate_comes_to_hold(void **state)
{
    (void)state;
    struct ps_flow flow;
    ps_flow_init(&flow);
    assert_true(ps_flow_factor(&flow) == 0);
    play(&flow, 10, 1, 400);
    assert_true(fabs(ps_flow_factor(&flow) - 10) < 0.1);
}

static void sees_where_a_new_rate_leads_before_memory_has_moved(void **state)
{
    (void)state;
    struct ps_flow flow;
    const unsigned ahead[] = {10, 60};
    double path[2];
    ps_flow_init(&flow);
    double own = play(&flow, 10, 1, 400);
    own = play(&flow, own, 2, 6);
    assert_true(own < 16);
    ps_flow_path(&flow, ahead, 2, NULL, path);
    assert_true(path[0] > own + 1 && fabs(path[1] - 20) < 1);
}

static void chance_is_not_a_change(void **state)
{
    (void)state;
    struct ps_flow flow;
    struct ps_rng rng = ps_rng_make(1);
    ps_flow_init(&flow);
    double shortest = 1e9;
    for (int i = 0; i < 3000; i++) {
        ps_flow_push(&flow, 10, 0, 5 + ps_rng_unit(&rng) + ps_rng_unit(&rng));
        shortest = i > 300 ? fmin(shortest, flow.since) : shortest;
    }
    assert_true(shortest > 100);
    assert_true(fabs(flow.steady - 6) < 0.1);
}

static void what_nobody_owns_goes_on_in_a_line_until_it_drops(void **state)
{
    (void)state;
    struct ps_flow flow;
    const unsigned ahead[] = {30};
    double path = 0;
    ps_flow_init(&flow);
    for (int i = 0; i < 200; i++) {
        ps_flow_push(&flow, 10, 0.5 * i, 1);
    }
    ps_flow_path(&flow, ahead, 1, NULL, &path);
    assert_true(fabs(path - (10 + 0.5 * 229)) < 1);
    for (int i = 0; i < 4; i++) {
        ps_flow_push(&flow, 10, 0, 1);
    }
    ps_flow_path(&flow, ahead, 1, NULL, &path);
    assert_true(fabs(path - 10) < 1);
}

static void what_is_known_of_those_in_flight_replaces_the_law(void **state)
{
    (void)state;
    struct ps_flow flow;
    const unsigned ahead[] = {60};
    double known = 7;
    double path = 0;
    ps_flow_init(&flow);
    play(&flow, 10, 1, 400);
    ps_flow_path(&flow, ahead, 1, &known, &path);
    assert_true(fabs(path - 17) < 0.1); /* and what arrives in the meantime */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_what_a_rate_comes_to_hold),
        cmocka_unit_test(sees_where_a_new_rate_leads_before_memory_has_moved),
        cmocka_unit_test(chance_is_not_a_change),
        cmocka_unit_test(what_nobody_owns_goes_on_in_a_line_until_it_drops),
        cmocka_unit_test(what_is_known_of_those_in_flight_replaces_the_law),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
