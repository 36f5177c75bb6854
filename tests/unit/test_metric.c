#include "observe/metric.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/rng.h"

static const double halves[] = {0.5, 1, 2.5};

enum { REQUESTS, IN_FLIGHT, TEMPERATURE, WAIT, BUSY, SMALL, PLAIN };

static const struct ps_metric_family rows[] = {
    [REQUESTS] = {.name = "penstock_test_requests_total",
                  .type = PS_METRIC_COUNTER,
                  .help = "Requests",
                  .labels = {"route", "code"}},
    [IN_FLIGHT] = {.name = "penstock_test_in_flight", .type = PS_METRIC_UPDOWN, .help = "Now"},
    [TEMPERATURE] = {.name = "penstock_test_temperature_celsius",
                     .type = PS_METRIC_GAUGE,
                     .help = "Heat",
                     .unit = "celsius",
                     .labels = {"device"}},
    [WAIT] = {.name = "penstock_test_wait_seconds",
              .type = PS_METRIC_HISTOGRAM,
              .help = "Waiting",
              .unit = "seconds",
              .labels = {"route"},
              .bounds = halves,
              .bounds_count = PS_ARRAY_LEN(halves)},
    [BUSY] = {.name = "penstock_test_busy_seconds_total",
              .type = PS_METRIC_COUNTER,
              .help = "Work done",
              .unit = "seconds",
              .per_unit = 1e9},
    [SMALL] = {.name = "penstock_test_small_total",
               .type = PS_METRIC_COUNTER,
               .help = "Few series",
               .labels = {"key"},
               .max_series = 3},
    [PLAIN] = {.name = "penstock_test_plain", .type = PS_METRIC_GAUGE, .help = "No labels"},
    {0},
};

/* ---- help for the cases */

static struct ps_metrics *make(unsigned shards)
{
    struct ps_metrics *metrics = NULL;
    struct ps_metrics_opts opts = {.shards = shards};
    assert_int_equal(ps_metrics_new(&metrics, &opts), PS_OK);
    assert_int_equal(ps_metrics_declare(metrics, rows, NULL), PS_OK);
    return metrics;
}

static struct ps_counter *counter(struct ps_metrics *metrics, int row, const char *a, const char *b)
{
    struct ps_counter *out = NULL;
    const struct ps_metric_labels *labels = PS_LABELS(ps_str_from(a), ps_str_from(b));
    assert_int_equal(ps_metric_counter(metrics, &rows[row], labels, &out), PS_OK);
    return out;
}

/* What a walk shows, one line per sample: name{values} value. */
struct seen {
    struct ps_buf text;
    size_t families;
    size_t samples;
    int fail_at; /* sample number at which the visitor gives up; 0 = never */
};

static int on_family(void *context, const struct ps_metric_family *family)
{
    struct seen *seen = context;
    assert_non_null(family->name);
    seen->families++;
    return PS_OK;
}

static int on_sample(void *context, const struct ps_metric_sample *sample)
{
    struct seen *seen = context;
    struct ps_buf *text = &seen->text;
    if (++seen->samples == (size_t)seen->fail_at) {
        return PS_ELIMIT;
    }
    int err = ps_buf_printf(text, "%s", sample->family->name);
    for (size_t i = 0; sample->family->labels[i] != NULL; i++) {
        err |= ps_buf_printf(text, " %.*s", PS_STR_ARG(sample->labels[i]));
    }
    if (sample->buckets == NULL) {
        err |= ps_buf_printf(text, " = %.17g\n", sample->value);
        return err;
    }
    for (size_t i = 0; i <= sample->family->bounds_count; i++) {
        err |= ps_buf_printf(text, " %llu", (unsigned long long)sample->buckets[i]);
    }
    err |= ps_buf_printf(text, " count %llu", (unsigned long long)sample->count);
    return err | ps_buf_printf(text, " sum %.17g\n", sample->sum);
}

static void look(struct ps_metrics *metrics, struct seen *seen)
{
    *seen = (struct seen){.text = ps_buf_make(1 << 22)};
    struct ps_metric_visitor visitor = {on_family, on_sample, seen, false};
    assert_int_equal(ps_metrics_collect(metrics, &visitor), PS_OK);
}

static bool shows(struct ps_metrics *metrics, const char *line)
{
    struct seen seen;
    look(metrics, &seen);
    bool found = ps_str_contains(ps_buf_str(&seen.text), ps_str_from(line));
    if (!found) {
        print_message("missing \"%s\" in:\n%.*s", line, PS_STR_ARG(ps_buf_str(&seen.text)));
    }
    ps_buf_fini(&seen.text);
    return found;
}

static bool hides(struct ps_metrics *metrics, const char *line)
{
    struct seen seen;
    look(metrics, &seen);
    bool found = ps_str_contains(ps_buf_str(&seen.text), ps_str_from(line));
    ps_buf_fini(&seen.text);
    return !found;
}

/* ---- counting */

static void same_labels_give_the_same_handle(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make(4);
    struct ps_counter *first = counter(metrics, REQUESTS, "chat", "200");
    assert_ptr_equal(first, counter(metrics, REQUESTS, "chat", "200"));
    assert_ptr_not_equal(first, counter(metrics, REQUESTS, "chat", "503"));
    assert_ptr_not_equal(first, counter(metrics, REQUESTS, "cha", "t200"));
    ps_metrics_free(metrics);
}

static void shards_add_up(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make(4);
    struct ps_counter *requests = counter(metrics, REQUESTS, "chat", "200");
    unsigned one, two;
    assert_int_equal(ps_metrics_shard_get(metrics, &one), PS_OK);
    assert_int_equal(ps_metrics_shard_get(metrics, &two), PS_OK);
    assert_int_not_equal(one, two);
    ps_counter_add(requests, one, 5);
    ps_counter_add(requests, two, 7);
    ps_counter_add_shared(requests, 1);
    assert_int_equal(ps_counter_read(metrics, requests), 13);
    assert_true(shows(metrics, "penstock_test_requests_total chat 200 = 13\n"));
    ps_metrics_free(metrics);
}

static void a_shard_given_back_keeps_its_counts(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make(2);
    struct ps_counter *requests = counter(metrics, REQUESTS, "chat", "200");
    unsigned shard, again;
    assert_int_equal(ps_metrics_shard_get(metrics, &shard), PS_OK);
    assert_int_equal(ps_metrics_shard_get(metrics, &again), PS_ELIMIT);
    ps_counter_add(requests, shard, 5);
    ps_metrics_shard_put(metrics, shard);
    assert_int_equal(ps_metrics_shard_get(metrics, &again), PS_OK);
    assert_int_equal(shard, again);
    ps_counter_add(requests, again, 1);
    assert_int_equal(ps_counter_read(metrics, requests), 6);
    ps_metrics_free(metrics);
}

static void an_updown_may_rise_here_and_fall_there(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make(3);
    struct ps_updown *flight;
    unsigned one, two;
    assert_int_equal(ps_metric_updown(metrics, &rows[IN_FLIGHT], NULL, &flight), PS_OK);
    assert_int_equal(ps_metrics_shard_get(metrics, &one), PS_OK);
    assert_int_equal(ps_metrics_shard_get(metrics, &two), PS_OK);
    ps_updown_add(flight, one, 3);
    ps_updown_add(flight, two, -5);
    assert_int_equal(ps_updown_read(metrics, flight), -2);
    assert_true(shows(metrics, "penstock_test_in_flight = -2\n"));
    ps_metrics_free(metrics);
}

static void a_gauge_is_not_shown_until_it_is_known(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make(1);
    struct ps_gauge *gauge;
    const struct ps_metric_labels *labels = PS_LABELS(PS_STR("0"));
    assert_int_equal(ps_metric_gauge(metrics, &rows[TEMPERATURE], labels, &gauge), PS_OK);
    assert_true(hides(metrics, "temperature"));
    ps_gauge_set(gauge, 61.5);
    assert_true(shows(metrics, "penstock_test_temperature_celsius 0 = 61.5\n"));
    ps_gauge_set(gauge, NAN);
    assert_true(hides(metrics, "temperature"));
    ps_metrics_free(metrics);
}

static void steps_become_units(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make(2);
    struct ps_counter *busy = counter(metrics, BUSY, NULL, NULL);
    ps_counter_add_shared(busy, 1500000000);
    assert_true(shows(metrics, "penstock_test_busy_seconds_total = 1.5\n"));
    ps_metrics_free(metrics);
}

static void a_value_on_a_bound_belongs_to_it(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make(2);
    struct ps_histogram *wait;
    unsigned shard;
    const struct ps_metric_labels *labels = PS_LABELS(PS_STR("chat"));
    assert_int_equal(ps_metric_histogram(metrics, &rows[WAIT], labels, &wait), PS_OK);
    assert_int_equal(ps_metrics_shard_get(metrics, &shard), PS_OK);
    const double values[] = {-1, 0.5, 0.50001, 1, 2.5, 2.6, NAN};
    for (size_t i = 0; i < PS_ARRAY_LEN(values); i++) {
        ps_histogram_observe(wait, shard, values[i]);
    }
    assert_true(shows(metrics, "wait_seconds chat 2 2 1 1 count 6 sum 6.10001"));
    ps_histogram_observe(wait, shard, INFINITY);
    assert_true(shows(metrics, "wait_seconds chat 2 2 1 2 count 7 sum inf\n"));
    ps_metrics_free(metrics);
}

static void the_bucket_search_agrees_with_a_plain_one(void **state)
{
    (void)state;
    struct ps_rng rng = ps_rng_make(7);
    double bounds[PS_METRIC_BOUNDS_MAX];
    for (size_t count = 1; count <= PS_METRIC_BOUNDS_MAX; count++) {
        bounds[count - 1] = (double)count;
        for (int i = 0; i < 300; i++) {
            double value = (double)ps_rng_below(&rng, 2 * count + 4) / 2;
            size_t plain = 0;
            while (plain < count && bounds[plain] < value) {
                plain++;
            }
            assert_int_equal(ps_metric_bucket(bounds, count, value), plain);
        }
    }
}

/* ---- tables */

static void a_mistake_in_a_table_is_named(void **state)
{
    (void)state;
    static const double falling[] = {2, 1};
    static const double endless[] = {1, INFINITY};
    const struct ps_metric_family bad[] = {
        {.name = "penstock_x", .type = PS_METRIC_COUNTER, .help = "h"},
        {.name = "penstock_x_total", .type = PS_METRIC_GAUGE, .help = "h"},
        {.name = "penstock_x_count", .type = PS_METRIC_GAUGE, .help = "h"},
        {.name = "penstock_x_sum_total", .type = PS_METRIC_COUNTER, .help = "h"},
        {.name = "_total", .type = PS_METRIC_COUNTER, .help = "h"},
        {.name = "9x", .type = PS_METRIC_GAUGE, .help = "h"},
        {.name = "a-b", .type = PS_METRIC_GAUGE, .help = "h"},
        {.name = "", .type = PS_METRIC_GAUGE, .help = "h"},
        {.name = "x", .type = PS_METRIC_GAUGE},
        {.name = "x_s", .type = PS_METRIC_GAUGE, .help = "h", .unit = "seconds"},
        {.name = "xseconds", .type = PS_METRIC_GAUGE, .help = "h", .unit = "seconds"},
        {.name = "x", .type = PS_METRIC_GAUGE, .help = "h", .labels = {"__a"}},
        {.name = "x", .type = PS_METRIC_GAUGE, .help = "h", .labels = {"a:b"}},
        {.name = "x", .type = PS_METRIC_GAUGE, .help = "h", .labels = {"le"}},
        {.name = "x", .type = PS_METRIC_GAUGE, .help = "h", .labels = {"a", "b", "a"}},
        {.name = "x", .type = PS_METRIC_HISTOGRAM, .help = "h"},
        {.name = "x",
         .type = PS_METRIC_HISTOGRAM,
         .help = "h",
         .bounds = falling,
         .bounds_count = 2},
        {.name = "x",
         .type = PS_METRIC_HISTOGRAM,
         .help = "h",
         .bounds = endless,
         .bounds_count = 2},
        {.name = "x", .type = PS_METRIC_GAUGE, .help = "h", .bounds = halves, .bounds_count = 1},
        {.name = "penstock_test_plain", .type = PS_METRIC_GAUGE, .help = "taken name"},
    };
    struct ps_metrics *metrics = make(1);
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        struct ps_metric_family table[2] = {bad[i], {0}};
        const char *name = NULL;
        assert_int_equal(ps_metrics_declare(metrics, table, &name), PS_EINVAL);
        assert_string_equal(name, bad[i].name);
    }
    assert_int_equal(ps_metrics_declare(metrics, rows, NULL), PS_OK);
    ps_metrics_free(metrics);
}

static void hundreds_of_rows_are_found_again(void **state)
{
    (void)state;
    enum { MANY = 300 };
    static char names[MANY][32];
    static struct ps_metric_family table[MANY + 1];
    struct ps_metrics *metrics = make(2);
    for (int i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof(names[i]), "penstock_many_%d_total", i);
        table[i] = (struct ps_metric_family){
            .name = names[i], .type = PS_METRIC_COUNTER, .help = "One of many"};
    }
    assert_int_equal(ps_metrics_declare(metrics, table, NULL), PS_OK);
    for (int i = 0; i < MANY; i++) {
        struct ps_counter *one;
        assert_int_equal(ps_metric_counter(metrics, &table[i], NULL, &one), PS_OK);
        assert_ptr_equal(one->handle.family, &table[i]);
    }
    ps_metrics_free(metrics);
}

static void the_wrong_type_and_a_strange_row_are_refused(void **state)
{
    (void)state;
    static const struct ps_metric_family strange = {
        .name = "x_total", .type = PS_METRIC_COUNTER, .help = "h"};
    struct ps_metrics *metrics = make(1);
    struct ps_gauge *gauge = NULL;
    struct ps_counter *strangers = NULL;
    assert_int_equal(ps_metric_gauge(metrics, &rows[REQUESTS], NULL, &gauge), PS_EINVAL);
    assert_int_equal(ps_metric_counter(metrics, &strange, NULL, &strangers), PS_EINVAL);
    assert_null(gauge);
    assert_null(strangers);
    ps_metrics_free(metrics);
}

/* ---- bounds */

static void a_full_family_folds_into_its_overflow(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make(2);
    char key[16];
    for (int i = 0; i < 10; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        ps_counter_add_shared(counter(metrics, SMALL, key, NULL), 1);
    }
    assert_ptr_equal(counter(metrics, SMALL, "k7", NULL), counter(metrics, SMALL, "k8", NULL));
    assert_true(shows(metrics, "penstock_test_small_total k2 = 1\n"
                               "penstock_test_small_total _overflow = 7\n"));
    assert_true(shows(metrics, "penstock_metric_folded_lookups_total "
                               "penstock_test_small_total = 9\n"));
    assert_true(hides(metrics, "k3"));
    ps_metrics_free(metrics);
}

static void values_are_mended_before_they_are_compared(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make(2);
    char longest[PS_METRIC_VALUE_MAX + 2];
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    struct ps_counter *cut = counter(metrics, SMALL, longest, NULL);
    longest[sizeof(longest) - 2] = '\0';
    assert_ptr_equal(cut, counter(metrics, SMALL, longest, NULL));
    assert_ptr_equal(counter(metrics, SMALL, "\xff", NULL),
                     counter(metrics, SMALL, "\xef\xbf\xbd", NULL));
    memcpy(longest + sizeof(longest) - 3, "\xc3\xa4", 3);
    ps_counter_add_shared(counter(metrics, SMALL, longest, NULL), 4);
    longest[sizeof(longest) - 3] = '\0';
    assert_int_equal(ps_counter_read(metrics, counter(metrics, SMALL, longest, NULL)), 4);
    ps_metrics_free(metrics);
}

/* ---- watches */

static double read_number(void *context)
{
    return *(const double *)context;
}

static void a_watched_series_is_asked_for_its_value(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make(1);
    double value = 42;
    struct ps_metric_handle *handle;
    assert_int_equal(ps_metric_watch(metrics, &rows[PLAIN], NULL, read_number, &value, &handle),
                     PS_OK);
    assert_true(shows(metrics, "penstock_test_plain = 42\n"));
    value = NAN;
    assert_true(hides(metrics, "plain"));
    ps_metric_unwatch(metrics, handle, &value);
    value = 1;
    assert_true(hides(metrics, "plain"));
    assert_int_equal(ps_metric_watch(metrics, &rows[WAIT], NULL, read_number, &value, &handle),
                     PS_EINVAL);
    ps_metrics_free(metrics);
}

static void a_reload_may_watch_before_the_old_owner_lets_go(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make(1);
    double old = 1;
    double new = 2;
    struct ps_metric_handle *first, *second;
    assert_int_equal(ps_metric_watch(metrics, &rows[PLAIN], NULL, read_number, &old, &first),
                     PS_OK);
    assert_int_equal(ps_metric_watch(metrics, &rows[PLAIN], NULL, read_number, &new, &second),
                     PS_OK);
    ps_metric_unwatch(metrics, first, &old);
    assert_true(shows(metrics, "penstock_test_plain = 2\n"));
    ps_metric_unwatch(metrics, second, &new);
    assert_true(hides(metrics, "plain"));
    ps_metrics_free(metrics);
}

/* ---- dropping */

static void a_dropped_series_leaves_the_page_and_starts_anew(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make(2);
    struct ps_counter *old = counter(metrics, REQUESTS, "chat", "200");
    struct ps_counter *kept = counter(metrics, REQUESTS, "images", "200");
    ps_counter_add_shared(old, 5);
    ps_counter_add_shared(kept, 6);
    assert_int_equal(ps_metrics_drop(metrics, "route", PS_STR("chat")), 1);
    assert_true(hides(metrics, "chat"));
    ps_counter_add_shared(old, 1);
    struct ps_counter *fresh = counter(metrics, REQUESTS, "chat", "200");
    assert_ptr_not_equal(old, fresh);
    assert_int_equal(ps_counter_read(metrics, fresh), 0);
    ps_metric_put(metrics, &old->handle);
    assert_true(shows(metrics, "penstock_test_requests_total images 200 = 6\n"
                               "penstock_test_requests_total chat 200 = 0\n"));
    assert_int_equal(ps_metrics_drop(metrics, "nobody", PS_STR("chat")), 0);
    ps_metrics_free(metrics);
}

static void memory_of_dropped_series_is_used_again_as_zero(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make(2);
    unsigned shard;
    assert_int_equal(ps_metrics_shard_get(metrics, &shard), PS_OK);
    struct ps_counter *old = counter(metrics, REQUESTS, "chat", "200");
    _Atomic uint64_t *cells = old->handle.cells;
    ps_counter_add(old, shard, 9);
    ps_metric_put(metrics, &old->handle);
    assert_int_equal(ps_metrics_drop(metrics, "code", PS_STR("200")), 1);
    struct ps_counter *fresh = counter(metrics, REQUESTS, "other", "500");
    assert_ptr_equal(fresh->handle.cells, cells);
    assert_int_equal(ps_counter_read(metrics, fresh), 0);
    ps_metrics_free(metrics);
}

static void room_returns_when_series_are_dropped(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make(1);
    for (int i = 0; i < 1000; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        struct ps_counter *one = counter(metrics, SMALL, key, NULL);
        ps_metric_put(metrics, &one->handle);
        assert_int_equal(ps_metrics_drop(metrics, "key", ps_str_from(key)), 1);
    }
    assert_true(hides(metrics, "_overflow"));
    ps_metrics_free(metrics);
}

/* ---- walking */

static void the_walk_keeps_order_and_leaves_out_what_is_empty(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make(1);
    (void)counter(metrics, REQUESTS, "b", "1");
    (void)counter(metrics, REQUESTS, "a", "2");
    struct seen seen;
    look(metrics, &seen);
    struct ps_str text = ps_buf_str(&seen.text);
    assert_true(ps_str_contains(text, PS_STR("penstock_test_requests_total b 1 = 0\n"
                                             "penstock_test_requests_total a 2 = 0\n"
                                             "penstock_test_in_flight = 0\n"
                                             "penstock_test_busy_seconds_total = 0\n")));
    assert_int_equal(seen.families, 4); /* with penstock_metric_series */
    ps_buf_fini(&seen.text);
    ps_metrics_free(metrics);
}

static void a_visitor_may_give_up(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make(1);
    struct seen seen = {.text = ps_buf_make(1 << 16), .fail_at = 2};
    struct ps_metric_visitor visitor = {on_family, on_sample, &seen, false};
    assert_int_equal(ps_metrics_collect(metrics, &visitor), PS_ELIMIT);
    assert_int_equal(seen.samples, 2);
    ps_buf_fini(&seen.text);
    ps_metrics_free(metrics);
}

/* Drops the series that it is shown, so that the walk has to find its place again. */
static int drop_what_is_shown(void *context, const struct ps_metric_sample *sample)
{
    if (sample->family == &rows[REQUESTS]) {
        (void)ps_metrics_drop(context, "code", sample->labels[1]);
    }
    return PS_OK;
}

static int no_family(void *context, const struct ps_metric_family *family)
{
    (void)context;
    (void)family;
    return PS_OK;
}

static void a_walk_survives_drops_in_its_way(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make(1);
    for (int i = 0; i < 500; i++) {
        char code[16];
        snprintf(code, sizeof(code), "%d", i);
        struct ps_counter *one = counter(metrics, REQUESTS, "r", code);
        ps_metric_put(metrics, &one->handle);
    }
    struct ps_metric_visitor visitor = {no_family, drop_what_is_shown, metrics, false};
    assert_int_equal(ps_metrics_collect(metrics, &visitor), PS_OK);
    assert_true(hides(metrics, "requests_total"));
    ps_metrics_free(metrics);
}

/* ---- threads */

enum { THREADS = 4, ROUNDS = 20000 };

struct crew {
    struct ps_metrics *metrics;
    struct ps_counter *shared;
    struct ps_histogram *wait;
    atomic_bool stop;
};

static void *work(void *arg)
{
    struct crew *crew = arg;
    unsigned shard;
    PS_CHECK(ps_metrics_shard_get(crew->metrics, &shard) == PS_OK);
    for (int i = 0; i < ROUNDS; i++) {
        ps_counter_add(crew->shared, shard, 1);
        ps_histogram_observe(crew->wait, shard, (double)(i % 4));
        if (i % 16 == 0) {
            char code[16];
            struct ps_counter *own;
            snprintf(code, sizeof(code), "%d", i % 100);
            PS_CHECK(ps_metric_counter(crew->metrics, &rows[REQUESTS],
                                       PS_LABELS(PS_STR("r"), ps_str_from(code)), &own) == PS_OK);
            ps_counter_add(own, shard, 1);
            ps_metric_put(crew->metrics, &own->handle);
        }
    }
    ps_metrics_shard_put(crew->metrics, shard);
    return NULL;
}

static int count_sample(void *context, const struct ps_metric_sample *sample)
{
    (void)sample;
    ++*(size_t *)context;
    return PS_OK;
}

/* Reads all the time and drops now and then. */
static void *disturb(void *arg)
{
    struct crew *crew = arg;
    while (!atomic_load(&crew->stop)) {
        size_t samples = 0;
        struct ps_metric_visitor visitor = {no_family, count_sample, &samples, false};
        PS_CHECK(ps_metrics_collect(crew->metrics, &visitor) == PS_OK && samples > 0);
        (void)ps_metrics_drop(crew->metrics, "code", PS_STR("32"));
    }
    return NULL;
}

static void no_count_is_lost_between_threads(void **state)
{
    (void)state;
    struct crew crew = {.metrics = make(THREADS + 1)};
    pthread_t threads[THREADS + 1];
    crew.shared = counter(crew.metrics, BUSY, NULL, NULL);
    assert_int_equal(ps_metric_histogram(crew.metrics, &rows[WAIT], NULL, &crew.wait), PS_OK);
    for (int i = 0; i <= THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, i == THREADS ? disturb : work, &crew),
                         0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    atomic_store(&crew.stop, true);
    pthread_join(threads[THREADS], NULL);
    assert_int_equal(ps_counter_read(crew.metrics, crew.shared), THREADS * ROUNDS);
    assert_true(
        shows(crew.metrics, "wait_seconds  20000 20000 20000 20000 count 80000 sum 120000"));
    ps_metrics_free(crew.metrics);
}

/* ---- manual */

static void the_manual_says_what_the_table_says(void **state)
{
    (void)state;
    static const struct ps_metric_family *const tables[] = {rows, ps_metric_metrics, NULL};
    struct ps_buf out = ps_buf_make(1 << 16);
    assert_int_equal(ps_metric_manual(tables, &out), PS_OK);
    struct ps_str text = ps_buf_str(&out);
    assert_true(ps_str_starts_with(text, PS_STR("# Metrics\n")));
    assert_true(ps_str_contains(text, PS_STR("\n## test\n")));
    assert_true(ps_str_contains(text, PS_STR("\n| `penstock_test_wait_seconds` | histogram | "
                                             "`route` | seconds | Waiting; bounds 0.5, 1, 2.5 "
                                             "|\n")));
    assert_true(ps_str_contains(text, PS_STR("\n| `penstock_test_in_flight` | gauge |  |  | Now "
                                             "|\n")));
    struct ps_buf tiny = ps_buf_make(300);
    assert_int_equal(ps_metric_manual(tables, &tiny), PS_ELIMIT);
    assert_int_equal(tiny.len, 0);
    ps_buf_fini(&tiny);
    ps_buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_labels_give_the_same_handle),
        cmocka_unit_test(shards_add_up),
        cmocka_unit_test(a_shard_given_back_keeps_its_counts),
        cmocka_unit_test(an_updown_may_rise_here_and_fall_there),
        cmocka_unit_test(a_gauge_is_not_shown_until_it_is_known),
        cmocka_unit_test(steps_become_units),
        cmocka_unit_test(a_value_on_a_bound_belongs_to_it),
        cmocka_unit_test(the_bucket_search_agrees_with_a_plain_one),
        cmocka_unit_test(a_mistake_in_a_table_is_named),
        cmocka_unit_test(hundreds_of_rows_are_found_again),
        cmocka_unit_test(the_wrong_type_and_a_strange_row_are_refused),
        cmocka_unit_test(a_full_family_folds_into_its_overflow),
        cmocka_unit_test(values_are_mended_before_they_are_compared),
        cmocka_unit_test(a_watched_series_is_asked_for_its_value),
        cmocka_unit_test(a_reload_may_watch_before_the_old_owner_lets_go),
        cmocka_unit_test(a_dropped_series_leaves_the_page_and_starts_anew),
        cmocka_unit_test(memory_of_dropped_series_is_used_again_as_zero),
        cmocka_unit_test(room_returns_when_series_are_dropped),
        cmocka_unit_test(the_walk_keeps_order_and_leaves_out_what_is_empty),
        cmocka_unit_test(a_visitor_may_give_up),
        cmocka_unit_test(a_walk_survives_drops_in_its_way),
        cmocka_unit_test(no_count_is_lost_between_threads),
        cmocka_unit_test(the_manual_says_what_the_table_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
