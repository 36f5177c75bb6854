/* test_journal - what a journal keeps of a run, and what is left of one that was killed.
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

#include "../helpers/tree.h"
#include "../helpers/trial.h"
#include "load/journal.h"

static struct tree tree;
static char path[160];
static struct ps_report_error error;

static const struct trial_opts opts = {
    .seed = 11, .rps = 60, .median_ms = 50, .sigma = 0.5, .error_rate = 0.01, .streams = true};

static int set_up(void **state)
{
    (void)state;
    tree_open(&tree);
    snprintf(path, sizeof path, "%s/report.json.load.journal", tree.root);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tree_close(&tree);
    return 0;
}

static const struct ps_report_pair pairs[] = {{"rate", "60"}, {"odd", "\"quoted\"\n\x01"}};

static struct ps_report_section test_of(enum ps_report_kind kind)
{
    return (struct ps_report_section){
        .kind = kind, .target = "http://me:secret@127.0.0.1:5000/x?token=1", .method = "POST",
        .started = 1700000000123456789, .arrivals = "poisson", .target_rps = 60, .threads = 2,
        .options = pairs, .option_count = 2};
}

struct seen {
    struct ps_figures *figures;
    struct ps_report_section test;
    char target[64];
    char odd[32];
    unsigned points;
};

static int on_test(void *ctx, const struct ps_report_section *test)
{
    struct seen *seen = ctx;
    seen->test = *test;
    snprintf(seen->target, sizeof seen->target, "%s", test->target);
    snprintf(seen->odd, sizeof seen->odd, "%s", test->option_count == 2 ? test->options[1].value : "");
    return PS_OK;
}

static int on_second(void *ctx, const struct ps_second *second)
{
    struct seen *seen = ctx;
    return ps_figures_add(seen->figures, second);
}

static int on_point(void *ctx, const struct ps_report_point *point)
{
    struct seen *seen = ctx;
    assert_true(point->rps == 120 && isnan(point->ttft_p95_ms));
    assert_string_equal(point->verdict, "breaks");
    seen->points++;
    return PS_OK;
}

static const struct ps_journal_ops ops = {on_test, on_second, on_point};

static int read_it(struct seen *seen)
{
    memset(seen, 0, sizeof *seen);
    error.text[0] = '\0';
    assert_int_equal(ps_figures_new(&seen->figures), PS_OK);
    return ps_journal_read(path, &ops, seen, &error);
}

static struct ps_journal *begin(enum ps_report_kind kind)
{
    struct ps_journal *journal = NULL;
    struct ps_report_section test = test_of(kind);
    assert_int_equal(ps_journal_new(&journal, path, &test, &error), PS_OK);
    return journal;
}

/* A run of which the journal, and the figures, are given. */
static struct ps_figures *run(struct ps_journal *journal, unsigned seconds)
{
    struct ps_figures *figures = NULL;
    struct trial *trial = malloc(sizeof *trial);
    assert_non_null(trial);
    assert_int_equal(ps_figures_new(&figures), PS_OK);
    trial_begin(trial, &opts);
    for (unsigned i = 0; i < seconds; i++) {
        struct ps_second second = trial_next(trial);
        second.phase = i < 5 ? "baseline" : "spike";
        ps_journal_second(journal, &second);
        assert_int_equal(ps_figures_add(figures, &second), PS_OK);
    }
    free(trial);
    return figures;
}

static void assert_same(const struct ps_figures *a, const struct ps_figures *b)
{
    assert_int_equal(a->sent, b->sent);
    assert_int_equal(a->succeeded, b->succeeded);
    assert_int_equal(a->failed, b->failed);
    assert_int_equal(a->good, b->good);
    assert_int_equal(a->output_tokens, b->output_tokens);
    assert_memory_equal(&a->corrected, &b->corrected, sizeof a->corrected);
    assert_memory_equal(&a->latency, &b->latency, sizeof a->latency);
    assert_memory_equal(&a->ttft, &b->ttft, sizeof a->ttft);
    assert_memory_equal(&a->token_gap, &b->token_gap, sizeof a->token_gap);
    assert_memory_equal(&a->lag, &b->lag, sizeof a->lag);
    assert_memory_equal(a->statuses, b->statuses, sizeof a->statuses);
    assert_string_equal(a->failures[0].example, b->failures[0].example);
    assert_int_equal(a->point_count, b->point_count);
    for (size_t i = 0; i < a->point_count; i++) {
        assert_string_equal(a->points[i].phase, b->points[i].phase);
        assert_true(a->points[i].p95_ms == b->points[i].p95_ms);
    }
}

static void a_journal_gives_the_very_figures_of_the_run(void **state)
{
    (void)state;
    struct ps_journal *journal = begin(PS_REPORT_SPIKE);
    struct ps_figures *figures = run(journal, 30);
    ps_journal_point(journal, &(struct ps_report_point){.rps = 120, .ttft_p95_ms = NAN, .verdict = "breaks"});
    assert_int_equal(ps_journal_error(journal), PS_OK);
    ps_journal_free(journal, true);
    struct seen seen;
    assert_int_equal(read_it(&seen), PS_OK);
    assert_same(figures, seen.figures);
    assert_int_equal(seen.points, 1);
    assert_int_equal(seen.test.kind, PS_REPORT_SPIKE);
    assert_int_equal(seen.test.started, 1700000000123456789);
    assert_string_equal(seen.target, "http://127.0.0.1:5000/x");
    assert_string_equal(seen.odd, "\"quoted\"  ");
    ps_figures_free(seen.figures);
    ps_figures_free(figures);
}

static void cut(long bytes)
{
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    assert_int_equal(ftruncate(fileno(file), ftell(file) - bytes), 0);
    fclose(file);
}

static void a_torn_last_line_is_left_out_and_cut_off_when_the_run_goes_on(void **state)
{
    (void)state;
    struct ps_journal *journal = begin(PS_REPORT_ENDURANCE);
    struct ps_figures *figures = run(journal, 10);
    ps_journal_free(journal, true);
    cut(40);
    struct seen seen;
    assert_int_equal(read_it(&seen), PS_OK);
    assert_int_equal(seen.figures->point_count, 9);
    ps_figures_free(seen.figures);
    assert_int_equal(ps_journal_resume(&journal, path, &error), PS_OK);
    struct ps_second second = ps_second_make(20, 1);
    second.succeeded = 3;
    ps_journal_second(journal, &second);
    ps_journal_free(journal, true);
    assert_int_equal(read_it(&seen), PS_OK);
    assert_int_equal(seen.figures->point_count, 10);
    assert_true(seen.figures->at == 20);
    ps_figures_free(seen.figures);
    ps_figures_free(figures);
}

static void each_byte_at_which_a_journal_may_be_cut_leaves_a_journal(void **state)
{
    (void)state;
    struct ps_journal *journal = begin(PS_REPORT_LOAD);
    ps_figures_free(run(journal, 3));
    ps_journal_free(journal, true);
    size_t last = 3;
    for (int i = 0; i < 2000; i++) {
        cut(1);
        struct seen seen;
        int err = read_it(&seen);
        size_t points = seen.figures->point_count;
        ps_figures_free(seen.figures);
        assert_true(points <= last);
        last = points;
        if (err != PS_OK) { /* it has no whole head any more */
            assert_int_equal(err, PS_EPARSE);
            assert_int_equal(points, 0);
            break;
        }
    }
}

static void write_text(const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    fclose(file);
}

#define HEAD "{\"penstock_journal\":1,\"test\":\"load\",\"target\":\"http://h\"}\n"

static void damage_is_said_with_its_line(void **state)
{
    static const char *const rows[][2] = {
        {"", "an empty file"},
        {"hello\n", "expected near"},
        {"{\"a\":1}\n", "not a journal"},
        {"{\"penstock_journal\":2,\"test\":\"load\",\"target\":\"\"}\n", "another version"},
        {"{\"penstock_journal\":1,\"test\":\"dance\",\"target\":\"\"}\n", "not one that is known"},
        {HEAD "{\"at\":1,\"sent\":-1}\n{\"at\":2}\n", ":2: sent: expected a count"},
        {HEAD "{\"at\":1}\n{\"at\":\"x\"}\n{\"at\":2}\n", ":3: at: expected a number"},
        {HEAD "{}\n{\"at\":2}\n", ":2: at: expected seconds"},
        {HEAD HEAD "{\"at\":2}\n", ":2: expected a second"},
        {HEAD "{\"at\":1,\"corrected\":[5,4,9,\"4x2\"]}\n{\"at\":2}\n", "don't agree"},
        {HEAD "{\"at\":1,\"corrected\":[-5,4,9,\"4x2\"]}\n{\"at\":2}\n", "don't agree"},
        {HEAD "{\"at\":1,\"corrected\":[4,4,9,\"4x\"]}\n{\"at\":2}\n", "can't be read"},
        {HEAD "{\"at\":1,\"corrected\":7}\n{\"at\":2}\n", "expected [least"},
        {HEAD "{\"at\":1,\"statuses\":{\"600\":1}}\n{\"at\":2}\n", "counts by status"},
        {HEAD "{\"at\":1,\"failures\":[{\"count\":1}]}\n{\"at\":2}\n", "kinds and counts"},
        {HEAD "{\"at\":1e300}\n{\"at\":2}\n", "expected a number"},
        {HEAD "\n{\"at\":2}\n", ":2: "},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct seen seen;
        write_text(rows[i][0]);
        int err = read_it(&seen);
        ps_figures_free(seen.figures);
        if (err != PS_EPARSE || strstr(error.text, rows[i][1]) == NULL) {
            fail_msg("row %zu: %d %s", i, err, error.text);
        }
    }
}

static void an_earlier_journal_is_moved_aside(void **state)
{
    (void)state;
    write_text("precious\n");
    ps_journal_free(begin(PS_REPORT_LOAD), true);
    char old[200];
    snprintf(old, sizeof old, "%s.old", path);
    assert_int_equal(access(old, F_OK), 0);
}

static void a_journal_whose_report_was_written_goes(void **state)
{
    (void)state;
    ps_journal_free(begin(PS_REPORT_LOAD), false);
    assert_int_not_equal(access(path, F_OK), 0);
    ps_journal_free(NULL, true);
}

static void a_disk_that_is_full_costs_the_journal_alone(void **state)
{
    (void)state;
    struct ps_journal *journal = NULL;
    assert_int_equal(ps_journal_resume(&journal, "/dev/full", &error), PS_EINVAL); /* it can't be cut */
    char where[200];
    snprintf(where, sizeof where, "%s/none/x", tree.root);
    struct ps_report_section test = test_of(PS_REPORT_LOAD);
    assert_int_equal(ps_journal_new(&journal, where, &test, &error), PS_ENOTFOUND);
    assert_non_null(strstr(error.text, "/none/x: No such file"));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_journal_gives_the_very_figures_of_the_run),
        CASE(a_torn_last_line_is_left_out_and_cut_off_when_the_run_goes_on),
        CASE(each_byte_at_which_a_journal_may_be_cut_leaves_a_journal),
        CASE(damage_is_said_with_its_line),
        CASE(an_earlier_journal_is_moved_aside),
        CASE(a_journal_whose_report_was_written_goes),
        CASE(a_disk_that_is_full_costs_the_journal_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
