/* trial_report - sections of reports of runs that never were: one of each kind, with every member set.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_HELPERS_TRIAL_REPORT_H
#define TESTS_HELPERS_TRIAL_REPORT_H

#include <math.h>

#include "base/check.h"
#include "load/report.h"

/* Text that a target might send to whoever shows it. */
#define TRIAL_HOSTILE "</script><img src=x onerror=alert(1)>\"'&\x1b[2J\xff ]]>"

static const struct ps_report_pair trial_options[] = {{"rate", "50"}, {"duration", "60s"}};
static const struct ps_report_pair trial_tags[] = {{"build", TRIAL_HOSTILE}};
static const struct ps_report_pair trial_objectives[] = {{"response_time_ms", "160"}};
static const struct ps_report_threshold trial_thresholds[] = {
    {.metric = "error_rate", .expression = "rate<0.01", .value = 0.4, .unit = "%", .passed = true},
    {.metric = "response_time_ms{route:" TRIAL_HOSTILE "}", .expression = "p(95)<200", .value = 230.5, .unit = "ms"},
};
static const struct ps_report_point trial_points[] = {
    {.at = 10, .duration_seconds = 10, .rps = 50, .achieved_rps = 50.1, .p50_ms = 40, .p95_ms = 60, .p99_ms = 80,
     .ttft_p95_ms = NAN, .in_flight = 2, .verdict = "holds"},
    {.at = 20, .duration_seconds = 10, .rps = 100, .achieved_rps = 99.7, .p50_ms = 42, .p95_ms = 71, .p99_ms = 95,
     .ttft_p95_ms = NAN, .in_flight = 4.4, .verdict = "holds"},
    {.at = 30, .duration_seconds = 10, .rps = 200, .achieved_rps = 161.2, .error_rate_percent = 7.5, .p50_ms = 800,
     .p95_ms = 2400, .p99_ms = 3100, .ttft_p95_ms = NAN, .in_flight = 140, .verdict = "breaks", .signal = "errors"},
    {.at = 40, .duration_seconds = 10, .rps = 150, .achieved_rps = 148, .error_rate_percent = 0.1, .p50_ms = 55,
     .p95_ms = 160, .p99_ms = 240, .ttft_p95_ms = NAN, .in_flight = 9, .verdict = "holds"},
    {.at = 50, .duration_seconds = 10, .rps = 175, .achieved_rps = 160, .error_rate_percent = 1.8, .p50_ms = 390,
     .p95_ms = 1100, .p99_ms = 1500, .ttft_p95_ms = NAN, .in_flight = 60, .verdict = "breaks",
     .signal = "concurrency"},
};
static const struct ps_report_phase trial_phases[] = {
    {"baseline", 0, 20, 20, 20.05, 0, 61},
    {"spike", 20, 20, 100, 93.1, 2.5, 900},
    {"recovery", 40, 20, 20, 20.2, 0, 64},
};
static const struct ps_report_drift trial_drifts[] = {
    {.signal = "p95", .unit = "ms", .start = 60, .end = 60.4, .slope_per_hour = 0.4, .low_per_hour = -0.2,
     .high_per_hour = 1.0, .percent_per_hour = 0.66, .p_value = 0.21, .samples = 60},
    {.signal = "memory", .unit = "bytes", .start = 1e9, .end = 1.02e9, .slope_per_hour = 2e7, .low_per_hour = 1.8e7,
     .high_per_hour = 2.2e7, .percent_per_hour = 2, .p_value = 1e-9, .samples = 60, .drifts = true},
};

static const char *const trial_reasons[PS_REPORT_COUNT] = {
    [PS_REPORT_LOAD] = "50 requests/s were answered for 60 s with 0.4 % errors and a p95 of 61 ms",
    [PS_REPORT_STRESS] = "it holds 158 requests/s (151 to 166), then requests pile up; 180/s were wanted",
    [PS_REPORT_SPIKE] = "4.2 s after a spike of 100 requests/s it was back to normal",
    [PS_REPORT_ENDURANCE] = "an hour at 30 requests/s with 0.4 % errors",
    [PS_REPORT_REPLAY] = "the trace was answered with 0.4 % errors",
};

static inline void trial_kind(struct ps_report_section *section)
{
    switch (section->kind) {
    case PS_REPORT_STRESS:
        section->stress.breaking_point_rps = 158;
        section->stress.low_rps = 151;
        section->stress.high_rps = 166;
        section->stress.confidence = 0.95;
        section->stress.limiting_signal = "concurrency";
        section->stress.search = "bisect";
        section->stress.points = trial_points;
        section->stress.point_count = 5;
        break;
    case PS_REPORT_SPIKE:
        section->spike.baseline_rps = 20;
        section->spike.spike_rps = 100;
        section->spike.recovery_time_seconds = 4.2;
        section->spike.max_recovery_seconds = 120;
        section->spike.band_p95_ms = 75;
        section->spike.band_error_rate_percent = 0.5;
        section->spike.phases = trial_phases;
        section->spike.phase_count = 3;
        break;
    case PS_REPORT_ENDURANCE:
        section->endurance.drifts = trial_drifts;
        section->endurance.drift_count = 2;
        section->endurance.resumed = 1;
        section->endurance.interrupted_seconds = 30;
        break;
    case PS_REPORT_REPLAY:
        section->replay.source = "azure.csv";
        section->replay.speed = 2;
        break;
    case PS_REPORT_LOAD:
    case PS_REPORT_COUNT:
        break;
    }
}

/* A section of this kind: everything in it is borrowed. */
static inline struct ps_report_section trial_section(enum ps_report_kind kind, const struct ps_figures *figures)
{
    struct ps_report_section section = {
        .kind = kind,
        .reason = trial_reasons[kind],
        .target = "http://user:secret@127.0.0.1:5000/v1/chat/completions?key=secret",
        .method = "POST",
        .server = TRIAL_HOSTILE,
        .started = 1795000000 * PS_SECOND + (ps_time)kind * 100 * PS_SECOND,
        .duration_seconds = figures == NULL ? 0 : figures->span,
        .arrivals = "poisson",
        .target_rps = 50,
        .unfinished = 2,
        .figures = figures,
        .options = trial_options,
        .option_count = 2,
        .tags = trial_tags,
        .tag_count = 1,
        .objectives = trial_objectives,
        .objective_count = 1,
        .thresholds = trial_thresholds,
        .threshold_count = 1,
        .threads = 2,
    };
    trial_kind(&section);
    return section;
}

#endif
