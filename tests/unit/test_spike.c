/* test_spike - recovery is when things are as they were, to the second; noise is neither damage nor recovery.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "load/spike.h"
#include "../helpers/service.h"

static const struct ps_spike_opts by_default = {
    .baseline_rate = 20,
    .spike_rate = 100,
    .recovery_rate = 20,
    .baseline_seconds = 30,
    .spike_seconds = 10,
    .recovery_seconds = 20,
    .max_recovery = 120,
};

/* It takes what is asked of it: nothing queues but what a test injects. */
static const struct service_opts roomy = {.kind = SERVICE_QUEUE, .servers = 64, .mean = 0.02, .shape = 2};

/* After a spike each answer takes `extra` longer, or a share of them fails, for so many seconds. */
struct injury {
    double extra, error, seconds;
};

static struct ps_spike_result run(const struct service_opts *opts, const struct ps_spike_opts *how,
                                  const struct injury *injury, unsigned seed, double *seconds)
{
    struct service_opts seeded = *opts;
    seeded.seed = seed;
    struct service service;
    service_init(&service, &seeded);
    struct ps_spike *spike = NULL;
    assert_int_equal(ps_spike_new(&spike, how), PS_OK);
    double heals = how->baseline_seconds + how->spike_seconds + injury->seconds;
    while (ps_spike_phase(spike) != PS_SPIKE_OVER) {
        bool hurt = service.now >= how->baseline_seconds && service.now < heals;
        service.extra = hurt ? injury->extra : 0;
        service.error = hurt ? injury->error : 0;
        struct ps_second row = service_second(&service, ps_spike_rate(spike));
        ps_spike_push(spike, &row);
    }
    struct ps_spike_result result = ps_spike_result(spike);
    *seconds = service.now;
    ps_spike_free(spike);
    service_fini(&service);
    return result;
}

static void recovery_is_found_to_the_second(void **state)
{
    (void)state;
    const struct injury injuries[] = {{0.25, 0, 30}, {0.05, 0, 30}, {0, 0.5, 30}, {0.4, 0.3, 30}, {0.2, 0, 7}, {0.2, 0, 73}};
    double seconds = 0;
    for (size_t i = 0; i < sizeof injuries / sizeof *injuries; i++) {
        unsigned off = 0;
        for (unsigned seed = 1; seed <= 20; seed++) {
            struct ps_spike_result result = run(&roomy, &by_default, &injuries[i], seed, &seconds);
            off += !(fabs(result.recovery_seconds - injuries[i].seconds) <= 1);
        }
        assert_true(off <= 1); /* one in a hundred: a window of the baseline that is out of its own band */
    }
}

static void what_a_spike_does_not_touch_recovers_at_once(void **state)
{
    (void)state;
    double seconds = 0;
    unsigned off = 0;
    for (unsigned seed = 1; seed <= 40; seed++) {
        struct ps_spike_result result = run(&roomy, &by_default, &(struct injury){0}, seed, &seconds);
        off += !(result.recovery_seconds == 0) || seconds != 60;
    }
    assert_true(off <= 2);
}

/* 80 a second for ten seconds go into a service that does 60: what queues is worked off at 40 a second. */
static void a_queue_that_is_worked_off_is_recovery(void **state)
{
    (void)state;
    const struct service_opts narrow = {.kind = SERVICE_QUEUE, .servers = 3, .mean = 0.05, .shape = 4};
    double seconds = 0;
    for (unsigned seed = 1; seed <= 10; seed++) {
        struct ps_spike_result result = run(&narrow, &by_default, &(struct injury){0}, seed, &seconds);
        assert_true(result.recovery_seconds > 7 && result.recovery_seconds < 13);
        assert_true(result.peak_p95_ms > 1000);
    }
}

static void who_does_not_recover_is_given_up(void **state)
{
    (void)state;
    double seconds = 0;
    struct ps_spike_opts how = by_default;
    how.max_recovery = 40;
    struct ps_spike_result result = run(&roomy, &how, &(struct injury){.extra = 0.3, .seconds = 1e6}, 1, &seconds);
    assert_true(isnan(result.recovery_seconds));
    assert_true(seconds <= 30 + 10 + 40 + 10);
    result = run(&roomy, &how, &(struct injury){.error = 1, .seconds = 1e6}, 1, &seconds);
    assert_true(isnan(result.recovery_seconds));
}

static void phases_are_counted_apart(void **state)
{
    (void)state;
    double seconds = 0;
    struct ps_spike_result result = run(&roomy, &by_default, &(struct injury){.error = 0.5}, 4, &seconds);
    assert_true(result.phase[PS_SPIKE_BASELINE].seconds == 30 && result.phase[PS_SPIKE_SPIKE].start == 30);
    assert_true(result.phase[PS_SPIKE_SPIKE].seconds == 10 && result.phase[PS_SPIKE_RECOVERY].start == 40);
    assert_true(fabs(result.phase[PS_SPIKE_SPIKE].achieved - 100) < 2);
    assert_true(fabs(result.phase[PS_SPIKE_SPIKE].error_share - 0.5) < 0.06);
    assert_true(result.phase[PS_SPIKE_BASELINE].error_share == 0);
    assert_true(result.band_p95_ms > result.phase[PS_SPIKE_BASELINE].p95_ms);
}

/* A target that fails by itself has no band to come back to. */
static void a_sick_baseline_is_told(void **state)
{
    (void)state;
    struct ps_spike *spike = NULL;
    assert_int_equal(ps_spike_new(&spike, &by_default), PS_OK);
    for (double at = 1; ps_spike_phase(spike) != PS_SPIKE_OVER; at++) {
        struct ps_second row = {.at = at, .span = 1, .sent = 20, .failed = 20};
        ps_spike_push(spike, &row);
        assert_true(at < 300);
    }
    struct ps_spike_result result = ps_spike_result(spike);
    assert_true(result.sick_before && isnan(result.recovery_seconds));
    ps_spike_free(spike);
}

static void it_may_end_at_any_moment(void **state)
{
    (void)state;
    for (int until = 0; until < 60; until++) {
        struct service service;
        service_init(&service, &roomy);
        struct ps_spike *spike = NULL;
        assert_int_equal(ps_spike_new(&spike, &by_default), PS_OK);
        for (int i = 0; i < until && ps_spike_phase(spike) != PS_SPIKE_OVER; i++) {
            struct ps_second row = service_second(&service, ps_spike_rate(spike));
            ps_spike_push(spike, &row);
        }
        ps_spike_end(spike);
        struct ps_spike_result result = ps_spike_result(spike);
        double sum = 0;
        for (int i = 0; i < PS_SPIKE_PHASES; i++) {
            sum += result.phase[i].seconds;
        }
        assert_true(sum == until);
        ps_spike_free(spike);
        service_fini(&service);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recovery_is_found_to_the_second),
        cmocka_unit_test(what_a_spike_does_not_touch_recovers_at_once),
        cmocka_unit_test(a_queue_that_is_worked_off_is_recovery),
        cmocka_unit_test(who_does_not_recover_is_given_up),
        cmocka_unit_test(phases_are_counted_apart),
        cmocka_unit_test(a_sick_baseline_is_told),
        cmocka_unit_test(it_may_end_at_any_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
