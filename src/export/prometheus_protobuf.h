/* prometheus_protobuf - the format of protobuf: a MetricFamily after the other, each behind its
 * length.
 *
 * An exponential histogram shows twice in one message: as a native histogram (schema, spans,
 * deltas) and by fixed bounds, for readers that don't know those; there stand its exemplars too,
 * where Prometheus looks for them. See prometheus.proto for the messages.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_EXPORT_PROMETHEUS_PROTOBUF_H
#define PS_EXPORT_PROMETHEUS_PROTOBUF_H

#include "base/buf.h"
#include "base/err.h"
#include "observe/metric.h"

/* Appends the page. PS_OK, PS_ELIMIT or PS_ENOMEM; on failure `out` holds a part of it. */
PS_MUST_CHECK int ps_prometheus_write_protobuf(struct ps_metrics *metrics, struct ps_buf *out);

#endif
