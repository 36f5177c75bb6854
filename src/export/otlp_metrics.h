/* otlp_metrics - metrics of OpenTelemetry, as exporters send them over OTLP/HTTP.
 *
 *      sum, monotonic         counter NAME_UNIT_total   cumulative: what is new; delta: added
 *      sum, not monotonic     gauge NAME_UNIT           cumulative: set; delta: moved
 *      gauge                  gauge NAME_UNIT           set; NaN or "no value": off the page
 *      histogram              histogram                 of the same bounds (1 to 64)
 *      exponential histogram  exponential               no finer than it was sent; scales -4 to 20
 *      summary                refused                   quantiles can't be added up
 *
 * Labels are `service_name` and `service_instance_id` of the resource, the attributes of the point,
 * and the scope's name as `otel_scope_name`, at most 8 in this order; what has no place is left out
 * and counted. Names as in export/naming.h.
 *
 * A request counts point by point: what is refused is told in the answer (partial success), the
 * rest counts.
 *
 * Source: OTLP specification 1.x; metrics data model of OpenTelemetry; its compatibility with
 * Prometheus.
 *
 * Thread: one at a time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_EXPORT_OTLP_METRICS_H
#define PS_EXPORT_OTLP_METRICS_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "observe/custom.h"

struct ps_otlp;

extern const struct ps_metric_family ps_otlp_metric_families[];

/* Declares what it counts and takes a shard for whoever calls ps_otlp_take(). PS_OK, PS_ENOMEM,
 * PS_ELIMIT (no shard is left) or PS_EIO (no random numbers). Free it before custom and metrics;
 * NULL is fine. */
PS_MUST_CHECK int ps_otlp_new(struct ps_otlp **out, struct ps_custom *custom,
                              struct ps_metrics *metrics);
void ps_otlp_free(struct ps_otlp *otlp);

struct ps_otlp_body {
    struct ps_str bytes;
    bool json; /* else protobuf; the answer is the same */
    bool gzip;
};

/* Takes an ExportMetricsServiceRequest and appends the answer to `reply`: PS_OK and an
 * ExportMetricsServiceResponse, or a google.rpc.Status and PS_EPARSE (malformed: no use to try
 * again), PS_ELIMIT (too large: not either) or PS_ENOMEM (later). */
PS_MUST_CHECK int ps_otlp_take(struct ps_otlp *otlp, const struct ps_otlp_body *body, ps_time now,
                               struct ps_buf *reply);

/* What is wrong, as a google.rpc.Status in the encoding of the body. */
void ps_otlp_refuse(const struct ps_otlp_body *body, int err, const char *why,
                    struct ps_buf *reply);

#endif
