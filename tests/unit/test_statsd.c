/* test_statsd - lines of StatsD and DogStatsD, and the metrics that they become.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "export/statsd.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "export/naming.h"
#include "export/prometheus.h"

/* ---- help for the cases */

struct place {
    struct ps_metrics *metrics;
    struct ps_custom *custom;
    struct ps_statsd *statsd;
    unsigned shard;
    int told; /* faults that were shown */
    enum ps_statsd_fault last;
    struct ps_buf page;
};

static void on_fault(void *ctx, enum ps_statsd_fault fault, struct ps_str line, const char *reason)
{
    struct place *place = ctx;
    assert_true(line.len > 0 && line.len <= 200);
    assert_non_null(reason);
    place->told++;
    place->last = fault;
}

static int setup(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    struct ps_metrics_opts opts = {.shards = 2};
    *state = place;
    place->page = ps_buf_make(1 << 22);
    assert_int_equal(ps_metrics_new(&place->metrics, &opts), PS_OK);
    assert_int_equal(ps_custom_new(&place->custom, place->metrics, 20), PS_OK);
    assert_int_equal(ps_metrics_shard_get(place->metrics, &place->shard), PS_OK);
    struct ps_statsd_opts statsd = {.custom = place->custom,
                                    .metrics = place->metrics,
                                    .shard = place->shard,
                                    .interval = 10 * PS_SECOND,
                                    .on_fault = on_fault,
                                    .ctx = place};
    return ps_statsd_new(&place->statsd, &statsd);
}

static int teardown(void **state)
{
    struct place *place = *state;
    ps_statsd_free(place->statsd);
    ps_metrics_free(place->metrics);
    ps_custom_free(place->custom);
    ps_buf_fini(&place->page);
    free(place);
    return 0;
}

static void take(struct place *place, const char *text)
{
    ps_statsd_take(place->statsd, ps_str_from(text), PS_SECOND);
}

static bool shows(struct place *place, const char *line)
{
    ps_buf_clear(&place->page);
    assert_int_equal(ps_prometheus_write(place->metrics, PS_PROMETHEUS_TEXT, &place->page), PS_OK);
    return ps_str_contains(ps_buf_str(&place->page), ps_str_from(line));
}

static void assert_shows(struct place *place, const char *line)
{
    if (!shows(place, line)) {
        print_message("missing %s in %.*s\n", line, PS_STR_ARG(ps_buf_str(&place->page)));
        fail();
    }
}

static enum ps_statsd_fault judge(const char *text)
{
    struct ps_statsd_line line;
    return ps_statsd_line_parse(ps_str_from(text), &line);
}

/* ---- lines */

static void every_kind_of_line_is_read(void **state)
{
    static const char *const fine[] = {
        "a:1|c",        "a.b-c:1|c|@0.5",
        "a:-3|g",       "a:+3.5|g",
        "a:1e3|ms",     "a:.5|h",
        "a:5.|d",       "a:007|c",
        "a:x y z|s",    "a:1:2:3|ms|@0.1|#a:b,c|T1656581400|c:ci-1f|e:it-false,cn-x|card:low",
        "a:1|c|#",      "a:1|c|#a:b:c,,d:",
        "a:0|c",        "a:1|c|@1",
        "\xc3\xa4:1|c",
    };
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(fine); i++) {
        if (judge(fine[i]) != PS_STATSD_FINE) {
            fail_msg("%s: %s", fine[i], ps_statsd_fault_name(judge(fine[i])));
        }
    }
}

static void what_is_wrong_has_a_name(void **state)
{
    static const struct {
        const char *line;
        enum ps_statsd_fault fault;
    } rows[] = {
        {"a", PS_STATSD_BAD_FORM},
        {":1|c", PS_STATSD_BAD_FORM},
        {"a:1", PS_STATSD_BAD_FORM},
        {"a:", PS_STATSD_BAD_FORM},
        {"a:1|c|x:1", PS_STATSD_BAD_FORM},
        {"a:1|c||", PS_STATSD_BAD_FORM},
        {"a:1|c|#a|#b", PS_STATSD_BAD_FORM},
        {"a:1|c|T", PS_STATSD_BAD_FORM},
        {"a:1|c|Tx", PS_STATSD_BAD_FORM},
        {"a:|c", PS_STATSD_BAD_VALUE},
        {"a:x|c", PS_STATSD_BAD_VALUE},
        {"a:1:|c", PS_STATSD_BAD_VALUE},
        {"a:1:x:2|c", PS_STATSD_BAD_VALUE},
        {"a:-1|c", PS_STATSD_BAD_VALUE},
        {"a:nan|g", PS_STATSD_BAD_VALUE},
        {"a:inf|g", PS_STATSD_BAD_VALUE},
        {"a:1e999|g", PS_STATSD_BAD_VALUE},
        {"a:--1|g", PS_STATSD_BAD_VALUE},
        {"a:+-1|g", PS_STATSD_BAD_VALUE},
        {"a:.|g", PS_STATSD_BAD_VALUE},
        {"a:.e5|g", PS_STATSD_BAD_VALUE},
        {"a:1 |g", PS_STATSD_BAD_VALUE},
        {"a:0x10|g", PS_STATSD_BAD_VALUE},
        {"a:|s", PS_STATSD_BAD_VALUE},
        {"a:1|", PS_STATSD_BAD_TYPE},
        {"a:1|C", PS_STATSD_BAD_TYPE},
        {"a:1|m", PS_STATSD_BAD_TYPE},
        {"a:1|c|@", PS_STATSD_BAD_RATE},
        {"a:1|c|@0", PS_STATSD_BAD_RATE},
        {"a:1|c|@1.1", PS_STATSD_BAD_RATE},
        {"a:1|c|@-1", PS_STATSD_BAD_RATE},
        {"_e{1,1}:a|b", PS_STATSD_UNSUPPORTED},
        {"_sc|redis|0", PS_STATSD_UNSUPPORTED},
    };
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        if (judge(rows[i].line) != rows[i].fault) {
            fail_msg("%s: %s", rows[i].line, ps_statsd_fault_name(judge(rows[i].line)));
        }
    }
}

static void names_become_legal(void **state)
{
    static const struct {
        const char *name, *unit;
        enum ps_metric_type type;
        const char *out; /* NULL = none */
    } rows[] = {
        {"http.server.request.duration", "s", PS_METRIC_HISTOGRAM,
         "http_server_request_duration_seconds"},
        {"page..views/x", "", PS_METRIC_COUNTER, "page_views_x_total"},
        {"jobs_total", "{job}", PS_METRIC_COUNTER, "jobs_total"},
        {"io", "By", PS_METRIC_COUNTER, "io_bytes_total"},
        {"io_bytes", "By", PS_METRIC_GAUGE, "io_bytes"},
        {"load", "1", PS_METRIC_GAUGE, "load_ratio"},
        {"load", "1", PS_METRIC_COUNTER, "load_total"},
        {"queue.count", "", PS_METRIC_GAUGE, "queue_count_value"},
        {"7days", "", PS_METRIC_GAUGE, "_7days"},
        {"_x_", "", PS_METRIC_GAUGE, "_x"},
        {"...", "", PS_METRIC_GAUGE, NULL},
        {"\xc3\xa4", "", PS_METRIC_GAUGE, NULL},
    };
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        struct ps_naming naming;
        int err = ps_naming_metric(&naming, ps_str_from(rows[i].name), ps_str_from(rows[i].unit),
                                   rows[i].type);
        if (rows[i].out == NULL
                ? err != PS_EINVAL
                : err != PS_OK || !ps_str_eq(naming.name, ps_str_from(rows[i].out))) {
            fail_msg("%s: %.*s", rows[i].name, PS_STR_ARG(naming.name));
        }
    }
    char text[16];
    assert_int_equal(ps_naming_label(PS_STR("le"), text, sizeof text), 6);
    assert_memory_equal(text, "tag_le", 6);
    assert_int_equal(ps_naming_label(PS_STR("0123456789abcdef"), text, sizeof text), 0);
}

/* ---- metrics */

static void lines_move_what_they_name(void **state)
{
    struct place *place = *state;
    take(place, "page.views:1|c|#page:home\npage.views:2:3|c|@0.5|#page:home\r\n\nq:7|g\nq:+2|g\nq:"
                "-4|g\nr:-2|g\n");
    assert_shows(place, "\npage_views_total{page=\"home\"} 11\n");
    assert_shows(place, "\nq 5\n");
    assert_shows(place, "\nr -2\n");
    take(place, "wait:320|ms\nwait:12.5|ms|@0.1\nsize:3:4|h\nspread:5|d|#flag");
    assert_shows(place, "\nwait_seconds_count 11\n");
    assert_shows(place, "\nwait_seconds_sum 0.445\n");
    assert_shows(place, "\nsize_count 2\n");
    assert_shows(place, "\nspread_count{flag=\"true\"} 1\n");
    assert_shows(place, "penstock_statsd_lines_total{result=\"accepted\"} 10\n");
    assert_int_equal(place->told, 0);
}

static void tags_without_a_place_are_left_out_and_the_value_counts(void **state)
{
    struct place *place = *state;
    take(place, "a:1|c|#x:1,y:2\na:1|c|#y:2,z:3\na:1|c\na:1|c|#x:1,x:9,y:2\n");
    assert_shows(place, "\na_total{x=\"1\",y=\"2\"} 2\n");
    assert_shows(place, "\na_total{y=\"2\"} 1\n");
    assert_shows(place, "\na_total 1\n");
    assert_shows(place, "penstock_statsd_left_out_tags_total 2\n");
    take(place, "b:1|c|#a,b,c,d,e,f,g,h,i,j\n");
    assert_shows(place, "penstock_statsd_left_out_tags_total 4\n");
}

static void a_set_counts_different_values_of_an_interval(void **state)
{
    struct place *place = *state;
    ps_statsd_tick(place->statsd, PS_SECOND);
    take(place, "users:ann|s\nusers:bob:ann|s\nusers:7|s|#at:x");
    ps_statsd_tick(place->statsd, 2 * PS_SECOND);
    assert_false(shows(place, "\nusers"));
    ps_statsd_tick(place->statsd, 12 * PS_SECOND);
    assert_shows(place, "\nusers 3\n"); /* the first line had no label: all are one series */
    ps_statsd_tick(place->statsd, 22 * PS_SECOND);
    assert_shows(place, "\nusers 0\n");
}

static void sets_are_bounded(void **state)
{
    struct place *place = *state;
    for (int i = 0; i < PS_STATSD_SETS + 5; i++) {
        char line[64];
        snprintf(line, sizeof line, "s:%d|s|#n:%d", i, i);
        take(place, line);
    }
    assert_shows(place, "penstock_statsd_lines_total{result=\"accepted\"} 500\n");
    assert_shows(place, "penstock_statsd_lines_total{result=\"limit\"} 5\n");
    assert_int_equal(place->last, PS_STATSD_LIMIT);
}

static void bad_lines_are_counted_and_shown_once_a_minute(void **state)
{
    struct place *place = *state;
    take(place, "a:1|c\na:1|g\nrubbish\nrubbish\npenstock_x:1|g\n...:1|c");
    assert_shows(place, "penstock_statsd_lines_total{result=\"form\"} 2\n");
    assert_shows(place, "penstock_statsd_lines_total{result=\"name\"} 2\n");
    assert_shows(place, "penstock_statsd_lines_total{result=\"conflict\"} 1\n");
    assert_int_equal(place->told, 3);
    ps_statsd_take(place->statsd, PS_STR("rubbish"), 30 * PS_SECOND);
    assert_int_equal(place->told, 3);
    ps_statsd_take(place->statsd, PS_STR("rubbish"), 62 * PS_SECOND);
    assert_int_equal(place->told, 4);
    ps_statsd_truncated(place->statsd, PS_STR("a:1|c"), PS_SECOND);
    assert_int_equal(place->last, PS_STATSD_TRUNCATED);
    assert_shows(place, "\na_total 1\n");
}

static void metrics_are_bounded(void **state)
{
    struct place *place = *state;
    for (int i = 0; i < 25; i++) {
        char line[64];
        snprintf(line, sizeof line, "m%d:1|c", i);
        take(place, line);
    }
    assert_shows(place, "penstock_statsd_lines_total{result=\"accepted\"} 20\n");
    assert_shows(place, "penstock_statsd_lines_total{result=\"limit\"} 5\n");
}

static void a_low_rate_counts_at_most_a_million_times(void **state)
{
    struct place *place = *state;
    take(place, "a:1|h|@0.000000001\nb:1|c|@0.25\nb:1e300|c|@1e-300\n");
    assert_shows(place, "\na_count 1000000\n");
    assert_shows(place, "\nb_total 4\n");
    assert_int_equal(place->last, PS_STATSD_BAD_VALUE); /* not finite */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_line_is_read),
        cmocka_unit_test(what_is_wrong_has_a_name),
        cmocka_unit_test(names_become_legal),
        cmocka_unit_test_setup_teardown(lines_move_what_they_name, setup, teardown),
        cmocka_unit_test_setup_teardown(tags_without_a_place_are_left_out_and_the_value_counts,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_set_counts_different_values_of_an_interval, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(sets_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_lines_are_counted_and_shown_once_a_minute, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(metrics_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(a_low_rate_counts_at_most_a_million_times, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
