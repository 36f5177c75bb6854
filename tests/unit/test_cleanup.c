/* test_cleanup - memory that is going to run out is seen in time, and no probability without skill
 * is told.
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
#include "base/rng.h"
#include "foresee/cleanup.h"

static struct ps_cleanup cleanup;

static void init(void)
{
    struct ps_cleanup_opts opts = ps_cleanup_opts_usual();
    ps_cleanup_init(&cleanup, &opts);
}

static struct ps_cleanup_sample sample_of(const struct strain_sample *seen, double *events)
{
    bool blocks = !isnan(seen->pool_bytes);
    double token = 131072;
    double now = seen->preemptions + seen->failures;
    struct ps_cleanup_sample sample = {
        .held = blocks ? seen->pool_bytes : seen->allocated_bytes,
        .limit = blocks ? seen->pool_total : seen->device_total - 34 * 1073741824.0,
        .queued = seen->waiting_tokens * token,
        .flight = seen->flight_tokens * token,
        .arrived = seen->arrived_tokens * token,
        .event = now > *events,
    };
    *events = now;
    return sample;
}

static void a_quiet_server_needs_nothing_and_has_no_probability(void **state)
{
    (void)state;
    struct ps_rng rng = ps_rng_make(1);
    init();
    for (int t = 0; t < 7200; t++) {
        struct ps_cleanup_sample sample = {
            .held = 40 + 5 * ps_rng_unit(&rng), .limit = 100, .flight = NAN, .arrived = 2};
        struct ps_cleanup_answer answer = ps_cleanup_push(&cleanup, t * PS_SECOND, &sample);
        assert_false(answer.needed);
        assert_true(isnan(answer.probability));
        assert_true(isinf(answer.until));
    }
}

static void a_leak_is_seen_before_it_ends(void **state)
{
    (void)state;
    init();
    int needed_at = 0;
    for (int t = 0; t < 1000; t++) {
        struct ps_cleanup_sample sample = {
            .held = 50 + 0.05 * t, .limit = 100, .flight = 50, .arrived = 2.5};
        if (ps_cleanup_push(&cleanup, t * PS_SECOND, &sample).needed && needed_at == 0) {
            needed_at = t;
        }
    }
    assert_true(needed_at > 800 && needed_at <= 990); /* it ends at 1000 */
}

static void trouble_itself_is_the_basis_while_it_lasts(void **state)
{
    (void)state;
    init();
    for (int t = 0; t < 60; t++) {
        struct ps_cleanup_sample sample = {
            .held = 50, .limit = 100, .flight = NAN, .arrived = 2, .event = t >= 50};
        struct ps_cleanup_answer answer = ps_cleanup_push(&cleanup, t * PS_SECOND, &sample);
        assert_true((answer.basis == PS_CLEANUP_BY_LEVEL) == (t >= 50));
        assert_true(answer.needed == (t >= 50));
    }
}

/* What is claimed of all shapes is the benchmark's; this is that it works at all. */
static void most_episodes_of_a_ramp_are_announced(void **state)
{
    (void)state;
    struct strain *strain = strain_new(STRAIN_BLOCKS, WORKLOAD_RAMP, 11, 3600);
    assert_non_null(strain);
    init();
    double events = 0;
    int episodes = 0;
    int announced = 0;
    int last = -100;
    bool needed = false;
    bool shown = false;
    for (int t = 0; t < 3600; t++) {
        struct strain_sample seen;
        strain_next(strain, &seen);
        if (seen.event && t - last > 60) {
            episodes++;
            announced += needed;
        }
        last = seen.event ? t : last;
        struct ps_cleanup_sample sample = sample_of(&seen, &events);
        struct ps_cleanup_answer answer = ps_cleanup_push(&cleanup, t * PS_SECOND, &sample);
        needed = answer.needed;
        shown = shown || !isnan(answer.probability);
        assert_true(isnan(answer.probability) ||
                    (answer.low <= answer.probability && answer.probability <= answer.high));
    }
    assert_true(episodes >= 3 && announced * 3 >= episodes * 2);
    assert_true(shown);
    strain_free(strain);
}

static void a_gap_keeps_the_last_answer(void **state)
{
    (void)state;
    init();
    struct ps_cleanup_sample sample = {
        .held = 50, .limit = 100, .flight = NAN, .arrived = 2, .event = true};
    ps_cleanup_push(&cleanup, 0, &sample);
    ps_cleanup_push(&cleanup, PS_SECOND, &sample);
    sample.held = NAN;
    assert_true(ps_cleanup_push(&cleanup, 2 * PS_SECOND, &sample).needed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quiet_server_needs_nothing_and_has_no_probability),
        cmocka_unit_test(a_leak_is_seen_before_it_ends),
        cmocka_unit_test(trouble_itself_is_the_basis_while_it_lasts),
        cmocka_unit_test(most_episodes_of_a_ramp_are_announced),
        cmocka_unit_test(a_gap_keeps_the_last_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
