#include "observe/custom.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"

/* ---- help for the cases */

struct place {
    struct ps_metrics *metrics;
    struct ps_custom *custom;
    char reason[512];
};

static int setup(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    struct ps_metrics_opts opts = {.shards = 4};
    *state = place;
    return place == NULL || ps_metrics_new(&place->metrics, &opts) != PS_OK ||
           ps_custom_new(&place->custom, place->metrics, 5) != PS_OK;
}

static int teardown(void **state)
{
    struct place *place = *state;
    ps_metrics_free(place->metrics);
    ps_custom_free(place->custom);
    free(place);
    return 0;
}

static struct ps_custom_definition named(const char *name, enum ps_metric_type type)
{
    return (struct ps_custom_definition){.name = ps_str_from(name), .type = type};
}

static int define(struct place *place, const struct ps_custom_definition *definition,
                  const struct ps_metric_family **out, size_t *order)
{
    return ps_custom_define(place->custom, definition, out, order, place->reason,
                            sizeof place->reason);
}

static int try_to(struct place *place, struct ps_custom_definition definition)
{
    const struct ps_metric_family *row;
    return define(place, &definition, &row, NULL);
}

/* ---- defining */

static void the_same_definition_gives_the_same_metric(void **state)
{
    struct place *place = *state;
    const struct ps_metric_family *one, *two;
    size_t order[PS_METRIC_LABELS_MAX];
    struct ps_custom_definition a = named("app_x", PS_METRIC_GAUGE);
    a.label_count = 3;
    a.labels[0] = PS_STR("zone");
    a.labels[1] = PS_STR("node");
    a.labels[2] = PS_STR("nod");
    assert_int_equal(define(place, &a, &one, order), PS_OK);
    assert_string_equal(one->labels[0], "nod");
    assert_string_equal(one->labels[2], "zone");
    assert_int_equal(order[0], 2);
    assert_int_equal(order[2], 0);
    a.labels[0] = PS_STR("node");
    a.labels[1] = PS_STR("zone");
    assert_int_equal(define(place, &a, &two, order), PS_OK);
    assert_ptr_equal(one, two);
    assert_int_equal(order[1], 0);
}

static void a_contradiction_is_told(void **state)
{
    struct place *place = *state;
    struct ps_custom_definition a = named("app_x", PS_METRIC_HISTOGRAM);
    static const double bounds[] = {1, 2}, others[] = {1, 3};
    a.bounds = bounds;
    a.bounds_count = 2;
    a.labels[0] = PS_STR("node");
    a.label_count = 1;
    assert_int_equal(try_to(place, a), PS_OK);
    struct ps_custom_definition b = a;
    b.type = PS_METRIC_GAUGE;
    assert_int_equal(try_to(place, b), PS_EBUSY);
    assert_string_equal(place->reason, "app_x is a metric of type histogram already");
    b = a;
    b.labels[0] = PS_STR("nodes");
    assert_int_equal(try_to(place, b), PS_EBUSY);
    assert_string_equal(place->reason, "app_x has other labels already: node");
    b = a;
    b.bounds = others;
    assert_int_equal(try_to(place, b), PS_EBUSY);
    b = a;
    b.unit = PS_STR("x");
    assert_int_equal(try_to(place, b), PS_EBUSY);
    b = a;
    b.bounds = NULL;
    assert_int_equal(try_to(place, b), PS_OK);
}

static void names_that_formats_would_confuse_are_refused(void **state)
{
    struct place *place = *state;
    static const struct {
        const char *name;
        enum ps_metric_type type;
    } bad[] = {
        {"", PS_METRIC_GAUGE},         {"a b", PS_METRIC_GAUGE},
        {"1a", PS_METRIC_GAUGE},       {"a_total", PS_METRIC_GAUGE},
        {"a", PS_METRIC_COUNTER},      {"a", PS_METRIC_INFO},
        {"a_bucket", PS_METRIC_GAUGE}, {"penstock_a", PS_METRIC_GAUGE},
        {"\xc3\xa4", PS_METRIC_GAUGE}, {"a", PS_METRIC_STATESET},
        {"a", PS_METRIC_UPDOWN},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        assert_int_equal(try_to(place, named(bad[i].name, bad[i].type)), PS_EINVAL);
    }
    struct ps_custom_definition nul = named("a", PS_METRIC_GAUGE);
    nul.name = PS_STR("a\0b");
    assert_int_equal(try_to(place, nul), PS_EINVAL);
    assert_int_equal(try_to(place, named("app_x_total", PS_METRIC_COUNTER)), PS_OK);
    assert_int_equal(try_to(place, named("app_x", PS_METRIC_GAUGE)), PS_EBUSY);
    assert_int_equal(try_to(place, named("app_x_info", PS_METRIC_INFO)), PS_EBUSY);
}

static void there_are_only_so_many(void **state)
{
    struct place *place = *state;
    char name[16];
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "app_%d", i);
        assert_int_equal(try_to(place, named(name, PS_METRIC_GAUGE)), PS_OK);
    }
    assert_int_equal(try_to(place, named("app_5", PS_METRIC_GAUGE)), PS_ELIMIT);
    assert_int_equal(try_to(place, named("app_0", PS_METRIC_GAUGE)), PS_OK);
}

/* ---- moving */

static void values_that_would_spoil_a_series_are_left_out(void **state)
{
    struct place *place = *state;
    const struct ps_metric_family *row;
    struct ps_custom_definition a = named("app_x_total", PS_METRIC_COUNTER);
    struct ps_metric_handle *handle;
    unsigned shard;
    assert_int_equal(define(place, &a, &row, NULL), PS_OK);
    assert_int_equal(ps_metric_any(place->metrics, row, NULL, &handle), PS_OK);
    assert_int_equal(ps_metrics_shard_get(place->metrics, &shard), PS_OK);
    const double values[] = {1.5, -1, NAN, INFINITY, 2};
    for (size_t i = 0; i < PS_ARRAY_LEN(values); i++) {
        ps_custom_move(handle, i % 2 == 0 ? shard : 0, values[i]);
    }
    const struct ps_counter *counter = PS_CONTAINER_OF(handle, struct ps_counter, handle);
    assert_true(ps_counter_read_double(place->metrics, counter) == 3.5);
    assert_null(ps_custom_objection(PS_METRIC_GAUGE, -INFINITY));
    assert_non_null(ps_custom_objection(PS_METRIC_GAUGE, NAN));
    assert_non_null(ps_custom_objection(PS_METRIC_EXPONENTIAL, INFINITY));
}

enum { THREADS = 4, ROUNDS = 2000 };

static void *press_on(void *arg)
{
    struct place *place = arg;
    for (int i = 0; i < ROUNDS; i++) {
        char name[16], reason[512];
        const struct ps_metric_family *row;
        struct ps_metric_handle *handle;
        snprintf(name, sizeof name, "app_%d", i % 5);
        struct ps_custom_definition a = named(name, PS_METRIC_EXPONENTIAL);
        PS_CHECK(ps_custom_define(place->custom, &a, &row, NULL, reason, sizeof reason) == PS_OK);
        PS_CHECK(ps_metric_any(place->metrics, row, NULL, &handle) == PS_OK);
        ps_custom_move(handle, 0, 1 + i);
        ps_metric_put(place->metrics, handle);
    }
    return NULL;
}

static int add_counts(void *context, const struct ps_metric_sample *sample)
{
    *(uint64_t *)context += sample->count;
    return PS_OK;
}

static int no_family(void *context, const struct ps_metric_family *family)
{
    (void)context;
    (void)family;
    return PS_OK;
}

static void threads_without_shards_lose_nothing(void **state)
{
    struct place *place = *state;
    pthread_t threads[THREADS];
    uint64_t seen = 0;
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, press_on, place), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    struct ps_metric_visitor visitor = {no_family, add_counts, &seen, false};
    assert_int_equal(ps_metrics_collect(place->metrics, &visitor), PS_OK);
    assert_int_equal(seen, THREADS * ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_same_definition_gives_the_same_metric, setup, teardown),
        cmocka_unit_test_setup_teardown(a_contradiction_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(names_that_formats_would_confuse_are_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(there_are_only_so_many, setup, teardown),
        cmocka_unit_test_setup_teardown(values_that_would_spoil_a_series_are_left_out, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(threads_without_shards_lose_nothing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
