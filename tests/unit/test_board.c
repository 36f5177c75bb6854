#include "export/board.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/check.h"
#include "daemon/caches.h"
#include "daemon/machine.h"
#include "daemon/process.h"
#include "gateway/traffic.h"
#include "observe/history.h"
#include "observe/metric.h"
#include "operate/gpu.h"

static const struct ps_metric_family *const tables[] = {
    ps_traffic_metric_families, ps_process_metric_families, ps_machine_metric_families,
    ps_caches_metric_families, ps_gpu_metric_families};

/* A registry with the real tables, walked second by second by hand. */
struct scene {
    struct ps_metrics *metrics;
    struct ps_history *history;
    struct ps_board *board;
    int64_t second;
    ps_time now;
};

static void open_scene(struct scene *scene)
{
    struct ps_metrics_opts opts = {.shards = 2};
    struct ps_history_opts history = {.max_series = 2000, .points = 300};
    *scene = (struct scene){.second = 1767323045, .now = 77 * PS_SECOND};
    assert_int_equal(ps_metrics_new(&scene->metrics, &opts), PS_OK);
    for (size_t i = 0; i < PS_ARRAY_LEN(tables); i++) {
        assert_int_equal(ps_metrics_declare(scene->metrics, tables[i], NULL), PS_OK);
    }
    assert_int_equal(ps_history_new(&scene->history, &history), PS_OK);
    assert_int_equal(ps_board_new(&scene->board, scene->metrics, scene->history), PS_OK);
    assert_int_equal(ps_board_begin(scene->board, scene->now), PS_OK);
}

static void close_scene(struct scene *scene)
{
    ps_board_free(scene->board);
    ps_history_free(scene->history);
    ps_metrics_free(scene->metrics);
}

static void pass(struct scene *scene, ps_span by)
{
    struct ps_history_minute minute;
    scene->now += by;
    scene->second += (by + PS_SECOND / 2) / PS_SECOND;
    assert_true(ps_history_begin(scene->history, scene->second));
    assert_int_equal(ps_history_collect(scene->history, scene->metrics, SIZE_MAX), PS_OK);
    assert_int_equal(ps_board_second(scene->board, scene->now), PS_OK);
    while (ps_history_take_minute(scene->history, &minute)) { /* else its points are waited for */
    }
}

static double value(const struct scene *scene, const char *key)
{
    const struct ps_history_track *track = ps_history_find(scene->history, ps_str_from(key));
    return track == NULL ? NAN : ps_history_at(scene->history, track, scene->second);
}

static bool is_listed(const struct scene *scene, const char *key)
{
    const char *const *keys;
    size_t count = ps_board_keys(scene->board, &keys);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(keys[i], key) == 0) {
            return true;
        }
    }
    return false;
}

static const struct ps_metric_family *family(const struct scene *scene, const char *name)
{
    const struct ps_metric_family *found = ps_metrics_find(scene->metrics, ps_str_from(name));
    assert_non_null(found);
    return found;
}

static void count_up(const struct scene *scene, const char *name, const char *first,
                     const char *second, uint64_t n)
{
    struct ps_counter *counter;
    const struct ps_metric_labels *labels = PS_LABELS(ps_str_from(first), ps_str_from(second));
    assert_int_equal(ps_metric_counter(scene->metrics, family(scene, name), labels, &counter),
                     PS_OK);
    ps_counter_add_shared(counter, n);
    ps_metric_put(scene->metrics, &counter->handle);
}

static void set(const struct scene *scene, const char *name, const struct ps_metric_labels *labels,
                double number)
{
    struct ps_gauge *gauge;
    assert_int_equal(ps_metric_gauge(scene->metrics, family(scene, name), labels, &gauge), PS_OK);
    ps_gauge_set(gauge, number);
    ps_metric_put(scene->metrics, &gauge->handle);
}

static void observe(const struct scene *scene, const char *name, const char *route, double number)
{
    struct ps_histogram *histogram;
    assert_int_equal(ps_metric_histogram(scene->metrics, family(scene, name),
                                         PS_LABELS(ps_str_from(route)), &histogram),
                     PS_OK);
    ps_histogram_observe_shared(histogram, number);
    ps_metric_put(scene->metrics, &histogram->handle);
}

static void assert_near(double got, double want, double share)
{
    if (!(fabs(got - want) <= fabs(want) * share)) {
        fail_msg("%g is not %g", got, want);
    }
}

/* --- the table -------------------------------------------------------------------------------- */

static bool has_label(const struct ps_metric_family *row, const char *label)
{
    for (size_t i = 0; row->labels[i] != NULL; i++) {
        if (strcmp(row->labels[i], label) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_histogram(const struct ps_metric_family *row)
{
    return row->type == PS_METRIC_HISTOGRAM || row->type == PS_METRIC_EXPONENTIAL;
}

static void every_row_names_metrics_and_labels_that_there_are(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene);
    for (size_t i = 0; i < ps_board_row_count; i++) {
        const struct ps_board_row *row = &ps_board_rows[i];
        const struct ps_metric_family *of = family(&scene, row->of.family);
        assert_true(row->of.label == NULL || has_label(of, row->of.label));
        for (size_t j = 0; row->by[j] != NULL; j++) {
            assert_true(has_label(of, row->by[j]));
        }
        assert_int_equal(is_histogram(of), row->way == PS_BOARD_QUANTILE);
        bool counts = row->way == PS_BOARD_RATE || row->way == PS_BOARD_RATIO;
        assert_true(!counts || of->type == PS_METRIC_COUNTER);
        bool two = row->way == PS_BOARD_RATIO || row->way == PS_BOARD_SHARE;
        assert_int_equal(two, row->over.family != NULL);
        if (two) {
            (void)family(&scene, row->over.family);
        }
    }
    close_scene(&scene);
}

static void a_row_is_told_to_the_page_and_to_the_manual(void **state)
{
    struct ps_buf out = ps_buf_make(1024 * 1024);
    (void)state;
    assert_int_equal(ps_board_write_rows(&out), PS_OK);
    json_t *rows = json_loadb(out.data, out.len, JSON_REJECT_DUPLICATES, NULL);
    assert_int_equal(json_array_size(rows), ps_board_row_count);
    for (size_t i = 0; i < ps_board_row_count; i++) {
        json_t *row = json_array_get(rows, i);
        assert_string_equal(json_string_value(json_object_get(row, "name")), ps_board_rows[i].name);
        assert_string_equal(json_string_value(json_object_get(row, "unit")), ps_board_rows[i].unit);
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(ps_board_rows[i].name, ps_board_rows[j].name);
        }
    }
    json_decref(rows);
    ps_buf_clear(&out);
    assert_int_equal(ps_board_manual(&out), PS_OK);
    assert_true(ps_str_contains(ps_buf_str(&out), PS_STR("| `upstream_healthy` | 0 or 1 | "
                                                         "`upstream`, `endpoint` |")));
    ps_buf_fini(&out);
}

/* --- values ----------------------------------------------------------------------------------- */

static void rates_are_per_second_over_all_routes(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene);
    pass(&scene, PS_SECOND);
    assert_true(value(&scene, "requests") == 0); /* nothing was counted yet: it is known to be 0 */
    assert_true(isnan(value(&scene, "error_percent")));
    count_up(&scene, "penstock_traffic_requests_total", "chat", "200", 6);
    count_up(&scene, "penstock_traffic_requests_total", "embed", "503", 2);
    count_up(&scene, "penstock_traffic_tokens_total", "chat", "output", 500);
    count_up(&scene, "penstock_traffic_tokens_total", "chat", "input", 40);
    pass(&scene, 2 * PS_SECOND);
    assert_near(value(&scene, "requests"), 4, 1e-9);
    assert_near(value(&scene, "errors"), 1, 1e-9);
    assert_near(value(&scene, "error_percent"), 25, 1e-9);
    assert_near(value(&scene, "tokens"), 250, 1e-9);
    assert_near(value(&scene, "prompt_tokens"), 20, 1e-9);
    pass(&scene, PS_SECOND);
    assert_true(value(&scene, "requests") == 0);
    assert_true(isnan(value(&scene, "error_percent")));
    close_scene(&scene);
}

static void a_quantile_of_nothing_is_unknown(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene);
    pass(&scene, PS_SECOND);
    assert_true(isnan(value(&scene, "latency_p95_ms")));
    assert_true(is_listed(&scene, "latency_p95_ms"));
    for (int i = 1; i <= 100; i++) {
        observe(&scene, "penstock_traffic_latency_seconds", i % 2 == 0 ? "a" : "b", 0.001 * i);
    }
    pass(&scene, PS_SECOND);
    assert_near(value(&scene, "latency_p50_ms"), 50, 0.05);
    assert_near(value(&scene, "latency_p95_ms"), 95, 0.05);
    assert_near(value(&scene, "latency_p99_ms"), 99, 0.05);
    assert_true(isnan(value(&scene, "ttft_p95_ms")));
    pass(&scene, PS_SECOND);
    assert_true(isnan(value(&scene, "latency_p95_ms")));
    observe(&scene, "penstock_traffic_latency_seconds", "a", 2.5); /* of this second alone */
    pass(&scene, PS_SECOND);
    assert_near(value(&scene, "latency_p50_ms"), 2500, 0.05);
    close_scene(&scene);
}

static void buckets_that_grow_coarse_do_not_spoil_a_quantile_for_long(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene);
    for (int i = 0; i < 40; i++) {
        observe(&scene, "penstock_traffic_latency_seconds", "a", 1e-9 * pow(3, i % 20));
        pass(&scene, PS_SECOND);
    }
    observe(&scene, "penstock_traffic_latency_seconds", "a", 4000); /* 40 powers of two */
    pass(&scene, PS_SECOND);
    observe(&scene, "penstock_traffic_latency_seconds", "a", 0.1);
    pass(&scene, PS_SECOND);
    assert_near(value(&scene, "latency_p50_ms"), 100, 0.35);
    close_scene(&scene);
}

static void explicit_buckets_are_read_evenly(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene);
    for (int i = 0; i < 100; i++) {
        observe(&scene, "penstock_traffic_queue_seconds", "a", 0.03); /* between 0.02 and 0.05 */
    }
    pass(&scene, PS_SECOND);
    assert_near(value(&scene, "queue_wait_p95_ms"), 20 + 0.95 * 30, 1e-9);
    observe(&scene, "penstock_traffic_queue_seconds", "a", 1e6);
    pass(&scene, PS_SECOND);
    assert_near(value(&scene, "queue_wait_p95_ms"), 600e3, 1e-9); /* the last bound */
    close_scene(&scene);
}

static void each_device_has_its_tracks(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene);
    const struct ps_metric_labels *zero = PS_LABELS(PS_STR("nvml"), PS_STR("GPU-a"), PS_STR("0"));
    const struct ps_metric_labels *one = PS_LABELS(PS_STR("nvml"), PS_STR("GPU-b"), PS_STR("1"));
    set(&scene, "penstock_gpu_memory_total_bytes", zero, 80e9);
    set(&scene, "penstock_gpu_memory_total_bytes", one, 40e9);
    set(&scene, "penstock_gpu_memory_used_bytes", zero, 20e9);
    set(&scene, "penstock_gpu_memory_used_bytes", one, 30e9);
    set(&scene, "penstock_gpu_power_watts", zero, 300);
    set(&scene, "penstock_gpu_power_watts", one, 200);
    set(&scene, "penstock_gpu_temperature_celsius", zero, 71);
    set(&scene, "penstock_gpu_temperature_celsius", one, 66);
    set(&scene, "penstock_gpu_used_ratio", NULL, 0.75);
    pass(&scene, PS_SECOND);
    assert_near(value(&scene, "gpu"), 75, 1e-9);
    assert_near(value(&scene, "gpu_memory_percent{source=\"nvml\",index=\"0\"}"), 25, 1e-9);
    assert_near(value(&scene, "gpu_memory_percent{source=\"nvml\",index=\"1\"}"), 75, 1e-9);
    assert_near(value(&scene, "gpu_power_watts"), 500, 1e-9);
    assert_near(value(&scene, "gpu_temperature_celsius"), 71, 1e-9);
    assert_true(isnan(value(&scene, "gpu_busy_percent"))); /* nobody says */
    assert_true(isnan(value(&scene, "gpu_level")));
    close_scene(&scene);
}

static void a_series_of_its_own_is_seen_twice_before_it_has_a_rate(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene);
    const char *key = "cache_node_operations{node=\"redis-1:6379\"}";
    count_up(&scene, "penstock_cache_node_operations_total", "redis-1:6379", NULL, 1000000);
    pass(&scene, PS_SECOND);
    assert_true(isnan(value(&scene, key))); /* not a million a second */
    count_up(&scene, "penstock_cache_node_operations_total", "redis-1:6379", NULL, 40);
    pass(&scene, PS_SECOND);
    assert_near(value(&scene, key), 40, 1e-9);
    close_scene(&scene);
}

static void a_counter_that_falls_has_no_rate_for_a_second(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene);
    count_up(&scene, "penstock_traffic_retries_total", "a", NULL, 5);
    count_up(&scene, "penstock_traffic_retries_total", "b", NULL, 5);
    pass(&scene, PS_SECOND);
    assert_near(value(&scene, "retries"), 10, 1e-9);
    assert_int_equal(ps_metrics_drop(scene.metrics, "upstream", PS_STR("a")), 1);
    pass(&scene, PS_SECOND);
    assert_true(isnan(value(&scene, "retries")));
    pass(&scene, PS_SECOND);
    assert_true(value(&scene, "retries") == 0);
    close_scene(&scene);
}

/* An endpoint leaves: its track is a gap, and is forgotten when its last point is. */
static void what_is_gone_is_a_gap_and_then_gone(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene);
    const char *key = "upstream_healthy{upstream=\"a\",endpoint=\"h:80\"}";
    set(&scene, "penstock_backend_up", PS_LABELS(PS_STR("a"), PS_STR("h:80")), 1);
    pass(&scene, PS_SECOND);
    assert_true(value(&scene, key) == 1);
    assert_int_equal(ps_metrics_drop(scene.metrics, "upstream", PS_STR("a")), 1);
    pass(&scene, PS_SECOND);
    assert_true(isnan(value(&scene, key)) && is_listed(&scene, key));
    for (int i = 0; i < 400; i++) {
        pass(&scene, PS_SECOND);
    }
    assert_false(is_listed(&scene, key));
    set(&scene, "penstock_backend_up", PS_LABELS(PS_STR("a"), PS_STR("h:80")), 0);
    pass(&scene, PS_SECOND);
    assert_true(value(&scene, key) == 0 && is_listed(&scene, key));
    close_scene(&scene);
}

static void label_values_are_written_as_promql_does(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene);
    set(&scene, "penstock_backend_up", PS_LABELS(PS_STR("a\"b\\c\nd"), PS_STR("h")), 1);
    set(&scene, "penstock_backend_up", PS_LABELS(PS_STR(""), PS_STR("")), 0);
    pass(&scene, PS_SECOND);
    assert_true(value(&scene, "upstream_healthy{upstream=\"a\\\"b\\\\c\\nd\",endpoint=\"h\"}") ==
                1);
    assert_true(value(&scene, "upstream_healthy") == 0);
    close_scene(&scene);
}

static void an_endpoint_is_the_same_word_in_every_row(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene);
    set(&scene, "penstock_backend_up", PS_LABELS(PS_STR("a"), PS_STR("h:80")), 1);
    set(&scene, "penstock_gpu_server_running", PS_LABELS(PS_STR("a"), PS_STR("http://h:80")), 3);
    pass(&scene, PS_SECOND);
    assert_true(value(&scene, "upstream_healthy{upstream=\"a\",endpoint=\"h:80\"}") == 1);
    assert_true(value(&scene, "upstream_running{upstream=\"a\",endpoint=\"h:80\"}") == 3);
    close_scene(&scene);
}

static void there_is_an_end_to_tracks(void **state)
{
    struct scene scene;
    char name[320];
    const char *const *keys;
    (void)state;
    open_scene(&scene);
    for (int i = 0; i < 2 * PS_BOARD_TRACKS; i++) {
        snprintf(name, sizeof name, "e%d", i);
        set(&scene, "penstock_backend_up", PS_LABELS(PS_STR("a"), ps_str_from(name)), 1);
    }
    memset(name, 'x', sizeof name - 1);
    name[250] = '\0';
    set(&scene, "penstock_admit_in_flight", PS_LABELS(ps_str_from(name)), 3);
    set(&scene, "penstock_cache_node_up", PS_LABELS(ps_str_from(name)), 1);
    pass(&scene, PS_SECOND);
    assert_true(ps_board_keys(scene.board, &keys) <= PS_BOARD_TRACKS);
    assert_near(value(&scene, "in_flight"), 3, 1e-9); /* rows of before have their place */
    close_scene(&scene);
}

static void custom_metrics_are_found(void **state)
{
    static const struct ps_metric_family rows[] = {
        {.name = "orders_open", .type = PS_METRIC_GAUGE, .help = "Open", .labels = {"shop"}},
        {.name = "orders_total", .type = PS_METRIC_COUNTER, .help = "All"},
        {0}};
    struct scene scene;
    (void)state;
    open_scene(&scene);
    pass(&scene, PS_SECOND);
    assert_int_equal(ps_metrics_declare(scene.metrics, rows, NULL), PS_OK);
    set(&scene, "orders_open", PS_LABELS(PS_STR("x")), 7);
    count_up(&scene, "orders_total", NULL, NULL, 3);
    pass(&scene, PS_SECOND);
    pass(&scene, PS_SECOND);
    assert_true(is_listed(&scene, "orders_open{shop=\"x\"}"));
    assert_true(is_listed(&scene, "rate(orders_total)"));
    const char *const *keys;
    size_t count = ps_board_keys(scene.board, &keys);
    for (size_t i = 0; i < count; i++) { /* each once, and none of our own families */
        assert_null(strstr(keys[i], "penstock_"));
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(keys[i], keys[j]);
        }
    }
    close_scene(&scene);
}

static void no_more_custom_tracks_than_a_frame_has_by_default(void **state)
{
    static const struct ps_metric_family rows[] = {
        {.name = "many", .type = PS_METRIC_GAUGE, .help = "Many", .labels = {"n"}}, {0}};
    struct scene scene;
    char name[16];
    size_t found = 0;
    const char *const *keys;
    (void)state;
    open_scene(&scene);
    assert_int_equal(ps_metrics_declare(scene.metrics, rows, NULL), PS_OK);
    for (int i = 0; i < 2 * PS_BOARD_CUSTOM; i++) {
        snprintf(name, sizeof name, "%d", i);
        set(&scene, "many", PS_LABELS(ps_str_from(name)), i);
    }
    for (int i = 0; i < 3; i++) {
        pass(&scene, PS_SECOND);
    }
    size_t count = ps_board_keys(scene.board, &keys);
    for (size_t i = 0; i < count; i++) {
        found += strncmp(keys[i], "many{", 5) == 0 ? 1 : 0;
    }
    assert_int_equal(found, PS_BOARD_CUSTOM);
    close_scene(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_names_metrics_and_labels_that_there_are),
        cmocka_unit_test(a_row_is_told_to_the_page_and_to_the_manual),
        cmocka_unit_test(rates_are_per_second_over_all_routes),
        cmocka_unit_test(a_quantile_of_nothing_is_unknown),
        cmocka_unit_test(buckets_that_grow_coarse_do_not_spoil_a_quantile_for_long),
        cmocka_unit_test(explicit_buckets_are_read_evenly),
        cmocka_unit_test(each_device_has_its_tracks),
        cmocka_unit_test(a_series_of_its_own_is_seen_twice_before_it_has_a_rate),
        cmocka_unit_test(a_counter_that_falls_has_no_rate_for_a_second),
        cmocka_unit_test(what_is_gone_is_a_gap_and_then_gone),
        cmocka_unit_test(label_values_are_written_as_promql_does),
        cmocka_unit_test(an_endpoint_is_the_same_word_in_every_row),
        cmocka_unit_test(there_is_an_end_to_tracks),
        cmocka_unit_test(custom_metrics_are_found),
        cmocka_unit_test(no_more_custom_tracks_than_a_frame_has_by_default),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
