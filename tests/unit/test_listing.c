#include "export/listing.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/check.h"

static const double bounds[] = {0.1, 1};
static const char *const states[] = {"open", "shut", NULL};

enum { REQUESTS, DEPTH, WAIT, SPREAD, BUILD, DOOR };

static const struct ps_metric_family rows[] = {
    [REQUESTS] = {.name = "t_requests_total",
                  .type = PS_METRIC_COUNTER,
                  .help = "Say \"what\"",
                  .labels = {"route", "code"}},
    [DEPTH] = {.name = "t_depth_bytes",
               .type = PS_METRIC_GAUGE,
               .help = "How deep",
               .unit = "bytes"},
    [WAIT] = {.name = "t_wait",
              .type = PS_METRIC_HISTOGRAM,
              .help = "Waiting",
              .bounds = bounds,
              .bounds_count = 2},
    [SPREAD] = {.name = "t_spread", .type = PS_METRIC_EXPONENTIAL, .help = "Spread"},
    [BUILD] = {.name = "t_build_info",
               .type = PS_METRIC_INFO,
               .help = "Build",
               .labels = {"version"}},
    [DOOR] = {.name = "t_door", .type = PS_METRIC_STATESET, .help = "Door", .states = states},
    {0},
};

static struct ps_metrics *make(void)
{
    struct ps_metrics *metrics = NULL;
    struct ps_metrics_opts opts = {.shards = 2};
    assert_int_equal(ps_metrics_new(&metrics, &opts), PS_OK);
    assert_int_equal(ps_metrics_declare(metrics, rows, NULL), PS_OK);
    return metrics;
}

/* The metric of this name, out of a document that the caller frees. */
static json_t *metric_of(json_t *document, const char *name)
{
    json_t *one;
    size_t i;
    json_array_foreach(json_object_get(document, "metrics"), i, one)
    {
        if (strcmp(json_string_value(json_object_get(one, "name")), name) == 0) {
            return one;
        }
    }
    return NULL;
}

static json_t *list(struct ps_metrics *metrics)
{
    struct ps_buf out = ps_buf_make(1 << 20);
    assert_int_equal(ps_listing_write(metrics, &out), PS_OK);
    json_error_t error;
    json_t *document =
        json_loadb(out.data, out.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (document == NULL) {
        print_message("%s in %.*s\n", error.text, PS_STR_ARG(ps_buf_str(&out)));
    }
    assert_non_null(document);
    ps_buf_fini(&out);
    return document;
}

static json_t *first_series(json_t *document, const char *name)
{
    return json_array_get(json_object_get(metric_of(document, name), "series"), 0);
}

static void definitions_show_before_values_do(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make();
    json_t *document = list(metrics);
    json_t *depth = metric_of(document, "t_depth_bytes");
    assert_string_equal(json_string_value(json_object_get(depth, "type")), "gauge");
    assert_string_equal(json_string_value(json_object_get(depth, "unit")), "bytes");
    assert_int_equal(json_array_size(json_object_get(depth, "series")), 0);
    json_t *requests = metric_of(document, "t_requests_total");
    assert_string_equal(json_string_value(json_object_get(requests, "help")), "Say \"what\"");
    assert_int_equal(json_array_size(json_object_get(requests, "labels")), 2);
    json_decref(document);
    ps_metrics_free(metrics);
}

static void every_type_shows_its_value(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make();
    struct ps_counter *requests;
    struct ps_gauge *depth;
    struct ps_histogram *wait, *spread;
    struct ps_metric_handle *build;
    struct ps_stateset *door;
    struct ps_str odd = {"a\0\"\xff", 4};
    assert_int_equal(ps_metric_counter(metrics, &rows[REQUESTS], PS_LABELS(odd), &requests), PS_OK);
    assert_int_equal(ps_metric_gauge(metrics, &rows[DEPTH], NULL, &depth), PS_OK);
    assert_int_equal(ps_metric_histogram(metrics, &rows[WAIT], NULL, &wait), PS_OK);
    assert_int_equal(ps_metric_histogram(metrics, &rows[SPREAD], NULL, &spread), PS_OK);
    assert_int_equal(ps_metric_info(metrics, &rows[BUILD], PS_LABELS(PS_STR("1")), &build), PS_OK);
    assert_int_equal(ps_metric_stateset(metrics, &rows[DOOR], NULL, &door), PS_OK);
    ps_counter_add_shared(requests, 7);
    ps_gauge_set(depth, INFINITY);
    ps_histogram_observe_shared(wait, 0.5);
    ps_histogram_observe_shared(spread, -2);
    ps_stateset_set(door, 2);
    json_t *document = list(metrics);
    json_t *one = first_series(document, "t_requests_total");
    assert_true(json_number_value(json_object_get(one, "value")) == 7);
    json_t *route = json_object_get(json_object_get(one, "labels"), "route");
    assert_int_equal(json_string_length(route), 6);
    assert_memory_equal(json_string_value(route), "a\0\"\xef\xbf\xbd", 6);
    one = first_series(document, "t_depth_bytes");
    assert_string_equal(json_string_value(json_object_get(one, "value")), "+Inf");
    one = first_series(document, "t_wait");
    json_t *bucket = json_array_get(json_object_get(one, "buckets"), 1);
    assert_int_equal(json_integer_value(json_object_get(bucket, "count")), 1);
    assert_true(json_number_value(json_object_get(bucket, "le")) == 1);
    one = json_object_get(first_series(document, "t_spread"), "exponential");
    json_t *below = json_object_get(one, "below");
    assert_int_equal(json_integer_value(json_object_get(below, "low")), 255);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(below, "counts"), 0)), 1);
    one = json_object_get(first_series(document, "t_door"), "states");
    assert_true(json_is_true(json_object_get(one, "shut")) &&
                json_is_false(json_object_get(one, "open")));
    json_decref(document);
    ps_metrics_free(metrics);
}

static void a_document_over_its_limit_leaves_the_buffer_as_it_was(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make();
    struct ps_buf whole = ps_buf_make(1 << 20);
    assert_int_equal(ps_listing_write(metrics, &whole), PS_OK);
    for (size_t limit = 3; limit < whole.len + 3; limit += 5) {
        struct ps_buf out = ps_buf_make(limit);
        assert_int_equal(ps_buf_append_str(&out, PS_STR("abc")), PS_OK);
        assert_int_equal(ps_listing_write(metrics, &out), PS_ELIMIT);
        assert_true(ps_str_eq(ps_buf_str(&out), PS_STR("abc")));
        ps_buf_fini(&out);
    }
    ps_buf_fini(&whole);
    ps_metrics_free(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(definitions_show_before_values_do),
        cmocka_unit_test(every_type_shows_its_value),
        cmocka_unit_test(a_document_over_its_limit_leaves_the_buffer_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
