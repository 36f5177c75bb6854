/* test_redis_breaker - when a node is left alone, for how long, and who tries it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gateway/redis_breaker.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define NOW PS_HOUR

static const struct ps_redis_breaker_opts opts = {.failures = 5,
                                                  .stall = 100 * PS_MILLISECOND,
                                                  .backoff = 200 * PS_MILLISECOND,
                                                  .backoff_max = 10 * PS_SECOND};

static void a_few_late_replies_say_nothing(void **state)
{
    (void)state;
    struct ps_redis_breaker breaker = {.state = PS_REDIS_CLOSED};
    for (int i = 0; i < 100; i++) { /* many at once */
        assert_false(ps_redis_breaker_fail(&breaker, &opts, 0, NOW));
    }
    ps_redis_breaker_succeed(&breaker);
    assert_false(ps_redis_breaker_fail(&breaker, &opts, 0, NOW + PS_SECOND)); /* a long time, few */
    assert_false(ps_redis_breaker_fail(&breaker, &opts, 0, NOW + 3 * PS_SECOND));
    assert_int_equal(ps_redis_breaker_state(&breaker), PS_REDIS_CLOSED);
    assert_int_equal(ps_redis_breaker_retry_at(&breaker), 0);
}

static void nothing_but_late_replies_for_a_while_opens_it(void **state)
{
    (void)state;
    struct ps_redis_breaker breaker = {.state = PS_REDIS_CLOSED};
    for (int i = 0; i < 10; i++) {
        assert_false(ps_redis_breaker_fail(&breaker, &opts, 0, NOW + i * 10 * PS_MILLISECOND));
    }
    assert_true(ps_redis_breaker_fail(&breaker, &opts, 0, NOW + 100 * PS_MILLISECOND));
    assert_false(ps_redis_breaker_fail(&breaker, &opts, 0, NOW + 101 * PS_MILLISECOND));
    assert_string_equal(ps_redis_state_text(ps_redis_breaker_state(&breaker)), "down");
}

static void one_probes_and_the_time_out_doubles(void **state)
{
    (void)state;
    struct ps_redis_breaker breaker = {.state = PS_REDIS_CLOSED};
    ps_time now = NOW;
    ps_span span = opts.backoff;
    assert_true(ps_redis_breaker_open(&breaker, &opts, 0, now));
    assert_false(ps_redis_breaker_open(&breaker, &opts, 0, now));
    for (int i = 0; i < 10; i++) {
        ps_time retry_at = ps_redis_breaker_retry_at(&breaker);
        assert_true(retry_at >= now + span * 3 / 4 && retry_at <= now + span * 5 / 4);
        assert_false(ps_redis_breaker_begin_probe(&breaker, retry_at - 1));
        now = retry_at;
        assert_true(ps_redis_breaker_begin_probe(&breaker, now));
        assert_false(ps_redis_breaker_begin_probe(&breaker, now));
        assert_string_equal(ps_redis_state_text(ps_redis_breaker_state(&breaker)), "probing");
        assert_false(ps_redis_breaker_end_probe(&breaker, &opts, false, UINT64_MAX, now));
        span = 2 * span < opts.backoff_max ? 2 * span : opts.backoff_max;
    }
    now = ps_redis_breaker_retry_at(&breaker);
    assert_true(ps_redis_breaker_begin_probe(&breaker, now));
    assert_true(ps_redis_breaker_end_probe(&breaker, &opts, true, 0, now));
    assert_string_equal(ps_redis_state_text(ps_redis_breaker_state(&breaker)), "up");
    assert_int_equal(breaker.opened, 1);
}

static void a_node_that_fails_again_soon_waits_longer(void **state)
{
    (void)state;
    struct ps_redis_breaker breaker = {.state = PS_REDIS_CLOSED};
    ps_time now = NOW;
    ps_time waits[3];
    for (int i = 0; i < 3; i++) {
        assert_true(ps_redis_breaker_open(&breaker, &opts, 0, now));
        waits[i] = ps_redis_breaker_retry_at(&breaker) - now;
        now = ps_redis_breaker_retry_at(&breaker);
        assert_true(ps_redis_breaker_begin_probe(&breaker, now));
        assert_true(ps_redis_breaker_end_probe(&breaker, &opts, true, 0, now));
        now += PS_SECOND;
    }
    assert_int_equal(waits[1], 2 * waits[0]);
    assert_int_equal(waits[2], 4 * waits[0]);
    now += opts.backoff_max;
    assert_true(ps_redis_breaker_open(&breaker, &opts, 0, now));
    assert_int_equal(ps_redis_breaker_retry_at(&breaker) - now, waits[0]);
}

static void a_dropped_probe_is_made_by_another(void **state)
{
    (void)state;
    struct ps_redis_breaker breaker = {.state = PS_REDIS_CLOSED};
    assert_true(ps_redis_breaker_open(&breaker, &opts, 0, NOW));
    ps_time now = ps_redis_breaker_retry_at(&breaker);
    assert_true(ps_redis_breaker_begin_probe(&breaker, now));
    ps_redis_breaker_drop_probe(&breaker, now);
    assert_true(ps_redis_breaker_begin_probe(&breaker, now));
}

/* --- threads ---------------------------------------------------------------------------------- */

struct crowd {
    struct ps_redis_breaker breaker;
    _Atomic int opened;
    _Atomic int closed;
    pthread_barrier_t barrier;
};

static void *one_of_many(void *arg)
{
    struct crowd *crowd = arg;
    ps_time now = NOW;
    for (int round = 0; round < 200; round++) {
        now += PS_MINUTE;
        pthread_barrier_wait(&crowd->barrier);
        crowd->opened += ps_redis_breaker_open(&crowd->breaker, &opts, 0, now);
        pthread_barrier_wait(&crowd->barrier);
        if (ps_redis_breaker_begin_probe(&crowd->breaker, now + PS_SECOND)) {
            crowd->closed +=
                ps_redis_breaker_end_probe(&crowd->breaker, &opts, true, 0, now + PS_SECOND);
        }
    }
    return NULL;
}

static void of_many_threads_one_hears_of_a_change(void **state)
{
    (void)state;
    struct crowd crowd = {.opened = 0};
    pthread_t threads[4];
    pthread_barrier_init(&crowd.barrier, NULL, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, one_of_many, &crowd), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&crowd.barrier);
    assert_int_equal(crowd.opened, 200);
    assert_int_equal(crowd.closed, 200);
    assert_int_equal(crowd.breaker.opened, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_few_late_replies_say_nothing),
        cmocka_unit_test(nothing_but_late_replies_for_a_while_opens_it),
        cmocka_unit_test(one_probes_and_the_time_out_doubles),
        cmocka_unit_test(a_node_that_fails_again_soon_waits_longer),
        cmocka_unit_test(a_dropped_probe_is_made_by_another),
        cmocka_unit_test(of_many_threads_one_hears_of_a_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
