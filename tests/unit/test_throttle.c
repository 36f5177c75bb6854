/* test_throttle - a bound that follows memory: by tokens where caches are told, else by experience.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "operate/throttle.h"

#define START (1000 * PS_SECOND)
#define TICK  (200 * PS_MILLISECOND)

static struct ps_throttle throttle;
static ps_time now;

static int set_up(void **state)
{
    (void)state;
    now = START;
    ps_throttle_init(&throttle, now);
    return 0;
}

/* The bound after a while in which all stays as it is; an event happens once. */
static struct ps_throttle_bound push_for(struct ps_throttle_sample sample, ps_span span)
{
    struct ps_throttle_bound bound = {0};
    sample.target_percent = 75;
    for (ps_time until = now + span; now < until;) {
        now += TICK;
        bound = ps_throttle_push(&throttle, now, &sample);
        sample.event = false;
    }
    return bound;
}

/* --- tokens ----------------------------------------------------------------------------------- */

static void reservations_come_to_nine_tenths_of_the_caches(void **state)
{
    (void)state;
    const struct ps_throttle_sample sample = {.capacity = ps_device_known(40000),
                                              .held = ps_device_known(20000),
                                              .effective = ps_device_known(50),
                                              .in_flight = 40,
                                              .in_flight_tokens = 36000};
    struct ps_throttle_bound bound = push_for(sample, TICK);
    assert_int_equal(bound.tokens, 36000);
    assert_int_equal(bound.requests, 0);
    assert_int_equal(push_for(sample, 100 * PS_SECOND).tokens, 36000); /* never more */
}

static void what_others_hold_is_taken_off_slowly_and_given_back_at_once(void **state)
{
    (void)state;
    struct ps_throttle_sample sample = {.capacity = ps_device_known(40000),
                                        .held = ps_device_known(20000),
                                        .in_flight_tokens = 4000};
    uint64_t first = push_for(sample, TICK).tokens;
    assert_in_range(first, 34500, 35500); /* figures are a moment old */
    assert_in_range(push_for(sample, 30 * PS_SECOND).tokens, 19900, 20300);
    sample.held = ps_device_known(3000);
    assert_int_equal(push_for(sample, TICK).tokens, 36000);
}

static void trouble_lowers_the_share_once_and_time_brings_it_back(void **state)
{
    (void)state;
    struct ps_throttle_sample sample = {.capacity = ps_device_known(10000), .event = true};
    assert_int_equal(push_for(sample, TICK).tokens, 7200);
    assert_int_equal(push_for(sample, TICK).tokens, 7200); /* the same trouble goes on */
    sample.event = false;
    assert_in_range(push_for(sample, 10 * PS_SECOND).tokens, 7500, 7800);
    assert_int_equal(push_for(sample, 60 * PS_SECOND).tokens, 9000);
    sample.event = true;
    for (int i = 0; i < 100; i++) {
        push_for(sample, 2 * PS_SECOND);
    }
    assert_true(push_for(sample, TICK).tokens >= 2000); /* something always goes on */
}

static void the_bound_is_never_none_while_caches_are_known(void **state)
{
    (void)state;
    struct ps_rng rng = ps_rng_make(7);
    for (int i = 0; i < 20000; i++) {
        const struct ps_throttle_sample sample = {
            .capacity = ps_device_known(ps_rng_unit(&rng) * 1e6),
            .held = (struct ps_device_reading){ps_rng_unit(&rng) * 1e6, ps_rng_unit(&rng) < 0.9},
            .event = ps_rng_unit(&rng) < 0.1,
            .in_flight_tokens = ps_rng_below(&rng, 1000000)};
        struct ps_throttle_bound bound = push_for(sample, TICK);
        assert_true(bound.tokens >= 1 && (double)bound.tokens <= sample.capacity.value + 1);
    }
}

/* --- requests --------------------------------------------------------------------------------- */

static void without_trouble_there_is_no_bound(void **state)
{
    (void)state;
    const struct ps_throttle_sample sample = {
        .effective = ps_device_known(60), .in_flight = 50, .queued = 0};
    struct ps_throttle_bound bound = push_for(sample, 60 * PS_SECOND);
    assert_int_equal(bound.requests, 0);
    assert_int_equal(bound.tokens, 0);
}

static void over_the_target_fewer_get_in_and_below_it_more_again(void **state)
{
    (void)state;
    struct ps_throttle_sample sample = {
        .effective = ps_device_known(80), .in_flight = 50, .queued = 3};
    assert_int_equal(push_for(sample, TICK).requests, 45);
    assert_int_equal(push_for(sample, PS_SECOND).requests, 45); /* a cut takes time to show */
    assert_int_equal(push_for(sample, PS_SECOND).requests, 40);
    sample.effective = ps_device_known(72); /* neither */
    assert_int_equal(push_for(sample, 20 * PS_SECOND).requests, 40);
    sample.effective = ps_device_known(60);
    assert_in_range(push_for(sample, 5 * PS_SECOND).requests, 48, 52);
}

static void trouble_halves_it_and_one_always_gets_in(void **state)
{
    (void)state;
    struct ps_throttle_sample sample = {
        .effective = ps_device_known(99), .in_flight = 20, .event = true};
    assert_int_equal(push_for(sample, TICK).requests, 10);
    sample.in_flight = 10;
    for (int i = 0; i < 20; i++) {
        push_for(sample, 2 * PS_SECOND);
    }
    assert_int_equal(push_for(sample, TICK).requests, 1);
}

static void a_bound_that_nobody_needs_goes(void **state)
{
    (void)state;
    struct ps_throttle_sample sample = {.effective = ps_device_known(90), .in_flight = 20};
    assert_int_equal(push_for(sample, TICK).requests, 18);
    sample.effective = ps_device_known(40);
    assert_int_equal(push_for(sample, 50 * PS_SECOND).requests, 18);
    assert_int_equal(push_for(sample, 15 * PS_SECOND).requests, 0);
}

#define T(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(reservations_come_to_nine_tenths_of_the_caches),
        T(what_others_hold_is_taken_off_slowly_and_given_back_at_once),
        T(trouble_lowers_the_share_once_and_time_brings_it_back),
        T(the_bound_is_never_none_while_caches_are_known),
        T(without_trouble_there_is_no_bound),
        T(over_the_target_fewer_get_in_and_below_it_more_again),
        T(trouble_halves_it_and_one_always_gets_in),
        T(a_bound_that_nobody_needs_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
