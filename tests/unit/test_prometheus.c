#include "export/prometheus.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/rng.h"

static const double bounds[] = {0.00001, 0.1, 1, 2.5, 100000, 1000000};
static const double signs[] = {-1, 1};

enum { REQUESTS, DEPTH, WAIT, BALANCE };

static const struct ps_metric_family rows[] = {
    [REQUESTS] = {.name = "penstock_test_read_bytes_total",
                  .type = PS_METRIC_COUNTER,
                  .help = "Bytes \"read\" \\ seen,\nall of them",
                  .unit = "bytes",
                  .labels = {"route", "code"}},
    [DEPTH] = {.name = "penstock_test_depth", .type = PS_METRIC_GAUGE, .help = "How deep"},
    [WAIT] = {.name = "penstock_test_wait_seconds",
              .type = PS_METRIC_HISTOGRAM,
              .help = "Waiting",
              .unit = "seconds",
              .labels = {"route"},
              .bounds = bounds,
              .bounds_count = PS_ARRAY_LEN(bounds)},
    [BALANCE] = {.name = "penstock_test_balance",
                 .type = PS_METRIC_HISTOGRAM,
                 .help = "Either way",
                 .bounds = signs,
                 .bounds_count = PS_ARRAY_LEN(signs)},
    {0},
};

/* ---- help for the cases */

static struct ps_metrics *make(void)
{
    struct ps_metrics *metrics = NULL;
    struct ps_metrics_opts opts = {.shards = 2};
    assert_int_equal(ps_metrics_new(&metrics, &opts), PS_OK);
    assert_int_equal(ps_metrics_declare(metrics, rows, NULL), PS_OK);
    return metrics;
}

static void count(struct ps_metrics *metrics, struct ps_str route, struct ps_str code, uint64_t n)
{
    struct ps_counter *counter;
    assert_int_equal(ps_metric_counter(metrics, &rows[REQUESTS], PS_LABELS(route, code), &counter),
                     PS_OK);
    ps_counter_add_shared(counter, n);
}

static void set(struct ps_metrics *metrics, double value)
{
    struct ps_gauge *gauge;
    assert_int_equal(ps_metric_gauge(metrics, &rows[DEPTH], NULL, &gauge), PS_OK);
    ps_gauge_set(gauge, value);
}

static void observe(struct ps_metrics *metrics, const char *route, double value)
{
    struct ps_histogram *wait;
    const struct ps_metric_labels *labels = PS_LABELS(ps_str_from(route));
    unsigned shard;
    assert_int_equal(ps_metrics_shard_get(metrics, &shard), PS_OK);
    assert_int_equal(ps_metric_histogram(metrics, &rows[WAIT], labels, &wait), PS_OK);
    ps_histogram_observe(wait, shard, value);
    ps_metrics_shard_put(metrics, shard);
}

/* Some of everything. */
static struct ps_metrics *make_full(void)
{
    struct ps_metrics *metrics = make();
    count(metrics, PS_STR("chat"), PS_STR("200"), 1234);
    count(metrics, PS_STR("a\"b\\c\nd"), PS_STR(""), 1);
    set(metrics, 0.1 + 0.2);
    observe(metrics, "chat", 0.1);
    observe(metrics, "chat", 0.5);
    observe(metrics, "chat", 3000000);
    return metrics;
}

static char *page_of(struct ps_metrics *metrics, enum ps_prometheus_format format)
{
    struct ps_buf out = ps_buf_make(1 << 22);
    assert_int_equal(ps_prometheus_write(metrics, format, &out), PS_OK);
    char *text = ps_str_dup(ps_buf_str(&out));
    assert_non_null(text);
    ps_buf_fini(&out);
    return text;
}

/* ---- pages */

static void text_page_is_as_golden(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make_full();
    char *page = page_of(metrics, PS_PROMETHEUS_TEXT);
    assert_string_equal(
        page, "# HELP penstock_metric_series Series that the registry holds\n"
              "# TYPE penstock_metric_series gauge\n"
              "penstock_metric_series 6\n"
              "# HELP penstock_test_read_bytes_total Bytes \"read\" \\\\ seen,\\nall of them\n"
              "# TYPE penstock_test_read_bytes_total counter\n"
              "penstock_test_read_bytes_total{route=\"chat\",code=\"200\"} 1234\n"
              "penstock_test_read_bytes_total{route=\"a\\\"b\\\\c\\nd\"} 1\n"
              "# HELP penstock_test_depth How deep\n"
              "# TYPE penstock_test_depth gauge\n"
              "penstock_test_depth 0.30000000000000004\n"
              "# HELP penstock_test_wait_seconds Waiting\n"
              "# TYPE penstock_test_wait_seconds histogram\n"
              "penstock_test_wait_seconds_bucket{route=\"chat\",le=\"1e-05\"} 0\n"
              "penstock_test_wait_seconds_bucket{route=\"chat\",le=\"0.1\"} 1\n"
              "penstock_test_wait_seconds_bucket{route=\"chat\",le=\"1\"} 2\n"
              "penstock_test_wait_seconds_bucket{route=\"chat\",le=\"2.5\"} 2\n"
              "penstock_test_wait_seconds_bucket{route=\"chat\",le=\"100000\"} 2\n"
              "penstock_test_wait_seconds_bucket{route=\"chat\",le=\"1e+06\"} 2\n"
              "penstock_test_wait_seconds_bucket{route=\"chat\",le=\"+Inf\"} 3\n"
              "penstock_test_wait_seconds_sum{route=\"chat\"} 3000000.6\n"
              "penstock_test_wait_seconds_count{route=\"chat\"} 3\n"
              "# HELP penstock_test_balance Either way\n"
              "# TYPE penstock_test_balance histogram\n"
              "penstock_test_balance_bucket{le=\"-1\"} 0\n"
              "penstock_test_balance_bucket{le=\"1\"} 0\n"
              "penstock_test_balance_bucket{le=\"+Inf\"} 0\n"
              "penstock_test_balance_sum 0\n"
              "penstock_test_balance_count 0\n");
    free(page);
    ps_metrics_free(metrics);
}

static void openmetrics_page_is_as_golden(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make_full();
    char *page = page_of(metrics, PS_PROMETHEUS_OPENMETRICS);
    assert_string_equal(
        page, "# TYPE penstock_metric_series gauge\n"
              "# HELP penstock_metric_series Series that the registry holds\n"
              "penstock_metric_series 6\n"
              "# TYPE penstock_test_read_bytes counter\n"
              "# UNIT penstock_test_read_bytes bytes\n"
              "# HELP penstock_test_read_bytes Bytes \\\"read\\\" \\\\ seen,\\nall of them\n"
              "penstock_test_read_bytes_total{route=\"chat\",code=\"200\"} 1234\n"
              "penstock_test_read_bytes_total{route=\"a\\\"b\\\\c\\nd\"} 1\n"
              "# TYPE penstock_test_depth gauge\n"
              "# HELP penstock_test_depth How deep\n"
              "penstock_test_depth 0.30000000000000004\n"
              "# TYPE penstock_test_wait_seconds histogram\n"
              "# UNIT penstock_test_wait_seconds seconds\n"
              "# HELP penstock_test_wait_seconds Waiting\n"
              "penstock_test_wait_seconds_bucket{route=\"chat\",le=\"1e-05\"} 0\n"
              "penstock_test_wait_seconds_bucket{route=\"chat\",le=\"0.1\"} 1\n"
              "penstock_test_wait_seconds_bucket{route=\"chat\",le=\"1.0\"} 2\n"
              "penstock_test_wait_seconds_bucket{route=\"chat\",le=\"2.5\"} 2\n"
              "penstock_test_wait_seconds_bucket{route=\"chat\",le=\"100000.0\"} 2\n"
              "penstock_test_wait_seconds_bucket{route=\"chat\",le=\"1e+06\"} 2\n"
              "penstock_test_wait_seconds_bucket{route=\"chat\",le=\"+Inf\"} 3\n"
              "penstock_test_wait_seconds_sum{route=\"chat\"} 3000000.6\n"
              "penstock_test_wait_seconds_count{route=\"chat\"} 3\n"
              "# TYPE penstock_test_balance histogram\n"
              "# HELP penstock_test_balance Either way\n"
              "penstock_test_balance_bucket{le=\"-1.0\"} 0\n"
              "penstock_test_balance_bucket{le=\"1.0\"} 0\n"
              "penstock_test_balance_bucket{le=\"+Inf\"} 0\n"
              "penstock_test_balance_count 0\n"
              "# EOF\n");
    free(page);
    ps_metrics_free(metrics);
}

static void every_number_reads_back_the_same(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make();
    struct ps_rng rng = ps_rng_make(11);
    for (int i = 0; i < 2000; i++) {
        uint64_t bits = ps_rng_next(&rng);
        double value;
        memcpy(&value, &bits, sizeof(value));
        if (isnan(value)) {
            continue;
        }
        set(metrics, i % 2 == 0 ? value : (double)(int32_t)bits);
        char *page = page_of(metrics, PS_PROMETHEUS_OPENMETRICS);
        char *line = strstr(page, "\npenstock_test_depth ");
        assert_non_null(line);
        double back = strtod(strrchr(strtok(line + 1, "\n"), ' '), NULL);
        assert_true(back == (i % 2 == 0 ? value : (double)(int32_t)bits));
        free(page);
    }
    ps_metrics_free(metrics);
}

static void infinities_are_spelled_as_the_formats_ask(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make();
    set(metrics, -INFINITY);
    char *page = page_of(metrics, PS_PROMETHEUS_TEXT);
    assert_non_null(strstr(page, "\npenstock_test_depth -Inf\n"));
    free(page);
    set(metrics, INFINITY);
    page = page_of(metrics, PS_PROMETHEUS_TEXT);
    assert_non_null(strstr(page, "\npenstock_test_depth +Inf\n"));
    free(page);
    ps_metrics_free(metrics);
}

static void label_values_of_every_byte_round_trip(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make();
    char value[128];
    for (int i = 1; i < 128; i++) {
        value[i - 1] = (char)i;
    }
    count(metrics, (struct ps_str){value, 127}, PS_STR("1"), 1);
    char *page = page_of(metrics, PS_PROMETHEUS_TEXT);
    char *at = strstr(page, "{route=\"") + strlen("{route=\"");
    for (int i = 1; i < 128; i++, at++) {
        char c = *at;
        if (c == '\\') {
            c = *++at == 'n' ? '\n' : *at;
        }
        assert_int_equal(c, i);
    }
    assert_int_equal(*at, '"');
    free(page);
    ps_metrics_free(metrics);
}

static void a_page_over_its_limit_leaves_the_buffer_as_it_was(void **state)
{
    (void)state;
    struct ps_metrics *metrics = make_full();
    char *page = page_of(metrics, PS_PROMETHEUS_OPENMETRICS);
    size_t len = strlen(page);
    free(page);
    for (size_t limit = 3; limit < len + 3; limit += 7) {
        struct ps_buf out = ps_buf_make(limit);
        assert_int_equal(ps_buf_append_str(&out, PS_STR("abc")), PS_OK);
        assert_int_equal(ps_prometheus_write(metrics, PS_PROMETHEUS_OPENMETRICS, &out), PS_ELIMIT);
        assert_true(ps_str_eq(ps_buf_str(&out), PS_STR("abc")));
        ps_buf_fini(&out);
    }
    ps_metrics_free(metrics);
}

/* ---- negotiation */

static void the_accept_header_chooses(void **state)
{
    (void)state;
    static const struct {
        const char *accept;
        enum ps_prometheus_format format;
    } cases[] = {
        {"", PS_PROMETHEUS_TEXT},
        {"*/*", PS_PROMETHEUS_TEXT},
        {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", PS_PROMETHEUS_TEXT},
        {"application/json", PS_PROMETHEUS_TEXT},
        {"text/plain;version=0.0.4", PS_PROMETHEUS_TEXT},
        {"application/openmetrics-text", PS_PROMETHEUS_OPENMETRICS},
        {"Application/OpenMetrics-Text; Version=\"1.0.0\"", PS_PROMETHEUS_OPENMETRICS},
        {"application/openmetrics-text;version=0.0.1", PS_PROMETHEUS_TEXT},
        {"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;"
         "q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
         PS_PROMETHEUS_OPENMETRICS},
        {"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
         "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;q=0.3,"
         "text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
         PS_PROMETHEUS_OPENMETRICS},
        {"application/openmetrics-text;q=0.2, text/plain;q=0.9", PS_PROMETHEUS_TEXT},
        {"application/openmetrics-text;q=0.5, text/plain;q=0.5", PS_PROMETHEUS_OPENMETRICS},
        {"application/openmetrics-text;q=0", PS_PROMETHEUS_TEXT},
        {"application/openmetrics-text;q=nan", PS_PROMETHEUS_TEXT},
        {"application/openmetrics-text;q=7", PS_PROMETHEUS_TEXT},
        {";;,,;q=,=,", PS_PROMETHEUS_TEXT},
        {"application/"
         "vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,"
         "application/openmetrics-text;version=1.0.0;q=0.8,application/"
         "openmetrics-text;version=0.0.1;"
         "q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
         PS_PROMETHEUS_PROTOBUF},
        {"application/"
         "vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;"
         "q=0.4, text/plain;q=0.5",
         PS_PROMETHEUS_TEXT},
        {"application/vnd.google.protobuf; encoding=\"delimited\"; "
         "proto=\"io.prometheus.client.MetricFamily\", application/openmetrics-text",
         PS_PROMETHEUS_PROTOBUF},
        {"application/vnd.google.protobuf", PS_PROMETHEUS_TEXT},
        {"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
         PS_PROMETHEUS_TEXT},
        {"application/vnd.google.protobuf;proto=other.Message;encoding=delimited",
         PS_PROMETHEUS_TEXT},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        print_message("# %s\n", cases[i].accept);
        assert_int_equal(ps_prometheus_negotiate(ps_str_from(cases[i].accept)), cases[i].format);
    }
    assert_string_equal(ps_prometheus_content_type(PS_PROMETHEUS_TEXT),
                        "text/plain; version=0.0.4; charset=utf-8");
    assert_string_equal(ps_prometheus_content_type(PS_PROMETHEUS_OPENMETRICS),
                        "application/openmetrics-text; version=1.0.0; charset=utf-8");
}

/* ---- somebody else's reader */

static void promtool_finds_nothing_to_complain_of(void **state)
{
    (void)state;
    if (system("command -v promtool >/dev/null 2>&1") != 0) {
        print_message("# promtool is not installed (Debian: prometheus): not checked\n");
        skip();
    }
    struct ps_metrics *metrics = make_full();
    char *page = page_of(metrics, PS_PROMETHEUS_TEXT);
    FILE *promtool = popen("promtool check metrics >&2", "w");
    assert_non_null(promtool);
    fputs(page, promtool);
    assert_int_equal(pclose(promtool), 0);
    free(page);
    ps_metrics_free(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_page_is_as_golden),
        cmocka_unit_test(openmetrics_page_is_as_golden),
        cmocka_unit_test(every_number_reads_back_the_same),
        cmocka_unit_test(infinities_are_spelled_as_the_formats_ask),
        cmocka_unit_test(label_values_of_every_byte_round_trip),
        cmocka_unit_test(a_page_over_its_limit_leaves_the_buffer_as_it_was),
        cmocka_unit_test(the_accept_header_chooses),
        cmocka_unit_test(promtool_finds_nothing_to_complain_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
