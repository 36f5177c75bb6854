/* test_report_view - pages, JUnit and text of reports: hostile text, empty tests, the same figures everywhere.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../helpers/trial.h"
#include "../helpers/trial_report.h"
#include "load/markup.h"
#include "load/plot.h"
#include "load/report_document.h"
#include "load/report_html.h"
#include "load/report_json.h"
#include "load/report_junit.h"
#include "load/report_rows.h"
#include "load/report_text.h"

static json_t *document;
static struct ps_buf html, junit, text;

static void write_all(void)
{
    assert_int_equal(ps_report_write_html(document, &html), PS_OK);
    assert_int_equal(ps_report_write_junit(document, &junit), PS_OK);
    assert_int_equal(ps_report_write_text(document, &text), PS_OK);
}

static int set_up(void **state)
{
    (void)state;
    const struct trial_opts opts = {.seed = 5, .rps = 50, .median_ms = 40, .sigma = 0.3, .error_rate = 0.004,
                                    .streams = true};
    struct ps_figures *figures = trial_run(&opts, 60);
    document = json_object();
    html = junit = text = ps_buf_make(8 << 20);
    for (enum ps_report_kind kind = 0; kind < PS_REPORT_COUNT; kind++) {
        struct ps_report_section section = trial_section(kind, figures);
        section.reason = kind == PS_REPORT_SPIKE ? TRIAL_HOSTILE : section.reason;
        section.threshold_count = 2;
        assert_int_equal(ps_report_put(document, &section), PS_OK);
    }
    ps_figures_free(figures);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    json_decref(document);
    ps_buf_fini(&html);
    ps_buf_fini(&junit);
    ps_buf_fini(&text);
    return 0;
}

static bool has(const struct ps_buf *buf, const char *part)
{
    return ps_str_contains(ps_buf_str(buf), ps_str_from(part));
}

static void what_a_target_sent_is_text_everywhere(void **state)
{
    (void)state;
    write_all();
    assert_false(has(&html, "<img") || has(&html, "<script") || has(&html, "</script"));
    assert_false(has(&junit, "<img") || has(&junit, "]]>") || has(&junit, "\x1b"));
    assert_false(has(&text, "\x1b"));
    assert_true(has(&html, "&lt;img src=x onerror=alert(1)&gt;") && has(&junit, "&lt;img src=x"));
}

static void the_page_fetches_nothing_and_runs_nothing(void **state)
{
    (void)state;
    write_all();
    static const char *const never[] = {"<link", "@import", "url(", " src=\"", "<script", "<iframe", " on", "style=\""};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
        bool text_of_target = strcmp(never[i], " on") == 0;
        assert_true(text_of_target || !has(&html, never[i]));
    }
    assert_true(has(&html, "default-src 'none'; style-src 'sha256-"));
    assert_true(html.len < 600000);
}

static void page_junit_and_text_show_the_figures_of_the_document(void **state)
{
    (void)state;
    write_all();
    for (enum ps_report_kind kind = 0; kind < PS_REPORT_COUNT; kind++) {
        size_t count;
        const struct ps_report_row *rows = ps_report_rows(kind, &count);
        const json_t *section = ps_report_section_of(document, kind);
        for (size_t i = 0; i < count; i++) {
            double value = ps_report_number(section, rows[i].path);
            char cell[PS_REPORT_VALUE_MAX], part[300];
            if (!isfinite(value)) {
                continue;
            }
            ps_report_row_text(section, &rows[i], cell, sizeof cell);
            snprintf(part, sizeof part, "  %-24s %s\n", rows[i].label, cell);
            assert_true(has(&text, part));
            snprintf(part, sizeof part, ".%s\" data-value=\"%.15g\">%s</dd>", rows[i].path, value, cell);
            assert_true(has(&html, part));
            snprintf(part, sizeof part, ".%s\" value=\"%.15g\"/>", rows[i].path, value);
            assert_true(has(&junit, part));
        }
    }
}

static void a_case_stands_for_each_verdict_and_threshold(void **state)
{
    (void)state;
    write_all();
    size_t cases = 0;
    for (struct ps_str rest = ps_buf_str(&junit), line; ps_str_split(&rest, '\n', &line);) {
        cases += ps_str_contains(line, PS_STR("<testcase ")) ? 1 : 0;
    }
    assert_int_equal(cases, PS_REPORT_COUNT * 3);
    assert_true(has(&junit, "tests=\"15\" failures=\"5\" errors=\"0\""));
    assert_true(has(&junit, "message=\"p(95)&lt;200, was 230 ms\""));
}

static void tests_without_an_answer_are_errors(void **state)
{
    (void)state;
    static const enum ps_verdict verdicts[] = {PS_VERDICT_ABORTED, PS_VERDICT_UNREACHABLE, PS_VERDICT_GENERATOR_LIMITED};
    for (size_t i = 0; i < 3; i++) {
        struct ps_report_section section = {.verdict = verdicts[i], .target = "http://h", .reason = "so it was",
                                            .target_rps = NAN};
        json_object_clear(document);
        ps_buf_clear(&junit);
        assert_int_equal(ps_report_put(document, &section), PS_OK);
        write_all();
        assert_true(has(&junit, "tests=\"1\" failures=\"0\" errors=\"1\""));
        assert_true(has(&junit, "<error type=\"") && has(&junit, "message=\"so it was\""));
    }
}

static void figures_are_written_as_people_read_them(void **state)
{
    static const struct {
        double value;
        enum ps_report_unit unit;
        const char *text;
    } rows[] = {
        {1234567, PS_UNIT_COUNT, "1,234,567"}, {999, PS_UNIT_COUNT, "999"}, {0, PS_UNIT_COUNT, "0"},
        {49.98, PS_UNIT_RATE, "50/s"}, {51.26, PS_UNIT_RATE, "51.3/s"}, {0.25, PS_UNIT_RATE, "0.25/s"},
        {12345.6, PS_UNIT_RATE, "12,346/s"}, {0, PS_UNIT_PERCENT, "0 %"}, {0.4, PS_UNIT_PERCENT, "0.40 %"},
        {100, PS_UNIT_PERCENT, "100 %"}, {0.05, PS_UNIT_MS, "50 us"}, {7.774, PS_UNIT_MS, "7.77 ms"},
        {61.31, PS_UNIT_MS, "61.3 ms"}, {999.4, PS_UNIT_MS, "999 ms"}, {1240, PS_UNIT_MS, "1.24 s"},
        {4.2, PS_UNIT_SECONDS, "4.2 s"}, {60, PS_UNIT_SECONDS, "60 s"}, {3600, PS_UNIT_SECONDS, "60 min"},
        {86400, PS_UNIT_SECONDS, "24.0 h"}, {NAN, PS_UNIT_MS, "-"}, {INFINITY, PS_UNIT_RATE, "-"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char cell[PS_REPORT_VALUE_MAX];
        assert_string_equal(ps_report_write(rows[i].value, rows[i].unit, cell, sizeof cell), rows[i].text);
    }
}

static void a_plot_of_anything_stays_inside_its_frame(void **state)
{
    (void)state;
    static const double values[] = {NAN, 0, -5, 1e300, 1e-300, INFINITY, -INFINITY, 3, 3, NAN, 7};
    static const struct ps_plot_axis axes[] = {
        {0, 0, false, PS_PLOT_MS}, {NAN, NAN, false, PS_PLOT_NUMBER}, {1, 1, true, PS_PLOT_MS},
        {0, 5, true, PS_PLOT_RATE}, {0, 1e12, false, PS_PLOT_BYTES}, {5, 5e9, true, PS_PLOT_NUMBER},
        {0, 200000, false, PS_PLOT_TIME}, {-1e300, 1e300, false, PS_PLOT_NUMBER}, {0, 5, false, PS_PLOT_PERCENTILE},
    };
    for (size_t i = 0; i < sizeof axes / sizeof *axes; i++) {
        struct ps_plot plot;
        struct ps_buf out = ps_buf_make(1 << 20);
        ps_plot_begin(&plot, &out, axes[i], axes[i], "<all>");
        ps_plot_line(&plot, "l1", values, values, sizeof values / sizeof *values);
        ps_plot_area(&plot, "failed", values, values, sizeof values / sizeof *values);
        for (size_t j = 0; j < sizeof values / sizeof *values; j++) {
            ps_plot_dot(&plot, "", values[j], values[j], "<b>");
            ps_plot_mark(&plot, "strong", values[j], "<i>");
            ps_plot_bar(&plot, "bar", 1, 2, values[j], NULL);
        }
        assert_int_equal(ps_plot_end(&plot), PS_OK);
        assert_false(has(&out, "nan") || has(&out, "inf") || has(&out, "<b>") || has(&out, "<i>"));
        assert_true(out.len < 200000);
        ps_buf_fini(&out);
    }
}

/* The slope of half a minute of noise, taken times an hour, would be thousands of percent. */
static void only_what_drifts_has_a_slope(void **state)
{
    (void)state;
    write_all();
    assert_true(has(&text, "60.0 ms to 60.4 ms: steady (p = 0.21)\n"));
    assert_true(has(&text, "953.7 MiB to 972.7 MiB: DRIFTS by +2.00 % an hour (p = 1e-09)\n"));
    assert_true(has(&html, "+2.00 %") && !has(&html, "+0.66 %"));
    json_t *drift = json_pack("{sb sf ss}", "drifts", 1, "slope_per_hour", 3.0, "unit", "files");
    char slope[PS_REPORT_VALUE_MAX];
    assert_string_equal(ps_report_write_slope(drift, slope, sizeof slope), "+3 files"); /* from zero on */
    json_decref(drift);
}

/* Whose verdict stands above already needs no line of its own. */
static void one_test_alone_is_told_once(void **state)
{
    (void)state;
    write_all();
    assert_true(has(&text, "\nload       "));
    for (enum ps_report_kind kind = PS_REPORT_LOAD + 1; kind < PS_REPORT_COUNT; kind++) {
        (void)json_object_del(document, ps_report_section_name(kind));
    }
    text.len = 0;
    assert_int_equal(ps_report_write_text(document, &text), PS_OK);
    assert_false(has(&text, "\nload       "));
}

static void markup_escapes_what_has_a_meaning(void **state)
{
    (void)state;
    assert_int_equal(ps_markup_text(&text, PS_STR("<a b=\"c\">&'\x01\xff\xef\xbf\xbf\xe2\x82\xac")), PS_OK);
    assert_true(has(&text, "&lt;a b=&quot;c&quot;&gt;&amp;&#39; \xef\xbf\xbd\xef\xbf\xbd\xe2\x82\xac"));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(what_a_target_sent_is_text_everywhere),
        CASE(the_page_fetches_nothing_and_runs_nothing),
        CASE(page_junit_and_text_show_the_figures_of_the_document),
        CASE(a_case_stands_for_each_verdict_and_threshold),
        CASE(tests_without_an_answer_are_errors),
        CASE(figures_are_written_as_people_read_them),
        CASE(a_plot_of_anything_stays_inside_its_frame),
        CASE(only_what_drifts_has_a_slope),
        CASE(one_test_alone_is_told_once),
        CASE(markup_escapes_what_has_a_meaning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
