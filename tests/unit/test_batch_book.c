/* test_batch_book - models and shapes are told apart, within a bound.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gpu/batch_book.h"

static struct ps_batch_book book;

static int set_up(void **state)
{
    (void)state;
    ps_batch_book_init(&book);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ps_batch_book_fini(&book);
    return 0;
}

static void a_pair_is_found_again(void **state)
{
    (void)state;
    struct ps_batch_entry *one = ps_batch_book_at(&book, PS_STR("a"), PS_STR("p64"), 1);
    struct ps_batch_entry *any = ps_batch_book_at(&book, PS_STR("a"), ps_batch_shape_any, 2);
    assert_true(one != any);
    assert_ptr_equal(ps_batch_book_at(&book, PS_STR("a"), PS_STR("p64"), 3), one);
    assert_ptr_equal(ps_batch_book_find(&book, PS_STR("a"), PS_STR("")), any);
    assert_ptr_equal(ps_batch_book_find(&book, PS_STR(""), PS_STR("p64")), one);
    ps_batch_book_at(&book, PS_STR("b"), ps_batch_shape_any, 4);
    assert_null(ps_batch_book_find(&book, PS_STR(""), PS_STR("p64"))); /* of which model? */
    assert_null(ps_batch_book_find(&book, PS_STR("a"), PS_STR("p256")));
}

static void a_full_book_forgets_what_was_not_used_for_longest(void **state)
{
    (void)state;
    char name[32];
    for (int i = 0; i < PS_BATCH_BOOK_MOST; i++) {
        (void)snprintf(name, sizeof name, "m%d", i);
        assert_non_null(ps_batch_book_at(&book, ps_str_from(name), PS_STR("any"), 100 + i));
    }
    ps_batch_book_at(&book, PS_STR("m0"), PS_STR("any"), 1000);
    ps_batch_book_at(&book, PS_STR("new"), PS_STR("any"), 1001);
    assert_int_equal(book.count, PS_BATCH_BOOK_MOST);
    assert_non_null(ps_batch_book_find(&book, PS_STR("m0"), PS_STR("any")));
    assert_non_null(ps_batch_book_find(&book, PS_STR("new"), PS_STR("any")));
    assert_null(ps_batch_book_find(&book, PS_STR("m1"), PS_STR("any")));
}

static void names_are_bounded_and_printable(void **state)
{
    (void)state;
    char longer[500];
    memset(longer, '\x01', sizeof longer);
    struct ps_batch_entry *entry =
        ps_batch_book_at(&book, (struct ps_str){longer, sizeof longer}, PS_STR("any"), 1);
    assert_int_equal(strlen(entry->model), PS_BATCH_BOOK_NAME - 1);
    assert_int_equal(entry->model[0], '?');
    assert_ptr_equal(
        ps_batch_book_find(&book, (struct ps_str){longer, sizeof longer}, PS_STR("any")), entry);
}

static void shapes_are_powers_of_four(void **state)
{
    (void)state;
    char shape[PS_BATCH_BOOK_SHAPE];
    ps_batch_shape_write(shape, 1000, 64);
    assert_string_equal(shape, "p1024-a64");
    ps_batch_shape_write(shape, 1025, 65);
    assert_string_equal(shape, "p4096-a256");
    ps_batch_shape_write(shape, 0, 0);
    assert_string_equal(shape, "p16");
    ps_batch_shape_write(shape, UINT64_MAX, UINT64_MAX);
    assert_true(strlen(shape) < sizeof shape);
    assert_int_equal(ps_batch_shape_answer(100), 128);
    assert_int_equal(ps_batch_shape_answer(0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_pair_is_found_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_book_forgets_what_was_not_used_for_longest, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(names_are_bounded_and_printable, set_up, tear_down),
        cmocka_unit_test(shapes_are_powers_of_four),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
