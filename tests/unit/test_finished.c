/* test_finished - what workers tell comes to control, once, whole, and within the bound.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/finished.h"

enum { WRITERS = 4, EACH = 20000 };

static struct ps_finished_ring *ring;

static void tell(uint64_t writer, uint64_t number)
{
    const struct ps_finished finished = {
        .endpoint = (uint32_t)writer, .prompt = number, .answer = ~number};
    ps_finished_tell(ring, &finished);
}

static void they_come_in_order(void **state)
{
    (void)state;
    struct ps_finished out;
    assert_int_equal(ps_finished_new(&ring, 4), 0);
    for (uint64_t i = 0; i < 100; i++) {
        assert_false(ps_finished_take(ring, &out));
        tell(1, i);
        tell(2, i);
        assert_true(ps_finished_take(ring, &out));
        assert_int_equal(out.endpoint, 1);
        assert_true(ps_finished_take(ring, &out));
        assert_int_equal(out.endpoint, 2);
        assert_int_equal(out.prompt, i);
    }
    ps_finished_free(ring);
}

static void a_full_ring_drops_and_counts(void **state)
{
    (void)state;
    struct ps_finished out;
    assert_int_equal(ps_finished_new(&ring, 3), 0); /* four */
    for (uint64_t i = 0; i < 10; i++) {
        tell(1, i);
    }
    assert_int_equal(ps_finished_dropped(ring), 6);
    for (uint64_t i = 0; i < 4; i++) {
        assert_true(ps_finished_take(ring, &out));
        assert_int_equal(out.prompt, i);
    }
    assert_false(ps_finished_take(ring, &out));
    ps_finished_tell(NULL, &out); /* nobody wants to know */
    ps_finished_free(ring);
    ps_finished_free(NULL);
}

static void *write_many(void *arg)
{
    for (uint64_t i = 1; i <= EACH; i++) {
        tell((uint64_t)(uintptr_t)arg, i);
    }
    return NULL;
}

static void several_threads_may_tell_at_once(void **state)
{
    (void)state;
    pthread_t threads[WRITERS];
    uint64_t last[WRITERS] = {0};
    uint64_t taken = 0;
    struct ps_finished out;
    assert_int_equal(ps_finished_new(&ring, 256), 0);
    for (uintptr_t i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, (void *)i), 0);
    }
    while (taken + ps_finished_dropped(ring) < (uint64_t)WRITERS * EACH) {
        while (ps_finished_take(ring, &out)) {
            assert_true(out.answer == ~out.prompt);
            assert_true(out.prompt > last[out.endpoint]);
            last[out.endpoint] = out.prompt;
            taken++;
        }
    }
    for (size_t i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_false(ps_finished_take(ring, &out));
    assert_true(taken >= 256);
    ps_finished_free(ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_come_in_order),
        cmocka_unit_test(a_full_ring_drops_and_counts),
        cmocka_unit_test(several_threads_may_tell_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
