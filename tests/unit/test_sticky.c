/* sticky - what is learned, replaced, booked, and forgotten in time. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "gateway/endpoint.h"
#include "gateway/sticky.h"

enum { CAPACITY = 8 };

struct fixture {
    struct ps_sticky *sticky;
    struct ps_endpoint *a;
    struct ps_endpoint *b;
};

static int setup(void **state)
{
    struct fixture *fix = calloc(1, sizeof *fix);
    assert_non_null(fix);
    assert_int_equal(ps_sticky_new(&fix->sticky, CAPACITY), PS_OK);
    assert_int_equal(ps_endpoint_new(&fix->a, "http://127.0.0.1:1"), PS_OK);
    assert_int_equal(ps_endpoint_new(&fix->b, "http://127.0.0.1:2"), PS_OK);
    *state = fix;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fix = *state;
    ps_sticky_free(fix->sticky);
    assert_int_equal(atomic_load(&fix->a->tokens), 0);
    assert_int_equal(atomic_load(&fix->b->tokens), 0);
    ps_endpoint_unref(fix->a);
    ps_endpoint_unref(fix->b);
    free(fix);
    return 0;
}

static struct ps_sticky_key job(int n)
{
    char text[16];
    snprintf(text, sizeof text, "job-%d", n);
    return ps_sticky_key(PS_STICKY_KEY_JOB, ps_str_from(text));
}

static void keys_tell_kinds_and_owners_apart(void **state)
{
    (void)state;
    struct ps_sticky_key keys[] = {
        ps_sticky_key(PS_STICKY_KEY_CLIENT, PS_STR("x")),
        ps_sticky_key(PS_STICKY_KEY_JOB, PS_STR("x")),
        ps_sticky_key(PS_STICKY_KEY_PEER, PS_STR("x")),
        ps_sticky_key_file(PS_STR("output"), PS_STR(""), PS_STR("x")),
        ps_sticky_key_file(PS_STR("temp"), PS_STR(""), PS_STR("x")),
        ps_sticky_key_file(PS_STR("output"), PS_STR("sub"), PS_STR("x")),
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(keys); i++) {
        assert_true(ps_sticky_key_is_set(keys[i]));
        for (size_t j = 0; j < i; j++) {
            assert_false(keys[i].a == keys[j].a && keys[i].b == keys[j].b);
        }
    }
    struct ps_sticky_key mine = ps_sticky_key_join(keys[2], keys[3]);
    struct ps_sticky_key yours = ps_sticky_key_join(keys[1], keys[3]);
    assert_true(mine.a != yours.a);
    struct ps_sticky_key none = ps_sticky_key(PS_STICKY_KEY_JOB, PS_STR(""));
    assert_false(ps_sticky_key_is_set(none));
    assert_false(ps_sticky_key_is_set(ps_sticky_key_join(keys[0], none)));
    /* The gateways of one house agree without talking. */
    assert_int_equal(keys[0].a, ps_sticky_key(PS_STICKY_KEY_CLIENT, PS_STR("x")).a);
}

static void what_was_learned_is_found_until_it_is_old(void **state)
{
    struct fixture *fix = *state;
    ps_sticky_learn(fix->sticky, job(1), fix->a, 0, 0);
    assert_int_equal(ps_sticky_find(fix->sticky, job(1), 1), fix->a->id);
    assert_int_equal(ps_sticky_find(fix->sticky, job(2), 1), 0);
    ps_sticky_learn(fix->sticky, job(1), fix->b, 0, PS_HOUR);
    assert_int_equal(ps_sticky_find(fix->sticky, job(1), PS_HOUR), fix->b->id);
    assert_int_equal(ps_sticky_count(fix->sticky), 1);
    assert_int_equal(ps_sticky_find(fix->sticky, job(1), PS_HOUR + PS_STICKY_LIFE - 1), fix->b->id);
    assert_int_equal(ps_sticky_find(fix->sticky, job(1), PS_HOUR + PS_STICKY_LIFE), 0);
    assert_int_equal(ps_sticky_count(fix->sticky), 0);
    struct ps_sticky_key none = {0, 0};
    ps_sticky_learn(fix->sticky, none, fix->a, 5, 0);
    assert_int_equal(ps_sticky_count(fix->sticky), 0);
}

static void the_oldest_make_room(void **state)
{
    struct fixture *fix = *state;
    for (int i = 0; i < 3 * CAPACITY; i++) {
        ps_sticky_learn(fix->sticky, job(i), fix->a, 1, i);
    }
    assert_int_equal(ps_sticky_count(fix->sticky), CAPACITY);
    assert_int_equal(atomic_load(&fix->a->tokens), CAPACITY);
    for (int i = 0; i < 3 * CAPACITY; i++) {
        bool kept = i >= 2 * CAPACITY;
        assert_int_equal(ps_sticky_find(fix->sticky, job(i), 100), kept ? fix->a->id : 0);
    }
}

static void work_counts_until_it_is_done_or_too_old(void **state)
{
    struct fixture *fix = *state;
    ps_sticky_learn(fix->sticky, job(1), fix->a, 100, 0);
    ps_sticky_learn(fix->sticky, job(2), fix->a, 30, PS_MINUTE);
    assert_int_equal(atomic_load(&fix->a->tokens), 130);
    ps_sticky_learn(fix->sticky, job(2), fix->a, 0, 2 * PS_MINUTE); /* its history was there */
    assert_int_equal(atomic_load(&fix->a->tokens), 100);
    assert_int_equal(ps_sticky_find(fix->sticky, job(2), PS_STICKY_WORK), fix->a->id);
    assert_int_equal(atomic_load(&fix->a->tokens), 0);
    assert_int_equal(ps_sticky_find(fix->sticky, job(1), PS_STICKY_WORK), fix->a->id);
}

static void *hammer(void *arg)
{
    struct fixture *fix = arg;
    for (int i = 0; i < 2000; i++) {
        ps_sticky_learn(fix->sticky, job(i % 13), i % 2 == 0 ? fix->a : fix->b, 1, i);
        uint32_t id = ps_sticky_find(fix->sticky, job(i % 7), i);
        PS_CHECK(id == 0 || id == fix->a->id || id == fix->b->id);
    }
    return NULL;
}

static void any_thread_may_learn_and_ask(void **state)
{
    struct fixture *fix = *state;
    pthread_t threads[4];
    for (size_t i = 0; i < PS_ARRAY_LEN(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, fix), 0);
    }
    for (size_t i = 0; i < PS_ARRAY_LEN(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(ps_sticky_count(fix->sticky), CAPACITY);
    assert_int_equal(atomic_load(&fix->a->tokens) + atomic_load(&fix->b->tokens), CAPACITY);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(keys_tell_kinds_and_owners_apart),
        CASE(what_was_learned_is_found_until_it_is_old),
        CASE(the_oldest_make_room),
        CASE(work_counts_until_it_is_done_or_too_old),
        CASE(any_thread_may_learn_and_ask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
