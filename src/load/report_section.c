/* report_section - see report_section.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/report_section.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/check.h"
#include "load/clean.h"
#include "load/environment.h"
#include "load/sparse.h"

#define BLOCK_TEXT_MAX (PS_FIGURES_STEPS * 48)

/* ------------------------------------------------------------------------------ small parts */

static void put_time(struct ps_report_out *out, const char *name, ps_time wall)
{
    time_t seconds = (time_t)(wall / PS_SECOND);
    struct tm tm;
    char text[32] = "";
    if (gmtime_r(&seconds, &tm) != NULL) {
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    }
    ps_report_out_text(out, name, text);
}

static void put_pairs(struct ps_report_out *out, const char *name, const struct ps_report_pair *pairs,
                      size_t count)
{
    struct ps_report_out object = ps_report_out_begin();
    for (size_t i = 0; i < count; i++) {
        ps_report_out_text(&object, pairs[i].name, pairs[i].value);
    }
    ps_report_out_end(out, name, &object);
}

static void put_url(struct ps_report_out *out, const char *name, const char *url)
{
    char text[512];
    ps_report_out_text(out, name, ps_clean_url(ps_str_from(url), text, sizeof text));
}

/* --------------------------------------------------------------------------- distributions */

/* Milliseconds to the microsecond. */
static void put_times(struct ps_report_out *out, const char *name, const struct ps_hist *hist)
{
    static const struct {
        const char *name;
        double share;
    } rows[] = {
        {"min", 0},     {"median", 0.5},  {"p75", 0.75},    {"p90", 0.9},
        {"p95", 0.95},  {"p99", 0.99},    {"p99_9", 0.999}, {"max", 1},
    };
    if (hist->count == 0) {
        return;
    }
    struct ps_report_out object = ps_report_out_begin();
    ps_report_out_count(&object, "count", hist->count);
    ps_report_out_number(&object, "mean", ps_hist_mean(hist) / 1e6, 3);
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        ps_report_out_number(&object, rows[i].name, ps_hist_percentile(hist, rows[i].share) / 1e6, 3);
    }
    ps_report_out_end(out, name, &object);
}

/* The steps that are not empty, cut as coarsely as those of blocks. */
static int push_steps(const uint64_t *steps, json_t *lower, json_t *upper, json_t *count)
{
    int err = PS_OK;
    for (unsigned i = 0; err == PS_OK && i < PS_FIGURES_STEPS; i++) {
        if (steps[i] == 0) {
            continue;
        }
        double end = i + 1 < PS_FIGURES_STEPS ? (double)ps_figures_step_start(i + 1) : 0x1p63;
        err = ps_report_out_push(lower, (double)ps_figures_step_start(i) / 1e6, 6);
        err = err == PS_OK ? ps_report_out_push(upper, end / 1e6, 6) : err;
        if (err == PS_OK && json_array_append_new(count, json_integer((json_int_t)steps[i])) != 0) {
            err = PS_ENOMEM;
        }
    }
    return err;
}

static void put_histogram(struct ps_report_out *out, const char *name, const struct ps_hist *hist)
{
    if (hist->count == 0) {
        return;
    }
    uint64_t *steps = calloc(PS_FIGURES_STEPS, sizeof *steps);
    struct ps_report_out object = ps_report_out_begin();
    json_t *lower = json_array(), *upper = json_array(), *count = json_array();
    for (unsigned i = 0; steps != NULL && i < PS_HIST_STEPS; i++) {
        steps[ps_figures_step(ps_hist_step_start(i))] += hist->steps[i];
    }
    int err = steps == NULL ? PS_ENOMEM : push_steps(steps, lower, upper, count);
    ps_report_out_value(&object, "lower_ms", lower);
    ps_report_out_value(&object, "upper_ms", upper);
    ps_report_out_value(&object, "count", count);
    object.err = err != PS_OK ? err : object.err;
    ps_report_out_end(out, name, &object);
    free(steps);
}

/* ----------------------------------------------------------------------------- time series */

static json_t *numbers(const struct ps_figures *figures, double (*of)(const struct ps_figures_point *),
                       int decimals)
{
    json_t *array = json_array();
    bool known = false;
    for (size_t i = 0; array != NULL && i < figures->point_count; i++) {
        double value = of(&figures->points[i]);
        known = known || isfinite(value);
        if (ps_report_out_push(array, value, decimals) != PS_OK) {
            json_decref(array);
            return NULL;
        }
    }
    if (!known && array != NULL) { /* a series of which nothing is known is absent */
        json_decref(array);
        return json_null();
    }
    return array;
}

static double time_of(const struct ps_figures_point *point)
{
    return point->at;
}

static double target_of(const struct ps_figures_point *point)
{
    return point->target_rps;
}

static double a_second(uint64_t count, const struct ps_figures_point *point)
{
    return point->span > 0 ? (double)count / point->span : NAN;
}

static double rps_of(const struct ps_figures_point *point)
{
    return a_second(point->succeeded + point->failed, point);
}

static double sent_of(const struct ps_figures_point *point)
{
    return a_second(point->sent, point);
}

static double failed_of(const struct ps_figures_point *point)
{
    return a_second(point->failed, point);
}

static double tokens_of(const struct ps_figures_point *point)
{
    return point->output_tokens == 0 ? NAN : a_second(point->output_tokens, point);
}

static double error_of(const struct ps_figures_point *point)
{
    double ended = (double)point->succeeded + (double)point->failed;
    return ended > 0 ? 100 * (double)point->failed / ended : NAN;
}

static double in_flight_of(const struct ps_figures_point *point)
{
    return (double)point->in_flight;
}

static double p50_of(const struct ps_figures_point *point)
{
    return point->p50_ms;
}

static double p95_of(const struct ps_figures_point *point)
{
    return point->p95_ms;
}

static double p99_of(const struct ps_figures_point *point)
{
    return point->p99_ms;
}

static double max_of(const struct ps_figures_point *point)
{
    return point->max_ms;
}

static double ttft_of(const struct ps_figures_point *point)
{
    return point->ttft_p95_ms;
}

static double memory_of(const struct ps_figures_point *point)
{
    return point->target_memory_bytes;
}

static double descriptors_of(const struct ps_figures_point *point)
{
    return point->target_descriptors;
}

static void put_phases(struct ps_report_out *out, const struct ps_figures *figures)
{
    bool named = false;
    for (size_t i = 0; i < figures->point_count; i++) {
        named = named || figures->points[i].phase[0] != '\0';
    }
    if (!named) {
        return;
    }
    json_t *array = json_array();
    for (size_t i = 0; i < figures->point_count; i++) {
        if (array == NULL || json_array_append_new(array, json_string(figures->points[i].phase)) != 0) {
            out->err = PS_ENOMEM;
        }
    }
    ps_report_out_value(out, "phase", array);
}

static void put_series(struct ps_report_out *out, const struct ps_figures *figures)
{
    static const struct {
        const char *name;
        double (*of)(const struct ps_figures_point *);
        int decimals;
    } rows[] = {
        {"time", time_of, 3},
        {"target_rps", target_of, 3},
        {"sent_rps", sent_of, 3},
        {"rps", rps_of, 3},
        {"failed_rps", failed_of, 3},
        {"error_rate_percent", error_of, 4},
        {"in_flight", in_flight_of, 0},
        {"median_ms", p50_of, 3},
        {"p95_ms", p95_of, 3},
        {"p99_ms", p99_of, 3},
        {"max_ms", max_of, 3},
        {"ttft_p95_ms", ttft_of, 3},
        {"output_tokens_rps", tokens_of, 3},
        {"target_memory_bytes", memory_of, 0},
        {"target_descriptors", descriptors_of, 1},
    };
    struct ps_report_out object = ps_report_out_begin();
    ps_report_out_number(&object, "interval_seconds", figures->point_span, 0);
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        json_t *array = numbers(figures, rows[i].of, rows[i].decimals);
        if (!json_is_null(array)) {
            ps_report_out_value(&object, rows[i].name, array);
        }
    }
    put_phases(&object, figures);
    ps_report_out_end(out, "series", &object);
}

/* ---------------------------------------------------------------------------------- blocks */

static json_t *block_json(const struct ps_figures_block *block)
{
    struct ps_buf text = ps_buf_make(BLOCK_TEXT_MAX);
    int err = ps_sparse_write(block->steps, PS_FIGURES_STEPS, &text);
    json_t *steps = err == PS_OK ? json_stringn(text.len == 0 ? "" : text.data, text.len) : NULL;
    ps_buf_fini(&text);
    return steps == NULL ? NULL
                         : json_pack("{s:o, s:I, s:I, s:o}", "seconds", ps_report_out_real(block->span, 3),
                                     "successful", (json_int_t)block->succeeded, "failed",
                                     (json_int_t)block->failed, "steps", steps);
}

static void put_blocks(struct ps_report_out *out, const struct ps_figures *figures)
{
    json_t *array = json_array();
    for (size_t i = 0; array != NULL && i < figures->block_count; i++) {
        if (json_array_append_new(array, block_json(&figures->blocks[i])) != 0) {
            out->err = PS_ENOMEM;
        }
    }
    ps_report_out_value(out, "blocks", array);
}

/* ---------------------------------------------------------------------------------- counts */

static void put_statuses(struct ps_report_out *out, const struct ps_figures *figures)
{
    struct ps_report_out object = ps_report_out_begin();
    for (unsigned i = 1; i < PS_SECOND_STATUSES; i++) {
        if (figures->statuses[i] > 0) {
            char name[16];
            snprintf(name, sizeof name, "%u", i);
            ps_report_out_count(&object, name, figures->statuses[i]);
        }
    }
    ps_report_out_end(out, "statuses", &object);
}

static void put_failures(struct ps_report_out *out, const struct ps_figures *figures)
{
    json_t *array = json_array();
    for (size_t i = 0; i < figures->failure_count; i++) {
        struct ps_report_out failure = ps_report_out_begin();
        ps_report_out_text(&failure, "kind", figures->failures[i].kind);
        ps_report_out_count(&failure, "count", figures->failures[i].count);
        ps_report_out_text(&failure, "example", figures->failures[i].example);
        if (failure.err != PS_OK || array == NULL || json_array_append_new(array, failure.object) != 0) {
            out->err = PS_ENOMEM;
        }
    }
    ps_report_out_value(out, "failures", array);
}

static double per_second(uint64_t count, const struct ps_figures *figures)
{
    return figures->span > 0 ? (double)count / figures->span : 0;
}

static void put_tokens(struct ps_report_out *out, const struct ps_figures *figures)
{
    if (figures->prompt_tokens + figures->output_tokens == 0) {
        return;
    }
    struct ps_report_out tokens = ps_report_out_begin();
    ps_report_out_count(&tokens, "prompt", figures->prompt_tokens);
    ps_report_out_count(&tokens, "output", figures->output_tokens);
    ps_report_out_number(&tokens, "output_per_second", per_second(figures->output_tokens, figures), 3);
    ps_report_out_end(out, "tokens", &tokens);
}

static void put_goodput(struct ps_report_out *out, const struct ps_report_section *section)
{
    const struct ps_figures *figures = section->figures;
    if (section->objective_count == 0) {
        return;
    }
    double ended = (double)figures->succeeded + (double)figures->failed;
    struct ps_report_out goodput = ps_report_out_begin();
    ps_report_out_number(&goodput, "rps", per_second(figures->good, figures), 3);
    ps_report_out_number(&goodput, "percent", ended > 0 ? 100 * (double)figures->good / ended : NAN, 4);
    put_pairs(&goodput, "objectives", section->objectives, section->objective_count);
    ps_report_out_end(out, "goodput", &goodput);
}

static void put_thresholds(struct ps_report_out *out, const struct ps_report_section *section)
{
    json_t *array = json_array();
    for (size_t i = 0; i < section->threshold_count; i++) {
        const struct ps_report_threshold *from = &section->thresholds[i];
        struct ps_report_out row = ps_report_out_begin();
        ps_report_out_text(&row, "metric", from->metric);
        ps_report_out_text(&row, "expression", from->expression);
        ps_report_out_number(&row, "value", from->value, 4);
        ps_report_out_text(&row, "unit", from->unit);
        ps_report_out_flag(&row, "passed", from->passed);
        ps_report_out_flag(&row, "aborted", from->aborted);
        if (row.err != PS_OK || array == NULL || json_array_append_new(array, row.object) != 0) {
            out->err = PS_ENOMEM;
        }
    }
    ps_report_out_value(out, "thresholds", array);
}

static void put_generator(struct ps_report_out *out, const struct ps_report_section *section)
{
    const struct ps_figures *figures = section->figures;
    struct ps_report_out generator = ps_report_out_begin();
    ps_report_out_flag(&generator, "limited", section->limited != NULL);
    ps_report_out_text(&generator, "reason", section->limited);
    ps_report_out_count(&generator, "threads", section->threads);
    ps_report_out_number(&generator, "cpu_percent", figures->cpu_percent_most, 1);
    ps_report_out_count(&generator, "late_requests", figures->late);
    put_times(&generator, "lag_ms", &figures->lag);
    ps_report_out_end(out, "generator", &generator);
}

static void put_counts(struct ps_report_out *out, const struct ps_report_section *section)
{
    const struct ps_figures *figures = section->figures;
    ps_report_out_count(out, "total_requests", figures->succeeded + figures->failed);
    ps_report_out_count(out, "successful_requests", figures->succeeded);
    ps_report_out_count(out, "failed_requests", figures->failed);
    ps_report_out_count(out, "sent_requests", figures->sent);
    ps_report_out_count(out, "canceled_requests", figures->canceled);
    ps_report_out_count(out, "skipped_requests", figures->skipped);
    ps_report_out_count(out, "unfinished_requests", section->unfinished);
    ps_report_out_number(out, "error_rate_percent", ps_figures_error_percent(figures), 4);
    ps_report_out_number(out, "rps", ps_figures_rps(figures), 3);
    ps_report_out_number(out, "target_rps", section->target_rps, 3);
}

static void put_figures(struct ps_report_out *out, const struct ps_report_section *section)
{
    const struct ps_figures *figures = section->figures;
    put_times(out, "response_time_ms", &figures->corrected);
    put_times(out, "response_time_uncorrected_ms", &figures->latency);
    put_times(out, "ttft_ms", &figures->ttft_corrected);
    put_times(out, "ttft_uncorrected_ms", &figures->ttft);
    put_times(out, "inter_token_ms", &figures->token_gap);
    put_tokens(out, figures);
    put_goodput(out, section);
    put_statuses(out, figures);
    put_failures(out, figures);
    put_thresholds(out, section);
    put_generator(out, section);
}

/* ----------------------------------------------------------------------------- all of it */

static void put_head(struct ps_report_out *out, const struct ps_report_section *section)
{
    ps_report_out_text(out, "verdict", ps_verdict_word(section->verdict));
    ps_report_out_text(out, "reason", section->reason == NULL ? "" : section->reason);
    put_url(out, "target", section->target);
    ps_report_out_text(out, "method", section->method);
    ps_report_out_text(out, "server", section->server);
    put_time(out, "started", section->started);
    ps_report_out_number(out, "duration_seconds", section->duration_seconds, 3);
    ps_report_out_text(out, "arrivals", section->arrivals);
    if (section->connections > 0) {
        ps_report_out_count(out, "connections", section->connections);
    }
    put_pairs(out, "options", section->options, section->option_count);
    put_pairs(out, "tags", section->tags, section->tag_count);
}

json_t *ps_report_section_json(const struct ps_report_section *section)
{
    struct ps_figures *none = NULL;
    struct ps_report_section full = *section;
    struct ps_report_out out = ps_report_out_begin();
    if (full.figures == NULL) {
        out.err = ps_figures_new(&none) != PS_OK ? PS_ENOMEM : out.err;
        full.figures = none;
    }
    if (out.err == PS_OK) {
        put_head(&out, &full);
        put_counts(&out, &full);
        ps_report_kind_json(&out, &full);
        put_figures(&out, &full);
        put_histogram(&out, "histogram", &full.figures->corrected);
        put_histogram(&out, "ttft_histogram", &full.figures->ttft_corrected);
        put_series(&out, full.figures);
        put_blocks(&out, full.figures);
        ps_report_out_value(&out, "environment", ps_environment_json());
    }
    ps_figures_free(none);
    if (out.err != PS_OK) {
        json_decref(out.object);
        return NULL;
    }
    return out.object;
}
