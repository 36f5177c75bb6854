/* compare - see compare.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "load/report_json.h"
#include "load/report_rows.h"
#include "load/resample.h"
#include "load/significance.h"

#define METRICS_MAX 48
#define TAIL_MIN 10    /* requests beyond a percentile, in each run */
#define SEED_A 0x5eed0001
#define SEED_B 0x5eed0002

struct metric {
    const char *test;
    const char *name;
    const char *unit;
    double a, b;
    double change;         /* percent, or points */
    double low, high;
    double p;              /* NAN: untested */
    double adjusted;
    bool higher_is_better;
    bool points;
    const char *why;       /* untested: because */
};

struct comparison {
    const struct ps_compare_opts *opts;
    struct metric metrics[METRICS_MAX];
    size_t count;
    json_t *differences;
    int err;
};

/* Two runs of a test. */
struct pair {
    const char *test;
    const json_t *a, *b;
    struct ps_resample blocks_a, blocks_b;
    struct ps_resample_errors errors_a, errors_b;
    bool drawn;
};

static struct metric *add(struct comparison *comparison, const struct metric *metric)
{
    if (comparison->count == METRICS_MAX) {
        return NULL;
    }
    comparison->metrics[comparison->count] = *metric;
    return &comparison->metrics[comparison->count++];
}

/* ------------------------------------------------------------------------------------ tests */

/* Degrees of freedom of a difference (Welch 1947, Satterthwaite 1946). */
static double welch(double se_a, double df_a, double se_b, double df_b)
{
    double a = se_a * se_a, b = se_b * se_b;
    double below = a * a / df_a + b * b / df_b;
    return below > 0 ? fmax(1, (a + b) * (a + b) / below) : df_a + df_b;
}

/* A difference of logarithms: change, interval and p-value. */
static void test_logs(const struct comparison *comparison, struct metric *metric, double se_a, double df_a,
                      double se_b, double df_b)
{
    double difference = log(metric->b / metric->a), se = sqrt(se_a * se_a + se_b * se_b);
    double df = welch(se_a, df_a, se_b, df_b);
    metric->change = 100 * expm1(difference);
    if (!isfinite(difference) || !(se > 0)) {
        metric->why = "it can't be told how much it scatters";
        return;
    }
    double bound = ps_significance_t_bound(comparison->opts->confidence, df) * se;
    metric->low = 100 * expm1(difference - bound);
    metric->high = 100 * expm1(difference + bound);
    metric->p = ps_significance_t(difference / se, df);
}

/* How much more errors scatter than independent ones would: 1 or more. */
static double scatter(const struct ps_resample *blocks, double se)
{
    double ended = ps_resample_succeeded(blocks) + ps_resample_failed(blocks);
    double share = ended > 0 ? ps_resample_failed(blocks) / ended : 0;
    double alone = share * (1 - share) / ended;
    return alone > 0 && isfinite(se) ? fmax(1, se * se / alone) : 1;
}

static void test_errors(const struct comparison *comparison, struct metric *metric, const struct pair *pair)
{
    double bad_a = ps_resample_failed(&pair->blocks_a), bad_b = ps_resample_failed(&pair->blocks_b);
    double all_a = bad_a + ps_resample_succeeded(&pair->blocks_a);
    double all_b = bad_b + ps_resample_succeeded(&pair->blocks_b);
    double phi = fmax(scatter(&pair->blocks_a, pair->errors_a.of[PS_RESAMPLE_ERRORS]),
                      scatter(&pair->blocks_b, pair->errors_b.of[PS_RESAMPLE_ERRORS]));
    metric->change = metric->b - metric->a;
    metric->p = ps_significance_binomial(bad_b / phi, (bad_a + bad_b) / phi, all_b / (all_a + all_b));
    double share_a = (bad_a + 0.5) / (all_a + 1), share_b = (bad_b + 0.5) / (all_b + 1);
    double se = sqrt(phi * (share_a * (1 - share_a) / all_a + share_b * (1 - share_b) / all_b));
    double bound = ps_significance_t_bound(comparison->opts->confidence, pair->errors_a.df + pair->errors_b.df);
    metric->low = metric->change - 100 * bound * se;
    metric->high = metric->change + 100 * bound * se;
}

/* ---------------------------------------------------------------------------------- figures */

static void compare_percentile(struct comparison *comparison, const struct pair *pair, const char *name,
                               const char *path, double share, enum ps_resample_figure figure)
{
    struct metric metric = {.test = pair->test, .name = name, .unit = "ms", .a = ps_report_number(pair->a, path),
                            .b = ps_report_number(pair->b, path), .low = NAN, .high = NAN, .p = NAN, .change = NAN};
    double least = fmin(ps_resample_succeeded(&pair->blocks_a), ps_resample_succeeded(&pair->blocks_b));
    if (!isfinite(metric.a) || !isfinite(metric.b)) {
        return;
    }
    metric.change = 100 * (metric.b / metric.a - 1);
    if (!pair->drawn || least * (1 - share) < TAIL_MIN) {
        metric.why = pair->drawn ? "too few requests" : "too short a run";
    } else {
        test_logs(comparison, &metric, pair->errors_a.of[figure], pair->errors_a.df, pair->errors_b.of[figure],
                  pair->errors_b.df);
    }
    (void)add(comparison, &metric);
}

static void compare_throughput(struct comparison *comparison, const struct pair *pair)
{
    double seconds_a = ps_resample_seconds(&pair->blocks_a), seconds_b = ps_resample_seconds(&pair->blocks_b);
    struct metric metric = {.test = pair->test, .name = "throughput", .unit = "/s", .low = NAN, .high = NAN, .p = NAN,
                            .a = ps_resample_succeeded(&pair->blocks_a) / seconds_a,
                            .b = ps_resample_succeeded(&pair->blocks_b) / seconds_b, .higher_is_better = true};
    double asked_a = ps_report_number(pair->a, "target_rps"), asked_b = ps_report_number(pair->b, "target_rps");
    if (!isfinite(metric.a) || !isfinite(metric.b)) {
        return;
    }
    metric.change = 100 * (metric.b / metric.a - 1);
    if (isnan(asked_a) != isnan(asked_b) || fabs(asked_a - asked_b) > 0.001 * asked_a) {
        metric.why = "not the same was asked for";
    } else if (!pair->drawn) {
        metric.why = "too short a run";
    } else {
        enum ps_resample_figure rate = PS_RESAMPLE_RATE;
        test_logs(comparison, &metric, pair->errors_a.of[rate], pair->errors_a.df, pair->errors_b.of[rate],
                  pair->errors_b.df);
    }
    (void)add(comparison, &metric);
}

static void compare_errors(struct comparison *comparison, const struct pair *pair)
{
    struct metric metric = {.test = pair->test, .name = "errors", .unit = "%", .points = true,
                            .a = ps_report_number(pair->a, "error_rate_percent"),
                            .b = ps_report_number(pair->b, "error_rate_percent"), .low = NAN, .high = NAN, .p = NAN};
    metric.change = metric.b - metric.a;
    if (pair->drawn) {
        test_errors(comparison, &metric, pair);
    } else {
        metric.why = "too short a run";
    }
    (void)add(comparison, &metric);
}

/* The breaking point has its interval in the report. */
static void compare_breaking_point(struct comparison *comparison, const struct pair *pair)
{
    struct metric metric = {.test = pair->test, .name = "breaking point", .unit = "/s", .higher_is_better = true,
                            .a = ps_report_number(pair->a, "breaking_point_rps"),
                            .b = ps_report_number(pair->b, "breaking_point_rps"), .low = NAN, .high = NAN, .p = NAN};
    double se[2];
    const json_t *sides[2] = {pair->a, pair->b};
    if (!(metric.a > 0) || !(metric.b > 0)) {
        return;
    }
    metric.change = 100 * (metric.b / metric.a - 1);
    for (int i = 0; i < 2; i++) {
        double low = ps_report_number(sides[i], "confidence_interval.low_rps");
        double high = ps_report_number(sides[i], "confidence_interval.high_rps");
        double confidence = ps_report_number(sides[i], "confidence_interval.confidence");
        bool known = low > 0 && high > low && confidence > 0 && confidence < 1;
        se[i] = known ? log(high / low) / 2 / ps_significance_t_bound(confidence, 1e6) : NAN;
    }
    if (isfinite(se[0]) && isfinite(se[1])) {
        test_logs(comparison, &metric, se[0], 1e6, se[1], 1e6);
    } else {
        metric.why = "no interval is known";
    }
    (void)add(comparison, &metric);
}

static void compare_recovery(struct comparison *comparison, const struct pair *pair)
{
    struct metric metric = {.test = pair->test, .name = "recovery", .unit = "s", .p = NAN, .low = NAN, .high = NAN,
                            .a = ps_report_number(pair->a, "recovery_time_seconds"),
                            .b = ps_report_number(pair->b, "recovery_time_seconds"), .why = "one spike is one figure"};
    metric.change = metric.a > 0 ? 100 * (metric.b / metric.a - 1) : NAN;
    if (isfinite(metric.a) && isfinite(metric.b)) {
        (void)add(comparison, &metric);
    }
}

static void compare_steady(struct comparison *comparison, struct pair *pair)
{
    int err = ps_resample_read(&pair->blocks_a, pair->a);
    err = err == PS_OK ? ps_resample_read(&pair->blocks_b, pair->b) : err;
    comparison->err = err == PS_ENOMEM ? err : comparison->err;
    if (err == PS_OK) {
        pair->drawn = ps_resample_draw(&pair->blocks_a, SEED_A, &pair->errors_a) &&
                      ps_resample_draw(&pair->blocks_b, SEED_B, &pair->errors_b);
        compare_percentile(comparison, pair, "median", "response_time_ms.median", 0.5, PS_RESAMPLE_MEDIAN);
        compare_percentile(comparison, pair, "p95", "response_time_ms.p95", 0.95, PS_RESAMPLE_P95);
        compare_percentile(comparison, pair, "p99", "response_time_ms.p99", 0.99, PS_RESAMPLE_P99);
        compare_errors(comparison, pair);
        compare_throughput(comparison, pair);
    }
    ps_resample_fini(&pair->blocks_a);
    ps_resample_fini(&pair->blocks_b);
}

static void compare_kind(struct comparison *comparison, const json_t *a, const json_t *b, enum ps_report_kind kind)
{
    struct pair pair = {.test = ps_report_word(kind), .a = ps_report_section_of(a, kind),
                        .b = ps_report_section_of(b, kind)};
    if (pair.a == NULL || pair.b == NULL) {
        return;
    }
    if (kind == PS_REPORT_STRESS) {
        compare_breaking_point(comparison, &pair);
    } else if (kind == PS_REPORT_SPIKE) { /* its phases are not alike: nothing can be drawn from them */
        compare_recovery(comparison, &pair);
    } else {
        compare_steady(comparison, &pair);
    }
}

/* ------------------------------------------------------------------------------ what differs */

static void note(struct comparison *comparison, const char *what, const char *a, const char *b)
{
    struct ps_report_out row = ps_report_out_begin();
    ps_report_out_text(&row, "what", what);
    ps_report_out_text(&row, "a", a);
    ps_report_out_text(&row, "b", b);
    if (row.err != PS_OK || json_array_append_new(comparison->differences, row.object) != 0) {
        comparison->err = PS_ENOMEM;
    }
}

static void note_text(struct comparison *comparison, const char *test, const char *path, const json_t *a,
                      const json_t *b)
{
    char what[96], numbers[2][40] = {"", ""};
    const char *texts[2] = {ps_report_text(a, path), ps_report_text(b, path)};
    const json_t *sides[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        double number = ps_report_number(sides[i], path);
        if (isfinite(number)) {
            snprintf(numbers[i], sizeof numbers[i], "%.12g", number);
            texts[i] = numbers[i];
        }
    }
    if (strcmp(texts[0], texts[1]) != 0) {
        snprintf(what, sizeof what, "%s %s", test, path);
        note(comparison, what, texts[0], texts[1]);
    }
}

static void note_duration(struct comparison *comparison, const char *test, const json_t *a, const json_t *b)
{
    char what[64], texts[2][PS_REPORT_VALUE_MAX];
    double of_a = ps_report_number(a, "duration_seconds"), of_b = ps_report_number(b, "duration_seconds");
    if (fabs(of_a - of_b) > 0.2 * fmax(of_a, of_b)) {
        snprintf(what, sizeof what, "%s duration", test);
        note(comparison, what, ps_report_write(of_a, PS_UNIT_SECONDS, texts[0], sizeof texts[0]),
             ps_report_write(of_b, PS_UNIT_SECONDS, texts[1], sizeof texts[1]));
    }
}

static void note_options(struct comparison *comparison, const char *test, const json_t *a, const json_t *b)
{
    json_t *both = json_deep_copy(json_object_get(a, "options"));
    const char *name;
    json_t *value;
    if (both != NULL) {
        (void)json_object_update_missing(both, json_object_get(b, "options"));
    }
    json_object_foreach (both, name, value) {
        char path[128];
        snprintf(path, sizeof path, "options.%.100s", name);
        if (strchr(name, '.') == NULL) {
            note_text(comparison, test, path, a, b);
        }
    }
    json_decref(both);
}

static void note_kind(struct comparison *comparison, const json_t *a, const json_t *b, enum ps_report_kind kind)
{
    static const char *const paths[] = {"target", "method", "server", "arrivals", "connections", "target_rps",
                                        "environment.cpu", "environment.cores", "environment.kernel",
                                        "environment.memory_bytes", "environment.penstock"};
    const json_t *of_a = ps_report_section_of(a, kind), *of_b = ps_report_section_of(b, kind);
    const char *test = ps_report_word(kind);
    if (of_a == NULL && of_b == NULL) {
        return;
    }
    if (of_a == NULL || of_b == NULL) {
        note(comparison, test, of_a == NULL ? "not run" : "run", of_b == NULL ? "not run" : "run");
        return;
    }
    for (size_t i = 0; i < PS_ARRAY_LEN(paths); i++) {
        note_text(comparison, test, paths[i], of_a, of_b);
    }
    note_duration(comparison, test, of_a, of_b);
    note_options(comparison, test, of_a, of_b);
    if (ps_report_flag(of_a, "generator.limited") || ps_report_flag(of_b, "generator.limited")) {
        note_text(comparison, test, "generator.reason", of_a, of_b);
    }
}

/* ---------------------------------------------------------------------------------- verdicts */

static void adjust(struct comparison *comparison)
{
    double p[METRICS_MAX];
    for (size_t i = 0; i < comparison->count; i++) {
        p[i] = comparison->metrics[i].p;
    }
    ps_significance_holm(p, comparison->count);
    for (size_t i = 0; i < comparison->count; i++) {
        comparison->metrics[i].adjusted = p[i];
    }
}

static bool is_different(const struct comparison *comparison, const struct metric *metric)
{
    return metric->adjusted < 1 - comparison->opts->confidence;
}

static bool is_worse(const struct metric *metric)
{
    return metric->higher_is_better ? metric->change < 0 : metric->change > 0;
}

static const char *verdict_of(const struct comparison *comparison, const struct metric *metric)
{
    if (isnan(metric->p)) {
        return "untested";
    }
    return !is_different(comparison, metric) ? "same" : is_worse(metric) ? "worse" : "better";
}

/* Worse, certainly, and by more than is allowed. Of errors the bound is a share of what they were. */
static bool is_regression(const struct comparison *comparison, const struct metric *metric)
{
    double allowed = 100 * comparison->opts->max_regression;
    double by = metric->points ? (metric->a > 0 ? 100 * metric->change / metric->a : INFINITY) : fabs(metric->change);
    return !isnan(metric->p) && is_different(comparison, metric) && is_worse(metric) && by > allowed;
}

static const struct metric *find(const struct comparison *comparison, const char *verdict)
{
    const struct metric *found = NULL;
    for (size_t i = 0; i < comparison->count; i++) {
        const struct metric *metric = &comparison->metrics[i];
        bool it = strcmp(verdict, "regression") == 0 ? is_regression(comparison, metric)
                                                     : strcmp(verdict_of(comparison, metric), verdict) == 0;
        if (it && (found == NULL || metric->p < found->p)) {
            found = metric;
        }
    }
    return found;
}

/* "load p95 went from 61.3 ms to 75 ms (+22.3 %)" */
static void say_metric(const struct metric *metric, char *text, size_t size)
{
    char a[PS_REPORT_VALUE_MAX], b[PS_REPORT_VALUE_MAX];
    snprintf(text, size, "%s %s went from %s to %s (%+.*f %s)", metric->test, metric->name,
             ps_report_write_as(metric->a, metric->unit, a, sizeof a),
             ps_report_write_as(metric->b, metric->unit, b, sizeof b), metric->points ? 2 : 1, metric->change,
             metric->points ? "points" : "%");
}

static size_t count_regressions(const struct comparison *comparison)
{
    size_t count = 0;
    for (size_t i = 0; i < comparison->count; i++) {
        count += is_regression(comparison, &comparison->metrics[i]) ? 1 : 0;
    }
    return count;
}

static const char *conclude(const struct comparison *comparison, char *text, size_t size)
{
    static const char *const order[] = {"regression", "worse", "better"};
    char what[260];
    bool tested = false;
    for (size_t i = 0; i < PS_ARRAY_LEN(order); i++) {
        const struct metric *metric = find(comparison, order[i]);
        if (metric == NULL) {
            continue;
        }
        say_metric(metric, what, sizeof what);
        if (i == 0) {
            size_t more = count_regressions(comparison) - 1;
            size_t used = strlen(what);
            if (more > 0) {
                snprintf(what + used, sizeof what - used, ", and %zu more %s worse", more,
                         more == 1 ? "figure is" : "figures are");
            }
            snprintf(text, size, "%s; at most %g %% is allowed", what, 100 * comparison->opts->max_regression);
        } else {
            snprintf(text, size, "%s%s", what, i == 1 ? ", which is within what is allowed" : "");
        }
        return order[i];
    }
    for (size_t i = 0; i < comparison->count; i++) {
        tested = tested || !isnan(comparison->metrics[i].p);
    }
    snprintf(text, size, "%s",
             tested                  ? "no figure differs by more than chance explains"
             : comparison->count > 0 ? "the runs are too short to tell"
                                     : "the reports have no test in common");
    return tested ? "same" : "nothing";
}

/* ---------------------------------------------------------------------------------- result */

static json_t *metric_json(const struct comparison *comparison, const struct metric *metric)
{
    struct ps_report_out out = ps_report_out_begin();
    ps_report_out_text(&out, "test", metric->test);
    ps_report_out_text(&out, "metric", metric->name);
    ps_report_out_text(&out, "unit", metric->unit);
    ps_report_out_number(&out, "a", metric->a, 4);
    ps_report_out_number(&out, "b", metric->b, 4);
    ps_report_out_number(&out, "change", metric->change, 4);
    ps_report_out_text(&out, "change_unit", metric->points ? "points" : "%");
    ps_report_out_number(&out, "low", metric->low, 4);
    ps_report_out_number(&out, "high", metric->high, 4);
    ps_report_out_number(&out, "p_value", metric->adjusted, 6);
    ps_report_out_text(&out, "verdict", verdict_of(comparison, metric));
    ps_report_out_flag(&out, "regression", is_regression(comparison, metric));
    ps_report_out_text(&out, "why", metric->why);
    if (out.err != PS_OK) {
        json_decref(out.object);
        return NULL;
    }
    return out.object;
}

static void put_side(struct ps_report_out *out, const char *side, const char *name, const json_t *document)
{
    struct ps_report_out object = ps_report_out_begin();
    ps_report_out_text(&object, "name", name);
    ps_report_out_text(&object, "started", ps_report_text(document, "summary.started"));
    ps_report_out_text(&object, "target", ps_report_text(document, "summary.target"));
    ps_report_out_end(out, side, &object);
}

/* A test that both have and whose generator was the limit says nothing about the server. */
static const char *limited_side(const json_t *a, const json_t *b, const struct ps_compare_opts *opts)
{
    for (enum ps_report_kind kind = 0; kind < PS_REPORT_COUNT; kind++) {
        const json_t *of_a = ps_report_section_of(a, kind), *of_b = ps_report_section_of(b, kind);
        if (of_a != NULL && of_b != NULL && ps_report_flag(of_a, "generator.limited")) {
            return opts->name_a;
        }
        if (of_a != NULL && of_b != NULL && ps_report_flag(of_b, "generator.limited")) {
            return opts->name_b;
        }
    }
    return NULL;
}

static void put_metrics(struct ps_report_out *out, const struct comparison *comparison)
{
    json_t *metrics = json_array();
    for (size_t i = 0; i < comparison->count; i++) {
        if (metrics == NULL || json_array_append_new(metrics, metric_json(comparison, &comparison->metrics[i])) != 0) {
            out->err = PS_ENOMEM;
        }
    }
    ps_report_out_value(out, "metrics", metrics);
}

static json_t *result_json(struct comparison *comparison, const json_t *a, const json_t *b)
{
    char reason[400];
    const char *limited = limited_side(a, b, comparison->opts);
    const char *verdict = conclude(comparison, reason, sizeof reason);
    if (limited != NULL) {
        verdict = "generator_limited";
        snprintf(reason, sizeof reason, "%.200s was limited by its generator: its figures are not the server's",
                 limited);
    }
    struct ps_report_out out = ps_report_out_begin();
    ps_report_out_text(&out, "verdict", verdict);
    ps_report_out_text(&out, "reason", reason);
    put_side(&out, "a", comparison->opts->name_a, a);
    put_side(&out, "b", comparison->opts->name_b, b);
    ps_report_out_number(&out, "max_regression_percent", 100 * comparison->opts->max_regression, 4);
    ps_report_out_number(&out, "confidence", comparison->opts->confidence, 4);
    put_metrics(&out, comparison);
    ps_report_out_value(&out, "differences", json_incref(comparison->differences));
    if (out.err != PS_OK || comparison->err != PS_OK) {
        json_decref(out.object);
        return NULL;
    }
    return out.object;
}

int ps_compare(json_t **out, const json_t *a, const json_t *b, const struct ps_compare_opts *opts)
{
    struct comparison comparison = {.opts = opts, .differences = json_array()};
    if (comparison.differences == NULL) {
        return PS_ENOMEM;
    }
    for (enum ps_report_kind kind = 0; kind < PS_REPORT_COUNT; kind++) {
        compare_kind(&comparison, a, b, kind);
        note_kind(&comparison, a, b, kind);
    }
    adjust(&comparison);
    json_t *result = result_json(&comparison, a, b);
    json_decref(comparison.differences);
    if (result == NULL) {
        return PS_ENOMEM;
    }
    *out = result;
    return PS_OK;
}
