/* drift - see drift.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/drift.h"

#include <math.h>
#include <string.h>

#include "base/hist.h"
#include "foresee/slope.h"
#include "foresee/trend.h"

#define FALSE_ALARM 0.005 /* half of one in a hundred: the correction for likeness is an estimate itself */
#define WARM_SHARE  0.1
#define STILL       (1.0 / 3)
#define WIDE        4 /* buckets of which the lowest counts: a collector's round has to fit */
#define ENOUGH      20 /* points, before they are made wider */
#define NARROW      2 /* buckets of which the mean counts */
#define HOUR        3600.0

/* clang-format off */
const struct ps_drift_row ps_drift_rows[PS_DRIFT_SIGNALS] = {
    [PS_DRIFT_P50]         = {"p50", "ms", false, 0.05, 0.2},
    [PS_DRIFT_P95]         = {"p95", "ms", false, 0.05, 0.5},
    [PS_DRIFT_TTFT]        = {"ttft_p95", "ms", false, 0.05, 0.5},
    [PS_DRIFT_ERRORS]      = {"error_rate", "%", false, 0, 0.05},
    [PS_DRIFT_MEMORY]      = {"memory", "bytes", true, 0.004, 64 * 1024},
    [PS_DRIFT_DESCRIPTORS] = {"descriptors", "1", true, 0.01, 3},
};
/* clang-format on */

/* ----------------------------------------------------------------------------------------- buckets */

static void add(struct ps_drift_bucket *bucket, double value)
{
    bucket->lowest = bucket->count == 0 ? value : fmin(bucket->lowest, value);
    bucket->sum += value;
    bucket->count++;
}

static struct ps_drift_bucket joined(const struct ps_drift_bucket *a, const struct ps_drift_bucket *b)
{
    if (a->count == 0 || b->count == 0) {
        return a->count == 0 ? *b : *a;
    }
    return (struct ps_drift_bucket){.sum = a->sum + b->sum,
                                    .lowest = fmin(a->lowest, b->lowest),
                                    .count = a->count + b->count,
                                    .part = a->part};
}

/* Neighbours become one. A pair of two parts goes to the first; it is one of a hundred points. */
static void halve(struct ps_drift *drift)
{
    for (size_t s = 0; s < PS_DRIFT_SIGNALS; s++) {
        struct ps_drift_bucket *bucket = drift->series[s].bucket;
        for (size_t i = 0; i < PS_DRIFT_POINTS / 2; i++) {
            bucket[i] = joined(&bucket[2 * i], &bucket[2 * i + 1]);
        }
        memset(bucket + PS_DRIFT_POINTS / 2, 0, PS_DRIFT_POINTS / 2 * sizeof *bucket);
    }
    drift->bucket_seconds *= 2;
    drift->buckets = PS_DRIFT_POINTS / 2;
}

static size_t place(struct ps_drift *drift)
{
    if (drift->bucket_seconds <= 0) {
        drift->bucket_seconds = 1;
    }
    size_t at = (size_t)(drift->now / drift->bucket_seconds + 1e-9);
    while (at >= PS_DRIFT_POINTS) {
        halve(drift);
        at = (size_t)(drift->now / drift->bucket_seconds + 1e-9);
    }
    drift->buckets = at + 1;
    return at;
}

static double milliseconds(const struct ps_hist *hist, double share)
{
    return hist == NULL || hist->count == 0 ? NAN : ps_hist_percentile(hist, share) / 1e6;
}

void ps_drift_push(struct ps_drift *drift, const struct ps_second *row)
{
    double ended = (double)(row->succeeded + row->failed);
    const double values[PS_DRIFT_SIGNALS] = {
        [PS_DRIFT_P50] = milliseconds(row->corrected, 0.5),
        [PS_DRIFT_P95] = milliseconds(row->corrected, 0.95),
        [PS_DRIFT_TTFT] = milliseconds(row->ttft_corrected, 0.95),
        [PS_DRIFT_ERRORS] = ended > 0 ? 100 * (double)row->failed / ended : NAN,
        [PS_DRIFT_MEMORY] = row->target_memory_bytes,
        [PS_DRIFT_DESCRIPTORS] = row->target_descriptors,
    };
    size_t at = place(drift);
    for (size_t s = 0; s < PS_DRIFT_SIGNALS; s++) {
        struct ps_drift_bucket *bucket = &drift->series[s].bucket[at];
        if (isfinite(values[s])) {
            bucket->part = bucket->count == 0 ? drift->part : bucket->part;
            add(bucket, values[s]);
        }
    }
    drift->now += row->span;
}

void ps_drift_part(struct ps_drift *drift)
{
    drift->part++;
}

/* ------------------------------------------------------------------------------------ the verdict */

struct points { /* at most PS_SLOPE_POINTS */
    double at[PS_DRIFT_POINTS], value[PS_DRIFT_POINTS];
    unsigned part[PS_DRIFT_POINTS];
    size_t count;
};

/* Buckets `first` to `first + width - 1` as one, as far as they are of one part. */
static struct ps_drift_bucket gather(const struct ps_drift_series *series, size_t first, size_t width)
{
    struct ps_drift_bucket all = {.count = 0};
    for (size_t i = first; i < first + width; i++) {
        const struct ps_drift_bucket *bucket = &series->bucket[i];
        bool fits = all.count == 0 || bucket->part == all.part;
        all = fits ? joined(&all, bucket) : all;
    }
    return all;
}

static void take(const struct ps_drift *drift, enum ps_drift_signal signal, double from, struct points *points)
{
    bool lowest = ps_drift_rows[signal].lowest;
    size_t most = lowest ? WIDE : NARROW;
    size_t fits = drift->buckets / ENOUGH;
    size_t width = fits < 1 ? 1 : fits > most ? most : fits;
    points->count = 0;
    /* Only whole ones: the lowest of one in the making may not have come yet. */
    for (size_t i = 0; i + width <= drift->buckets; i += width) {
        struct ps_drift_bucket bucket = gather(&drift->series[signal], i, width);
        double at = ((double)i + (double)width / 2) * drift->bucket_seconds;
        if (bucket.count > 0 && at > from) {
            size_t n = points->count++;
            points->at[n] = at;
            points->part[n] = bucket.part;
            points->value[n] = lowest ? bucket.lowest : bucket.sum / bucket.count;
        }
    }
}

/* The middle of what a line with this slope leaves over: where it stands at 0. */
static double start_of(const struct points *points, double slope)
{
    double rests[PS_DRIFT_POINTS];
    for (size_t i = 0; i < points->count; i++) {
        rests[i] = points->value[i] - slope * points->at[i];
    }
    return ps_trend_median(rests, points->count);
}

static bool goes_on(const struct points *points, double slope)
{
    struct ps_slope half;
    size_t from = points->count / 2;
    return ps_slope_robust(points->at + from, points->value + from, points->part + from, points->count - from, 0.95,
                           &half) &&
           half.slope >= slope * STILL;
}

static void judge_one(const struct ps_drift *drift, enum ps_drift_signal signal, struct ps_drift_result *result)
{
    struct points points;
    struct ps_slope slope;
    take(drift, signal, WARM_SHARE * drift->now, &points);
    *result = (struct ps_drift_result){.points = points.count, .p = NAN, .p_adjusted = NAN};
    if (points.count < PS_DRIFT_LEAST ||
        !ps_slope_robust(points.at, points.value, points.part, points.count, 0.95, &slope)) {
        result->slope_per_hour = result->low_per_hour = result->high_per_hour = NAN;
        result->start = result->end = result->percent_per_hour = NAN;
        return;
    }
    const struct ps_drift_row *row = &ps_drift_rows[signal];
    double first = points.at[0];
    double last = points.at[points.count - 1];
    result->start = start_of(&points, slope.slope) + slope.slope * first;
    result->end = result->start + slope.slope * (last - first);
    result->slope_per_hour = slope.slope * HOUR;
    result->low_per_hour = slope.low * HOUR;
    result->high_per_hour = slope.high * HOUR;
    result->percent_per_hour = result->start > 0            ? 100 * result->slope_per_hour / result->start
                               : slope.slope == 0 ? 0 : NAN;
    result->p = slope.p;
    double change = result->end - result->start;
    result->drifts = change > row->share * fabs(result->start) && change > row->amount && goes_on(&points, slope.slope);
}

/* Holm: the smallest p counts as often as there are, the next one less ...; none below the one before it. */
static void adjust(struct ps_drift_result results[PS_DRIFT_SIGNALS])
{
    bool done[PS_DRIFT_SIGNALS] = {false};
    size_t tests = 0;
    for (size_t s = 0; s < PS_DRIFT_SIGNALS; s++) {
        tests += !isnan(results[s].p);
    }
    double before = 0;
    for (size_t left = tests; left > 0; left--) {
        size_t least = PS_DRIFT_SIGNALS;
        for (size_t s = 0; s < PS_DRIFT_SIGNALS; s++) {
            bool open = !done[s] && !isnan(results[s].p);
            least = open && (least == PS_DRIFT_SIGNALS || results[s].p < results[least].p) ? s : least;
        }
        done[least] = true;
        before = fmax(before, fmin(results[least].p * (double)left, 1));
        results[least].p_adjusted = before;
    }
}

void ps_drift_judge(const struct ps_drift *drift, struct ps_drift_result results[PS_DRIFT_SIGNALS])
{
    for (size_t s = 0; s < PS_DRIFT_SIGNALS; s++) {
        judge_one(drift, (enum ps_drift_signal)s, &results[s]);
    }
    adjust(results);
    for (size_t s = 0; s < PS_DRIFT_SIGNALS; s++) {
        results[s].drifts = results[s].drifts && results[s].p_adjusted < FALSE_ALARM;
    }
}

size_t ps_drift_points(const struct ps_drift *drift, enum ps_drift_signal signal, double *at, double *values)
{
    struct points points;
    take(drift, signal, 0, &points);
    memcpy(at, points.at, points.count * sizeof *at);
    memcpy(values, points.value, points.count * sizeof *values);
    return points.count;
}
