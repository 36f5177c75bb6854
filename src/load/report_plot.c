/* report_plot - see report_plot.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/report_plot.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/writer.h"
#include "load/plot.h"
#include "load/report_json.h"
#include "load/report_rows.h"

#define COLUMNS 240  /* points of a line: more than eyes tell apart at this width */
#define POINTS_MAX 64 /* levels of a stress test */
#define BINS 56      /* bars of a distribution */
#define WIDE 8       /* times the fastest is the slowest: then the axis is logarithmic */

struct charts {
    const json_t *section;
    struct ps_writer out;
};

static void put(struct charts *charts, const char *text)
{
    ps_writer_text(&charts->out, text);
}

static void end_figure(struct charts *charts, struct ps_plot *plot)
{
    int err = ps_plot_end(plot);
    charts->out.err = charts->out.err == PS_OK ? err : charts->out.err;
    put(charts, "</figure>\n");
}

/* ----------------------------------------------------------------------------- lines over time */

/* A series brought down to COLUMNS points, each the mean of what falls into it. */
struct line {
    double y[COLUMNS];
    bool there;
};

/* The columns of a section: where each ends. */
struct columns {
    double x[COLUMNS];
    size_t count;
    size_t points; /* of the series */
};

static double value_at(const json_t *array, size_t i)
{
    const json_t *value = json_array_get(array, i);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static size_t column_of(const struct columns *columns, size_t point)
{
    return columns->points <= COLUMNS ? point : point * COLUMNS / columns->points;
}

static struct columns columns_of(const json_t *section)
{
    const json_t *time = ps_report_at(section, "series.time");
    struct columns columns = {.points = json_array_size(time)};
    columns.count = columns.points < COLUMNS ? columns.points : COLUMNS;
    for (size_t i = 0; i < columns.points; i++) {
        columns.x[column_of(&columns, i)] = value_at(time, i);
    }
    return columns;
}

static struct line line_of(const json_t *section, const struct columns *columns, const char *path)
{
    const json_t *array = ps_report_at(section, path);
    struct line line = {.there = array != NULL};
    unsigned counts[COLUMNS] = {0};
    for (size_t i = 0; i < COLUMNS; i++) {
        line.y[i] = NAN;
    }
    for (size_t i = 0; i < columns->points; i++) {
        size_t column = column_of(columns, i);
        double value = value_at(array, i);
        if (isfinite(value)) {
            double before = counts[column] == 0 ? 0 : line.y[column] * counts[column];
            line.y[column] = (before + value) / ++counts[column];
        }
    }
    return line;
}

static double highest(const struct line *line, const struct columns *columns, double least)
{
    for (size_t i = 0; i < columns->count; i++) {
        least = fmax(least, line->y[i]);
    }
    return least;
}

static double lowest(const struct line *line, const struct columns *columns)
{
    double low = INFINITY;
    for (size_t i = 0; i < columns->count; i++) {
        low = fmin(low, line->y[i]);
    }
    return low;
}

static struct ps_plot_axis time_axis(const struct columns *columns)
{
    return (struct ps_plot_axis){0, columns->x[columns->count - 1], false, PS_PLOT_TIME};
}

/* Where a named phase begins and ends, in the series. */
static void draw_phases(struct charts *charts, struct ps_plot *plot)
{
    const json_t *phases = ps_report_at(charts->section, "phases");
    size_t i;
    json_t *phase;
    json_array_foreach (phases, i, phase) {
        double start = ps_report_number(phase, "start_seconds");
        double end = start + ps_report_number(phase, "duration_seconds");
        if (strcmp(ps_report_text(phase, "name"), "spike") == 0 && end > start) {
            ps_plot_band(plot, "band", start, end);
            double recovery = ps_report_number(charts->section, "recovery_time_seconds");
            ps_plot_mark(plot, "", end, isfinite(recovery) ? "" : "spike ends");
            ps_plot_mark(plot, "strong", end + recovery, "recovered");
        }
    }
}

/* Text over each column: "12 s: median 40.1 ms, p95 61 ms, p99 80 ms". */
static void draw_hints(struct ps_plot *plot, const struct columns *columns, const struct line *lines,
                       const char *const *names, size_t count, enum ps_report_unit unit)
{
    for (size_t i = 0; i < columns->count; i++) {
        char text[240], value[PS_REPORT_VALUE_MAX];
        int used = snprintf(text, sizeof text, "%s", ps_report_write(columns->x[i], PS_UNIT_SECONDS, value, sizeof value));
        for (size_t j = 0; j < count; j++) {
            if (isfinite(lines[j].y[i])) {
                used += snprintf(text + used, sizeof text - (size_t)used, ", %s %s", names[j],
                                 ps_report_write(lines[j].y[i], unit, value, sizeof value));
            }
        }
        ps_plot_hint(plot, i == 0 ? 0 : columns->x[i - 1], columns->x[i], text);
    }
}

static void draw_latency(struct charts *charts, const struct columns *columns)
{
    static const char *const names[] = {"median", "p95", "p99"};
    struct line lines[] = {line_of(charts->section, columns, "series.median_ms"),
                           line_of(charts->section, columns, "series.p95_ms"),
                           line_of(charts->section, columns, "series.p99_ms")};
    double most = highest(&lines[2], columns, highest(&lines[1], columns, 0));
    struct ps_plot plot;
    if (most == 0) {
        return;
    }
    put(charts, "<figure><figcaption>Response time <span class=\"k1\"><i></i>median</span><span class=\"k2\">"
                "<i></i>p95</span><span class=\"k3\"><i></i>p99</span></figcaption>");
    ps_plot_begin(&plot, charts->out.buf, time_axis(columns), (struct ps_plot_axis){0, most, false, PS_PLOT_MS},
                  "Response time over the time of the test: median, 95th and 99th percentile");
    draw_phases(charts, &plot);
    ps_plot_line(&plot, "l3", columns->x, lines[2].y, columns->count);
    ps_plot_line(&plot, "l2", columns->x, lines[1].y, columns->count);
    ps_plot_line(&plot, "l1", columns->x, lines[0].y, columns->count);
    draw_hints(&plot, columns, lines, names, PS_ARRAY_LEN(names), PS_UNIT_MS);
    end_figure(charts, &plot);
}

static void draw_throughput(struct charts *charts, const struct columns *columns)
{
    static const char *const names[] = {"answered", "failed", "asked for"};
    struct line lines[] = {line_of(charts->section, columns, "series.rps"),
                           line_of(charts->section, columns, "series.failed_rps"),
                           line_of(charts->section, columns, "series.target_rps")};
    double most = highest(&lines[0], columns, highest(&lines[2], columns, 0));
    struct ps_plot plot;
    put(charts, "<figure><figcaption>Throughput <span class=\"k1\"><i></i>answered</span>");
    put(charts, lines[2].there ? "<span class=\"ks\"><i></i>asked for</span>" : "");
    put(charts, "<span class=\"kb\"><i></i>failed</span></figcaption>");
    ps_plot_begin(&plot, charts->out.buf, time_axis(columns), (struct ps_plot_axis){0, most, false, PS_PLOT_RATE},
                  "Requests a second over the time of the test: answered, failed, asked for");
    draw_phases(charts, &plot);
    ps_plot_area(&plot, "failed", columns->x, lines[1].y, columns->count);
    ps_plot_line(&plot, "dash", columns->x, lines[2].y, columns->count);
    ps_plot_line(&plot, "l1", columns->x, lines[0].y, columns->count);
    draw_hints(&plot, columns, lines, names, PS_ARRAY_LEN(names), PS_UNIT_RATE);
    end_figure(charts, &plot);
}

/* One line of the target's own: memory, descriptors. */
static void draw_target(struct charts *charts, const struct columns *columns, const char *path, const char *title,
                        enum ps_plot_unit unit)
{
    struct line line = line_of(charts->section, columns, path);
    struct ps_plot plot;
    if (!line.there) {
        return;
    }
    put(charts, "<figure><figcaption>");
    put(charts, title);
    put(charts, "</figcaption>");
    double low = lowest(&line, columns), high = highest(&line, columns, 0);
    ps_plot_begin(&plot, charts->out.buf, time_axis(columns),
                  (struct ps_plot_axis){fmax(0, low - (high - low)), high, false, unit}, title);
    ps_plot_line(&plot, "l4", columns->x, line.y, columns->count);
    end_figure(charts, &plot);
}

/* ------------------------------------------------------------------------------ distributions */

struct distribution {
    const json_t *lower, *upper, *count;
    size_t size;
    double total;
};

static struct distribution distribution_of(const json_t *section, const char *name)
{
    const json_t *object = ps_report_at(section, name);
    struct distribution d = {ps_report_at(object, "lower_ms"), ps_report_at(object, "upper_ms"),
                             ps_report_at(object, "count"), 0, 0};
    d.size = json_array_size(d.count);
    for (size_t i = 0; i < d.size; i++) {
        d.total += fmax(0, value_at(d.count, i));
    }
    return d;
}

/* The curve of a distribution over -log10(1 - share): every step is a point. */
static size_t curve_of(const struct distribution *d, double *x, double *y, double limit)
{
    double seen = 0;
    size_t count = 0;
    for (size_t i = 0; i < d->size; i++) {
        double share = seen / d->total; /* of those below this step */
        x[count] = fmin(-log10(1 - share), limit);
        y[count++] = value_at(d->lower, i);
        seen += fmax(0, value_at(d->count, i));
    }
    if (d->size > 0) {
        x[count] = limit;
        y[count++] = value_at(d->upper, d->size - 1);
    }
    return count;
}

static void draw_curve(struct ps_plot *plot, const char *style, const struct distribution *d, double limit)
{
    double *x = calloc(d->size + 1, sizeof *x), *y = calloc(d->size + 1, sizeof *y);
    if (x == NULL || y == NULL) {
        plot->err = PS_ENOMEM;
    } else {
        ps_plot_line(plot, style, x, y, curve_of(d, x, y, limit));
    }
    free(x);
    free(y);
}

/* As far to the right as there are requests to speak of. */
static double limit_of(const struct distribution *d)
{
    return fmin(fmax(log10(fmax(d->total, 1)), 1), 5);
}

static void draw_percentiles(struct charts *charts)
{
    struct distribution all = distribution_of(charts->section, "histogram");
    struct distribution first = distribution_of(charts->section, "ttft_histogram");
    struct ps_plot plot;
    if (all.total == 0) {
        return;
    }
    put(charts, "<figure><figcaption>Percentiles <span class=\"k1\"><i></i>response time</span>");
    put(charts, first.total > 0 ? "<span class=\"k4\"><i></i>first token</span></figcaption>" : "</figcaption>");
    double limit = limit_of(&all);
    ps_plot_begin(&plot, charts->out.buf, (struct ps_plot_axis){0, limit, false, PS_PLOT_PERCENTILE},
                  (struct ps_plot_axis){0, value_at(all.upper, all.size - 1), false, PS_PLOT_MS},
                  "Response time by percentile, from the fastest to the slowest request");
    if (first.total > 0) {
        draw_curve(&plot, "l4", &first, limit);
    }
    draw_curve(&plot, "l1", &all, limit);
    end_figure(charts, &plot);
}

/* The value below which a share lies. */
static double quantile(const struct distribution *d, double share)
{
    double seen = 0;
    for (size_t i = 0; i < d->size; i++) {
        seen += fmax(0, value_at(d->count, i));
        if (seen >= share * d->total) {
            return value_at(d->upper, i);
        }
    }
    return NAN;
}

/* Bins of equal width on an axis that is logarithmic where it covers much. */
struct bins {
    double low, high;
    bool log;
    double count[BINS];
};

/* Where a value lies, in bins; and back. */
static double bin_of(const struct bins *bins, double value)
{
    double share = bins->log ? log(value / bins->low) / log(bins->high / bins->low)
                             : (value - bins->low) / (bins->high - bins->low);
    return share * BINS;
}

static double bin_start(const struct bins *bins, double bin)
{
    return bins->log ? bins->low * pow(bins->high / bins->low, bin / BINS)
                     : bins->low + (bins->high - bins->low) * bin / BINS;
}

/* Spreads the steps over the bins; the highest bin. */
static double fill_bins(const struct distribution *d, struct bins *bins)
{
    double most = 0;
    for (size_t i = 0; i < d->size; i++) {
        double from = fmax(value_at(d->lower, i), bins->low), to = fmax(value_at(d->upper, i), from * 1.0001);
        double begin = bin_of(bins, from), end = bin_of(bins, to);
        for (int b = (int)fmax(0, floor(begin)); b < BINS && b < end; b++) {
            double part = (fmin(end, b + 1) - fmax(begin, b)) / (end - begin);
            bins->count[b] += fmax(0, part) * fmax(0, value_at(d->count, i));
            most = fmax(most, bins->count[b]);
        }
    }
    return most;
}

static void draw_histogram(struct charts *charts)
{
    struct distribution d = distribution_of(charts->section, "histogram");
    struct bins bins = {.low = fmax(value_at(d.lower, 0), 1e-3)};
    struct ps_plot plot;
    if (d.total == 0) {
        return;
    }
    bins.high = fmax(value_at(d.upper, d.size - 1), bins.low * 1.2);
    bins.log = bins.high > WIDE * bins.low;
    double most = fill_bins(&d, &bins);
    put(charts, "<figure><figcaption>Distribution <span>requests by response time</span></figcaption>");
    ps_plot_begin(&plot, charts->out.buf, (struct ps_plot_axis){bins.low, bins.high, bins.log, PS_PLOT_MS},
                  (struct ps_plot_axis){0, most, false, PS_PLOT_NUMBER}, "How many requests took how long");
    for (int b = 0; b < BINS; b++) {
        char hint[160], from[PS_REPORT_VALUE_MAX], to[PS_REPORT_VALUE_MAX];
        double start = bin_start(&bins, b), end = bin_start(&bins, b + 1);
        snprintf(hint, sizeof hint, "%s to %s: %.0f requests", ps_report_write(start, PS_UNIT_MS, from, sizeof from),
                 ps_report_write(end, PS_UNIT_MS, to, sizeof to), bins.count[b]);
        if (bins.count[b] > 0) {
            ps_plot_bar(&plot, "bar", start, start + (end - start) * 0.86, bins.count[b], hint);
        }
    }
    ps_plot_mark(&plot, "", quantile(&d, 0.5), "median");
    ps_plot_mark(&plot, "strong", quantile(&d, 0.95), "p95");
    end_figure(charts, &plot);
}

/* ----------------------------------------------------------------------------- levels of stress */

struct levels {
    const json_t *rows[POINTS_MAX]; /* by rate */
    size_t count;
    double x[POINTS_MAX], achieved[POINTS_MAX], p95[POINTS_MAX];
    double most; /* rate asked for */
};

static int by_rate(const void *a, const void *b)
{
    double left = ps_report_number(*(const json_t *const *)a, "rps");
    double right = ps_report_number(*(const json_t *const *)b, "rps");
    return (left > right) - (left < right);
}

static void read_levels(const json_t *section, struct levels *levels)
{
    size_t i;
    json_t *row;
    *levels = (struct levels){.most = 0};
    json_array_foreach (json_object_get(section, "stress_points"), i, row) {
        if (levels->count < POINTS_MAX && isfinite(ps_report_number(row, "rps"))) {
            levels->rows[levels->count++] = row;
        }
    }
    qsort(levels->rows, levels->count, sizeof *levels->rows, by_rate);
    for (i = 0; i < levels->count; i++) {
        levels->x[i] = ps_report_number(levels->rows[i], "rps");
        levels->achieved[i] = ps_report_number(levels->rows[i], "achieved_rps");
        levels->p95[i] = ps_report_number(levels->rows[i], "p95_ms");
        levels->most = fmax(levels->most, levels->x[i]);
    }
}

static void draw_breaking_point(struct charts *charts, struct ps_plot *plot)
{
    double low = ps_report_number(charts->section, "confidence_interval.low_rps");
    double high = ps_report_number(charts->section, "confidence_interval.high_rps");
    if (isfinite(low) && isfinite(high) && high > low) {
        ps_plot_band(plot, "band ci", low, high);
    }
    ps_plot_mark(plot, "strong", ps_report_number(charts->section, "breaking_point_rps"), "breaking point");
}

static void draw_level_dots(struct ps_plot *plot, const struct levels *levels, const double *y)
{
    for (size_t i = 0; i < levels->count; i++) {
        char hint[300], values[3][PS_REPORT_VALUE_MAX];
        const char *verdict = ps_report_text(levels->rows[i], "verdict");
        static const char *const known[] = {"holds", "breaks", "unclear", "generator_limited"};
        const char *style = "";
        for (size_t j = 0; j < PS_ARRAY_LEN(known); j++) {
            style = strcmp(verdict, known[j]) == 0 ? known[j] : style;
        }
        snprintf(hint, sizeof hint, "asked %s: achieved %s, p95 %s, %.40s",
                 ps_report_write(levels->x[i], PS_UNIT_RATE, values[0], sizeof values[0]),
                 ps_report_write(levels->achieved[i], PS_UNIT_RATE, values[1], sizeof values[1]),
                 ps_report_write(levels->p95[i], PS_UNIT_MS, values[2], sizeof values[2]), verdict);
        ps_plot_dot(plot, style, levels->x[i], y[i], hint);
    }
}

static void draw_load_throughput(struct charts *charts, const struct levels *levels)
{
    struct ps_plot plot;
    const double ideal[] = {0, levels->most};
    put(charts, "<figure><figcaption>Throughput against load <span class=\"k1\"><i></i>holds</span>"
                "<span class=\"kb\"><i></i>breaks</span><span class=\"ks\"><i></i>as asked</span></figcaption>");
    ps_plot_begin(&plot, charts->out.buf, (struct ps_plot_axis){0, levels->most * 1.03, false, PS_PLOT_RATE},
                  (struct ps_plot_axis){0, levels->most, false, PS_PLOT_RATE},
                  "Requests a second that were answered against those that were asked for");
    draw_breaking_point(charts, &plot);
    ps_plot_line(&plot, "dash", ideal, ideal, 2);
    ps_plot_line(&plot, "l1", levels->x, levels->achieved, levels->count);
    draw_level_dots(&plot, levels, levels->achieved);
    end_figure(charts, &plot);
}

static void draw_load_latency(struct charts *charts, const struct levels *levels)
{
    double low = INFINITY, high = 0;
    struct ps_plot plot;
    for (size_t i = 0; i < levels->count; i++) {
        low = fmin(low, levels->p95[i] > 0 ? levels->p95[i] : INFINITY);
        high = fmax(high, levels->p95[i]);
    }
    if (!(high > 0)) {
        return;
    }
    put(charts, "<figure><figcaption>p95 against load <span>logarithmic</span></figcaption>");
    ps_plot_begin(&plot, charts->out.buf, (struct ps_plot_axis){0, levels->most * 1.03, false, PS_PLOT_RATE},
                  (struct ps_plot_axis){low / 1.3, high * 1.3, true, PS_PLOT_MS},
                  "95th percentile of response time against the rate that was asked for");
    draw_breaking_point(charts, &plot);
    ps_plot_line(&plot, "l2", levels->x, levels->p95, levels->count);
    draw_level_dots(&plot, levels, levels->p95);
    end_figure(charts, &plot);
}

static void draw_levels(struct charts *charts)
{
    struct levels levels;
    read_levels(charts->section, &levels);
    if (levels.count > 0) {
        draw_load_throughput(charts, &levels);
        draw_load_latency(charts, &levels);
    }
}

/* -------------------------------------------------------------------------------- all of it */

int ps_report_write_plots(const json_t *section, enum ps_report_kind kind, struct ps_buf *out)
{
    struct charts charts = {section, {out, PS_OK}};
    struct columns columns = columns_of(section);
    put(&charts, "<div class=\"plots\">\n");
    draw_levels(&charts);
    if (columns.count > 1) {
        draw_latency(&charts, &columns);
        draw_throughput(&charts, &columns);
        draw_target(&charts, &columns, "series.target_memory_bytes", "Memory of the target", PS_PLOT_BYTES);
        draw_target(&charts, &columns, "series.target_descriptors", "Open files of the target", PS_PLOT_NUMBER);
    }
    if (kind != PS_REPORT_STRESS) { /* what all levels together did is no distribution of anything */
        draw_percentiles(&charts);
        draw_histogram(&charts);
    }
    put(&charts, "</div>\n");
    return charts.out.err;
}

/* ------------------------------------------------------------------------------- two of them */

static void draw_two_percentiles(struct charts *charts, const json_t *other)
{
    struct distribution a = distribution_of(charts->section, "histogram"), b = distribution_of(other, "histogram");
    struct ps_plot plot;
    if (a.total == 0 || b.total == 0) {
        return;
    }
    double limit = fmin(limit_of(&a), limit_of(&b));
    double most = fmax(value_at(a.upper, a.size - 1), value_at(b.upper, b.size - 1));
    put(charts, "<figure><figcaption>Percentiles <span class=\"k1\"><i></i>a</span><span class=\"k3\"><i></i>b"
                "</span></figcaption>");
    ps_plot_begin(&plot, charts->out.buf, (struct ps_plot_axis){0, limit, false, PS_PLOT_PERCENTILE},
                  (struct ps_plot_axis){0, most, false, PS_PLOT_MS}, "Response times of both runs by percentile");
    draw_curve(&plot, "l1", &a, limit);
    draw_curve(&plot, "l3", &b, limit);
    end_figure(charts, &plot);
}

static void draw_two_series(struct charts *charts, const json_t *other, const char *path, const char *title,
                            enum ps_plot_unit unit)
{
    struct columns of_a = columns_of(charts->section), of_b = columns_of(other);
    struct line a = line_of(charts->section, &of_a, path), b = line_of(other, &of_b, path);
    double most = highest(&a, &of_a, highest(&b, &of_b, 0));
    struct ps_plot plot;
    if (of_a.count < 2 || of_b.count < 2 || most == 0) {
        return;
    }
    const struct columns *longer = of_a.x[of_a.count - 1] > of_b.x[of_b.count - 1] ? &of_a : &of_b;
    put(charts, "<figure><figcaption>");
    put(charts, title);
    put(charts, " <span class=\"k1\"><i></i>a</span><span class=\"k3\"><i></i>b</span></figcaption>");
    ps_plot_begin(&plot, charts->out.buf, time_axis(longer), (struct ps_plot_axis){0, most, false, unit}, title);
    ps_plot_line(&plot, "l1", of_a.x, a.y, of_a.count);
    ps_plot_line(&plot, "l3", of_b.x, b.y, of_b.count);
    end_figure(charts, &plot);
}

int ps_report_write_two(const json_t *a, const json_t *b, enum ps_report_kind kind, struct ps_buf *out)
{
    struct charts charts = {a, {out, PS_OK}};
    if (kind != PS_REPORT_STRESS) {
        draw_two_percentiles(&charts, b);
    }
    draw_two_series(&charts, b, "series.p95_ms", "p95 over time", PS_PLOT_MS);
    draw_two_series(&charts, b, "series.rps", "Throughput", PS_PLOT_RATE);
    return charts.out.err;
}
