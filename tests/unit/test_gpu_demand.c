/* test_gpu_demand - what the gateway's counts say of the memory that a server will be asked for.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "operate/gpu_demand.h"

static const unsigned ahead[] = {2, 10};

static struct ps_gpu_tokens look(struct ps_gpu_demand *demand, const struct ps_gpu_crowd *crowd)
{
    struct ps_gpu_tokens tokens;
    ps_gpu_demand_push(demand, crowd, ahead, 2, &tokens);
    return tokens;
}

static struct ps_gpu_crowd crowd_of(double requests, double prompts, double waiting,
                                    double waiting_prompts, double seats)
{
    return (struct ps_gpu_crowd){.count = {.requests = {requests}, .prompts = {prompts}},
                                 .waiting = waiting,
                                 .waiting_prompts = waiting_prompts,
                                 .seats = seats,
                                 .estimate = 4000};
}

static void what_waits_counts_as_far_as_the_gate_will_let_it_in(void **state)
{
    (void)state;
    struct ps_gpu_demand demand = {.begun = false};
    struct ps_gpu_crowd few = crowd_of(2, 1000, 200, 100000, 2);
    assert_true(look(&demand, &few).queued < 2 * 2000);
    struct ps_gpu_crowd many = crowd_of(200, 100000, 40, 20000, INFINITY);
    assert_true(look(&demand, &many).queued == 20000);
    struct ps_gpu_crowd none = crowd_of(0, 0, 0, 0, INFINITY);
    struct ps_gpu_tokens tokens = look(&demand, &none);
    assert_true(tokens.queued == 0 && tokens.flight == 0);
}

/* Who waits has arrived; let in later it does not arrive again. */
static void nobody_arrives_twice(void **state)
{
    (void)state;
    struct ps_gpu_demand demand = {.begun = false};
    struct ps_gpu_crowd crowd = crowd_of(10, 5000, 0, 0, 1000);
    crowd.count.arrived = 5000;
    assert_true(look(&demand, &crowd).arrived == 0); /* what came before is history */
    crowd.waiting = 4;
    crowd.waiting_prompts = 2000;
    assert_true(look(&demand, &crowd).arrived == 2000);
    crowd.waiting = 0;
    crowd.waiting_prompts = 0;
    crowd.count.arrived += 2000;
    crowd.count.requests[0] += 4;
    crowd.count.prompts[0] += 2000;
    assert_true(look(&demand, &crowd).arrived == 0);
    crowd.count.arrived += 700;
    assert_true(look(&demand, &crowd).arrived == 700);
    crowd.count.arrived = 3; /* began anew */
    assert_true(look(&demand, &crowd).arrived == 0);
}

static void answers_that_nobody_sees_are_not_guessed_at(void **state)
{
    (void)state;
    struct ps_gpu_demand demand = {.begun = false};
    struct ps_gpu_crowd crowd = crowd_of(10, 5000, 0, 0, INFINITY);
    assert_true(look(&demand, &crowd).followed);
    crowd.count.blind = 5;
    struct ps_gpu_tokens tokens = look(&demand, &crowd);
    assert_false(tokens.followed);
    assert_false(tokens.knows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_waits_counts_as_far_as_the_gate_will_let_it_in),
        cmocka_unit_test(nobody_arrives_twice),
        cmocka_unit_test(answers_that_nobody_sees_are_not_guessed_at),
    };
    return cmocka_run_group_tests_name("gpu_demand", tests, NULL, NULL);
}
