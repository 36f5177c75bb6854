/* spike - see spike.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/spike.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "cli/tester.h"
#include "load/spike.h"

#define DRAIN (2 * PS_SECOND)

struct opts {
    struct ps_tester_args common;
    double baseline, spike, recovery;
    ps_span baseline_for, spike_for, recovery_for;
    ps_span max_recovery, within;
};

/* clang-format off */
static const struct ps_arg args[] = {
    PS_TESTER_URL_ROW(struct opts, common),
    {"--baseline", PS_ARG_DOUBLE, offsetof(struct opts, baseline), "RATE", "20",
     .help = "requests a second before the spike", .min = 0.1, .max = 1e6},
    {"--baseline-for", PS_ARG_SPAN, offsetof(struct opts, baseline_for), "D", "30s",
     .help = "how long that is looked at", .min = 10, .max = 86400},
    {"--spike", PS_ARG_DOUBLE, offsetof(struct opts, spike), "RATE", "100",
     .help = "requests a second in the spike", .min = 0.1, .max = 1e6},
    {"--spike-for", PS_ARG_SPAN, offsetof(struct opts, spike_for), "D", "10s",
     .help = "how long it lasts", .min = 1, .max = 86400},
    {"--recovery", PS_ARG_DOUBLE, offsetof(struct opts, recovery), "RATE",
     .help = "requests a second after it; default as before", .min = 0.1, .max = 1e6},
    {"--recovery-for", PS_ARG_SPAN, offsetof(struct opts, recovery_for), "D", "20s",
     .help = "how long that is looked at; longer until the service has recovered", .min = 5, .max = 86400},
    {"--max-recovery", PS_ARG_SPAN, offsetof(struct opts, max_recovery), "D", "120s",
     .help = "when it is given up", .min = 5, .max = 86400},
    {"--recover-within", PS_ARG_SPAN, offsetof(struct opts, within), "D", "10s",
     .help = "fail when recovery takes longer", .min = 1, .max = 86400},
    PS_TESTER_REQUEST_ROWS(struct opts, common),
    PS_TESTER_OTHER_ROWS(struct opts, common),
    {0},
};
/* clang-format on */

static int run_command(int argc, char **argv);

const struct ps_command ps_spike_command = {
    .name = "spike",
    .brief = "sends a burst, and measures how long a service takes to recover",
    .summary = "Sends a steady rate, a burst, and the steady rate again to an HTTP service. It has recovered when p95 and\n"
               "errors of five seconds are what they were before the burst, five times in a row.",
    .args = args,
    .success = "it recovered in time, and thresholds were kept",
    .failure = "it did not, or a threshold was not kept",
    .severe = PS_TESTER_SEVERE,
    .limited = PS_TESTER_LIMITED,
    .aborted = PS_TESTER_ABORTED,
    .run = run_command,
};

struct test {
    const struct opts *opts;
    struct ps_tester *tester;
    struct ps_spike *spike;
    int phase; /* that is being sent */
    struct ps_report_phase phases[PS_SPIKE_PHASES];
    char expression[40];
};

/* ------------------------------------------------------------------------------------- the run */

static void on_second(void *ctx, struct ps_second *second, const struct ps_run_row *row)
{
    struct test *test = ctx;
    struct ps_run *run = ps_tester_current(test->tester);
    (void)row;
    if (test->phase == PS_SPIKE_OVER) {
        return;
    }
    second->phase = ps_spike_phase_words[ps_spike_phase(test->spike)];
    ps_spike_push(test->spike, second);
    int phase = ps_spike_phase(test->spike);
    if (ps_tester_is_dead(test->tester)) {
        ps_run_stop(run);
    }
    if (phase == test->phase) {
        return;
    }
    test->phase = phase;
    if (phase == PS_SPIKE_OVER) {
        ps_run_drain(run);
    } else {
        double rate = ps_spike_rate(test->spike);
        (void)ps_run_change(run, &(struct ps_phase){.from = rate, .to = rate});
    }
}

static void on_view(void *ctx, struct ps_buf *out)
{
    struct test *test = ctx;
    struct ps_spike_result result = ps_spike_result(test->spike);
    PS_IGNORE(ps_buf_printf(out, "%-13s %s", "phase", ps_spike_phase_words[ps_spike_phase(test->spike)]));
    if (!isnan(result.band_p95_ms)) {
        PS_IGNORE(ps_buf_printf(out, "   band p95 up to %.3g ms, errors up to %.2g %%", result.band_p95_ms,
                                100 * result.band_error_share));
    }
    if (!isnan(result.recovery_seconds)) {
        PS_IGNORE(ps_buf_printf(out, "   recovered after %.0f s", result.recovery_seconds));
    }
    PS_IGNORE(ps_buf_append_str(out, PS_STR("\n")));
}

/* --------------------------------------------------------------------------------- the verdict */

static void fill(struct test *test, const struct ps_spike_result *result, struct ps_report_section *section)
{
    for (int i = 0; i < PS_SPIKE_PHASES; i++) {
        const struct ps_spike_phase *phase = &result->phase[i];
        test->phases[i] = (struct ps_report_phase){
            .name = ps_spike_phase_words[i],
            .start_seconds = phase->start,
            .duration_seconds = phase->seconds,
            .target_rps = phase->rate,
            .achieved_rps = phase->achieved,
            .error_rate_percent = 100 * phase->error_share,
            .p95_ms = phase->p95_ms,
        };
    }
    section->spike.baseline_rps = test->opts->baseline;
    section->spike.spike_rps = test->opts->spike;
    section->spike.recovery_time_seconds = result->recovery_seconds;
    section->spike.max_recovery_seconds = ps_span_seconds(test->opts->max_recovery);
    section->spike.band_p95_ms = result->band_p95_ms;
    section->spike.band_error_rate_percent = isnan(result->band_p95_ms) ? NAN : 100 * result->band_error_share;
    section->spike.phases = test->phases;
    section->spike.phase_count = PS_SPIKE_PHASES;
}

static void say(struct test *test, const struct ps_spike_result *result, char *reason, size_t size)
{
    if (result->sick_before) {
        snprintf(reason, size, "the service was not well before the spike: %.1f %% of its answers failed",
                 100 * result->phase[PS_SPIKE_BASELINE].error_share);
    } else if (isnan(result->recovery_seconds)) {
        snprintf(reason, size, "it did not recover within %g s after the spike",
                 ps_span_seconds(test->opts->max_recovery));
    } else {
        snprintf(reason, size, "it recovered %.0f s after the spike (p95 before %.3g ms, worst %.3g ms)",
                 result->recovery_seconds, result->phase[PS_SPIKE_BASELINE].p95_ms, result->peak_p95_ms);
    }
}

static void judge(struct test *test)
{
    struct ps_spike_result result = ps_spike_result(test->spike);
    struct ps_report_section *section = ps_tester_section(test->tester);
    fill(test, &result, section);
    if (section->verdict == PS_VERDICT_UNREACHABLE || section->verdict == PS_VERDICT_ABORTED) {
        return;
    }
    char reason[256];
    say(test, &result, reason, sizeof reason);
    if (section->verdict == PS_VERDICT_PASS) {
        ps_tester_reason(test->tester, PS_VERDICT_PASS, "%s", reason);
    }
    double within = ps_span_seconds(test->opts->within);
    snprintf(test->expression, sizeof test->expression, "<%g", within);
    const struct ps_report_threshold threshold = {.metric = "recovery_time_seconds",
                                                  .expression = test->expression,
                                                  .value = result.recovery_seconds,
                                                  .unit = "s",
                                                  .passed = result.recovery_seconds < within};
    ps_tester_threshold(test->tester, &threshold, reason);
}

/* ---------------------------------------------------------------------------------------- life */

static void note(const struct opts *opts, struct ps_tester *tester)
{
    ps_tester_note(tester, "baseline", "%g for %gs", opts->baseline, ps_span_seconds(opts->baseline_for));
    ps_tester_note(tester, "spike", "%g for %gs", opts->spike, ps_span_seconds(opts->spike_for));
    ps_tester_note(tester, "recovery", "%g for %gs", opts->recovery, ps_span_seconds(opts->recovery_for));
    ps_tester_note(tester, "max_recovery", "%gs", ps_span_seconds(opts->max_recovery));
    ps_tester_note(tester, "arrivals", "%s", opts->common.arrivals);
}

static int execute(struct test *test)
{
    static const struct ps_tester_ops ops = {.on_second = on_second, .on_view = on_view};
    const struct opts *opts = test->opts;
    struct ps_run_opts run;
    ps_tester_opts(test->tester, &run);
    run.schedule.phases[0] = (struct ps_phase){.from = opts->baseline, .to = opts->baseline};
    run.schedule.phase_count = 1;
    run.drain = DRAIN;
    note(opts, test->tester);
    ps_tester_expect(test->tester, opts->baseline_for + opts->spike_for + opts->recovery_for);
    double mean = (opts->baseline * ps_span_seconds(opts->baseline_for) + opts->spike * ps_span_seconds(opts->spike_for) +
                   opts->recovery * ps_span_seconds(opts->recovery_for)) /
                  ps_span_seconds(opts->baseline_for + opts->spike_for + opts->recovery_for);
    int status = ps_tester_run(test->tester, &run, "steps", mean, &ops, test);
    if (status != 0) {
        return status;
    }
    ps_spike_end(test->spike);
    judge(test);
    return ps_tester_finish(test->tester);
}

static int set_up(struct test *test)
{
    const struct opts *opts = test->opts;
    const struct ps_spike_opts spike = {
        .baseline_rate = opts->baseline,
        .spike_rate = opts->spike,
        .recovery_rate = opts->recovery,
        .baseline_seconds = ps_span_seconds(opts->baseline_for),
        .spike_seconds = ps_span_seconds(opts->spike_for),
        .recovery_seconds = ps_span_seconds(opts->recovery_for),
        .max_recovery = fmax(ps_span_seconds(opts->max_recovery), ps_span_seconds(opts->recovery_for)),
    };
    int err = ps_spike_new(&test->spike, &spike);
    return err == PS_OK ? 0 : ps_args_usage_error(&ps_spike_command, "%s", ps_err_text(err));
}

static int run_command(int argc, char **argv)
{
    struct opts opts = {.baseline = 0};
    int err = ps_args_parse(&ps_spike_command, argc, argv, &opts);
    if (err != PS_OK) {
        return err == PS_ECANCELED ? 0 : 2;
    }
    opts.recovery = opts.recovery > 0 ? opts.recovery : opts.baseline;
    struct test test = {.opts = &opts};
    int status = set_up(&test);
    status = status != 0 ? status : ps_tester_new(&test.tester, &ps_spike_command, &opts.common, PS_REPORT_SPIKE);
    status = status != 0 ? status : execute(&test);
    ps_tester_free(test.tester);
    ps_spike_free(test.spike);
    return status;
}
