/* What the formats differ in: exemplars, creation times, info, stateset, native histograms. */
#include "export/prometheus.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <prometheus.pb-c.h>

#include "base/check.h"
#include "base/rng.h"

static const double bounds[] = {0.1, 1};
static const char *const states[] = {"open", "s\"hut", NULL};

enum { REQUESTS, WAIT, SPREAD, BUILD, DOOR, PAID };

static const struct ps_metric_family rows[] = {
    [REQUESTS] = {.name = "t_requests_total",
                  .type = PS_METRIC_COUNTER,
                  .help = "Requests",
                  .labels = {"route"},
                  .exemplars = true},
    [WAIT] = {.name = "t_wait_seconds",
              .type = PS_METRIC_HISTOGRAM,
              .help = "Waiting",
              .unit = "seconds",
              .bounds = bounds,
              .bounds_count = 2,
              .exemplars = true},
    [SPREAD] = {.name = "t_spread",
                .type = PS_METRIC_EXPONENTIAL,
                .help = "Spread",
                .exemplars = true},
    [BUILD] = {.name = "t_build_info",
               .type = PS_METRIC_INFO,
               .help = "Build",
               .labels = {"version"}},
    [DOOR] = {.name = "t_door",
              .type = PS_METRIC_STATESET,
              .help = "Door",
              .labels = {"house"},
              .states = states},
    [PAID] = {.name = "t_paid_total",
              .type = PS_METRIC_COUNTER,
              .help = "Paid",
              .fractional = true},
    {0},
};

/* ---- help for the cases */

static struct ps_clock clock_at;

static void mark(struct ps_metric_handle *handle, double value, bool span)
{
    struct ps_exemplar one = {.value = value,
                              .wall = 1700000000 * PS_SECOND + 250 * PS_MILLISECOND};
    memset(one.trace_id, 0xab, sizeof one.trace_id);
    memset(one.span_id, span ? 0xcd : 0, sizeof one.span_id);
    ps_metric_exemplar(handle, &one);
}

static struct ps_metrics *make(void)
{
    struct ps_metrics *metrics = NULL;
    ps_clock_init_manual(&clock_at, 0, 1600000000 * PS_SECOND + 500 * PS_MILLISECOND);
    struct ps_metrics_opts opts = {.shards = 2, .clock = &clock_at};
    assert_int_equal(ps_metrics_new(&metrics, &opts), PS_OK);
    assert_int_equal(ps_metrics_declare(metrics, rows, NULL), PS_OK);
    struct ps_counter *requests, *paid;
    struct ps_histogram *wait, *spread;
    struct ps_metric_handle *build;
    struct ps_stateset *door;
    const struct ps_metric_labels *chat = PS_LABELS(PS_STR("chat"));
    assert_int_equal(ps_metric_counter(metrics, &rows[REQUESTS], chat, &requests), PS_OK);
    assert_int_equal(ps_metric_counter(metrics, &rows[PAID], NULL, &paid), PS_OK);
    assert_int_equal(ps_metric_histogram(metrics, &rows[WAIT], NULL, &wait), PS_OK);
    assert_int_equal(ps_metric_histogram(metrics, &rows[SPREAD], NULL, &spread), PS_OK);
    assert_int_equal(ps_metric_info(metrics, &rows[BUILD], PS_LABELS(PS_STR("1.2")), &build),
                     PS_OK);
    assert_int_equal(ps_metric_stateset(metrics, &rows[DOOR], PS_LABELS(PS_STR("a")), &door),
                     PS_OK);
    ps_counter_add_shared(requests, 3);
    ps_counter_add_double_shared(paid, 0.5);
    ps_counter_add_double_shared(paid, -1);
    ps_counter_add_double_shared(paid, NAN);
    ps_histogram_observe_shared(wait, 0.5);
    ps_histogram_observe_shared(spread, 3);
    ps_histogram_observe_shared(spread, INFINITY);
    ps_stateset_set(door, 2);
    mark(&requests->handle, 1, true);
    mark(&wait->handle, 0.5, false);
    mark(&spread->handle, 3, true);
    return metrics;
}

static struct ps_buf page_of(struct ps_metrics *metrics, enum ps_prometheus_format format)
{
    struct ps_buf out = ps_buf_make(1 << 22);
    assert_int_equal(ps_prometheus_write(metrics, format, &out), PS_OK);
    return out;
}

static void assert_has(const struct ps_buf *page, const char *text)
{
    if (!ps_str_contains(ps_buf_str(page), ps_str_from(text))) {
        print_message("missing: %s\nin: %.*s\n", text, PS_STR_ARG(ps_buf_str(page)));
        fail();
    }
}

/* ---- texts */

static void openmetrics_shows_all_kinds(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make();
    struct ps_buf page = page_of(metrics, PS_PROMETHEUS_OPENMETRICS);
    const char *trace = "abababababababababababababababab";
    char line[256];
    snprintf(
        line, sizeof line,
        "\nt_requests_total{route=\"chat\"} 3 # {trace_id=\"%s\",span_id=\"cdcdcdcdcdcdcdcd\"} 1 "
        "1700000000.250\nt_requests_created{route=\"chat\"} 1600000000.500\n",
        trace);
    assert_has(&page, line);
    snprintf(line, sizeof line,
             "t_wait_seconds_bucket{le=\"1.0\"} 1 # {trace_id=\"%s\"} 0.5 1700000000.250\n"
             "t_wait_seconds_bucket{le=\"+Inf\"} 1\n",
             trace);
    assert_has(&page, line);
    assert_has(&page, "\nt_wait_seconds_count 1\nt_wait_seconds_created 1600000000.500\n");
    assert_has(&page,
               "\n# TYPE t_build info\n# HELP t_build Build\nt_build_info{version=\"1.2\"} 1\n");
    assert_has(&page, "\n# TYPE t_door stateset\n# HELP t_door Door\n"
                      "t_door{house=\"a\",t_door=\"open\"} 0\n"
                      "t_door{house=\"a\",t_door=\"s\\\"hut\"} 1\n");
    assert_has(&page,
               "\nt_spread_bucket{le=\"1.0\"} 0\nt_spread_bucket{le=\"4.0\"} 1 # {trace_id=");
    assert_has(&page, "\nt_spread_sum 3\nt_spread_count 1\n");
    assert_has(&page, "\nt_paid_total 0.5\n");
    ps_buf_fini(&page);
    ps_metrics_free(metrics);
}

static void text_shows_them_as_it_can(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make();
    struct ps_buf page = page_of(metrics, PS_PROMETHEUS_TEXT);
    struct ps_str text = ps_buf_str(&page);
    assert_has(&page, "\nt_requests_total{route=\"chat\"} 3\n");
    assert_has(&page, "\n# TYPE t_build_info gauge\nt_build_info{version=\"1.2\"} 1\n");
    assert_has(&page, "\n# TYPE t_door gauge\nt_door{house=\"a\",t_door=\"open\"} 0\n");
    assert_has(&page, "\n# TYPE t_spread histogram\n");
    assert_false(ps_str_contains(text, PS_STR("_created")));
    assert_false(ps_str_contains(text, PS_STR("trace_id")));
    ps_buf_fini(&page);
    ps_metrics_free(metrics);
}

/* ---- protobuf: read back with the generated reader; a real Prometheus does so in a scenario */

static Ps__Prometheus__MetricFamily *next_family(struct ps_str *page)
{
    size_t len = 0;
    for (unsigned shift = 0; page->len > 0; shift += 7) {
        unsigned char byte = (unsigned char)page->ptr[0];
        *page = ps_str_skip(*page, 1);
        len |= (size_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            break;
        }
    }
    assert_true(len > 0 && len <= page->len);
    Ps__Prometheus__MetricFamily *family =
        ps__prometheus__metric_family__unpack(NULL, len, (const uint8_t *)page->ptr);
    assert_non_null(family);
    *page = ps_str_skip(*page, len);
    return family;
}

static Ps__Prometheus__MetricFamily *family_of(const struct ps_buf *page, const char *name)
{
    struct ps_str rest = ps_buf_str(page);
    while (rest.len > 0) {
        Ps__Prometheus__MetricFamily *family = next_family(&rest);
        if (strcmp(family->name, name) == 0) {
            return family;
        }
        ps__prometheus__metric_family__free_unpacked(family, NULL);
    }
    return NULL;
}

static void drop(Ps__Prometheus__MetricFamily *family)
{
    ps__prometheus__metric_family__free_unpacked(family, NULL);
}

static void protobuf_shows_all_kinds(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make();
    struct ps_buf page = page_of(metrics, PS_PROMETHEUS_PROTOBUF);
    Ps__Prometheus__MetricFamily *family = family_of(&page, "t_requests_total");
    assert_int_equal(family->type, PS__PROMETHEUS__METRIC_TYPE__COUNTER);
    assert_string_equal(family->help, "Requests");
    const Ps__Prometheus__Counter *counter = family->metric[0]->counter;
    assert_true(counter->value == 3);
    assert_int_equal(counter->created_timestamp->seconds, 1600000000);
    assert_int_equal(counter->exemplar->n_label, 2);
    assert_memory_equal(counter->exemplar->label[1]->value.data, "cdcdcdcdcdcdcdcd", 16);
    drop(family);
    family = family_of(&page, "t_wait_seconds");
    assert_string_equal(family->unit, "seconds");
    const Ps__Prometheus__Histogram *wait = family->metric[0]->histogram;
    assert_int_equal(wait->n_bucket, 3);
    assert_true(isinf(wait->bucket[2]->upper_bound) && wait->bucket[1]->cumulative_count == 1);
    assert_non_null(wait->bucket[1]->exemplar);
    assert_null(wait->bucket[2]->exemplar);
    assert_false(wait->has_schema);
    drop(family);
    family = family_of(&page, "t_door");
    assert_int_equal(family->n_metric, 2);
    assert_true(family->metric[1]->gauge->value == 1 && family->metric[0]->gauge->value == 0);
    assert_int_equal(family->metric[1]->n_label, 2);
    drop(family);
    family = family_of(&page, "t_build_info");
    assert_int_equal(family->type, PS__PROMETHEUS__METRIC_TYPE__GAUGE);
    drop(family);
    ps_buf_fini(&page);
    ps_metrics_free(metrics);
}

/* The counts of one side, by bucket, as spans and deltas tell them. */
static uint64_t spread_out(size_t spans, Ps__Prometheus__BucketSpan **span, const int64_t *deltas,
                           double base, double *lowest, double *highest)
{
    int64_t count = 0, sum = 0, index = 0;
    size_t at = 0;
    for (size_t i = 0; i < spans; i++) {
        index += span[i]->offset;
        assert_true(i == 0 || span[i]->offset > 0);
        for (uint32_t k = 0; k < span[i]->length; k++, index++) {
            count += deltas[at++];
            assert_true(count >= 0);
            sum += count;
            if (count > 0) {
                *lowest = *lowest == 0 ? pow(base, (double)index - 1) : *lowest;
                *highest = pow(base, (double)index);
            }
        }
    }
    return (uint64_t)sum;
}

static void native_histograms_tell_every_value(void **state)
{
    (void)state;
    struct ps_rng rng = ps_rng_make(9);
    for (int round = 0; round < 50; round++) {
        struct ps_metrics *metrics = make();
        struct ps_histogram *spread;
        assert_int_equal(ps_metric_histogram(metrics, &rows[SPREAD], NULL, &spread), PS_OK);
        double least = 3, most = 3;
        for (int i = 0; i < 400; i++) {
            double value = exp2(ps_rng_unit(&rng) * (round % 20) * 2 - (round % 20));
            ps_histogram_observe_shared(spread, i % 7 == 0 ? -value : value);
            least = i % 7 != 0 && value < least ? value : least;
            most = i % 7 != 0 && value > most ? value : most;
        }
        struct ps_buf page = page_of(metrics, PS_PROMETHEUS_PROTOBUF);
        Ps__Prometheus__MetricFamily *family = family_of(&page, "t_spread");
        const Ps__Prometheus__Histogram *native = family->metric[0]->histogram;
        double base = exp2(ldexp(1, -native->schema));
        double lowest = 0, highest = 0, ignored = 0;
        assert_true(native->schema >= -4 && native->schema <= 8);
        assert_true(native->zero_threshold > 0 && native->zero_threshold < 1e-30);
        uint64_t above = spread_out(native->n_positive_span, native->positive_span,
                                    native->positive_delta, base, &lowest, &highest);
        uint64_t below = spread_out(native->n_negative_span, native->negative_span,
                                    native->negative_delta, base, &ignored, &ignored);
        assert_int_equal(above, 401 - 58);
        assert_int_equal(below, 58);
        assert_int_equal(native->sample_count, 401);
        assert_true(lowest < least * (1 + 1e-9) && least <= lowest * base * (1 + 1e-9));
        assert_true(most <= highest * (1 + 1e-9) && most > highest / base * (1 - 1e-9));
        assert_int_equal(native->bucket[native->n_bucket - 1]->cumulative_count, 401);
        drop(family);
        ps_buf_fini(&page);
        ps_metrics_free(metrics);
    }
}

static void what_is_native_alone_is_in_protobuf_alone(void **state)
{
    static const struct ps_metric_family fine[] = {{.name = "t_fine_seconds",
                                                    .type = PS_METRIC_EXPONENTIAL,
                                                    .help = "Fine",
                                                    .unit = "seconds",
                                                    .native = true},
                                                   {0}};
    static const struct {
        enum ps_prometheus_format format;
        bool shown;
    } cases[] = {{PS_PROMETHEUS_TEXT, false},
                 {PS_PROMETHEUS_OPENMETRICS, false},
                 {PS_PROMETHEUS_PROTOBUF, true}};
    struct ps_metrics *metrics = make();
    struct ps_histogram *histogram;
    (void)state;
    assert_int_equal(ps_metrics_declare(metrics, fine, NULL), PS_OK);
    assert_int_equal(ps_metric_histogram(metrics, &fine[0], NULL, &histogram), PS_OK);
    ps_histogram_observe_shared(histogram, 0.5);
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        struct ps_buf page = ps_buf_make(1024 * 1024);
        assert_int_equal(ps_prometheus_write(metrics, cases[i].format, &page), PS_OK);
        assert_int_equal(ps_str_contains(ps_buf_str(&page), PS_STR("t_fine")), cases[i].shown);
        assert_true(ps_str_contains(ps_buf_str(&page), PS_STR("t_wait_seconds")));
        ps_buf_fini(&page);
    }
    ps_metrics_free(metrics);
}

static void a_protobuf_page_over_its_limit_leaves_the_buffer_as_it_was(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make();
    struct ps_buf whole = page_of(metrics, PS_PROMETHEUS_PROTOBUF);
    for (size_t limit = 3; limit < whole.len + 3; limit += 11) {
        struct ps_buf out = ps_buf_make(limit);
        assert_int_equal(ps_buf_append_str(&out, PS_STR("abc")), PS_OK);
        assert_int_equal(ps_prometheus_write(metrics, PS_PROMETHEUS_PROTOBUF, &out), PS_ELIMIT);
        assert_true(ps_str_eq(ps_buf_str(&out), PS_STR("abc")));
        ps_buf_fini(&out);
    }
    ps_buf_fini(&whole);
    ps_metrics_free(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openmetrics_shows_all_kinds),
        cmocka_unit_test(text_shows_them_as_it_can),
        cmocka_unit_test(protobuf_shows_all_kinds),
        cmocka_unit_test(native_histograms_tell_every_value),
        cmocka_unit_test(what_is_native_alone_is_in_protobuf_alone),
        cmocka_unit_test(a_protobuf_page_over_its_limit_leaves_the_buffer_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
