/* otlp_point - where a data point of OTLP belongs: its series, and the stream whose next it is.
 *
 * The series has the name and the labels that pages may have; the stream is told by all that the
 * sender said of itself, the resource and the scope with it. What is shared by the points of a
 * request, and what has become of them so far, is a taking.
 *
 * Thread: one at a time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_EXPORT_OTLP_POINT_H
#define PS_EXPORT_OTLP_POINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <otlp.pb-c.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "export/otlp_stream.h"
#include "observe/custom.h"
#include "observe/metric_memo.h"

/* What outlives a request. */
struct ps_otlp_points {
    struct ps_custom *custom;
    struct ps_metrics *metrics;
    struct ps_metric_memo *memo;
    struct ps_otlp_streams *streams;
    unsigned shard;
    uint64_t seeds[2];
    struct ps_buf identity; /* of the present metric */
};

/* Takes a shard of `metrics` for whoever counts points. PS_OK, PS_ENOMEM, PS_ELIMIT (no shard is
 * left) or PS_EIO (no random numbers); fini it in any case, before custom and metrics. */
PS_MUST_CHECK int ps_otlp_points_init(struct ps_otlp_points *points, struct ps_custom *custom,
                                      struct ps_metrics *metrics);
void ps_otlp_points_fini(struct ps_otlp_points *points);

/* Where we are in a request, and what has become of its points. */
struct ps_otlp_taking {
    struct ps_otlp_points *points;
    const Ps__Otlp__Resource *resource;          /* or NULL */
    const Ps__Otlp__InstrumentationScope *scope; /* or NULL */
    const Ps__Otlp__Metric *metric;
    ps_time now;
    uint64_t accepted, rejected, left_out; /* the last counts attributes */
    char reason[640];                      /* of the first that was rejected */
};

/* Counts so many points of the present metric as rejected. */
void ps_otlp_reject(struct ps_otlp_taking *taking, uint64_t points, const char *why);

/* Is an AggregationTemporality one of the two that there are? Where not, so many points are
 * rejected. */
bool ps_otlp_check_temporality(struct ps_otlp_taking *taking, int32_t temporality, size_t points);
bool ps_otlp_is_cumulative(int32_t temporality);

/* Do the flags of a point say that it has no value? */
bool ps_otlp_is_empty(uint32_t flags);

/* Begins with taking->metric: what its streams have in common. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_otlp_begin_metric(struct ps_otlp_taking *taking);

/* What a metric becomes. */
struct ps_otlp_kind {
    enum ps_metric_type type;
    const double *bounds; /* of a histogram with bounds */
    size_t bounds_count;
};

/* What all kinds of points have. */
struct ps_otlp_point {
    Ps__Otlp__KeyValue *const *attributes;
    size_t attribute_count;
    uint64_t start, time; /* nanoseconds since 1970, 0 = unknown */
};

/* The same of a message of any kind of point: their members have the same names. */
#define PS_OTLP_POINT(of)                                                                      \
    (&(struct ps_otlp_point){(of)->attributes, (of)->n_attributes, (of)->start_time_unix_nano, \
                             (of)->time_unix_nano})

/* The series of a point, valid until the next call, and its stream, moved on to it. NULL: rejected,
 * because of its name or labels, for want of room, or because it is not later than the last of its
 * stream. */
struct ps_metric_handle *ps_otlp_place(struct ps_otlp_taking *taking,
                                       const struct ps_otlp_kind *kind,
                                       const struct ps_otlp_point *point,
                                       struct ps_otlp_stream **stream);

/* The point has been counted: so is that, and its exemplars are shown. */
void ps_otlp_accept(struct ps_otlp_taking *taking, struct ps_metric_handle *handle,
                    Ps__Otlp__Exemplar *const *exemplars, size_t count);

#endif
