/* test_figures - totals, series and blocks of runs of a minute and of days.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "load/clean.h"
#include "load/figures.h"
#include "load/sparse.h"
#include "../helpers/trial.h"

static const struct trial_opts steady = {
    .seed = 7, .rps = 40, .median_ms = 80, .sigma = 0.4, .error_rate = 0.02, .streams = true};

static uint64_t in_blocks(const struct ps_figures *figures)
{
    uint64_t total = 0;
    for (size_t i = 0; i < figures->block_count; i++) {
        for (size_t j = 0; j < PS_FIGURES_STEPS; j++) {
            total += figures->blocks[i].steps[j];
        }
    }
    return total;
}

static uint64_t in_points(const struct ps_figures *figures)
{
    uint64_t total = 0;
    for (size_t i = 0; i < figures->point_count; i++) {
        total += figures->points[i].succeeded + figures->points[i].failed;
    }
    return total;
}

static void the_sum_of_seconds_is_the_run(void **state)
{
    (void)state;
    struct ps_figures *figures = trial_run(&steady, 60);
    assert_int_equal(figures->succeeded + figures->failed, figures->sent);
    assert_int_equal(figures->corrected.count, figures->succeeded);
    assert_int_equal(figures->statuses[200], figures->succeeded);
    assert_int_equal(figures->failures[0].count, figures->failed);
    assert_string_equal(figures->failures[0].example, "503 Service Unavailable");
    assert_int_equal(figures->point_count, 60);
    assert_true(fabs(ps_figures_rps(figures) - 40) < 3);
    assert_true(fabs(ps_figures_error_percent(figures) - 2) < 1.5);
    assert_true(fabs(ps_hist_percentile(&figures->corrected, 0.5) / 1e6 - 80) < 5);
    ps_figures_free(figures);
}

static void a_day_fits_where_a_minute_fits(void **state)
{
    (void)state;
    struct trial_opts slow = steady;
    slow.rps = 2;
    struct ps_figures *figures = trial_run(&slow, 86400);
    assert_true(figures->point_count <= PS_FIGURES_POINTS && figures->point_count > PS_FIGURES_POINTS / 2 - 1);
    assert_true(figures->block_count <= PS_FIGURES_BLOCKS && figures->block_count >= PS_FIGURES_BLOCKS / 2);
    assert_int_equal(in_blocks(figures), figures->succeeded);
    assert_int_equal(in_points(figures), figures->succeeded + figures->failed);
    assert_true(figures->points[figures->point_count - 1].at == 86400);
    assert_true(fabs(figures->points[3].p50_ms - 80) < 12);
    ps_figures_free(figures);
}

static void an_interruption_is_a_gap_and_no_time(void **state)
{
    (void)state;
    struct ps_figures *figures = NULL;
    assert_int_equal(ps_figures_new(&figures), PS_OK);
    for (int i = 1; i <= 10; i++) {
        struct ps_second second = ps_second_make(i <= 5 ? i : 1000 + i, 1);
        second.succeeded = 10;
        assert_int_equal(ps_figures_add(figures, &second), PS_OK);
    }
    assert_true(figures->span == 10 && figures->at == 1010);
    assert_true(ps_figures_rps(figures) == 10);
    assert_true(figures->points[5].at == 1006);
    ps_figures_free(figures);
}

static void an_empty_run_has_no_figures(void **state)
{
    (void)state;
    struct ps_figures *figures = NULL;
    assert_int_equal(ps_figures_new(&figures), PS_OK);
    assert_true(ps_figures_rps(figures) == 0 && ps_figures_error_percent(figures) == 0);
    ps_figures_free(figures);
    ps_figures_free(NULL);
}

static void kinds_of_failures_beyond_the_bound_are_other(void **state)
{
    (void)state;
    struct ps_figures *figures = NULL;
    assert_int_equal(ps_figures_new(&figures), PS_OK);
    for (int i = 0; i < 40; i++) {
        char kind[16];
        snprintf(kind, sizeof kind, "kind %d", i);
        struct ps_second_failure failure = {kind, 2, "\x1b[31mred\xff"};
        struct ps_second second = ps_second_make(i, 1);
        second.failed = 2;
        second.failures = &failure;
        second.failure_count = 1;
        assert_int_equal(ps_figures_add(figures, &second), PS_OK);
    }
    assert_int_equal(figures->failure_count, PS_FIGURES_FAILURES);
    assert_string_equal(figures->failures[PS_FIGURES_FAILURES - 1].kind, "other");
    assert_int_equal(figures->failures[PS_FIGURES_FAILURES - 1].count, 50);
    assert_string_equal(figures->failures[0].example, " [31mred\xef\xbf\xbd");
    ps_figures_free(figures);
}

static void each_value_lies_in_its_step(void **state)
{
    (void)state;
    struct ps_rng rng = ps_rng_make(3);
    for (int i = 0; i < 100000; i++) {
        uint64_t value = ps_rng_next(&rng) >> (1 + ps_rng_below(&rng, 63));
        unsigned step = ps_figures_step(value);
        assert_true(step < PS_FIGURES_STEPS && ps_figures_step_start(step) <= value);
        assert_true(step + 1 == PS_FIGURES_STEPS || value < ps_figures_step_start(step + 1));
    }
    assert_int_equal(ps_figures_step(INT64_MAX), PS_FIGURES_STEPS - 1);
    for (unsigned i = 0; i < PS_HIST_STEPS; i++) { /* the finer steps don't cross the coarser ones */
        uint64_t end = i + 1 < PS_HIST_STEPS ? ps_hist_step_start(i + 1) - 1 : INT64_MAX;
        assert_int_equal(ps_figures_step(ps_hist_step_start(i)), ps_figures_step(end));
    }
}

static void sparse_text_comes_back(void **state)
{
    (void)state;
    uint64_t steps[300] = {0}, again[300] = {0};
    struct ps_sparse_span span;
    steps[0] = 1, steps[1] = 5, steps[150] = 1, steps[299] = 1000000000000ull;
    struct ps_buf text = ps_buf_make(1000);
    assert_int_equal(ps_sparse_write(steps, 300, &text), PS_OK);
    assert_true(ps_str_eq(ps_buf_str(&text), PS_STR("0 1x5 149 149x1000000000000")));
    assert_int_equal(ps_sparse_read(ps_buf_str(&text), again, 300, &span), PS_OK);
    assert_memory_equal(steps, again, sizeof steps);
    ps_buf_fini(&text);
    static const char *const bad[] = {"300", "1 0", " 1", "1 ", "1x0", "1x", "x3", "1,2", "-1", "299 1",
                                      "99999999999999999999", "1  2"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(ps_sparse_read(ps_str_from(bad[i]), again, 300, &span), PS_EPARSE);
    }
}

static void a_url_loses_its_secrets(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"http://127.0.0.1:5000/v1/chat/completions", "http://127.0.0.1:5000/v1/chat/completions"},
        {"https://me:se@cret@host/p?key=1#x", "https://host/p"},
        {"http://user@[::1]:80", "http://[::1]:80"},
        {"http://h/a@b?c", "http://h/a@b"},
        {"http://h?u:p@x", "http://h"},
        {"me:pw@host/path", "host/path"},
        {"", ""},
        {"http://h/\x1b]0;t\x07", "http://h/ ]0;t "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[64];
        assert_string_equal(ps_clean_url(ps_str_from(rows[i][0]), text, sizeof text), rows[i][1]);
    }
}

static void text_is_cut_between_characters(void **state)
{
    char text[8];
    (void)state;
    assert_string_equal(ps_clean_text(PS_STR("abcde\xe2\x82\xac"), text, sizeof text), "abcde");
    assert_string_equal(ps_clean_text(PS_STR("a\xe2\x80\xae" "b\n"), text, sizeof text), "a b ");
    assert_string_equal(ps_clean_text(PS_STR("\xc2\x9b" "1m"), text, sizeof text), " 1m");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sum_of_seconds_is_the_run),
        cmocka_unit_test(a_day_fits_where_a_minute_fits),
        cmocka_unit_test(an_interruption_is_a_gap_and_no_time),
        cmocka_unit_test(an_empty_run_has_no_figures),
        cmocka_unit_test(kinds_of_failures_beyond_the_bound_are_other),
        cmocka_unit_test(each_value_lies_in_its_step),
        cmocka_unit_test(sparse_text_comes_back),
        cmocka_unit_test(a_url_loses_its_secrets),
        cmocka_unit_test(text_is_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
