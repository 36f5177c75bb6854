#include "observe/metric_exponential.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/rng.h"

/* ---- help for the cases */

static struct ps_exponential read_one(_Atomic uint64_t *cells)
{
    struct ps_exponential seen = {.scale = PS_EXPONENTIAL_SCALE};
    ps_exponential_read(cells, &seen);
    return seen;
}

static int setup(void **state)
{
    ps_exponential_init();
    *state = calloc(PS_EXPONENTIAL_CELLS, sizeof(uint64_t));
    return *state == NULL;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

/* A magnitude between 2^-low and 2^high. */
static double some_value(struct ps_rng *rng, double low, double high)
{
    return exp2(low + (high - low) * ps_rng_unit(rng));
}

static double upper_of(int scale, int32_t index)
{
    return exp2(ldexp(index + 1.0, -scale));
}

static double lower_of(int scale, int32_t index)
{
    return exp2(ldexp(index, -scale));
}

/* ---- bounds */

static void powers_of_two_end_their_bucket(void **state)
{
    (void)state;
    for (int exponent = -127; exponent <= 1023; exponent++) {
        double value = ldexp(1, exponent);
        assert_int_equal(ps_exponential_index(value), exponent * 256 - 1);
        assert_int_equal(ps_exponential_index(nextafter(value, INFINITY)), exponent * 256);
    }
}

static void the_index_agrees_with_logarithms(void **state)
{
    (void)state;
    struct ps_rng rng = ps_rng_make(3);
    for (int i = 0; i < 200000; i++) {
        double value = some_value(&rng, -127, 1023.9);
        int32_t index = ps_exponential_index(value);
        assert_true(value > lower_of(8, index) * (1 - 1e-12));
        assert_true(value <= upper_of(8, index) * (1 + 1e-12));
    }
}

static void a_bucket_ends_where_it_says(void **state)
{
    (void)state;
    for (int k = 1; k <= 256; k++) {
        double edge = exp2(k / 256.0);
        assert_int_equal(ps_exponential_index(edge), k - 1);
        assert_int_equal(ps_exponential_index(nextafter(edge, 0)), k - 1);
        assert_int_equal(ps_exponential_index(nextafter(edge, 4)), k);
    }
}

/* ---- counting */

static void near_values_stay_apart(void **state)
{
    _Atomic uint64_t *cells = *state;
    ps_exponential_observe(cells, 1.0);
    ps_exponential_observe(cells, 1.01);
    ps_exponential_observe(cells, 1.5);
    struct ps_exponential seen = read_one(cells);
    assert_int_equal(seen.scale, 8);
    assert_int_equal(seen.count, 3);
    assert_true(seen.sum == 3.51);
    assert_int_equal(seen.sides[0].low, -1);
    assert_int_equal(seen.sides[0].buckets[0], 1);
    assert_int_equal(seen.sides[0].buckets[seen.sides[0].count - 1], 1);
}

static void zero_and_nearly_zero_are_zero(void **state)
{
    _Atomic uint64_t *cells = *state;
    ps_exponential_observe(cells, 0);
    ps_exponential_observe(cells, -0.0);
    ps_exponential_observe(cells, 0x1p-128);
    ps_exponential_observe(cells, -0x1p-1074);
    ps_exponential_observe(cells, 0x1.8p-128);
    struct ps_exponential seen = read_one(cells);
    assert_int_equal(seen.zeros, 4);
    assert_int_equal(seen.count, 5);
}

static void the_widest_range_fits(void **state)
{
    _Atomic uint64_t *cells = *state;
    ps_exponential_observe(cells, 0x1.1p-128);
    ps_exponential_observe(cells, 0x1.fffffffffffffp1023);
    ps_exponential_observe(cells, -0x1.1p-128);
    ps_exponential_observe(cells, -0x1.fffffffffffffp1023);
    struct ps_exponential seen = read_one(cells);
    assert_true(seen.scale >= -4 && seen.scale < 0);
    assert_int_equal(seen.count, 4);
    assert_int_equal(seen.sides[0].buckets[0], 1);
    assert_int_equal(seen.sides[1].buckets[seen.sides[1].count - 1], 1);
}

/* Whatever comes in whatever order: each bucket holds what lies between its bounds. */
static void every_count_is_where_it_belongs(void **state)
{
    _Atomic uint64_t *cells = *state;
    struct ps_rng rng = ps_rng_make(17);
    for (int round = 0; round < 60; round++) {
        enum { VALUES = 3000 };
        static double values[VALUES];
        double low = -40 + 80 * ps_rng_unit(&rng);
        double high = low + 30 * ps_rng_unit(&rng);
        for (size_t i = 0; i < PS_EXPONENTIAL_CELLS; i++) {
            cells[i] = 0;
        }
        for (size_t i = 0; i < VALUES; i++) {
            values[i] = some_value(&rng, low, high) * (ps_rng_below(&rng, 4) == 0 ? -1 : 1);
            ps_exponential_observe(cells, values[i]);
        }
        struct ps_exponential seen = read_one(cells);
        assert_int_equal(seen.count, VALUES);
        for (size_t i = 0; i < VALUES; i++) {
            struct ps_exponential_side *side = &seen.sides[values[i] < 0];
            int32_t index = ps_exponential_index(fabs(values[i])) >> (8 - seen.scale);
            assert_true(index >= side->low && index < side->low + (int32_t)side->count);
            assert_true(side->buckets[index - side->low]-- > 0);
            assert_true(fabs(values[i]) <= upper_of(seen.scale, index) * (1 + 1e-12));
            assert_true(fabs(values[i]) > lower_of(seen.scale, index) * (1 - 1e-12));
        }
    }
}

static void parts_add_up_at_the_coarser_scale(void **state)
{
    _Atomic uint64_t *cells = *state;
    _Atomic uint64_t *other = calloc(PS_EXPONENTIAL_CELLS, sizeof(uint64_t));
    assert_non_null(other);
    for (int i = 0; i < 100; i++) {
        ps_exponential_observe(cells, 0.001 * (1 + i / 1000.0));
        ps_exponential_observe(other, 1000 + i);
        ps_exponential_observe(other, i);
    }
    struct ps_exponential seen = read_one(cells);
    ps_exponential_read(other, &seen);
    assert_int_equal(seen.count, 300);
    assert_int_equal(seen.zeros, 1);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < seen.sides[0].count; i++) {
        sum += seen.sides[0].buckets[i];
    }
    assert_int_equal(sum, 299);
    assert_true(seen.sides[0].count <= PS_EXPONENTIAL_ABOVE);
    free(other);
}

static void fixed_bounds_lose_nothing(void **state)
{
    _Atomic uint64_t *cells = *state;
    struct ps_rng rng = ps_rng_make(5);
    size_t count;
    static const struct ps_metric_family row = {.type = PS_METRIC_EXPONENTIAL};
    const double *bounds = ps_metric_bounds(&row, &count);
    uint64_t plain[PS_EXPONENTIAL_BOUNDS + 1] = {0};
    uint64_t spread[PS_EXPONENTIAL_BOUNDS + 1];
    assert_int_equal(count, PS_EXPONENTIAL_BOUNDS);
    for (int i = 0; i < 20000; i++) {
        double value = i % 100 == 0  ? 0
                       : i % 50 == 0 ? -some_value(&rng, -3, 3)
                       : i % 10 == 0 ? bounds[ps_rng_below(&rng, count)]
                                     : some_value(&rng, -25, 45);
        ps_exponential_observe(cells, value);
        plain[ps_metric_bucket(bounds, count, value)]++;
    }
    struct ps_exponential seen = read_one(cells);
    assert_true(seen.scale >= -1);
    ps_exponential_spread(&seen, spread);
    assert_memory_equal(plain, spread, sizeof plain);
}

/* ---- threads */

enum { ROUNDS = 40000 };

struct pair {
    _Atomic uint64_t *cells;
    atomic_bool stop;
    uint64_t last;
};

static void *watch(void *arg)
{
    struct pair *pair = arg;
    while (!atomic_load(&pair->stop)) {
        struct ps_exponential seen = read_one(pair->cells);
        PS_CHECK(seen.count >= pair->last);
        pair->last = seen.count;
    }
    return NULL;
}

/* Ranges that widen all the time, so that many a read falls into a merge. */
static void a_read_never_sees_half_a_merge(void **state)
{
    struct pair pair = {.cells = *state};
    pthread_t thread;
    struct ps_rng rng = ps_rng_make(1);
    assert_int_equal(pthread_create(&thread, NULL, watch, &pair), 0);
    for (int i = 0; i < ROUNDS; i++) {
        double reach = 0.001 * i;
        ps_exponential_observe(pair.cells, some_value(&rng, -reach, reach));
    }
    atomic_store(&pair.stop, true);
    pthread_join(thread, NULL);
    assert_int_equal(read_one(pair.cells).count, ROUNDS);
}

static void what_others_counted_is_added(void **state)
{
    _Atomic uint64_t *cells = *state;
    struct ps_exponential sum = {.scale = PS_EXPONENTIAL_SCALE};
    ps_exponential_observe_many(cells, 1.5, 3);
    assert_true(ps_exponential_add(cells, 20, 0, 613442, 2)); /* 1.5 at scale 20 */
    assert_true(ps_exponential_add(cells, 0, 1, 3, 5));       /* (-16, -8] */
    assert_true(ps_exponential_add(cells, 3, 0, -1100, 7));   /* below what counts as zero */
    ps_exponential_add_rest(cells, 1, 4.5);
    ps_exponential_read(cells, &sum);
    assert_int_equal(sum.scale, 0);
    assert_int_equal(sum.zeros, 8);
    assert_int_equal(sum.count, 18);
    assert_int_equal(sum.sides[0].low, 0);
    assert_int_equal(sum.sides[0].buckets[0], 5);
    assert_int_equal(sum.sides[1].low, 3);
    assert_int_equal(sum.sides[1].buckets[0], 5);
    assert_true(sum.sum == 9);
    assert_false(ps_exponential_add(cells, 21, 0, 0, 1));
    assert_false(ps_exponential_add(cells, -5, 0, 0, 1));
    assert_false(ps_exponential_add(cells, 0, 0, 1024, 1));
    assert_false(ps_exponential_add(cells, 20, 0, INT32_MIN, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(powers_of_two_end_their_bucket, setup, teardown),
        cmocka_unit_test_setup_teardown(the_index_agrees_with_logarithms, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bucket_ends_where_it_says, setup, teardown),
        cmocka_unit_test_setup_teardown(near_values_stay_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(zero_and_nearly_zero_are_zero, setup, teardown),
        cmocka_unit_test_setup_teardown(what_others_counted_is_added, setup, teardown),
        cmocka_unit_test_setup_teardown(the_widest_range_fits, setup, teardown),
        cmocka_unit_test_setup_teardown(every_count_is_where_it_belongs, setup, teardown),
        cmocka_unit_test_setup_teardown(parts_add_up_at_the_coarser_scale, setup, teardown),
        cmocka_unit_test_setup_teardown(fixed_bounds_lose_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_read_never_sees_half_a_merge, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
