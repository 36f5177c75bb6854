/* test_pressure - one word for how near it is, that does not flicker.
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
#include "gpu/pressure.h"

static struct ps_pressure pressure;

static void init(void)
{
    struct ps_pressure_opts opts = ps_pressure_opts_usual();
    ps_pressure_init(&pressure, &opts);
}

static const struct ps_pressure_sample healthy = {.device_used = 72,
                                                  .device_total = 80,
                                                  .pool_used = 300,
                                                  .pool_total = 1000,
                                                  .unused = NAN,
                                                  .until = INFINITY};

static enum ps_pressure_level push(double at, struct ps_pressure_sample sample)
{
    return ps_pressure_push(&pressure, (ps_time)(at * 1e9), &sample);
}

static void a_healthy_server_that_took_the_whole_device_is_low(void **state)
{
    (void)state;
    init();
    for (int t = 0; t < 600; t++) {
        assert_int_equal(push(t, healthy), PS_PRESSURE_LOW);
    }
    assert_int_equal(pressure.basis, PS_PRESSURE_POOL);
    assert_true(fabs(pressure.effective - 30) < 1e-9);
}

static void a_device_without_a_pool_counts_what_is_used(void **state)
{
    (void)state;
    init();
    struct ps_pressure_sample sample = healthy;
    sample.pool_used = NAN;
    push(0, sample);
    assert_int_equal(push(1, sample), PS_PRESSURE_MEDIUM);
    assert_int_equal(pressure.basis, PS_PRESSURE_DEVICE);
    assert_true(fabs(pressure.effective - 90) < 1e-9);
}

static void memory_that_is_only_held_is_over_the_target_but_no_danger(void **state)
{
    (void)state;
    init();
    struct ps_pressure_sample sample = {.device_used = 80,
                                        .device_total = 80,
                                        .pool_used = NAN,
                                        .pool_total = NAN,
                                        .unused = 30,
                                        .until = INFINITY};
    push(0, sample);
    assert_int_equal(push(1, sample), PS_PRESSURE_MEDIUM);
    assert_true(fabs(ps_pressure_strain(&sample) - 62.5) < 1e-9);
    sample.unused = 0;
    push(2, sample);
    assert_int_equal(push(3, sample), PS_PRESSURE_CRITICAL);
}

static void the_time_that_is_left_makes_it_high_and_critical(void **state)
{
    (void)state;
    init();
    struct ps_pressure_sample sample = healthy;
    sample.until = 61;
    push(0, sample);
    assert_int_equal(push(1, sample), PS_PRESSURE_LOW);
    sample.until = 60;
    assert_int_equal(push(2, sample), PS_PRESSURE_LOW); /* one sample is not believed */
    assert_int_equal(push(3, sample), PS_PRESSURE_HIGH);
    sample.until = 10;
    push(4, sample);
    assert_int_equal(push(5, sample), PS_PRESSURE_CRITICAL);
}

static void an_event_is_believed_at_once_and_fades(void **state)
{
    (void)state;
    init();
    push(0, healthy);
    struct ps_pressure_sample sample = healthy;
    sample.event = true;
    assert_int_equal(push(1, sample), PS_PRESSURE_CRITICAL);
    double t = 2;
    while (push(t, healthy) == PS_PRESSURE_CRITICAL) {
        t++;
    }
    assert_true(t > 6 && t < 12);
    assert_int_equal(push(t + 1, healthy), PS_PRESSURE_LOW);
}

static void nothing_known_is_said_to_be_unknown(void **state)
{
    (void)state;
    init();
    struct ps_pressure_sample sample = {.device_used = NAN,
                                        .device_total = NAN,
                                        .pool_used = NAN,
                                        .pool_total = NAN,
                                        .unused = NAN,
                                        .until = NAN};
    push(0, sample);
    assert_int_equal(pressure.basis, PS_PRESSURE_UNKNOWN);
    assert_true(isnan(pressure.effective));
    sample.pool_used = 1;
    sample.pool_total = 0; /* a server that has not begun */
    push(1, sample);
    assert_int_equal(pressure.basis, PS_PRESSURE_UNKNOWN);
}

/* Whatever the noise, it never goes down and up again within the calm. */
static void it_does_not_flicker(void **state)
{
    (void)state;
    struct ps_rng rng = ps_rng_make(1);
    init();
    double better_at = -100;
    enum ps_pressure_level before = PS_PRESSURE_LOW;
    int changes = 0;
    for (int t = 0; t < 3600; t++) {
        struct ps_pressure_sample sample = healthy;
        sample.pool_used = 740 + 20 * ps_rng_unit(&rng);
        sample.until = ps_rng_unit(&rng) < 0.1 ? 59 : INFINITY;
        enum ps_pressure_level level = push(t, sample);
        changes += level != before;
        assert_false(level > PS_PRESSURE_MEDIUM && before < level && t - better_at < 2);
        better_at = level < before ? t : better_at;
        before = level;
    }
    assert_true(changes < 120);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_healthy_server_that_took_the_whole_device_is_low),
        cmocka_unit_test(a_device_without_a_pool_counts_what_is_used),
        cmocka_unit_test(memory_that_is_only_held_is_over_the_target_but_no_danger),
        cmocka_unit_test(the_time_that_is_left_makes_it_high_and_critical),
        cmocka_unit_test(an_event_is_believed_at_once_and_fades),
        cmocka_unit_test(nothing_known_is_said_to_be_unknown),
        cmocka_unit_test(it_does_not_flicker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
