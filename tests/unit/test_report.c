/* test_report - the document: what is in it, how it is saved, and what is never overwritten.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../helpers/tree.h"
#include "../helpers/trial.h"
#include "../helpers/trial_report.h"
#include "load/report_document.h"
#include "load/report_json.h"

static struct tree tree;
static char path[160];
static struct ps_figures *figures;
static struct ps_report_error error;

static int set_up(void **state)
{
    const struct trial_opts opts = {
        .seed = 5, .rps = 50, .median_ms = 40, .sigma = 0.3, .error_rate = 0.004, .streams = true};
    (void)state;
    tree_open(&tree);
    snprintf(path, sizeof path, "%s/load_test_report.json", tree.root);
    figures = trial_run(&opts, 60);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ps_figures_free(figures);
    tree_close(&tree);
    return 0;
}

static int save(enum ps_report_kind kind, bool force)
{
    struct ps_report_section section = trial_section(kind, figures);
    error.text[0] = '\0';
    return ps_report_save(path, &section, force, NULL, &error);
}

static json_t *load(void)
{
    json_t *document = NULL;
    if (ps_report_load_file(&document, path, &error) != PS_OK) {
        fail_msg("%s", error.text);
    }
    return document;
}

static void write_text(const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    fclose(file);
}

static char *read_text(void)
{
    static char text[1 << 20];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

static void a_section_has_the_names_and_figures_that_were_promised(void **state)
{
    (void)state;
    assert_int_equal(save(PS_REPORT_LOAD, false), PS_OK);
    json_t *document = load();
    const json_t *test = json_object_get(document, "load_test");
    assert_true(ps_report_number(test, "total_requests") == (double)(figures->succeeded + figures->failed));
    assert_true(ps_report_number(test, "failed_requests") == (double)figures->failed);
    assert_true(fabs(ps_report_number(test, "rps") - ps_figures_rps(figures)) < 0.001);
    assert_true(ps_report_number(test, "target_rps") == 50);
    static const char *const times[] = {"min", "max", "mean", "median", "p95", "p99"};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        char name[64];
        snprintf(name, sizeof name, "response_time_ms.%s", times[i]);
        assert_true(ps_report_number(test, name) > 0);
    }
    double p95 = ps_hist_percentile(&figures->corrected, 0.95) / 1e6;
    assert_true(fabs(ps_report_number(test, "response_time_ms.p95") - p95) < 0.001);
    assert_int_equal(ps_report_size(test, "series.time"), 60);
    assert_int_equal(ps_report_size(test, "blocks"), 60);
    assert_true(isnan(ps_report_number(test, "breaking_point_rps")));
    json_decref(document);
}

static void secrets_of_the_url_are_nowhere(void **state)
{
    (void)state;
    assert_int_equal(save(PS_REPORT_LOAD, false), PS_OK);
    assert_null(strstr(read_text(), "secret"));
    assert_non_null(strstr(read_text(), "\"http://127.0.0.1:5000/v1/chat/completions\""));
}

static void a_test_replaces_its_own_section_alone(void **state)
{
    (void)state;
    for (enum ps_report_kind kind = 0; kind < PS_REPORT_COUNT; kind++) {
        assert_int_equal(save(kind, false), PS_OK);
    }
    json_t *before = load();
    assert_int_equal(json_object_set_new(before, "mine", json_string("kept")), 0);
    assert_int_equal(json_dump_file(before, path, 0), 0);
    ps_figures_free(figures);
    figures = trial_run(&(struct trial_opts){.seed = 9, .rps = 5, .median_ms = 10, .sigma = 0.1}, 5);
    assert_int_equal(save(PS_REPORT_SPIKE, false), PS_OK);
    json_t *after = load();
    assert_false(json_equal(json_object_get(before, "spike_test"), json_object_get(after, "spike_test")));
    static const char *const others[] = {"load_test", "stress_test", "endurance_test", "replay", "mine"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_true(json_equal(json_object_get(before, others[i]), json_object_get(after, others[i])));
    }
    json_decref(before);
    json_decref(after);
}

static void put(json_t *document, enum ps_report_kind kind, enum ps_verdict verdict, const char *reason)
{
    struct ps_report_section section = trial_section(kind, figures);
    section.verdict = verdict;
    section.reason = reason;
    section.limited = verdict == PS_VERDICT_GENERATOR_LIMITED ? "it was late" : NULL;
    assert_int_equal(ps_report_put(document, &section), PS_OK);
}

static void the_summary_says_the_worst(void **state)
{
    (void)state;
    json_t *document = json_object();
    put(document, PS_REPORT_LOAD, PS_VERDICT_PASS, "all well");
    assert_string_equal(ps_report_text(document, "summary.reason"), "all well");
    put(document, PS_REPORT_SPIKE, PS_VERDICT_PASS, "back soon");
    assert_string_equal(ps_report_text(document, "summary.reason"), "load and spike passed");
    put(document, PS_REPORT_STRESS, PS_VERDICT_FAIL, "too little");
    assert_string_equal(ps_report_text(document, "summary.verdict"), "fail");
    assert_string_equal(ps_report_text(document, "summary.reason"), "stress: too little");
    assert_false(ps_report_flag(document, "summary.generator_limited"));
    put(document, PS_REPORT_ENDURANCE, PS_VERDICT_GENERATOR_LIMITED, "this machine was too slow");
    assert_string_equal(ps_report_text(document, "summary.verdict"), "generator_limited");
    assert_true(ps_report_flag(document, "summary.generator_limited"));
    assert_string_equal(ps_report_text(document, "summary.tests.stress.verdict"), "fail");
    assert_string_equal(ps_report_text(document, "summary.figures_of"), "load");
    assert_true(ps_report_number(document, "summary.p95_ms") ==
                ps_report_number(document, "load_test.response_time_ms.p95"));
    assert_true(ps_report_number(document, "summary.breaking_point_rps") == 158);
    assert_true(fabs(ps_report_number(document, "summary.duration_seconds") - 240) < 0.01);
    json_decref(document);
}

static void a_test_of_which_nothing_ran_is_a_valid_report(void **state)
{
    (void)state;
    for (enum ps_report_kind kind = 0; kind < PS_REPORT_COUNT; kind++) {
        struct ps_report_section section = {.kind = kind, .verdict = PS_VERDICT_UNREACHABLE, .target_rps = NAN,
                                            .reason = "connection refused", .target = "http://127.0.0.1:1"};
        if (kind == PS_REPORT_STRESS) {
            section.stress.breaking_point_rps = NAN;
        }
        assert_int_equal(ps_report_save(path, &section, false, NULL, &error), PS_OK);
    }
    json_t *document = load();
    assert_string_equal(ps_report_text(document, "summary.verdict"), "unreachable");
    assert_true(ps_report_number(document, "load_test.total_requests") == 0);
    assert_null(ps_report_at(document, "load_test.response_time_ms"));
    json_decref(document);
}

static void a_foreign_or_damaged_file_is_left_as_it_is(void **state)
{
    static const char *const files[] = {
        "", "{", "[1]", "{\"a\":1}", "{\"schema_version\":2,\"summary\":{}}", "{\"schema_version\":1}",
        "{\"schema_version\":1,\"schema_version\":1}", "\xff\xfe",
        "{\"schema_version\":1,\"summary\":{\"verdict\":\"pass\",\"reason\":\"\",\"tests\":{}},\"load_test\":7}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        write_text(files[i]);
        if (save(PS_REPORT_LOAD, false) != PS_EPARSE || strstr(error.text, "--force") == NULL) {
            fail_msg("file %zu: %s", i, error.text);
        }
        assert_string_equal(read_text(), files[i]);
    }
    assert_int_equal(save(PS_REPORT_LOAD, true), PS_OK);
    json_decref(load());
}

static void a_directory_is_called_one(void **state)
{
    json_t *none;
    (void)state;
    assert_int_equal(ps_report_load_file(&none, "/", &error), PS_EIO);
    assert_string_equal(error.text, "/: it is a directory");
}

static void a_report_that_was_cut_anywhere_is_refused(void **state)
{
    (void)state;
    assert_int_equal(save(PS_REPORT_LOAD, false), PS_OK);
    size_t length = strlen(read_text());
    for (size_t cut = 0; cut + 2 < length; cut += 1 + cut / 7) {
        json_t *document = NULL;
        struct ps_str text = {read_text(), cut};
        assert_int_equal(ps_report_parse(&document, text, &error), PS_EPARSE);
    }
}

static void members_of_another_type_are_named(void **state)
{
    static const char *const paths[][2] = {
        {"load_test.rps", "\"fast\""}, {"load_test.series.time", "[\"a\"]"}, {"load_test.failures", "[1]"},
        {"load_test.total_requests", "-1"}, {"load_test.total_requests", "1.5"}, {"load_test.verdict", "\"good\""},
        {"load_test.thresholds", "{}"}, {"load_test.generator.limited", "0"}, {"summary.verdict", "\"x\""},
        {"load_test.histogram.count", "[-1]"}, {"load_test.blocks", "[[]]"}, {"load_test.environment", "[]"},
    };
    (void)state;
    assert_int_equal(save(PS_REPORT_LOAD, false), PS_OK);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        json_t *document = load();
        char parent[64];
        snprintf(parent, sizeof parent, "%s", paths[i][0]);
        char *dot = strrchr(parent, '.');
        *dot = '\0';
        json_t *value = json_loads(paths[i][1], JSON_DECODE_ANY, NULL);
        assert_int_equal(json_object_set_new(ps_report_at(document, parent), dot + 1, value), 0);
        error.text[0] = '\0';
        if (ps_report_check(document, &error) != PS_EPARSE || strstr(error.text, dot + 1) == NULL) {
            fail_msg("%s: %s", paths[i][0], error.text);
        }
        json_decref(document);
    }
}

static void a_report_that_can_not_be_written_is_rescued(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size = 0;
    static const char *const places[] = {"/dev/full", "/proc/penstock/none/report.json"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        FILE *rescue = open_memstream(&text, &size);
        struct ps_report_section section = trial_section(PS_REPORT_LOAD, figures);
        int err = ps_report_save(places[i], &section, false, rescue, &error);
        fclose(rescue);
        assert_int_not_equal(err, PS_OK);
        assert_non_null(strstr(error.text, i == 0 ? "No space left" : "No such file"));
        assert_non_null(strstr(error.text, "standard output"));
        json_t *document = NULL;
        assert_int_equal(ps_report_parse(&document, ps_str_from(text), &error), PS_OK);
        json_decref(document);
        free(text);
    }
    assert_int_equal(ps_report_status(PS_VERDICT_PASS, PS_EIO), 5);
    assert_int_equal(ps_report_status(PS_VERDICT_FAIL, PS_OK), 1);
}

static void programs_that_save_at_once_take_turns(void **state)
{
    (void)state;
    pid_t children[PS_REPORT_COUNT];
    for (enum ps_report_kind kind = 0; kind < PS_REPORT_COUNT; kind++) {
        children[kind] = fork();
        if (children[kind] == 0) {
            int failed = 0;
            for (int i = 0; i < 10; i++) {
                failed |= save(kind, false) != PS_OK;
            }
            _exit(failed);
        }
    }
    for (enum ps_report_kind kind = 0; kind < PS_REPORT_COUNT; kind++) {
        int status = 1;
        assert_int_equal(waitpid(children[kind], &status, 0), children[kind]);
        assert_int_equal(status, 0);
    }
    json_t *document = load();
    assert_int_equal(json_object_size(ps_report_at(document, "summary.tests")), PS_REPORT_COUNT);
    json_decref(document);
}

static void a_link_stays_a_link(void **state)
{
    (void)state;
    char link[200];
    snprintf(link, sizeof link, "%s/link.json", tree.root);
    assert_int_equal(save(PS_REPORT_LOAD, false), PS_OK);
    assert_int_equal(symlink(path, link), 0);
    struct ps_report_section section = trial_section(PS_REPORT_SPIKE, figures);
    assert_int_equal(ps_report_save(link, &section, false, NULL, &error), PS_OK);
    json_t *document = load();
    assert_non_null(json_object_get(document, "spike_test"));
    json_decref(document);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_section_has_the_names_and_figures_that_were_promised),
        CASE(secrets_of_the_url_are_nowhere),
        CASE(a_test_replaces_its_own_section_alone),
        CASE(the_summary_says_the_worst),
        CASE(a_test_of_which_nothing_ran_is_a_valid_report),
        CASE(a_foreign_or_damaged_file_is_left_as_it_is),
        CASE(a_directory_is_called_one),
        CASE(a_report_that_was_cut_anywhere_is_refused),
        CASE(members_of_another_type_are_named),
        CASE(a_report_that_can_not_be_written_is_rescued),
        CASE(programs_that_save_at_once_take_turns),
        CASE(a_link_stays_a_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
