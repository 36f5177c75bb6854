#include "observe/metric_memo.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/rng.h"
#include "observe/metric_exemplar.h"
#include "observe/metric_sketch.h"

enum { REQUESTS, SMALL, PLAIN, WAIT };

static const struct ps_metric_family rows[] = {
    [REQUESTS] = {.name = "penstock_test_requests_total",
                  .type = PS_METRIC_COUNTER,
                  .help = "Requests",
                  .labels = {"route", "code"},
                  .exemplars = true},
    [SMALL] = {.name = "penstock_test_small_total",
               .type = PS_METRIC_COUNTER,
               .help = "Few series",
               .labels = {"key"},
               .max_series = 3},
    [PLAIN] = {.name = "penstock_test_plain_total", .type = PS_METRIC_COUNTER, .help = "No labels"},
    [WAIT] = {.name = "penstock_test_wait_seconds",
              .type = PS_METRIC_EXPONENTIAL,
              .help = "Waiting",
              .unit = "seconds",
              .exemplars = true},
    {0},
};

/* ---- help for the cases */

static struct ps_metrics *make(void)
{
    struct ps_metrics *metrics = NULL;
    struct ps_metrics_opts opts = {.shards = 8};
    assert_int_equal(ps_metrics_new(&metrics, &opts), PS_OK);
    assert_int_equal(ps_metrics_declare(metrics, rows, NULL), PS_OK);
    return metrics;
}

static struct ps_metric_memo *make_memo(struct ps_metrics *metrics, size_t entries)
{
    struct ps_metric_memo *memo = NULL;
    assert_int_equal(ps_metric_memo_new(&memo, metrics, entries), PS_OK);
    return memo;
}

static struct ps_counter *find(struct ps_metric_memo *memo, int row, struct ps_str a,
                               struct ps_str b)
{
    struct ps_counter *counter = NULL;
    assert_int_equal(ps_metric_memo_counter(memo, &rows[row], PS_LABELS(a, b), &counter), PS_OK);
    return counter;
}

static struct ps_counter *ask(struct ps_metrics *metrics, int row, struct ps_str a, struct ps_str b)
{
    struct ps_counter *counter = NULL;
    assert_int_equal(ps_metric_counter(metrics, &rows[row], PS_LABELS(a, b), &counter), PS_OK);
    ps_metric_put(metrics, &counter->handle);
    return counter;
}

/* Finds one sample by name and first label. */
struct wanted {
    const char *name;
    struct ps_str first;
    struct ps_metric_sample sample;
    struct ps_exemplar exemplars[PS_METRIC_BOUNDS_MAX + 1];
    bool found;
};

static int no_family(void *context, const struct ps_metric_family *family)
{
    (void)context;
    (void)family;
    return PS_OK;
}

static int look_at(void *context, const struct ps_metric_sample *sample)
{
    struct wanted *wanted = context;
    if (strcmp(sample->family->name, wanted->name) == 0 &&
        (sample->family->labels[0] == NULL || ps_str_eq(sample->labels[0], wanted->first))) {
        wanted->sample = *sample;
        wanted->found = true;
        if (sample->exemplars != NULL) {
            size_t count;
            (void)ps_metric_bounds(sample->family, &count);
            memcpy(wanted->exemplars, sample->exemplars, (count + 1) * sizeof *sample->exemplars);
        }
    }
    return PS_OK;
}

static double value_of(struct ps_metrics *metrics, const char *name, struct ps_str first)
{
    struct wanted wanted = {.name = name, .first = first};
    struct ps_metric_visitor visitor = {no_family, look_at, &wanted, false};
    assert_int_equal(ps_metrics_collect(metrics, &visitor), PS_OK);
    assert_true(wanted.found);
    return wanted.sample.value;
}

/* ---- memo */

static void a_memo_finds_what_the_registry_has(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make();
    struct ps_metric_memo *memo = make_memo(metrics, 64);
    struct ps_rng rng = ps_rng_make(2);
    for (int i = 0; i < 1500; i++) {
        char text[128];
        size_t len = ps_rng_below(&rng, sizeof text);
        memset(text, 'a' + (int)ps_rng_below(&rng, 3), sizeof text);
        struct ps_str a = {text, len};
        struct ps_str b = ps_str_first(PS_STR("abcdefgh"), ps_rng_below(&rng, 9));
        assert_ptr_equal(find(memo, REQUESTS, a, b), ask(metrics, REQUESTS, a, b));
    }
    assert_ptr_not_equal(find(memo, REQUESTS, PS_STR("ab"), PS_STR("c")),
                         find(memo, REQUESTS, PS_STR("a"), PS_STR("bc")));
    struct ps_counter *plain;
    assert_int_equal(ps_metric_memo_counter(memo, &rows[PLAIN], NULL, &plain), PS_OK);
    assert_ptr_equal(plain, ask(metrics, PLAIN, PS_STR(""), PS_STR("")));
    struct ps_histogram *wait;
    assert_int_equal(ps_metric_memo_histogram(memo, &rows[PLAIN], NULL, &wait), PS_EINVAL);
    assert_int_equal(ps_metric_memo_histogram(memo, &rows[WAIT], NULL, &wait), PS_OK);
    ps_metric_memo_free(memo);
    assert_int_equal(ps_metric_memo_new(&memo, metrics, 0), PS_EINVAL);
    ps_metrics_free(metrics);
}

static void a_memo_forgets_what_was_dropped(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make();
    struct ps_metric_memo *memo = make_memo(metrics, 64);
    struct ps_counter *old = find(memo, REQUESTS, PS_STR("chat"), PS_STR("200"));
    assert_int_equal(ps_metrics_drop(metrics, "route", PS_STR("chat")), 1);
    ps_counter_add_shared(old, 1); /* still safe, though it leads nowhere */
    ps_counter_add_shared(find(memo, REQUESTS, PS_STR("chat"), PS_STR("200")), 2);
    assert_true(value_of(metrics, rows[REQUESTS].name, PS_STR("chat")) == 2);
    ps_metric_memo_free(memo);
    ps_metrics_free(metrics);
}

static void folded_look_ups_and_series_are_counted(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make();
    struct ps_metric_memo *memo = make_memo(metrics, 1024);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 503; i++) {
            char key[16];
            snprintf(key, sizeof key, "%d", i);
            ps_counter_add_shared(find(memo, SMALL, ps_str_from(key), PS_STR("")), 1);
        }
    }
    struct ps_str name = ps_str_from(rows[SMALL].name);
    assert_true(value_of(metrics, rows[SMALL].name, PS_STR("_overflow")) == 1500);
    assert_true(value_of(metrics, "penstock_metric_folded_lookups_total", name) == 1500);
    double series = value_of(metrics, "penstock_metric_folded_series", name);
    assert_true(series > 450 && series < 550);
    ps_metric_memo_free(memo);
    ps_metrics_free(metrics);
}

static void a_sketch_counts_to_a_few_percent(void **state)
{
    (void)state;
    for (uint64_t count = 1; count <= 10000000; count *= 10) {
        uint8_t sketch[PS_METRIC_SKETCH] = {0};
        struct ps_rng rng = ps_rng_make(count);
        for (uint64_t i = 0; i < count; i++) {
            uint64_t hash = ps_rng_next(&rng);
            ps_metric_sketch_add(sketch, hash);
            ps_metric_sketch_add(sketch, hash);
        }
        double seen = ps_metric_sketch_count(sketch);
        assert_true(seen > 0.88 * (double)count && seen < 1.12 * (double)count);
    }
}

/* ---- exemplars */

static struct ps_exemplar trace(unsigned char id, double value, ps_time wall)
{
    return (struct ps_exemplar){.trace_id = {id}, .value = value, .wall = wall};
}

static void a_bucket_remembers_its_latest_trace(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make();
    struct ps_histogram *wait;
    assert_int_equal(ps_metric_histogram(metrics, &rows[WAIT], NULL, &wait), PS_OK);
    struct ps_exemplar traces[] = {trace(1, 0.3, PS_SECOND), trace(2, 0.4, PS_SECOND),
                                   trace(3, 100, PS_SECOND), trace(4, 0.5, 2 * PS_SECOND)};
    struct wanted wanted = {.name = rows[WAIT].name};
    struct ps_metric_visitor visitor = {no_family, look_at, &wanted, false};
    for (size_t i = 0; i < PS_ARRAY_LEN(traces); i++) {
        ps_metric_exemplar(&wait->handle, &traces[i]);
    }
    assert_int_equal(ps_metrics_collect(metrics, &visitor), PS_OK);
    size_t seen = 0;
    for (size_t i = 0; i <= PS_EXPONENTIAL_BOUNDS; i++) {
        seen += !ps_exemplar_is_none(&wanted.exemplars[i]);
    }
    assert_int_equal(seen, 2); /* the second came too soon after the first */
    assert_int_equal(wanted.exemplars[10].trace_id[0], 4);
    assert_int_equal(wanted.exemplars[14].trace_id[0], 3);
    ps_metrics_free(metrics);
}

static void families_without_exemplars_ignore_them(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make();
    struct ps_exemplar one = trace(1, 1, 1);
    ps_metric_exemplar(&ask(metrics, PLAIN, PS_STR(""), PS_STR(""))->handle, &one);
    ps_metrics_free(metrics);
}

enum { WRITERS = 3, WRITES = 30000 };

struct press {
    struct ps_exemplar_slot slot;
    atomic_uint next;
};

static void *press_on(void *arg)
{
    struct press *press = arg;
    for (int i = 0; i < WRITES; i++) {
        unsigned n = atomic_fetch_add(&press->next, 1);
        struct ps_exemplar one = {.value = n, .wall = (ps_time)n * PS_EXEMPLAR_REST};
        memset(one.trace_id, (int)(n % 251 + 1), sizeof one.trace_id);
        memset(one.span_id, (int)(n % 251 + 1), sizeof one.span_id);
        ps_exemplar_put(&press->slot, &one);
    }
    return NULL;
}

static void an_exemplar_is_read_whole_or_not_at_all(void **state)
{
    (void)state;
    struct press press = {0};
    pthread_t threads[WRITERS];
    for (size_t i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, press_on, &press), 0);
    }
    while (atomic_load(&press.next) < WRITERS * WRITES) {
        struct ps_exemplar seen;
        if (ps_exemplar_get(&press.slot, &seen)) {
            unsigned n = (unsigned)seen.value;
            for (size_t i = 0; i < sizeof seen.trace_id; i++) {
                assert_int_equal(seen.trace_id[i], n % 251 + 1);
            }
            assert_int_equal(seen.span_id[7], n % 251 + 1);
            assert_true(seen.wall == (ps_time)n * PS_EXEMPLAR_REST);
        }
    }
    for (size_t i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_memo_finds_what_the_registry_has),
        cmocka_unit_test(a_memo_forgets_what_was_dropped),
        cmocka_unit_test(folded_look_ups_and_series_are_counted),
        cmocka_unit_test(a_sketch_counts_to_a_few_percent),
        cmocka_unit_test(a_bucket_remembers_its_latest_trace),
        cmocka_unit_test(families_without_exemplars_ignore_them),
        cmocka_unit_test(an_exemplar_is_read_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
