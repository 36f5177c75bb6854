/* test_compare - equal services are not called different more often than was said, and slower ones are.
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
#include "load/compare.h"
#include "load/report_json.h"
#include "load/report_rows.h"
#include "load/resample.h"
#include "load/significance.h"

static const struct ps_compare_opts how = {0.05, 0.95, "a.json", "b.json"};

static json_t *document_of(const struct trial_opts *opts, unsigned seconds, enum ps_report_kind kind)
{
    struct ps_figures *figures = trial_run(opts, seconds);
    struct ps_report_section section = trial_section(kind, figures);
    section.target_rps = opts->rps;
    json_t *document = json_object();
    assert_int_equal(ps_report_put(document, &section), PS_OK);
    ps_figures_free(figures);
    return document;
}

static json_t *compare(json_t *a_take, json_t *b_take, const struct ps_compare_opts *opts)
{
    json_t *result = NULL;
    assert_int_equal(ps_compare(&result, a_take, b_take, opts), PS_OK);
    json_decref(a_take);
    json_decref(b_take);
    return result;
}

static json_t *compare_trials(const struct trial_opts *a, const struct trial_opts *b, unsigned seconds)
{
    return compare(document_of(a, seconds, PS_REPORT_LOAD), document_of(b, seconds, PS_REPORT_LOAD), &how);
}

/* How many of `rounds` comparisons of one service with itself call anything better or worse. */
static unsigned false_alarms(struct trial_opts opts, unsigned seconds, unsigned rounds)
{
    unsigned alarms = 0;
    for (unsigned i = 0; i < rounds; i++) {
        struct trial_opts a = opts, b = opts;
        a.seed = opts.seed + 2 * i;
        b.seed = opts.seed + 2 * i + 1;
        json_t *result = compare_trials(&a, &b, seconds);
        alarms += strcmp(ps_report_text(result, "verdict"), "same") != 0 ? 1 : 0;
        json_decref(result);
    }
    print_message("# wander %.2f memory %.2f, %u s: %u of %u\n", opts.wander, opts.memory, seconds, alarms, rounds);
    return alarms;
}

/* At most one in twenty: of 100 that is 5, and more than 11 in one of two hundred such tests. The seeds are fixed. */
#define ROUNDS 100
#define ALARMS 11

static void requests_that_are_independent_give_no_more_alarms_than_was_said(void **state)
{
    (void)state;
    const struct trial_opts opts = {.seed = 1000, .rps = 40, .median_ms = 50, .sigma = 0.5, .error_rate = 0.01};
    assert_true(false_alarms(opts, 60, ROUNDS) <= ALARMS);
}

static void seconds_that_are_like_their_neighbours_give_no_more(void **state)
{
    (void)state;
    const struct trial_opts opts = {.seed = 5000, .rps = 40, .median_ms = 50, .sigma = 0.4, .wander = 0.15,
                                    .memory = 0.6, .error_rate = 0.01};
    assert_true(false_alarms(opts, 60, ROUNDS) <= ALARMS);
}

static void long_waves_in_longer_runs_give_no_more(void **state)
{
    (void)state;
    const struct trial_opts opts = {.seed = 9000, .rps = 20, .median_ms = 50, .sigma = 0.4, .wander = 0.15,
                                    .memory = 0.85, .error_rate = 0.002};
    assert_true(false_alarms(opts, 240, ROUNDS / 2) <= ALARMS / 2 + 1);
}

static const struct trial_opts steady = {.seed = 77, .rps = 50, .median_ms = 50, .sigma = 0.4, .wander = 0.05,
                                         .memory = 0.5, .error_rate = 0.002};

static void assert_verdict(json_t *result_take, const char *verdict)
{
    if (strcmp(ps_report_text(result_take, "verdict"), verdict) != 0) {
        fail_msg("%s: %s", ps_report_text(result_take, "verdict"), ps_report_text(result_take, "reason"));
    }
    json_decref(result_take);
}

static void a_fifth_slower_is_a_regression_and_the_other_way_better(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 20; i++) {
        struct trial_opts fast = steady, slow = steady;
        fast.seed = 300 + i;
        slow.seed = 600 + i;
        slow.median_ms *= 1.2;
        assert_verdict(compare_trials(&fast, &slow, 60), "regression");
        assert_verdict(compare_trials(&slow, &fast, 60), "better");
    }
}

static void what_is_worse_within_the_bound_is_no_regression(void **state)
{
    (void)state;
    struct trial_opts slow = steady, fast = steady;
    slow.seed++;
    slow.median_ms *= 1.03;
    slow.wander = fast.wander = 0;
    assert_verdict(compare_trials(&fast, &slow, 900), "worse");
}

static void errors_that_appear_are_a_regression(void **state)
{
    (void)state;
    struct trial_opts none = steady, some = steady;
    none.error_rate = 0;
    some.seed++;
    some.error_rate = 0.02;
    json_t *result = compare_trials(&none, &some, 60);
    assert_non_null(strstr(ps_report_text(result, "reason"), "errors"));
    assert_verdict(result, "regression");
}

static void errors_in_one_burst_are_less_sure_than_errors_all_over(void **state)
{
    (void)state;
    struct ps_figures *figures[2];
    double p[2];
    for (int burst = 0; burst < 2; burst++) {
        struct trial *trial = malloc(sizeof *trial);
        assert_non_null(trial);
        assert_int_equal(ps_figures_new(&figures[burst]), PS_OK);
        trial_begin(trial, &steady);
        for (int i = 0; i < 60; i++) {
            struct ps_second second = trial_next(trial);
            second.failed = burst == 1 ? (i == 30 ? 30 : 0) : i % 2;
            assert_int_equal(ps_figures_add(figures[burst], &second), PS_OK);
        }
        free(trial);
        json_t *document = json_object();
        struct ps_report_section section = trial_section(PS_REPORT_LOAD, figures[burst]);
        assert_int_equal(ps_report_put(document, &section), PS_OK);
        struct trial_opts none = steady;
        none.error_rate = 0;
        json_t *result = compare(document_of(&none, 60, PS_REPORT_LOAD), document, &how);
        p[burst] = ps_report_number(json_array_get(json_object_get(result, "metrics"), 3), "p_value");
        json_decref(result);
        ps_figures_free(figures[burst]);
    }
    assert_true(p[0] < 0.001 && p[1] > 0.05);
}

static void runs_that_are_too_short_are_not_judged(void **state)
{
    (void)state;
    json_t *result = compare_trials(&steady, &steady, 5);
    assert_non_null(strstr(ps_report_text(result, "reason"), "too short"));
    assert_verdict(result, "nothing");
}

static void what_is_not_alike_is_named(void **state)
{
    (void)state;
    struct trial_opts faster = steady;
    faster.rps = 80;
    json_t *b = document_of(&faster, 90, PS_REPORT_LOAD);
    assert_int_equal(json_object_set_new(ps_report_at(b, "load_test.environment"), "cpu", json_string("other")), 0);
    assert_int_equal(json_object_set_new(ps_report_at(b, "load_test.options"), "rate", json_string("80")), 0);
    json_t *result = compare(document_of(&steady, 60, PS_REPORT_LOAD), b, &how);
    char *text = json_dumps(json_object_get(result, "differences"), 0);
    static const char *const named[] = {"environment.cpu", "target_rps", "duration", "options.rate"};
    for (size_t i = 0; i < 4; i++) {
        assert_non_null(strstr(text, named[i]));
    }
    assert_string_equal(ps_report_text(json_array_get(json_object_get(result, "metrics"), 4), "verdict"), "untested");
    free(text);
    json_decref(result);
}

static void tests_that_only_one_has_are_not_compared(void **state)
{
    (void)state;
    json_t *result = compare(document_of(&steady, 20, PS_REPORT_LOAD), document_of(&steady, 20, PS_REPORT_REPLAY), &how);
    assert_int_equal(ps_report_size(result, "metrics"), 0);
    assert_verdict(result, "nothing");
}

static void a_run_that_its_generator_limited_says_nothing(void **state)
{
    (void)state;
    json_t *b = document_of(&steady, 20, PS_REPORT_LOAD);
    assert_int_equal(json_object_set_new(ps_report_at(b, "load_test.generator"), "limited", json_true()), 0);
    assert_verdict(compare(document_of(&steady, 20, PS_REPORT_LOAD), b, &how), "generator_limited");
}

static void breaking_points_are_compared_by_their_intervals(void **state)
{
    (void)state;
    static const struct {
        double point;
        const char *verdict;
    } rows[] = {{158, "same"}, {155, "same"}, {120, "regression"}, {190, "better"}};
    for (size_t i = 0; i < 4; i++) {
        json_t *b = document_of(&steady, 20, PS_REPORT_STRESS);
        json_t *section = json_object_get(b, "stress_test");
        json_object_set_new(section, "breaking_point_rps", json_real(rows[i].point));
        json_object_set_new(section, "confidence_interval",
                            json_pack("{s:f,s:f,s:f}", "low_rps", rows[i].point * 0.95, "high_rps",
                                      rows[i].point * 1.05, "confidence", 0.95));
        assert_verdict(compare(document_of(&steady, 20, PS_REPORT_STRESS), b, &how), rows[i].verdict);
    }
}

static void blocks_that_are_damaged_are_not_drawn_from(void **state)
{
    static const char *const blocks[] = {"[]", "[{}]", "[{\"seconds\":1,\"successful\":1,\"failed\":0,\"steps\":\"x\"}]",
                                         "[{\"seconds\":-1,\"successful\":1,\"failed\":0,\"steps\":\"\"}]", "7"};
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        json_t *b = document_of(&steady, 20, PS_REPORT_LOAD);
        json_object_set_new(json_object_get(b, "load_test"), "blocks", json_loads(blocks[i], JSON_DECODE_ANY, NULL));
        assert_verdict(compare(document_of(&steady, 20, PS_REPORT_LOAD), b, &how), "nothing");
    }
}

/* Values of Student's t, binomial and beta distributions from tables. */
static void tails_are_those_of_tables(void **state)
{
    (void)state;
    assert_true(fabs(ps_significance_t(2.262, 9) - 0.05) < 1e-4);
    assert_true(fabs(ps_significance_t(1.96, 1e6) - 0.05) < 1e-4);
    assert_true(fabs(ps_significance_t_bound(0.95, 9) - 2.2622) < 1e-3);
    assert_true(fabs(ps_significance_t_bound(0.99, 2) - 9.9248) < 1e-3);
    assert_true(fabs(ps_significance_beta(0.5, 2, 3) - 0.6875) < 1e-9);
    assert_true(fabs(ps_significance_binomial(0, 10, 0.5) - 2.0 / 1024) < 1e-9);
    assert_true(fabs(ps_significance_binomial(5, 10, 0.5) - 1) < 1e-9);
    assert_true(fabs(ps_significance_binomial(10, 10, 0.9) - 0.697357) < 1e-5);
    double p[] = {0.01, NAN, 0.04, 0.03, 0.9};
    ps_significance_holm(p, 5);
    assert_true(fabs(p[0] - 0.04) < 1e-9 && isnan(p[1]) && fabs(p[2] - 0.09) < 1e-9 && fabs(p[3] - 0.09) < 1e-9);
}

static void text_and_page_have_the_figures(void **state)
{
    (void)state;
    struct trial_opts slow = steady;
    slow.median_ms *= 1.3;
    json_t *a = document_of(&steady, 30, PS_REPORT_LOAD), *b = document_of(&slow, 30, PS_REPORT_LOAD), *result = NULL;
    assert_int_equal(ps_compare(&result, a, b, &(struct ps_compare_opts){0.05, 0.95, TRIAL_HOSTILE, "b"}), PS_OK);
    struct ps_buf text = ps_buf_make(1 << 20), page = ps_buf_make(1 << 20);
    assert_int_equal(ps_compare_text(result, &text), PS_OK);
    assert_int_equal(ps_compare_html(result, a, b, &page), PS_OK);
    char cell[64];
    ps_report_row_text(ps_report_section_of(b, PS_REPORT_LOAD), &(struct ps_report_row){"response_time_ms.p95", "", PS_UNIT_MS, true},
                       cell, sizeof cell);
    assert_true(ps_str_contains(ps_buf_str(&text), ps_str_from(cell)));
    assert_true(ps_str_contains(ps_buf_str(&page), ps_str_from(cell)));
    assert_false(ps_str_contains(ps_buf_str(&page), PS_STR("<img")));
    assert_false(ps_str_contains(ps_buf_str(&text), PS_STR("\x1b")));
    ps_buf_fini(&text);
    ps_buf_fini(&page);
    json_decref(a);
    json_decref(b);
    json_decref(result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_that_are_independent_give_no_more_alarms_than_was_said),
        cmocka_unit_test(seconds_that_are_like_their_neighbours_give_no_more),
        cmocka_unit_test(long_waves_in_longer_runs_give_no_more),
        cmocka_unit_test(a_fifth_slower_is_a_regression_and_the_other_way_better),
        cmocka_unit_test(what_is_worse_within_the_bound_is_no_regression),
        cmocka_unit_test(errors_that_appear_are_a_regression),
        cmocka_unit_test(errors_in_one_burst_are_less_sure_than_errors_all_over),
        cmocka_unit_test(runs_that_are_too_short_are_not_judged),
        cmocka_unit_test(what_is_not_alike_is_named),
        cmocka_unit_test(tests_that_only_one_has_are_not_compared),
        cmocka_unit_test(a_run_that_its_generator_limited_says_nothing),
        cmocka_unit_test(breaking_points_are_compared_by_their_intervals),
        cmocka_unit_test(blocks_that_are_damaged_are_not_drawn_from),
        cmocka_unit_test(tails_are_those_of_tables),
        cmocka_unit_test(text_and_page_have_the_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
