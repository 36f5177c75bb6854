/* Bytes in flight and the budget that bounds them. */
#include "base/chunk.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"

static void a_budget_is_exact_and_asks_its_parents(void **state)
{
    struct ps_budget whole = {.limit = 100};
    struct ps_budget share = {.limit = 60, .parent = &whole};
    struct ps_budget other = {.limit = 60, .parent = &whole};
    (void)state;
    assert_int_equal(ps_budget_take(&share, 60), PS_OK);
    assert_int_equal(ps_budget_take(&share, 1), PS_ELIMIT);
    assert_int_equal(ps_budget_take(&other, 41), PS_ELIMIT);
    assert_int_equal(other.used, 0);
    assert_int_equal(whole.used, 60);
    assert_int_equal(ps_budget_take(&other, 40), PS_OK);
    ps_budget_give(&share, 60);
    assert_int_equal(whole.used, 40);
    ps_budget_give(&other, 40);
    assert_int_equal(whole.used, 0);
    assert_int_equal(ps_budget_take(NULL, SIZE_MAX), PS_OK);
    ps_budget_give(NULL, SIZE_MAX);
}

static void a_refused_append_changes_nothing(void **state)
{
    struct ps_budget budget = {.limit = 5};
    struct ps_chunks chunks = ps_chunks_make(&budget);
    struct ps_str view;
    (void)state;
    assert_int_equal(ps_chunks_append(&chunks, PS_STR("")), PS_OK);
    assert_null(chunks.first);
    assert_int_equal(ps_chunks_append(&chunks, PS_STR("abc")), PS_OK);
    assert_int_equal(ps_chunks_append(&chunks, PS_STR("def")), PS_ELIMIT);
    assert_int_equal(chunks.len, 3);
    assert_int_equal(budget.used, 3);
    assert_int_equal(ps_chunks_peek(&chunks, 0, &view, 1), 1);
    assert_true(ps_str_eq(view, PS_STR("abc")));
    ps_chunks_fini(&chunks);
    assert_int_equal(budget.used, 0);
    assert_null(chunks.first);
}

/* The queue as one piece, from `offset` on. */
static size_t flatten(const struct ps_chunks *chunks, size_t offset, char *out)
{
    struct ps_str views[256];
    size_t count = ps_chunks_peek(chunks, offset, views, 256);
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        assert_true(views[i].len > 0);
        memcpy(out + len, views[i].ptr, views[i].len);
        len += views[i].len;
    }
    return len;
}

static void random_operations_agree_with_a_plain_array(void **state)
{
    enum { LIMIT = 100000, PIECE = 40000, STEPS = 3000 };
    static char model[LIMIT];
    static char seen[LIMIT];
    static char piece[PIECE];
    struct ps_budget budget = {.limit = LIMIT};
    struct ps_chunks chunks = ps_chunks_make(&budget);
    struct ps_rng rng = ps_rng_make(20260103);
    size_t len = 0;
    (void)state;
    for (int step = 0; step < STEPS; step++) {
        size_t most = ps_rng_below(&rng, 4) == 0 ? PIECE : 700;
        size_t n = (size_t)ps_rng_below(&rng, most);
        for (size_t i = 0; i < n; i++) {
            piece[i] = (char)ps_rng_next(&rng);
        }
        if (ps_rng_below(&rng, 2) == 0) {
            int err = ps_chunks_append(&chunks, (struct ps_str){piece, n});
            assert_int_equal(err, len + n > LIMIT ? PS_ELIMIT : PS_OK);
            memcpy(model + len, piece, err == PS_OK ? n : 0);
            len += err == PS_OK ? n : 0;
        } else {
            n = n < len ? n : len;
            ps_chunks_drop(&chunks, n);
            memmove(model, model + n, len - n);
            len -= n;
        }
        size_t offset = (size_t)ps_rng_below(&rng, len + 1);
        assert_int_equal(chunks.len, len);
        assert_int_equal(budget.used, len);
        assert_int_equal(flatten(&chunks, offset, seen), len - offset);
        assert_memory_equal(seen, model + offset, len - offset);
    }
    ps_chunks_fini(&chunks);
    assert_int_equal(budget.used, 0);
}

static void peek_fills_no_more_than_asked(void **state)
{
    static char body[50000];
    struct ps_chunks chunks = ps_chunks_make(NULL);
    struct ps_str views[2];
    (void)state;
    assert_int_equal(ps_chunks_append(&chunks, (struct ps_str){body, sizeof body}), PS_OK);
    assert_int_equal(ps_chunks_peek(&chunks, 0, views, 2), 2);
    assert_int_equal(ps_chunks_peek(&chunks, 0, views, 0), 0);
    assert_int_equal(ps_chunks_peek(&chunks, sizeof body, views, 2), 0);
    ps_chunks_fini(&chunks);
}

enum { THREADS = 4, ROUNDS = 20000, PORTION = 3 };

static void *take_and_give(void *arg)
{
    struct ps_budget *budget = arg;
    for (int i = 0; i < ROUNDS; i++) {
        if (ps_budget_take(budget, PORTION) == PS_OK) {
            ps_budget_give(budget, PORTION);
        }
    }
    return NULL;
}

static void a_budget_returns_to_zero_when_threads_share_it(void **state)
{
    struct ps_budget whole = {.limit = 5};
    struct ps_budget share = {.limit = 100, .parent = &whole};
    pthread_t threads[THREADS];
    (void)state;
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, &share), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(share.used, 0);
    assert_int_equal(whole.used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_budget_is_exact_and_asks_its_parents),
        cmocka_unit_test(a_refused_append_changes_nothing),
        cmocka_unit_test(random_operations_agree_with_a_plain_array),
        cmocka_unit_test(peek_fills_no_more_than_asked),
        cmocka_unit_test(a_budget_returns_to_zero_when_threads_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
