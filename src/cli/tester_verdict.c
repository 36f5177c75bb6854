/* tester_verdict - what a run came to: thresholds, the generator's own limits, signals, an absent target.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/tester_private.h"
#include "load/report_rows.h"
#include "load/tally.h"

/* Figures know everything since the test began; what they don't keep is known of this run. */
static struct ps_threshold_facts facts_of(const struct ps_tester *tester, double seconds)
{
    const struct ps_figures *figures = tester->figures;
    const struct ps_tally *total = ps_run_total(tester->run);
    return (struct ps_threshold_facts){
        .duration = &figures->corrected,
        .waiting = &total->first_byte,
        .first_token = &figures->ttft_corrected,
        .event_gap = &figures->token_gap,
        .token_gap = &total->token_gap,
        .lag = &figures->lag,
        .succeeded = figures->succeeded,
        .failed = figures->failed,
        .good = figures->good,
        .output_tokens = figures->output_tokens,
        .bytes_received = total->bytes_received,
        .bytes_sent = total->bytes_sent,
        .skipped = figures->skipped,
        .seconds = seconds,
    };
}

bool ps_tester_trips(struct ps_tester *tester, double seconds)
{
    const struct ps_threshold_facts facts = facts_of(tester, seconds);
    for (size_t i = 0; i < tester->thresholds.count; i++) {
        const struct ps_threshold *threshold = &tester->thresholds.rows[i];
        double value = ps_threshold_value(threshold, &facts);
        bool due = threshold->abort && seconds >= ps_span_seconds(threshold->delay);
        if (due && !isnan(value) && !ps_threshold_passes(threshold, value)) {
            tester->results[i].aborted = true;
            return true;
        }
    }
    return false;
}

static void judge_thresholds(struct ps_tester *tester)
{
    const struct ps_threshold_facts facts = facts_of(tester, tester->figures->span);
    for (size_t i = 0; i < tester->thresholds.count; i++) {
        const struct ps_threshold *threshold = &tester->thresholds.rows[i];
        struct ps_report_threshold *result = &tester->results[i];
        result->metric = threshold->metric;
        result->expression = threshold->expression;
        result->value = ps_threshold_value(threshold, &facts);
        result->unit = ps_threshold_unit(threshold)[0] == '\0' ? NULL : ps_threshold_unit(threshold);
        result->passed = ps_threshold_passes(threshold, result->value);
    }
    tester->section.thresholds = tester->results;
    tester->section.threshold_count = tester->thresholds.count;
}

#define PATIENCE 5.0 /* seconds */

static const struct ps_report_threshold *first_failed(const struct ps_tester *tester)
{
    for (size_t i = 0; i < tester->thresholds.count; i++) {
        if (!tester->results[i].passed) {
            return &tester->results[i];
        }
    }
    return NULL;
}

static void set(struct ps_tester *tester, enum ps_verdict verdict)
{
    tester->section.verdict = verdict;
    tester->section.reason = tester->reason;
}

/* The failure that is most frequent, with its first example. */
static const struct ps_figures_failure *main_failure(const struct ps_figures *figures)
{
    const struct ps_figures_failure *most = NULL;
    for (size_t i = 0; i < figures->failure_count; i++) {
        most = most == NULL || figures->failures[i].count > most->count ? &figures->failures[i] : most;
    }
    return most;
}

static bool never_answered(const struct ps_tester *tester)
{
    const struct ps_figures *figures = tester->figures;
    for (size_t status = 100; status < PS_SECOND_STATUSES; status++) {
        if (figures->statuses[status] > 0) {
            return false;
        }
    }
    return figures->failed > 0 && figures->succeeded == 0;
}

bool ps_tester_is_dead(const struct ps_tester *tester)
{
    return tester->figures->at >= PATIENCE && never_answered(tester);
}

static void say_threshold(struct ps_tester *tester, const struct ps_report_threshold *failed)
{
    const struct ps_figures_failure *failure = main_failure(tester->figures);
    bool errors = strcmp(failed->metric, "http_req_failed") == 0 && failure != NULL;
    char value[PS_REPORT_VALUE_MAX];
    if (isnan(failed->value)) {
        snprintf(tester->reason, sizeof tester->reason, "%s %s: nothing was measured", failed->metric,
                 failed->expression);
    } else if (errors) {
        snprintf(tester->reason, sizeof tester->reason, "%s %s: it was %.4g (%s: %llu, the first: %.200s)",
                 failed->metric, failed->expression, failed->value, failure->kind,
                 (unsigned long long)failure->count, failure->example);
    } else {
        snprintf(tester->reason, sizeof tester->reason, "%s %s: it was %s", failed->metric, failed->expression,
                 ps_report_write_as(failed->value, failed->unit, value, sizeof value));
    }
}

static void say_passed(struct ps_tester *tester)
{
    const struct ps_figures *figures = tester->figures;
    char span[24];
    snprintf(tester->reason, sizeof tester->reason, "%llu of %llu requests failed, p95 %s",
             (unsigned long long)figures->failed, (unsigned long long)(figures->failed + figures->succeeded),
             ps_tally_span_text(ps_hist_percentile(&figures->corrected, 0.95), span, sizeof span));
}

void ps_tester_judge(struct ps_tester *tester)
{
    const char *limited = ps_run_limited(tester->run);
    judge_thresholds(tester);
    const struct ps_report_threshold *failed = first_failed(tester);
    tester->section.limited = limited;
    if (tester->run_err != PS_OK && ps_run_started(tester->run) == 0) {
        snprintf(tester->reason, sizeof tester->reason, "%s", ps_run_error(tester->run));
        set(tester, PS_VERDICT_UNREACHABLE);
    } else if (never_answered(tester)) {
        const struct ps_figures_failure *failure = main_failure(tester->figures);
        snprintf(tester->reason, sizeof tester->reason, "no request was answered: %s (%s)", failure->kind,
                 failure->example);
        set(tester, PS_VERDICT_UNREACHABLE);
    } else if (tester->signal_count > 0) {
        snprintf(tester->reason, sizeof tester->reason, "stopped by a signal after %.1f s", tester->figures->at);
        set(tester, PS_VERDICT_ABORTED);
    } else if (tester->run_err != PS_OK) {
        snprintf(tester->reason, sizeof tester->reason, "it broke off: %s", ps_run_error(tester->run));
        set(tester, PS_VERDICT_ABORTED);
    } else if (limited != NULL) {
        snprintf(tester->reason, sizeof tester->reason, "limited by the generator: %s", limited);
        set(tester, PS_VERDICT_GENERATOR_LIMITED);
    } else if (failed != NULL) {
        say_threshold(tester, failed);
        set(tester, PS_VERDICT_FAIL);
    } else {
        say_passed(tester);
        set(tester, PS_VERDICT_PASS);
    }
}

void ps_tester_reason(struct ps_tester *tester, enum ps_verdict verdict, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(tester->reason, sizeof tester->reason, format, args);
    va_end(args);
    set(tester, verdict);
}

void ps_tester_threshold(struct ps_tester *tester, const struct ps_report_threshold *threshold, const char *reason)
{
    struct ps_report_section *section = &tester->section;
    if (section->threshold_count < PS_THRESHOLDS_MAX) {
        tester->results[section->threshold_count++] = *threshold;
    }
    if (!threshold->passed && section->verdict == PS_VERDICT_PASS) {
        ps_tester_reason(tester, PS_VERDICT_FAIL, "%s", reason);
    }
}
