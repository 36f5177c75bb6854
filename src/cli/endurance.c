/* endurance - see endurance.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/endurance.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "cli/tester.h"
#include "cli/watch.h"
#include "load/drift.h"

#define ERRORS   "http_req_failed: rate<0.001"
#define PATH_MAX_BYTES 4096
#define ARRIVALS "constant"

struct opts {
    struct ps_tester_args common;
    double rate;
    ps_span duration;
    bool resume;
    bool allow_drift;
    uint64_t pid;
    const char *metrics;
    const char *memory, *descriptors;
};

/* clang-format off */
static const struct ps_arg args[] = {
    PS_TESTER_URL_ROW(struct opts, common),
    {"--rate", PS_ARG_DOUBLE, offsetof(struct opts, rate), "RATE", "30",
     .help = "requests a second", .min = 0.01, .max = 1e6},
    {"--duration", PS_ARG_SPAN, offsetof(struct opts, duration), "D", "1h",
     .help = "send for this long; with --resume in all", .min = 1, .max = 1e8},
    {"--resume", PS_ARG_FLAG, offsetof(struct opts, resume),
     .help = "go on with the test whose journal lies beside --out"},
    {"--allow-drift", PS_ARG_FLAG, offsetof(struct opts, allow_drift),
     .help = "report drifts, but don't fail because of them"},
    {"--target-pid", PS_ARG_U64, offsetof(struct opts, pid), "PID",
     .help = "watch memory and descriptors of this process", .min = 1, .max = 4194304},
    {"--target-metrics", PS_ARG_TEXT, offsetof(struct opts, metrics), "URL",
     .help = "read them from this page of metrics"},
    {"--memory-series", PS_ARG_TEXT, offsetof(struct opts, memory), "NAME",
     .help = "the series there; default process_resident_memory_bytes"},
    {"--descriptors-series", PS_ARG_TEXT, offsetof(struct opts, descriptors), "NAME",
     .help = "the series there; default process_open_fds"},
    PS_TESTER_REQUEST_ROWS(struct opts, common),
    PS_TESTER_OTHER_ROWS(struct opts, common),
    {0},
};
/* clang-format on */

static int run_command(int argc, char **argv);

const struct ps_command ps_endurance_command = {
    .name = "endurance",
    .brief = "keeps a rate for hours, and tells what drifts",
    .summary = "Keeps a steady rate for an hour, or as long as wished, and tests whether latency, errors, and the target's\n"
               "memory and descriptors drift (slope of Theil and Sen, test of Mann and Kendall).",
    .args = args,
    .notes = "An interrupted test is gone on with by the same command and --resume.\n"
             "Unless a threshold about http_req_failed is set, less than 0.1 % of the requests may fail.\n",
    .success = "nothing drifts, and thresholds were kept",
    .failure = "something drifts, or a threshold was not kept",
    .severe = PS_TESTER_SEVERE,
    .limited = PS_TESTER_LIMITED,
    .aborted = "ended early (--resume goes on with it), or the report could not be written",
    .run = run_command,
};

struct test {
    const struct opts *opts;
    struct ps_tester *tester;
    struct ps_watch *watch;
    struct ps_drift drift;
    struct ps_report_drift drifts[PS_DRIFT_SIGNALS];
    size_t drift_count;
    uint64_t resumed;
    char phase[24]; /* of what is sent now: tells the parts of a run in its journal */
    char last[24];  /* of the row that was read last */
    double interrupted;
    double behind; /* seconds that lay behind when it was resumed */
};

/* ------------------------------------------------------------------------------------- the run */

static void on_second(void *ctx, struct ps_second *second, const struct ps_run_row *row)
{
    struct test *test = ctx;
    struct ps_watch_values values = ps_watch_look(test->watch);
    second->target_memory_bytes = values.memory_bytes;
    second->target_descriptors = values.descriptors;
    second->phase = test->phase[0] == '\0' ? NULL : test->phase;
    if (values.began_anew) {
        ps_drift_part(&test->drift);
    }
    if (ps_tester_is_dead(test->tester)) {
        ps_run_stop(ps_tester_current(test->tester));
    }
    double left = ps_span_seconds(test->opts->duration) - test->behind - ps_span_seconds(row->at);
    if (left > 0) {
        ps_drift_push(&test->drift, second);
    }
}

static void on_view(void *ctx, struct ps_buf *out)
{
    struct test *test = ctx;
    struct ps_drift_result results[PS_DRIFT_SIGNALS];
    ps_drift_judge(&test->drift, results);
    PS_IGNORE(ps_buf_printf(out, "%-13s", "drift"));
    bool any = false;
    for (size_t i = 0; i < PS_DRIFT_SIGNALS; i++) {
        if (!isnan(results[i].p)) {
            PS_IGNORE(ps_buf_printf(out, " %s %+.2g %%/h%s", ps_drift_rows[i].name,
                                    isnan(results[i].percent_per_hour) ? 0 : results[i].percent_per_hour,
                                    results[i].drifts ? " DRIFTS" : ""));
            any = true;
        }
    }
    PS_IGNORE(ps_buf_append_str(out, any ? PS_STR("\n") : PS_STR(" (after more seconds)\n")));
}

/* -------------------------------------------------------------------------------------- resuming */

struct reading {
    struct test *test;
    struct ps_figures *figures;
    const char *url;
    ps_time started;
    bool other; /* another target */
};

static int on_test(void *ctx, const struct ps_report_section *section)
{
    struct reading *reading = ctx;
    reading->other = section->target == NULL || strcmp(section->target, reading->url) != 0;
    reading->started = section->started;
    return reading->other ? PS_EINVAL : PS_OK;
}

static int on_read(void *ctx, const struct ps_second *second)
{
    struct reading *reading = ctx;
    struct test *test = reading->test;
    const char *phase = second->phase == NULL ? "" : second->phase;
    if (strcmp(phase, test->last) != 0) {
        snprintf(test->last, sizeof test->last, "%s", phase);
        test->resumed++;
        ps_drift_part(&test->drift);
    }
    ps_drift_push(&test->drift, second);
    return ps_figures_add(reading->figures, second);
}

static int fail(const char *path, const char *why)
{
    return ps_args_usage_error(&ps_endurance_command, "--resume: %s: %s", path, why);
}

/* Where the seconds of the journal end, what is sent now begins. */
static int take_up(struct test *test, struct reading *reading, const char *path)
{
    struct ps_journal *journal = NULL;
    struct ps_report_error error = {"out of memory"};
    if (ps_journal_resume(&journal, path, &error) != PS_OK) {
        return fail(path, error.text);
    }
    double now = ps_span_seconds(ps_clock_wall(&ps_clock_real) - reading->started);
    test->behind = reading->figures->at;
    test->interrupted = fmax(now - reading->figures->at, 0);
    test->resumed++;
    snprintf(test->phase, sizeof test->phase, "resumed %u", (unsigned)test->resumed);
    ps_drift_part(&test->drift);
    ps_tester_resume_take(test->tester, reading->figures, journal);
    reading->figures = NULL;
    return 0;
}

static int resume_from(struct test *test, const char *path)
{
    static const struct ps_journal_ops ops = {.on_test = on_test, .on_second = on_read};
    struct reading reading = {.test = test, .url = test->opts->common.url};
    struct ps_report_error error = {"out of memory"};
    int status = 0;
    int err = ps_figures_new(&reading.figures);
    if (err == PS_OK) {
        err = ps_journal_read(path, &ops, &reading, &error);
    }
    if (reading.other) {
        status = fail(path, "it is the journal of another target");
    } else if (err != PS_OK) {
        status = fail(path, error.text);
    } else if (reading.figures->at >= ps_span_seconds(test->opts->duration)) {
        status = fail(path, "that test has already run for --duration");
    } else {
        status = take_up(test, &reading, path);
    }
    ps_figures_free(reading.figures);
    return status;
}

static int resume(struct test *test)
{
    struct ps_buf path = ps_buf_make(PATH_MAX_BYTES);
    int status = 2;
    if (ps_journal_path(test->opts->common.out, PS_REPORT_ENDURANCE, &path) == PS_OK) {
        status = resume_from(test, path.data);
    }
    ps_buf_fini(&path);
    return status;
}

/* --------------------------------------------------------------------------------- the verdict */

static void fill(struct test *test, const struct ps_drift_result results[PS_DRIFT_SIGNALS],
                 struct ps_report_section *section)
{
    for (size_t i = 0; i < PS_DRIFT_SIGNALS; i++) {
        if (results[i].points == 0) {
            continue;
        }
        test->drifts[test->drift_count++] = (struct ps_report_drift){
            .signal = ps_drift_rows[i].name,
            .unit = ps_drift_rows[i].unit,
            .start = results[i].start,
            .end = results[i].end,
            .slope_per_hour = results[i].slope_per_hour,
            .low_per_hour = results[i].low_per_hour,
            .high_per_hour = results[i].high_per_hour,
            .percent_per_hour = results[i].percent_per_hour,
            .p_value = results[i].p_adjusted,
            .samples = results[i].points,
            .drifts = results[i].drifts,
        };
    }
    section->endurance.drifts = test->drifts;
    section->endurance.drift_count = test->drift_count;
    section->endurance.resumed = test->resumed;
    section->endurance.interrupted_seconds = test->interrupted;
}

static const char *say_drift(const struct ps_report_drift *drift, char *text, size_t size)
{
    if (isnan(drift->percent_per_hour)) {
        snprintf(text, size, "%s drifts by %+.3g %s an hour (p = %.2g)", drift->signal, drift->slope_per_hour, drift->unit,
                 drift->p_value);
    } else {
        snprintf(text, size, "%s drifts by %+.2f %% an hour (p = %.2g)", drift->signal, drift->percent_per_hour,
                 drift->p_value);
    }
    return text;
}

static void judge(struct test *test)
{
    struct ps_drift_result results[PS_DRIFT_SIGNALS];
    struct ps_report_section *section = ps_tester_section(test->tester);
    ps_drift_judge(&test->drift, results);
    fill(test, results, section);
    if (section->verdict != PS_VERDICT_PASS) {
        return;
    }
    char text[160];
    char more[320];
    const struct ps_report_drift *worst = NULL;
    size_t tested = 0;
    for (size_t i = 0; i < test->drift_count; i++) {
        const struct ps_report_drift *drift = &test->drifts[i];
        tested += !isnan(drift->p_value);
        worst = drift->drifts && (worst == NULL || drift->p_value < worst->p_value) ? drift : worst;
    }
    snprintf(more, sizeof more, "%.300s", section->reason);
    if (worst != NULL) {
        ps_tester_reason(test->tester, test->opts->allow_drift ? PS_VERDICT_PASS : PS_VERDICT_FAIL, "%s",
                         say_drift(worst, text, sizeof text));
    } else if (tested == 0) {
        ps_tester_reason(test->tester, PS_VERDICT_PASS, "%s; too short to tell drifts", more);
    } else {
        ps_tester_reason(test->tester, PS_VERDICT_PASS, "%s; nothing drifts", more);
    }
}

/* ---------------------------------------------------------------------------------------- life */

static void note(const struct opts *opts, struct ps_tester *tester)
{
    ps_tester_note(tester, "rate", "%g", opts->rate);
    ps_tester_note(tester, "duration", "%gs", ps_span_seconds(opts->duration));
    ps_tester_note(tester, "arrivals", "%s", opts->common.arrivals);
    if (opts->pid > 0) {
        ps_tester_note(tester, "target_pid", "%llu", (unsigned long long)opts->pid);
    } else if (opts->metrics != NULL) {
        ps_tester_note(tester, "target_metrics", "%s", opts->metrics);
    }
}

static int start_watch(struct test *test)
{
    const struct opts *opts = test->opts;
    const struct ps_watch_opts watch = {opts->pid, opts->metrics, opts->memory, opts->descriptors};
    int err = ps_watch_new(&test->watch, ps_tester_loop(test->tester), &watch);
    if (err == PS_OK) {
        return 0;
    }
    if (opts->pid > 0) {
        return ps_args_usage_error(&ps_endurance_command, "--target-pid %llu: there is no such process",
                                   (unsigned long long)opts->pid);
    }
    return ps_args_usage_error(&ps_endurance_command, "--target-metrics %s: %s",
                               opts->metrics == NULL ? "" : opts->metrics, ps_err_text(err));
}

static int execute(struct test *test)
{
    static const struct ps_tester_ops ops = {.on_second = on_second, .on_view = on_view};
    const struct opts *opts = test->opts;
    struct ps_run_opts run;
    int status = start_watch(test);
    status = status == 0 && opts->resume ? resume(test) : status;
    if (status != 0) {
        return status;
    }
    ps_tester_opts(test->tester, &run);
    run.duration = opts->duration - (ps_span)(test->behind * 1e9);
    run.schedule.phases[0] = (struct ps_phase){.from = opts->rate, .to = opts->rate};
    run.schedule.phase_count = 1;
    note(opts, test->tester);
    ps_tester_default_threshold(test->tester, ERRORS);
    ps_tester_expect(test->tester, opts->duration);
    status = ps_tester_run(test->tester, &run, ARRIVALS, opts->rate, &ops, test);
    if (status != 0) {
        return status;
    }
    judge(test);
    return ps_tester_finish(test->tester);
}

static int run_command(int argc, char **argv)
{
    struct opts opts = {.rate = 0};
    struct test *test = calloc(1, sizeof *test);
    int err = test == NULL ? PS_ENOMEM : ps_args_parse(&ps_endurance_command, argc, argv, &opts);
    if (err != PS_OK) {
        free(test);
        return err == PS_ECANCELED ? 0 : 2;
    }
    test->opts = &opts;
    int status = ps_tester_new(&test->tester, &ps_endurance_command, &opts.common, PS_REPORT_ENDURANCE);
    status = status != 0 ? status : execute(test);
    ps_watch_free(test->watch);
    ps_tester_free(test->tester);
    free(test);
    return status;
}
