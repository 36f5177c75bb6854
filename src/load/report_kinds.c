/* report_kinds - what is only in the sections of stress, spike, endurance and replay.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/err.h"
#include "load/report_section.h"

static void push(struct ps_report_out *out, json_t *array, struct ps_report_out *row)
{
    if (row->err != PS_OK || array == NULL || json_array_append_new(array, row->object) != 0) {
        out->err = PS_ENOMEM;
    }
}

/* ---------------------------------------------------------------------------------- stress */

json_t *ps_report_point_json(const struct ps_report_point *point)
{
    struct ps_report_out row = ps_report_out_begin();
    ps_report_out_number(&row, "rps", point->rps, 3);
    ps_report_out_number(&row, "achieved_rps", point->achieved_rps, 3);
    ps_report_out_number(&row, "error_rate_percent", point->error_rate_percent, 4);
    ps_report_out_number(&row, "median_ms", point->p50_ms, 3);
    ps_report_out_number(&row, "p95_ms", point->p95_ms, 3);
    ps_report_out_number(&row, "p99_ms", point->p99_ms, 3);
    ps_report_out_number(&row, "ttft_p95_ms", point->ttft_p95_ms, 3);
    ps_report_out_number(&row, "in_flight", point->in_flight, 2);
    ps_report_out_text(&row, "verdict", point->verdict);
    ps_report_out_text(&row, "signal", point->signal);
    ps_report_out_number(&row, "at_seconds", point->at, 3);
    ps_report_out_number(&row, "duration_seconds", point->duration_seconds, 3);
    if (row.err != PS_OK) {
        json_decref(row.object);
        return NULL;
    }
    return row.object;
}

static void put_stress(struct ps_report_out *out, const struct ps_report_section *section)
{
    struct ps_report_out interval = ps_report_out_begin();
    ps_report_out_number(out, "breaking_point_rps", section->stress.breaking_point_rps, 3);
    ps_report_out_number(&interval, "low_rps", section->stress.low_rps, 3);
    ps_report_out_number(&interval, "high_rps", section->stress.high_rps, 3);
    ps_report_out_number(&interval, "confidence", section->stress.confidence, 4);
    ps_report_out_end(out, "confidence_interval", &interval);
    ps_report_out_text(out, "limiting_signal", section->stress.limiting_signal);
    ps_report_out_text(out, "search", section->stress.search);
    json_t *points = json_array();
    for (size_t i = 0; i < section->stress.point_count; i++) {
        json_t *point = ps_report_point_json(&section->stress.points[i]);
        if (points == NULL || json_array_append_new(points, point) != 0) {
            out->err = PS_ENOMEM;
        }
    }
    ps_report_out_value(out, "stress_points", points);
}

/* ----------------------------------------------------------------------------------- spike */

static void put_phase(struct ps_report_out *out, json_t *phases, const struct ps_report_phase *phase)
{
    struct ps_report_out row = ps_report_out_begin();
    ps_report_out_text(&row, "name", phase->name);
    ps_report_out_number(&row, "start_seconds", phase->start_seconds, 3);
    ps_report_out_number(&row, "duration_seconds", phase->duration_seconds, 3);
    ps_report_out_number(&row, "target_rps", phase->target_rps, 3);
    ps_report_out_number(&row, "achieved_rps", phase->achieved_rps, 3);
    ps_report_out_number(&row, "error_rate_percent", phase->error_rate_percent, 4);
    ps_report_out_number(&row, "p95_ms", phase->p95_ms, 3);
    push(out, phases, &row);
}

static void put_spike(struct ps_report_out *out, const struct ps_report_section *section)
{
    double recovery = section->spike.recovery_time_seconds;
    ps_report_out_number(out, "baseline_rps", section->spike.baseline_rps, 3);
    ps_report_out_number(out, "spike_rps", section->spike.spike_rps, 3);
    ps_report_out_flag(out, "recovered", recovery == recovery);
    ps_report_out_number(out, "recovery_time_seconds", recovery, 3);
    ps_report_out_number(out, "max_recovery_seconds", section->spike.max_recovery_seconds, 3);
    struct ps_report_out band = ps_report_out_begin();
    ps_report_out_number(&band, "p95_ms", section->spike.band_p95_ms, 3);
    ps_report_out_number(&band, "error_rate_percent", section->spike.band_error_rate_percent, 4);
    ps_report_out_end(out, "band", &band);
    json_t *phases = json_array();
    for (size_t i = 0; i < section->spike.phase_count; i++) {
        put_phase(out, phases, &section->spike.phases[i]);
    }
    ps_report_out_value(out, "phases", phases);
}

/* ------------------------------------------------------------------------------- endurance */

static void put_drift(struct ps_report_out *out, json_t *drifts, const struct ps_report_drift *drift)
{
    struct ps_report_out row = ps_report_out_begin();
    ps_report_out_text(&row, "signal", drift->signal);
    ps_report_out_text(&row, "unit", drift->unit);
    ps_report_out_number(&row, "start", drift->start, 6);
    ps_report_out_number(&row, "end", drift->end, 6);
    ps_report_out_number(&row, "slope_per_hour", drift->slope_per_hour, 6);
    ps_report_out_number(&row, "low_per_hour", drift->low_per_hour, 6);
    ps_report_out_number(&row, "high_per_hour", drift->high_per_hour, 6);
    ps_report_out_number(&row, "percent_per_hour", drift->percent_per_hour, 6);
    ps_report_out_number(&row, "p_value", drift->p_value, 9);
    ps_report_out_count(&row, "samples", drift->samples);
    ps_report_out_flag(&row, "drifts", drift->drifts);
    push(out, drifts, &row);
}

static void put_endurance(struct ps_report_out *out, const struct ps_report_section *section)
{
    json_t *drifts = json_array();
    for (size_t i = 0; i < section->endurance.drift_count; i++) {
        put_drift(out, drifts, &section->endurance.drifts[i]);
    }
    ps_report_out_value(out, "drift", drifts);
    ps_report_out_count(out, "resumed", section->endurance.resumed);
    ps_report_out_number(out, "interrupted_seconds", section->endurance.interrupted_seconds, 3);
}

/* ---------------------------------------------------------------------------------- replay */

static void put_replay(struct ps_report_out *out, const struct ps_report_section *section)
{
    ps_report_out_text(out, "source", section->replay.source);
    ps_report_out_number(out, "speed", section->replay.speed, 6);
    ps_report_out_count(out, "cut_prompts", section->replay.cut);
}

void ps_report_kind_json(struct ps_report_out *out, const struct ps_report_section *section)
{
    switch (section->kind) {
    case PS_REPORT_STRESS:
        put_stress(out, section);
        break;
    case PS_REPORT_SPIKE:
        put_spike(out, section);
        break;
    case PS_REPORT_ENDURANCE:
        put_endurance(out, section);
        break;
    case PS_REPORT_REPLAY:
        put_replay(out, section);
        break;
    case PS_REPORT_LOAD:
    case PS_REPORT_COUNT:
        break;
    }
}
