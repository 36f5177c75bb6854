/* Selection finds what sorting would, and loses no value. */
#include "base/select.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"

enum { MOST = 200 };

static int by_value(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return left < right ? -1 : left > right;
}

/* Few different values when `kinds` is small: equal ones are where such code goes wrong. */
static void check(struct ps_rng *rng, size_t count, unsigned kinds)
{
    double values[MOST];
    double sorted[MOST];
    for (size_t i = 0; i < count; i++) {
        values[i] = (double)ps_rng_below(rng, kinds);
    }
    memcpy(sorted, values, sizeof sorted);
    qsort(sorted, count, sizeof *sorted, by_value);
    size_t k = ps_rng_below(rng, count);
    assert_true(ps_select(values, count, k) == sorted[k]);
    for (size_t i = 0; i < k; i++) {
        assert_true(values[i] <= values[k]);
    }
    qsort(values, count, sizeof *values, by_value);
    assert_memory_equal(values, sorted, count * sizeof *values);
}

static void what_is_selected_is_what_sorting_puts_there(void **state)
{
    (void)state;
    struct ps_rng rng = ps_rng_make(7);
    for (int i = 0; i < 20000; i++) {
        check(&rng, 1 + ps_rng_below(&rng, MOST), i % 3 == 0 ? 1000000 : 1 + i % 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_selected_is_what_sorting_puts_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
