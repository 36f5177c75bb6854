/* otlp_histogram - see otlp_histogram.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "export/otlp_histogram.h"

#include <math.h>

#include "base/check.h"
#include "observe/metric_exponential.h"

enum { SIDE_MOST = 1024 }; /* buckets of one side of an exponential histogram */

/* ---- both kinds */

static bool add_up(const uint64_t *counts, size_t count, uint64_t *total)
{
    for (size_t i = 0; i < count; i++) {
        if (__builtin_add_overflow(*total, counts[i], total)) {
            return false;
        }
    }
    return true;
}

/* Turns totals into what is new, where they are totals. False: rejected. */
static bool step_counts(struct ps_otlp_taking *taking, struct ps_otlp_stream *stream,
                        int32_t temporality, struct ps_otlp_counts *counts)
{
    int err = ps_otlp_is_cumulative(temporality)
                  ? ps_otlp_stream_step_counts(taking->points->streams, stream, counts)
                  : PS_OK;
    if (err != PS_OK) {
        ps_otlp_reject(taking, 1, "more buckets than are kept");
    }
    return err == PS_OK;
}

/* Is there something to count? A point without a value is accepted and says nothing; one that is
 * objected to is rejected. */
static bool is_wanted(struct ps_otlp_taking *taking, uint32_t flags, const char *objection)
{
    if (ps_otlp_is_empty(flags)) {
        taking->accepted++;
    } else if (objection != NULL) {
        ps_otlp_reject(taking, 1, objection);
    }
    return !ps_otlp_is_empty(flags) && objection == NULL;
}

/* ---- with bounds */

static const char *objection_to_histogram(const Ps__Otlp__HistogramDataPoint *point)
{
    uint64_t total = 0;
    if (point->n_explicit_bounds == 0 || point->n_explicit_bounds > PS_METRIC_BOUNDS_MAX) {
        return "a histogram has 1 to 64 bounds";
    }
    if (point->n_bucket_counts != point->n_explicit_bounds + 1) {
        return "a histogram has one bucket more than bounds";
    }
    if (!add_up(point->bucket_counts, point->n_bucket_counts, &total) || total != point->count) {
        return "the buckets don't add up to the count";
    }
    return point->has_sum && !isfinite(point->sum) ? "the sum is not finite" : NULL;
}

static void take_histogram_point(struct ps_otlp_taking *taking,
                                 const Ps__Otlp__HistogramDataPoint *point, int32_t temporality)
{
    struct ps_otlp_kind kind = {PS_METRIC_HISTOGRAM, point->explicit_bounds,
                                point->n_explicit_bounds};
    if (!is_wanted(taking, point->flags, objection_to_histogram(point))) {
        return;
    }
    struct ps_otlp_stream *stream;
    struct ps_metric_handle *handle = ps_otlp_place(taking, &kind, PS_OTLP_POINT(point), &stream);
    struct ps_otlp_counts counts = {
        .sum = point->sum, .sides = {{0, (uint32_t)point->n_bucket_counts, point->bucket_counts}}};
    if (handle == NULL || !step_counts(taking, stream, temporality, &counts)) {
        return;
    }
    ps_histogram_add_buckets(PS_CONTAINER_OF(handle, struct ps_histogram, handle),
                             taking->points->shard, point->bucket_counts, counts.sum);
    ps_otlp_accept(taking, handle, point->exemplars, point->n_exemplars);
}

void ps_otlp_take_histogram(struct ps_otlp_taking *taking, const Ps__Otlp__Histogram *histogram)
{
    int32_t temporality = histogram->aggregation_temporality;
    size_t count = histogram->n_data_points;
    if (!ps_otlp_check_temporality(taking, temporality, count)) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        take_histogram_point(taking, histogram->data_points[i], temporality);
    }
}

/* ---- exponential */

static struct ps_otlp_side side_of(const Ps__Otlp__Buckets *buckets)
{
    return buckets == NULL
               ? (struct ps_otlp_side){0}
               : (struct ps_otlp_side){buckets->offset, (uint32_t)buckets->n_bucket_counts,
                                       buckets->bucket_counts};
}

/* Do the outermost buckets lie where doubles are? Then all do. */
static bool is_within(int scale, const struct ps_otlp_side *side)
{
    double low = ldexp((double)side->offset + 1, -scale);
    double high = ldexp((double)side->offset + side->count, -scale);
    return side->count == 0 || (low >= -1074 && high <= 1024);
}

static const char *objection_to_exponential(const Ps__Otlp__ExponentialHistogramDataPoint *point,
                                            const struct ps_otlp_counts *counts)
{
    uint64_t total = point->zero_count;
    if (point->scale < PS_EXPONENTIAL_SCALE_LEAST || point->scale > PS_EXPONENTIAL_SCALE_MOST) {
        return "scales are -4 to 20";
    }
    for (size_t i = 0; i < 2; i++) {
        const struct ps_otlp_side *side = &counts->sides[i];
        if (side->count > SIDE_MOST || !is_within(point->scale, side)) {
            return "at most 1024 buckets on a side, where numbers are";
        }
        if (!add_up(side->counts, side->count, &total)) {
            return "the buckets don't add up to the count";
        }
    }
    if (total != point->count) {
        return "the buckets don't add up to the count";
    }
    return point->has_sum && !isfinite(point->sum) ? "the sum is not finite" : NULL;
}

static void add_exponential(struct ps_otlp_taking *taking, struct ps_metric_handle *handle,
                            const struct ps_otlp_counts *counts)
{
    _Atomic uint64_t *cells = ps_metric_cell(handle, taking->points->shard);
    for (unsigned side = 0; side < 2; side++) {
        const struct ps_otlp_side *from = &counts->sides[side];
        for (uint32_t i = 0; i < from->count; i++) {
            if (from->counts[i] > 0) {
                bool added = ps_exponential_add(cells, counts->scale, side,
                                                from->offset + (int32_t)i, from->counts[i]);
                PS_CHECK(added);
            }
        }
    }
    ps_exponential_add_rest(cells, counts->zeros, counts->sum);
}

static void take_exponential_point(struct ps_otlp_taking *taking,
                                   const Ps__Otlp__ExponentialHistogramDataPoint *point,
                                   int32_t temporality)
{
    struct ps_otlp_kind kind = {.type = PS_METRIC_EXPONENTIAL};
    struct ps_otlp_counts counts = {.scale = point->scale,
                                    .zeros = point->zero_count,
                                    .sum = point->sum,
                                    .sides = {side_of(point->positive), side_of(point->negative)}};
    if (!is_wanted(taking, point->flags, objection_to_exponential(point, &counts))) {
        return;
    }
    struct ps_otlp_stream *stream;
    struct ps_metric_handle *handle = ps_otlp_place(taking, &kind, PS_OTLP_POINT(point), &stream);
    if (handle == NULL || !step_counts(taking, stream, temporality, &counts)) {
        return;
    }
    add_exponential(taking, handle, &counts);
    ps_otlp_accept(taking, handle, point->exemplars, point->n_exemplars);
}

void ps_otlp_take_exponential(struct ps_otlp_taking *taking,
                              const Ps__Otlp__ExponentialHistogram *histogram)
{
    int32_t temporality = histogram->aggregation_temporality;
    size_t count = histogram->n_data_points;
    if (!ps_otlp_check_temporality(taking, temporality, count)) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        take_exponential_point(taking, histogram->data_points[i], temporality);
    }
}
