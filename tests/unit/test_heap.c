/* The heap of deadlines. */
#include "base/heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"

static void an_empty_heap_has_no_first(void **state)
{
    struct ps_heap heap = {0};
    struct ps_heap_node node = {0};
    (void)state;
    assert_null(ps_heap_first(&heap));
    assert_true(ps_heap_is_sane(&heap));
    ps_heap_remove(&heap, &node);
    assert_false(ps_heap_holds(&node));
    ps_heap_fini(&heap);
}

static void putting_a_node_again_moves_it(void **state)
{
    struct ps_heap heap = {0};
    struct ps_heap_node a = {0};
    struct ps_heap_node b = {0};
    (void)state;
    assert_int_equal(ps_heap_put(&heap, &a, 10), PS_OK);
    assert_int_equal(ps_heap_put(&heap, &b, 20), PS_OK);
    assert_ptr_equal(ps_heap_first(&heap), &a);
    assert_int_equal(ps_heap_put(&heap, &a, 30), PS_OK);
    assert_ptr_equal(ps_heap_first(&heap), &b);
    assert_int_equal(heap.count, 2);
    ps_heap_remove(&heap, &b);
    ps_heap_remove(&heap, &b);
    assert_ptr_equal(ps_heap_first(&heap), &a);
    ps_heap_fini(&heap);
}

static void random_operations_keep_the_order(void **state)
{
    enum { NODES = 300, STEPS = 20000 };
    static struct ps_heap_node nodes[NODES];
    struct ps_heap heap = {0};
    struct ps_rng rng = ps_rng_make(20260102);
    size_t in = 0;
    (void)state;
    for (int step = 0; step < STEPS; step++) {
        struct ps_heap_node *node = &nodes[ps_rng_below(&rng, NODES)];
        bool held = ps_heap_holds(node);
        if (ps_rng_below(&rng, 5) < 3) {
            int64_t key = (int64_t)ps_rng_below(&rng, 1000) - 500;
            assert_int_equal(ps_heap_put(&heap, node, key), PS_OK);
            in += held ? 0 : 1;
        } else {
            ps_heap_remove(&heap, node);
            in -= held ? 1 : 0;
        }
        assert_int_equal(heap.count, in);
        assert_true(ps_heap_is_sane(&heap));
    }
    int64_t last = INT64_MIN;
    while (heap.count > 0) {
        struct ps_heap_node *first = ps_heap_first(&heap);
        assert_true(first->key >= last);
        last = first->key;
        ps_heap_remove(&heap, first);
        assert_false(ps_heap_holds(first));
    }
    ps_heap_fini(&heap);
}

static void a_broken_heap_is_not_sane(void **state)
{
    struct ps_heap heap = {0};
    struct ps_heap_node nodes[3] = {{0}};
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ps_heap_put(&heap, &nodes[i], i), PS_OK);
    }
    nodes[0].key = 5;
    assert_false(ps_heap_is_sane(&heap));
    ps_heap_fini(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_heap_has_no_first),
        cmocka_unit_test(putting_a_node_again_moves_it),
        cmocka_unit_test(random_operations_keep_the_order),
        cmocka_unit_test(a_broken_heap_is_not_sane),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
