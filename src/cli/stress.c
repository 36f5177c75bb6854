/* stress - see stress.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/stress.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "cli/tester.h"
#include "load/stress.h"

#define DRAIN (2 * PS_SECOND) /* at the end: what is in flight then is of no level */

struct opts {
    struct ps_tester_args common;
    bool quick;
    double from, most, step;
    ps_span every;
    double error_percent, good_percent;
    double least;
    ps_span budget;
};

/* clang-format off */
static const struct ps_arg args[] = {
    PS_TESTER_URL_ROW(struct opts, common),
    {"--quick", PS_ARG_FLAG, offsetof(struct opts, quick),
     .help = "under a minute, and to 10 % instead of 5 %"},
    {"--from", PS_ARG_DOUBLE, offsetof(struct opts, from), "RATE",
     .help = "where the search begins; default 10, or one step", .min = 0.05, .max = 1e6},
    {"--max-rate", PS_ARG_DOUBLE, offsetof(struct opts, most), "RATE", "10000",
     .help = "no level is above it", .min = 0.05, .max = 1e6},
    {"--step", PS_ARG_DOUBLE, offsetof(struct opts, step), "RATE",
     .help = "instead of searching, a staircase: a level every so many requests a second", .min = 0.05, .max = 1e6},
    {"--every", PS_ARG_SPAN, offsetof(struct opts, every), "D", "60s",
     .help = "length of a level of the staircase", .min = 3, .max = 86400},
    {"--max-errors", PS_ARG_DOUBLE, offsetof(struct opts, error_percent), "PERCENT", "1",
     .help = "errors that a level may have", .min = 0.001, .max = 99},
    {"--min-goodput", PS_ARG_DOUBLE, offsetof(struct opts, good_percent), "PERCENT", "95",
     .help = "answers that must keep what --goodput says", .min = 1, .max = 99.9},
    {"--min-rate", PS_ARG_DOUBLE, offsetof(struct opts, least), "RATE", "100",
     .help = "fail when the breaking point is below; 0: never", .min = 0, .max = 1e6},
    {"--budget", PS_ARG_SPAN, offsetof(struct opts, budget), "D",
     .help = "longest time of a search; default 10m, with --quick 50s", .min = 10, .max = 86400},
    PS_TESTER_REQUEST_ROWS(struct opts, common),
    PS_TESTER_OTHER_ROWS(struct opts, common),
    {0},
};
/* clang-format on */

static int run_command(int argc, char **argv);

const struct ps_command ps_stress_command = {
    .name = "stress",
    .brief = "finds the rate at which a service breaks, and what gives way",
    .summary = "Looks for the highest rate that an HTTP service carries: rates grow until one breaks, then halving between\n"
               "what held and what broke, then both once more for longer. Ends with a breaking point, its interval, and\n"
               "what gave way: errors, goodput, or requests in flight and time to first token that rise while the rate\n"
               "stands still.",
    .args = args,
    .notes = "A rate that the generator could not drive is no breaking point: the test says so and exits with 4.\n",
    .success = "the breaking point is at least --min-rate, and thresholds were kept",
    .failure = "it is below, or a threshold was not kept",
    .severe = PS_TESTER_SEVERE,
    .limited = PS_TESTER_LIMITED,
    .aborted = PS_TESTER_ABORTED,
    .run = run_command,
};

struct test {
    const struct opts *opts;
    struct ps_tester *tester;
    struct ps_stress *stress;
    double rate; /* that is being sent */
    size_t told; /* levels that the journal has */
    struct ps_report_point points[PS_STRESS_LEVELS_MAX];
};

/* ------------------------------------------------------------------------------------- the run */

static struct ps_report_point point_of(const struct ps_stress_level *level)
{
    return (struct ps_report_point){
        .at = level->at,
        .duration_seconds = level->seconds,
        .rps = level->rate,
        .achieved_rps = level->achieved,
        .error_rate_percent = 100 * level->error_share,
        .p50_ms = level->p50_ms,
        .p95_ms = level->p95_ms,
        .p99_ms = level->p99_ms,
        .ttft_p95_ms = level->ttft_p95_ms,
        .in_flight = level->in_flight,
        .verdict = ps_stress_verdict_words[level->verdict],
        .signal = level->signal == PS_STRESS_NONE ? NULL : ps_stress_signal_words[level->signal],
    };
}

static void tell_levels(struct test *test)
{
    size_t count = 0;
    const struct ps_stress_level *levels = ps_stress_levels(test->stress, &count);
    for (; test->told < count; test->told++) {
        test->points[test->told] = point_of(&levels[test->told]);
        if (ps_tester_journal(test->tester) != NULL) {
            ps_journal_point(ps_tester_journal(test->tester), &test->points[test->told]);
        }
    }
}

static void on_second(void *ctx, struct ps_second *second, const struct ps_run_row *row)
{
    struct test *test = ctx;
    struct ps_run *run = ps_tester_current(test->tester);
    (void)row;
    second->phase = ps_stress_phase(test->stress);
    ps_stress_push(test->stress, second);
    tell_levels(test);
    double rate = ps_stress_rate(test->stress);
    if (ps_tester_is_dead(test->tester)) {
        ps_run_stop(run);
    } else if (ps_stress_is_over(test->stress)) {
        ps_run_drain(run);
    } else if (rate != test->rate) {
        (void)ps_run_change(run, &(struct ps_phase){.from = rate, .to = rate});
        test->rate = rate;
    }
}

static void on_view(void *ctx, struct ps_buf *out)
{
    struct test *test = ctx;
    struct ps_stress_result result = ps_stress_result(test->stress);
    PS_IGNORE(ps_buf_printf(out, "%-13s %s", "search", ps_stress_phase(test->stress)));
    if (ps_stress_rate(test->stress) > 0) {
        PS_IGNORE(ps_buf_printf(out, " at %.1f/s", ps_stress_rate(test->stress)));
    }
    if (!isnan(result.held)) {
        PS_IGNORE(ps_buf_printf(out, "   %.1f/s holds", result.held));
    }
    if (!isnan(result.broke)) {
        PS_IGNORE(ps_buf_printf(out, "   %.1f/s breaks (%s)", result.broke, ps_stress_signal_words[result.signal]));
    }
    PS_IGNORE(ps_buf_append_str(out, PS_STR("\n")));
}

/* --------------------------------------------------------------------------------- the verdict */

static const char *sentence_of(enum ps_stress_signal signal)
{
    switch (signal) {
    case PS_STRESS_ERRORS:
        return "more requests fail than may";
    case PS_STRESS_GOODPUT:
        return "what comes back well falls behind what is sent";
    case PS_STRESS_CONCURRENCY:
        return "requests in flight pile up while the rate stands still";
    case PS_STRESS_TTFT:
        return "the time to first token rises while the rate stands still";
    case PS_STRESS_NONE:
        break;
    }
    return "nothing gave way";
}

static void say_point(struct test *test, const struct ps_stress_result *result)
{
    char interval[64] = "";
    if (!isnan(result->low) && !isnan(result->high)) {
        snprintf(interval, sizeof interval, " (between %.1f and %.1f)", result->low, result->high);
    }
    ps_tester_reason(test->tester, PS_VERDICT_PASS, "it breaks at %.1f requests/s%s: %s%s", result->breaking_point,
                     interval, sentence_of(result->signal),
                     result->stuck   ? "; what was in flight then did not drain, so the search ended early"
                     : result->ended ? "; the search ended before it was sure of it"
                                     : "");
}

static void say(struct test *test, const struct ps_stress_result *result)
{
    struct ps_tester *tester = test->tester;
    if (!isnan(result->breaking_point)) {
        say_point(test, result);
    } else if (result->limited) {
        ps_tester_reason(tester, PS_VERDICT_GENERATOR_LIMITED,
                         "limited by the generator: it could not drive %.1f requests/s; the service held %.1f",
                         result->broke, isnan(result->held) ? 0 : result->held);
    } else if (!isnan(result->held)) {
        ps_tester_reason(tester, PS_VERDICT_PASS, "it holds at %.1f requests/s%s", result->held,
                         result->ended ? " and did not break until the search ended" : " (--max-rate): nothing broke");
    } else if (!isnan(result->broke)) {
        ps_tester_reason(tester, PS_VERDICT_FAIL, "it breaks at each rate, the lowest was %.2f requests/s: %s",
                         result->broke, sentence_of(result->signal));
    } else {
        ps_tester_reason(tester, PS_VERDICT_FAIL, "too little came back to tell anything");
    }
}

static void judge(struct test *test)
{
    struct ps_stress_result result = ps_stress_result(test->stress);
    struct ps_report_section *section = ps_tester_section(test->tester);
    bool ran = section->verdict != PS_VERDICT_UNREACHABLE && section->verdict != PS_VERDICT_ABORTED;
    /* That some level was more than the generator could drive is judged level by level; errors belong to a search. */
    if (ran) {
        bool kept = true;
        for (size_t i = 0; i < section->threshold_count; i++) {
            kept = kept && section->thresholds[i].passed;
        }
        section->limited = result.limited ? section->limited : NULL;
        if (kept || section->verdict == PS_VERDICT_GENERATOR_LIMITED) {
            say(test, &result);
        }
    }
    double carried = isnan(result.breaking_point) ? result.held : result.breaking_point;
    if (test->opts->least > 0 && ran) {
        static char expression[40];
        char reason[600];
        snprintf(expression, sizeof expression, ">=%g", test->opts->least);
        snprintf(reason, sizeof reason, "%.480s; at least %g were wanted", section->reason, test->opts->least);
        const struct ps_report_threshold threshold = {.metric = "breaking_point_rps",
                                                      .expression = expression,
                                                      .value = carried,
                                                      .unit = "/s",
                                                      .passed = carried >= test->opts->least};
        ps_tester_threshold(test->tester, &threshold, reason);
    }
    section->stress.breaking_point_rps = result.breaking_point;
    section->stress.low_rps = result.low;
    section->stress.high_rps = result.high;
    section->stress.confidence = PS_STRESS_CONFIDENCE;
    section->stress.limiting_signal = result.signal == PS_STRESS_NONE ? NULL : ps_stress_signal_words[result.signal];
    section->stress.search = test->opts->step > 0 ? "staircase" : "bisect";
    section->stress.points = test->points;
    section->stress.point_count = test->told;
}

/* ---------------------------------------------------------------------------------------- life */

static void note(const struct opts *opts, struct ps_tester *tester)
{
    if (opts->step > 0) {
        ps_tester_note(tester, "step", "%g", opts->step);
        ps_tester_note(tester, "every", "%gs", ps_span_seconds(opts->every));
    } else {
        ps_tester_note(tester, "quick", "%s", opts->quick ? "yes" : "no");
    }
    ps_tester_note(tester, "max_rate", "%g", opts->most);
    ps_tester_note(tester, "max_errors", "%g%%", opts->error_percent);
    ps_tester_note(tester, "min_rate", "%g", opts->least);
    ps_tester_note(tester, "arrivals", "%s", opts->common.arrivals);
}

static int execute(struct test *test)
{
    static const struct ps_tester_ops ops = {.on_second = on_second, .on_view = on_view};
    const struct opts *opts = test->opts;
    struct ps_run_opts run;
    ps_tester_opts(test->tester, &run);
    test->rate = ps_stress_rate(test->stress);
    run.schedule.phases[0] = (struct ps_phase){.from = test->rate, .to = test->rate};
    run.schedule.phase_count = 1;
    run.drain = DRAIN;
    note(opts, test->tester);
    double budget = ps_stress_budget(test->stress);
    ps_tester_expect(test->tester, isnan(budget) ? PS_NEVER : (ps_span)(budget * 1e9));
    int status = ps_tester_run(test->tester, &run, opts->step > 0 ? "steps" : "search", NAN, &ops, test);
    if (status != 0) {
        return status;
    }
    ps_stress_end(test->stress);
    tell_levels(test);
    judge(test);
    return ps_tester_finish(test->tester);
}

static int set_up(struct test *test)
{
    const struct opts *opts = test->opts;
    double from = opts->from > 0 ? opts->from : opts->step > 0 ? opts->step : 10;
    const struct ps_stress_opts search = {
        .from = fmin(from, opts->most),
        .most = opts->most,
        .step = opts->step,
        .every = ps_span_seconds(opts->every),
        .max_error = opts->error_percent / 100,
        .min_good = opts->good_percent / 100,
        .budget = ps_span_seconds(opts->budget),
        .quick = opts->quick,
    };
    int err = ps_stress_new(&test->stress, &search);
    return err == PS_OK ? 0 : ps_args_usage_error(&ps_stress_command, "%s", ps_err_text(err));
}

static int run_command(int argc, char **argv)
{
    struct opts opts = {.quick = false};
    struct test *test = calloc(1, sizeof *test);
    int err = test == NULL ? PS_ENOMEM : ps_args_parse(&ps_stress_command, argc, argv, &opts);
    if (err != PS_OK) {
        free(test);
        return err == PS_ECANCELED ? 0 : 2;
    }
    test->opts = &opts;
    int status = set_up(test);
    status = status != 0 ? status : ps_tester_new(&test->tester, &ps_stress_command, &opts.common, PS_REPORT_STRESS);
    status = status != 0 ? status : execute(test);
    ps_tester_free(test->tester);
    ps_stress_free(test->stress);
    free(test);
    return status;
}
