/* test_census - requests in flight, counted by how far they have got, from several threads.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "gateway/census.h"

static void a_request_moves_through_the_cells_and_leaves_nothing_behind(void **state)
{
    (void)state;
    struct ps_census census = {.arrived = 0};
    struct ps_census_place place = {.prompt = 0};
    struct ps_survival_count count;
    ps_census_enter(&census, &place, 300, false);
    ps_census_follow(&census, &place, 15);
    ps_census_read(&census, &count);
    assert_true(count.arrived == 300 && count.requests[0] == 1 && count.prompts[0] == 300);
    ps_census_follow(&census, &place, 40);
    ps_census_read(&census, &count);
    assert_true(count.requests[0] == 0 && count.requests[3] == 1 && count.prompts[3] == 300);
    assert_true(count.passed[0] == 1 && count.passed[2] == 1 && count.passed[3] == 0);
    ps_census_leave(&census, &place, 64, true);
    ps_census_leave(&census, &place, 64, true); /* once is enough */
    ps_census_read(&census, &count);
    assert_true(count.requests[3] == 0 && count.prompts[3] == 0 && count.ended[5] == 1);
    assert_true(count.passed[4] == 1 && count.blind == 0);
}

static void what_breaks_off_or_is_not_seen_teaches_nothing(void **state)
{
    (void)state;
    struct ps_census census = {.arrived = 0};
    struct ps_census_place broken = {.prompt = 0};
    struct ps_census_place blind = {.prompt = 0};
    struct ps_survival_count count;
    ps_census_enter(&census, &broken, 10, false);
    ps_census_enter(&census, &blind, UINT64_MAX, true);
    ps_census_read(&census, &count);
    assert_true(count.blind == 1 && count.requests[0] == 2);
    ps_census_leave(&census, &broken, 500, false);
    ps_census_leave(&census, &blind, 500, true);
    ps_census_read(&census, &count);
    assert_true(count.blind == 0);
    for (unsigned i = 0; i < PS_SURVIVAL_CELLS; i++) {
        assert_true(count.passed[i] == 0 && count.ended[i] == 0 && count.requests[i] == 0);
    }
}

enum { THREADS = 4, ROUNDS = 2000 };

static void *work(void *arg)
{
    struct ps_census *census = arg;
    struct ps_rng rng = ps_rng_make((uint64_t)(uintptr_t)&rng);
    for (int i = 0; i < ROUNDS; i++) {
        struct ps_census_place place = {.prompt = 0};
        ps_census_enter(census, &place, 100, false);
        uint64_t length = 1 + ps_rng_below(&rng, 300);
        for (uint64_t answer = 1; answer <= length; answer++) {
            ps_census_follow(census, &place, answer);
        }
        ps_census_leave(census, &place, length, true);
    }
    return NULL;
}

static void many_threads_add_up(void **state)
{
    (void)state;
    static struct ps_census census;
    pthread_t threads[THREADS];
    struct ps_survival_count count;
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, work, &census), 0);
    }
    for (int i = 0; i < 200; i++) {
        ps_census_read(&census, &count); /* at any moment */
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    ps_census_read(&census, &count);
    double ended = 0;
    for (unsigned i = 0; i < PS_SURVIVAL_CELLS; i++) {
        assert_true(count.requests[i] == 0 && count.prompts[i] == 0);
        ended += count.ended[i];
    }
    assert_true(ended == THREADS * ROUNDS && count.arrived == 100.0 * THREADS * ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_moves_through_the_cells_and_leaves_nothing_behind),
        cmocka_unit_test(what_breaks_off_or_is_not_seen_teaches_nothing),
        cmocka_unit_test(many_threads_add_up),
    };
    return cmocka_run_group_tests_name("census", tests, NULL, NULL);
}
