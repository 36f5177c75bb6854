/* trend - see trend.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "foresee/trend.h"

#include <math.h>
#include <string.h>

#include "base/check.h"
#include "base/select.h"

#define SIGNIFICANT 2.58
#define SCALES      2.0
#define IN_A_ROW    3u
#define MAD_TO_SD   1.4826

const char *const ps_trend_words[] = {"stable", "improving", "degrading", NULL};

double ps_trend_median(double *values, size_t count)
{
    if (count == 0) {
        return NAN;
    }
    double upper = ps_select(values, count, count / 2);
    if (count % 2 == 1) {
        return upper;
    }
    double lower = values[0];
    for (size_t i = 1; i < count / 2; i++) {
        lower = values[i] > lower ? values[i] : lower;
    }
    return (lower + upper) / 2;
}

void ps_trend_init(struct ps_trend *trend, const struct ps_trend_opts *opts)
{
    PS_CHECK(opts->per >= 1 && opts->per <= PS_TREND_MOST_PER);
    *trend = (struct ps_trend){.opts = *opts, .level = NAN};
}

static double point_at(const struct ps_trend *trend, size_t i)
{
    return trend->point[(trend->first + i) % PS_TREND_POINTS];
}

/* Slopes of all pairs; *rising is how many more rise than fall. */
static double theil_sen(const double *points, size_t count, double *rising)
{
    double slopes[PS_TREND_POINTS * (PS_TREND_POINTS - 1) / 2];
    size_t pairs = 0;
    *rising = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = i + 1; j < count; j++) {
            double step = points[j] - points[i];
            *rising += (step > 0) - (step < 0);
            slopes[pairs++] = step / (double)(j - i);
        }
    }
    return ps_trend_median(slopes, pairs);
}

/* How much wider chance is because neighbours resemble each other: (1 + r) / (1 - r). */
static double likeness(const double *rests, size_t count)
{
    double own = 0;
    double next = 0;
    for (size_t i = 0; i < count; i++) {
        own += rests[i] * rests[i];
        next += i > 0 ? rests[i] * rests[i - 1] : 0;
    }
    double r = own > 0 ? fmin(fmax(next / own, 0), 0.9) : 0;
    return (1 + r) / (1 - r);
}

/* Kendall's variance of the balance of pairs, without ties. */
static double kendall_z(double rising, size_t count, double wider)
{
    double n = (double)count;
    double variance = n * (n - 1) * (2 * n + 5) / 18 * wider;
    double corrected = rising > 0 ? rising - 1 : rising < 0 ? rising + 1 : 0;
    return corrected / sqrt(variance);
}

static void decide(struct ps_trend *trend, double scale)
{
    bool moves = fabs(trend->z) > SIGNIFICANT && fabs(trend->change) > SCALES * scale &&
                 fabs(trend->change) > trend->opts.least_change * fabs(trend->level);
    bool better = (trend->change > 0) == trend->opts.more_is_better;
    enum ps_trend_word says = !moves   ? PS_TREND_STABLE
                              : better ? PS_TREND_IMPROVING
                                       : PS_TREND_DEGRADING;
    trend->in_a_row = says == trend->next ? trend->in_a_row + 1 : 1;
    trend->next = says;
    if (trend->in_a_row >= IN_A_ROW) {
        trend->word = says;
    }
}

static void fit(struct ps_trend *trend)
{
    double points[PS_TREND_POINTS] = {0};
    double rests[PS_TREND_POINTS] = {0};
    size_t count = trend->points;
    for (size_t i = 0; i < count; i++) {
        points[i] = point_at(trend, i);
    }
    double rising = 0;
    double slope = theil_sen(points, count, &rising);
    for (size_t i = 0; i < count; i++) {
        rests[i] = points[i] - slope * (double)i;
    }
    memcpy(points, rests, count * sizeof *points);
    double start = ps_trend_median(points, count);
    for (size_t i = 0; i < count; i++) {
        rests[i] -= start;
    }
    trend->slope = slope / trend->opts.per;
    trend->change = slope * (double)(count - 1);
    trend->level = start + slope * (double)(count - 1);
    trend->z = kendall_z(rising, count, likeness(rests, count));
    for (size_t i = 0; i < count; i++) {
        rests[i] = fabs(rests[i]);
    }
    decide(trend, ps_trend_median(rests, count) * MAD_TO_SD);
}

void ps_trend_push(struct ps_trend *trend, double value)
{
    if (!isfinite(value)) {
        return;
    }
    trend->sample[trend->samples++] = value;
    if (trend->samples < trend->opts.per) {
        return;
    }
    double point = ps_trend_median(trend->sample, trend->samples);
    trend->samples = 0;
    if (trend->points < PS_TREND_POINTS) {
        trend->point[trend->points++] = point;
    } else {
        trend->point[trend->first] = point;
        trend->first = (trend->first + 1) % PS_TREND_POINTS;
    }
    trend->level = point;
    if (trend->points >= PS_TREND_LEAST) {
        fit(trend);
    }
}

struct ps_trend_result ps_trend_read(const struct ps_trend *trend)
{
    return (struct ps_trend_result){.word = trend->word,
                                    .slope = trend->slope,
                                    .z = trend->z,
                                    .change = trend->change,
                                    .level = trend->level,
                                    .points = trend->points};
}
